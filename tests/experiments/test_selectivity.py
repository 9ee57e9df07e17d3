"""Fig 11.5: the verdicts, the program, and what its README claims."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from seqxai.evaluation import DeletionCurve

ROOT = Path(__file__).parents[2]
EXPERIMENT = ROOT / "experiments" / "arras2019_selectivity"
MODULES = ("report", "run")


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


def curve(share: float) -> DeletionCurve:
    """A hundred sentences, the given share of which stays correct."""
    correct = (torch.arange(100) < round(100 * share)).double()
    return DeletionCurve(torch.arange(100), torch.stack([torch.ones(100).double(), correct], 1), torch.zeros(2, dtype=torch.float64))


def test_a_verdict_needs_an_interval_and_a_direction(toy: Any) -> None:
    def verdict(order: str, relation: str, first: float, second: float) -> dict[str, Any]:
        claim = {"order": order, "first": "a", "relation": relation, "second": "b"}
        return toy.report.judged(claim, curve(first), curve(second), 0)

    found = verdict("decreasing", "better", 0.3, 0.6)
    assert (found["difference"], found["verdict"]) == ("30.00", "holds")
    assert 18 < float(found["low"]) < 30 < float(found["high"]) < 42
    assert verdict("increasing", "better", 0.3, 0.6)["verdict"] == "reversed"
    assert verdict("increasing", "better", 0.6, 0.3)["verdict"] == "holds"
    assert verdict("increasing", "better", 0.31, 0.3)["verdict"] == "undecided"
    assert verdict("increasing", "same", 0.34, 0.3)["verdict"] == "holds"
    assert verdict("decreasing", "same", 0.3, 0.36)["verdict"] == "differs"


def test_the_claims_are_those_of_the_section(toy: Any) -> None:
    claims = {(claim["order"], claim["first"], claim["relation"], claim["second"]) for claim in toy.report.claims()}
    assert {name for claim in claims for name in (claim[1], claim[3])} == {*toy.report.METHODS, "random"} - {"CD, biases to the phrase"}
    assert ("decreasing", "Gradient x Input", "better", "Gradient") in claims
    assert ("increasing", "random", "better", "Gradient") in claims


def test_the_program_runs_end_to_end_and_reads_relevance_again(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    methods = ["LRP-all", "Gradient x Input", "CD"]
    monkeypatch.setattr(sys, "argv", ["run.py", "--quick", "--out", str(tmp_path), "--methods", *methods])
    toy.run.main()
    results = toy.report.read(tmp_path / "results.csv")
    assert [line["method"] for line in results] == 2 * [*methods, "random"]
    by_order = {order: {line["method"]: line for line in results if line["order"] == order} for order in toy.report.ORDERS}
    assert all(line["after_0"] == "100.00" for line in by_order["decreasing"].values())
    assert all(line["after_0"] == "0.00" for line in by_order["increasing"].values())
    assert sum(int(lines["LRP-all"]["sentences"]) for lines in by_order.values()) == 40
    assert float(by_order["decreasing"]["LRP-all"]["mean"]) < float(by_order["decreasing"]["random"]["mean"])
    assert (tmp_path / "figure.png").stat().st_size > 5000
    monkeypatch.setattr(toy.run, "relevance_by_word", lambda *_: pytest.fail("explained again"))
    again = toy.run.relevances(*toy.run.invented(), methods, tmp_path)
    assert list(again) == methods
    assert all(bool(relevance.any()) for relevance, _ in again.values())


def test_the_tables_of_the_readme_are_those_of_the_results(toy: Any) -> None:
    text = (EXPERIMENT / "README.md").read_text()
    written = text.split(toy.report.BEGIN)[1].split(toy.report.END)[0]
    assert written.strip() == toy.report.tables(EXPERIMENT).strip()


def test_what_holds_of_the_figure_holds_in_the_results(toy: Any) -> None:
    """The orderings that are as the section says, in what the repository has."""
    results = toy.report.read(EXPERIMENT / "results.csv")
    assert {line["sentences"] for line in results if line["order"] == "decreasing"} == {
        str(1849 - int(line["sentences"])) for line in results if line["order"] == "increasing"
    }
    assert max(float(line["largest_std"]) for line in results) < 0.02  # as in the caption of the figure
    mean = {(line["order"], line["method"]): float(line["mean"]) for line in results}
    for method in ("Occlusion f-diff", "Occlusion P-diff", "LRP-all", "CD", "Gradient x Input"):
        for weak in ("LRP-prop", "LRP-abs", "LRP-half", "random", "Gradient"):
            assert mean["decreasing", method] < mean["decreasing", weak] - 15
            assert mean["increasing", method] > mean["increasing", weak] + 15
    verdicts = toy.report.read(EXPERIMENT / "orderings.csv")
    assert [(line["order"], line["first"], line["second"], line["verdict"]) for line in verdicts if line["verdict"] != "holds"] == [
        ("decreasing", "LRP-abs", "random", "differs"),
        ("increasing", "CD", "Gradient x Input", "undecided"),
        ("increasing", "LRP-abs", "random", "differs"),
    ]
    assert len(verdicts) == len(toy.report.claims()) == 21
