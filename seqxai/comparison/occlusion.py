"""Occlusion: what the score loses when a step of the input is taken away."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from seqxai import targets
from seqxai.comparison.base import Answer, Comparison, Question, check_model, content, scalar, spread, steps_of, whole
from seqxai.errors import InputError, TargetError
from seqxai.lrp import peel_softmax, refuse_nan
from seqxai.targets import Index, Largest, PerSample, Target
from seqxai.trace import Trace, Value, capture
from seqxai.trace.recording import TraceWarning

QUANTITIES = ("score", "probability")


class Occlusion(Comparison):
    """``f(x) - f(x with step t set to zero)`` for every time step t (Li et al. 2016; Arras et al. 2019, sec. 11.5.1).

    ``of="score"`` is Occlusion_f-diff, on scores before a final softmax; ``of="probability"`` is Occlusion_P-diff, on the softmax
    over the last dimension, where a class also gains when others lose.  The relevance has the input's shape; the difference of a
    step is divided equally among its elements, so that ``relevance.sum(dims beyond batch and time)`` is the difference.  Differences
    do not sum to the score.  Several inputs are occluded in turn.

    All copies of all samples run in large batches.  Tensors among ``args`` and ``kwargs`` whose first dimension is the batch (lengths,
    masks, also inside tuples, lists and dicts) are repeated with them; a model that is called in another way runs with ``batch=1``.

    Args:
        model: an ``nn.Module`` or a callable; not changed in any way.
        of: "score" or "probability".
        dim: the dimension of the time steps, behind the batch.
        reference: what an occluded step is set to, 0 by default; token ids need one, the id of the padding for instance.
        batch: how many samples run at once, which bounds the memory; one copy of the given batch runs in any case.

    Raises:
        InputError: for an unusable option.
    """

    def __init__(
        self,
        model: Any,
        of: Literal["score", "probability"] = "score",
        *,
        dim: int = 1,
        reference: float | None = None,
        batch: int = 1024,
    ) -> None:
        if of not in QUANTITIES:
            raise InputError(f"of must be one of {', '.join(QUANTITIES)}, got {of!r}.")
        if reference is not None and (not isinstance(reference, (int, float)) or not math.isfinite(reference)):
            raise InputError(f"reference must be a finite number, got {reference!r}.")
        self.model = check_model(model, "Occlusion")
        self.of = of
        self.dim = whole(dim, "dim")
        self.reference = reference
        self.batch = whole(batch, "batch", least=1)

    @property
    def method(self) -> str:
        """The name in results."""
        return f"occlusion/{self.of}"

    @property
    def settings(self) -> Mapping[str, str]:
        """The parameters in results."""
        return {"of": self.of, "dim": str(self.dim), "reference": str(self.reference)}

    def _output(self, trace: Trace) -> Value:
        return trace.outputs[0] if self.of == "probability" else peel_softmax(trace)

    def _answers(self, question: Question) -> list[Answer]:
        _refuse_dropout(self.model)
        measures = [self._measure(target, question) for target in question.targets]
        explained = [measure.explained for measure in measures]
        relevance: list[list[Tensor]] = [[] for _ in measures]
        for position, value in enumerate(question.trace.inputs):
            steps = steps_of(value.data, self.dim, len(explained[0]), question.batch)
            occluded = _Occluded(self, question, position, self._filling(value.data))
            each = occluded.measured(measures, steps, max(1, self.batch // max(1, len(explained[0]))))
            for score, others, found in zip(explained, each, relevance, strict=True):
                found.append(spread(score.unsqueeze(1) - others, value.data, self.dim))
        return [Answer(e, tuple(r)) for e, r in zip(explained, relevance, strict=True)]

    def _measure(self, target: Target, question: Question) -> _Measure:
        if self.of == "score":
            return _Measure(target, content(question, target)[1])
        if not isinstance(target, (Index, PerSample, Largest)):
            raise TargetError(f"A probability belongs to one output: expected an index as target, got {target}; give of='score'.")
        return _Probability(target, _Probability.read(content(question, target)[1], question.trace))

    def _filling(self, x: Tensor) -> float:
        if x.dtype.is_floating_point:
            return self.reference or 0.0
        if self.reference is None or not float(self.reference).is_integer():
            raise InputError(
                f"Occluding integers (token ids) needs a whole number as reference, got {self.reference!r}; give the id that stands for "
                "nothing, such as reference=0 where 0 is the padding."
            )
        return int(self.reference)


def _refuse_dropout(model: Any) -> None:
    for module in model.modules() if isinstance(model, nn.Module) else ():
        rate = getattr(module, "dropout" if isinstance(module, nn.RNNBase) else "p", 0)
        drops = isinstance(module, (nn.RNNBase, nn.modules.dropout._DropoutNd)) and rate > 0
        if module.training and drops:
            raise InputError(
                f"Occlusion compares runs of the model, and {type(module).__name__} draws other units to drop in each; "
                "call model.eval() first."
            )


class _Measure:
    """The explained scalars of a run on K copies of each sample, (B, K)."""

    def __init__(self, target: Target, scores: Tensor) -> None:
        self.target = target
        self.samples = len(scores)
        self.scalar = scalar(target, scores)
        self.explained = self.scalar(scores)

    def __call__(self, trace: Trace, output: Value, count: int) -> Tensor:
        data = self.read(targets.by_sample(trace.data(self.target.value(trace, output)), trace), trace)
        if len(data) != self.samples * count:
            raise ValueError(f"its result has {len(data)} rows")
        by_copy = data.reshape(self.samples, count, *data.shape[1:])
        return torch.stack([self.scalar(by_copy[:, k]) for k in range(count)], 1)

    @staticmethod
    def read(scores: Tensor, trace: Trace) -> Tensor:
        """What the target indexes."""
        return scores


class _Probability(_Measure):
    @staticmethod
    def read(scores: Tensor, trace: Trace) -> Tensor:
        """The softmax over the last dimension, unless the model returned it."""
        if scores.shape[-1] < 2:
            raise InputError(
                f"The probability of one of several outputs was asked for, but the output has shape {tuple(scores.shape)}, and a softmax "
                "over one score is always 1; give of='score'."
            )
        node = trace.outputs[0].node
        if node is None or node.operation.kind != "softmax":
            return torch.softmax(scores, -1)
        return scores.exp() if node.name == "log_softmax" else scores


class _Occluded:
    """The runs on copies of the input in which one step each is overwritten."""

    def __init__(self, occlusion: Occlusion, question: Question, position: int, filling: float) -> None:
        self.occlusion = occlusion
        self.question = question
        self.position = position
        self.filling = filling

    def measured(self, measures: list[_Measure], steps: int, together: int) -> list[Tensor]:
        """The explained scalars with each step overwritten, (B, T), for every measure; so many steps together in one run."""
        parts = [[measure.explained.new_zeros(measure.samples, 0)] for measure in measures]
        for first in range(0, steps, together):
            count = min(together, steps - first)
            for part, found in zip(parts, self._run(measures, first, count), strict=True):
                part.append(found)
        return [torch.cat(part, 1) for part in parts]

    def _run(self, measures: list[_Measure], first: int, count: int) -> Iterator[Tensor]:
        question, samples = self.question, measures[0].samples
        try:
            inputs = tuple(repeated(v.data.contiguous(), samples, count) for v in question.trace.inputs)
            by_copy = inputs[self.position].view(samples, count, *inputs[self.position].shape[1:])
            dim = self.occlusion.dim % (by_copy.dim() - 1)
            for k in range(count):
                by_copy[:, k].select(dim, first + k).fill_(self.filling)
            args, kwargs = repeated(question.args, samples, count), repeated(question.kwargs, samples, count)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", TraceWarning)  # said once, of the run on the input itself
                trace = capture(self.occlusion.model, inputs, args, kwargs, lenient=True)
                output = self.occlusion._output(trace)
            found = [measure(trace, output, count) for measure in measures]
        except (RuntimeError, ValueError, IndexError, InputError) as error:
            remedy = ", or batch=1, which runs one copy of the batch at a time" if count > 1 else ""
            raise InputError(
                f"The model runs on its input, but not on {count} copies of it with a step set to {self.filling:g}: "
                f"{str(error).rstrip('.')}; give a reference it accepts{remedy}."
            ) from error
        refuse_nan(trace, tuple(v.data for v in trace.outputs))
        return iter(found)


def repeated(item: Any, samples: int, count: int) -> Any:
    """Every tensor whose first dimension is the batch with ``count`` copies of each sample side by side; a copy in any case."""
    if isinstance(item, Tensor):
        if item.dim() == 0 or len(item) != samples or count == 1:
            return item.clone()
        # Copies stay side by side: what was sorted by length still is.
        return item.repeat_interleave(count, 0)
    if type(item) in (tuple, list):
        return type(item)(repeated(i, samples, count) for i in item)
    return {key: repeated(i, samples, count) for key, i in item.items()} if type(item) is dict else item
