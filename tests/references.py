"""Every rule once more, as its paper writes it: slowly, neuron by neuron, on a plain weight matrix.

Nothing here imports the library.  A layer is a matrix ``weight`` (inputs, outputs) and a bias (outputs);
``contribution[j] = a[j] * weight[j, k]`` is what input j sends to output k.  Each twin returns what the inputs, the
bias and the stabilizer of every output received, so that their sum can be compared with the relevance that arrived.

They compute in the precision they are given; extended precision makes the twin the exact side of a comparison.

Conventions: the bias is the weight of a constant neuron; 0/0 = 0 and the relevance of such an output goes to the
stabilizer; sign(0) = +1.  ``bias="ignore"`` is the same equation for a layer that has none.
"""

import copy
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Array = NDArray[np.float64]


class Shares(NamedTuple):
    """Where the relevance of one layer's outputs went, for one sample."""

    inputs: Array  # (inputs,)
    bias: Array  # (outputs,)
    stabilizer: Array  # (outputs,)


Twin = Callable[[Array, Array, Array, Array], Shares]


def as_matrix(layer: nn.Module, input_shape: tuple[int, ...]) -> tuple[Array, Array]:
    """The Jacobian (inputs, outputs) and the bias (outputs,) of an affine layer for one sample of ``input_shape``.

    Row j of the Jacobian is the layer's answer to the j-th unit vector, without its bias.
    """
    linear = copy.deepcopy(layer).double()
    size = int(np.prod(input_shape))
    with torch.no_grad():
        bias = linear(torch.zeros(1, *input_shape, dtype=torch.float64)).flatten()
        if getattr(linear, "bias", None) is not None:
            linear.bias.zero_()
        rows = linear(torch.eye(size, dtype=torch.float64).reshape(size, *input_shape)).reshape(size, -1)
    return rows.numpy(), bias.numpy()


def connections(layer: nn.Module, input_shape: tuple[int, ...]) -> Array:
    """1 where an input is connected to an output, whatever the weight, else 0: (inputs, outputs)."""
    ones = copy.deepcopy(layer)
    with torch.no_grad():
        ones.weight.fill_(1.0)
    return as_matrix(ones, input_shape)[0]


def sign(z: float) -> float:
    """The sign of z, with sign(0) = +1."""
    return 1.0 if z >= 0 else -1.0


def _neuron(relevance: float, parts: Array, bias_part: float, stabilizer: float) -> tuple[Array, float, float]:
    """One neuron hands out ``relevance`` in proportion to its parts; the denominator is their stabilised sum."""
    total = parts.sum() + bias_part
    denominator = total + stabilizer * sign(total)
    if denominator == 0.0:
        return np.zeros_like(parts), 0.0, relevance
    per_unit = relevance / denominator
    return parts * per_unit, bias_part * per_unit, stabilizer * sign(total) * per_unit


def _layer(
    activation: Array,
    weight: Array,
    bias: Array,
    relevance: Array,
    neuron: Callable[[Array, float, float], tuple[Array, float, float]],
) -> Shares:
    """Sum over the outputs k of what ``neuron(contributions, b_k, R_k)`` hands out."""
    inputs, bias_shares, stabilizer_shares = np.zeros_like(activation), np.zeros_like(bias), np.zeros_like(bias)
    for k in range(len(bias)):
        contribution = activation * weight[:, k]
        share, bias_shares[k], stabilizer_shares[k] = neuron(contribution, bias[k], relevance[k])
        inputs += share
    return Shares(inputs, bias_shares, stabilizer_shares)


def positive(x: Array | float) -> Array:
    """max(0, x)."""
    return np.maximum(x, 0.0)


def negative(x: Array | float) -> Array:
    """min(0, x)."""
    return np.minimum(x, 0.0)


def epsilon_rule(
    activation: Array, weight: Array, bias: Array, relevance: Array, epsilon: float = 0.0, kind: str = "signed"
) -> Shares:
    """R_j = Σ_k a_j w_jk / (z_k + e sign z_k) R_k; epsilon = 0 is LRP-0.

    ``kind="relative"``: e is ``epsilon`` times the population standard deviation of this sample's z_k over the layer.
    ``kind="absolute"``: z_k + ε, whatever the sign of z_k.
    """
    z = np.array([(activation * weight[:, k]).sum() + bias[k] for k in range(len(bias))])
    e = epsilon * np.sqrt(np.mean((z - z.mean()) ** 2)) if kind == "relative" else epsilon
    if kind == "absolute":
        unsigned = [sign(float(value)) * e for value in z]  # + e whatever the sign of z
        return _each(activation, weight, bias, relevance, unsigned)
    return _layer(activation, weight, bias, relevance, lambda c, b, r: _neuron(r, c, b, e))


def _each(activation: Array, weight: Array, bias: Array, relevance: Array, stabilizers: list[float]) -> Shares:
    """`_layer` with a stabilizer of its own for every neuron, multiplied with the sign of z by `_neuron`."""
    rest = iter(stabilizers)
    return _layer(activation, weight, bias, relevance, lambda c, b, r: _neuron(r, c, b, next(rest)))


def gamma_rule(
    activation: Array, weight: Array, bias: Array, relevance: Array, gamma: float, epsilon: float = 0.0
) -> Shares:
    """γ for inputs of any sign: where z_k ≥ 0 the positive contributions grow by γ, where z_k < 0 the negative ones."""

    def neuron(c: Array, b: float, r: float) -> tuple[Array, float, float]:
        favoured = positive if c.sum() + b >= 0 else negative
        return _neuron(r, c + gamma * favoured(c), b + gamma * favoured(b), epsilon)

    return _layer(activation, weight, bias, relevance, neuron)


