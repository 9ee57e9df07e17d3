"""Parallel Q-learning without replay memory or target network, after Gallici et al. 2024 (PQN, arXiv 2407.04811).

All games play a block of some steps with an ε-greedy policy; the block is walked through a few times in shuffled
batches, each Q-value drawn to its λ-return; then the block is thrown away:

    G(t) = r(t) + γ (1 - end(t)) [ λ G(t+1) + (1 - λ) max_a Q(s(t+1), a) ]          (Peng's Q(λ); the paper's sec. 4.2)
    loss = mean over the batch of (Q(s, a) - G)^2 / 2

The emulators need about as much time as the network learns from what they show, so both go on at once: while one block
is learnt, the next is played, by a copy of the network as it was before.  The copies change hands at block boundaries
only, and all chance is a function of the seed and the block's number, so two runs are the same to the last bit.
"""

from __future__ import annotations

import copy
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from torch import Tensor, nn

from rl.network import QNetwork
from rl.training.common import Progress, Setup, epsilon_at, forward, random_numbers

COINS, ORDER = 1, 2
"""Streams of random numbers: the actors' coins, and the order of the samples."""


@dataclass(frozen=True)
class PQNSettings:
    """The numbers of the algorithm, each with its source.

    Attributes:
        games: played in parallel.  128 in the paper; 64 fill a batch well enough and learn from fresher blocks.
        steps: decisions of each game in a block; 32 as in the paper's Atari setting.
        passes: over each block; 2 as in the paper.
        batch: samples per update.  The paper's blocks of 4,096 are cut into 32 batches of 128: here likewise 128.
        trace: λ.  0.65 in the paper; 0.85 was ahead of it at equal steps in a trial on Breakout.
        discount: γ, 0.99 as in Mnih et al. 2015.
        learning_rate: of RAdam, 2.5e-4 as in the paper, constant instead of decaying to 0: a run has no fixed end.
        gradient_norm: longer gradients are cut to this length; 10 as in the paper.
        epsilon_end: final share of random actions.  0.001 in the paper; 0.01 as in Dopamine (Castro et al. 2018).
        epsilon_steps: agent steps over which it falls from 1; 250,000 as in Dopamine.
    """

    games: int = 64
    steps: int = 32
    passes: int = 2
    batch: int = 128
    trace: float = 0.85
    discount: float = 0.99
    learning_rate: float = 2.5e-4
    gradient_norm: float = 10.0
    epsilon_end: float = 0.01
    epsilon_steps: int = 250_000


DEVIATIONS = (
    ("layer normalisation", "none: the plain ReLU network", "relevance needs a simple way back through the network"),
    ("learning rate decays to 0", "constant", "a run can always be continued"),
    ("the network that learns also acts", "it acts one block later", "emulators and network work at the same time"),
    ("λ = 0.65", "λ = 0.85", "ahead at equal steps on Breakout"),
    ("128 games", "64 games", "twice as many updates per agent step in flight"),
    ("no FIRE after a lost life", "FIRE is pressed", "else most of the early data show a game that stands still"),
)
"""What the paper does, what is done here, and why."""


@dataclass(frozen=True)
class Block:
    """What all games played with one network.

    Attributes:
        observations: before each decision.
        actions: taken.
        rewards: clipped to -1..1, as in Mnih et al. 2015.
        ends: nothing after the decision counts for it: the game was over, or a life lost.
        best: largest Q-value before each decision, and after the last.
        scores: points of the games that ended, in their order.
    """

    observations: UInt8[Tensor, "steps games 4 84 84"]
    actions: Int64[np.ndarray, "steps games"]
    rewards: Float32[np.ndarray, "steps games"]
    ends: Bool[np.ndarray, "steps games"]
    best: Float32[np.ndarray, "points games"]
    scores: tuple[float, ...]


def lambda_returns(
    rewards: Float[np.ndarray, "steps games"],
    ends: Bool[np.ndarray, "steps games"],
    best: Float[np.ndarray, "points games"],
    discount: float,
    trace: float,
) -> Float[np.ndarray, "steps games"]:
    """The targets G of this file's first equation; after the last step G is the largest Q-value.

    Args:
        rewards: r.
        ends: nothing after this decision counts for it.
        best: ``max_a Q(s(t), a)``, one row more than decisions.
        discount: γ.
        trace: λ; 0 looks one step ahead, 1 to the end of the block.
    """
    returns = np.empty_like(rewards)
    following = best[-1]
    for t in reversed(range(len(rewards))):
        ahead = trace * following + (1.0 - trace) * best[t + 1]
        following = rewards[t] + discount * np.where(ends[t], np.float32(0.0), ahead)
        returns[t] = following
    return returns


