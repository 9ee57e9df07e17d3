"""Mixtures of signals by one gate, in whatever order they were written: ``n + z (h - n)`` is ``(1 - z) n + z h``.

With the gate held fixed the spelling does not matter.  A rule that gives the gate a share looks at single products, so the sum is first
multiplied out: each signal with the gate that multiplies it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from seqxai.errors import UnsupportedOperation
from seqxai.rules.merge import sum_to
from seqxai.rules.preactivation import Preactivation
from seqxai.rules.ranges import addends
from seqxai.trace.graph import Node, Value

if TYPE_CHECKING:
    from seqxai.rules.flow import Flow
    from seqxai.rules.structure import Structure


class Term(NamedTuple):
    """One product of a multiplied-out sum: ``factor · gate · signal``; the product's node, ``None`` without a gate."""

    factor: float
    gate: Value | None
    signal: Any
    product: Node | None


def mixture(node: Node, structure: Structure) -> list[Term] | None:
    """The terms of a sum that needs to be multiplied out; ``None`` if every product in it stands alone.

    Raises:
        UnsupportedOperation: if products of several gates would arise.
    """
    terms, nested = _terms(node, 1.0, None, structure)
    signals = [id(t.signal) for t in terms if isinstance(t.signal, Value)]
    repeated = len(set(signals)) < len(signals) and any(t.product is not None for t in terms)
    return terms if nested or repeated else None


def _terms(node: Node, factor: float, product: Node | None, structure: Structure) -> tuple[list[Term], bool]:
    found: list[Term] = []
    nested = False
    for sign, item in addends(node):
        inner, deeper = _item(item, factor * sign, product, structure)
        found += inner
        nested = nested or deeper
    return found, nested


def _item(item: Any, factor: float, product: Node | None, structure: Structure) -> tuple[list[Term], bool]:
    source = structure.peeled(item).node if isinstance(item, Value) else None
    if source is None:
        return [Term(factor, _gate_of(product, structure), item, product)], False
    if structure.shares(source):
        if product is not None:
            raise _too_many(source)
        gated = structure.gated(source)
        assert gated is not None
        if gated.signal is None:
            return [Term(factor, source.inputs[gated.gate], None, source)], False
        signal = source.inputs[gated.signal]
        inner = structure.peeled(signal).node
        if inner is not None and structure.merges(source, signal):
            return _terms(inner, factor, source, structure)[0], True
        return [Term(factor, source.inputs[gated.gate], signal, source)], False
    if source.operation.kind == "add" and structure.opens(source, item) and not structure.weighted(item):
        return _terms(source, factor, product, structure)
    return [Term(factor, _gate_of(product, structure), item, product)], False


def _gate_of(product: Node | None, structure: Structure) -> Value | None:
    gated = structure.gated(product) if product is not None else None
    return product.inputs[gated.gate] if product is not None and gated is not None else None


def share_out(node: Node, terms: list[Term], s: Tensor, flow: Flow) -> None:
    """Give each signal and each gate of a multiplied-out sum its share.

    Args:
        node: the sum.
        terms: see :func:`mixture`.
        s: relevance over the stabilised sum, of the sum's shape.
        flow: the walk.
    """
    groups: dict[Any, list[Term]] = {}
    for term in terms:
        key = term.signal.number if isinstance(term.signal, Value) else ("constant", id(term if term.signal is None else term.signal))
        groups.setdefault(key, []).append(term)
    for group in groups.values():
        _share_group(node, group, s, flow)


def _share_group(node: Node, group: list[Term], s: Tensor, flow: Flow) -> None:
    signal = group[0].signal
    gated = [t for t in group if t.product is not None]
    if any(t.product is not None and t.gate is not None and signal is None for t in group):
        for term in gated:  # a gate times a constant signal keeps its own node
            assert term.product is not None
            flow.give(term.product.output, sum_to(term.factor * flow.trace.data(term.product.output) * s, term.product.output.shape))
        return
    content = flow.trace.data(signal) if isinstance(signal, Value) else signal
    plain = sum(t.factor for t in group if t.product is None)
    if not gated:
        _to_signal(node, signal, content * s * plain, flow)
        return
    gates = {t.gate.number for t in gated if t.gate is not None}
    weight = sum(t.factor for t in gated)
    if len(gates) > 1 or plain not in (0.0, -weight):
        raise _too_many(node)
    gate, product = gated[0].gate, gated[0].product
    assert gate is not None
    assert product is not None
    _share_product(node, product, gate, plain != 0, signal, content, s * (plain or weight), flow)


def _share_product(
    node: Node, product: Node, gate: Value, complement: bool, signal: Any, content: Any, s: Tensor, flow: Flow
) -> None:
    """The product ``z x``, or ``(1 - z) x``, whose gate has the pre-activation -a."""
    before = Preactivation(gate, flow, gate=True)
    opened = flow.trace.data(gate)
    relevance = (1 - opened if complement else opened) * content * s
    z = -before.data if complement else before.data
    x = Preactivation(signal, flow, gate=False).data if isinstance(signal, Value) else torch.as_tensor(content, dtype=z.dtype)
    rule = flow.structure.product_rule(product)
    before.require(rule)
    parts = rule.shares(z, x)
    before.deliver(sum_to(relevance * parts.gate, gate.shape))
    _to_signal(node, signal, relevance * parts.signal, flow)
    if flow.booking and isinstance(parts.absorbed, Tensor):
        flow.book("stabilizer", node, relevance * parts.absorbed)


def _to_signal(node: Node, signal: Any, relevance: Tensor, flow: Flow) -> None:
    if isinstance(signal, Value):
        flow.give(signal, sum_to(relevance, signal.shape))
    elif flow.booking:
        flow.book("constant", node, relevance)


def _too_many(node: Node) -> UnsupportedOperation:
    return UnsupportedOperation(
        f"{node.describe()} (node #{node.index}) mixes signals by more than one gate or by other weights than z and 1 - z, so it is not "
        "clear which products share relevance; write it as (1 - z) * a + z * b, or explain it with product='signal-takes-all'."
    )
