"""Which word each method finds most relevant, and whether it is the subject."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from model import NumberPredictor
from sentences import Sentence, encode
from torch import Tensor

from seqxai.comparison import by_name
from seqxai.targets import Contrast

METHODS = {
    "Gradient x Input": "gradient-times-input",
    "Occlusion": "occlusion",
    "LRP-prop": "lrp-prop",
    "LRP-abs": "lrp-abs",
    "LRP-half": "lrp-half",
    "LRP-all": "lrp-all",
    "CD": "contextual-decomposition",
    "Gradient": "gradient",
    "Occlusion of probabilities": "occlusion-probability",
}
"""The seven of Table 11.2 and the two further ones of Fig 11.5: name here -> name in ``seqxai.comparison.by_name``."""
SEVEN = tuple(METHODS)[:7]
RANDOM = "random"
TARGETS = ("score", "contrast")


@dataclass(frozen=True)
class Hits:
    """What came out for each sentence of a condition, (N,) each.

    Attributes:
        correct: the model predicts the subject's number.
        subject: the most relevant word is the subject.
        number: the most relevant word is a noun of the predicted number.
    """

    correct: Tensor
    subject: Tensor
    number: Tensor


def hits(model: NumberPredictor, method: str, target: str, sentences: list[Sentence]) -> Hits:
    """Explain why the model predicts the number it does, and look at the most relevant word.

    Args:
        model: a trained one.
        method: a name in ``METHODS``, or "random": then the values are the probabilities of a hit.
        target: "score", of the predicted number, or "contrast", that score minus the other.
        sentences: of one condition.
    """
    ids, lengths, numbers = encode(sentences)
    with torch.no_grad():
        predicted = model(ids, lengths).argmax(1)
    at_subject = torch.zeros(ids.shape, dtype=torch.bool)
    at_number = torch.zeros(ids.shape, dtype=torch.bool)
    for row, sentence in enumerate(sentences):
        at_subject[row, sentence.subject] = True
        at_number[row, sentence.nouns(int(predicted[row]))] = True
    if method == RANDOM:
        found = [places.double().sum(1) / lengths for places in (at_subject, at_number)]
    else:
        relevance = _relevance(model, method, target, ids, lengths, predicted)
        relevance[torch.arange(ids.shape[1]) >= lengths[:, None]] = -math.inf
        most = relevance.argmax(1, keepdim=True)
        found = [places.gather(1, most)[:, 0].double() for places in (at_subject, at_number)]
    return Hits(predicted == numbers, *found)


def _relevance(model: NumberPredictor, method: str, target: str, ids: Tensor, lengths: Tensor, predicted: Tensor) -> Tensor:
    """One number for each word, (N, T)."""
    explainer = by_name(METHODS[method], model)
    if target == "score":
        return explainer.attribute(ids, predicted, args=(lengths,)).relevance
    relevance = torch.zeros(ids.shape)
    for number in (0, 1):
        rows = predicted == number
        if bool(rows.any()):
            relevance[rows] = explainer.attribute(ids[rows], Contrast(number, 1 - number), args=(lengths[rows],)).relevance
    return relevance


def asked(method: str, target: str) -> bool:
    """Whether a method explains a target: a probability belongs to one output, and has no contrast."""
    return target == "score" or method not in ("Occlusion of probabilities", RANDOM)
