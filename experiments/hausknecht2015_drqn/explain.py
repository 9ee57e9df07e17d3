"""Where a decision's relevance lies in the past, and how much of the past the network needs to play."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from model import FEATURES, masked_cartpole

import rl

WINDOW = 16
TARGET = "contrast"


@dataclass
class Relevance:
    """What the explanations of many decisions say.

    Attributes:
        tables: relevance of each decision, (decisions, steps, features), the last step is the present.
        explained: what was explained, Q of the action taken minus Q of the other.
        initial: the part of it that came from before the window.
        bias: the part that went to the biases.
        balance: how far the sums are off at most.
    """

    tables: list[np.ndarray] = field(default_factory=list)
    explained: list[float] = field(default_factory=list)
    initial: list[float] = field(default_factory=list)
    bias: list[float] = field(default_factory=list)
    balance: float = 0.0

    @property
    def by_age(self) -> np.ndarray:
        """Share of |R| by age, (steps,), the present first: mean over the decisions."""
        sizes = np.abs(np.stack(self.tables)).sum(axis=2)[:, ::-1]
        return (sizes / sizes.sum(axis=1, keepdims=True)).mean(axis=0)

    @property
    def past(self) -> float:
        """Share of |R| on past observations."""
        return float(1.0 - self.by_age[0])

    def opposite(self, feature: str = "pole angle") -> float:
        """Share of decisions in which a feature speaks one way now and the other way over the two steps before."""
        tables = np.stack(self.tables)[:, :, FEATURES.index(feature)]
        return float((tables[:, -1] * tables[:, -3:-1].sum(axis=1) < 0).mean())

    def means(self) -> dict[str, float]:
        """The numbers of the table."""
        size = float(np.abs(self.explained).sum())
        ages = self.by_age
        return {
            "share_now": float(ages[0]), "share_1_ago": float(ages[1]), "share_2_ago": float(ages[2]), "share_3_ago": float(ages[3]),
            "share_older": float(ages[4:].sum()), "share_past": self.past, "opposite_signs": self.opposite(),
            "initial_state": float(np.abs(self.initial).sum()) / size, "bias": float(np.abs(self.bias).sum()) / size,
            "balance": self.balance,
        }  # fmt: skip


def explain(
    network: torch.nn.Module, decisions: int, seed: int, every: int = 3, window: int = WINDOW, player: Any = None
) -> Relevance:
    """Let a network play and explain its decisions through `rl.ExplainedEnv`, the same door for both networks.

    Args:
        network: called with (observations, state).
        decisions: how many to explain, each with a full window behind it.
        seed: of the first game.
        every: of the decisions.
        window: observations that get relevance.
        player: another network that plays, whose actions are explained by this one; itself by default.

    Raises:
        SystemExit: the games are too short for a full window.
    """
    env = rl.ExplainedEnv(
        masked_cartpole(), network, recurrent=window, target=TARGET, every=every, action_names=("LEFT", "RIGHT")
    )
    found, games, player = Relevance(), 0, network if player is None else player
    observation, state = env.reset(seed=seed)[0], None
    while len(found.tables) < decisions:
        with torch.no_grad():
            values, state = player(torch.from_numpy(observation)[None, None], state)
        observation, _, terminated, truncated, info = env.step(int(values[0, 0].argmax()))
        explanation = info.get("explanation")
        if explanation is not None and len(explanation.relevance) == window:
            found.tables.append(explanation.relevance)
            found.explained.append(explanation.explained)
            found.initial.append(explanation.ledger["initial_state"])
            found.bias.append(explanation.ledger["bias"])
            found.balance = max(found.balance, explanation.balance)
        if terminated or truncated:
            observation, state, games = env.reset()[0], None, games + 1
            if games > 10 * decisions:
                raise SystemExit(f"Games of {type(network).__name__} are too short for {decisions} windows of {window}; train longer.")
    return found


@torch.no_grad()
def play_with_memory_of(network: Any, steps: int, episodes: int, seed: int) -> float:
    """Mean return where the network sees only the last observations, from its zero state: an intervention on its memory."""
    env, returns = masked_cartpole(), []
    for episode in range(episodes):
        observation, _ = env.reset(seed=seed + episode)
        seen: deque[np.ndarray] = deque([observation], maxlen=steps)
        total, over = 0.0, False
        while not over:
            values = network(torch.from_numpy(np.stack(seen))[None])[0]
            observation, reward, terminated, truncated, _ = env.step(int(values[0, -1].argmax()))
            seen.append(observation)
            total, over = total + float(reward), terminated or truncated
        returns.append(total)
    return float(np.mean(returns))
