"""What the cells share: layout, checks, the cell input of all steps in one product, and the walk over time."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqxai.errors import InputError
from seqxai.trace import gate

State = tuple[Tensor, Tensor]


class Gate(nn.Module):
    """σ(U y + b), declared as a gate: beside the sigmoid of the cell input its range alone would not tell.

    Args:
        hidden_size: number of cells H.
        bias: what every element of b starts at.
    """

    def __init__(self, hidden_size: int, bias: float) -> None:
        super().__init__()
        self.weight = _uniform(hidden_size, hidden_size, hidden_size)
        self.bias = nn.Parameter(torch.full((hidden_size,), float(bias)))

    def forward(self, y: Tensor) -> Tensor:
        """The gate for the outputs (B, H) of the step before."""
        return gate(torch.sigmoid(F.linear(y, self.weight, self.bias)))


class Accumulating(nn.Module):
    """A memory that only adds: ``z = a_g σ(W_z x + b_z)``, ``c = added(z) + c``, ``y = emitted(a_h tanh(c))``, ``c_0 = 0``.

    Args:
        input_size: features F of a step.
        hidden_size: cells H.
        batch_first: whether batches are (B, T, F) instead of (T, B, F).
        g_scale: a_g > 0, the largest cell input; A2 names 2, 3 and 4.
        h_scale: a_h > 0, the largest output; A3 names 1, 2 and 4.
        bias_z: what b_z starts at; A2 wants it negative, from -1 to -5, against drift: a memory that fills without events.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        batch_first: bool = False,
        g_scale: float = 4.0,
        h_scale: float = 1.0,
        bias_z: float = -3.0,
    ) -> None:
        super().__init__()
        if input_size < 1 or hidden_size < 1:
            raise InputError(f"input_size and hidden_size must be at least 1, got {input_size} and {hidden_size}.")
        if not (0 < g_scale < math.inf and 0 < h_scale < math.inf):
            raise InputError(
                f"g_scale and h_scale must be positive, got {g_scale} and {h_scale}; the assumptions name 2, 3, 4 and 1, 2, 4."
            )
        self.input_size, self.hidden_size, self.batch_first = input_size, hidden_size, batch_first
        self.g_scale, self.h_scale = float(g_scale), float(h_scale)
        self.weight_z = _uniform(hidden_size, input_size, hidden_size)
        self.bias_z = nn.Parameter(torch.full((hidden_size,), float(bias_z)))

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Run over a sequence.

        Args:
            x: (T, B, F), with ``batch_first`` (B, T, F), or (T, F) for one sequence without a batch.
            state: (h_0, c_0) to go on from, each (1, B, H) or (1, H), as a call before returned them; None is zeros (A9).

        Returns:
            The outputs y of all steps, laid out as x, and the last (h_n, c_n), each (1, B, H) or (1, H).

        Raises:
            InputError: for another number of dimensions or features, an input that is not floating, no step at all, or a state
                of another shape.
        """
        self._check(x)
        swapped = self.batch_first and x.dim() == 3
        steps = x.transpose(0, 1) if swapped else x
        # One product for all steps: z does not depend on what came before (A4).
        z = self.g_scale * torch.sigmoid(F.linear(steps, self.weight_z, self.bias_z))
        # Before the first step y is zeros, or what was given.  Made of z it is recorded as depending on the input, so that the first
        # gate is a gate like all others; a constant one would only scale its signal, and product rules would not see it.
        y, c = 0.0 * z[0], None
        if state is not None:
            h_0, c = self._unpacked(state, x)
            y = y + h_0
        outputs = []
        for z_t in z.unbind(0):
            added = self.added(z_t, y)
            c = added if c is None else c + added
            y = self.emitted(self.h_scale * torch.tanh(c), y)
            outputs.append(y)
        assert c is not None
        output = torch.stack(outputs, 1 if swapped else 0)
        return output, (y.unsqueeze(0), c.unsqueeze(0))

    def added(self, z: Tensor, y: Tensor) -> Tensor:
        """What a step adds to the memory, from its cell input z and the outputs y of the step before, (B, H)."""
        return z

    def emitted(self, h: Tensor, y: Tensor) -> Tensor:
        """What a step shows of its memory, from ``h = a_h tanh(c)`` and the outputs y of the step before, (B, H)."""
        return h

    def extra_repr(self) -> str:
        """Sizes and scales, for printing."""
        first = ", batch_first=True" if self.batch_first else ""
        return f"{self.input_size}, {self.hidden_size}{first}, g_scale={self.g_scale:g}, h_scale={self.h_scale:g}"

    def _unpacked(self, state: State, x: Tensor) -> State:
        """(h_0, c_0) without their first dimension, which nn.LSTM has for its layers."""
        batch = (x.shape[0 if self.batch_first else 1],) if x.dim() == 3 else ()
        expected = (1, *batch, self.hidden_size)
        shapes = [tuple(part.shape) for part in state]
        if shapes != [expected, expected]:
            raise InputError(
                f"{type(self).__name__} expected a state (h_0, c_0) of shapes {expected} and {expected}, got "
                f"{' and '.join(map(str, shapes))}; pass what a call before returned, or nothing to start from zeros."
            )
        return state[0][0], state[1][0]

    def _check(self, x: Tensor) -> None:
        layout = "(B, T, F)" if self.batch_first else "(T, B, F)"
        name = type(self).__name__
        if x.dim() not in (2, 3):
            raise InputError(
                f"{name} expected a batch {layout} or one sequence (T, F), got {x.dim()} dimensions {tuple(x.shape)}; "
                "add or flatten dimensions."
            )
        if x.shape[-1] != self.input_size:
            raise InputError(
                f"{name} expected {self.input_size} features in the last dimension, got {x.shape[-1]} in {tuple(x.shape)}; "
                "pass matching features or build the cell with another input_size."
            )
        if not x.is_floating_point():
            raise InputError(f"{name} expected a floating input, got {x.dtype}; convert it with x.float().")
        if x.shape[1 if self.batch_first and x.dim() == 3 else 0] == 0:
            raise InputError(f"{name} expected at least one step, got none in {tuple(x.shape)}; drop empty sequences.")


def _uniform(rows: int, columns: int, hidden_size: int) -> nn.Parameter:
    """Uniform in ±1/√H, as nn.LSTM starts."""
    bound = hidden_size**-0.5
    return nn.Parameter(torch.empty(rows, columns).uniform_(-bound, bound))
