"""The explanations, and what part of each goes where."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from environment import COIN, LEFT, MONEYBAG, Episodes
from model import Return
from torch import Tensor

import seqxai
from seqxai import composites, rules

PRODUCTS = {
    "LRP-all": rules.SignalTakesAll(),
    "LRP-prop": rules.Proportional(epsilon=0.2),
    "LRP-half": rules.Half(),
}
BIASES = {"": "include", ", bias ignored": "ignore"}


@dataclass(frozen=True)
class Shares:
    """Means over episodes; every part is a part of that episode's Σ|R|.

    Args:
        moneybag, coins_before, coins_after, actions: by feature, (step, feature) apart.
        worst_coins_before: the largest part that coins before the moneybag have in any episode.
        step_moneybag, step_coins_before: by whole steps, features summed before the modulus.
        signed_moneybag, signed_coins: relevance itself, over the prediction.
        bias, stabilizer: what the ledger holds, over the prediction; nan where there is no ledger.
        first_gate: what the input gate of the first step trapped, over the prediction, without sign.
    """

    moneybag: float
    coins_before: float
    coins_after: float
    actions: float
    worst_coins_before: float
    step_moneybag: float
    step_coins_before: float
    signed_moneybag: float
    signed_coins: float
    bias: float = float("nan")
    stabilizer: float = float("nan")
    first_gate: float = float("nan")

    def rows(self) -> dict[str, str]:
        """For a table."""
        return {field.name: f"{getattr(self, field.name):.5f}" for field in fields(self)}


def composite(bias: str) -> composites.Composite:
    """LRP-ε for layers and sums; the bias is a neuron, or its part goes to the others."""
    if bias == "include":
        return composites.Epsilon(1e-3)
    return composites.Composite([("layer", rules.Epsilon(1e-3, bias="ignore")), ("sum", rules.Epsilon(1e-3, bias="ignore"))])


def lrp(model: Return, x: Tensor, product: rules.base.Rule, bias: str = "include") -> seqxai.Attribution:
    """Explain the predicted returns."""
    return seqxai.LRP(model, composite=composite(bias), product=product).attribute(x, target=0)


def trapped(attribution: seqxai.Attribution) -> Tensor:
    """What the input gate of the first step kept, (N,): nothing came before that could have opened it."""
    gates = [entries for name, entries in attribution.ledger.by_node() if "cell.input_gate" in name]  # in the order of the run
    return sum(gates[0].values(), torch.zeros_like(attribution.explained)) if gates else torch.zeros_like(attribution.explained)


def integrated_gradients(model: Return, x: Tensor, points: int = 64) -> Tensor:
    """Input times the mean gradient between nothing and x, at the midpoints of ``points`` intervals."""
    total = torch.zeros_like(x)
    for k in range(points):
        at = (x * ((k + 0.5) / points)).requires_grad_(True)
        total += torch.autograd.grad(model(at).sum(), at)[0]
    return x * total / points


def differences(model: Return, x: Tensor) -> Tensor:
    """What each step changed in the prediction, (N, T); before the first step it is 0, so that they sum to the last one."""
    predicted = model.predictions(x)
    return torch.diff(predicted, dim=1, prepend=torch.zeros_like(predicted[:, :1]))


def shares(episodes: Episodes, relevance: Tensor, prediction: Tensor, **booked: Tensor) -> Shares:
    """Sort relevance (N, T, 4) by events; a step's relevance without features, (N, T), belongs to its most telling event."""
    x, before = episodes.x, episodes.before_moneybag
    if relevance.dim() == 2:
        bag, coin = x[..., MONEYBAG], x[..., COIN]
        owner = torch.stack([bag, coin, 1 - (bag + coin).clamp(max=1), torch.zeros_like(bag)], 2)
        relevance = relevance[..., None] * owner
    size, steps = relevance.abs(), relevance.sum(2).abs()
    whole, all_steps = size.sum((1, 2)), steps.sum(1)
    coins = size[..., COIN]

    def mean(part: Tensor, of: Tensor) -> float:
        return float((part / of).mean())

    return Shares(
        mean(size[..., MONEYBAG].sum(1), whole),
        mean((coins * before).sum(1), whole),
        mean((coins * ~before).sum(1), whole),
        mean(size[..., LEFT:].sum((1, 2)), whole),
        float(((coins * before).sum(1) / whole).max()),
        mean((steps * x[..., MONEYBAG]).sum(1), all_steps),
        mean((steps * x[..., COIN] * before).sum(1), all_steps),
        mean(relevance[..., MONEYBAG].sum(1), prediction),
        mean(relevance[..., COIN].sum(1), prediction),
        **{name: mean(amount, prediction) for name, amount in booked.items()},
    )


def explanations(model: Return, episodes: Episodes) -> dict[str, tuple[Tensor, Shares]]:
    """Relevance and shares by every method."""
    x, prediction = episodes.x, model(episodes.x)[:, 0]
    found = {}
    for suffix, bias in BIASES.items():
        for name, product in PRODUCTS.items():
            attribution = lrp(model, x, product, bias)
            total = attribution.ledger.total()
            kept = {
                "bias": total["bias"],
                "stabilizer": total["stabilizer"],
                "first_gate": trapped(attribution).abs(),
            }
            found[name + suffix] = (attribution.relevance, shares(episodes, attribution.relevance, prediction, **kept))
    others = {"integrated gradients": integrated_gradients(model, x), "differences": differences(model, x)}
    return found | {name: (relevance, shares(episodes, relevance, prediction)) for name, relevance in others.items()}
