"""Cost of recording one operation, and of explaining long chains of slices.

    python experiments/benchmarks/capture.py

Bounds: 6 microseconds a recorded operation; 4,000 slices cost twice what 2,000 cost, not four times.
"""

from __future__ import annotations

import time

import torch
from _common import race
from torch import Tensor, nn

import seqxai


class HandWrittenLSTM(nn.Module):
    """An LSTM as people write it; 13 recorded operations a step."""

    def __init__(self, inputs: int = 60, hidden: int = 60) -> None:
        super().__init__()
        self.hidden = hidden
        self.from_input, self.from_state = nn.Linear(inputs, 4 * hidden), nn.Linear(hidden, 4 * hidden)

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(x.shape[0], self.hidden)
        for t in range(x.shape[1]):
            i, f, g, o = (self.from_input(x[:, t]) + self.from_state(h)).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        return h


def slices(x: Tensor) -> Tensor:
    """Every step of (1, T, F) is read by its own slice."""
    total = x[:, 0] * 0.5
    for t in range(1, x.shape[1]):
        total = total + x[:, t] * 0.5
    return total


def main() -> None:
    torch.set_num_threads(1)
    model, x = HandWrittenLSTM().requires_grad_(False), torch.randn(1, 100, 60)
    with torch.no_grad():
        best = race({"run": lambda: model(x), "capture": lambda: seqxai.capture(model, x)})
    nodes = len(seqxai.capture(model, x).nodes)
    print(
        f"hand-written LSTM, 100 steps, {nodes} nodes: run {best['run'] * 1e3:.2f} ms, captured {best['capture'] * 1e3:.2f} ms,"
    )
    print(f"{(best['capture'] - best['run']) / nodes * 1e6:.2f} microseconds a recorded operation")

    previous = 0.0
    for steps in (1000, 2000, 4000):
        explainer, data = seqxai.LRP(slices), torch.randn(1, steps, 16)
        times = []
        for _ in range(3):
            start = time.perf_counter()
            explainer.attribute(data, target=3)
            times.append(time.perf_counter() - start)
        ratio = f", {min(times) / previous:.2f} x the half" if previous else ""
        print(f"{steps} slices: {min(times) * 1e3:.0f} ms{ratio}")
        previous = min(times)


if __name__ == "__main__":
    main()
