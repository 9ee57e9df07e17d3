"""Models around recurrent layers, and the ways their calls are laid out."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.contracts import random, seeded

FEATURES, UNITS = 3, 4
LENGTHS = torch.tensor([3, 5, 1])
X = random(3, 5, FEATURES, seed=201)

# Options of nn.LSTM, nn.GRU, nn.RNN; every one is explained in every layout.
LAYERS: dict[str, tuple[type[nn.RNNBase], dict[str, Any]]] = {
    "lstm": (nn.LSTM, {}),
    "lstm, 3 layers, both directions": (nn.LSTM, {"num_layers": 3, "bidirectional": True}),
    "lstm, no bias, both directions": (nn.LSTM, {"bias": False, "bidirectional": True}),
    "lstm, projected, 2 layers": (nn.LSTM, {"proj_size": 2, "num_layers": 2, "bidirectional": True}),
    "gru": (nn.GRU, {}),
    "gru, 2 layers, both directions": (nn.GRU, {"num_layers": 2, "bidirectional": True}),
    "gru, no bias": (nn.GRU, {"bias": False}),
    "rnn": (nn.RNN, {"bidirectional": True}),
    "rnn, relu, 2 layers": (nn.RNN, {"nonlinearity": "relu", "num_layers": 2}),
}


class Reader(nn.Module):
    """A recurrent layer of which everything it returns is read: the outputs of all steps and the final states."""

    def __init__(
        self, layer: type[nn.RNNBase], batch_first: bool = True, packed: bool = False, initial: bool = False, **options: Any
    ) -> None:
        super().__init__()
        self.layer = layer(FEATURES, UNITS, batch_first=batch_first, **options)
        self.batch_first, self.packed, self.initial = batch_first, packed, initial
        size = options.get("proj_size") or UNITS
        self.directions = 2 if options.get("bidirectional") else 1
        self.outputs = nn.Linear(self.directions * size, 2)
        self.hidden, self.cell = nn.Linear(size, 2), nn.Linear(UNITS, 2)
        self.size = size

    def states(self, batch: int) -> Any:
        """Given initial states, constants of the run."""
        rows = self.directions * self.layer.num_layers
        h = random(rows, batch, self.size, seed=202)
        return (h, random(rows, batch, UNITS, seed=203)) if isinstance(self.layer, nn.LSTM) else h

    def forward(self, x: Tensor) -> Tensor:
        lengths = LENGTHS[: len(x)]
        given = x if self.batch_first else x.transpose(0, 1)
        states = self.states(len(x)) if self.initial else None
        if self.packed:
            packed = pack_padded_sequence(given, lengths, batch_first=self.batch_first, enforce_sorted=False)
            out, final = self.layer(packed, states)
            out, _ = pad_packed_sequence(out, batch_first=self.batch_first)
        else:
            out, final = self.layer(given, states)
        out = out if self.batch_first else out.transpose(0, 1)
        finals = final if isinstance(final, tuple) else (final,)
        scores = self.outputs(out).sum(1) + self.hidden(finals[0][-1])
        return scores if len(finals) == 1 else scores + self.cell(finals[1][0])


def reader(name: str, **options: Any) -> Reader:
    layer, fixed = LAYERS[name]
    model = seeded(lambda: Reader(layer, **options, **fixed), seed=204)
    assert isinstance(model, Reader)
    return model


class Cells(nn.Module):
    """A cell called step by step, with the weights of a one-layer kernel."""

    def __init__(self, kernel: nn.RNNBase) -> None:
        super().__init__()
        kind = {nn.LSTM: nn.LSTMCell, nn.GRU: nn.GRUCell, nn.RNN: nn.RNNCell}[type(kernel)]
        self.cell = kind(FEATURES, UNITS).double()
        with torch.no_grad():
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(self.cell, name).copy_(getattr(kernel, f"{name}_l0"))

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for step in x.unbind(1):
            state = self.cell(step, state)
        return state[0] if isinstance(state, tuple) else state


class Last(nn.Module):
    """The last hidden state of a kernel."""

    def __init__(self, kernel: nn.RNNBase) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.kernel(x)[0][:, -1]
        return out


def kernel(build: Callable[[], nn.Module], seed: int = 205) -> Any:
    return seeded(build, seed)
