"""Sums with one denominator: evaluating positive, constant and other parts through everything linear above the layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seqxai.errors import CompositeError
from seqxai.rules.boxes import scale_of
from seqxai.rules.ranges import addends
from seqxai.trace.graph import Node, Value

if TYPE_CHECKING:
    from seqxai.rules.flow import Flow

Pair = tuple[Tensor, Tensor]


def factor_of(node: Node, flow: Flow) -> tuple[int, Any]:
    """A multiplication on a signal path: position of the signal among the inputs, and the factor (a number or a tensor)."""
    if len(node.inputs) == 2:
        gated = flow.structure.gated(node)
        assert gated is not None
        assert gated.signal is not None
        gate = flow.trace.data(node.inputs[gated.gate])
        return gated.signal, gate if node.name == "mul" else 1.0 / gate
    return 0, scale_of(node)


def never_negative(node: Node, factor: Any, flow: Flow) -> bool:
    """Whether a factor cannot turn a positive contribution into a negative one."""
    if not isinstance(factor, Tensor):
        return bool(factor >= 0)
    if len(node.inputs) == 2:
        gated = flow.structure.gated(node)
        assert gated is not None
        return flow.structure.nonnegative(node.inputs[gated.gate])
    return bool((factor >= 0).all())


def evaluate(
    value: Value,
    flow: Flow,
    at_layer: Callable[[Node], Pair],
    *,
    constants: bool = True,
    mode: str = "signed",
    at_term: Callable[[Value], Pair] | None = None,
) -> Pair:
    """Evaluate a pair of parts through the sum that ends in ``value``.

    The pair (u, v) at a layer stands for the parts of positive and negative effective weight.  A factor k >= 0 scales both,
    a negative
    one exchanges them: positive part of k c is k c⁺ for k >= 0 and k c⁻ for k < 0.

    Args:
        value: a weighted value.
        flow: the walk.
        at_layer: the pair at a layer.
        constants: whether the constants of the sum take part.
        mode: "signed"; "square" / "flat" for parts in w² and in 1; "linear" for parts of either sign that are simply added.
        at_term: the pair at a product whose gate takes a share; by default its positive and its negative part.
    """
    if value.node is not None and flow.structure.is_layer(value.node):
        return at_layer(value.node)
    table: dict[int, Pair] = {}
    for node in _region(value, flow):
        if flow.structure.is_layer(node):
            table[node.output.number] = at_layer(node)
        elif node.operation.kind == "add":
            table[node.output.number] = _sum(node, table, constants, flow, mode, at_term)
        elif node.operation.kind == "mul":
            table[node.output.number] = _scaled(node, table, flow, mode)
        else:
            _viewed(node, table)
    return table[value.number]


def _region(value: Value, flow: Flow) -> list[Node]:
    found: dict[int, Node] = {}
    stack = [value]
    while stack:
        node = stack.pop().node
        if node is None or node.index in found:
            continue
        found[node.index] = node
        if not flow.structure.is_layer(node):
            stack.extend(v for v in node.inputs if flow.structure.weighted(v))
    return [found[index] for index in sorted(found)]


def _term(value: Value, flow: Flow, mode: str) -> Pair:
    """A product of which the gate takes a share contributes what it is; it has no weights to square or to count."""
    if mode in ("square", "flat"):
        raise CompositeError(
            f"The rules WSquare and Flat divide by weights, but {value!r} in the same sum is a product whose gate takes a share; "
            "use the epsilon rule there, or product='signal-takes-all'."
        )
    data = flow.trace.data(value)
    return (data * 0.0, data * 0.0) if mode == "linear" else (data.clamp(min=0), data.clamp(max=0))


def _sum(
    node: Node, table: dict[int, Pair], constants: bool, flow: Flow, mode: str, at_term: Callable[[Value], Pair] | None
) -> Pair:
    shape = node.output.shape
    like = node.output.data
    up = down = torch.zeros((), dtype=like.dtype, device=like.device)
    for factor, item in addends(node):
        if isinstance(item, Value) and not flow.structure.inert(item):
            known = table.get(item.number)
            pair = known if known is not None else at_term(item) if at_term is not None else _term(item, flow, mode)
        elif constants:
            constant = flow.trace.data(item) if isinstance(item, Value) else item
            constant = torch.as_tensor(constant, dtype=like.dtype, device=like.device)
            pair = (constant, constant)
        else:
            continue
        if factor < 0 and mode != "square":
            pair = pair[1], pair[0]
        weight = factor**2 if mode == "square" else abs(float(factor != 0)) if mode == "flat" else factor
        up, down = up + weight * pair[0], down + weight * pair[1]
    return up.expand(_kept(up, shape)), down.expand(_kept(down, shape))


def _kept(part: Tensor, shape: torch.Size) -> tuple[int, ...]:
    """A part computed for one sample stays so; it is broadcast where it is used."""
    if part.dim() == len(shape) and part.shape[0] == 1:
        return (1, *shape[1:])
    return tuple(shape)


def _scaled(node: Node, table: dict[int, Pair], flow: Flow, mode: str) -> Pair:
    signal, factor = factor_of(node, flow)
    up, down = table[node.inputs[signal].number]
    if mode == "linear":
        return up * factor, up * factor
    if mode == "square":
        return up * factor**2, down * factor**2
    if mode == "flat":
        there = (factor != 0) if isinstance(factor, Tensor) else float(factor != 0)
        return up * there, down * there
    if never_negative(node, factor, flow):
        return up * factor, down * factor
    if not isinstance(factor, Tensor):
        return down * factor, up * factor
    positive, negative = factor.clamp(min=0), factor.clamp(max=0)
    return up * positive + down * negative, down * positive + up * negative


def _viewed(node: Node, table: dict[int, Pair]) -> None:
    sides: list[list[Tensor]] = []
    for side in (0, 1):
        parts = [table[v.number][side].expand(v.shape) for v in node.inputs]
        args, kwargs = node.arguments(parts)
        result = node.function(*args, **kwargs)
        results = [result] if isinstance(result, Tensor) else list(result)
        sides.append([results[v.index] for v in node.outputs])
    for position, value in enumerate(node.outputs):
        table[value.number] = (sides[0][position], sides[1][position])


def region_rule(node: Node, flow: Flow) -> Any:
    """The rule of a sum of layers: that of its layers.

    Raises:
        CompositeError: if the composite gives them different rules.
    """
    rules: list[Any] = []
    layers = flow.structure.layers(node.output)
    if not layers:  # constants behind gates only
        return flow.composite.rule(node, flow.structure)
    for layer in layers:
        rule = flow.composite.rule(layer, flow.structure)
        if rule not in rules:
            rules.append(rule)
    if len(rules) > 1:
        names = "; ".join(f"{layer.describe()}: {flow.composite.rule(layer, flow.structure)}" for layer in layers)
        raise CompositeError(
            f"One sum needs one rule, but the composite gives the layers that feed {node.describe()} different ones ({names}); "
            "select them together."
        )
    return rules[0]
