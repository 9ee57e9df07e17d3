"""What the walks of all cells share: stabilised quotients, products of factors, and the loop's view of its arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from seqxai.rules.base import Stabilizer
from seqxai.rules.product import Part, ProductRule
from seqxai.rules.recurrent.layout import Layout
from seqxai.trace.lstm import Kept
from seqxai.trace.recurrent import Call


class Quotient:
    """The stabilised inverse of a denominator, ``1 / (z + offset)``; 0 where the denominator is 0.

    Args:
        z: the denominator.
        stabilizer: "signed" or "absolute".

    Attributes:
        inverse: of z's shape.
    """

    def __init__(self, z: Tensor, stabilizer: Stabilizer) -> None:
        self.z = z
        self.stabilizer = stabilizer
        if stabilizer.epsilon and stabilizer.kind == "signed":
            self.inverse = self._offset().add_(z).reciprocal_()
        else:
            self.inverse = (z + self._offset()).reciprocal_()
            self.inverse.masked_fill_(~torch.isfinite(self.inverse), 0.0)

    def _offset(self) -> Tensor:
        size = self.z.new_tensor(self.stabilizer.epsilon)
        return torch.copysign(size, self.z) if self.stabilizer.kind == "signed" else size

    @cached_property
    def absorbed(self) -> Tensor:
        """The fraction of relevance that the offset keeps; all of it where the denominator is 0."""
        if self.stabilizer.epsilon and self.stabilizer.kind == "signed":  # offset and inverse have the same sign, and neither is 0
            return self.inverse.abs().mul_(self.stabilizer.epsilon)
        return torch.where(self.inverse == 0, 1.0, self._offset() * self.inverse)


@dataclass(frozen=True)
class Rules:
    """The rules inside one recurrent node: of its layers, of its sums, and of its gates' products."""

    layer: Stabilizer
    sums: Stabilizer
    product: ProductRule


@dataclass(frozen=True)
class Arrived:
    """Relevance that arrived at a recurrent node, (D, T, B, ·) or (D, B, ·), or ``None``.

    Attributes:
        output: at the hidden states of all steps.
        hidden, cell: at the final states.
        cells: at the cell states of all steps.
    """

    output: Tensor | None
    hidden: Tensor | None
    cell: Tensor | None = None
    cells: Tensor | None = None


@dataclass
class Left:
    """What the walk through a recurrent node leaves.

    Attributes:
        coefficients: of the layers' sums at the input, (D, T, B, K).
        weights: the rows of W those multiply, (K, F) for each direction.
        states: relevance of the initial states, (D, B, ·) each.
        booked: ledger entry -> amounts, (D, T, B, ·), added up.
    """

    coefficients: Tensor
    weights: list[Tensor]
    states: tuple[Tensor, ...]
    booked: dict[str, list[Tensor]] = field(default_factory=dict)

    def book(self, entry: str, amount: Part) -> None:
        """Add to a ledger entry."""
        if isinstance(amount, Tensor):
            self.booked.setdefault(entry, []).append(amount)


class Cell(ABC):
    """The walk back through all steps of one layer.

    Everything but the recurrence itself is done for all steps, samples and directions at once: pre-activations are recomputed from the
    recorded hidden states by two products, and each rule becomes a coefficient of the step's relevance.

    Args:
        call: a call of one layer.
        layout: its arrays.
        rules: the rules inside it.
        kept: the gates, if the run kept them.
    """

    def __init__(self, call: Call, layout: Layout, rules: Rules, kept: Kept | None = None) -> None:
        self.call = call
        self.kept = kept
        self.layout = layout
        self.rules = rules
        self.groups = [call.group(direction) for direction in range(layout.directions)]

    @abstractmethod
    def walk(self, arrived: Arrived, booking: bool) -> Left:
        """From the relevance at the outputs to coefficients at the input."""

    # ---- weights ---------------------------------------------------------------------------------------------------------------

    def preactivations(self, rows: int) -> Tensor:
        """``W x + U h + b`` of the first rows for all steps, (D, T, B, rows)."""
        weights = [torch.cat((group[0][:rows], group[1][:rows]), 1) for group in self.groups]
        return self.layout.product(weights, self.bias("both", 0, rows))

    def w(self, start: int, stop: int) -> list[Tensor]:
        """Rows of the input's weights, a matrix for each direction."""
        return [group[0][start:stop] for group in self.groups]

    def u(self, start: int, stop: int) -> list[Tensor]:
        """Rows of the state's weights."""
        return [group[1][start:stop] for group in self.groups]

    def recurrent_weights(self, start: int, stop: int) -> Tensor:
        """Rows of the state's weights as the loop needs them: (K, P), or (D, K, P) for two directions."""
        found = self.u(start, stop)
        return found[0] if len(found) == 1 else torch.stack(found)

    def bias(self, which: str, start: int, stop: int) -> list[Tensor | None]:
        """Rows of b_ih ("input"), b_hh ("state") or their sum ("both"), for each direction."""
        found: list[Tensor | None] = []
        for group in self.groups:
            first, second = group[2], group[3]
            if first is None or second is None:
                found.append(None)
                continue
            total = first + second if which == "both" else first if which == "input" else second
            found.append(total[start:stop])
        return found

    def shaped(self, bias: list[Tensor | None]) -> Tensor | None:
        """A bias broadcastable to (D, T, B, K)."""
        there = [b for b in bias if b is not None]
        return torch.stack(there)[:, None, None, :] if there else None

    # ---- the loop's view of arrays ------------------------------------------------------------------------------------------------

    @property
    def multiply(self) -> Callable[[Tensor, Tensor], Tensor]:
        """The matrix product of the loop's arrays."""
        return torch.mm if self.layout.directions == 1 else torch.bmm

    def by_step(self, array: Tensor) -> tuple[Tensor, ...]:
        """The steps of (D, T, B, K): (B, K) each for one direction, (D, B, K) for two."""
        return array[0].unbind(0) if self.layout.directions == 1 else array.unbind(1)

    def one(self, state: Tensor) -> Tensor:
        """(D, B, K) as the loop has it."""
        return state[0] if self.layout.directions == 1 else state

    def all_steps(self, steps: list[Tensor]) -> Tensor:
        """(D, T, B, K) from the loop's steps."""
        return torch.stack(steps).unsqueeze(0) if self.layout.directions == 1 else torch.stack(steps, 1)

    def final(self, state: Tensor) -> Tensor:
        """(D, B, K) from the loop's state."""
        return state.unsqueeze(0) if self.layout.directions == 1 else state

    def held(self, factor: Tensor, at_padding: float) -> Tensor:
        """A coefficient, in place, with what it is where nothing happens."""
        return factor if self.layout.padded is None else factor.masked_fill_(self.layout.padded, at_padding)
