"""An LSTM layer that keeps its gates.

Torch's kernel returns hidden states only, and relevance needs the gates: computing them again costs as much as the kernel did.  On a CPU
this loop takes about the time of the kernel and keeps them; its output is the kernel's up to rounding.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from seqxai.trace.recurrent import Call


class Kept(NamedTuple):
    """What an LSTM layer computed on its way, (D, T, B, ·) in the order of processing.

    Attributes:
        opened: σ(i) and σ(f) side by side.
        candidate: the pre-activation of g.
        new: σ(i) tanh(g).
        cells, hidden: (D, T + 1, B, H), the states before the first step and after each.
    """

    opened: Tensor
    candidate: Tensor
    new: Tensor
    cells: Tensor
    hidden: Tensor


SMALL = 1024  # numbers a step: with fewer the calls of the loop cost more than computing the gates again


def keeps_gates(call: Call) -> bool:
    """Whether a call is one this loop is for: one layer of whole sequences on a CPU, in single or double precision."""
    ordinary = call.cell == "lstm" and not call.single and call.batch_sizes is None and call.x.device.type == "cpu"
    if not ordinary or call.x.dtype not in (torch.float32, torch.float64) or call.x.numel() == 0 or call.x.dim() != 3:
        return False
    if call.states[0].numel() < SMALL:
        return False
    if call.per_direction != (4 if call.biased else 2):  # a projected hidden state
        return False
    batch = call.x.shape[0 if call.batch_first else 1]
    states = all(s.shape[:2] == (call.directions, batch) for s in call.states)
    return states and all(t.dtype == call.x.dtype for t in (*call.weights, *call.states))


def run(call: Call) -> tuple[tuple[Tensor, Tensor, Tensor], Kept]:
    """``c' = σ(f) c + σ(i) tanh(g)``, ``h' = σ(o) tanh(c')``; returns what the kernel returns, and what it does not."""
    x = call.x.transpose(0, 1) if call.batch_first else call.x
    steps, batch, _ = x.shape
    pre, u = _from_input(call, x)
    h = u.shape[-2]
    new = x.new_empty(call.directions, steps, batch, h)
    hidden, cells = (x.new_empty(call.directions, steps + 1, batch, h) for _ in range(2))
    hidden[:, 0], cells[:, 0] = call.states
    _loop(pre, u, hidden, new, cells)
    if call.directions == 1:
        output = hidden[0, 1:]
    else:
        output = torch.cat((hidden[0, 1:], hidden[1, 1:].flip(0)), -1)
    kept = Kept(pre[..., : 2 * h], pre[..., 3 * h :], new, cells, hidden)
    return (output.transpose(0, 1) if call.batch_first else output, hidden[:, -1].clone(), cells[:, -1].clone()), kept


def _sorted_rows(weight: Tensor) -> Tensor:
    """Rows i, f, o, g instead of i, f, g, o: the three gates side by side."""
    i, f, g, o = weight.chunk(4)
    return torch.cat((i, f, o, g))


def _from_input(call: Call, x: Tensor) -> tuple[Tensor, Tensor]:
    """``W x + b`` of all steps in one product a direction, (D, T, B, 4H), and Uᵀ, (H, 4H) or (2, H, 4H)."""
    groups = [call.group(direction) for direction in range(call.directions)]
    found = x.new_empty(call.directions, *x.shape[:2], groups[0][0].shape[0])
    for direction, (w, _, b_ih, b_hh, _) in enumerate(groups):
        rows = (x.flip(0) if direction else x).reshape(-1, x.shape[-1])
        out, weight = found[direction].flatten(0, 1), _sorted_rows(w).T
        if b_ih is not None and b_hh is not None:
            torch.addmm(_sorted_rows(b_ih + b_hh), rows, weight, out=out)
        else:
            torch.mm(rows, weight, out=out)
    u = [_sorted_rows(group[1]).T for group in groups]
    return found, u[0] if call.directions == 1 else torch.stack(u)


def _loop(pre: Tensor, u: Tensor, hidden: Tensor, new: Tensor, cells: Tensor) -> None:
    """Fill ``hidden``, ``new`` and ``cells``; ``pre`` ends as σ(i), σ(f), σ(o) and the pre-activation of g."""
    single = u.dim() == 2
    h = hidden.shape[-1]
    add_product = torch.addmm if single else torch.baddbmm

    def each(array: Tensor) -> tuple[Tensor, ...]:
        return array[0].unbind(0) if single else array.unbind(1)

    whole, gates, candidates = each(pre), each(pre[..., : 3 * h]), each(pre[..., 3 * h :])
    i, f, o = (each(pre[..., k * h : (k + 1) * h]) for k in range(3))
    states, added, contents = each(hidden), each(new), each(cells)
    for t in range(len(whole)):
        add_product(whole[t], states[t], u, out=whole[t])
        gates[t].sigmoid_()
        torch.mul(i[t], torch.tanh(candidates[t]), out=added[t])
        torch.addcmul(added[t], f[t], contents[t], out=contents[t + 1])
        torch.mul(o[t], torch.tanh(contents[t + 1]), out=states[t + 1])
