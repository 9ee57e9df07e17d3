"""The README's Python runs as printed, and what it claims about the commands is true."""

import re
from pathlib import Path

import pytest

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


@pytest.mark.atari
def test_the_agent_is_explained_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ale_py")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(BLOCKS[1], "README.md", "exec"), names)
    assert len(names["trajectory"].rewards) == 30  # type: ignore[attr-defined]
    assert (tmp_path / "video.mp4").stat().st_size > 20_000


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_two_commands_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in ("demo", "test"):
        assert f"make {command}" in README.split("##")[0]
        assert re.search(rf"^{command}:", makefile, re.MULTILINE)
