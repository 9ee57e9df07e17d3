"""What every benchmark shares: a Nature network, the baseline, and a paired clock."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn


def nature_network(actions: int = 4) -> nn.Sequential:
    """The network of Mnih et al. 2015 with random weights and small biases; parameters without gradient."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(4, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, actions),
    )  # fmt: skip
    return network.requires_grad_(False).eval()


def gradient_times_input(model: nn.Module, x: Tensor, target: int = 1) -> Callable[[], Tensor]:
    """The baseline: ``torch.autograd.grad`` to the input alone, times the input."""

    def run() -> Tensor:
        leaf = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(model(leaf)[:, target].sum(), leaf)
        return gradient * x

    return run


def race(runs: dict[str, Callable[[], object]], rounds: int = 30) -> dict[str, float]:
    """Shortest time of each competitor in seconds, all of them in turn in every round."""
    best = dict.fromkeys(runs, float("inf"))
    for run in runs.values():
        run()
        run()
    gc.collect()
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def table(best: dict[str, float], baseline: str) -> str:
    """Milliseconds and ratios to the baseline."""
    width = max(map(len, best))
    return "\n".join(f"{name:<{width}}  {t * 1e3:8.2f} ms  {t / best[baseline]:5.2f}" for name, t in best.items())
