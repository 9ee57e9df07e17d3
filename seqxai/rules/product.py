"""Products of two values that both depend on the input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from seqxai.rules.layers import vjp
from seqxai.rules.merge import scale, sum_rule, sum_to
from seqxai.rules.structure import Gated
from seqxai.trace.graph import Node

if TYPE_CHECKING:
    from seqxai.rules.flow import Flow


def multiply(node: Node, flow: Flow) -> None:
    """Element-wise products: by a constant, by a gate, or of two equals."""
    if not flow.structure.is_product(node):
        scale(node, flow)
        return
    gated = flow.structure.gated(node)
    if gated is not None and gated.signal is None:
        _to_constant(node, flow)
    elif gated is None or flow.structure.product == "half":
        _half(node, flow)
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
    """LRP-half: each factor receives half (Arjona-Medina et al. 2019; Arras et al. 2019, sec. 11.3.2)."""
    relevance = flow.take_relevance(node)
    if relevance is None:
        return
    for value in node.inputs:
        flow.give(value, sum_to(relevance / 2, value.shape))


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
    shared = gated is None or flow.structure.product == "half"
    for position, value in enumerate(node.inputs):
        if not shared and gated is not None and position != gated.signal:
            continue
        found = vjp(lambda x, p=position: _with(node, p, x), value.data, s).mul_(value.data)  # type: ignore[misc]
        flow.give(value, found / 2 if shared else found)


def contracts_nothing(node: Node) -> bool:
    """Whether an einsum only multiplies: every index of its factors is an index of the result."""
    if node.name != "einsum" or not isinstance(node.args[0], str) or "->" not in node.args[0]:
        return False
    factors, result = node.args[0].replace(" ", "").split("->")
    return set(factors) - {",", "."} <= set(result)


def _elementwise(node: Node, relevance: Tensor, gated: Gated | None, flow: Flow) -> None:
    """A product written as an einsum: relevance passes, summed over what was broadcast."""
    shared = gated is None or gated.signal is None or flow.structure.product == "half"
    ones = [torch.ones_like(value.data) for value in node.inputs]
    for position, value in enumerate(node.inputs):
        if not shared and gated is not None and position != gated.signal:
            continue

        def alone(x: Tensor, position: int = position) -> Tensor:
            args, kwargs = node.arguments([x if i == position else one for i, one in enumerate(ones)])
            result: Tensor = node.function(*args, **kwargs)
            return result

        found = vjp(alone, value.data, relevance)
        flow.give(value, found / 2 if shared else found)


def _with(node: Node, position: int, x: Tensor) -> Tensor:
    tensors = [x if i == position else v.data for i, v in enumerate(node.inputs)]
    args, kwargs = node.arguments(tensors)
    result: Tensor = node.function(*args, **kwargs)
    return result
