"""The memory cell that keeps the Markov property."""

from __future__ import annotations

from torch import Tensor

from seqxai.recurrent.base import Accumulating, Gate


class MarkovLSTM(Accumulating):
    """An LSTM without forget and output gate (Arras et al. 2019, eqs. 11.12-11.15): nothing is hidden or erased later.

    ``z_t = a_g σ(W_z x_t + b_z)``, ``i_t = σ(U_i y_{t-1} + b_i)``, ``c_t = i_t z_t + c_{t-1}``, ``y_t = a_h tanh(c_t)``;
    y_0 = c_0 = 0.  The product rule ``"half"`` or ``"proportional"`` lets relevance reach the steps that opened the gates.

    Args:
        input_size: features F of a step.
        hidden_size: cells H.
        batch_first: whether batches are (B, T, F) instead of (T, B, F).
        g_scale: a_g > 0, the largest cell input; assumption A2 of the chapter names 2, 3 and 4, and 4 is the default.
        h_scale: a_h > 0, the largest output; A3 names 1, 2 and 4, and 1, the tanh of nn.LSTM, is the default.
        bias_z: what b_z starts at; A2 names -1 to -5, the default is their middle.
        bias_i: what b_i starts at; A7 names -1 to -4, and the default -3 is that of the published RUDDER demonstration.
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
        bias_i: float = -3.0,
    ) -> None:
        super().__init__(input_size, hidden_size, batch_first=batch_first, g_scale=g_scale, h_scale=h_scale, bias_z=bias_z)
        self.input_gate = Gate(hidden_size, bias_i)

    def added(self, z: Tensor, y: Tensor) -> Tensor:
        """``i z``."""
        gated: Tensor = self.input_gate(y) * z
        return gated
