"""Gated cells people write by hand, each with a slow oracle for every product rule.

A cell is written once, over a set of operations.  With the plain ones it is an ordinary model.  With those of the oracle its gradient times
input is the relevance under LRP-0: an activation passes on what it gets, and a product gives each factor the share its rule computes from
the two pre-activations.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from seqxai.rules import ProductRule
from tests.contracts import random

FEATURES, UNITS, SIDE = 3, 4, 5
W = random(5 * UNITS, FEATURES, seed=301)
U = random(5 * UNITS, UNITS, seed=302)
B = random(5 * UNITS, seed=303)
PEEPHOLES = random(3, UNITS, seed=304)
MAPS, STATES = random(4 * 2, 1, 3, 3, seed=305), random(4 * 2, 2, 3, 3, seed=306)
READ, READ_MAPS = random(2, UNITS, seed=307), random(2, 2 * SIDE * SIDE, seed=308)
X, FRAMES = random(2, 4, FEATURES, seed=309), random(2, 3, 1, SIDE, SIDE, seed=310)


class Factor(NamedTuple):
    """One factor of a product: its value as the oracle sees it, and its pre-activation."""

    value: Tensor
    before: Tensor


class Plain:
    """Ordinary operations."""

    def sigmoid(self, a: Tensor) -> Factor:
        return Factor(torch.sigmoid(a), a)

    def complement(self, gate: Factor) -> Factor:
        return Factor(1 - gate.value, -gate.before)

    def tanh(self, a: Tensor) -> Factor:
        return Factor(torch.tanh(a), a)

    def state(self, value: Tensor) -> Factor:
        return Factor(value, value)

    def product(self, gate: Factor, signal: Factor) -> Tensor:
        return gate.value * signal.value


class Oracle(Plain):
    """Operations whose gradient times input is LRP-0 under a product rule."""

    def __init__(self, rule: ProductRule) -> None:
        self.rule = rule

    def tanh(self, a: Tensor) -> Factor:
        return Factor(a * (torch.tanh(a) / a).detach(), a)

    def sigmoid(self, a: Tensor) -> Factor:
        return Factor(torch.sigmoid(a).detach(), a)

    def product(self, gate: Factor, signal: Factor) -> Tensor:
        parts = self.rule.shares(gate.before.detach(), signal.before.detach())
        whole = (gate.value * signal.value).detach()
        # d(log a): a factor of value one through which the share flows; a state that is zero has nothing to give.
        to_gate = gate.before / gate.before.detach()
        safe = torch.where(signal.before == 0, 1.0, signal.before.detach())
        to_signal = torch.where(signal.before == 0, 1.0, signal.before / safe)
        rest = 1.0 - parts.gate - parts.signal
        return whole * (parts.gate * to_gate + parts.signal * to_signal + rest)


Model = Callable[[Tensor, Plain], Tensor]


def _zeros(x: Tensor) -> Tensor:
    return torch.zeros(len(x), UNITS, dtype=x.dtype)


def _rows(k: int) -> tuple[Tensor, Tensor, Tensor]:
    rows = slice(k * UNITS, (k + 1) * UNITS)
    return W[rows], U[rows], B[rows]


def _pre(x: Tensor, h: Tensor, k: int) -> Tensor:
    w, u, b = _rows(k)
    return F.linear(x, w) + F.linear(h, u, b)


def peephole_lstm(x: Tensor, do: Plain) -> Tensor:
    """Gers and Schmidhuber 2000: the gates look at the cell; the candidate does not."""
    h = c = _zeros(x)
    for step in x.unbind(1):
        i, f = (do.sigmoid(_pre(step, h, k) + PEEPHOLES[k] * c) for k in (0, 1))
        g = do.tanh(_pre(step, h, 2))
        c = do.product(f, do.state(c)) + do.product(i, g)
        o = do.sigmoid(_pre(step, h, 3) + PEEPHOLES[2] * c)
        h = do.product(o, do.tanh(c))
    return F.linear(h, READ)


def coupled_lstm(x: Tensor, do: Plain) -> Tensor:
    """Coupled gates: what is forgotten makes room for what is new, f = 1 - i."""
    h = c = _zeros(x)
    for step in x.unbind(1):
        i, g = do.sigmoid(_pre(step, h, 0)), do.tanh(_pre(step, h, 2))
        c = do.product(do.complement(i), do.state(c)) + do.product(i, g)
        h = do.product(do.sigmoid(_pre(step, h, 3)), do.tanh(c))
    return F.linear(h, READ)


def minimal_gated_unit(x: Tensor, do: Plain) -> Tensor:
    """Zhou et al. 2016: one gate, which also scales the state inside the candidate."""
    h = _zeros(x)
    w, u, b = _rows(1)
    for step in x.unbind(1):
        f = do.sigmoid(_pre(step, h, 0))
        n = do.tanh(F.linear(step, w) + F.linear(do.product(f, do.state(h)), u, b))
        h = do.product(do.complement(f), do.state(h)) + do.product(f, n)
    return F.linear(h, READ)


def highway(x: Tensor, do: Plain) -> Tensor:
    """Srivastava et al. 2015: a gate between a layer and its own input."""
    h = F.linear(x.flatten(1), random(UNITS, 4 * FEATURES, seed=311), B[:UNITS])
    for k in (0, 2):
        t = do.sigmoid(F.linear(h, _rows(k)[1], _rows(k)[2]))
        n = do.tanh(F.linear(h, _rows(k + 1)[1], _rows(k + 1)[2]))
        h = do.product(t, n) + do.product(do.complement(t), do.state(h))
    return F.linear(h, READ)


def convolutional_lstm(x: Tensor, do: Plain) -> Tensor:
    """Shi et al. 2015: the products with weights are convolutions."""
    h = c = torch.zeros(len(x), 2, SIDE, SIDE, dtype=x.dtype)
    for frame in x.unbind(1):
        i, f, g, o = (F.conv2d(frame, MAPS, B[:8], padding=1) + F.conv2d(h, STATES, padding=1)).chunk(4, 1)
        c = do.product(do.sigmoid(f), do.state(c)) + do.product(do.sigmoid(i), do.tanh(g))
        h = do.product(do.sigmoid(o), do.tanh(c))
    return F.linear(h.flatten(1), READ_MAPS)


CELLS: dict[str, tuple[Model, Tensor]] = {
    "peephole lstm": (peephole_lstm, X), "coupled lstm": (coupled_lstm, X), "minimal gated unit": (minimal_gated_unit, X),
    "highway": (highway, X), "convolutional lstm": (convolutional_lstm, FRAMES),
}  # fmt: skip
