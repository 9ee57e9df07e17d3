"""The documents: what is kept of a docstring, both relevances, the measures, the program."""

import importlib
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import seqxai
from seqxai.text import Vocabulary
from tests.contracts import assert_close

pytest.importorskip("sklearn")

ROOT = Path(__file__).parents[2]
EXPERIMENT = ROOT / "experiments" / "arras2017_documents"
MODULES = ("corpus", "models", "explain", "report", "run")


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


TEXT = """Returns the *shortest* path, see :func:`~networkx.algo.other` and ``G``.

Paths in `networkx` are lists [1]_.

>>> nx.path_graph(3)

Parameters
----------
G : graph
    Never read.

Notes
-----
Runs in linear time.

    indented code is kept, deeper code is not:
        x = y
"""


def test_prose_is_what_is_kept_of_a_docstring(toy: Any) -> None:
    words = " ".join(toy.corpus.prose(TEXT))
    assert words.startswith("returns the shortest path , see")
    assert "paths in are lists ." in words
    assert "runs in linear time ." in words
    for word in ("never", "read", "nx", "networkx", "y", "`", "func"):
        assert word not in words.split()


OWN = (("graph", "node"), ("tree", "score"), ("prime", "ring"), ("axis", "colour"))


def made(toy: Any, count: int = 60) -> list[Any]:
    """Documents of four topics with words of their own, three to a file."""
    draw = random.Random(0)
    documents = []
    for number in range(count):
        topic = number % 4
        words = (*draw.choices(["the", "a", "is", "value", "thing"], k=6), *draw.choices(OWN[topic], k=3), ".")
        documents.append(toy.corpus.Document(words, topic, f"p/f{number // 3}:x"))
    return documents


def test_texts_of_a_file_stay_together(toy: Any) -> None:
    documents = made(toy)
    parts = toy.corpus.split(documents, 0)
    files = [{one.where.split(":")[0] for one in part} for part in parts]
    assert sum(map(len, parts)) == len(documents)
    assert not (files[0] & files[1]) | (files[0] & files[2]) | (files[1] & files[2])
    assert [len(part) for part in files] == [12, 3, 5]


def test_the_bag_of_words_is_explained_word_by_word(toy: Any) -> None:
    documents = made(toy)
    vocabulary = Vocabulary.build([one.words for one in documents])
    bag = toy.models.train_bag(documents, vocabulary, 1.0, 0)
    assert toy.models.accuracy(bag, documents, vocabulary) == 1.0
    topics = torch.tensor([one.topic for one in documents])
    relevance = toy.explain.bag_relevance(bag, documents, vocabulary, topics)
    tokens, lengths, _ = toy.models.encode(documents, vocabulary)
    scores = bag(tokens, lengths).gather(1, topics[:, None])[:, 0]
    assert_close((relevance.sum(1) + bag.output.bias[topics])[None], scores[None], 1e-5)
    features = bag.features(tokens, lengths)
    for row in range(5):
        for place, token in enumerate(tokens[row].tolist()):
            times = int((tokens[row] == token).sum())
            expected = features[row, token] * bag.output.weight[topics[row], token] / times
            assert float(relevance[row, place]) == pytest.approx(float(expected), abs=1e-6)
    shares = toy.explain.shares(relevance, toy.explain.kinds(documents, {word for words in OWN for word in words}))
    assert shares.mean(0)[0] > 0.8
    assert shares.sum(1) == pytest.approx(np.ones(len(documents)))


def test_the_reader_is_explained_and_the_balance_closes(toy: Any) -> None:
    documents = made(toy, 8)
    vocabulary = Vocabulary.build([one.words for one in documents])
    network = toy.models.Reader(len(vocabulary), 4, width=5).double().eval().requires_grad_(False)
    tokens, lengths, topics = toy.models.encode(documents, vocabulary)
    found = toy.explain.lstm_relevance(network, documents, vocabulary, topics)
    attribution = seqxai.LRP(network, seqxai.composites.Epsilon(1e-3)).attribute(tokens, topics, args=(lengths,))
    assert_close(found, attribution.relevance, 1e-10)
    assert attribution.ledger.closed()


