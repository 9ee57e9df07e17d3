"""Facts about a trace that decide where relevance is divided: layers, sums, gates, first and last."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from seqxai.errors import UnsupportedOperation
from seqxai.rules import product as products
from seqxai.rules.boxes import Boxes
from seqxai.rules.product import ProductRule
from seqxai.rules.ranges import Range, Ranges
from seqxai.trace.graph import Node, Trace, Value

if TYPE_CHECKING:
    from seqxai.composites import Composite

LAYERS = frozenset({"linear", "convolution"})
TRANSPARENT = frozenset({"reshape", "permute", "slice", "cat"})


class Gated(NamedTuple):
    """A product read as gate times signal: positions among the node's inputs; ``signal`` is ``None`` for a constant signal."""

    gate: int
    signal: int | None


class Structure:
    """What is known about a trace before any relevance flows.

    A *weighted* value is a sum of layers' outputs and constants, possibly scaled, shifted, gated or viewed: it is
    stabilised once, at its
    top, and the rule is that of its layers.  Other sums (``x + f(x)``) divide among their terms.  A product whose gate takes a share is a
    term of the sum it stands in, where that sum's division ends.

    Args:
        trace: the recorded run.
        inputs: ranges of the explained inputs, where the user gave any.
        bilinear: "half" if a product without a gate is shared equally between its factors instead of refused.
        product: how a gate's product is shared, by name or as a rule.
        composite: its product rules win over ``product``.
    """

    def __init__(
        self,
        trace: Trace,
        inputs: list[Range] | None = None,
        bilinear: str | None = None,
        product: str | ProductRule = "signal-takes-all",
        composite: Composite | None = None,
    ) -> None:
        self.trace = trace
        self.bilinear = bilinear
        self.product = products.ensure(product)
        chosen = [rule for _, rule in composite.pairs if isinstance(rule, ProductRule)] if composite is not None else []
        self.composite = composite if chosen else None
        # Whether every gate is held fixed, as by default; then nothing needs to be asked for single products.
        self.gates_fixed = self.product.takes_all and all(rule.takes_all for rule in chosen)
        self._inputs = inputs
        self._rules: dict[int, ProductRule] = {}
        self._gated: dict[int, Any] = {}
        self.inside: dict[tuple[int, int], Any] = {}  # the rules inside recurrent nodes, by node and composite
        self.boxes = Boxes(trace)

    @cached_property
    def ranges(self) -> Ranges:
        """Ranges of all values; computed when first asked for."""
        return Ranges(self.trace, self._inputs)

    def nonnegative(self, value: Value) -> bool:
        """Whether a value can never be negative, by construction."""
        return self.ranges.of(value).low >= 0

    # ---- products ----------------------------------------------------------------------------------------------------------

    def product_rule(self, node: Node) -> ProductRule:
        """The product rule of a node: the composite's, else that of the argument ``product``."""
        if self.composite is None:
            return self.product
        found = self._rules.get(node.index)
        if found is None:
            found = self._rules[node.index] = self.composite.product(node, self) or self.product
        return found

    def shares(self, node: Node) -> bool:
        """Whether a node is a product whose gate takes a share: a term of its own in the sum it stands in."""
        return not self.gates_fixed and node.operation.kind == "mul" and self.is_product(node) and not self.product_rule(node).takes_all

    def is_product(self, node: Node) -> bool:
        """Whether a node multiplies two active values, or a gate by a constant signal."""
        return len(node.inputs) == 2 or self.constant_signal(node)

    def constant_signal(self, node: Node) -> bool:
        """Whether an active gate multiplies a constant of its own full shape: then the constant is the signal.

        The first step of every hand-written GRU is such a product, ``r * (W h0 + b)`` with a constant h0.
        """
        from seqxai.rules.ranges import constants

        if node.name != "mul" or len(node.inputs) != 1:
            return False
        others = constants(node)
        if not others or others[0].shape != node.output.shape or others[0].numel() < 2:
            return False
        if isinstance(others[0], torch.nn.Parameter):
            return False
        return self.ranges.of(node.inputs[0]).gate and not self._is_softmax(node.inputs[0])

    @staticmethod
    def _is_softmax(value: Value) -> bool:
        """Whether a value holds probabilities: times constants they make an expectation, which depends on the input."""
        node = value.node
        while node is not None and node.operation.kind == "route":
            node = node.inputs[0].node
        return node is not None and node.operation.kind == "softmax"

    def gated(self, node: Node) -> Gated | None:
        """Which factor of a product is the gate; ``None`` if the product is to be shared equally.

        Raises:
            UnsupportedOperation: if no factor, or both, could be the gate and no sharing was asked for.
        """
        found = self._gated.get(node.index, self)
        if found is self:
            found = self._gated[node.index] = self._look_for_gate(node)
        return found

    def _look_for_gate(self, node: Node) -> Gated | None:
        if len(node.inputs) == 1:
            return Gated(0, None)
        a, b = (self.ranges.of(value) for value in node.inputs)
        if node.name == "div":
            # Only a divisor that was declared is held fixed; a quotient of two signals has no rule.
            if b.declared:
                return Gated(1, 0)
            raise UnsupportedOperation(
                f"The quotient {node.describe()} (node #{node.index}) divides by a value that depends on the explained input; "
                "hold the divisor fixed with seqxai.gate(divisor) in the model, or rewrite it."
            )
        if a.declared != b.declared and (a.declared or b.declared):
            return Gated(0, 1) if a.declared else Gated(1, 0)
        first, second = (r.gate or self._routed_gate(v) for r, v in zip((a, b), node.inputs, strict=True))
        if first != second:
            return Gated(0, 1) if first else Gated(1, 0)
        if self.bilinear == "half":
            return None
        why = "both factors lie in [0, 1], so it is ambiguous which one is the gate" if first else "neither factor is a gate"
        raise UnsupportedOperation(
            f"The product {node.describe()} (node #{node.index}) has two factors that depend on the explained input, and {why}; "
            "declare the gate with seqxai.gate(tensor) in the model, or ask for equal shares with bilinear='half'."
        )

    def _routed_gate(self, value: Value) -> bool:
        """Whether every element came from a gate, where values of different ranges were joined and taken apart again.

        The range of ``cat([gate, signal])`` is that of both; the same routing of a mask tells them apart.
        """
        node = value.node
        if node is None or node.operation.kind != "route" or node.operation.how not in TRANSPARENT:
            return False
        mask = self._gate_mask(value)
        return bool(mask.all()) and mask.numel() > 0

    def _gate_mask(self, value: Value) -> Tensor:
        node = value.node
        if self.ranges.of(value).gate:
            return torch.ones(value.shape)
        if node is None or node.operation.kind != "route" or node.operation.how not in TRANSPARENT or node.mutated is not None:
            return torch.zeros(value.shape)
        args, kwargs = node.arguments([self._gate_mask(v) for v in node.inputs])
        if node.operation.how == "cat" and not self._all_active(node):
            return torch.zeros(value.shape)
        result = node.function(*args, **kwargs)
        return (result if isinstance(result, Tensor) else result[value.index]).float()

    # ---- sums ----------------------------------------------------------------------------------------------------------------

    def is_layer(self, node: Node | None) -> bool:
        """Whether a node multiplies one active value by constant weights."""
        return node is not None and node.operation.kind in LAYERS and len(node.inputs) == 1

    @cached_property
    def _inert(self) -> list[bool]:
        table = [False] * self.trace.count
        for node in self.trace.nodes:
            kind = node.operation.kind
            if kind == "mul":
                found = not self.shares(node) and self._inert_product(node, table)
            elif kind == "add" or (kind == "route" and node.operation.how in TRANSPARENT):
                found = all(table[v.number] for v in node.inputs)
            else:
                continue
            if found:
                for value in node.outputs:
                    table[value.number] = True
        return table

    def _inert_product(self, node: Node, table: list[bool]) -> bool:
        if node.name == "div" and node.places[0] not in (0, "input"):
            return False
        if len(node.inputs) == 1:
            return table[node.inputs[0].number] or self.constant_signal(node)
        if not any(table[v.number] for v in node.inputs):
            return False
        try:
            gated = self.gated(node)
        except UnsupportedOperation:
            return False
        return gated is not None and gated.signal is not None and table[node.inputs[gated.signal].number]

    def inert(self, value: Value) -> bool:
        """Whether a value depends on the input through gates only, so that a sum treats it as one of its constants."""
        return self._inert[value.number]

    @cached_property
    def _weighted(self) -> list[bool]:
        table = [False] * self.trace.count
        terms = [False] * self.trace.count  # weighted, or a term of a weighted sum: a product whose gate takes a share
        for node in self.trace.nodes:
            kind = node.operation.kind
            if kind in LAYERS:
                found = term = len(node.inputs) == 1
            elif kind not in ("route", "add", "mul") or not any([terms[v.number] for v in node.inputs]):
                if not (kind == "mul" and self.shares(node)):
                    continue
                found, term = False, self._signal_weighted(node, terms)
            elif kind == "route":
                whole = node.operation.how in TRANSPARENT and self._all_active(node)
                found, term = (whole and all([t[v.number] for v in node.inputs]) for t in (table, terms))
            elif kind == "add":
                active = [v for v in node.inputs if not self._inert[v.number]]
                found = term = bool(active) and all([terms[v.number] for v in active]) and not self._residual(node)
            elif self.shares(node):
                found, term = False, self._signal_weighted(node, terms)
            else:
                term = self._signal_weighted(node, terms)
                found = term and (self.gates_fixed or self._signal_weighted(node, table))
            if term:
                for value in node.outputs:
                    table[value.number], terms[value.number] = found, term
        return table

    @staticmethod
    def _all_active(node: Node) -> bool:
        if node.operation.how == "cat":
            return len(node.inputs) == len(node.args[0] if node.args else node.kwargs["tensors"])
        return True

    def _signal_weighted(self, node: Node, table: list[bool]) -> bool:
        if node.name == "div" and node.places[0] not in (0, "input"):
            return False
        if self.constant_signal(node):
            return self.shares(node)
        if not any(table[v.number] for v in node.inputs):
            return False
        if not self.is_product(node):
            return True
        if node.name != "mul":
            return False
        try:
            gated = self.gated(node)
        except UnsupportedOperation:
            return False
        return gated is not None and gated.signal is not None and table[node.inputs[gated.signal].number]

    def weighted(self, value: Value) -> bool:
        """Whether a value is a sum of layers, stabilised as one."""
        return self._weighted[value.number]

    def _residual(self, node: Node) -> bool:
        """Whether one term of a sum of layers was computed from another: ``y + f(y)`` keeps its own division."""
        if len(node.inputs) < 2:
            return False
        terms = [self.peeled(value) for value in node.inputs]
        for position, term in enumerate(terms):
            if len(term.consumers) < 2:
                continue
            others = [v for i, v in enumerate(terms) if i != position and v is not term]
            if any(self._depends(other, term) for other in others):
                return True
        return False

    @staticmethod
    def peeled(value: Value) -> Value:
        """The value behind views that nobody else looks at."""
        node = value.node
        while node is not None and node.operation.kind == "route" and node.operation.how in ("reshape", "permute"):
            if len(value.consumers) > 1:
                break
            value = node.inputs[0]
            node = value.node
        return value

    @staticmethod
    def _depends(value: Value, ancestor: Value) -> bool:
        start = ancestor.node.index if ancestor.node is not None else -1
        stack, seen = [value], {value.number}
        while stack:
            current = stack.pop()
            if current is ancestor:
                return True
            if current.node is None or current.node.index <= start:
                continue
            for source in current.node.inputs:
                if source.number not in seen:
                    seen.add(source.number)
                    stack.append(source)
        return False

    def merges(self, consumer: Node, value: Value) -> bool:
        """Whether a term of an ordinary sum is itself part of that sum (one denominator) rather than an input to it.

        Scales and gate products are; a nested sum is if nobody else reads it, except that a sum of gate products behind a gate is
        the previous state of a recurrent cell and keeps its own division.
        """
        source = self.peeled(value)
        node = source.node
        if node is None or self.weighted(value):
            return False
        if node.operation.kind == "mul":
            return self.is_signal_path(node)
        if not self.opens(node, value):
            return False
        return consumer.operation.kind == "add" or not self._holds_gate_product(node)

    @staticmethod
    def opens(node: Node, value: Value) -> bool:
        """Whether ``value``, a view of a node's output or the output itself, is a sum that nobody else reads."""
        return node.operation.kind == "add" and len(node.output.consumers) == 1 and len(value.consumers) == 1

    def is_signal_path(self, node: Node) -> bool:
        """Whether a multiplication hands a coefficient on to one signal."""
        if node.name == "div" and (len(node.inputs) == 2 or node.places[0] not in (0, "input")):
            return False
        if not self.is_product(node):
            return True
        if self.shares(node):
            return False
        gated = self.gated(node)
        return gated is not None and gated.signal is not None

    def _holds_gate_product(self, node: Node) -> bool:
        stack = [node]
        while stack:
            current = stack.pop()
            for value in current.inputs:
                source = self.peeled(value).node
                if source is None:
                    continue
                if source.operation.kind == "mul" and len(source.inputs) == 2:
                    return True
                if source.operation.kind == "add" and len(value.consumers) == 1:
                    stack.append(source)
        return False

    def layers(self, value: Value) -> list[Node]:
        """The layers that feed a weighted value, in the order of the trace; those behind products of gates only if there are no others."""
        found = self._layers(value, through=False)
        return found or self._layers(value, through=True)

    def _layers(self, value: Value, through: bool) -> list[Node]:
        found, stack, seen = [], [value], {value.number}
        while stack:
            node = stack.pop().node
            if node is None:
                continue
            if self.is_layer(node):
                found.append(node)
                continue
            for source in node.inputs:
                inside = self.weighted(source) or (through and source.node is not None and self.shares(source.node))
                if source.number not in seen and inside:
                    seen.add(source.number)
                    stack.append(source)
        return sorted(set(found), key=lambda n: n.index)

    def feeds_relu(self, value: Value) -> bool:
        """Whether nobody reads a value but ReLUs, possibly through views."""
        if value in self.trace.outputs or not value.consumers:
            return False
        for node in value.consumers:
            if node.operation.kind == "activation" and node.name in ("relu", "relu6"):
                continue
            if node.operation.kind == "route" and node.operation.how in ("reshape", "permute"):
                if self.feeds_relu(node.output):
                    continue
            return False
        return True

    # ---- first and last --------------------------------------------------------------------------------------------------------

    @cached_property
    def _after_layer(self) -> list[bool]:
        table = [False] * self.trace.count
        for node in self.trace.nodes:
            if self._weighs(node) or any(table[v.number] for v in node.inputs):
                for value in node.outputs:
                    table[value.number] = True
        return table

    @cached_property
    def _before_layer(self) -> list[bool]:
        table = [False] * self.trace.count
        for node in reversed(self.trace.nodes):
            if self._weighs(node) or any(table[v.number] for v in node.outputs):
                for value in node.inputs:
                    table[value.number] = True
        return table

    def _weighs(self, node: Node) -> bool:
        return self.is_layer(node) or node.operation.kind == "recurrent"

    def is_first(self, node: Node) -> bool:
        """Whether a layer sees the input before any other layer does."""
        return self.is_layer(node) and not self._after_layer[node.inputs[0].number]

    def is_last(self, node: Node) -> bool:
        """Whether no other layer comes after a layer."""
        return self.is_layer(node) and not self._before_layer[node.output.number]

    def before_layers(self, node: Node) -> bool:
        """Whether a node prepares the input for the first layers (``/ 255``, ``- mean``)."""
        return not any(self._after_layer[v.number] for v in node.outputs)
