"""Tiny environments and networks for the hooks: pictures, vectors, and loops over them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import nn


class Blinker(gym.Env):
    """Random pictures whose content depends on the actions taken; an episode has a fixed length."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, shape: tuple[int, ...] = (2, 12, 12), length: int = 5, render_mode: str | None = None, actions: Any = None):
        self.observation_space = gym.spaces.Box(0, 255, shape, np.uint8)
        self.action_space = actions or gym.spaces.Discrete(3)
        self.render_mode = render_mode
        self.length, self.time = length, 0
        self.buffer = np.zeros(shape, np.uint8)  # written into again and again, as some emulators do

    def _draw(self) -> np.ndarray:
        self.buffer[:] = self.np_random.integers(0, 256, self.buffer.shape)
        return self.buffer

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        return self._draw(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.time += 1
        for _ in range(int(action)):
            self.np_random.random()
        return self._draw(), float(action), self.time >= self.length, False, {"time": self.time}

    def render(self) -> np.ndarray:
        return np.full((20, 30, 3), 10 * self.time % 256, np.uint8)

    def get_action_meanings(self) -> list[str]:
        return ["WAIT", "LEFT", "RIGHT"]


def picture_network(shape: tuple[int, ...] = (2, 12, 12), actions: int = 3) -> nn.Module:
    """A small convolutional network on channel-first floats."""
    return nn.Sequential(
        nn.Conv2d(shape[0], 4, 4, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(100, 16), nn.ReLU(), nn.Linear(16, actions)
    )


def vector_network(features: int = 4, actions: int = 2) -> nn.Module:
    return nn.Sequential(nn.Linear(features, 16), nn.ReLU(), nn.Linear(16, actions))


class Recurrent(nn.Module):
    """A small DRQN: (observations, state) -> (values, state)."""

    def __init__(self, features: int = 4, actions: int = 2) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features, 8, batch_first=True)
        self.values = nn.Linear(8, actions)

    def forward(self, observations: torch.Tensor, state: Any = None) -> tuple[torch.Tensor, Any]:
        hidden, state = self.lstm(observations, state)
        return self.values(hidden), state


def play(env: gym.Env, choose: Any, steps: int, seed: int = 0) -> list[tuple[np.ndarray, int, float, dict[str, Any]]]:
    """(what was decided on, action, reward, info) of every step."""
    observation, _ = env.reset(seed=seed)
    played = []
    for _ in range(steps):
        seen, action = np.array(observation), choose(observation)
        observation, reward, terminated, truncated, info = env.step(action)
        played.append((seen, action, float(reward), info))
        if terminated or truncated:
            observation, _ = env.reset()
    return played
