"""Targets in sequences: a step of the output, every step, a hidden or a cell unit of a recurrent layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from seqxai.errors import TargetError
from seqxai.targets.base import Seed, Target, position, whole
from seqxai.targets.outputs import Largest, PerSample, ensure
from seqxai.trace.graph import Node, Trace, Value


def _steps_first(data: Tensor, batch_first: bool, what: str) -> Tensor:
    """(B, T, C) from an output of shape (B, T, C), (T, B, C) or (B, T), (T, B)."""
    if data.dim() not in (2, 3):
        raise TargetError(
            f"{what} needs an output with one dimension for the batch and one for the steps, (batch, steps, outputs) or (batch, steps), "
            f"got {tuple(data.shape)}."
        )
    table = data if data.dim() == 3 else data.unsqueeze(-1)
    return table if batch_first else table.transpose(0, 1)


@dataclass(frozen=True)
class Step(Target):
    """The output at one step: of a tagger, a forecaster, a language model.

    Args:
        step: which one, -1 for the last; or a sequence of steps, one for each sample (the last valid ones of padded sequences:
            ``lengths - 1``).
        target: what is explained there, anything that :func:`seqxai.targets.ensure` takes; the largest output by default.
        batch_first: whether the output is (B, T, ...) rather than (T, B, ...).
    """

    step: int | Sequence[int] | Tensor = -1
    target: Any = None
    batch_first: bool = True

    def chosen(self, trace: Trace, output: Value) -> Target:
        """See :class:`Target`."""
        if not isinstance(ensure(self.target), Largest):
            return self
        table = _steps_first(trace.data(output), self.batch_first, "Step")
        rows = table[torch.arange(table.shape[0], device=table.device), self._steps(table)]
        return replace(self, target=PerSample(tuple(rows.argmax(1).tolist())))

    def seed(self, trace: Trace, output: Value) -> Seed:
        """See :class:`Target`."""
        data = trace.data(output)
        inner = ensure(self.target)
        if inner.many:
            raise TargetError("Step explains one scalar at its step, got several targets; ask for one at a time.")
        if type(inner).value is not Target.value or type(inner).seed is not Target.seed:
            raise TargetError(f"Step explains the model's output at a step, got {inner}, which is something else; ask for it by itself.")
        explained, relevance = self.combine(data)
        return Seed(output, relevance, explained, 0 if self.batch_first else 1)

    def _steps(self, table: Tensor) -> Tensor:
        batch, length = table.shape[:2]
        given = self.step.tolist() if isinstance(self.step, Tensor) else self.step
        each = [whole(s) for s in given] if isinstance(given, Sequence) and not isinstance(given, str) else [whole(given)] * batch
        if len(each) != batch:
            raise TargetError(f"Expected one step for each of {batch} samples, got {len(each)}.")
        return torch.tensor([position(s, length, "the sequence") for s in each], dtype=torch.long, device=table.device)

    def combine(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Target`; scores are (B, T, ...), or (T, B, ...) if the batch is not first."""
        table = _steps_first(scores, self.batch_first, "Step")
        steps, samples = self._steps(table), torch.arange(table.shape[0], device=table.device)
        explained, rows = ensure(self.target).combine(table[samples, steps])
        relevance = torch.zeros_like(table)
        relevance[samples, steps] = rows
        return explained, (relevance if self.batch_first else relevance.transpose(0, 1)).reshape(scores.shape)

    def __str__(self) -> str:
        if not isinstance(self.step, int):
            return f"{ensure(self.target)} at steps by sample"
        return f"{ensure(self.target)} at {'the last step' if self.step == -1 else f'step {self.step}'}"


