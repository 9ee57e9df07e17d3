"""The memory cell without gates."""

from __future__ import annotations

from seqxai.recurrent.base import Accumulating


class GatelessLSTM(Accumulating):
    """An LSTM without gates (Arras et al. 2019, eqs. 11.16-11.18): the input is added to the memory as it is.

    ``z_t = a_g σ(W_z x_t + b_z)``, ``c_t = z_t + c_{t-1}``, ``y_t = a_h tanh(c_t)``; c_0 = 0.

    The relevance that a step receives is exactly proportional to its z.

    Args:
        input_size: features F of a step.
        hidden_size: cells H.
        batch_first: whether batches are (B, T, F) instead of (T, B, F).
        g_scale: a_g > 0, the largest cell input; assumption A2 of the chapter names 2, 3 and 4, and 4 is the default.
        h_scale: a_h > 0, the largest output; A3 names 1, 2 and 4, and 1, the tanh of nn.LSTM, is the default.
        bias_z: what b_z starts at; A2 names -1 to -5, the default is their middle.
    """
