"""The one-dimensional grid world: a moneybag first, then coins, and the reward at the very end."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

MONEYBAG, COIN, LEFT, RIGHT = range(4)
FEATURES = ("moneybag", "coin", "left", "right")


@dataclass
class World:
    """Positions 0 .. size - 1 on a line; whatever lies where the agent steps is collected.

    Args:
        size: number of positions.
        agent: where the agent stands.
        moneybag: where the moneybag lies; None once it is taken.
        coins: where coins lie.
        paid: coins taken while the agent had the moneybag; this is the return, given when the episode ends.
    """

    size: int
    agent: int
    moneybag: int | None
    coins: set[int] = field(default_factory=set)
    paid: int = 0

    @staticmethod
    def drawn(generator: random.Random, size: int = 11, coins: int = 5) -> World:
        """The agent in the middle, moneybag and coins at different places beside it."""
        free = [place for place in range(size) if place != size // 2]
        places = generator.sample(free, coins + 1)
        return World(size, size // 2, places[0], set(places[1:]))

    def step(self, action: int) -> list[int]:
        """Move left or right, against a wall not at all, and collect.

        Returns:
            The step's four binary features: moneybag collected, coin collected, moved left, moved right.
        """
        self.agent = min(max(self.agent + (1 if action == RIGHT else -1), 0), self.size - 1)
        taken, coin = self.agent == self.moneybag, self.agent in self.coins
        if coin:
            self.coins.remove(self.agent)
            self.paid += self.moneybag is None
        if taken:
            self.moneybag = None
        return [int(taken), int(coin), int(action == LEFT), int(action == RIGHT)]


@dataclass(frozen=True)
class Episodes:
    """Sequences of one length.

    Args:
        x: (N, T, 4) the features of every step.
        paid: (N, T) the return if the episode ended after that step; the last column is the episode's own.
    """

    x: Tensor
    paid: Tensor

    def chosen(self, rows: Tensor) -> Episodes:
        """Some of them."""
        return Episodes(self.x[rows], self.paid[rows])

    @property
    def before_moneybag(self) -> Tensor:
        """(N, T) whether a step comes before the one that takes the moneybag; all are, if none does."""
        return self.x[..., MONEYBAG].cumsum(1) == 0


def play(world: World, actions: Iterable[int]) -> tuple[list[list[int]], list[int]]:
    """Features and return so far of every step."""
    features, paid = [], []
    for action in actions:
        features.append(world.step(action))
        paid.append(world.paid)
    return features, paid


def wander(generator: random.Random, steps: int) -> list[int]:
    """Actions of one episode: a taste for one side and for going on as before, drawn anew for every episode."""
    right, keep = generator.uniform(0.3, 0.7), generator.uniform(0.4, 0.95)
    actions: list[int] = []
    for _ in range(steps):
        if actions and generator.random() < keep:
            actions.append(actions[-1])
        else:
            actions.append(RIGHT if generator.random() < right else LEFT)
    return actions


def episodes(count: int, steps: int, seed: int) -> Episodes:
    """Episodes of a wandering agent."""
    generator = random.Random(seed)
    played = [play(World.drawn(generator), wander(generator, steps)) for _ in range(count)]
    x = torch.tensor([features for features, _ in played], dtype=torch.float64)
    return Episodes(x, torch.tensor([paid for _, paid in played], dtype=torch.float64))