def gamma_rule_plain(
    activation: Array, weight: Array, bias: Array, relevance: Array, gamma: float, epsilon: float = 0.0
) -> Shares:
    """The book's γ for a ≥ 0: R_j = Σ_k a_j (w_jk + γ w_jk⁺) / Σ_0,j a_j (w_jk + γ w_jk⁺) R_k."""
    return epsilon_rule(
        activation, weight + gamma * positive(weight), bias + gamma * positive(bias), relevance, epsilon=epsilon
    )


def alpha_beta_rule(
    activation: Array, weight: Array, bias: Array, relevance: Array, alpha: float, beta: float, epsilon: float = 0.0
) -> Shares:
    """R_j = Σ_k (α c⁺/Σc⁺ − β c⁻/Σc⁻) R_k with c = a_j w_jk, b⁺ and b⁻ among the sums, α − β = 1.

    A neuron without negative part uses α = 1, β = 0; one without positive part α = 0, β = −1: no share is lost.
    """

    def neuron(c: Array, b: float, r: float) -> tuple[Array, float, float]:
        z_positive, z_negative = positive(c).sum() + positive(b), negative(c).sum() + negative(b)
        a, be = (1.0, 0.0) if z_negative == 0 else (0.0, -1.0) if z_positive == 0 else (alpha, beta)
        up = _neuron(a * r, positive(c), positive(b), epsilon)
        if z_negative == 0:
            return up
        down = _neuron(-be * r, negative(c), negative(b), epsilon)
        if z_positive == 0:
            return down
        return up[0] + down[0], up[1] + down[1], up[2] + down[2]

    return _layer(activation, weight, bias, relevance, neuron)


def z_plus_rule(activation: Array, weight: Array, bias: Array, relevance: Array, epsilon: float = 0.0) -> Shares:
    """R_j = Σ_k (a_j w_jk)⁺ / (Σ_j (a_j w_jk)⁺ + b_k⁺) R_k."""
    return _layer(
        activation, weight, bias, relevance, lambda c, b, r: _neuron(r, positive(c), positive(b), epsilon)
    )


def z_box_rule(
    activation: Array, weight: Array, bias: Array, relevance: Array, low: Array, high: Array, epsilon: float = 0.0
) -> Shares:
    """R_j = Σ_k (x_j w_jk − l_j w_jk⁺ − h_j w_jk⁻) / Σ_j(same) R_k; the bias cancels and takes no part."""
    inputs, stabilizer = np.zeros_like(activation), np.zeros_like(bias)
    for k in range(len(bias)):
        w = weight[:, k]
        part = activation * w - low * positive(w) - high * negative(w)
        share, _, stabilizer[k] = _neuron(relevance[k], part, 0.0, epsilon)
        inputs += share
    return Shares(inputs, np.zeros_like(bias), stabilizer)


def w_square_rule(activation: Array, weight: Array, bias: Array, relevance: Array, epsilon: float = 0.0) -> Shares:
    """R_j = Σ_k w_jk² / Σ_j w_jk² R_k."""
    return epsilon_rule(np.ones_like(activation), weight**2, np.zeros_like(bias), relevance, epsilon=epsilon)


def flat_rule(activation: Array, connected: Array, bias: Array, relevance: Array, epsilon: float = 0.0) -> Shares:
    """R_j = Σ_k 1 / (number of inputs of k) R_k, over the inputs that are connected to k."""
    return epsilon_rule(np.ones_like(activation), connected, np.zeros_like(bias), relevance, epsilon=epsilon)


def log_odds_shares(z: Array) -> Array:
    """Min-take-most for competitors with differences ``z``: R_c' = z_c' exp(−z_c') / Σ exp(−z_c'')."""
    weights = np.exp(-z - np.max(-z))
    return z * weights / weights.sum()


def log_odds(scores: Array, index: int) -> float:
    """η_c = −log Σ_{c' ≠ c} exp(−(z_c − z_c'))."""
    return -float(np.log(sum(np.exp(-(scores[index] - s)) for c, s in enumerate(scores) if c != index)))


def entropy(scores: Array, index: int) -> float:
    """H(p) of p = softmin of the differences z_c − z_c' over the competitors c'."""
    z = np.array([scores[index] - s for c, s in enumerate(scores) if c != index])
    p = np.exp(-z) / np.exp(-z).sum()
    return -float((p * np.log(p)).sum())


def gradient_times_input(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """x ⊙ ∂f/∂x for a function that returns one scalar per sample."""
    leaf = x.detach().clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(function(leaf).sum(), leaf)
    return (leaf * gradient).detach()


def softmax_expectation(logits: Tensor, values: Tensor, steps: int = 1_000) -> tuple[Tensor, Tensor]:
    """Aumann-Shapley shares of ``sum_k c_k softmax(l)_k``, one distribution, by the midpoint rule: (relevance of l, value at l = 0)."""
    found = torch.zeros_like(logits)
    for step in range(steps):
        powers = torch.exp((step + 0.5) / steps * (logits - logits.max()))
        p = powers / powers.sum()
        mean = sum(float(p[k]) * float(values[k]) for k in range(len(p)))
        found += logits * p * (values - mean) / steps
    return found, values.mean()
