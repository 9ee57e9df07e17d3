"""What both algorithms share: the set-up of a run, what they report, and the forward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from rl.games import game_actions
from rl.network import NETWORKS, QNetwork
from rl.preprocessing import Preprocessing
from rl.training.parallel import ParallelGames

GAMES, WEIGHTS = 101, 102
"""Streams of random numbers: the emulators' seeds, and the first weights."""


@dataclass(frozen=True)
class Setup:
    """What a training needs beside its algorithm's numbers.

    Attributes:
        game: the emulator's spelling.
        architecture: a key of :data:`rl.network.NETWORKS`.
        seed: decides all chance.
        device: where the network lives.
        bfloat16: compute the body in bfloat16; the head stays in float32, for its rounding would make Q-values equal and
            the arg max the first action.
        threads: of the emulators.
        life_loss_ends: no reward after a lost life counts for what was done before it, though the game goes on (the
            authors' code of Mnih et al. 2015 does the same).
        preprocessing: how a screen becomes an observation.
    """

    game: str
    architecture: str
    seed: int
    device: torch.device
    bfloat16: bool
    threads: int
    life_loss_ends: bool
    preprocessing: Preprocessing

    def network(self) -> QNetwork:
        """The untrained network: PyTorch's own initial weights, a function of the seed alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(random_numbers(self.seed, WEIGHTS, 0).integers(2**31)))
            network = NETWORKS[self.architecture](len(game_actions(self.game)))
        return channels_last(network.to(self.device))

    def games(self, count: int, agent_steps: int) -> ParallelGames:
        """New games; those of a continued run differ from those it began with."""
        seed = int(random_numbers(self.seed, GAMES, agent_steps).integers(2**31))
        return ParallelGames(self.game, count, seed, self.threads, self.preprocessing)


@dataclass(frozen=True)
class Progress:
    """What an algorithm did since it was asked last.

    Attributes:
        agent_steps: decisions learnt so far, all games together.
        scores: game points of the games that ended since, in their order.
        loss: mean over the updates since; NaN where there was none.
        epsilon: share of random actions now.
        value: mean of the largest Q-value over the decisions since.
    """

    agent_steps: int
    scores: tuple[float, ...]
    loss: float
    epsilon: float
    value: float


@runtime_checkable
class Algorithm(Protocol):
    """What the training loop asks of an algorithm.

    Attributes:
        agent_steps: decisions learnt so far, all games together.
        network: that learns.
        optimizer: its optimiser.
        unsaved_max: agent steps after which the state must be saved again; None for no such limit.
    """

    agent_steps: int
    network: QNetwork
    optimizer: torch.optim.Optimizer
    unsaved_max: int | None

    @property
    def networks(self) -> dict[str, QNetwork]:
        """Everything with weights that a saved state holds, by name."""

    def advance(self) -> Progress:
        """Play and learn a little."""

    def flush(self) -> None:
        """Bring to disk what a saved state needs beside itself."""

    def close(self) -> None:
        """Stop everything that runs."""


def random_numbers(seed: int, stream: int, agent_steps: int) -> np.random.Generator:
    """The chance of one purpose at one moment: a function of its arguments, so nothing about it needs to be saved."""
    return np.random.default_rng([seed, stream, agent_steps])


def epsilon_at(agent_steps: int, end: float, falling_steps: int) -> float:
    """Share of random actions: from 1 in a straight line to ``end``, then constant."""
    return max(end, 1.0 - (1.0 - end) * agent_steps / max(1, falling_steps))


def channels_last(network: QNetwork) -> QNetwork:
    """The network with its convolutions' weights laid out channels last, which a CPU walks through a third faster."""
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def forward(network: QNetwork, observations: UInt8[Tensor, "batch 4 84 84"], setup: Setup) -> Float[Tensor, "batch actions"]:
    """Q-values in float32, on the set-up's device; pixels are laid out as the weights, see :func:`channels_last`."""
    pixels = observations.to(setup.device, non_blocking=True).contiguous(memory_format=torch.channels_last)
    with torch.autocast(setup.device.type, torch.bfloat16, enabled=setup.bfloat16):
        features = network.body(pixels)
    return network.head(features.float())
