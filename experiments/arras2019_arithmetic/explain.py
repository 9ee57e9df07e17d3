"""The seven methods of Table 11.2 and one variant, and the three statistics it reports of each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from data import Sequences, Task
from torch import Tensor, nn

import seqxai

STATISTICS = ("corr_a", "corr_b", "share")  # ρ(n_a, R_a), ρ(n_b, R_b), E[(|R_a| + |R_b|) / Σ_t |R_t|]

PASSING = 0.95


def _lrp(product: Callable[[], object], epsilon: float = 0.0) -> Callable[[nn.Module], seqxai.Attributor]:
    # The section needs no stabilizer anywhere: ε = 0 in the sums and, where a rule divides, in the products.
    def explainer(model: nn.Module) -> seqxai.Attributor:
        composite = seqxai.composites.Epsilon(epsilon) if epsilon else seqxai.composites.LRPZero()
        return seqxai.LRP(model, composite=composite, product=product())

    return explainer


def _comparison(name: str) -> Callable[[nn.Module], seqxai.Attributor]:
    return lambda model: getattr(seqxai.comparison, name)(model)


METHODS: dict[str, Callable[[nn.Module], seqxai.Attributor]] = {
    "Gradient x Input": _comparison("GradientTimesInput"),
    "Occlusion": _comparison("Occlusion"),
    "LRP-prop": _lrp(lambda: seqxai.rules.Proportional(epsilon=0.0)),
    "LRP-abs": _lrp(lambda: seqxai.rules.Absolute(epsilon=0.0)),
    "LRP-half": _lrp(lambda: "half"),
    "LRP-all": _lrp(lambda: "signal-takes-all"),
    "CD": _comparison("ContextualDecomposition"),
    "LRP-all, ε = 0.001": _lrp(lambda: "signal-takes-all", epsilon=1e-3),  # not in the table: what a stabilizer would do
}


def passes(found: dict[str, float], task: Task) -> bool:
    """Whether a model's explanation follows both numbers, each with its sign: correlations of more than 95 %."""
    return found["corr_a"] > PASSING and task.sign * found["corr_b"] > PASSING


def explain(model: nn.Module, method: str, data: list[Sequences]) -> list[Tensor]:
    """One relevance per time step: (N, T) for every group of sequences; the two input columns are summed."""
    explainer = METHODS[method](model)
    return [explainer.attribute(group.x, target=0).relevance.sum(2) for group in data]


def statistics(relevance: list[Tensor], data: list[Sequences]) -> dict[str, float]:
    """The statistics of one model over all sequences of a split, as fractions.

    Args:
        relevance: (N, T) for every group.
        data: the groups.

    Returns:
        A number for each name in ``STATISTICS``; NaN where a relevance never varies, for it has no correlation.
    """
    numbers, received, shares = [], [], []
    for r, group in zip(relevance, data, strict=True):
        rows = torch.arange(len(r))
        at = torch.stack([r[rows, group.a], r[rows, group.b]])
        numbers.append(torch.stack(group.relevant_numbers()))
        received.append(at)
        shares.append(at.abs().sum(0) / r.abs().sum(1))
    n, r = torch.cat(numbers, dim=1), torch.cat(received, dim=1)
    a, b = (float(torch.corrcoef(torch.stack(pair))[0, 1]) for pair in zip(n, r, strict=True))
    return dict(zip(STATISTICS, (a, b, float(torch.cat(shares).mean())), strict=True))
