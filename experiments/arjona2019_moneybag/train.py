"""The model of Fig. 11.4b with a linear read-out, and its training on the return."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from environment import FEATURES, Episodes
from torch import Tensor, nn

import seqxai


class ReturnPredictor(nn.Module):
    """A Markov LSTM and a linear read-out without bias: an episode in which nothing happened has the return 0.

    Args:
        cells: hidden size.
        g_scale: a_g of the cell.
        h_scale: a_h of the cell.
        bias_z: what b_z starts at.
        bias_i: what b_i starts at.
    """

    def __init__(self, cells: int = 8, **assumptions: float) -> None:
        super().__init__()
        self.cell = seqxai.recurrent.MarkovLSTM(len(FEATURES), cells, batch_first=True, **assumptions)
        self.readout = nn.Linear(cells, 1, bias=False)

    def steps(self, x: Tensor) -> Tensor:
        """(B, T): what the return would be if the episode ended after each step of x (B, T, 4)."""
        return self.readout(self.cell(x)[0])[..., 0]

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(B, 1): the predicted return, in coins, of episodes (B, T, 4) of these lengths (B,)."""
        output, _ = self.cell(x)
        return self.readout(output[torch.arange(len(x)), lengths - 1])


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Args:
        updates: of Adam.
        batch: episodes per update.
        rate: the largest learning rate; it rises over the first twentieth and falls to zero along a cosine.
        sparsity: weight of the mean modulus of each matrix in the loss, until weights are pruned.
        pruning: after which part of the updates small weights are set to zero for good.
        smallest: the modulus from which on a weight is kept.
    """

    updates: int = 6000
    batch: int = 128
    rate: float = 2e-2
    sparsity: float = 0.1
    pruning: float = 0.6
    smallest: float = 0.1


def train(model: ReturnPredictor, data: Episodes, recipe: Recipe, seed: int, tell: Callable[[str], None] = print) -> None:
    """Fit the predicted return at the last step, the only one that is rewarded, in mean square.

    A cell should either store an event or ignore it, as the chapter describes what was learnt: weights are first drawn to zero, then
    the small ones are removed, and the others are fitted without a penalty.
    """
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=recipe.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.rate, total_steps=recipe.updates, pct_start=0.05, cycle_momentum=False
    )
    weights = [model.cell.weight_z, model.cell.input_gate.weight, model.readout.weight]
    masks: list[Tensor] = []
    for update in range(recipe.updates):
        some = data.select(torch.randint(len(data.x), (recipe.batch,), generator=generator))
        error = (model(some.x, some.lengths)[:, 0] - some.returns).square().mean()
        loss = error if masks else error + recipe.sparsity * sum(weight.abs().mean() for weight in weights)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            if update + 1 == round(recipe.pruning * recipe.updates):
                masks = [weight.abs() >= recipe.smallest for weight in weights]
            for weight, mask in zip(weights, masks, strict=False):
                weight *= mask
        if (update + 1) % 500 == 0:
            tell(f"update {update + 1} of {recipe.updates}: mean square error {error.item():.5f}")


def relative_error(model: nn.Module, data: Episodes) -> float:
    """Mean square error over the variance of the returns."""
    with torch.no_grad():
        error = (model(data.x, data.lengths)[:, 0] - data.returns).square().mean()
    return float(error / data.returns.var(correction=0))
