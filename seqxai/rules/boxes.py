"""The box of z^B, moved from the units of the explained input to the first layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqxai.errors import CompositeError, InputError
from seqxai.rules.ranges import addends, constants
from seqxai.trace.graph import Node, Trace, Value

Box = tuple[Tensor, Tensor]


def default_box(dtype: torch.dtype) -> tuple[float, float]:
    """The box of an input of which nothing else is said: of bytes 0 .. 255, of anything else 0 .. 1."""
    return (0.0, 255.0) if dtype == torch.uint8 else (0.0, 1.0)


class Boxes:
    """Lower and upper bounds of values that prepare the input: scaled, shifted, padded and viewed, nothing else.

    Args:
        trace: the recorded run.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self._given: tuple[Any, Any] | None = None
        self._table: dict[int, Box] = {}

    def require(self, low: Any, high: Any) -> None:
        """Set the input's box.

        Raises:
            CompositeError: if another rule of the same composite uses another box.
            InputError: if an input lies outside its box.
        """
        if self._given is not None:
            if self._given[0] is not low and self._given != (low, high):
                raise CompositeError(
                    "All z^B rules of a composite must use the same box of the explained input; got two different ones."
                )
            return
        self._given = (low, high)
        for value in self.trace.inputs:
            self._table[value.number] = self._input_box(value, low, high)

    def _input_box(self, value: Value, low: Any, high: Any) -> Box:
        data = value.data
        dtype = data.dtype if data.dtype.is_floating_point else self.trace.outputs[0].data.dtype
        default = low is None
        if default:
            low, high = default_box(data.dtype)
        low, high = (torch.as_tensor(b, dtype=dtype, device=data.device) for b in (low, high))
        try:
            torch.broadcast_shapes(low.shape, high.shape, data.shape[1:])
        except RuntimeError:
            raise InputError(
                f"A box must be numbers or tensors that broadcast to one sample of shape {tuple(data.shape[1:])}, got "
                f"{tuple(low.shape)} and {tuple(high.shape)}."
            ) from None
        content = data.to(dtype)
        if bool((content < low).any() | (content > high).any()):
            what = "is [0, 1] unless given" if default else f"is [{float(low.min()):g}, {float(high.max()):g}]"
            raise InputError(
                f"z^B needs inputs inside its box, which {what}; got numbers from {float(content.min()):g} to "
                f"{float(content.max()):g}: give low and high, for example composites.EpsilonGammaBox(low=..., high=...)."
            )
        return low, high

    def of(self, value: Value) -> Box:
        """Bounds of a value, broadcastable to its shape.

        Raises:
            CompositeError: if the value is not the input, scaled, shifted, padded or viewed.
        """
        found = self._table.get(value.number)
        if found is None:
            if value.node is None:
                found = (value.data, value.data)
            else:
                found = self._through(value.node)
            self._table[value.number] = found
        return found

    def _through(self, node: Node) -> Box:
        kind = node.operation.kind
        if kind == "mul" and len(node.inputs) == 1 and not (node.name == "div" and node.places[0] not in (0, "input")):
            factor = scale_of(node)
            low, high = (bound * factor for bound in self.of(node.inputs[0]))
            return torch.minimum(low, high), torch.maximum(low, high)
        if kind == "add":
            return self._sum(node)
        if kind == "route" and node.mutated is None:
            return self._route(node)
        raise CompositeError(
            f"z^B belongs to layers that see the input itself, scaled, shifted, padded or viewed, but {node.describe()} comes between; "
            "use another rule for this layer."
        )

    def _sum(self, node: Node) -> Box:
        low: Any = 0.0
        high: Any = 0.0
        for factor, item in addends(node):
            bottom, top = self.of(item) if isinstance(item, Value) else (item, item)
            if factor < 0:
                bottom, top = top, bottom
            low, high = low + factor * bottom, high + factor * top
        return low, high

    def _route(self, node: Node) -> Box:
        boxes = [self.of(value) for value in node.inputs]
        simple = node.operation.how in ("reshape", "permute", "slice") or node.name in ("flip", "roll", "expand")
        numbers = boxes[0][0].numel() == 1 and boxes[0][1].numel() == 1
        if (simple and numbers) or (node.operation.how == "reshape" and node.output.shape == node.inputs[0].shape):
            dtype = node.output.data.dtype
            low, high = boxes[0]
            return (low.to(dtype), high.to(dtype)) if dtype.is_floating_point else (low, high)
        sides = []
        for side in (0, 1):
            args, kwargs = node.arguments([b[side].expand(v.shape) for b, v in zip(boxes, node.inputs, strict=True)])
            result = node.function(*args, **kwargs)
            sides.append(result if isinstance(result, Tensor) else result[node.output.index])
        return sides[0], sides[1]


def scale_of(node: Node) -> Any:
    """The constant factor of a multiplication or division with one active argument: a number or a tensor."""
    if node.name == "neg":
        return -1.0
    others = constants(node)
    first = node.args[0]
    second: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("other")
    other: Any = second if node.places[0] in (0, "input") else first
    if others and not isinstance(other, Tensor):
        other = others[0]
    if node.name == "div":
        return 1.0 / other
    return other
