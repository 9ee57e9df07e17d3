"""Ranges carried forward: which values lie in [0, 1] by construction (gates), and which are never negative.

The range is a property of the model, never of the data: looking at the data would let the other samples of a batch choose
the rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqxai.trace.graph import Node, Trace, Value

INF = math.inf


class Range(NamedTuple):
    """An interval that contains every element of a value, and whether the value is a gate.

    ``gate``: it lies in [0, 1] after a squashing function, is a positive multiple of such a value, or a product of them.
    ``declared``: it went through ``seqxai.gate``.  ``squashed``: some non-linear function bounded it.
    """

    low: float = -INF
    high: float = INF
    gate: bool = False
    declared: bool = False
    squashed: bool = False


ANY = Range()
POSITIVE = Range(0.0, INF)


def make(low: float, high: float, *, squashed: bool, gate: bool = False, declared: bool = False) -> Range:
    """A range; bounded into [0, 1] by a squashing function it is a gate."""
    return Range(low, high, gate or declared or (squashed and low >= 0.0 and high <= 1.0), declared, squashed)


def _times(a: float, b: float) -> float:
    return 0.0 if a == 0 or b == 0 else a * b


def bounds(tensor: Any) -> tuple[float, float]:
    """Smallest and largest number of a constant."""
    if isinstance(tensor, Tensor):
        if tensor.numel() == 0 or tensor.dtype == torch.bool or tensor.is_complex():
            return (0.0, 1.0) if tensor.dtype == torch.bool else (-INF, INF)
        return float(tensor.min()), float(tensor.max())
    if isinstance(tensor, (int, float)):
        return float(tensor), float(tensor)
    return -INF, INF


def product(a: Range, b: Range) -> Range:
    """Interval product; a product of gates is a gate."""
    corners = [_times(x, y) for x in (a.low, a.high) for y in (b.low, b.high)]
    return make(min(corners), max(corners), squashed=a.squashed and b.squashed, gate=a.gate and b.gate)


def monotone(function: Callable[[float], float]) -> Callable[[Range, Node], Range]:
    """The range of an increasing function."""

    def apply(source: Range, node: Node) -> Range:
        return make(_safe(function, source.low), _safe(function, source.high), squashed=True)

    return apply


def _safe(function: Callable[[float], float], x: float) -> float:
    try:
        return function(x)
    except OverflowError:
        return INF
    except ValueError:
        return -INF


def fixed(low: float, high: float) -> Callable[[Range, Node], Range]:
    """A squashing function with a known range."""

    def apply(source: Range, node: Node) -> Range:
        return make(low, high, squashed=True)

    return apply


def _argument(node: Node, position: int, name: str, default: Any) -> Any:
    args, kwargs = node.args, node.kwargs
    return kwargs.get(name, args[position] if len(args) > position else default)


def _clamped(source: Range, low: Any, high: Any) -> Range:
    lo = -INF if low is None else bounds(low)[0]
    hi = INF if high is None else bounds(high)[1]
    new = (min(max(source.low, lo), hi), max(min(source.high, hi), lo))
    return make(*new, squashed=True)


def _clamp(source: Range, node: Node) -> Range:
    name = node.name
    if name == "clamp_min":
        return _clamped(source, _argument(node, 1, "min", None), None)
    if name == "clamp_max":
        return _clamped(source, None, _argument(node, 1, "max", None))
    return _clamped(source, _argument(node, 1, "min", None), _argument(node, 2, "max", None))


def _hardtanh(source: Range, node: Node) -> Range:
    return _clamped(source, _argument(node, 1, "min_val", -1.0), _argument(node, 2, "max_val", 1.0))


def _power(source: Range, node: Node) -> Range:
    base, exponent = (node.args[0], node.args[1]) if len(node.args) > 1 else (None, node.kwargs.get("exponent"))
    if not isinstance(exponent, (int, float)) or isinstance(base, (int, float)):
        return ANY
    even = float(exponent).is_integer() and int(exponent) % 2 == 0
    if even and exponent > 0:
        size = max(abs(source.low), abs(source.high))
        low = 0.0 if source.low <= 0 <= source.high else min(abs(source.low), abs(source.high))
        return make(low**exponent, _safe(lambda s: s**exponent, size), squashed=source.squashed)
    if source.low >= 0:
        return make(*sorted((_safe(lambda s: s**exponent, max(source.low, 1e-300)), _safe(lambda s: s**exponent, source.high))),
                    squashed=source.squashed)  # fmt: skip
    return ANY


def _reciprocal(source: Range, node: Node) -> Range:
    numerator = _argument(node, 1, "other", 1.0) if node.name == "reciprocal" and "div" in str(node.function) else 1.0
    if node.name == "div":
        numerator = node.args[0]
    if source.low < 0:
        return ANY
    low, high = bounds(numerator)
    inverse = Range(0.0 if source.high == INF else 1 / source.high, INF if source.low == 0 else 1 / source.low)
    found = product(Range(low, high), inverse)
    return make(found.low, found.high, squashed=True)


def _absolute(source: Range, node: Node) -> Range:
    high = max(abs(source.low), abs(source.high))
    low = 0.0 if source.low <= 0 <= source.high else min(abs(source.low), abs(source.high))
    return make(low, high, squashed=source.squashed)


def _relu(source: Range, node: Node) -> Range:
    return make(max(source.low, 0.0), max(source.high, 0.0), squashed=source.squashed or source.low < 0)


def _same(source: Range, node: Node) -> Range:
    return source


ACTIVATION: dict[str, Callable[[Range, Node], Range]] = {
    "sigmoid": fixed(0, 1), "expit": fixed(0, 1), "hardsigmoid": fixed(0, 1), "tanh": fixed(-1, 1), "softsign": fixed(-1, 1),
    "relu": _relu, "relu6": fixed(0, 6), "softplus": monotone(lambda x: x if x > 30 else math.log1p(math.exp(x))),
    "exp": monotone(math.exp), "square": lambda s, n: make(*_absolute(s, n)[:2], squashed=s.squashed)._replace(
        high=_safe(lambda x: x * x, max(abs(s.low), abs(s.high))), low=0.0, gate=False),
    "sqrt": monotone(lambda x: math.sqrt(max(x, 0))), "abs": _absolute, "absolute": _absolute, "__abs__": _absolute,
    "elu": fixed(-1, INF), "celu": lambda s, n: ANY, "hardswish": fixed(-0.375, INF), "silu": fixed(-0.2785, INF),
    "gelu": fixed(-0.17, INF), "mish": fixed(-0.309, INF), "clamp": _clamp, "clip": _clamp, "clamp_min": _clamp,
    "clamp_max": _clamp, "hardtanh": _hardtanh, "pow": _power, "reciprocal": _reciprocal, "rsqrt": lambda s, n: POSITIVE,
    "exp2": lambda s, n: POSITIVE, "erf": fixed(-1, 1), "erfc": fixed(0, 2), "sin": fixed(-1, 1), "cos": fixed(-1, 1),
    "logsigmoid": fixed(-INF, 0), "log_sigmoid": fixed(-INF, 0), "leaky_relu": lambda s, n: s if s.low >= 0 else ANY,
    "log1p": monotone(lambda x: math.log1p(max(x, -1 + 1e-300))), "nan_to_num": _same, "threshold": lambda s, n: ANY,
}  # fmt: skip


class Ranges:
    """The range of every value of a trace, computed in one pass forward.

    Args:
        trace: the recorded run.
        inputs: range of each explained input; unsigned bytes lie in [0, 255] in any case.
    """

    def __init__(self, trace: Trace, inputs: list[Range] | None = None) -> None:
        self.table: list[Range] = [ANY] * trace.count
        for value, given in zip(trace.inputs, inputs or [ANY] * len(trace.inputs), strict=True):
            self.table[value.number] = Range(0.0, 255.0) if value.data.dtype == torch.uint8 else given
        for node in trace.nodes:
            for value in node.inputs:
                if value.node is None and value.constant:
                    self.table[value.number] = Range(*bounds(value.data))
            found = self._node(node)
            for value in node.outputs:
                self.table[value.number] = found

    def of(self, value: Value) -> Range:
        """The range of a value."""
        return self.table[value.number]

    def _node(self, node: Node) -> Range:
        kind = node.operation.kind
        sources = [self.table[v.number] for v in node.inputs]
        handler = getattr(self, "_" + kind.replace("-", "_"), None)
        return handler(node, sources) if handler is not None else ANY

    def _activation(self, node: Node, sources: list[Range]) -> Range:
        if len(sources) != 1:
            return ANY
        return ACTIVATION.get(node.name, lambda s, n: ANY)(sources[0], node)

    def _softmax(self, node: Node, sources: list[Range]) -> Range:
        return Range(-INF, 0.0) if node.name == "log_softmax" else make(0.0, 1.0, squashed=True)

    def _gate(self, node: Node, sources: list[Range]) -> Range:
        return sources[0]._replace(gate=True, declared=True)

    def _route(self, node: Node, sources: list[Range]) -> Range:
        if node.operation.how in ("reshape", "permute", "slice", "selection", "alias"):
            return sources[0]
        if node.name == "embedding":
            return ANY
        every = sources + [Range(*bounds(c), gate=False) for c in constants(node)]
        if node.name in ("pad", "constant_pad_nd"):
            value = node.kwargs.get("value", node.args[3] if len(node.args) > 3 else None) or 0.0
            every.append(Range(float(value), float(value)))
        low, high = min(r.low for r in every), max(r.high for r in every)
        if node.name in ("tril", "triu", "diag_embed", "diagflat", "block_diag", "max_unpool1d", "max_unpool2d", "max_unpool3d"):
            low, high = min(low, 0.0), max(high, 0.0)
        gates = all(r.gate for r in sources)
        return make(low, high, squashed=all(r.squashed for r in sources), gate=gates, declared=all(r.declared for r in sources))

    def _max_pool(self, node: Node, sources: list[Range]) -> Range:
        return sources[0]

    def _max(self, node: Node, sources: list[Range]) -> Range:
        every = sources + [Range(*bounds(c)) for c in constants(node)]
        if len(every) == 1:
            return every[0]
        pick = max if "max" in node.name else min
        return make(pick(r.low for r in every), pick(r.high for r in every), squashed=all(r.squashed for r in sources))

    def _mean(self, node: Node, sources: list[Range]) -> Range:
        source = sources[0]
        if node.name in ("mean", "nanmean") or "avg_pool" in node.name or node.name in ("interpolate", "upsample"):
            # Zero padding may enter an average; bicubic interpolation overshoots.
            if "bicubic" in (node.kwargs.get("mode"), *node.args[1:]):
                return ANY
            return source._replace(low=min(source.low, 0.0), high=max(source.high, 0.0))
        return POSITIVE if source.low >= 0 else ANY

    def _linear(self, node: Node, sources: list[Range]) -> Range:
        return ANY

    def _recurrent(self, node: Node, sources: list[Range]) -> Range:
        return POSITIVE if node.name.startswith("rnn_relu") else ANY

    def _add(self, node: Node, sources: list[Range]) -> Range:
        parts = addends(node)
        low = high = 0.0
        for factor, item in parts:
            r = self.table[item.number] if isinstance(item, Value) else Range(*bounds(item))
            ends = sorted((_times(factor, r.low), _times(factor, r.high)))
            low, high = low + ends[0], high + ends[1]
        if math.isnan(low) or math.isnan(high):
            return ANY
        return make(low, high, squashed=all(r.squashed for r in sources))

    def _mul(self, node: Node, sources: list[Range]) -> Range:
        if len(sources) == 2:
            if node.name == "mul":
                return product(*sources)
            return ANY
        source = sources[0]
        if node.name == "neg":
            return product(source, Range(-1.0, -1.0, squashed=True))
        if node.name == "div":
            if node.places[0] not in (0, "input"):
                return _reciprocal(source, node)
            low, high = bounds(_argument(node, 1, "other", 1.0))
            if low <= 0 <= high:
                return ANY
            other = Range(1 / high, 1 / low, squashed=True)
        else:
            first, second = node.args[0], _argument(node, 1, "other", 1.0)
            other = Range(*bounds(second if node.places[0] in (0, "input") else first), squashed=True)
        found = product(source, other)
        if source.gate and other.low >= 0:
            return found._replace(gate=True, declared=source.declared)
        return found


def constants(node: Node) -> list[Any]:
    """The inactive floating tensors among a node's arguments, and the numbers that fill places."""
    found: list[Any] = []
    places = set(node.places)

    def look(item: Any, place: Any) -> None:
        if isinstance(item, Tensor):
            if place not in places and item.dtype.is_floating_point:
                found.append(item)
        elif isinstance(item, (list, tuple)):
            for inner, element in enumerate(item):
                look(element, (place, inner))

    for position, argument in enumerate(node.args):
        look(argument, position)
    for key, argument in node.kwargs.items():
        look(argument, key)
    if node.name in ("masked_fill", "index_fill", "where", "clamp_min", "maximum", "scatter", "setitem"):
        found += [a for a in node.args[1:] if isinstance(a, float) or (node.name != "scatter" and type(a) is int)]
    return found


def addends(node: Node) -> list[tuple[float, Any]]:
    """The terms of an addition with their factors: ``(factor, Value, or a constant tensor or number)``."""
    args: list[Any] = list(node.args[:2])
    if len(args) < 2:
        args.append(node.kwargs.get("other"))
    alpha = node.kwargs.get("alpha", node.args[2] if len(node.args) > 2 else 1)
    signs = {"add": (1.0, float(alpha)), "sub": (1.0, -float(alpha)), "rsub": (-float(alpha), 1.0)}[node.name]
    items: list[Any] = list(args)
    for value, place in zip(node.inputs, node.places, strict=True):
        items[{"input": 0, "self": 0, "other": 1}[place] if isinstance(place, str) else place] = value  # type: ignore[index]
    return list(zip(signs, items, strict=True))
