"""The chapter's three questions, asked by integrated gradients and by LRP, with what really happened beside them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from catchment import CLIMATES, Basin, true_effects
from model import Cell, Data, Runoff
from torch import Tensor, nn

import seqxai
from seqxai.comparison import IntegratedGradients

THRESHOLD = 2e-3
SHARE = 0.95

Explain = Callable[[nn.Module, Tensor], Tensor]


def lrp(model: nn.Module, x: Tensor) -> Tensor:
    """ε rule, ε = 1e-6, gates receive nothing; (B, T, 5)."""
    found: Tensor = seqxai.LRP(model).attribute(x, target=0).relevance
    return found


def integrated(points: int) -> Explain:
    """From weather that is the mean of the training period on every day, zero after normalisation."""
    return lambda model, x: IntegratedGradients(model, points=points).attribute(x, target=0).relevance


def in_batches(explain: Explain, model: nn.Module, data: Data, days: np.ndarray, batch: int = 256) -> Tensor:
    """(len(days), T, 5), float32."""
    return torch.cat([explain(model, data.windows(part)) for part in np.array_split(days, -(-len(days) // batch))])


@torch.no_grad()
def completeness_gap(model: nn.Module, x: Tensor, relevance: Tensor) -> float:
    """The largest difference between ΣR and f(x) - f(0): how far integrated gradients are from the integral."""
    difference = model(x)[:, 0] - model(torch.zeros_like(x[:1]))[0, 0]
    return float((relevance.sum((1, 2)) - difference).abs().max())


# ---- how many days count ---------------------------------------------------------------------------------------------------


def time_steps_of_influence(steps: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """TSOI of eq. 19.7, (B,), from relevance summed over the inputs, (B, T).

    The chapter leaves n open and says "the difference from time step to time step"; here ``TSOI = T - n`` with n the first t (counted
    from 1) at which ``|S_t - S_{t-1}| > threshold``, and 0 where no difference is that large.
    """
    moved = (steps[:, 1:] - steps[:, :-1]).abs() > threshold
    first = moved.float().argmax(1) + 2  # the difference at t = 2 is the first
    return torch.where(moved.any(1), steps.shape[1] - first, torch.zeros_like(first))


def days_of_memory(steps: Tensor, share: float = SHARE) -> Tensor:
    """How many of the last days hold this share of Σ|S_t|, (B,): a number without a threshold in the units of the output."""
    size = steps.abs().flip(1)
    reached = size.cumsum(1) >= share * size.sum(1, keepdim=True)
    return reached.float().argmax(1) + 1


# ---- cells and storages ------------------------------------------------------------------------------------------------------


@torch.no_grad()
def cell_states(model: Runoff, x: Tensor) -> Tensor:
    """c_t of every day, (B, T, units): the layer run one day after the other."""
    weights = (model.lstm.weight_ih_l0, model.lstm.weight_hh_l0, model.lstm.bias_ih_l0, model.lstm.bias_hh_l0)
    h = c = x.new_zeros(len(x), model.lstm.hidden_size)
    states = []
    for step in range(x.shape[1]):
        h, c = torch.lstm_cell(x[:, step], (h, c), *weights)
        states.append(c)
    return torch.stack(states, 1)


def correlations(cells: Tensor, storages: Tensor) -> Tensor:
    """Mean over samples of the correlation over time, (units, states); samples whose storage never changes do not count."""
    a = cells.double() - cells.double().mean(1, keepdim=True)
    b = storages.double() - storages.double().mean(1, keepdim=True)
    moves = b.norm(dim=1) > 1e-9
    scale = a.norm(dim=1)[:, :, None] * b.norm(dim=1)[:, None, :]
    rho = torch.einsum("btu,bts->bus", a, b) / scale.clamp_min(1e-30)
    return (rho * moves[:, None, :]).sum(0) / moves.sum(0).clamp_min(1)


def storages_of(basin: Basin, data: Data, days: np.ndarray) -> Tensor:
    """(len(days), T, 3)."""
    places = days[:, None] + np.arange(1 - data.steps, 1)
    return torch.as_tensor(basin.states[places])


# ---- signs of influence ------------------------------------------------------------------------------------------------------


def influence(relevance: Tensor, x: Tensor) -> dict[str, list[float]]:
    """Per input: the mean relevance, and the slope Σ R x / Σ x² of relevance on the input.

    Relevance has the sign of weight times input: on a dull day (x below the mean, so negative) it is negative for an input that
    *raises* the output. The slope tells which way an input pushes.
    """
    r, v = relevance.double(), x.double()
    return {"relevance": r.sum(1).mean(0).tolist(), "slope": ((r * v).sum((0, 1)) / v.square().sum((0, 1))).tolist()}


def snow_cell(model: Runoff, rho: Tensor) -> tuple[Cell, float]:
    """The cell that follows SWE best, and the sign of its correlation."""
    unit = int(rho[:, 0].abs().argmax())
    return Cell(model, unit), float(rho[unit, 0].sign())


# ---- the truth ---------------------------------------------------------------------------------------------------------------


def true_precipitation_effects(name: str, basin: Basin, data: Data, days: np.ndarray) -> Tensor:
    """What each past day's precipitation did to the discharge, in the units of the normalised output, (len(days), T)."""
    effects = [true_effects(CLIMATES[name], basin, int(day), data.steps, float(data.mean[0])) for day in days]
    return torch.as_tensor(np.stack(effects) / data.std[5])


def agreement(relevance: Tensor, truth: Tensor) -> Tensor:
    """Correlation over the days between relevance of precipitation and its true effect, (B,)."""
    a, b = relevance.double(), truth.double()
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp_min(1e-30)


def anomaly_correlations(ends: Tensor, storages: Tensor, months: np.ndarray) -> Tensor:
    """Correlation over samples of c_T and a storage, both less their mean of the month, (units,).

    The season is then gone: does the cell know whether there is more snow than usual?
    """
    a, b = ends.double().clone(), storages.double().clone()
    for month in np.unique(months):
        here = torch.as_tensor(months == month)
        a[here] -= a[here].mean(0)
        b[here] -= b[here].mean(0)
    return (a * b[:, None]).sum(0) / (a.norm(dim=0) * b.norm()).clamp_min(1e-30)
