"""Training as Hausknecht & Stone 2015 (section 4, "bootstrapped random updates"): pieces of episodes from a zero state."""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from model import NETWORKS, Scaled, masked_cartpole
from torch import nn


@dataclass(frozen=True)
class Training:
    """How both networks are trained.

    Attributes:
        agent_steps: decisions.
        piece: steps of a sampled piece of an episode.
        burn_in: first steps of a piece that are not learnt from: nobody can know the velocity there.
        batch: pieces per update.
        update_every: decisions between updates.
        discount: gamma.
        reward_unit: what a point counts in the Q-values.
        learning_rate: of Adam at the beginning.
        final_learning_rate: at the end; it falls along a straight line.
        target_share: of the online weights that the target network takes over at every update.
        replay_episodes: episodes kept.
        explore_steps: decisions until the share of random actions has fallen from 1 to ``explore_end``.
        explore_end: see above.
        evaluate_every: decisions between evaluations; the best weights are kept.
        evaluate_episodes: greedy episodes of an evaluation.
    """

    agent_steps: int = 25_000
    piece: int = 16
    burn_in: int = 3
    batch: int = 64
    update_every: int = 2
    discount: float = 0.99
    reward_unit: float = 0.1
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-4
    target_share: float = 0.01
    replay_episodes: int = 400
    explore_steps: int = 8_000
    explore_end: float = 0.05
    evaluate_every: int = 2_500
    evaluate_episodes: int = 10


@dataclass(frozen=True)
class Episode:
    """One episode: a row for each observation, the last one without a decision."""

    observations: np.ndarray
    actions: np.ndarray
    terminated: bool


def sample(replay: deque[Episode], how: Training, chance: np.random.Generator) -> tuple[torch.Tensor, ...]:
    """A batch of pieces: observations (B, T + 1, 2), actions, whether the next state is terminal, and which steps are real."""
    observations = np.zeros((how.batch, how.piece + 1, 2), np.float32)
    actions = np.zeros((how.batch, how.piece), np.int64)
    ends, real = np.zeros((2, how.batch, how.piece), np.float32)
    lengths = np.array([len(episode.actions) for episode in replay])
    for row, index in enumerate(chance.choice(len(replay), how.batch, p=lengths / lengths.sum())):
        episode = replay[index]
        # Pieces reach over both ends of an episode, so that its last step is met as often as any other: it alone says what failing is.
        start = max(0, int(chance.integers(1 - how.piece, len(episode.actions))))
        steps = min(how.piece, len(episode.actions) - start)
        observations[row, : steps + 1] = episode.observations[start : start + steps + 1]
        actions[row, :steps] = episode.actions[start : start + steps]
        real[row, how.burn_in if start else 0 : steps] = 1.0
        if episode.terminated and start + steps == len(episode.actions):
            ends[row, steps - 1] = 1.0
    return tuple(torch.from_numpy(a) for a in (observations, actions, ends, real))


def update(network: nn.Module, target: nn.Module, optimiser: Any, batch: tuple[torch.Tensor, ...], how: Training) -> None:
    """One step of double Q-learning on all real steps of the pieces."""
    observations, actions, ends, real = batch
    values = network(observations)[0]
    taken = values[:, :-1].gather(2, actions[..., None])[..., 0]
    with torch.no_grad():
        best = values[:, 1:].argmax(2, keepdim=True)
        following = target(observations)[0][:, 1:].gather(2, best)[..., 0]
    goal = how.reward_unit + how.discount * (1.0 - ends) * following
    loss = (nn.functional.smooth_l1_loss(taken, goal, reduction="none") * real).sum() / real.sum()
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 10.0)
    optimiser.step()
    with torch.no_grad():
        for slow, fast in zip(target.parameters(), network.parameters(), strict=True):
            slow.lerp_(fast, how.target_share)


@torch.no_grad()
def evaluate(network: nn.Module, episodes: int, seed: int) -> list[float]:
    """Returns of greedy episodes; the same seed gives the same starts."""
    env, returns = masked_cartpole(), []
    for episode in range(episodes):
        observation, _ = env.reset(seed=seed + episode)
        state, total, over = None, 0.0, False
        while not over:
            values, state = network(torch.from_numpy(observation)[None, None], state)
            observation, reward, terminated, truncated, _ = env.step(int(values[0, 0].argmax()))
            total, over = total + float(reward), terminated or truncated
        returns.append(total)
    return returns


def train(name: str, seed: int, how: Training | None = None) -> tuple[Scaled, list[tuple[int, float]]]:
    """Train one network.

    Args:
        name: of a network in ``model.NETWORKS``.
        seed: of weights, game and exploration.
        how: the training; its defaults if not given.

    Returns:
        The network with its best weights, and (decisions, mean return) of each evaluation.
    """
    how = how or Training()
    torch.manual_seed(seed)
    chance, env = np.random.default_rng(seed), masked_cartpole()
    network = NETWORKS[name]()
    target, best = copy.deepcopy(network), copy.deepcopy(network)
    optimiser = torch.optim.Adam(network.parameters(), lr=how.learning_rate)
    replay: deque[Episode] = deque(maxlen=how.replay_episodes)
    curve: list[tuple[int, float]] = []
    observation, _ = env.reset(seed=seed)
    seen, taken, state = [observation], [], None
    for step in range(1, how.agent_steps + 1):
        with torch.no_grad():
            values, state = network(torch.from_numpy(observation)[None, None], state)
        random = chance.random() < max(how.explore_end, 1.0 - step / how.explore_steps)
        action = int(chance.integers(2)) if random else int(values[0, 0].argmax())
        observation, _, terminated, truncated, _ = env.step(action)
        seen.append(observation)
        taken.append(action)
        if terminated or truncated:
            replay.append(Episode(np.stack(seen), np.array(taken), bool(terminated)))
            observation, _ = env.reset()
            seen, taken, state = [observation], [], None
        if len(replay) >= 20 and step % how.update_every == 0:
            share = step / how.agent_steps
            optimiser.param_groups[0]["lr"] = (1 - share) * how.learning_rate + share * how.final_learning_rate
            update(network, target, optimiser, sample(replay, how, chance), how)
        if step % how.evaluate_every == 0:
            mean = float(np.mean(evaluate(network, how.evaluate_episodes, seed=10_000)))
            if not curve or mean >= max(score for _, score in curve):
                best.load_state_dict(network.state_dict())
            curve.append((step, mean))
    return best, curve
