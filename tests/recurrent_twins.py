"""LSTM and GRU explained slowly in NumPy, and the same cells hand-written in PyTorch in many spellings.

The twins follow the published recipe: one denominator per sum (z + ε sign z), gates receive nothing, tanh passes
relevance through.  The spellings read x (B, T, F) and return (B, 2); each computes the same function as the twin.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from tests.contracts import random

Array = NDArray[np.float64]
FEATURES, UNITS = 3, 4
W = 1.5 * random(4 * UNITS, FEATURES, seed=71)  # rows i, f, g, o of the LSTM; r, z, n of the GRU
U = 1.2 * random(4 * UNITS, UNITS, seed=72)
B = random(4 * UNITS, seed=73)
BH = random(4 * UNITS, seed=74)
READOUT, READOUT_BIAS = random(2, UNITS, seed=75), random(2, seed=76)
INITIAL = random(UNITS, seed=77)

Cell = Callable[[Tensor], Tensor]


def sigma(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def stabilised(z: Array, epsilon: float) -> Array:
    return z + epsilon * np.where(z >= 0, 1.0, -1.0)


class Numbers(NamedTuple):
    """The constants above as NumPy arrays."""

    w: Array
    u: Array
    b: Array
    bh: Array
    v: Array
    vb: Array
    initial: Array


def numbers() -> Numbers:
    return Numbers(*(t.numpy() for t in (W, U, B, BH, READOUT, READOUT_BIAS, INITIAL)))


def _read_out(h: Array, n: Numbers, target: int, epsilon: float) -> Array:
    """Relevance of the last hidden state under the ε rule."""
    score = n.v[target] @ h + n.vb[target]
    return h * n.v[target] * score / stabilised(np.array(score), epsilon)


def lstm_twin(x: Array, target: int, epsilon: float, initial: bool) -> Array:
    """The relevance (T, F) of one sample; ``initial``: c(0) is a constant instead of zero."""
    n, states, gates = numbers(), [], []
    h, c = np.zeros(UNITS), n.initial if initial else np.zeros(UNITS)
    for step in x:
        pre = n.w @ step + n.u @ h + n.b
        i, f, g, o = (s for s in np.split(pre, 4))
        new = sigma(f) * c + sigma(i) * np.tanh(g)
        gates.append((sigma(i), sigma(f), g))
        states.append((h, c, new))
        h, c = sigma(o) * np.tanh(new), new
    r_h, r_c, relevance = _read_out(h, n, target, epsilon), np.zeros(UNITS), np.zeros_like(x)
    w, u = np.split(n.w, 4)[2], np.split(n.u, 4)[2]
    for t in reversed(range(len(x))):
        (i, f, g), (h, c, new) = gates[t], states[t]
        s = (r_c + r_h) / stabilised(new, epsilon)
        s_g = i * np.tanh(g) * s / stabilised(g, epsilon)
        r_c, r_h = f * c * s, h * (u.T @ s_g)
        relevance[t] = x[t] * (w.T @ s_g)
    return relevance


def gru_twin(x: Array, target: int, epsilon: float) -> Array:
    """The relevance (T, F) of one sample; h(0) = 0, n = tanh(W x + b + r (U h + b'))."""
    n, states = numbers(), []
    w, u, b, bh = n.w[: 3 * UNITS], n.u[: 3 * UNITS], n.b[: 3 * UNITS], n.bh[: 3 * UNITS]
    h = np.zeros(UNITS)
    for step in x:
        (xr, xz, xn), (hr, hz, hn) = np.split(w @ step + b, 3), np.split(u @ h + bh, 3)
        r, z = sigma(xr + hr), sigma(xz + hz)
        pre = xn + r * hn
        new = (1 - z) * np.tanh(pre) + z * h
        states.append((h, r, z, pre, new))
        h = new
    r_h, relevance = _read_out(h, n, target, epsilon), np.zeros_like(x)
    w_n, u_n = np.split(w, 3)[2], np.split(u, 3)[2]
    for t in reversed(range(len(x))):
        h, r, z, pre, new = states[t]
        s = r_h / stabilised(new, epsilon)
        s_n = (1 - z) * np.tanh(pre) * s / stabilised(pre, epsilon)
        r_h = z * h * s + h * (u_n.T @ (r * s_n))
        relevance[t] = x[t] * (w_n.T @ s_n)
    return relevance


# ---- hand-written in PyTorch -----------------------------------------------------------------------------------------


def _read(h: Tensor) -> Tensor:
    return F.linear(h, READOUT, READOUT_BIAS)


def _zeros(x: Tensor) -> Tensor:
    return torch.zeros(len(x), UNITS, dtype=x.dtype)


def lstm_fused_gates(x: Tensor) -> Tensor:
    h, c = _zeros(x), _zeros(x)
    for step in x.unbind(1):
        i, f, g, o = (F.linear(step, W, B) + F.linear(h, U)).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
    return _read(h)


def lstm_gate_by_gate(x: Tensor) -> Tensor:
    h, c = _zeros(x), _zeros(x)
    w, u, b = W.chunk(4), U.chunk(4), B.chunk(4)
    for t in range(x.shape[1]):
        i = (x[:, t] @ w[0].T + h @ u[0].T + b[0]).sigmoid()
        f = (x[:, t] @ w[1].T + h @ u[1].T + b[1]).sigmoid()
        g = (x[:, t] @ w[2].T + h @ u[2].T + b[2]).tanh()
        o = (x[:, t] @ w[3].T + h @ u[3].T + b[3]).sigmoid()
        c = f * c + i * g
        h = o * c.tanh()
    return _read(h)


def lstm_concatenated(x: Tensor) -> Tensor:
    h, c, both = _zeros(x), _zeros(x), torch.cat([W, U], 1)
    for t in range(x.shape[1]):
        pre = torch.cat([x[:, t], h], 1) @ both.mT + B
        i, f, g, o = pre.view(len(x), 4, UNITS).unbind(1)
        c = torch.addcmul(torch.special.expit(i) * g.tanh(), F.sigmoid(f), c)
        h = c.tanh() * (1 - torch.sigmoid(-o))
    return _read(h)


def lstm_in_place(x: Tensor) -> Tensor:
    h, c = _zeros(x), _zeros(x)
    outputs = torch.zeros(x.shape[1], len(x), UNITS, dtype=x.dtype)
    for t, step in enumerate(x.transpose(0, 1)):
        pre = torch.addmm(B, step, W.T)
        pre += h @ U.T
        gates = pre[:, [*range(2 * UNITS), *range(3 * UNITS, 4 * UNITS)]].sigmoid_()
        g = pre[:, 2 * UNITS : 3 * UNITS].tanh()
        i, f, o = gates.split(UNITS, 1)
        c = c.clone().mul_(f).add_(g.mul_(i))
        h = c.tanh().mul_(o)
        outputs[t] = h
    return _read(outputs[-1])


def lstm_einsum(x: Tensor) -> Tensor:
    h, c = _zeros(x), _zeros(x)
    pre_x = torch.einsum("btf,of->bto", x, W) + B
    for t in range(x.shape[1]):
        i, f, g, o = torch.split(pre_x[:, t] + torch.einsum("bu,ou->bo", h, U), UNITS, dim=1)
        c = (1 / (1 + torch.exp(-i))) * g.tanh() + (0.5 * (torch.tanh(f / 2) + 1)) * c
        h = o.sigmoid() * c.tanh()
    return _read(h)


def lstm_initial(x: Tensor) -> Tensor:
    h, c = _zeros(x), INITIAL.expand(len(x), UNITS)
    for step in x.unbind(1):
        i, f, g, o = (F.linear(step, W, B) + F.linear(h, U)).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
    return _read(h)


LSTMS: dict[str, Cell] = {
    "fused gates": lstm_fused_gates,
    "gate by gate": lstm_gate_by_gate,
    "concatenated": lstm_concatenated,
    "in place": lstm_in_place,
    "einsum": lstm_einsum,
}


def _gru(update: Callable[[Tensor, Tensor, Tensor], Tensor], gate: Callable[[Tensor], Tensor] = torch.sigmoid) -> Cell:
    def forward(x: Tensor) -> Tensor:
        h = _zeros(x)
        for step in x.unbind(1):
            xr, xz, xn = F.linear(step, W[: 3 * UNITS], B[: 3 * UNITS]).chunk(3, 1)
            hr, hz, hn = F.linear(h, U[: 3 * UNITS], BH[: 3 * UNITS]).chunk(3, 1)
            n = torch.tanh(xn + gate(xr + hr) * hn)
            h = update(n, h, gate(xz + hz))
        return _read(h)

    return forward


def gru_matrices(x: Tensor) -> Tensor:
    """Separate matrices, the reset gate multiplied in another order."""
    h = _zeros(x)
    (wr, wz, wn), (ur, uz, un) = W[: 3 * UNITS].chunk(3), U[: 3 * UNITS].chunk(3)
    (br, bz, bn), (cr, cz, cn) = B[: 3 * UNITS].chunk(3), BH[: 3 * UNITS].chunk(3)
    for t in range(x.shape[1]):
        r = torch.sigmoid(x[:, t] @ wr.T + br + (h @ ur.T + cr))
        z = torch.sigmoid(h @ uz.T + cz + (x[:, t] @ wz.T + bz))
        n = torch.tanh((h @ un.T + cn) * r + x[:, t] @ wn.T + bn)
        h = z * h + (1 - z) * n
    return _read(h)


def gru_joined_gates(x: Tensor) -> Tensor:
    """r and z from one product of the concatenated input; the candidate on its own."""
    h = _zeros(x)
    both = torch.cat([W[: 2 * UNITS], U[: 2 * UNITS]], 1)
    for step in x.unbind(1):
        gates = torch.sigmoid(F.linear(torch.cat([step, h], 1), both, B[: 2 * UNITS] + BH[: 2 * UNITS]))
        r, z = gates.chunk(2, 1)
        candidate = F.linear(h, U[2 * UNITS : 3 * UNITS], BH[2 * UNITS : 3 * UNITS])
        n = torch.addcmul(F.linear(step, W[2 * UNITS : 3 * UNITS], B[2 * UNITS : 3 * UNITS]), r, candidate).tanh()
        h = torch.lerp(n, h, z)
    return _read(h)


GRUS: dict[str, Cell] = {
    "(1 - z) n + z h": _gru(lambda n, h, z: (1 - z) * n + z * h),
    "z h + (1 - z) n": _gru(lambda n, h, z: z * h + (1.0 - z) * n),
    "lerp": _gru(lambda n, h, z: torch.lerp(n, h, z)),
    "n + z (h - n)": _gru(lambda n, h, z: n + z * (h - n)),
    "h + (1 - z)(n - h)": _gru(lambda n, h, z: h + (1 - z) * (n - h)),
    "z h + n - z n": _gru(lambda n, h, z: z * h + n - z * n),
    "addcmul": _gru(lambda n, h, z: torch.addcmul(n, z, h - n)),
    "in place": _gru(lambda n, h, z: ((1 - z) * n).addcmul_(z, h)),
    "mul_, addcmul_": _gru(lambda n, h, z: n.mul_(1 - z).addcmul_(z, h)),
    "rsub": _gru(lambda n, h, z: torch.mul(torch.rsub(z, 1), n).add_(torch.mul(z, h))),
    "tanh gate": _gru(lambda n, h, z: (1 - z) * n + z * h, lambda a: 0.5 * (torch.tanh(a / 2) + 1)),
    "exp gate": _gru(lambda n, h, z: n + z * (h - n), lambda a: 1 / (1 + torch.exp(-a))),
    "expit gate": _gru(lambda n, h, z: (1 - z) * n + z * h, torch.special.expit),
    "1 - sigmoid(-a) gate": _gru(lambda n, h, z: torch.lerp(n, h, z), lambda a: 1 - torch.sigmoid(-a)),
    "matrices": gru_matrices,
    "joined gates": gru_joined_gates,
}


def samples(x: Tensor) -> Iterator[Array]:
    """The samples of a batch as NumPy arrays."""
    yield from x.numpy()
