"""A recurrent Q-network and one without memory, for CartPole whose velocities are hidden."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

SEEN = (0, 2)
"""Cart position and pole angle; the velocities, 1 and 3, are hidden."""
FEATURES = ("cart position", "pole angle")
UNITS = (0.6, 0.05)
"""In which the networks see each feature, a quarter of where an episode ends: what changes in one step stays visible."""


class Masked(gym.ObservationWrapper):
    """CartPole with positions only."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        space = env.observation_space
        assert isinstance(space, gym.spaces.Box)
        self.observation_space = gym.spaces.Box(space.low[list(SEEN)], space.high[list(SEEN)], dtype=np.float32)

    def observation(self, observation: Any) -> np.ndarray:
        """Without the velocities."""
        return np.asarray(observation, np.float32)[list(SEEN)]


def masked_cartpole() -> Masked:
    """The game: 500 steps at most, one point for each."""
    return Masked(gym.make("CartPole-v1"))


class Scaled(nn.Module):
    """What both networks begin with: each feature in its unit."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", 1.0 / torch.tensor(UNITS))


class DRQN(Scaled):
    """Hausknecht & Stone 2015: the Q-network with an LSTM before its last layer.

    Args:
        units: of the LSTM.
    """

    def __init__(self, units: int = 48) -> None:
        super().__init__()
        self.encoder = nn.Linear(2, 32)
        self.lstm = nn.LSTM(32, units, batch_first=True)
        self.values = nn.Linear(units, 2)

    def forward(self, observations: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Q-values at every step, (batch, steps, 2), and the state after the last."""
        hidden, state = self.lstm(torch.relu(self.encoder(observations * self.scale)), state)
        return self.values(hidden), state


class FeedForward(Scaled):
    """The same without memory, about as many weights; called in the same way, it hands an empty state on.

    Args:
        units: of the two hidden layers.
    """

    def __init__(self, units: int = 110) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2, units), nn.ReLU(), nn.Linear(units, units), nn.ReLU(), nn.Linear(units, 2)
        )

    def forward(self, observations: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Q-values at every step, (batch, steps, 2), each from its own observation alone."""
        return self.layers(observations * self.scale), state


NETWORKS: dict[str, type[Scaled]] = {"DRQN": DRQN, "feed-forward": FeedForward}
