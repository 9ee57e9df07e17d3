"""The README's Python runs as printed, and what it claims about the commands is true."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_classifier_is_explained_in_ten_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    block = BLOCKS[0]
    assert sum(not line.startswith(("import", "from")) for line in block.splitlines()) <= 10
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)
    attribution = names["attribution"]
    model, x, labels = names["model"], names["x"], names["labels"]
    accuracy = float((model(x).argmax(1) == labels).float().mean())  # type: ignore[operator,union-attr]
    assert accuracy > 0.9
    assert attribution.ledger.closed()  # type: ignore[attr-defined]
    assert (tmp_path / "why_a_three.png").stat().st_size > 5000


def test_a_sentence_classifier_is_explained_in_ten_lines(capsys: pytest.CaptureFixture[str]) -> None:
    block = BLOCKS[1]
    assert sum(not line.startswith(("import", "from")) for line in block.splitlines()) <= 10
    torch.manual_seed(0)
    names: dict[str, Any] = {}
    exec(compile(block, "README.md", "exec"), names)
    attribution, texts = names["attribution"], names["texts"]
    assert bool((names["model"](names["ids"]).argmax(1) == names["labels"]).all())
    assert attribution.ledger.closed()
    assert capsys.readouterr().out.startswith("the ")
    # "not bad" speaks for, "very bad" against: the two words decide, whatever stands before them.
    relevance = {text: row[3:].sum() for text, row in zip(texts, attribution.relevance, strict=True)}
    assert all((relevance[text] > 0) == bool(label) for text, label in zip(texts, names["labels"], strict=True))


def test_the_page_on_sequences_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "sequences.md").read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "sequences.md", "exec"), names)
    assert names["attribution"].relevance.shape == (4, 12, 8)
    assert names["attribution"].ledger.closed()


def test_the_page_on_texts_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "text.md").read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, "text.md", "exec"), names)
    assert [one.words[-1] for one in names["explained"]] == [".", "film"]
    assert (tmp_path / "why.html").read_text(encoding="utf-8").count("<article>") == 2
    assert (tmp_path / "why.png").stat().st_size > 2000
    assert [word for word, _ in names["attribution"].sum_subwords().words()[0]] == ["not", "very", "good"]
    assert names["attribution"].at("embedding").shape == (2, 4, 16)


def test_the_page_on_evaluating_runs() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "evaluating.md").read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(block, "evaluating.md", "exec"), names)
    lrp, chance = (names["found"][name].decreasing for name in ("lrp", "random"))
    assert torch.equal(lrp.correct, names["metric"].curve(names["model"], names["inputs"], names["relevance"]).correct)
    assert lrp.area < chance.area


def test_your_own_agent_is_explained_in_ten_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    pytest.importorskip("gymnasium")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "your_agent.md").read_text(encoding="utf-8")
    ten_lines, *blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert sum(not line.startswith(("import", "from")) for line in ten_lines.splitlines()) <= 10
    names: dict[str, Any] = {}
    exec(compile(ten_lines, "your_agent.md", "exec"), names)
    explanation = names["info"]["explanation"]
    assert explanation.explained == pytest.approx(abs(float(explanation.q_values[1] - explanation.q_values[0])), rel=1e-4)
    assert all((tmp_path / path).stat().st_size > 2000 for path in names["env"].videos)
    assert names["env"].videos
    shapes = []
    for block in blocks:
        exec(compile(block, "your_agent.md", "exec"), names)
        shapes.append(np.shape(np.atleast_1d(names["info"]["explanation"])[0].relevance))
    assert shapes == [(32, 32, 3), (4,), (8, 4)]
    pytest.importorskip("stable_baselines3")
    (block,) = re.findall(r"```python sb3\n(.*?)```", page, re.DOTALL)  # the same training, shorter
    exec(compile(block.replace("50_000", "300").replace("5_000", "100"), "your_agent.md", "exec"), names)
    assert [snapshot.step for snapshot in names["callback"].history] == [0, 100, 200, 300]


@pytest.mark.atari
def test_the_agent_is_explained_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ale_py")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(BLOCKS[2], "README.md", "exec"), names)
    assert len(names["trajectory"].rewards) == 30  # type: ignore[attr-defined]
    assert (tmp_path / "video.mp4").stat().st_size > 20_000


@pytest.mark.atari
def test_the_page_on_figures_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ale_py")
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "figures.md").read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(block, "figures.md", "exec"), names)
    assert {path.name for path in tmp_path.iterdir()} == {"why.mp4", "why.webm", "why.svg"}
    assert names["shares"].sum(axis=1) == pytest.approx([1.0] * 60)


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), (page.name, target)


def test_the_two_commands_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in ("demo", "test"):
        assert f"make {command}" in README.split("##")[0]
        assert re.search(rf"^{command}:", makefile, re.MULTILINE)
