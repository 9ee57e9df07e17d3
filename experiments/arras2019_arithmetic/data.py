"""The toy sequences of Arras et al. 2019, section 11.5.1: two numbers to add or to subtract among irrelevant ones.

A sequence of length T has two columns. The relevant numbers n_a and n_b stand in the second one, at positions a < b; all other
positions have an irrelevant number in the first. No marker and no start or end token is needed, so nothing but the two numbers
deserves relevance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SMALLEST, LARGEST = 0.5, 1.0
LENGTHS = {"train": range(4, 11), "validation": range(11, 13), "test": range(13, 15)}
COUNTS = {"train": 10_000, "validation": 2_500, "test": 2_500}


@dataclass(frozen=True)
class Task:
    """What the network has to compute: n_a + sign · n_b.

    Args:
        name: for files and tables.
        sign: +1 for addition, -1 for subtraction.
        signed: numbers from [-1, -0.5] ∪ [0.5, 1] rather than from [0.5, 1] alone.
    """

    name: str
    sign: int
    signed: bool


TASKS = {
    task.name: task
    for task in (
        Task("addition", sign=1, signed=True),
        Task("subtraction", sign=-1, signed=False),
        Task("positive-addition", sign=1, signed=False),  # not in Table 11.2: the case its footnote 7 warns of
    )
}


@dataclass(frozen=True)
class Sequences:
    """Sequences of one length T, in the order they were drawn.

    Args:
        x: (N, T, 2).
        a, b: positions of the relevant numbers, counted from 0, (N,).
        target: (N,).
    """

    x: Tensor
    a: Tensor
    b: Tensor
    target: Tensor

    def relevant_numbers(self) -> tuple[Tensor, Tensor]:
        """n_a and n_b, (N,) each."""
        rows = torch.arange(len(self.x))
        return self.x[rows, self.a, 1], self.x[rows, self.b, 1]


def draw(task: Task, count: int, lengths: Sequence[int], generator: torch.Generator) -> list[Sequences]:
    """Draw ``count`` sequences, each with a length of its own, and group them by length (so nothing is ever padded)."""
    which = torch.randint(len(lengths), (count,), generator=generator)
    return [_of_length(task, int((which == i).sum()), length, generator) for i, length in enumerate(lengths)]


def _of_length(task: Task, count: int, length: int, generator: torch.Generator) -> Sequences:
    numbers = SMALLEST + (LARGEST - SMALLEST) * torch.rand(count, length, generator=generator, dtype=torch.float64)
    if task.signed:
        numbers *= 1 - 2 * torch.randint(2, (count, length), generator=generator)
    # The two smallest of T random numbers sit at a uniformly drawn pair of positions.
    pair = torch.rand(count, length, generator=generator).argsort(1)[:, :2].sort(1).values
    a, b = pair[:, 0], pair[:, 1]
    rows = torch.arange(count)
    relevant = torch.zeros(count, length, dtype=torch.bool)
    relevant[rows, a] = relevant[rows, b] = True
    x = torch.stack([numbers.masked_fill(relevant, 0.0), numbers.masked_fill(~relevant, 0.0)], dim=2)
    return Sequences(x, a, b, numbers[rows, a] + task.sign * numbers[rows, b])


def splits(task: Task, seed: int, counts: dict[str, int] | None = None) -> dict[str, list[Sequences]]:
    """The training, validation and test sequences of a task; they have different lengths, so they cannot overlap."""
    counts = counts or COUNTS
    generator = torch.Generator().manual_seed(seed)
    return {split: draw(task, counts[split], LENGTHS[split], generator) for split in LENGTHS}
