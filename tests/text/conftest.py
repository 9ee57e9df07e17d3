"""A small task that needs the order of words, and a model that has learned it."""

from pathlib import Path

import pytest
import torch

from seqxai.text.classifier import Settings, TextClassifier
from seqxai.text.model import TextModel
from seqxai.text.vocabulary import Vocabulary

GOOD, BAD = ("good", "great", "fine"), ("bad", "awful", "dull")


def sentences() -> list[tuple[str, str]]:
    """Negation turns the label round."""
    return [
        (f"{begin} {verb} {mode} {word}.", "positive" if (word in GOOD) == (mode != "not") else "negative")
        for begin in ("The film", "The book", "I think the play")
        for verb in ("is", "was")
        for mode in ("not", "very", "so")
        for word in GOOD + BAD
    ]


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """108 labelled sentences as CSV."""
    path = tmp_path_factory.mktemp("texts") / "reviews.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in sentences()))
    return path


@pytest.fixture(scope="session", params=["lstm", "gru"])
def model(request: pytest.FixtureRequest) -> TextModel:
    """Random weights in float64, bidirectional, two layers: nothing is learned, everything can be explained."""
    settings = Settings(cell=request.param, embedding_size=4, hidden_size=5, layers=2, bidirectional=True, dropout=0.3)
    vocabulary = Vocabulary.build([text.lower().replace(".", " .").split() for text, _ in sentences()])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = TextClassifier(settings, len(vocabulary), 3).double().eval().requires_grad_(False)
    return TextModel(network, vocabulary, ("negative", "neutral", "positive"), settings, {"note": "é"})
