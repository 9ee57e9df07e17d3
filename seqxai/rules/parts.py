"""Parts of a sum of layers: its positive contributions, its constants, and what w², flat and z^B divide by.

Each is evaluated through everything linear between the layers and the top of the sum, see :func:`seqxai.rules.regions.evaluate`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from seqxai.rules.layers import Layer, layer_of, require_one_factor
from seqxai.rules.regions import evaluate
from seqxai.trace.graph import Node, Value

if TYPE_CHECKING:
    from seqxai.rules.flow import Flow

Bias = Literal["include", "ignore"]
SMALL = 64  # a box of at most so many numbers is remembered by its numbers


def weights(layer: Layer, plus: float, minus: float, flow: Flow) -> Tensor:
    """``plus W⁺ + minus W⁻``."""
    if plus == minus == 1:
        return layer.weight
    require_one_factor(layer)

    def build(weight: Tensor) -> Tensor:
        return weight.clamp(min=0).mul_(plus).add_(weight.clamp(max=0), alpha=minus)

    return flow.cache.get(layer.weight, ("signed", plus, minus), build)


def positive_part(value: Value, flow: Flow, bias: Bias = "include") -> Tensor:
    """p: the sum of the positive contributions to a weighted value.

    The constants of the sum are one contribution: they are added first, as in a layer into which a batch norm was folded.
    """

    def at_layer(node: Node) -> tuple[Tensor, Tensor]:
        layer = layer_of(node)
        source, x = node.inputs[0], layer.x
        up, down = weights(layer, 1.0, 0.0, flow), weights(layer, 0.0, 1.0, flow)
        if flow.structure.nonnegative(source):
            positive = layer.forward(x, up)
        else:
            positive = layer.forward(x.clamp(min=0), up).add_(layer.forward(x.clamp(max=0), down))
        if node.output is value:  # the other part is only looked at further up
            return positive, positive
        z = flow.trace.data(node.output)
        bias = layer.shaped_bias(z)
        return positive, (z if bias is None else z - bias) - positive

    positive = evaluate(value, flow, at_layer, constants=False)[0]
    constant = constant_part(value, flow) if bias == "include" else None
    return positive if constant is None else positive + constant.clamp(min=0)


def signed_parts(value: Value, flow: Flow, bias: Bias) -> tuple[Tensor, Tensor]:
    """Return p and n, the sums of the positive and of the negative contributions, constants included as one of them.

    n is what p leaves of z, at no cost; its error is that of p, which is much where n is small.  Who computes in float64 wants the
    digits: there n has products of its own.
    """
    if value.data.dtype != torch.float64:
        p = positive_part(value, flow, bias)
        return p, (flow.trace.data(value) if bias == "include" else without_constants(value, flow)) - p

    def at_layer(node: Node) -> tuple[Tensor, Tensor]:
        layer = layer_of(node)
        up, down = weights(layer, 1.0, 0.0, flow), weights(layer, 0.0, 1.0, flow)
        if flow.structure.nonnegative(node.inputs[0]):
            return layer.forward(layer.x, up), layer.forward(layer.x, down)
        above, below = layer.x.clamp(min=0), layer.x.clamp(max=0)
        return layer.forward(above, up) + layer.forward(below, down), layer.forward(above, down) + layer.forward(below, up)

    p, n = evaluate(value, flow, at_layer, constants=False)
    constant = constant_part(value, flow) if bias == "include" else None
    return (p, n) if constant is None else (p + constant.clamp(min=0), n + constant.clamp(max=0))


def constant_part(value: Value, flow: Flow) -> Tensor | None:
    """The sum of the constants in a weighted value (biases, shifts), broadcastable to it; ``None`` if there are none."""
    node = value.node
    if node is not None and flow.structure.is_layer(node):
        layer = layer_of(node)
        return layer.shaped_bias(flow.trace.data(value))

    def at_layer(node: Node) -> tuple[Tensor, Tensor]:
        layer = layer_of(node)
        zero = torch.zeros((), dtype=layer.x.dtype, device=layer.x.device).expand(node.output.shape)
        bias = layer.shaped_bias(zero)
        return (zero, zero) if bias is None else (bias.expand(zero.shape),) * 2

    return evaluate(value, flow, at_layer, mode="linear")[0]


def box_part(value: Value, flow: Flow, swapped: bool = False) -> Tensor:
    """``Σ low w⁺ + high w⁻`` over the inputs of a weighted value; low and high exchanged if ``swapped``."""

    def at_layer(node: Node) -> tuple[Tensor, Tensor]:
        layer = layer_of(node)
        require_one_factor(layer)
        low, high = flow.structure.boxes.of(node.inputs[0])
        return _box_sum(layer, low, high, flow), _box_sum(layer, high, low, flow)

    def at_term(term: Value) -> tuple[Tensor, Tensor]:
        zero = torch.zeros_like(flow.trace.data(term))  # it has no box: what it contributes is compared with nothing
        return zero, zero

    return evaluate(value, flow, at_layer, constants=False, at_term=at_term)[swapped]


def _box_sum(layer: Layer, low: Tensor, high: Tensor, flow: Flow) -> Tensor:
    """One image serves the whole batch when the bounds do not depend on the sample; numbers are remembered."""
    shape = layer.x.shape
    single = layer.batched and len(shape) > 1 and all(b.dim() < len(shape) or b.shape[0] == 1 for b in (low, high))
    one = (1, *shape[1:]) if single else tuple(shape)
    up, down = weights(layer, 1.0, 0.0, flow), weights(layer, 0.0, 1.0, flow)

    def build(weight: Tensor) -> Tensor:
        return layer.forward(low.expand(one).contiguous(), up) + layer.forward(high.expand(one).contiguous(), down)

    if max(low.numel(), high.numel()) > SMALL or not layer.batched:
        return build(layer.weight)
    numbers = (tuple(low.shape), tuple(low.flatten().tolist()), tuple(high.shape), tuple(high.flatten().tolist()))
    return flow.cache.get(layer.weight, ("box", layer.signature(), one, numbers), build)


def square_part(value: Value, flow: Flow) -> Tensor:
    """``Σ w²`` over the inputs of a weighted value."""
    return _of_ones(value, flow, "square", torch.square)


def flat_part(value: Value, flow: Flow) -> Tensor:
    """The number of inputs of a weighted value."""
    return _of_ones(value, flow, "flat", torch.ones_like)


def _of_ones(value: Value, flow: Flow, mode: str, build: Callable[[Tensor], Tensor]) -> Tensor:
    def at_layer(node: Node) -> tuple[Tensor, Tensor]:
        layer = layer_of(node)
        require_one_factor(layer)
        shape = layer.x.shape
        one = (1, *shape[1:]) if layer.batched and len(shape) > 1 else tuple(shape)

        def total(weight: Tensor) -> Tensor:
            return layer.forward(layer.x.new_ones(one), build(weight))

        key = ("sum", mode, layer.signature(), one)
        found = flow.cache.get(layer.weight, key, total) if layer.batched else total(layer.weight)
        return found, found

    return evaluate(value, flow, at_layer, constants=False, mode=mode)[0]


def without_constants(value: Value, flow: Flow) -> Tensor:
    """A weighted value without the constants of its sum."""
    z = flow.trace.data(value)
    constant = constant_part(value, flow)
    return z if constant is None else z - constant
