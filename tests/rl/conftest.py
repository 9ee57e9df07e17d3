"""Fixtures of the agent tests: the shipped agent, a short game it played, and a made-up trajectory without emulator."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

import rl
from rl.checkpoints import Agent
from rl.explaining import Explained
from rl.network import NatureNetwork
from rl.trajectory import Trajectory

ACTIONS = ("NOOP", "FIRE", "RIGHT", "LEFT")


def pytest_collection_modifyitems(items):
    if importlib.util.find_spec("ale_py") is None:
        for item in items:
            if item.get_closest_marker("atari"):
                item.add_marker(pytest.mark.skip(reason="the emulator ale-py is not installed (extra rl)"))


@pytest.fixture(scope="session")
def shipped():
    return rl.load(rl.shipped_agent("breakout"))


@pytest.fixture(scope="session")
def played(shipped):
    return rl.record(shipped, seed=1, decisions=130)


@pytest.fixture
def untrained():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = NatureNetwork(len(ACTIONS)).eval().requires_grad_(False)
    return Agent(network, "breakout", ACTIONS, agent_steps=7)


def trajectory_of(agent: Agent, decisions: int, seed: int = 0) -> Trajectory:
    """Random pictures with the Q-values the agent really has for them; two games."""
    chance = np.random.default_rng(seed)
    starts = np.zeros(decisions, bool)
    starts[[0, decisions // 2]] = True
    fields = {
        "screens": chance.integers(0, 256, (decisions, 210, 160, 3), dtype=np.uint8),
        "planes": chance.integers(0, 256, (decisions, 84, 84), dtype=np.uint8),
        "starts": starts,
        "ram": chance.integers(0, 256, (decisions, 128), dtype=np.uint8),
        "chosen": chance.integers(0, len(agent.actions), decisions),
        "chosen_by": chance.integers(0, 3, decisions, dtype=np.uint8),
        "rewards": chance.integers(0, 3, decisions).astype(np.float64),
        "q_values": np.zeros((decisions, len(agent.actions)), np.float32),
        "lives": chance.integers(0, 6, decisions),
    }
    facts = (agent.game, agent.actions, seed, 0.01, agent.fingerprint, agent.agent_steps)
    seen = torch.from_numpy(Trajectory(*facts, **fields).observations())
    return Trajectory(*facts, **{**fields, "q_values": agent.q_values(seen).numpy()})


@pytest.fixture
def made_up(untrained):
    return trajectory_of(untrained, 10)


@pytest.fixture
def coloured(made_up):
    """Hand-made relevance: the left half of every plane speaks for, the right half against."""
    relevance = np.zeros((len(made_up), 4, 84, 84), np.float32)
    relevance[:, :, :, :42], relevance[:, :, :, 42:] = 0.25, -0.25
    explained = made_up.q_values[np.arange(len(made_up)), made_up.chosen].astype(np.float64)
    ledger = {"input": 0.75 * explained, "bias": 0.25 * explained, "stabilizer": np.zeros(len(made_up))}
    return Explained(
        made_up, relevance, explained, made_up.q_values, ledger, "lrp/by-hand", "by-hand", "chosen", made_up.chosen
    )
