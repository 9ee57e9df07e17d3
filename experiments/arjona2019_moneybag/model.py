"""The network of Fig. 11.4b with a linear read-out, and its training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from environment import FEATURES, Episodes
from torch import Tensor, nn

from seqxai.recurrent import MarkovLSTM


@dataclass(frozen=True)
class Recipe:
    """How the network is trained.

    Args:
        cells: memory cells.
        updates: steps of Adam.
        batch: episodes per update.
        rate: first learning rate; it falls to a hundredth along a cosine.
        start: first weight between a cell's input and the one feature it starts with; the features take turns.
        sparsity: weight of the L1 norm of the read-out, which leaves cells that only open gates unread.
        prune_after: part of the updates after which small weights are fixed at zero.
    """

    cells: int = 8
    updates: int = 4000
    batch: int = 64
    rate: float = 1e-2
    start: float = 7.0
    sparsity: float = 3e-4
    prune_after: float = 0.5

    def rate_at(self, step: int) -> float:
        """The learning rate of update number ``step``."""
        return self.rate * (0.01 + 0.495 * (1 + math.cos(math.pi * step / self.updates)))


class Return(nn.Module):
    """Predicts the return of an episode from its steps.

    Args:
        recipe: sizes and the first weights.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.cell = MarkovLSTM(len(FEATURES), recipe.cells, batch_first=True, g_scale=4.0, h_scale=4.0, bias_z=-4.0)
        self.readout = nn.Linear(recipe.cells, 1, bias=False)  # an empty memory promises nothing
        features = torch.eye(len(FEATURES)).repeat(recipe.cells, 1)[: recipe.cells]
        with torch.no_grad():
            self.cell.weight_z.copy_(recipe.start * features + 0.3 * torch.rand(recipe.cells, len(FEATURES)))
            self.cell.input_gate.bias.copy_(torch.linspace(-1.0, -4.0, recipe.cells))  # the range of A7
            for weight in self.weights:
                weight.abs_()

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, 4) to (N, 1)."""
        output: Tensor = self.readout(self.cell(x)[0][:, -1])
        return output

    def predictions(self, x: Tensor) -> Tensor:
        """What is predicted after every step, (N, T)."""
        output: Tensor = self.readout(self.cell(x)[0])[..., 0]
        return output

    @property
    def weights(self) -> list[nn.Parameter]:
        """The matrices that are kept non-negative: W_z, U_i and the read-out."""
        return [self.cell.weight_z, self.cell.input_gate.weight, self.readout.weight]

    def kept(self) -> list[Tensor]:
        """Where each matrix is worth keeping: a cell's strongest feature; recurrent and read-out weights that are not small."""
        to_z, recurrent, readout = (weight.detach() for weight in self.weights)
        return [to_z == to_z.amax(1, keepdim=True), recurrent >= 0.05 * recurrent.max(), readout >= 0.2 * readout.max()]


def train(data: Episodes, recipe: Recipe, seed: int, report: Callable[[int, float], None] = lambda step, error: None) -> Return:
    """Fit the return of the episodes and of their beginnings.

    Every beginning of an episode is an episode that ended earlier, with the return of that step, so that all steps
    are fitted at once.

    Args:
        data: episodes.
        recipe: how.
        seed: decides the first weights and the order.
        report: called with the update and the mean squared error at the last step.
    """
    torch.manual_seed(seed)
    model = Return(recipe).double()
    adam = torch.optim.Adam(model.parameters())
    kept: list[Tensor] = [torch.ones_like(weight, dtype=torch.bool) for weight in model.weights]
    for step in range(recipe.updates):
        adam.param_groups[0]["lr"] = recipe.rate_at(step)
        batch = data.chosen(torch.randint(len(data.x), (recipe.batch,)))
        squares = (model.predictions(batch.x) - batch.paid).square()
        error = squares[:, -1].mean() + 0.5 * squares.mean()
        adam.zero_grad()
        (error + recipe.sparsity * model.readout.weight.abs().sum()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        if step == int(recipe.prune_after * recipe.updates):
            kept = model.kept()
        with torch.no_grad():
            for weight, mask in zip(model.weights, kept, strict=True):
                weight.clamp_(min=0.0).mul_(mask)
        report(step, float(squares.detach()[:, -1].mean()))
    return model.requires_grad_(False).eval()
