"""What ``rl.ExplainedEnv`` adds to a step of an agent's loop, in milliseconds, one thread.

    python experiments/benchmarks/hooks.py [--steps 150] [--rounds 5]

A Nature network on stacks of random pictures and a small dense network on CartPole; the loop is environment, network, argmax.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import nn

import rl
from rl.network import NatureNetwork

WAYS: dict[str, dict[str, Any] | None] = {
    "without the wrapper": None,
    "none explained": {"every": 10**9},
    "every 10th explained": {"every": 10},
    "lazy, none looked at": {"lazy": True},
    "every decision explained": {},
    "the same, on video (960 x 480)": {"video": True},
}


class Pictures(gym.Env):
    """Stacks of random pictures, drawn beforehand: an environment that costs next to nothing."""

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(0, 255, (4, 84, 84), np.uint8)
        self.action_space = gym.spaces.Discrete(4)
        self.pictures = np.random.default_rng(0).integers(0, 256, (32, 4, 84, 84), dtype=np.uint8)
        self.time = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return self.pictures[0], {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.time += 1
        return self.pictures[self.time % 32], 0.0, False, False, {}


def milliseconds(env: gym.Env, network: nn.Module, steps: int) -> float:
    """Mean time of a step of the loop."""
    observation, _ = env.reset(seed=0)
    started = time.perf_counter()
    for _ in range(steps):
        with torch.no_grad():
            action = int(network(torch.as_tensor(observation)[None]).argmax())
        observation, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            observation, _ = env.reset()
    return 1e3 * (time.perf_counter() - started) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    loops = {
        "Nature network": (Pictures, NatureNetwork(4)),
        "CartPole, 64 hidden units": (lambda: gym.make("CartPole-v1"), nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 2))),
    }
    for name, (make, network) in loops.items():
        print(f"{name}: ms per step, shortest mean of {options.steps} steps in {options.rounds} rounds")
        best = dict.fromkeys(WAYS, float("inf"))
        for _ in range(options.rounds):
            for way, how in WAYS.items():
                with tempfile.TemporaryDirectory() as folder:
                    arguments = dict(how or {})
                    if arguments.pop("video", False):
                        arguments |= {"video_folder": folder, "step_trigger": lambda step: step == 0, "video_length": 10**9}
                    env = make() if how is None else rl.ExplainedEnv(make(), network, **arguments)
                    best[way] = min(best[way], milliseconds(env, network, options.steps))
                    env.close()
        for way, found in best.items():
            print(f"  {way:32}{found:8.3f}   +{found - best['without the wrapper']:.3f}")


if __name__ == "__main__":
    main()
