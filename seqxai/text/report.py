"""How good a classifier is: accuracy, confusion matrix, vocabulary coverage, as numbers and as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from seqxai.text.classifier import TextClassifier
from seqxai.text.corpus import Corpus, Labelled, coverage
from seqxai.text.training import scores
from seqxai.text.trees import LABELS as TREE_LABELS
from seqxai.text.vocabulary import Vocabulary

COLUMN = 14
TABLE_LABELS = 12


def evaluate(
    network: TextClassifier, vocabulary: Vocabulary, labels: Sequence[str], examples: Sequence[Labelled]
) -> dict[str, Any]:
    """Measure a classifier on labelled texts.

    Args:
        network: in evaluation mode afterwards.
        vocabulary: of the network.
        labels: in the order of its outputs.
        examples: the texts, all of them counted.

    Returns:
        ``texts``, ``accuracy``, ``majority`` (the share of the most frequent class: what a constant answer reaches),
        ``loss``, ``coverage`` (share of the words that the vocabulary knows), ``confusion`` (rows: the true class,
        columns: the predicted one), and for the five classes of the Stanford Sentiment Treebank ``polarity``, the
        accuracy on the texts that are not neutral, both positive classes together against both negative ones.
    """
    corpus = Corpus.build(examples, vocabulary, labels)
    found = scores(network, corpus)
    predicted = found.argmax(dim=-1)
    pairs = corpus.labels * len(labels) + predicted
    confusion = torch.bincount(pairs, minlength=len(labels) ** 2).reshape(len(labels), len(labels))
    result: dict[str, Any] = {
        "texts": len(corpus),
        "accuracy": float(confusion.diag().sum() / len(corpus)),
        "majority": float(confusion.sum(dim=1).max() / len(corpus)),
        "loss": float(torch.nn.functional.cross_entropy(found, corpus.labels)),
        "coverage": coverage(examples, vocabulary),
        "confusion": confusion.tolist(),
    }
    if tuple(labels) == TREE_LABELS and bool((corpus.labels != 2).any()):
        result["polarity"] = polarity(found, corpus.labels)
    return result


def polarity(found: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Positive against negative, from five classes: the two sums of probabilities are compared, neutral texts left out.

    Args:
        found: class scores (texts, 5).
        labels: (texts,), 0 to 4.

    Returns:
        ``texts`` that are not neutral, and ``accuracy`` on them.
    """
    share = found.softmax(dim=-1)
    positive = share[:, 3] + share[:, 4] > share[:, 0] + share[:, 1]
    counted = labels != 2
    return {"texts": int(counted.sum()), "accuracy": float((positive == (labels > 2))[counted].double().mean())}


def describe(result: Mapping[str, Any], labels: Sequence[str]) -> str:
    """One evaluation as lines of text: the numbers, then the confusion matrix."""
    lines = [
        f"{result['accuracy']:.1%} of {result['texts']:,} texts are right (always the most frequent class: {result['majority']:.1%}); "
        f"{result['coverage']:.1%} of their words are known"
    ]
    if "polarity" in result:
        lines.append(
            f"{result['polarity']['accuracy']:.1%} of the {result['polarity']['texts']:,} that are not neutral, positive against negative"
        )
    matrix = table(result["confusion"], labels) if len(labels) <= TABLE_LABELS else confused(result["confusion"], labels)
    return "\n".join([*lines, "", *matrix])


def confused(confusion: Sequence[Sequence[int]], labels: Sequence[str]) -> list[str]:
    """The most frequent mistakes, where a matrix would be too wide to read."""
    pairs = [
        (count, labels[true], labels[predicted])
        for true, row in enumerate(confusion)
        for predicted, count in enumerate(row)
        if count and true != predicted
    ]
    worst = sorted(pairs, key=lambda pair: -pair[0])[:TABLE_LABELS]
    return ["most frequent mistakes (all: --json)", *(f"{count:>6}  {true} taken for {wrong}" for count, true, wrong in worst)]


def table(confusion: Sequence[Sequence[int]], labels: Sequence[str]) -> list[str]:
    """A confusion matrix as lines of text: rows the true classes, columns the predicted ones; long names are cut."""
    short = [label if len(label) <= COLUMN else label[: COLUMN - 1] + "…" for label in labels]
    first = max(len("true \\ predicted"), *map(len, short))
    widths = [max(len(name), max(len(str(row[i])) for row in confusion)) for i, name in enumerate(short)]
    head = "true \\ predicted".ljust(first) + "".join(f"  {name:>{width}}" for name, width in zip(short, widths, strict=True))
    rows = [
        f"{name:<{first}}" + "".join(f"  {count:>{width}}" for count, width in zip(row, widths, strict=True))
        for name, row in zip(short, confusion, strict=True)
    ]
    return [head, *rows]