class PQN:
    """The algorithm with everything it needs; :meth:`advance` plays and learns one block.

    Args:
        setup: game, network, device, seed and what else all algorithms share.
        settings: the algorithm's numbers.
        folder: of the run; nothing is kept there.
        agent_steps: already learnt, in a run that goes on.
    """

    unsaved_max: int | None = None

    def __init__(self, setup: Setup, settings: PQNSettings, folder: Path | None = None, agent_steps: int = 0) -> None:
        self.setup, self.settings, self.agent_steps = setup, settings, agent_steps
        self.network: QNetwork = setup.network()
        self.optimizer: torch.optim.Optimizer = torch.optim.RAdam(self.network.parameters(), lr=settings.learning_rate)
        self._actor = copy.deepcopy(self.network).requires_grad_(False)
        self._games = setup.games(settings.games, agent_steps)
        self._hands = ThreadPoolExecutor(max_workers=1, thread_name_prefix="actor")
        self._next: Future[Block] | None = None

    @property
    def block_steps(self) -> int:
        """Agent steps in a block."""
        return self.settings.games * self.settings.steps

    @property
    def networks(self) -> dict[str, QNetwork]:
        """What a saved state holds besides the optimiser's memory."""
        return {"network": self.network}

    def flush(self) -> None:
        """Nothing is kept beside the state."""

    def advance(self) -> Progress:
        """Learn the block that has been played, while the next one is played."""
        block = (self._next or self._play_ahead()).result()
        self.agent_steps += self.block_steps
        self._next = self._play_ahead()
        loss = self._learn(block)
        return Progress(
            agent_steps=self.agent_steps,
            scores=block.scores,
            loss=loss,
            epsilon=self._epsilon(self.agent_steps),
            value=float(block.best.mean()),
        )

    def close(self) -> None:
        """Wait for the block in the air and stop the emulators."""
        self._hands.shutdown(wait=True, cancel_futures=True)
        self._games.close()

    def _epsilon(self, agent_steps: int) -> float:
        return epsilon_at(agent_steps, self.settings.epsilon_end, self.settings.epsilon_steps)

    def _play_ahead(self) -> Future[Block]:
        """Start to play the block that follows the last one learnt, with the weights as they are now."""
        self._actor.load_state_dict(self.network.state_dict())
        return self._hands.submit(self._play, self.agent_steps)

    @torch.no_grad()
    def _play(self, agent_steps: int) -> Block:
        """Play one block with the actor's weights, ε-greedily; runs in a thread of its own."""
        steps, games = self.settings.steps, self.settings.games
        coins = random_numbers(self.setup.seed, COINS, agent_steps)
        epsilon = self._epsilon(agent_steps)
        observations = torch.empty((steps, games, 4, 84, 84), dtype=torch.uint8, pin_memory=self.setup.device.type == "cuda")
        actions = np.empty((steps, games), np.int64)
        rewards, ends = np.empty((steps, games), np.float32), np.empty((steps, games), bool)
        best = np.empty((steps + 1, games), np.float32)
        scores: list[float] = []
        for t in range(steps):
            observations[t] = torch.from_numpy(self._games.observations)
            q_values = self._q_values(observations[t])
            best[t] = q_values.max(axis=1)
            random = coins.integers(len(self._games.actions), size=games)
            wanted = np.where(coins.random(games) < epsilon, random, q_values.argmax(axis=1))
            actions[t] = self._games.required(wanted)
            stepped = self._games.step(actions[t])
            rewards[t] = np.clip(stepped.rewards, -1.0, 1.0)
            ends[t] = stepped.game_over | (stepped.life_lost & self.setup.life_loss_ends)
            scores.extend(stepped.scores[stepped.game_over].tolist())
        best[steps] = self._q_values(torch.from_numpy(self._games.observations)).max(axis=1)
        return Block(observations, actions, rewards, ends, best, tuple(scores))

    def _q_values(self, observations: UInt8[Tensor, "games 4 84 84"]) -> Float32[np.ndarray, "games actions"]:
        return forward(self._actor, observations, self.setup).cpu().numpy()

    def _learn(self, block: Block) -> float:
        """Two passes over a block in shuffled batches; gives the mean loss."""
        numbers, device = self.settings, self.setup.device
        targets = lambda_returns(block.rewards, block.ends, block.best, numbers.discount, numbers.trace)
        observations = block.observations.flatten(0, 1)
        actions = torch.from_numpy(block.actions.ravel())
        returns = torch.from_numpy(targets.ravel())
        if device.type != "cpu":
            observations, actions, returns = (t.to(device, non_blocking=True) for t in (observations, actions, returns))
        order = random_numbers(self.setup.seed, ORDER, self.agent_steps)
        losses = []
        for _ in range(numbers.passes):
            shuffled = torch.from_numpy(order.permutation(len(actions))).to(device)
            for rows in shuffled.split(numbers.batch):
                losses.append(self._update(observations[rows], actions[rows], returns[rows]))
        return float(torch.stack(losses).mean())

    def _update(
        self,
        observations: UInt8[Tensor, "batch 4 84 84"],
        actions: Int64[Tensor, " batch"],
        returns: Float[Tensor, " batch"],
    ) -> Float[Tensor, ""]:
        """One step of the optimiser on one batch; gives the loss."""
        q_values = forward(self.network, observations, self.setup)
        chosen = q_values.gather(1, actions[:, None])[:, 0]
        loss = 0.5 * nn.functional.mse_loss(chosen, returns)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.gradient_norm)
        self.optimizer.step()
        return loss.detach()
