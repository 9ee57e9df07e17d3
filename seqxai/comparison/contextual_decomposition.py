"""Contextual decomposition: the part of a score that one step contributes, followed forward through an LSTM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from seqxai import targets
from seqxai.comparison.base import Answer, Comparison, Question, check_model, content, scalar, spread, steps_of, whole
from seqxai.comparison.decomposition import Decomposition
from seqxai.errors import InputError, TargetError
from seqxai.targets import Contrast, Index, Largest, PerSample, Target, Unit


class ContextualDecomposition(Comparison):
    """The β part of the score for each time step t as a phrase of its own (Murdoch, Liu & Yu, ICLR 2018).

    Every value is a sum β + γ: what the phrase {t} contributes, and the rest.  Linear maps and routes act on both; constants of a
    sum (biases, shifts) are γ; see :mod:`seqxai.comparison.decomposition` for the LSTM and the activations.  The relevance of step t
    is β of the explained score, divided equally among the elements of the step, so that ``relevance.sum(dims beyond batch and time)``
    is β.  The β of all phrases do not sum to the score.

    It is written for ``nn.LSTM``, of any number of layers and directions, also packed, on features or embedded token ids, followed by
    linear layers, means and element-wise activations.  GRUs, other products, norms and maxima are refused.

    Args:
        model: an ``nn.Module`` or a callable; not changed in any way.
        biases: whose the product of the biases of input gate and candidate is at a phrase's own step: "phrase", as the paper has it, or
            "rest", as the authors' program has it for phrases of one step (the end of its phrase is exclusive there and inclusive
            elsewhere), with which Arras et al. 2019, sec. 11.5.1, computed theirs.
        dim: the dimension of the time steps, behind the batch.
        batch: how many samples are walked through at once, which bounds the memory; one phrase of the given batch is in any case.

    Raises:
        InputError: for an unusable option.
    """

    def __init__(self, model: Any, *, biases: Literal["phrase", "rest"] = "phrase", dim: int = 1, batch: int = 1024) -> None:
        if biases not in ("phrase", "rest"):
            raise InputError(f"biases must be one of phrase, rest, got {biases!r}.")
        self.biases = biases
        self.model = check_model(model, "ContextualDecomposition")
        self.dim = whole(dim, "dim")
        self.batch = whole(batch, "batch", least=1)

    @property
    def method(self) -> str:
        """The name in results."""
        return "contextual-decomposition"

    @property
    def settings(self) -> Mapping[str, str]:
        """The parameters in results."""
        return {"biases": self.biases, "dim": str(self.dim)}

    def _answers(self, question: Question) -> list[Answer]:
        for target in question.targets:
            if not isinstance(target, (Index, PerSample, Largest, Contrast, Unit)):
                raise TargetError(
                    f"Contextual decomposition splits sums of outputs: expected an index, a contrast or a unit as target, got {target}."
                )
        explained = [scalar(t, scores)(scores) for t in question.targets for scores in (content(question, t)[1],)]
        relevance = [self._of_input(question, position, explained) for position in range(len(question.trace.inputs))]
        return [Answer(e, tuple(by_input[i] for by_input in relevance)) for i, e in enumerate(explained)]

    def _of_input(self, question: Question, position: int, explained: list[Tensor]) -> list[Tensor]:
        """The relevance of one input for every target; the phrases are steps of this input."""
        x, samples = question.trace.inputs[position].data, len(explained[0])
        steps = steps_of(x, self.dim, samples, question.batch)
        together = max(1, self.batch // max(1, samples))
        parts = [[one.new_zeros(samples, 0)] for one in explained]
        goals = [content(question, target)[0] for target in question.targets]
        for first in range(0, steps, together):
            phrases = range(first, min(first + together, steps))
            found = Decomposition(question.trace, position, self.dim, phrases, goals, biases=self.biases == "phrase")
            for part, target, goal in zip(parts, question.targets, goals, strict=True):
                part.append(_explained(target, question, found.of(goal).beta))
        return [spread(torch.cat(part, 1), x, self.dim) for part in parts]


def _explained(target: Target, question: Question, beta: Tensor) -> Tensor:
    """The target's combination of β, (B, P); the largest output is that of the whole score."""
    read = scalar(target, content(question, target)[1])
    return torch.stack([read(targets.by_sample(one, question.trace)) for one in beta], 1)