def test_kinds_of_words(toy: Any) -> None:
    document = toy.corpus.Document(("the", "graph", ",", "value", "see"), 0, "x")
    assert toy.explain.kinds([document], {"graph", "see"})[0].tolist() == [1, 0, 1, 2, 1]  # "see" is a stop word
    shares = toy.explain.shares(torch.tensor([[-5.0, 3.0, 0.0, 1.0, 0.0]]), [np.array([1, 0, 1, 2, 1])])
    assert shares.tolist() == [[0.75, 0.0, 0.25]]


def test_vectors_and_neighbours(toy: Any) -> None:
    documents = made(toy, 120)
    vocabulary = Vocabulary.build([one.words for one in documents])
    tokens, _, topics = toy.models.encode(documents, vocabulary)
    own = (tokens >= 2) & torch.tensor([[vocabulary.words[token] in sum(OWN, ()) for token in row] for row in tokens])
    points = toy.explain.vectors(own.double(), documents, vocabulary)
    assert np.linalg.norm(points, axis=1) == pytest.approx(np.ones(len(points)))
    assert toy.explain.neighbours(points, topics.numpy()).mean() == 1.0
    assert toy.explain.neighbours(np.random.default_rng(0).normal(size=points.shape), topics.numpy()).mean() < 0.5


def test_words_in_common(toy: Any) -> None:
    first = torch.tensor([[9.0, 8, 7, 6, 5, 0, 0, 0, 0, 0]])
    second = torch.tensor([[9.0, 8, 0, 0, 0, 7, 6, 5, 0, 99]])
    found = toy.run.agreement(first, second, torch.tensor([9]))  # the tenth is padding
    assert found == pytest.approx({"five most relevant words in common": 0.4, "the same by chance": 5 / 9})


def test_the_program_runs_end_to_end(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = toy.corpus.Corpus(made(toy, 90), set(OWN[0]), {"networkx": "0"})
    monkeypatch.setattr(toy.run, "read", lambda path, limit: corpus)
    monkeypatch.setattr(sys, "argv", ["run.py", "--quick", "--out", str(tmp_path)])
    toy.run.main()
    results = toy.report.read(tmp_path / "results.csv")
    value = {(line["measure"], line["model"]): float(line["value"]) for line in results}
    assert value["accuracy of the best penalty", "BoW/SVM"] == 100.0
    shares = [value[f"relevance on {name}", "LSTM"] for name in toy.run.KIND_NAMES.values()]
    assert sum(shares) == pytest.approx(100, abs=0.2)
    assert len(toy.report.read(tmp_path / "words.csv")) == 2 * len(toy.corpus.TOPICS)
    assert (tmp_path / "figure.png").stat().st_size > 5000


def test_the_tables_of_the_readme_are_those_of_the_results(toy: Any) -> None:
    text = (EXPERIMENT / "README.md").read_text()
    written = text.split(toy.report.BEGIN)[1].split(toy.report.END)[0]
    assert written.strip() == toy.report.tables(EXPERIMENT).strip()


def test_what_the_readme_claims_holds_in_the_results(toy: Any) -> None:
    found: dict[tuple[str, str], list[float]] = {}
    for line in toy.report.read(EXPERIMENT / "results.csv"):
        found.setdefault((line["measure"], line["model"]), []).append(float(line["value"]))
    stop, topic = (f"relevance on {toy.run.KIND_NAMES[kind]}" for kind in ("stop", "topic"))
    vectors = "10 nearest neighbours of the documents' vectors"
    for seed in range(3):
        assert found[stop, "LSTM"][seed] > 2 * found[stop, "BoW/SVM"][seed]
        assert found[topic, "BoW/SVM"][seed] > found[topic, "LSTM"][seed] > 1.5 * found[topic, "neither"][seed]
        assert found["five most relevant words in common", "neither"][seed] > 1.5 * found["the same by chance", "neither"][seed]
        assert found[vectors, "BoW/SVM"][seed] > found[vectors, "LSTM"][seed] + 5 > found[vectors, "neither"][seed] + 10
    words = toy.report.read(EXPERIMENT / "words.csv")
    learning = next(line["words"].split() for line in words if (line["topic"], line["model"]) == ("learning", "BoW/SVM"))
    assert {"guide", "user", "read", "more"} <= set(learning)
