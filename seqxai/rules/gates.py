"""Products of two values that both depend on the input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from seqxai.errors import UnsupportedOperation
from seqxai.rules.affine import contribution
from seqxai.rules.layers import vjp
from seqxai.rules.merge import scale, sum_rule, sum_to
from seqxai.rules.preactivation import Preactivation
from seqxai.rules.product import Half, Part
from seqxai.rules.ranges import constants
from seqxai.rules.structure import Gated
from seqxai.trace.graph import Node, Value

if TYPE_CHECKING:
    from seqxai.rules.flow import Flow


def multiply(node: Node, flow: Flow) -> None:
    """Element-wise products: by a constant, by a gate, or of two equals."""
    if not flow.structure.is_product(node):
        scale(node, flow)
        return
    gated = flow.structure.gated(node)
    if gated is None:
        _half(node, flow)
    elif flow.structure.shares(node):
        _shared(node, gated, flow)
    elif gated.signal is None:
        _to_constant(node, flow)
    else:
        scale(node, flow)


def _to_constant(node: Node, flow: Flow) -> None:
    """A gate times a constant signal: the signal takes all, and it is a constant."""
    slot = flow.take(node.output)
    if not flow.booking:
        return
    for share, tensor in slot.items():
        amount = tensor if share is None else flow.trace.data(node.output) * tensor
        flow.book("constant", node, amount)


def _half(node: Node, flow: Flow) -> None:
    """Two factors of equal right: each receives half."""
    relevance = flow.take_relevance(node)
    if relevance is None:
        return
    for value in node.inputs:
        flow.give(value, sum_to(relevance / 2, value.shape))


def _shared(node: Node, gated: Gated, flow: Flow) -> None:
    """Gate and signal take their shares by the product rule; the gate's goes on through the gate's own weights."""
    relevance = arrived(node, flow)
    if relevance is None:
        return
    gate = node.inputs[gated.gate]
    before = Preactivation(gate, flow, gate=True)
    if gated.signal is None:
        signal = constants(node)[0]
    else:
        signal = Preactivation(node.inputs[gated.signal], flow, gate=False).data
    rule = flow.structure.product_rule(node)
    before.require(rule)
    parts = rule.shares(before.data, signal)
    before.deliver(sum_to(relevance * parts.gate, gate.shape))
    to_signal = relevance * parts.signal
    if gated.signal is not None:
        value = node.inputs[gated.signal]
        flow.give(value, sum_to(to_signal, value.shape))
    elif flow.booking:
        flow.book("constant", node, to_signal)
    _book_absorbed(node, relevance, parts.absorbed, flow)


def _book_absorbed(node: Node, relevance: Tensor, absorbed: Part, flow: Flow) -> None:
    if flow.booking and isinstance(absorbed, Tensor):
        flow.book("stabilizer", node, relevance * absorbed)


def arrived(node: Node, flow: Flow) -> Tensor | None:
    """All that reached a product, as relevance: inside a sum it is what the product contributes."""
    total: Tensor | None = None
    for share, tensor in flow.take(node.output).items():
        part = tensor if share is None else contribution(node.output, share, tensor, flow)
        total = part if total is None else total + part
    return total


def contract(node: Node, flow: Flow) -> None:
    """``softmax(...) @ v``: with the gate fixed it is linear in the signal, with a denominator of its own."""
    relevance = flow.take_relevance(node)
    if relevance is None:
        return
    gated = flow.structure.gated(node)
    if contracts_nothing(node):
        _elementwise(node, relevance, gated, flow)
        return
    ((_, s),) = sum_rule(node, flow).coefficients(node, relevance, flow)
    shared = _halved(node, gated, flow)
    for position, value in enumerate(node.inputs):
        if not shared and gated is not None and position != gated.signal:
            continue
        found = vjp(lambda x, p=position: _with(node, p, x), value.data, s).mul_(value.data)  # type: ignore[misc]
        _deliver(value, found / 2 if shared else found, gated is not None and position == gated.gate, flow)


def _halved(node: Node, gated: Gated | None, flow: Flow) -> bool:
    """Whether both factors of a contraction take half.

    Raises:
        UnsupportedOperation: for shares by pre-activations: the terms of a contraction have no product of their own to share.
    """
    if gated is None:
        return True
    rule = flow.structure.product_rule(node)
    if rule.takes_all or isinstance(rule, Half):
        return not rule.takes_all
    raise UnsupportedOperation(
        f"{node.describe()} (node #{node.index}) contracts a gate with a signal, whose single products {rule} cannot share; expected "
        "SignalTakesAll or Half there: give it one with a composite, for example ('product', rules.SignalTakesAll())."
    )


def contracts_nothing(node: Node) -> bool:
    """Whether an einsum only multiplies: every index of its factors is an index of the result."""
    if node.name != "einsum" or not isinstance(node.args[0], str) or "->" not in node.args[0]:
        return False
    factors, result = node.args[0].replace(" ", "").split("->")
    return set(factors) - {",", "."} <= set(result)


def _elementwise(node: Node, relevance: Tensor, gated: Gated | None, flow: Flow) -> None:
    """A product written as an einsum: relevance passes, summed over what was broadcast."""
    shared = gated is None or gated.signal is None or _halved(node, gated, flow)
    ones = [torch.ones_like(value.data) for value in node.inputs]
    for position, value in enumerate(node.inputs):
        if not shared and gated is not None and position != gated.signal:
            continue

        def alone(x: Tensor, position: int = position) -> Tensor:
            args, kwargs = node.arguments([x if i == position else one for i, one in enumerate(ones)])
            result: Tensor = node.function(*args, **kwargs)
            return result

        found = vjp(alone, value.data, relevance)
        _deliver(value, found / 2 if shared else found, gated is not None and position == gated.gate, flow)


def _deliver(value: Value, relevance: Tensor, gate: bool, flow: Flow) -> None:
    """A gate's share enters at its pre-activation."""
    if gate:
        Preactivation(value, flow, gate=True).deliver(relevance)
    else:
        flow.give(value, relevance)


def _with(node: Node, position: int, x: Tensor) -> Tensor:
    tensors = [x if i == position else v.data for i, v in enumerate(node.inputs)]
    args, kwargs = node.arguments(tensors)
    result: Tensor = node.function(*args, **kwargs)
    return result
