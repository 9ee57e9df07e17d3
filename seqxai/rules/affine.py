"""The rules for layers: one division at the top of a sum, one or two products at its inputs.

All of them fit one scheme.  Let p and n be the sums of the positive and of the negative contributions to z = p + n, constants
included.  A rule turns relevance R into coefficients s, each with a :class:`Share` that says what it multiplies at the inputs.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from seqxai.errors import InputError
from seqxai.rules.base import PLAIN, Rule, Share, Stabilizer
from seqxai.rules.layers import Layer, layer_of, require_one_factor
from seqxai.rules.parts import (
    Bias,
    box_part,
    constant_part,
    flat_part,
    positive_part,
    signed_parts,
    square_part,
    weights,
    without_constants,
)
from seqxai.trace.graph import Node, Value

if TYPE_CHECKING:
    from seqxai.rules.flow import Flow

Coefficients = list[tuple[Share, Tensor]]
TINY = 1e-9


class AffineRule(Rule):
    """A rule for layers and for sums of layers."""

    @abstractmethod
    def coefficients(self, node: Node, relevance: Tensor, flow: Flow) -> Coefficients:
        """Divide the relevance of a sum by its denominators."""

    def __call__(self, node: Node, flow: Flow) -> None:
        """Divide what arrived as relevance, add what arrived as coefficients, and multiply with the weights."""
        slot = flow.take(node.output)
        relevance = slot.pop(None, None)
        arrived: Coefficients = [(share, s) for share, s in slot.items() if share is not None]
        if relevance is not None:
            arrived = merge(arrived, self.coefficients(node, relevance, flow))
        distribute(node, arrived, flow)


def merge(first: Coefficients, second: Coefficients) -> Coefficients:
    """Add coefficients of equal shares: one product with the weights serves both."""
    table: dict[Share, Tensor] = {}
    for share, s in (*first, *second):
        table[share] = table[share] + s if share in table else s
    return list(table.items())


def distribute(node: Node, coefficients: Coefficients, flow: Flow) -> None:
    """Multiply coefficients at a layer's output with its weights and its input, and give the result to the input."""
    layer = layer_of(node)
    value = node.inputs[0]
    for share, s in coefficients:
        flow.give(value, _at_input(layer, share, s, value, flow))
        if flow.booking and share.kind == "signal" and share.bias and layer.bias is not None:
            bias = layer.shaped_bias(s)
            if share == PLAIN and bias is not None:
                flow.book_product("bias", node, bias, s)
            else:
                flow.book("bias", node, constant_share(bias, share, s))


def constant_share(constant: Tensor | None, share: Share, s: Tensor) -> Tensor:
    """What a coefficient gives to a constant of the sum."""
    assert constant is not None
    if share.plain:
        return constant * s * share.plus if share.plus != 1 else constant * s
    return (constant.clamp(min=0) * share.plus + constant.clamp(max=0) * share.minus) * s


def _at_input(layer: Layer, share: Share, s: Tensor, value: Value, flow: Flow) -> Tensor:
    if share.kind == "signal":
        return _signal(layer, share, s, value, flow)
    require_one_factor(layer)
    if share.kind == "square":
        return layer.adjoint(s, flow.cache.get(layer.weight, "square", torch.square))
    if share.kind == "flat":
        return layer.adjoint(s, flow.cache.get(layer.weight, "ones", torch.ones_like))
    low, high = flow.structure.boxes.of(value)
    if share.plus:
        low, high = high, low
    return _box_product(layer, s, low, high, flow)


def _signal(layer: Layer, share: Share, s: Tensor, value: Value, flow: Flow) -> Tensor:
    x = layer.x
    if share.plain or flow.structure.nonnegative(value):
        return layer.adjoint_times(s, weights(layer, share.plus, share.minus, flow), x)
    positive = layer.adjoint_times(s, weights(layer, share.plus, share.minus, flow), x.clamp(min=0))
    return positive.add_(layer.adjoint_times(s, weights(layer, share.minus, share.plus, flow), x.clamp(max=0)))


