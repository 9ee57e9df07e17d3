"""The notebook runs as a kernel would run it, shows what the page says, and keeps its outputs for readers on the web."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"
NOTEBOOK = NOTEBOOKS / "explain_a_sequence.ipynb"


@pytest.fixture(scope="module")
def ran() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The notebook as committed, as it runs now, and the names it leaves."""
    spec = importlib.util.spec_from_file_location("execute_notebook", NOTEBOOKS / "execute.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    committed = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    now = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return committed, now, module.execute(now)


def outputs(notebook: dict[str, Any]) -> list[list[tuple[str, ...]]]:
    """The kinds of output of every code cell."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [[tuple(o["data"]) if "data" in o else ("stream",) for o in cell["outputs"]] for cell in cells]


def test_it_runs_and_the_explanations_hold(ran):
    _, _, names = ran
    attribution, texts = names["attribution"], names["texts"]
    assert bool((names["model"](names["ids"]).argmax(1) == names["labels"]).all())
    for text, words, label in zip(texts, attribution.words(), names["labels"].tolist(), strict=True):
        assert (sum(relevance for _, relevance in words[3:]) > 0) == bool(label), text  # "not bad" for, "very bad" against
    assert attribution.ledger.closed()
    assert names["sentiment"].labels[names["best"]] in ("positive", "very positive")
    assert names["found"].ledger.closed()
    assert float(names["agreement"]) > 0.9
    assert names["noise"] < 0.1


def test_its_outputs_are_kept_and_of_the_kinds_it_makes(ran):
    committed, now, _ = ran
    assert outputs(committed) == outputs(now)
    kinds = [kind for cell in outputs(committed) for kind in cell]
    assert kinds.count(("text/html", "text/plain")) == 3
    assert kinds.count(("image/png", "text/plain")) == 1
    assert [cell["execution_count"] for cell in committed["cells"] if cell["cell_type"] == "code"] == list(range(1, 10))


def test_it_is_a_notebook_of_format_4_5(ran):
    committed, _, _ = ran
    assert (committed["nbformat"], committed["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in committed["cells"]}) == len(committed["cells"])
    links = []
    for cell in committed["cells"]:
        code = {"execution_count", "outputs"} if cell["cell_type"] == "code" else set()
        assert set(cell) == {"cell_type", "id", "metadata", "source"} | code
        assert not any(line.startswith(("%", "!")) for line in cell["source"])  # plain Python: what the test runs is what a kernel runs
        if not code:
            links += [part.split(")")[0] for part in "".join(cell["source"]).split("](")[1:]]
    assert links
    assert all((NOTEBOOKS / link).exists() for link in links)
