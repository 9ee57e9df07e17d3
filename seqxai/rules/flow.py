"""The state of one walk back through a trace: what every value has received so far, and what was booked."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seqxai.rules.base import Share
from seqxai.rules.samples import Samples
from seqxai.rules.structure import Structure
from seqxai.rules.weights import WeightCache
from seqxai.trace.graph import Node, Trace, Value

if TYPE_CHECKING:
    from seqxai.composites import Composite

Slot = dict[Share | None, Tensor]


class Flow:
    """Relevance and coefficients on their way back.

    Every value has a slot: under ``None`` its relevance, under a :class:`Share` a coefficient sent by a sum it belongs to.

    Args:
        trace: the recorded run.
        composite: assigns rules.
        structure: facts about the trace that do not depend on the relevance.
        samples: which sample each element belongs to.
        cache: modified weights.
        booking: whether to keep the ledger.
        watched: values whose relevance is wanted, see :meth:`watch`.
    """

    def __init__(
        self,
        trace: Trace,
        composite: Composite,
        structure: Structure,
        samples: Samples,
        cache: WeightCache,
        booking: bool = False,
        watched: list[Value] | None = None,
    ) -> None:
        self.trace = trace
        self.composite = composite
        self.structure = structure
        self.samples = samples
        self.cache = cache
        self.booking = booking
        self.slots: list[Slot | None] = [None] * trace.count
        self.shared: set[tuple[int, Share | None]] = set()
        self.watched = {value.number for value in watched or ()}
        self.seen: dict[int, Tensor] = {}
        self.entries: dict[str, Tensor] = {}
        self.nodes: dict[int, dict[str, Tensor]] = {}

    # ---- giving and taking --------------------------------------------------------------------------------------------------

    def give(self, value: Value, tensor: Tensor, share: Share | None = None, shared: bool = False) -> None:
        """Add to a value's slot.

        Args:
            value: the receiver.
            tensor: relevance (share ``None``) or coefficient, of the value's shape.
            share: which of the two.
            shared: whether the caller or another value keeps using the same tensor, so that nothing may be added into it.
        """
        slot = self.slots[value.number]
        if slot is None:
            slot = self.slots[value.number] = {}
        present = slot.get(share)
        key = (value.number, share)
        if present is None:
            slot[share] = tensor
            if shared:
                self.shared.add(key)
        elif key in self.shared:
            self.shared.discard(key)
            slot[share] = present + tensor
        else:
            present.add_(tensor)

    def place(self, value: Value, share: Share | None = None) -> Tensor:
        """The tensor that collects for a value, to add into a part of it: a slice costs what the slice costs."""
        slot = self.slots[value.number]
        if slot is None:
            slot = self.slots[value.number] = {}
        present = slot.get(share)
        key = (value.number, share)
        if present is None:
            present = slot[share] = torch.zeros(value.shape, dtype=self.dtype(value), device=value.data.device)
        elif key in self.shared or not present.is_contiguous():
            self.shared.discard(key)
            present = slot[share] = present.clone(memory_format=torch.contiguous_format)
        return present

    def dtype(self, value: Value) -> torch.dtype:
        """Type of a value's relevance: its own, or the model's for integer inputs."""
        dtype = value.data.dtype
        return dtype if dtype.is_floating_point else self.trace.outputs[0].data.dtype

    def take(self, value: Value) -> Slot:
        """Remove and return what a value received."""
        slot = self.slots[value.number]
        self.slots[value.number] = None
        if slot is None:
            return {}
        if value.number in self.watched:
            self.watch(value, slot)
        return slot

    def arrived(self, value: Value) -> bool:
        """Whether a value has received anything."""
        return self.slots[value.number] is not None

    @cached_property
    def input_rule(self) -> bool:
        """Whether a first layer has a rule for raw inputs (z^B, w², flat), which decides what shifts before it mean."""
        from seqxai.rules.affine import Flat, WSquare, ZBox

        first = (node for node in self.trace.nodes if self.structure.is_first(node))
        return any(isinstance(self.composite.rule(node, self.structure), (ZBox, WSquare, Flat)) for node in first)

    def take_relevance(self, node: Node) -> Tensor | None:
        """The relevance of a single output; for nodes that never lie inside a sum."""
        slot = self.take(node.output)
        relevance = slot.pop(None, None)
        assert not slot, f"a coefficient reached {node}, which is not part of a sum"
        return relevance

    def watch(self, value: Value, slot: Slot) -> None:
        """Remember a value's relevance; inside a sum it is its contribution, the coefficient times the value."""
        from seqxai.rules.affine import contribution

        total = torch.zeros(value.shape, dtype=self.dtype(value), device=value.data.device)
        for share, tensor in slot.items():
            total += tensor if share is None else contribution(value, share, tensor, self)
        self.seen[value.number] = total

    # ---- the ledger -----------------------------------------------------------------------------------------------------------

    def book(self, entry: str, node: Node | None, amount: Tensor, like: Value | None = None) -> None:
        """Book relevance that reached no input.

        Args:
            entry: "input", "initial_state", "bias", "stabilizer" or "constant".
            node: where it happened.
            amount: how much, of the shape of ``like`` (default: the node's first output) or broadcastable to it.
            like: the value whose samples the amount belongs to.
        """
        value = like if like is not None else node.output if node is not None else None
        assert value is not None
        if amount.shape != value.shape:
            amount = amount.expand(value.shape)
        self._enter(entry, node, self.samples.sum(value, amount))

    def _enter(self, entry: str, node: Node | None, total: Tensor) -> None:
        self.entries[entry] = self.entries[entry] + total if entry in self.entries else total
        if node is not None:
            row = self.nodes.setdefault(node.index, {})
            row[entry] = row[entry] + total if entry in row else total

    def book_product(self, entry: str, node: Node, factor: Tensor, amount: Tensor) -> None:
        """Book ``factor * amount`` at a node's first output without making the product.

        Args:
            entry: see :meth:`book`.
            node: where it happened.
            factor: broadcastable to ``amount``.
            amount: of the output's shape.
        """
        total = self.samples.dot(node.output, factor, amount)
        self._enter(entry, node, total)

    def book_rows(self, entry: str, node: Node, rows: Tensor) -> None:
        """Book sums at a recurrent node, (B,), one for each sequence of its call."""
        self._enter(entry, node, self.samples.of_sequences(node, rows))

    # ---- the walk -------------------------------------------------------------------------------------------------------------

    def run(self, step: Callable[[Node, Flow], Any]) -> None:
        """Visit the nodes in reverse and hand each one that received something to ``step``."""
        slots = self.slots
        with torch.no_grad():
            for node in reversed(self.trace.nodes):
                for value in node.outputs:
                    if slots[value.number] is not None:
                        step(node, self)
                        break