def _box_product(layer: Layer, s: Tensor, low: Tensor, high: Tensor, flow: Flow) -> Tensor:
    """``-(low W⁺ᵀ s + high W⁻ᵀ s)``: one product for numbers, two for whole images."""
    if low.numel() == 1 and high.numel() == 1:
        bottom, top = float(low), float(high)
        if bottom == top == 0:
            return torch.zeros_like(layer.x)
        return layer.adjoint(s, weights(layer, -bottom, -top, flow))
    sides = [layer.per_channel(low), layer.per_channel(high)]
    if sides[0] is not None and sides[1] is not None:
        bottoms, tops = sides[0], sides[1]
        key = ("box weight", tuple(bottoms.flatten().tolist()), tuple(tops.flatten().tolist()))
        return layer.adjoint(s, flow.cache.get(layer.weight, key, lambda w: -(bottoms * w.clamp(min=0) + tops * w.clamp(max=0))))
    shape = layer.x.shape
    found = layer.adjoint_times(s, weights(layer, 1.0, 0.0, flow), low.expand(shape))
    return found.add_(layer.adjoint_times(s, weights(layer, 0.0, 1.0, flow), high.expand(shape))).neg_()


def contribution(value: Value, share: Share, s: Tensor, flow: Flow) -> Tensor:
    """The relevance of a value that lies inside a sum: what its contributions receive together."""
    if not flow.structure.weighted(value) and not (share.kind == "sum" or (share.kind == "signal" and share.plain)):
        return _term(value, share, s, flow)
    if share.kind == "sum" or (share.kind == "signal" and share.plain):
        return flow.trace.data(value) * s * share.plus
    if share.kind == "signal":
        positive = positive_part(value, flow)
        return (positive * share.plus + (flow.trace.data(value) - positive) * share.minus) * s
    if share.kind == "box":
        return -box_part(value, flow, swapped=bool(share.plus)) * s
    pair = square_part(value, flow) if share.kind == "square" else flat_part(value, flow)
    return pair * s


def _term(value: Value, share: Share, s: Tensor, flow: Flow) -> Tensor:
    """A product whose gate takes a share stands in a sum of layers as the number it is."""
    if share.kind == "signal":
        return constant_share(flow.trace.data(value), share, s)
    return torch.zeros_like(s)  # the bounds of a box; what it contributes itself came as another share


# ---- the rules --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Epsilon(AffineRule):
    """LRP-ε: ``R_i = x_i w_ij / (z_j + ε sign z_j) R_j`` (Bach et al. 2015, eq. 58), the bias a constant neuron in z.

    Larger ε absorbs weak and contradictory evidence.  For dense and recurrent layers.

    Args:
        epsilon: size of the signed stabilizer, or a :class:`Stabilizer`.
        bias: "include" the bias in the denominator, or "ignore" it, so that inputs share its part.
    """

    epsilon: float | Stabilizer = 1e-6
    bias: Bias = "include"

    def __post_init__(self) -> None:
        _check(self.epsilon, self.bias)

    def coefficients(self, node: Node, relevance: Tensor, flow: Flow) -> Coefficients:
        """``s = R / (z + ε sign z)``."""
        z = flow.trace.data(node.output)
        if self.bias == "ignore":
            z = without_constants(node.output, flow)
            return [(Share(bias=False), Stabilizer.ensure(self.epsilon).divide(relevance, z, node, flow))]
        return [(PLAIN, Stabilizer.ensure(self.epsilon).divide(relevance, z, node, flow))]


@dataclass(frozen=True)
class LRPZero(Epsilon):
    """LRP-0: ``R_i = x_i w_ij / z_j R_j`` with 0/0 = 0; on ReLU networks gradient × input (Montavon et al. 2019, sec. 10.2.1)."""

    epsilon: float | Stabilizer = field(default=0.0)


