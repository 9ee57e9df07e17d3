"""Targets among a model's outputs, and units of anything recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from seqxai.errors import TargetError
from seqxai.targets.base import Target, element, position, whole
from seqxai.trace.graph import Trace, Value


@dataclass(frozen=True)
class Index(Target):
    """One element of the output, the same for all samples: a class, or (step, class)."""

    index: int | tuple[int, ...]

    def combine(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Target`."""
        place: Any = (slice(None), *element(scores, self.index))
        relevance = torch.zeros_like(scores)
        relevance[place] = scores[place]
        return scores[place].clone(), relevance

    def __str__(self) -> str:
        return f"output {self.index}"


@dataclass(frozen=True)
class Largest(Target):
    """Each sample's largest output."""

    def combine(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Target`."""
        rows = scores.flatten(1)
        position(0, rows.shape[1], "the output")
        return PerSample(tuple(rows.argmax(1).tolist())).combine_rows(rows, scores.shape)

    def __str__(self) -> str:
        return "largest output"


@dataclass(frozen=True)
class PerSample(Target):
    """One class for each sample of the batch."""

    indices: tuple[int, ...]

    def combine(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Target`."""
        if scores.dim() != 2:
            raise TargetError(f"One target per sample needs an output of shape (batch, classes), got {tuple(scores.shape)}.")
        if len(self.indices) != scores.shape[0]:
            raise TargetError(f"Expected one target for each of {scores.shape[0]} samples, got {len(self.indices)}.")
        for index in self.indices:
            position(int(index), scores.shape[1], "the output")
        return self.combine_rows(scores, scores.shape)

    def combine_rows(self, rows: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
        """Pick one element of each row."""
        chosen = torch.tensor(self.indices, dtype=torch.long, device=rows.device).reshape(-1, 1) % rows.shape[1]
        picked = rows.gather(1, chosen)
        return picked[:, 0], torch.zeros_like(rows).scatter_(1, chosen, picked).reshape(shape)

    def __str__(self) -> str:
        listed = ", ".join(map(str, self.indices[:6]))
        return f"outputs {listed}{', ...' if len(self.indices) > 6 else ''} by sample"


def _many(index: Any) -> bool:
    """Whether indices are given one per sample."""
    if isinstance(index, str):
        return False
    return isinstance(index, Sequence) or getattr(index, "ndim", 0) == 1


@dataclass(frozen=True)
class Contrast(Target):
    """One output minus another: why ``index`` rather than ``other``.

    Args:
        index: an element of the output, or one per sample (a sequence of the batch's length).
        other: likewise.
    """

    index: int | Sequence[int]
    other: int | Sequence[int]

    def combine(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Target`."""
        parts = [
            PerSample(tuple(whole(n) for n in cast(Sequence[int], i))).combine(scores)
            if _many(i)
            else Index(whole(i)).combine(scores)
            for i in (self.index, self.other)
        ]
        return parts[0][0] - parts[1][0], parts[0][1] - parts[1][1]

    def __str__(self) -> str:
        def name(index: int | Sequence[int]) -> str:
            return "(by sample)" if _many(index) else str(index)

        return f"output {name(self.index)} against {name(self.other)}"


@dataclass(frozen=True)
class LogOdds(Target):
    """``log P_c / (1 - P_c)`` of a softmax, spread over the competitors by min-take-most (Montavon et al. 2019, sec. 10.3.1).

    With ``z_{c,c'} = z_c - z_{c'}`` competitor c' receives ``z_{c,c'} p_{c'}``, p the softmin of the differences.  Their
    sum is the log-odds
    plus the entropy of p; the entropy is the ledger's entry ``target``.

    Args:
        index: class c.
    """

    index: int

    def combine(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Target`."""
        if scores.dim() != 2 or scores.shape[1] < 2:
            raise TargetError(f"Log-odds need an output of shape (batch, at least 2 classes), got {tuple(scores.shape)}.")
        c = position(whole(self.index), scores.shape[1], "the output")
        gaps = scores[:, c : c + 1] - scores
        gaps[:, c] = float("inf")
        share = torch.softmax(-gaps, 1)  # (B, classes), 0 at c
        relevance = -share * scores
        relevance[:, c] = scores[:, c]
        return -torch.logsumexp(-gaps, 1), relevance

    def __str__(self) -> str:
        return f"log-odds of output {self.index}"


def _sequences(trace: Trace, path: str) -> list[Value]:
    """The outputs of a recurrent layer's calls; its final states have the layers in front, not the batch.

    Raises:
        TargetError: if the steps come first in them, or sequences are packed.
    """
    layers = [node for node in trace.nodes if node.operation.kind == "recurrent" and node.path == path]
    if not layers or layers[0].name.endswith("_cell"):
        return []
    packed = isinstance(layers[0].args[1], Tensor) and not layers[0].args[1].dtype.is_floating_point
    if packed or not layers[0].args[8]:
        raise TargetError(
            f"Expected outputs with the batch in front, but {path!r} {'runs on packed sequences' if packed else 'has its steps there'}; "
            "explain its units with targets.State."
        )
    each = 3 if layers[0].name == "lstm" else 2
    return trace.at(path)[::each]


@dataclass(frozen=True)
class Unit(Target):
    """A unit of any recorded tensor.

    Args:
        path: a module's path, or "#n" for node n of the trace.
        index: element beyond the batch dimension; ``None`` for the sum of all.
        call: which of the tensors that the module's calls returned, the last by default; of a recurrent layer, which call: its
            outputs at all steps are meant, and :class:`State` explains its final states.
    """

    path: str
    index: int | tuple[int, ...] | None = None
    call: int = -1

    def value(self, trace: Trace, output: Value) -> Value:
        """See :class:`Target`."""
        if not isinstance(self.path, str):
            raise TargetError(f"Expected a module's path as a string, got {self.path!r}.")
        found = _sequences(trace, self.path) or trace.at(self.path)
        if not found or not -len(found) <= self.call < len(found):
            raise TargetError(f"Expected a call of {self.path!r} from 0 to {len(found) - 1}, got {self.call}.")
        return found[self.call]

    def combine(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Target`."""
        if self.index is None:
            return scores.flatten(1).sum(1), scores.clone()
        return Index(self.index).combine(scores)

    def __str__(self) -> str:
        return f"unit {self.index} of {self.path}"


@dataclass(frozen=True)
class Several(Target):
    """Several targets from one forward pass; results have a leading dimension, one entry per target."""

    targets: tuple[Any, ...]
    many = True

    def __init__(self, targets: Sequence[Any]) -> None:
        if not isinstance(targets, (list, tuple)) or not targets:
            raise TargetError(f"Several takes a list of at least one target, got {targets!r}.")
        object.__setattr__(self, "targets", tuple(ensure(t) for t in targets))
        if any(target.many for target in self.targets):
            raise TargetError(f"Several takes targets of one scalar each, got {self}; ask for one of them at a time.")

    def each(self, trace: Trace, output: Value) -> tuple[Target, ...]:
        """See :class:`Target`."""
        return self.targets

    def combine(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Not used: each target is walked back on its own."""
        raise TargetError("Several targets are explained one by one.")

    def __str__(self) -> str:
        return "; ".join(map(str, self.targets))


def ensure(target: Any) -> Target:
    """A target object from what a user may write.

    Args:
        target: ``None`` (largest), an int, a tuple (element beyond the batch), a 1-D integer tensor, array or list (one per
            sample), a list of
            :class:`Target` objects (several), or a :class:`Target`.

    Raises:
        TargetError: for anything else.
    """
    if target is None:
        return Largest()
    if isinstance(target, Target):
        return target
    if isinstance(target, bool):
        raise TargetError(f"Expected an output index, got {target!r}.")
    if isinstance(target, int):
        return Index(target)
    if isinstance(target, tuple) and target and all(hasattr(i, "__index__") for i in target):
        return Index(tuple(whole(i) for i in target))
    if isinstance(target, list) and any(isinstance(t, Target) for t in target):
        return Several(target)
    try:
        indices = torch.as_tensor(target)
    except (TypeError, ValueError, RuntimeError):
        indices = torch.zeros(())
    if indices.is_floating_point() or indices.dtype == torch.bool or indices.dim() > 1:
        raise TargetError(
            f"Expected a target as an index, a tuple, integer indices of shape (batch,), None, or a seqxai.targets object, got {target!r}."
        )
    return Index(int(indices)) if indices.dim() == 0 else PerSample(tuple(indices.tolist()))
