"""The fused recurrent kernels: reading their calls, one layer at a time, and the same cells written step by step."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqxai.errors import InputError, UnsupportedOperation
from seqxai.trace.graph import module_name

CELLS = {"lstm_cell": "lstm", "gru_cell": "gru", "rnn_tanh_cell": "rnn_tanh", "rnn_relu_cell": "rnn_relu"}


@dataclass(frozen=True)
class Call:
    """One call of a recurrent kernel, its arguments by name.

    Attributes:
        cell: "lstm", "gru", "rnn_tanh" or "rnn_relu".
        single: whether it is one step of a cell (``torch.lstm_cell``) rather than a sequence.
        x: (T, B, F), (B, T, F) with ``batch_first``, (N, F) packed, or (B, F) for a single step.
        batch_sizes: of a packed sequence, (T,) integers; else ``None``.
        states: (h,), or (h, c) of an LSTM; each (layers · directions, B, ·), or (B, ·) for a single step.
        weights: per layer and direction ``w_ih, w_hh[, b_ih, b_hh][, w_hr]``.
        biased, layers, dropout, training, bidirectional, batch_first: as given to the kernel.
    """

    cell: str
    single: bool
    x: Tensor
    batch_sizes: Tensor | None
    states: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]
    biased: bool
    layers: int = 1
    dropout: float = 0.0
    training: bool = False
    bidirectional: bool = False
    batch_first: bool = False

    @property
    def directions(self) -> int:
        """1, or 2 for a bidirectional kernel."""
        return 2 if self.bidirectional else 1

    @property
    def per_direction(self) -> int:
        """How many weights belong to one layer and direction."""
        return len(self.weights) // (self.layers * self.directions)

    def group(self, direction: int) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]:
        """``w_ih, w_hh, b_ih, b_hh, w_hr`` of one direction of a one-layer call."""
        size = self.per_direction
        found = self.weights[direction * size : (direction + 1) * size]
        biases = (found[2], found[3]) if self.biased else (None, None)
        projected = found[-1] if self.cell == "lstm" and size == (5 if self.biased else 3) else None
        return found[0], found[1], *biases, projected


def parse(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], path: str = "") -> Call:
    """Read a call of ``torch.lstm``, ``torch.gru``, ``torch.rnn_tanh``, ``torch.rnn_relu`` or of their cells.

    Raises:
        UnsupportedOperation: if it gives arguments by keyword.
    """
    if kwargs:
        raise UnsupportedOperation(
            f"torch.{name} in {module_name(path)} gives arguments by keyword ({', '.join(kwargs)}); expected them by position, as nn.LSTM, "
            "nn.GRU and nn.RNN pass them."
        )
    if name in CELLS:
        return _parse_cell(name, args)
    lstm = name == "lstm"
    # Both forms have nine arguments; a packed one has the integer batch sizes in second place.
    second = args[1]
    packed = isinstance(second, Tensor) and not second.dtype.is_floating_point
    x, rest = args[0], args[2:] if packed else args[1:]
    states = tuple(rest[0]) if lstm else (rest[0],)
    biased, layers, dropout, training, bidirectional = rest[2:7]
    batch_first = False if packed else rest[7]
    sizes = second if packed else None
    return Call(name, False, x, sizes, states, tuple(rest[1]), biased, layers, dropout, training, bidirectional, batch_first)


def _parse_cell(name: str, args: tuple[Any, ...]) -> Call:
    cell = CELLS[name]
    states = tuple(args[1]) if cell == "lstm" else (args[1],)
    weights = tuple(w for w in args[2:6] if w is not None)
    return Call(cell, True, args[0], None, states, weights, len(weights) == 4)


def check(call: Call, path: str) -> None:
    """Refuse what a kernel would fail on later, or in other words.

    Raises:
        InputError: for integers where features were expected.
        UnsupportedOperation: for dropout between layers whose mask is not known.
    """
    if not call.x.dtype.is_floating_point:
        raise InputError(
            f"The {call.cell} kernel in {module_name(path)} expects features as floating numbers, got {call.x.dtype}; token ids go through "
            "an nn.Embedding first."
        )
    if call.layers > 1 and call.training and call.dropout > 0 and call.x.device.type != "cpu":
        raise UnsupportedOperation(
            f"Dropout between the layers of the {call.cell} in {module_name(path)} is drawn inside the kernel on {call.x.device.type}, so "
            "its mask is not known; call model.eval() before explaining, or explain on a CPU."
        )


def layer_by_layer(call: Call, kernel: Callable[..., Any]) -> tuple[Tensor, ...]:
    """Run a kernel of several layers as one call a layer, with the dropout torch puts in between.

    Args:
        call: the call of the whole kernel.
        kernel: the torch function, recorded layer by layer.

    Returns:
        What the kernel returns: output and final states.
    """
    x = call.x
    finals: list[list[Tensor]] = [[] for _ in call.states]
    width = call.directions
    for layer in range(call.layers):
        size = call.per_direction * width
        one = replace(
            call,
            x=x,
            states=tuple(state[layer * width : (layer + 1) * width] for state in call.states),
            weights=call.weights[layer * size : (layer + 1) * size],
        )
        with warnings.catch_warnings():
            # A part of a GPU kernel's weights is not one piece of memory; torch only warns that this is slower.
            warnings.filterwarnings("ignore", message="RNN module weights")
            x, *states = kernel(*_arguments(one))
        for final, state in zip(finals, states, strict=True):
            final.append(state)
        if call.training and call.dropout > 0 and layer < call.layers - 1:
            x = F.dropout(x, call.dropout, True)
    return (x, *(torch.cat(final) for final in finals))


def _arguments(call: Call) -> tuple[Any, ...]:
    states = call.states if call.cell == "lstm" else call.states[0]
    common = (list(call.weights), call.biased, 1, 0.0, False, call.bidirectional)
    if call.batch_sizes is not None:
        return (call.x, call.batch_sizes, states, *common)
    return (call.x, states, *common, call.batch_first)


# ---- the cells, step by step ---------------------------------------------------------------------------------------------------


def lstm_step(x: Tensor, states: tuple[Tensor, ...], weights: tuple[Tensor | None, ...]) -> tuple[Tensor, ...]:
    """``c' = σ(f) c + σ(i) tanh(g)``, ``h' = σ(o) tanh(c')``, projected by ``w_hr`` if there is one."""
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    assert w_ih is not None
    assert w_hh is not None
    i, f, g, o = (F.linear(x, w_ih, b_ih) + F.linear(states[0], w_hh, b_hh)).chunk(4, -1)
    c = torch.sigmoid(f) * states[1] + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    return (h if w_hr is None else F.linear(h, w_hr)), c


def gru_step(x: Tensor, states: tuple[Tensor, ...], weights: tuple[Tensor | None, ...]) -> tuple[Tensor, ...]:
    """``n = tanh(W x + b + r (U h + b'))``, ``h' = (1 - z) n + z h``."""
    w_ih, w_hh, b_ih, b_hh, _ = weights
    assert w_ih is not None
    assert w_hh is not None
    (h,) = states
    x_r, x_z, x_n = F.linear(x, w_ih, b_ih).chunk(3, -1)
    h_r, h_z, h_n = F.linear(h, w_hh, b_hh).chunk(3, -1)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    n = torch.tanh(x_n + r * h_n)
    return ((1 - z) * n + z * h,)


def rnn_step(squash: Callable[[Tensor], Tensor]) -> Callable[..., tuple[Tensor, ...]]:
    """``h' = squash(W x + U h + b)``."""

    def step(x: Tensor, states: tuple[Tensor, ...], weights: tuple[Tensor | None, ...]) -> tuple[Tensor, ...]:
        w_ih, w_hh, b_ih, b_hh, _ = weights
        assert w_ih is not None
        assert w_hh is not None
        return (squash(F.linear(x, w_ih, b_ih) + F.linear(states[0], w_hh, b_hh)),)

    return step


STEPS = {"lstm": lstm_step, "gru": gru_step, "rnn_tanh": rnn_step(torch.tanh), "rnn_relu": rnn_step(torch.relu)}


def unrolled(call: Call) -> Any:
    """A one-layer kernel or a single step, written with ordinary functions; returns what the kernel returns."""
    step = STEPS[call.cell]
    if call.single:
        found = step(call.x, call.states, call.group(0))
        return found if call.cell == "lstm" else found[0]
    if call.batch_sizes is not None:
        return _unrolled_packed(call, step)
    steps = call.x.unbind(1 if call.batch_first else 0)
    outputs, finals = [], []
    for direction in range(call.directions):
        states: tuple[Tensor, ...] = tuple(state[direction] for state in call.states)
        hidden = []
        for x in reversed(steps) if direction else steps:
            states = step(x, states, call.group(direction))
            hidden.append(states[0])
        outputs.append(torch.stack(hidden[::-1] if direction else hidden))
        finals.append(states)
    output, *rest = _joined(outputs, finals)
    # Time first in memory, as the kernels have it: dropout draws its mask in the order of the memory.
    return (output.transpose(0, 1) if call.batch_first else output, *rest)


def _joined(outputs: list[Tensor], finals: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    output = outputs[0] if len(outputs) == 1 else torch.cat(outputs, -1)
    return (output, *(torch.stack(each) for each in zip(*finals, strict=True)))


def _unrolled_packed(call: Call, step: Callable[..., tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Sequences are sorted by length, longest first: step t has the first ``batch_sizes[t]`` of them."""
    assert call.batch_sizes is not None
    sizes = call.batch_sizes.tolist()
    steps = call.x.split(sizes)
    outputs, finals = [], []
    for direction in range(call.directions):
        run = _backward_packed if direction else _forward_packed
        hidden, final = run(steps, sizes, tuple(s[direction] for s in call.states), step, call.group(direction))
        outputs.append(torch.cat(hidden))
        finals.append(final)
    return _joined(outputs, finals)


def _forward_packed(steps: Any, sizes: list[int], states: tuple[Tensor, ...], step: Any, weights: Any) -> tuple[Any, Any]:
    hidden, ended = [], []
    for x, size in zip(steps, sizes, strict=True):
        if size < len(states[0]):
            ended.append(tuple(s[size:] for s in states))
            states = tuple(s[:size] for s in states)
        states = step(x, states, weights)
        hidden.append(states[0])
    parts = [states, *reversed(ended)]
    return hidden, tuple(torch.cat(each) for each in zip(*parts, strict=True))


def _backward_packed(steps: Any, sizes: list[int], initial: tuple[Tensor, ...], step: Any, weights: Any) -> tuple[Any, Any]:
    states = tuple(s[: sizes[-1]] for s in initial)
    hidden = []
    for x, size in zip(reversed(steps), reversed(sizes), strict=True):
        if size > len(states[0]):  # a shorter sequence begins
            states = tuple(torch.cat([s, i[len(s) : size]]) for s, i in zip(states, initial, strict=True))
        states = step(x, states, weights)
        hidden.append(states[0])
    return hidden[::-1], states


# ---- packing ------------------------------------------------------------------------------------------------------------------


def check_packing(args: tuple[Any, ...], path: str) -> None:
    """Refuse lengths that torch accepts and fails on later.

    Raises:
        InputError: if a length is not between 1 and the number of steps, or there is no sequence.
    """
    padded, lengths, batch_first = args[0], args[1], bool(args[2])
    steps, batch = padded.shape[1 if batch_first else 0], padded.shape[0 if batch_first else 1]
    if lengths.numel() == 0 or batch == 0:
        raise InputError(f"pack_padded_sequence in {module_name(path)} expects at least one sequence, got an empty batch.")
    if lengths.numel() != batch:
        raise InputError(
            f"pack_padded_sequence in {module_name(path)} expects one length for each of {batch} sequences, got {lengths.numel()}; is "
            f"batch_first={batch_first} right?"
        )
    if bool((lengths[1:] > lengths[:-1]).any()):
        raise InputError(
            f"pack_padded_sequence in {module_name(path)} expects the longest sequence first, got lengths {lengths.tolist()[:8]}; pass "
            "enforce_sorted=False, which sorts them and puts results back in order."
        )
    low, high = int(lengths.min()), int(lengths.max())
    if low < 1 or high > steps:
        raise InputError(
            f"pack_padded_sequence in {module_name(path)} expects lengths from 1 to {steps}, the steps of the padded sequence, got "
            f"{low if low < 1 else high}; drop empty sequences, and pad to the longest length."
        )