@dataclass(frozen=True)
class Gamma(AffineRule):
    """LRP-γ (Montavon et al. 2019), for inputs of any sign.

    Contributions c of one sign are favoured: ``c + γ c⁺`` where z >= 0, ``c + γ c⁻`` where z < 0, over their sum.  Under a
    ReLU and
    for non-negative inputs this is the published ``x (w + γ w⁺)``, bias included as b + γ b⁺.

    Args:
        gamma: how strongly, >= 0.
        epsilon: stabilizer.
        bias: "include" or "ignore".
    """

    gamma: float = 0.25
    epsilon: float | Stabilizer = TINY
    bias: Bias = "include"

    def __post_init__(self) -> None:
        _check(self.epsilon, self.bias)
        if not isinstance(self.gamma, (int, float)) or not 0 <= self.gamma < float("inf"):
            raise InputError(f"gamma must be a finite number >= 0, got {self.gamma!r}.")

    def coefficients(self, node: Node, relevance: Tensor, flow: Flow) -> Coefficients:
        """``s = R / (z + γ p)`` where z >= 0 and ``R / (z + γ n)`` where z < 0."""
        z, p = _parts(node, flow, self.bias)
        stabilizer = Stabilizer.ensure(self.epsilon)
        up, down = Share("signal", 1 + self.gamma, 1.0, False), Share("signal", 1.0, 1 + self.gamma, False)
        if flow.structure.feeds_relu(node.output):
            found = [(up, stabilizer.divide(relevance, z + self.gamma * p, node, flow))]
        else:
            above = z >= 0
            one = stabilizer.divide(relevance * above, z + self.gamma * p, node, flow)
            two = stabilizer.divide(relevance * ~above, z + self.gamma * (z - p), node, flow)
            found = [(up, one), (down, two)]
        return book_constants(node, found, self.bias, flow)


@dataclass(frozen=True)
class AlphaBeta(AffineRule):
    """LRP-αβ: ``R_i = (α c_ij⁺ / p_j - β c_ij⁻ / n_j) R_j``, α - β = 1, β >= 0 (Bach et al. 2015, eq. 60; book convention).

    A unit without negative contributions passes R, not α R; one without positive ones likewise.

    Args:
        alpha: weight of the positive part.
        beta: weight of the negative part.
        epsilon: stabilizer.
        bias: "include" (b⁺ in p, b⁻ in n) or "ignore".

    Raises:
        InputError: unless α - β = 1 and β >= 0.
    """

    alpha: float = 2.0
    beta: float = 1.0
    epsilon: float | Stabilizer = TINY
    bias: Bias = "include"

    def __post_init__(self) -> None:
        _check(self.epsilon, self.bias)
        numbers = all(isinstance(n, (int, float)) for n in (self.alpha, self.beta))
        if not numbers or abs(self.alpha - self.beta - 1) > 1e-12 or self.beta < 0:
            raise InputError(
                f"alpha - beta must be 1 and beta >= 0, got alpha={self.alpha}, beta={self.beta}; slides that write "
                "'alpha + beta = 1' mean the same with the opposite sign of beta."
            )

    def coefficients(self, node: Node, relevance: Tensor, flow: Flow) -> Coefficients:
        """``s_p = α R / p`` and ``s_n = -β R / n``, with the guard for units that have one sign only."""
        p, n = signed_parts(node.output, flow, self.bias)
        # Where n is a difference it is nothing below its rounding.
        noise = 16 * torch.finfo(p.dtype).eps * (p + n.abs())
        no_negative, no_positive = n >= -noise, p <= noise
        alpha = torch.where(no_positive, 0.0, torch.where(no_negative, 1.0, self.alpha))
        beta = torch.where(no_positive, -1.0, torch.where(no_negative, 0.0, self.beta))
        stabilizer = Stabilizer.ensure(self.epsilon)
        up = stabilizer.divide(alpha.to(p.dtype) * relevance, p, node, flow)
        down = stabilizer.divide(
            -beta.to(p.dtype) * relevance, torch.where(no_negative & ~no_positive, -torch.ones_like(n), n), node, flow
        )
        found = [(Share("signal", 1.0, 0.0, False), up), (Share("signal", 0.0, 1.0, False), down)]
        return book_constants(node, found, self.bias, flow)


@dataclass(frozen=True)
class ZPlus(AffineRule):
    """z⁺, also α1β0: ``R_i = c_ij⁺ / p_j R_j`` (Montavon et al. 2017), for inputs of any sign; b⁺ in the denominator.

    Args:
        epsilon: stabilizer.
        bias: "include" or "ignore".
    """

    epsilon: float | Stabilizer = TINY
    bias: Bias = "include"

    def __post_init__(self) -> None:
        _check(self.epsilon, self.bias)

    def coefficients(self, node: Node, relevance: Tensor, flow: Flow) -> Coefficients:
        """``s = R / p``."""
        p = positive_part(node.output, flow, self.bias)
        s = Stabilizer.ensure(self.epsilon).divide(relevance, p, node, flow)
        return book_constants(node, [(Share("signal", 1.0, 0.0, False), s)], self.bias, flow)


