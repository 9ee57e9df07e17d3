"""The one-dimensional grid world: first the moneybag, then the coins; all reward comes at the end of the episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

FEATURES = ("moneybag", "coin", "left", "right")
MONEYBAG, COIN, LEFT, RIGHT = range(4)
ACTIONS = (LEFT, RIGHT)
WIDTH = 12
COINS = 6
LENGTHS = (12, 24)  # an episode's shortest and longest length
KEEP_GOING = 0.8  # how often the random player repeats its last action; a player without memory hardly leaves its place


@dataclass(frozen=True)
class World:
    """Where things are before the episode.

    Args:
        start: the agent's position, from 0 to ``width - 1``.
        moneybag: the position of the moneybag.
        coins: positions of the coins, one each.
        width: number of positions; at both ends there is a wall.
    """

    start: int
    moneybag: int
    coins: tuple[int, ...]
    width: int = WIDTH

    def play(self, actions: Sequence[int]) -> tuple[np.ndarray, int]:
        """One episode.

        Args:
            actions: ``LEFT`` or ``RIGHT``, one per step; against a wall the agent stays where it is.

        Returns:
            Features (T, 4) of the steps: moneybag collected now, coin collected now, action left, action right; and the return, the
            number of coins collected after the moneybag.  Everything can be collected once, by arriving where it is.
        """
        features = np.zeros((len(actions), len(FEATURES)))
        position, coins, has_bag, collected = self.start, set(self.coins), False, 0
        for step, action in zip(features, actions, strict=True):
            position = min(max(position + (1 if action == RIGHT else -1), 0), self.width - 1)
            step[action] = 1.0
            if position == self.moneybag and not has_bag:
                step[MONEYBAG], has_bag = 1.0, True
            if position in coins:
                coins.remove(position)
                step[COIN] = 1.0
                collected += has_bag
        return features, collected


class Episodes(NamedTuple):
    """Several episodes, as the models take them.

    ``x``: (N, T, 4), zeros after the end; ``lengths``: (N,); ``returns``: (N,), in coins.
    """

    x: Tensor
    lengths: Tensor
    returns: Tensor

    def select(self, chosen: Tensor) -> Episodes:
        """Some of them, by mask or indices."""
        return Episodes(*(part[chosen] for part in self))


def random_world(random: np.random.Generator) -> World:
    """Start, moneybag and coins on different positions, all equally likely."""
    start, moneybag, *coins = (int(place) for place in random.permutation(WIDTH)[: COINS + 2])
    return World(start, moneybag, tuple(coins))


def random_actions(random: np.random.Generator) -> list[int]:
    """A random length, and a player that mostly goes on as before, so that it gets about."""
    action = int(random.choice(ACTIONS))
    actions = []
    for _ in range(random.integers(LENGTHS[0], LENGTHS[1] + 1)):
        if random.random() > KEEP_GOING:
            action = LEFT + RIGHT - action
        actions.append(action)
    return actions


def episodes(count: int, seed: int) -> Episodes:
    """``count`` random worlds, played by the random player; the seed decides everything."""
    random = np.random.default_rng(seed)
    x, lengths, returns = torch.zeros(count, LENGTHS[1], len(FEATURES)), [], []
    for episode in x:
        features, collected = random_world(random).play(random_actions(random))
        episode[: len(features)] = torch.as_tensor(features)
        lengths.append(len(features))
        returns.append(float(collected))
    return Episodes(x, torch.tensor(lengths), torch.tensor(returns))
