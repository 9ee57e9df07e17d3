"""Pre-activations: what a gate's sigmoid and a signal's tanh were applied to, however the two were spelt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from seqxai.errors import UnsupportedOperation
from seqxai.rules.boxes import scale_of
from seqxai.rules.product import Half, ProductRule, SignalTakesAll
from seqxai.rules.ranges import addends
from seqxai.trace.graph import Node, Value

if TYPE_CHECKING:
    from seqxai.rules.flow import Flow


class Preactivation:
    """The pre-activation of one factor of a product.

    * a squashing function of a: a itself; ``1 - σ(a)``, which is ``σ(-a)``: -a;
    * ``½ (1 + tanh(a))``, which is ``σ(2a)``: 2a; ``1 / (1 + exp(a))``, which is ``σ(-a)``: -a;
    * positive multiples, clamps, and whatever moves these from place to place: the same, element by element;
    * anything else, a state: the value itself.

    Args:
        value: the factor.
        flow: the walk.
        gate: whether it is the gate; a gate's share enters at the pre-activation, past whatever lies between.

    Attributes:
        data: of the factor's shape.
        known: whether it was found, or is the value itself because nothing squashed it.
    """

    def __init__(self, value: Value, flow: Flow, gate: bool) -> None:
        self.value = value
        self.flow = flow
        self.gate = gate
        self.sources: dict[int, Value] = {}
        self.shifted = False  # whether a shift or a scale lies between, which would keep a part of a share
        found = self._look(value, {})
        self.data: Tensor = flow.trace.data(value) if found is None else found
        self.known = found is not None or not flow.structure.ranges.of(value).squashed

    def require(self, rule: ProductRule) -> None:
        """Refuse a share by pre-activations where there is none.

        Raises:
            UnsupportedOperation: if the factor was squashed in a way that is not understood.
        """
        if not self.known and not isinstance(rule, (SignalTakesAll, Half)):
            raise UnsupportedOperation(
                f"{rule} shares by pre-activations, but that of the gate {self.value!r} is not told by how it was computed; expected a "
                "sigmoid, possibly 1 - sigmoid, scaled, clamped or moved: write it so, or use the rule Half or SignalTakesAll there."
            )

    def deliver(self, relevance: Tensor) -> None:
        """Give the gate's share to its pre-activation."""
        if not self.shifted:  # views and a squash pass it on unchanged
            self.flow.give(self.value, relevance)
            return
        with torch.enable_grad():
            leaves = {n: torch.zeros_like(self.flow.trace.data(v)).requires_grad_() for n, v in self.sources.items()}
            routed = self._look(self.value, leaves, signs=False)
            assert routed is not None
            found = torch.autograd.grad(routed, list(leaves.values()), relevance, materialize_grads=True)
        for value, part in zip(self.sources.values(), found, strict=True):
            self.flow.give(value, part, shared=True)

    def _look(self, value: Value, leaves: dict[int, Tensor], signs: bool = True) -> Tensor | None:
        node = value.node
        if node is None:
            return None
        kind = node.operation.kind
        exponent = _inner_exp(node)
        if exponent is not None:
            self.shifted = True
            inner = self._source(exponent, leaves)
            return -inner if signs else inner
        if kind in ("activation", "max") and len(node.inputs) == 1 and self.gate:
            # A clamp, a power: what acts on a gate lies between it and its pre-activation.
            inner_gate = self.flow.structure.ranges.of(node.inputs[0]).gate or _name(node.inputs[0]) in LOGARITHMS
            deeper = self._look(node.inputs[0], leaves, signs) if inner_gate else None
            if deeper is not None or kind == "max":
                return deeper
        if kind == "activation" and self.gate and node.name == "tanh":
            argument, scale = _unscaled(node.inputs[0])
            self.shifted = self.shifted or argument is not node.inputs[0]
            inner = self._source(argument, leaves)
            return 2.0 * scale * inner if signs else inner
        if kind == "activation":
            return self._source(node.inputs[0], leaves)
        if kind == "gate":
            return self._look(node.inputs[0], leaves, signs)
        if kind == "route":
            return self._routed(node, value, leaves, signs)
        if kind in ("add", "mul") and len(node.inputs) == 1:
            return self._scaled(node, leaves, signs)
        return None

    def _source(self, value: Value, leaves: dict[int, Tensor]) -> Tensor:
        if not leaves:
            self.sources[value.number] = value
            return self.flow.trace.data(value)
        return leaves[value.number]

    def _routed(self, node: Node, value: Value, leaves: dict[int, Tensor], signs: bool) -> Tensor | None:
        """What moves elements from place to place moves their pre-activations; elements without one stand for themselves."""
        found = [self._look(source, leaves, signs) for source in node.inputs]
        if all(part is None for part in found):
            return None
        parts = [self.flow.trace.data(v) if part is None else part for part, v in zip(found, node.inputs, strict=True)]
        args, kwargs = node.arguments(parts)
        if node.mutated is not None:
            written = args[node.mutated].clone()
            node.function(*args[: node.mutated], written, *args[node.mutated + 1 :], **kwargs)
            return written
        result = node.function(*args, **kwargs)
        return result if isinstance(result, Tensor) else result[value.index]

    def _scaled(self, node: Node, leaves: dict[int, Tensor], signs: bool) -> Tensor | None:
        """A shift or a scale by a constant of one sign."""
        if node.operation.kind == "add":
            if not self.gate:
                return None
            factor = next(f for f, item in addends(node) if isinstance(item, Value))
            positive = factor > 0
        else:
            if node.name == "div" and node.places[0] not in (0, "input"):
                return None
            scale = torch.as_tensor(scale_of(node))
            positive = bool((scale >= 0).all())
            if not positive and not bool((scale <= 0).all()):
                return None
        inner = self._look(node.inputs[0], leaves, signs)
        self.shifted = self.shifted or inner is not None
        return inner if inner is None or positive or not signs else -inner


LOGARITHMS = frozenset({"logsigmoid", "log_sigmoid"})


def _name(value: Value) -> str:
    return value.node.name if value.node is not None else ""


def _unscaled(value: Value) -> tuple[Value, float]:
    """The a and the k of an argument ``k a``: in ``½ (1 + tanh(a / 2))``, which is ``σ(a)``, the share belongs to a."""
    node = value.node
    if node is None or node.operation.kind != "mul" or len(node.inputs) > 1 or node.name == "neg":
        return value, 1.0
    if node.name == "div" and node.places[0] not in (0, "input"):
        return value, 1.0
    scale = scale_of(node)
    return (node.inputs[0], float(scale)) if isinstance(scale, (int, float)) and scale > 0 else (value, 1.0)


def _inner_exp(node: Node) -> Value | None:
    """The argument a of ``1 / (1 + exp(a))``."""
    quotient = node.name == "reciprocal" or (node.name == "div" and len(node.inputs) == 1 and node.places[0] not in (0, "input"))
    if not quotient:
        return None
    total = node.inputs[0].node
    if total is None or total.operation.kind != "add" or len(total.inputs) != 1:
        return None
    exponential = total.inputs[0].node
    return exponential.inputs[0] if exponential is not None and exponential.name == "exp" else None
