"""Maxima: pools, reductions and element-wise maxima."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqxai.errors import CompositeError
from seqxai.rules.base import Rule, Stabilizer
from seqxai.rules.layers import vjp
from seqxai.rules.ranges import constants
from seqxai.trace.graph import Node

if TYPE_CHECKING:
    from seqxai.rules.flow import Flow


@dataclass(frozen=True)
class WinnerTakesAll(Rule):
    """The largest element of a pool receives everything, the first of equals (Bach et al. 2015)."""

    def __call__(self, node: Node, flow: Flow) -> None:
        """Route relevance to the winners."""
        relevance = flow.take_relevance(node)
        if relevance is None:
            return
        if node.operation.kind == "max" and (len(node.inputs) > 1 or constants(node)):
            _elementwise(node, relevance, flow)
            return
        value = node.inputs[0]
        if node.name in ("amax", "amin"):
            flow.give(value, _first_extreme(node, relevance))
            return
        x = value.data
        flow.give(value, vjp(lambda t: _first(_call(node, t)), x, relevance))


def _call(node: Node, tensor: Tensor) -> Any:
    args, kwargs = node.arguments([tensor])
    return node.function(*args, **kwargs)


def _first(result: Any) -> Tensor:
    return result if isinstance(result, Tensor) else result[0]


def _first_extreme(node: Node, relevance: Tensor) -> Tensor:
    """``amax`` spreads its gradient over equals; here the first of them wins."""
    x = node.inputs[0].data
    dims = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else ())
    dims = (dims,) if isinstance(dims, int) else tuple(dims)
    dims = tuple(d % x.dim() for d in dims) or tuple(range(x.dim()))
    kept = [d for d in range(x.dim()) if d not in dims]
    moved = x.permute(*kept, *dims).flatten(len(kept))
    index = (moved.argmax(-1) if node.name == "amax" else moved.argmin(-1)).unsqueeze(-1)
    found = torch.zeros_like(moved).scatter_(-1, index, relevance.reshape(index.shape))
    order = [*kept, *dims]
    return found.reshape([x.shape[d] for d in order]).permute([order.index(d) for d in range(x.dim())]).contiguous()


def _elementwise(node: Node, relevance: Tensor, flow: Flow) -> None:
    """``maximum(a, b)``: the winner takes it, the first of equals; a constant winner keeps it."""
    args, kwargs = node.arguments()
    both = [*args, *kwargs.values()][:2]
    larger = node.name in ("maximum", "max", "fmax")
    first = both[0] >= both[1] if larger else both[0] <= both[1]
    for position, won in ((0, first), (1, ~first)):
        place: Any = position if position < len(args) else "other"
        share = relevance * won
        if place in node.places:
            value = node.inputs[node.places.index(place)]
            flow.give(value, share if share.shape == value.shape else share.sum_to_size(value.shape))
        elif flow.booking:
            flow.book("constant", node, share)


def in_proportion(node: Node, flow: Flow, stabilizer: Stabilizer) -> None:
    """``R_i = a_i Σ_j R_j / (Σ a + ε)``; only the backward pass changes, the network still takes the maximum.

    For non-negative activations (Montavon et al. 2019, sec. 10.3.2).

    Raises:
        CompositeError: if the activations may be negative, or the node is no pool.
    """
    relevance = flow.take_relevance(node)
    if relevance is None:
        return
    value = node.inputs[0]
    if not flow.structure.nonnegative(value):
        raise CompositeError(
            f"The proportional rule for max pools needs non-negative activations; {node.describe()} has signed ones."
        )
    x = value.data

    def total(t: Tensor) -> Tensor:
        return _pooled_sum(node, t)

    s = stabilizer.divide(relevance, total(x), node, flow)
    flow.give(value, vjp(total, x, s).mul_(x))


def _pooled_sum(node: Node, x: Tensor) -> Tensor:
    """Sum over the windows of a max pool."""
    if node.operation.kind != "max-pool":
        raise CompositeError(f"The proportional rule is for max pools; got {node.describe()}.")
    args, kwargs = node.arguments([x])
    dimensions = int(node.name[-2])
    if node.name.startswith("adaptive"):
        size = args[1] if len(args) > 1 else kwargs["output_size"]
        # Windows differ in size, but the share within a window does not depend on a common factor.
        mean: Tensor = getattr(F, f"adaptive_avg_pool{dimensions}d")(x, size)
        return mean
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    given = dict(zip(names, args[1:], strict=False)) | {k: v for k, v in kwargs.items() if k in names}
    kernel, stride = given["kernel_size"], given.get("stride") or given["kernel_size"]
    return _window_sum(x, dimensions, kernel, stride, given.get("padding", 0), given.get("dilation", 1), node.output.shape)


def _window_sum(x: Tensor, dimensions: int, kernel: Any, stride: Any, padding: Any, dilation: Any, shape: torch.Size) -> Tensor:
    def each(value: Any) -> list[int]:
        return [value] * dimensions if isinstance(value, int) else list(value) * (dimensions // len(value))

    kernels, strides, paddings, dilations = each(kernel), each(stride), each(padding), each(dilation)
    pads: list[int] = []
    for i in reversed(range(dimensions)):
        length, out = x.shape[x.dim() - dimensions + i], shape[len(shape) - dimensions + i]
        needed = (out - 1) * strides[i] + dilations[i] * (kernels[i] - 1) + 1
        pads += [paddings[i], max(needed - length - paddings[i], 0)]
    flat = x.reshape(-1, 1, *x.shape[x.dim() - dimensions :])
    weight = x.new_ones((1, 1, *kernels))
    convolve: Any = (F.conv1d, F.conv2d, F.conv3d)[dimensions - 1]
    found = convolve(F.pad(flat, pads), weight, None, strides, 0, dilations)
    for i in range(dimensions):
        found = found.narrow(2 + i, 0, shape[len(shape) - dimensions + i])
    return found.reshape(shape)
