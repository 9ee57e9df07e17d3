"""The shipped sentiment model: what it is, what it says, and the scores of its card."""

import pytest

from seqxai.text import corpus, load
from seqxai.text.model import SHIPPED
from seqxai.text.reading import read
from seqxai.text.report import evaluate
from seqxai.text.trees import LABELS


@pytest.fixture(scope="module")
def shipped():
    return load()


def test_it_is_small_and_says_how_it_was_made(shipped):
    assert SHIPPED.stat().st_size <= 4_000_000
    assert shipped.labels == LABELS
    assert len(shipped.vocabulary) == 16_581
    report = shipped.report
    assert report["files"] == {"texts": "train.txt", "validation": "dev.txt", "test": "test.txt"}
    assert (report["texts"], report["sentences"], report["validation"]["texts"], report["test"]["texts"]) == (157_415, 8544, 1101, 2210)
    assert report["test"]["accuracy"] >= 0.44
    assert report["test"]["polarity"]["texts"] == 1821
    assert report["test"]["polarity"]["accuracy"] >= 0.81
    assert f"{report['test']['accuracy']:.1%}".replace("%", " %") in (SHIPPED.parent / "README.md").read_text()
    assert f"{report['test']['polarity']['accuracy']:.1%}".replace("%", " %") in (SHIPPED.parent / "README.md").read_text()


def test_it_understands_plain_text_and_negation(shipped):
    texts = ["A wonderful, touching film.", "This was a terrible waste of time!", "It isn't good."]
    good, bad, negated = shipped.predict(texts)
    assert good[3:].sum() > 0.9
    assert bad[:2].sum() > 0.9
    assert negated[:2].sum() > negated[3:].sum()


@pytest.mark.shared
@pytest.mark.parametrize(("name", "file"), [("validation", "dev.txt"), pytest.param("test", "test.txt", marks=pytest.mark.slow)])
def test_its_scores_are_those_of_its_card(shipped, shared, name, file):
    examples = corpus.gather(read(shared / "data" / "sst" / file), file)
    result = evaluate(shipped.network, shipped.vocabulary, shipped.labels, examples)
    recorded = shipped.report[name]
    for part, whole in ((result, recorded), (result["polarity"], recorded["polarity"])):  # rounding may turn a sentence
        assert part["accuracy"] == pytest.approx(whole["accuracy"], abs=1.5 / whole["texts"])
    assert result["coverage"] == recorded["coverage"]
