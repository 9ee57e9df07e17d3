"""What the comparison methods share: one recorded run, the targets asked about it, and the result put together."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqxai import targets
from seqxai.attribution import Attribution, Attributor
from seqxai.errors import InputError, TargetError
from seqxai.lrp import peel_softmax, refuse_nan
from seqxai.rules.samples import batch_dimension
from seqxai.targets import Largest, Target
from seqxai.trace import Trace, Value, capture


@dataclass(frozen=True, eq=False)
class Question:
    """One recorded run and what is asked about it.

    Attributes:
        trace: the run on the inputs as they are.
        output: the value whose elements a target names by index.
        targets: what to explain, one by one.
        args, kwargs: the constants of the call.
        batch: which dimension of the inputs is the batch.
    """

    trace: Trace
    output: Value
    targets: tuple[Target, ...]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    batch: int = 0


class Answer(NamedTuple):
    """The explanation of one target.

    Attributes:
        explained: (B,).
        relevance: one tensor of each input's shape.
    """

    explained: Tensor
    relevance: tuple[Tensor, ...]


class Comparison(Attributor):
    """A method that is not a walk back: it keeps no ledger and has no relevance on the way."""

    model: Any

    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Any = None,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Attribution:
        """Explain ``model(*inputs, *args, **kwargs)``.

        Args:
            inputs: the tensor to explain, (B, ...), or a tuple of several.
            target: what to explain, see :func:`seqxai.targets.ensure`; the largest output by default.
            args, kwargs: further arguments, constants of the call.

        Returns:
            Relevance of the inputs' shapes.

        Raises:
            SeqxaiError: every failure, with what was expected, what came, and what to do.
        """
        with torch.inference_mode(False), torch.no_grad():
            wanted = targets.ensure(target)
            trace = capture(self.model, inputs, args, kwargs, lenient=True)
            refuse_nan(trace, tuple(v.data for v in trace.outputs))
            output = self._output(trace)
            each = tuple(one.chosen(trace, output) for one in wanted.each(trace, output))
            seeds = [one.seed(trace, output) for one in each]
            first = seeds[0]
            batch = batch_dimension(trace, first.value, first.explained.numel(), first.dimension)
            question = Question(trace, output, each, args, dict(kwargs or {}), batch)
            if len({seed.explained.shape for seed in seeds}) > 1:
                raise TargetError("Several targets must explain the same number of samples.")
            answers = self._answers(question)
            for answer in answers:
                refuse_nan(trace, answer.relevance)
        found = self._attribution(trace, wanted, answers, single=not isinstance(inputs, (tuple, list)))
        return replace(found, _cache={"batch": batch}, output_batch=first.dimension if first.value is output else 0)

    def _attribution(self, trace: Trace, wanted: Target, answers: list[Answer], *, single: bool) -> Attribution:
        several = wanted.many
        relevances = [torch.stack(parts) if several else parts[0] for parts in zip(*(a.relevance for a in answers), strict=True)]
        return Attribution(
            relevance=relevances[0] if single else tuple(relevances),
            output=trace.output,
            explained=torch.stack([a.explained for a in answers]) if several else answers[0].explained,
            target=str(wanted),
            method=self.method,
            inputs=trace.inputs[0].data if single else tuple(v.data for v in trace.inputs),
            settings=self.settings,
        )

    def _output(self, trace: Trace) -> Value:
        """The value targets index: the scores, before a final softmax."""
        return peel_softmax(trace)

    @property
    @abstractmethod
    def method(self) -> str:
        """The name in results."""

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, str]:
        """The parameters in results."""

    @abstractmethod
    def _answers(self, question: Question) -> list[Answer]:
        """The explanation of each target; autograd is off."""


def check_model(model: Any, name: str) -> Any:
    """A model an attributor can explain.

    Raises:
        InputError: if it cannot be called.
    """
    if not callable(model):
        raise InputError(f"{name} explains an nn.Module or a callable, got {type(model).__name__}.")
    return model


def content(question: Question, target: Target) -> tuple[Value, Tensor]:
    """The value that holds what a target explains, and its content with the batch in front, (B, ...)."""
    value = target.value(question.trace, question.output)
    return value, targets.by_sample(question.trace.data(value), question.trace)


def scalar(target: Target, scores: Tensor) -> Callable[[Tensor], Tensor]:
    """The explained scalars as a function of scores; the largest output is chosen once and then stays the same.

    Args:
        target: one target.
        scores: those of the run that is explained, (B, ...).

    Returns:
        A function from scores (B, ...) to (B,).
    """
    if isinstance(target, Largest):
        chosen = scores.flatten(1).argmax(1, keepdim=True)
        return lambda other: other.flatten(1).gather(1, chosen)[:, 0]
    return lambda other: target.combine(other)[0]


def whole(number: Any, name: str, least: int | None = None) -> int:
    """An option as an int.

    Raises:
        InputError: if it is not a whole number, or too small.
    """
    if isinstance(number, bool) or not hasattr(number, "__index__") or (least is not None and number < least):
        raise InputError(f"{name} must be a whole number{f' from {least}' if least is not None else ''}, got {number!r}.")
    return int(number.__index__())


def steps_of(x: Tensor, dim: int, samples: int, batch: int) -> int:
    """How many time steps an input has.

    Args:
        x: the input.
        dim: the dimension of the time.
        samples: how many samples are explained.
        batch: which dimension of the input they are.

    Raises:
        InputError: if it has no such dimension behind the batch, or no batch in front.
    """
    if not -x.dim() <= dim < x.dim() or dim % x.dim() == 0:
        raise InputError(
            f"Expected the time steps in dimension {dim} behind the batch, got an input of shape {tuple(x.shape)}; give dim the dimension "
            "of the time, and single sequences a batch dimension in front."
        )
    if batch or len(x) != samples:
        raise InputError(
            f"Expected the batch in front of the input, got shape {tuple(x.shape)} for {samples} explained samples; transpose it inside "
            "the model, or explain another target."
        )
    return x.shape[dim]


def spread(by_step: Tensor, x: Tensor, dim: int) -> Tensor:
    """One number for each step as a relevance of the input's shape: divided equally among the elements of the step.

    Args:
        by_step: (B, T).
        x: the input, whose dimension ``dim`` is the time.
        dim: see there.
    """
    samples, steps = by_step.shape
    shape = [1] * x.dim()
    shape[0], shape[dim] = samples, steps
    elements = max(1, x.numel() // max(1, samples * steps))
    dtype = x.dtype if x.dtype.is_floating_point else by_step.dtype
    return (by_step / elements).to(dtype).reshape(shape).expand(x.shape).clone()