@dataclass(frozen=True)
class EveryStep(Target):
    """Every step of the output from one forward pass, each an explanation of its own: results have a leading dimension of T.

    Args:
        target: what is explained at each step, see :class:`Step`.
        steps: only these, all by default.
        batch_first: whether the output is (B, T, ...) rather than (T, B, ...).
    """

    target: Any = None
    steps: Sequence[int] | None = None
    batch_first: bool = True
    many = True

    def each(self, trace: Trace, output: Value) -> tuple[Target, ...]:
        """One :class:`Step` for each step."""
        table = _steps_first(trace.data(output), self.batch_first, "EveryStep")
        steps = range(table.shape[1]) if self.steps is None else self.steps
        if not isinstance(steps, Sequence) or isinstance(steps, str):
            raise TargetError(f"EveryStep takes a list of steps, got {steps!r}; one step is targets.Step.")
        if len(steps) == 0:
            raise TargetError("EveryStep needs at least one step.")
        return tuple(Step(step, self.target, self.batch_first) for step in steps)

    def combine(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Not used: each step is walked back on its own."""
        raise TargetError("EveryStep explains its steps one by one.")

    def __str__(self) -> str:
        return f"{ensure(self.target)} at every step"


@dataclass(frozen=True)
class State(Target):
    """A unit of the hidden or of the cell state of an ``nn.LSTM``, ``nn.GRU``, ``nn.RNN`` or of their cells.

    The kernels return cell states of the last step only; those of other steps are recomputed, so that a memory cell can be explained at any
    time (what made this cell fill up?).

    Args:
        path: the module's path in the model.
        unit: which unit; ``None`` for the sum of all.
        step: which step, -1 for the last one of each sequence.
        of: "hidden" or "cell".
        layer: which layer, the last by default.
        direction: 0 forward, 1 backward; the last step of the backward direction is the first of the sequence.
    """

    path: str
    unit: int | None = None
    step: int = -1
    of: str = "hidden"
    layer: int = -1
    direction: int = 0

    def __post_init__(self) -> None:
        if self.of not in ("hidden", "cell"):
            raise TargetError(f"A state is 'hidden' or 'cell', got {self.of!r}.")
        if self.direction not in (0, 1):
            raise TargetError(f"A direction is 0 (forward) or 1 (backward), got {self.direction!r}.")

    def seed(self, trace: Trace, output: Value) -> Seed:
        """See :class:`Target`."""
        from seqxai.rules.recurrent import call_of

        whole(self.step)
        calls = [node for node in trace.nodes if node.operation.kind == "recurrent" and node.path == self.path]
        if not calls:
            raise TargetError(
                f"Expected the path of an nn.LSTM, nn.GRU, nn.RNN or one of their cells, got {self.path!r}, where none ran as a whole; "
                "states of cells written by hand are explained with targets.Unit."
            )
        first = call_of(calls[0])
        if self.of == "cell" and first.cell != "lstm":
            raise TargetError(f"Expected an LSTM for a cell state, but {self.path!r} is a {first.cell}; ask for of='hidden'.")
        if self.direction >= first.directions:
            raise TargetError(f"{self.path!r} has one direction only, got direction {self.direction}.")
        return self._step_of_cell(trace, calls) if first.single else self._of_sequence(trace, calls, first.batch_sizes is not None)

    # ---- a cell called step by step ----------------------------------------------------------------------------------------------

    def _step_of_cell(self, trace: Trace, calls: list[Node]) -> Seed:
        node = calls[position(self.step, len(calls), f"the calls of {self.path!r}")]
        found = [value for value in node.outputs if value.index == (self.of == "cell")]
        data = trace.data(found[0])
        table = data if data.dim() == 2 else data.unsqueeze(0)
        explained, relevance = self._unit(table)
        return Seed(found[0], relevance.reshape(data.shape), explained)

    # ---- a whole sequence ----------------------------------------------------------------------------------------------------------

    def _of_sequence(self, trace: Trace, nodes: list[Node], packed: bool) -> Seed:
        from seqxai.rules.recurrent import call_of, cell_states

        returned = [value for value in trace.at(self.path) if value.node is not None]
        finals = 2 if call_of(nodes[0]).cell == "lstm" else 1
        if self.step == -1 and packed:
            return self._final(trace, returned[-1 if self.of == "cell" else -finals], len(nodes))
        if packed:
            raise TargetError(
                f"{self.path!r} ran on a packed sequence, whose steps have no common place; expected step=-1, the last of each sequence, "
                f"got {self.step}: explain the padded sequence, or one sample at a time."
            )
        layer = nodes[position(self.layer, len(nodes), f"the layers of {self.path!r}")]
        call = call_of(layer)
        value = cell_states(trace, layer) if self.of == "cell" else next(v for v in layer.outputs if v.index == 0)
        table = _steps_first(trace.data(value), call.batch_first, "State")
        last = table.shape[1] - 1
        step = position(self.step, table.shape[1], "the sequence")
        step = last - step if self.direction and self.step < 0 else step
        width = table.shape[2] // call.directions
        columns = slice(self.direction * width, (self.direction + 1) * width)
        explained, rows = self._unit(table[:, step, columns])
        relevance = torch.zeros_like(table)
        relevance[:, step, columns] = rows
        relevance = relevance if call.batch_first else relevance.transpose(0, 1)
        return Seed(value, relevance, explained, 0 if call.batch_first else 1)

    def _final(self, trace: Trace, value: Value, layers: int) -> Seed:
        """A final state in the order of the batch, (layers · directions, B, units)."""
        data = trace.data(value)
        table = data if data.dim() == 3 else data.unsqueeze(1)
        row = position(self.layer, layers, f"the layers of {self.path!r}") * (table.shape[0] // layers) + self.direction
        explained, rows = self._unit(table[row])
        relevance = torch.zeros_like(table)
        relevance[row] = rows
        return Seed(value, relevance.reshape(data.shape), explained, 1)

    def _unit(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        if self.unit is None:
            return rows.sum(1), rows.clone()
        unit = position(whole(self.unit), rows.shape[1], "the state")
        relevance = torch.zeros_like(rows)
        relevance[:, unit] = rows[:, unit]
        return rows[:, unit].clone(), relevance

    def combine(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Not used: a state is no combination of the outputs."""
        raise TargetError(f"{self} is not among the model's outputs; expected an attributor that records the run, such as seqxai.LRP.")

    def __str__(self) -> str:
        where = "the last step" if self.step == -1 else f"step {self.step}"
        return f"{self.of} state of {self.path}, unit {'all' if self.unit is None else self.unit}, at {where}"
