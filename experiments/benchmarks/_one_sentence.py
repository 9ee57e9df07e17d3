"""LRP for a bidirectional LSTM as research code does it: NumPy, one sentence at a time, every message of every layer written out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import nn

Array = NDArray[np.float32]


def messages(x: Array, w: Array, z: Array, relevance: Array, epsilon: float = 1e-6) -> Array:
    """``R_i = Σ_j x_i w_ji / (z_j + ε sign z_j) R_j`` through the matrix of all messages."""
    share: Array = (w.T * x[:, None]) / (z + epsilon * np.where(z >= 0, 1, -1))[None, :] * relevance[None, :]
    return share.sum(1)


class OneSentence:
    """A one-layer bidirectional LSTM with a linear read-out of both final states.

    Args:
        lstm: its weights.
        read_out: a linear layer.
    """

    def __init__(self, lstm: nn.LSTM, read_out: nn.Linear) -> None:
        self.units = lstm.hidden_size
        self.sides = []
        for suffix in ("", "_reverse"):
            w, u, b, c = (getattr(lstm, f"{n}_l0{suffix}").detach().numpy() for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            self.sides.append((w, u, b + c))
        self.v, self.b = read_out.weight.detach().numpy(), read_out.bias.detach().numpy()

    def explain(self, x: Array, target: int) -> Array:
        """The relevance (T, F) of one sentence."""
        runs = [self._run(x, *self.sides[0]), self._run(x[::-1], *self.sides[1])]
        h = np.concatenate([run[-1][3] for run in runs])
        score = self.v[target : target + 1] @ h + self.b[target]
        relevance = messages(h, self.v[target : target + 1], score, score)
        forward = self._walk(x, runs[0], relevance[: self.units], *self.sides[0])
        backward = self._walk(x[::-1], runs[1], relevance[self.units :], *self.sides[1])
        return forward + backward[::-1]

    def _run(self, x: Array, w: Array, u: Array, b: Array) -> list[tuple[Array, ...]]:
        h = c = np.zeros(self.units, x.dtype)
        found = []
        for step in x:
            pre = w @ step + u @ h + b
            i, f, g, o = np.split(pre, 4)
            i, f, o = (1 / (1 + np.exp(-a)) for a in (i, f, o))
            new = f * c + i * np.tanh(g)
            after = o * np.tanh(new)
            found.append((i * np.tanh(g), f * c, new, after, g, h))
            h, c = after, new
        return found

    def _walk(self, x: Array, run: list[tuple[Array, ...]], relevance: Array, w: Array, u: Array, b: Array) -> Array:
        rows = slice(2 * self.units, 3 * self.units)
        found, r_h, r_c = np.zeros_like(x), relevance, np.zeros_like(relevance)
        identity = np.eye(self.units, dtype=x.dtype)
        for t in range(len(x) - 1, -1, -1):
            added, kept, new, _, g, before = run[t]
            total = r_h + r_c
            r_c = messages(kept, identity, new, total)
            r_g = messages(added, identity, new, total)
            found[t] = messages(x[t], w[rows], g, r_g)
            r_h = messages(before, u[rows], g, r_g)
        return found
