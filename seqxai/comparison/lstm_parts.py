"""Contextual decomposition of one layer of ``nn.LSTM`` (Murdoch, Liu & Yu 2018, sec. 3.2), for several phrases at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seqxai.errors import UnsupportedOperation
from seqxai.rules.recurrent.layout import Layout
from seqxai.trace import Value
from seqxai.trace.graph import Node
from seqxai.trace.recurrent import parse


class Parts(NamedTuple):
    """β, what the phrase contributes, and γ, the rest; each with the phrases in front, (P, ...)."""

    beta: Tensor
    gamma: Tensor


class Shares(NamedTuple):
    """What β, γ and the bias contribute to a squashed sum."""

    beta: Tensor
    gamma: Tensor
    bias: Tensor


class Group(NamedTuple):
    """The weights of one direction; ``bias`` is the sum of both, zero without."""

    w_ih: Tensor
    w_hh: Tensor
    bias: Tensor
    w_hr: Tensor | None


def lstm_parts(node: Node, given: list[Parts], phrases: range, steps: int | None) -> list[tuple[Value, Parts]]:
    """Both parts of a node's outputs.

    Args:
        node: a call of ``torch.lstm`` of one layer, one or two directions.
        given: the parts of the node's inputs.
        phrases: the step each phrase consists of.
        steps: how many steps the explained input has; ``None`` if the biases of a phrase's step are not the phrase's.

    Raises:
        UnsupportedOperation: if biases matter and the layer's steps are not those of the explained input.
    """
    call = parse(node.name, node.args, node.kwargs, node.path)
    layout = Layout(call, node.args[0])
    known = dict(zip(node.places, given, strict=True))
    count = len(phrases)
    x = Parts(*(_each(layout.time_major, part) for part in known.get(0, _constant(call.x, count))))  # (P, T, B, F)
    packed = call.batch_sizes is not None
    if steps is not None:
        _require_order(node, x.beta, phrases, steps, packed)
    place = 2 if packed else 1
    h, c = (known.get((place, k), _constant(call.states[k], count)) for k in (0, 1))
    outputs, finals = [], []
    for direction in range(call.directions):
        w_ih, w_hh, b_ih, b_hh, w_hr = call.group(direction)
        bias = w_hh.new_zeros(w_hh.shape[0]) if b_ih is None or b_hh is None else b_ih + b_hh
        start = tuple(Parts(s.beta[:, direction], s.gamma[:, direction]) for s in (h, c))
        owners = torch.tensor([-1 if steps is None else step for step in phrases], device=call.x.device)
        hidden, final = _direction(x, start, Group(w_ih, w_hh, bias, w_hr), owners, layout.there, backward=bool(direction))
        outputs.append(hidden)
        finals.append(final)
    output = Parts(*(_each(layout.own, torch.cat([o[k] for o in outputs], -1)) for k in (0, 1)))
    last = [Parts(*(torch.stack([f[s][k] for f in finals], 1) for k in (0, 1))) for s in (0, 1)]
    return [(value, (output, *last)[value.index]) for value in node.outputs if value.index >= 0]


def _constant(tensor: Tensor, count: int) -> Parts:
    gamma = tensor.detach().expand(count, *tensor.shape)
    return Parts(torch.zeros_like(gamma), gamma)


def _each(function: Callable[[Tensor], Tensor], tensor: Tensor) -> Tensor:
    return torch.stack([function(one) for one in tensor])


def _require_order(node: Node, beta: Tensor, phrases: range, steps: int, packed: bool) -> None:
    """A gate's bias counts for the phrase at the phrase's own step: step t of the layer must be step t of the input.

    Where a phrase reaches the layer at all, it must reach it at its own step; a layer that reads backwards, or later steps, does not.
    """
    reached = (beta != 0).flatten(2).any(2)  # (P, T)
    length = reached.shape[1]
    own = torch.zeros_like(reached)
    for row, step in enumerate(phrases):
        own[row, step : step + 1] = True
    misplaced = bool((reached.any(1) & ~(reached & own).any(1)).any())
    spread_out = bool((reached & ~own).any())
    if misplaced or (length != steps and spread_out and not packed):
        raise UnsupportedOperation(
            f"{node.describe()} does not read the {steps} steps of the explained input in their order, needed to "
            "know whose biases a step has; expected the sequence as it is, with bidirectional=True instead of reversing it: or give "
            "biases='rest'."
        )


def _direction(
    x: Parts, start: tuple[Parts, ...], group: Group, owners: Tensor, there: Tensor | None, *, backward: bool
) -> tuple[Parts, tuple[Parts, Parts]]:
    """Hidden states of one direction, (P, T, B, H), and the final states; ``owners`` (P,) is the step whose biases a phrase has."""
    h, c = start
    from_x = Parts(F.linear(x.beta, group.w_ih), F.linear(x.gamma, group.w_ih))
    times = range(x.beta.shape[1])
    hidden: list[Parts] = []
    for t in reversed(times) if backward else times:
        new_h, new_c = _step(Parts(from_x.beta[:, t], from_x.gamma[:, t]), h, c, group, (owners == t).reshape(-1, 1, 1))
        if there is not None:
            kept = there[t].unsqueeze(-1)
            new_h, new_c = _where(kept, new_h, h), _where(kept, new_c, c)
        h, c = new_h, new_c
        hidden.append(h)
    if backward:
        hidden.reverse()
    return Parts(torch.stack([s.beta for s in hidden], 1), torch.stack([s.gamma for s in hidden], 1)), (h, c)


def _where(kept: Tensor, new: Parts, old: Parts) -> Parts:
    return Parts(torch.where(kept, new.beta, old.beta), torch.where(kept, new.gamma, old.gamma))


def _step(from_x: Parts, h: Parts, c: Parts, group: Group, inside: Tensor) -> tuple[Parts, Parts]:
    """One step: ``c' = f ⊙ c + i ⊙ g``, ``h' = o ⊙ tanh c'``; ``inside`` says for which phrases the step is the phrase's own."""
    beta = from_x.beta + F.linear(h.beta, group.w_hh)
    gamma = from_x.gamma + F.linear(h.gamma, group.w_hh)
    gates = zip(beta.chunk(4, -1), gamma.chunk(4, -1), group.bias.chunk(4), strict=True)
    i, f, g, o = (tuple(sums) for sums in gates)
    i, f, g = shares(torch.sigmoid, *i), shares(torch.sigmoid, *f), shares(torch.tanh, *g)
    # The phrase takes what its own part does to anything but the rest, and at its own step the product of the two biases.
    both_biases = i.bias * g.bias
    new_beta = i.beta * (g.beta + g.bias) + i.bias * g.beta + torch.where(inside, both_biases, 0.0)
    new_gamma = i.gamma * (g.beta + g.gamma + g.bias) + (i.beta + i.bias) * g.gamma + torch.where(inside, 0.0, both_biases)
    new_beta = new_beta + (f.beta + f.bias) * c.beta
    new_gamma = new_gamma + (f.beta + f.gamma + f.bias) * c.gamma + f.gamma * c.beta
    gate = torch.sigmoid(o[0] + o[1] + o[2])
    alone, others, together = torch.tanh(new_beta), torch.tanh(new_gamma), torch.tanh(new_beta + new_gamma)
    new_h = Parts(gate * (alone + together - others) / 2, gate * (others + together - alone) / 2)
    if group.w_hr is not None:
        new_h = Parts(F.linear(new_h.beta, group.w_hr), F.linear(new_h.gamma, group.w_hr))
    return new_h, Parts(new_beta, new_gamma)


def shares(squash: Callable[[Tensor], Tensor], beta: Tensor, gamma: Tensor, bias: Tensor) -> Shares:
    """Shapley's shares in ``squash(β + γ + bias)`` over the two orders in which the bias comes first.

        s_β = ½ [σ(β + b) - σ(b)] + ½ [σ(β + γ + b) - σ(γ + b)],   s_b = σ(b),

    and s_γ likewise (sec. 3.2.2); they sum to the value.
    """
    first, one, other, every = squash(bias), squash(beta + bias), squash(gamma + bias), squash(beta + gamma + bias)
    return Shares(((one - first) + (every - other)) / 2, ((other - first) + (every - one)) / 2, first)