@dataclass(frozen=True)
class ZBox(AffineRule):
    """z^B, for inputs in a box: ``R_i = (x_i w_ij - l_i w_ij⁺ - h_i w_ij⁻) / Σ_i (...) R_j`` (Montavon et al. 2017, eq. 17).

    A pixel that is exactly 0 still receives relevance, which x-proportional rules cannot give it.  The bias cancels.

    Args:
        low, high: the box in the units of the *explained input*, numbers or tensors broadcastable to one sample; what the model
            does to its input first (``/ 255``, ``- mean``, zero padding) is followed.  ``None``: [0, 255] for bytes, [0, 1] for
            floating inputs.
        epsilon: stabilizer.
    """

    low: float | Tensor | None = None
    high: float | Tensor | None = None
    epsilon: float | Stabilizer = TINY

    def __post_init__(self) -> None:
        _check(self.epsilon, "include")
        if (self.low is None) != (self.high is None):
            raise InputError("A box needs both low and high, or neither; got one of them.")
        if self.low is not None and not all(bool(torch.isfinite(torch.as_tensor(b)).all()) for b in (self.low, self.high)):
            raise InputError(f"A box needs finite bounds, got low={self.low}, high={self.high}.")
        if self.low is not None and bool((torch.as_tensor(self.low) > torch.as_tensor(self.high)).any()):
            raise InputError(f"A box needs low <= high, got low={self.low}, high={self.high}.")

    def coefficients(self, node: Node, relevance: Tensor, flow: Flow) -> Coefficients:
        """One coefficient for the inputs, the same one for the bounds."""
        flow.structure.boxes.require(self.low, self.high)
        z = without_constants(node.output, flow) - box_part(node.output, flow)
        s = Stabilizer.ensure(self.epsilon).divide(relevance, z, node, flow)
        return [(Share(bias=False), s), (Share("box", 0.0, 1.0), s)]


@dataclass(frozen=True)
class WSquare(AffineRule):
    """w²: ``R_i = w_ij² / Σ_i w_ij² R_j`` (Montavon et al. 2017), for unbounded inputs of first layers.

    Args:
        epsilon: stabilizer.
    """

    epsilon: float | Stabilizer = TINY

    def __post_init__(self) -> None:
        _check(self.epsilon, "include")

    def coefficients(self, node: Node, relevance: Tensor, flow: Flow) -> Coefficients:
        """``s = R / Σ w²``."""
        z = square_part(node.output, flow).expand(relevance.shape)
        return [(Share("square"), Stabilizer.ensure(self.epsilon).divide(relevance, z, node, flow))]


@dataclass(frozen=True)
class Flat(AffineRule):
    """Flat: every input of a unit receives the same (Bach et al. 2016): for a coarse map at the input.

    Args:
        epsilon: stabilizer.
    """

    epsilon: float | Stabilizer = TINY

    def __post_init__(self) -> None:
        _check(self.epsilon, "include")

    def coefficients(self, node: Node, relevance: Tensor, flow: Flow) -> Coefficients:
        """``s = R / number of inputs``."""
        z = flat_part(node.output, flow).expand(relevance.shape)
        return [(Share("flat"), Stabilizer.ensure(self.epsilon).divide(relevance, z, node, flow))]


def _parts(node: Node, flow: Flow, bias: Bias) -> tuple[Tensor, Tensor]:
    z = flow.trace.data(node.output) if bias == "include" else without_constants(node.output, flow)
    return z, positive_part(node.output, flow, bias)


def book_constants(node: Node, coefficients: Coefficients, bias: Bias, flow: Flow) -> Coefficients:
    """Book what rules that split by sign give to the constants of a sum, all of them together, as ``bias``."""
    constant = constant_part(node.output, flow) if flow.booking and bias == "include" else None
    if constant is not None:
        for share, s in coefficients:
            flow.book("bias", node, constant_share(constant, share, s))
    return coefficients


def _check(epsilon: float | Stabilizer, bias: str) -> None:
    Stabilizer.ensure(epsilon)
    if bias not in ("include", "ignore"):
        raise InputError(f"bias must be 'include' or 'ignore', got {bias!r}.")
