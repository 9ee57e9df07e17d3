"""What a target is, and how a user may write one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from torch import Tensor

from seqxai.errors import TargetError
from seqxai.trace.graph import Trace, Value


class Seed(NamedTuple):
    """Where relevance starts.

    Attributes:
        value: the value it starts at.
        relevance: of the value's shape.
        explained: (B,), the scalar explained per sample.
        dimension: which dimension of the value is the batch.
    """

    value: Value
    relevance: Tensor
    explained: Tensor
    dimension: int = 0


class Target(ABC):
    """A scalar per sample, as a combination of a value's elements.

    Attributes:
        many: whether it stands for several targets, whose results are stacked along a leading dimension.
    """

    many = False

    def each(self, trace: Trace, output: Value) -> tuple[Target, ...]:
        """The targets it stands for; usually itself."""
        return (self,)

    def chosen(self, trace: Trace, output: Value) -> Target:
        """The same target with its choices made on this run, so that it explains the same elements of another one."""
        return self

    def seed(self, trace: Trace, output: Value) -> Seed:
        """Starting relevance for a trace.

        Args:
            trace: the recorded run.
            output: the value the model returned, before a final softmax; (B, ...) or a scalar.
        """
        value = self.value(trace, output)
        data = trace.data(value)
        if value is output and data.dim() > 1 and all(data.shape[0] not in v.shape for v in trace.inputs):
            raise TargetError(
                f"Expected an output whose first dimension is the batch, got shape {tuple(data.shape)} for inputs of shape "
                f"{', '.join(str(tuple(v.shape)) for v in trace.inputs)}; explain single samples, or an inner value with targets.Unit."
            )
        table = by_sample(data, trace)
        explained, relevance = self.combine(table)
        return Seed(value, relevance.reshape(data.shape), explained)

    def value(self, trace: Trace, output: Value) -> Value:
        """The value that holds the explained elements."""
        return output

    @abstractmethod
    def combine(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """From scores (B, ...) to the explained scalars (B,) and the starting relevance (B, ...)."""

    @abstractmethod
    def __str__(self) -> str:
        """The target in words."""


def by_sample(data: Tensor, trace: Trace) -> Tensor:
    """The batch dimension of a value made explicit: (B, ...), at least two-dimensional.

    Args:
        data: the value's content, or another of the same shape.
        trace: the recorded run, whose inputs tell whether there is a batch dimension.
    """
    if data.dim() == 0:
        return data.reshape(1, 1)
    if data.dim() == 1:
        # A vector in and a vector out is one sample without a batch dimension.
        batched = any(len(v.shape) > 1 and v.shape[0] == data.shape[0] for v in trace.inputs)
        return data.reshape(-1, 1) if batched else data.reshape(1, -1)
    return data


def position(index: int, size: int, what: str) -> int:
    """An index counted from the front.

    Raises:
        TargetError: if it is out of range.
    """
    if size == 0:
        raise TargetError(f"Expected an output with at least one element, but {what} has none.")
    if not -size <= index < size:
        raise TargetError(f"The target {index} is out of range: expected an index from 0 to {size - 1} ({what} has {size}).")
    return index % size


def whole(index: Any) -> int:
    """An index as an int.

    Raises:
        TargetError: if it is not a whole number.
    """
    if isinstance(index, bool) or not hasattr(index, "__index__"):
        raise TargetError(f"Expected an output index as a whole number, got {index!r}.")
    return int(index.__index__())


def element(scores: Tensor, index: int | tuple[int, ...]) -> tuple[int, ...]:
    """An index beyond the batch, checked against the scores' shape."""
    shape = tuple(scores.shape[1:])
    given = tuple(whole(i) for i in (index if isinstance(index, tuple) else (index,)))
    if len(given) != len(shape):
        raise TargetError(
            f"The target {index!r} must name one element of an output of shape (batch, {', '.join(map(str, shape))}): "
            f"expected {len(shape)} {'index' if len(shape) == 1 else 'indices, as a tuple'}, got {len(given)}."
        )
    return tuple(position(i, n, f"dimension {d + 1} of the output") for d, (i, n) in enumerate(zip(given, shape, strict=True)))
