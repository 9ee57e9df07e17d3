"""Subject-verb agreement: the templates, what counts as a hit, the program, and what its README claims."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
EXPERIMENT = ROOT / "experiments" / "poerner2018_agreement"
MODULES = ("sentences", "model", "explain", "report", "run")


@pytest.fixture(scope="module")
def toy() -> Iterator[Any]:
    """The experiment's modules; their names are plain, so they leave again."""
    kept = {name: sys.modules.pop(name) for name in MODULES if name in sys.modules}
    sys.path.insert(0, str(EXPERIMENT))
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    finally:
        sys.path.remove(str(EXPERIMENT))
        for name in MODULES:
            sys.modules.pop(name, None)
        sys.modules.update(kept)


def test_the_conditions_are_what_they_say(toy: Any) -> None:
    found = toy.sentences.test_sentences(200, 1, set())
    attractors = {"no attractor": [], "one, same number": [1], "one, other number": [0], "two, other number": [0, 0]}
    for name, sentences in found.items():
        assert len({sentence.words for sentence in sentences}) == 200
        assert 60 < sum(sentence.number for sentence in sentences) < 140
        for sentence in sentences:
            assert toy.sentences.NUMBER[sentence.words[sentence.subject]] == sentence.number
            after = [toy.sentences.NUMBER[word] for word in sentence.words[sentence.subject + 1 :] if word in toy.sentences.NUMBER]
            assert [int(number == sentence.number) for number in after] == attractors[name]
            assert set(sentence.words) <= set(toy.sentences.VOCABULARY)


def test_no_word_but_the_subject_tells_the_number(toy: Any) -> None:
    numbers: dict[str, list[int]] = {}
    for sentence in toy.sentences.Grammar(3).mixed(6000):
        for place, word in enumerate(sentence.words):
            numbers.setdefault("subject " * (place == sentence.subject) + word, []).append(sentence.number)
    for word, found in numbers.items():
        share = sum(found) / len(found)
        assert share in (0.0, 1.0) if word.startswith("subject ") else abs(share - 0.5) < 4 * 0.5 / len(found) ** 0.5, word


def test_seen_sentences_are_not_tested(toy: Any) -> None:
    first = toy.sentences.test_sentences(20, 1, set())
    seen = {sentence.words for sentence in first["no attractor"]}
    again = toy.sentences.test_sentences(20, 1, seen)
    assert not seen & {sentence.words for sentence in again["no attractor"]}


def test_a_hit_is_the_most_relevant_word(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = toy.sentences.Sentence
    sentences = [
        made(("the", "authors", "near", "the", "cars"), 1, 1, 1),
        made(("the", "author", "never"), 1, 0),
        made(("my", "spies", "near", "the", "car"), 1, 1, 1),
    ]
    relevance = torch.tensor([[0.0, 1.0, 0.0, 0.0, 2.0], [-3.0, -1.0, -2.0, 9.0, 9.0], [0.0, 0.5, 0.0, 0.0, 0.9]])
    monkeypatch.setattr(toy.explain, "_relevance", lambda *_: relevance.clone())

    def model(ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])  # the last is wrong

    found = toy.explain.hits(model, "LRP-all", "score", sentences)
    assert found.correct.tolist() == [True, True, False]
    assert found.subject.tolist() == [0.0, 1.0, 0.0]  # padding never counts
    assert found.number.tolist() == [1.0, 1.0, 1.0]  # of the predicted number: cars; author; car
    chance = toy.explain.hits(model, "random", "score", sentences)
    assert chance.subject.tolist() == pytest.approx([0.2, 1 / 3, 0.2])
    assert chance.number.tolist() == pytest.approx([0.4, 1 / 3, 0.2])
    line = toy.report.line([found], "subject", weights="trained", target="score", condition="x", method="y")
    assert (line["hit"], line["counted"]) == ("50.0", 2)


def test_an_interval_is_that_of_the_sentences(toy: Any) -> None:
    hits = (torch.arange(400) % 4 == 0).double().numpy()[None].repeat(2, 0)
    low, high = toy.report.interval(hits, hits >= 0)
    assert (low, high) == pytest.approx((0.25 - 1.96 * 0.433 / 20, 0.25 + 1.96 * 0.433 / 20), abs=0.006)


def test_the_program_runs_end_to_end_and_a_trained_model_is_read_again(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", "--quick", "--methods", "LRP-all", "--out", str(tmp_path)])
    toy.run.main()
    lines = toy.report.read(tmp_path / "results.csv")
    assert {line["method"] for line in lines} == {"LRP-all", "random"}
    assert (tmp_path / "figure.png").stat().st_size > 5000
    path = tmp_path / "model-0.safetensors"
    again = toy.model.train([], toy.model.Recipe(steps=30), 0, path, lambda step, loss: pytest.fail("trained again"))
    assert torch.equal(again.output.bias, load_file(path)["output.bias"])
    drawn = []
    toy.model.train(toy.sentences.Grammar(0).mixed(64), toy.model.Recipe(steps=1), 0, path, lambda step, loss: drawn.append(step))
    assert drawn == [1]  # other settings: another model


def test_the_tables_of_the_readme_are_those_of_the_results(toy: Any) -> None:
    text = (EXPERIMENT / "README.md").read_text()
    written = text.split(toy.report.BEGIN)[1].split(toy.report.END)[0]
    assert written.strip() == toy.report.tables(EXPERIMENT).strip()


def test_what_the_readme_claims_holds_in_the_results(toy: Any) -> None:
    results = toy.report.cells(toy.report.read(EXPERIMENT / "results.csv"), weights="trained", target="score", measure="subject")
    hit = {(line["method"], line["condition"]): float(line["hit"]) for line in results}
    bound = {(line["method"], line["condition"]): (float(line["low"]), float(line["high"])) for line in results}
    for condition in list(toy.sentences.CONDITIONS)[1:]:
        best = bound["LRP-all", condition][0]
        assert best > 94
        others = {method: bound[method, condition][1] for method in toy.explain.METHODS if method not in ("LRP-all", "CD")}
        assert max(others.values()) < best, others
        assert hit["LRP-all", condition] > hit["CD", condition] + 4
        assert hit["Gradient", condition] < 2
        for rule in ("prop", "abs", "half"):
            assert hit[f"LRP-{rule}", condition] < 30
    assert hit["Gradient x Input", "no attractor"] > 95
    assert hit["Gradient x Input", "two, other number"] < 30
