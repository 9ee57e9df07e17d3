"""Relevance of every feature at every step, by the product rules and two other methods, and what share the events have of it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from environment import COIN, MONEYBAG, Episodes
from torch import Tensor
from train import ReturnPredictor

import seqxai
from seqxai import rules
from seqxai.composites import Composite

PRODUCTS = {"LRP-all": "signal-takes-all", "LRP-prop": "proportional", "LRP-half": "half"}
BIASES = {"": "include", ", biases left out": "ignore"}
DIFFERENCES, GRADIENTS = "differences of predictions", "integrated gradients"
METHODS = (*(rule + bias for bias in BIASES for rule in PRODUCTS), GRADIENTS, DIFFERENCES)
EPSILON = 1e-6
PATH = 200  # points of the path of integrated gradients


class Explanation(NamedTuple):
    """Relevance (N, T, 4) of the features, or (N, T, 1) of whole steps; explained (N,); trapped (N,) in the first input gate."""

    relevance: Tensor
    explained: Tensor
    trapped: Tensor


def explain(model: ReturnPredictor, method: str, data: Episodes) -> Explanation:
    """Explain the predicted return of each episode.

    Args:
        model: in float64.
        method: one of ``METHODS``.
        data: the episodes; their x in float64.
    """
    nothing = data.x.new_zeros(len(data.x))
    if method == DIFFERENCES:
        return Explanation(differences(model, data)[..., None], _predicted(model, data), nothing)
    if method == GRADIENTS:
        return Explanation(integrated_gradients(model, data), _predicted(model, data), nothing)
    rule, _, left_out = method.partition(",")
    layers = rules.Epsilon(EPSILON, bias="ignore" if left_out else "include")
    lrp = seqxai.LRP(model, Composite([("layer", layers), ("sum", layers)]), product=PRODUCTS[rule], ledger=True)
    found = lrp.attribute(data.x, target=0, args=(data.lengths,))
    return Explanation(found.relevance, found.explained, trapped(found))


def trapped(attribution: seqxai.Attribution) -> Tensor:
    """(N,): what the input gate of the first step kept; nothing came before that could have opened it (y_0 = 0)."""
    for name, booked in attribution.ledger.by_node():
        if "cell.input_gate" in name:  # nodes come in the order of the run
            return booked.get("bias", torch.zeros(())) + booked.get("stabilizer", torch.zeros(()))
    return torch.zeros_like(attribution.explained)


def differences(model: ReturnPredictor, data: Episodes) -> Tensor:
    """(N, T): how much each step changed the prediction.  They sum to the last prediction, for before the first step it is zero."""
    with torch.no_grad():
        steps = model.steps(data.x)
    inside = torch.arange(steps.shape[1]) < data.lengths[:, None]
    return torch.diff(steps, dim=1, prepend=steps.new_zeros(len(steps), 1)) * inside


def integrated_gradients(model: ReturnPredictor, data: Episodes) -> Tensor:
    """(N, T, 4): Sundararajan et al. 2017, from an episode without events and actions, by the midpoint rule."""
    total = torch.zeros_like(data.x)
    for k in range(PATH):
        point = (data.x * ((k + 0.5) / PATH)).requires_grad_(True)
        (gradient,) = torch.autograd.grad(model(point, data.lengths).sum(), point)
        total += gradient
    return total * data.x / PATH


def _predicted(model: ReturnPredictor, data: Episodes) -> Tensor:
    with torch.no_grad():
        return model(data.x, data.lengths)[:, 0]


def shares(found: Explanation, data: Episodes) -> dict[str, Tensor]:
    """Parts of Σ|R| of each episode that has a moneybag, (N,) each.

    Of the feature moneybag and of the whole step at which it was collected; of the feature coin before and after; of the actions.
    Where a method knows whole steps only, a step with an event is that event, and the others are the actions.
    """
    relevance = found.relevance.abs()
    step = data.x[..., MONEYBAG].argmax(1)
    coin = data.x[..., COIN] > 0
    before = coin & (torch.arange(data.x.shape[1]) < step[:, None])
    per_step = relevance.sum(2)
    whole = per_step.gather(1, step[:, None])[:, 0]
    features = relevance.shape[2] > 1
    bag = relevance[..., MONEYBAG].sum(1) if features else whole
    coins = relevance[..., COIN] if features else per_step
    early, late = (coins * before).sum(1), (coins * (coin & ~before)).sum(1)
    total = per_step.sum(1)
    return {
        "moneybag": bag / total,
        "moneybag_step": whole / total,
        "coins_before": early / total,
        "coins_after": late / total,
        "actions": (total - bag - early - late) / total,
    }


def summary(found: Explanation, data: Episodes) -> dict[str, float]:
    """Means over the episodes, in percent: the shares, and in percent of the explained score what arrived and what was trapped.

    Coins before the moneybag are averaged over the episodes that have some.
    """
    parts = shares(found, data)
    step = data.x[..., MONEYBAG].argmax(1)
    early = ((data.x[..., COIN] > 0) & (torch.arange(data.x.shape[1]) < step[:, None])).any(1)
    parts["coins_before"] = parts["coins_before"][early]
    parts["arrived"] = found.relevance.sum((1, 2)) / found.explained
    parts["trapped"] = found.trapped / found.explained
    of_step = found.relevance.sum(2).gather(1, step[:, None])[:, 0]
    parts["moneybag_step_signed"] = of_step / found.explained
    return {name: 100 * float(values.mean()) for name, values in parts.items()}
