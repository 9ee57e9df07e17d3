"""The rainfall-runoff network of the chapter, its data and its training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from catchment import Basin
from torch import Tensor, nn

UNITS, STEPS = 10, 365


class Runoff(nn.Module):
    """One LSTM layer and a dense layer on its last hidden state: weather (B, T, 5) to discharge (B, 1), both normalised.

    Args:
        inputs: columns of the weather.
        units: memory cells.
    """

    def __init__(self, inputs: int = 5, units: int = UNITS) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, units, batch_first=True)
        self.dense = nn.Linear(units, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(self.lstm(x)[0][:, -1])


class Cell(nn.Module):
    """A memory cell after the last day as the model's output: (B, T, 5) to (B, 1)."""

    def __init__(self, model: Runoff, unit: int) -> None:
        super().__init__()
        self.lstm, self.unit = model.lstm, unit

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x)[1][1][-1][:, self.unit : self.unit + 1]


@dataclass(frozen=True, eq=False)
class Data:
    """A basin as the network sees it.

    Attributes:
        x: (days, 5), normalised by mean and deviation of the training period.
        y: (days,), likewise.
        mean, std: (6,), of the five inputs and the discharge.
        days: split -> the days that are predicted; each has ``STEPS`` days of weather up to itself.
    """

    x: Tensor
    y: Tensor
    mean: np.ndarray
    std: np.ndarray
    days: dict[str, np.ndarray]
    steps: int = STEPS

    def windows(self, days: np.ndarray | Tensor) -> Tensor:
        """(len(days), steps, 5)."""
        places = torch.as_tensor(days)[:, None] + torch.arange(1 - self.steps, 1)
        return self.x[places]


def prepare(basin: Basin, training_years: float = 15, steps: int = STEPS) -> Data:
    """Split as the chapter does: 15 years to train, of the rest the first quarter to choose the model, the others to test."""
    table = np.column_stack([basin.inputs, basin.discharge])
    cut = int(training_years * 365.25)
    mean, std = table[:cut].mean(0), table[:cut].std(0)
    normal = torch.as_tensor((table - mean) / std, dtype=torch.float32)
    second = cut + (len(table) - cut) // 4
    days = {"train": np.arange(steps - 1, cut), "validation": np.arange(cut, second), "test": np.arange(second, len(table))}
    return Data(normal[:, :5].contiguous(), normal[:, 5].contiguous(), mean, std, days, steps)


def nash_sutcliffe(predicted: Tensor, observed: Tensor) -> float:
    """Eq. 19.5: 1 - Σ (Q_m - Q_o)² / Σ (Q_o - mean Q_o)²."""
    residual, spread = (predicted - observed).double().square().sum(), (observed - observed.mean()).double().square().sum()
    return float(1 - residual / spread)


@torch.no_grad()
def predict(model: nn.Module, data: Data, days: np.ndarray, batch: int = 512) -> Tensor:
    """(len(days),), normalised."""
    return torch.cat([model(data.windows(part))[:, 0] for part in np.array_split(days, max(1, len(days) // batch))])


def train(
    data: Data, seed: int, epochs: int, batch: int, tell: Callable[[int, float, float], None] | None = None
) -> tuple[Runoff, list[float]]:
    """Mean squared error, RMSprop from 1e-2; the epoch with the best validation NSE is kept.

    Args:
        data: see there.
        seed: decides initialisation and order.
        epochs: passes over the training days; the rate is halved every fifth of them.
        batch: days at once.
        tell: called after each epoch with its number, loss and validation NSE.

    Returns:
        The model and its validation NSE after every epoch.
    """
    torch.manual_seed(seed)
    model = Runoff()
    with torch.no_grad():  # a forget gate that is open at first: 365 steps are long
        model.lstm.bias_hh_l0[UNITS : 2 * UNITS] = 3.0
    optimiser = torch.optim.RMSprop(model.parameters(), lr=1e-2, alpha=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, max(1, epochs // 5), 0.5)
    best, kept, curve = -float("inf"), {}, []
    for epoch in range(epochs):
        loss = _epoch(model, data, optimiser, batch)
        schedule.step()
        score = nash_sutcliffe(predict(model, data, data.days["validation"]), data.y[data.days["validation"]])
        curve.append(score)
        if score > best:
            best, kept = score, {name: tensor.clone() for name, tensor in model.state_dict().items()}
        if tell is not None:
            tell(epoch, loss, score)
    model.load_state_dict(kept)
    return model.eval(), curve


def _epoch(model: Runoff, data: Data, optimiser: torch.optim.Optimizer, batch: int) -> float:
    order = torch.as_tensor(data.days["train"])[torch.randperm(len(data.days["train"]))]
    total = 0.0
    for part in order.split(batch):
        optimiser.zero_grad()
        loss = nn.functional.mse_loss(model(data.windows(part))[:, 0], data.y[part])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        total += float(loss.detach()) * len(part)
    return total / len(order)
