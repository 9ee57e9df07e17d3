"""Deep Q-learning with replay memory and target network, after Mnih et al. 2015 (DQN, Nature 518).

Some games play a little with an ε-greedy policy and write what they did into the replay memory; batches drawn from all
of it at random move each Q-value towards its target:

    y = Σ_k<n γ^k r(t+k) + γ^n Q'(s(t+n), argmax_a Q(s(t+n), a))        (0 instead of Q' after an end)
    loss = mean over the batch of Huber(Q(s, a) - y)

Q' is a copy of the network that follows it in long strides.  With n = 1 and ``max_a Q'`` this is the paper's equation
(algorithm 1); the double estimate is van Hasselt et al. 2016, n > 1 as in Rainbow (Hessel et al. 2018).  As in the other
algorithm, emulators and network work at the same time: the games are played one turn ahead by a copy of the network.
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
from rl.training.replay import Batch, ReplayMemory

COINS, DRAWS = 11, 12
"""Streams of random numbers: the actors' coins, and what is drawn from the memory."""


@dataclass(frozen=True)
class DQNSettings:
    """The numbers of the algorithm, each with its source.

    Attributes:
        games: played in parallel; 1 in the paper.
        steps: decisions of each game between two rounds of learning; 4 in the paper.
        memory: M, decisions kept.  1,000,000 in the paper; a quarter of it takes 2.2 GB instead of 8.8.
        ratio: samples learnt per decision played.  8 in the paper (a batch of 32 every 4 decisions).
        batch: samples per update; 32 as in the paper.
        ahead: n; 3 as in Rainbow, 1 in the paper.
        first_steps: decisions played before learning begins; 20,000 as in Rainbow, 50,000 in the paper.
        target_steps: agent steps between two copies into Q'; 8,000 as in Rainbow.
        discount: γ, 0.99 as in the paper.
        learning_rate: of Adam, 6.25e-5 as in Rainbow; the paper has RMSProp with 2.5e-4.
        adam_epsilon: 1.5e-4 as in Rainbow.
        gradient_norm: longer gradients are cut to this length; 10 as in Dueling DQN (Wang et al. 2016).
        epsilon_end: final share of random actions; 0.01 as in Dopamine, 0.1 in the paper.
        epsilon_steps: agent steps over which it falls from 1; 250,000 as in Dopamine and in the paper (1,000,000 frames).
    """

    games: int = 32
    steps: int = 8
    memory: int = 250_000
    ratio: float = 2.0
    batch: int = 32
    ahead: int = 3
    first_steps: int = 20_000
    target_steps: int = 8_000
    discount: float = 0.99
    learning_rate: float = 6.25e-5
    adam_epsilon: float = 1.5e-4
    gradient_norm: float = 10.0
    epsilon_end: float = 0.01
    epsilon_steps: int = 250_000


DEVIATIONS = (
    ("one game", "32 games side by side", "the emulators use all cores, and the network sees batches"),
    ("the network that learns also acts", "it acts one turn, 256 decisions, later", "emulators and network work at the same time"),
    ("max of Q'", "double estimate", "less overestimation for one more forward pass"),
    ("one step", "3 steps", "reward reaches earlier decisions in fewer updates"),
    ("RMSProp, 2.5e-4", "Adam, 6.25e-5", "Rainbow's, steadier"),
    ("8 samples per decision", "2", "two cores spend four fifths of the time on learning even so"),
    ("M = 1,000,000", "M = 250,000; --memory sets it", "2.2 GB of disk and page cache instead of 8.8"),
    ("ε ends at 0.1", "0.01", "Breakout is lost by single wrong moves; as in Dopamine"),
    ("no FIRE after a lost life", "FIRE is pressed", "else most of the early data show a game that stands still"),
)
"""What the paper does, what is done here, and why."""


@dataclass(frozen=True)
class Turn:
    """What all games played between two rounds of learning.

    Attributes:
        frames: the newest of each observation, before each decision.
        actions: taken.
        rewards: clipped to -1..1, as in the paper.
        ends: nothing after the decision counts for it: the game was over, or a life lost.
        ages: decisions of the same game before it.
        best: mean of the largest Q-value.
        scores: points of the games that ended, in their order.
    """

    frames: UInt8[np.ndarray, "steps games 84 84"]
    actions: Int64[np.ndarray, "steps games"]
    rewards: Float32[np.ndarray, "steps games"]
    ends: Bool[np.ndarray, "steps games"]
    ages: Int64[np.ndarray, "steps games"]
    best: float
    scores: tuple[float, ...]


class DQN:
    """The algorithm with everything it needs; :meth:`advance` plays one turn and learns one round.

    Args:
        setup: game, network, device, seed and what else all algorithms share.
        settings: the algorithm's numbers.
        folder: where the replay memory is kept.
        agent_steps: already learnt, in a run that goes on.

    Raises:
        InputError: too little room for the memory.
    """

    def __init__(self, setup: Setup, settings: DQNSettings, folder: Path, agent_steps: int = 0) -> None:
        self.setup, self.settings, self.agent_steps = setup, settings, agent_steps
        self.unsaved_max: int | None = (spare := max(16 * settings.games * settings.steps, settings.memory // 4))
        rows = agent_steps // settings.games
        self.memory = ReplayMemory(folder / "memory", settings.memory, settings.games, spare + self.turn_steps, rows)
        self.network: QNetwork = setup.network()
        self.target = copy.deepcopy(self.network).requires_grad_(False)
        self.optimizer: torch.optim.Optimizer = torch.optim.Adam(
            self.network.parameters(), lr=settings.learning_rate, eps=settings.adam_epsilon
        )
        self._actor = copy.deepcopy(self.network).requires_grad_(False)
        self._games = setup.games(settings.games, agent_steps)
        self._ages = np.zeros(settings.games, np.int64)
        self._hands = ThreadPoolExecutor(max_workers=1, thread_name_prefix="actor")
        self._next: Future[Turn] | None = None

    @property
    def turn_steps(self) -> int:
        """Agent steps in a turn."""
        return self.settings.games * self.settings.steps

    @property
    def networks(self) -> dict[str, QNetwork]:
        """What a saved state holds besides the optimiser's memory."""
        return {"network": self.network, "target": self.target}

    def advance(self) -> Progress:
        """Remember the turn that has been played, and learn while the next one is played."""
        turn = (self._next or self._play_ahead()).result()
        self._remember(turn)
        before, self.agent_steps = self.agent_steps, self.agent_steps + self.turn_steps
        self._next = self._play_ahead()
        loss = self._learn() if self.agent_steps >= self.settings.first_steps else float("nan")
        if before // self.settings.target_steps != self.agent_steps // self.settings.target_steps:
            self.target.load_state_dict(self.network.state_dict())
        return Progress(self.agent_steps, turn.scores, loss, self._epsilon(self.agent_steps), turn.best)

    def flush(self) -> None:
        """Bring to disk what a saved state needs."""
        self.memory.flush()

    def close(self) -> None:
        """Wait for the turn in the air and stop the emulators."""
        self._hands.shutdown(wait=True, cancel_futures=True)
        self._games.close()

    def _epsilon(self, agent_steps: int) -> float:
        return epsilon_at(agent_steps, self.settings.epsilon_end, self.settings.epsilon_steps)

    def _play_ahead(self) -> Future[Turn]:
        """Start to play the turn that follows, with the weights as they are now."""
        self._actor.load_state_dict(self.network.state_dict())
        return self._hands.submit(self._play, self.agent_steps)

    @torch.no_grad()
    def _play(self, agent_steps: int) -> Turn:
        """Play one turn with the actor's weights, ε-greedily; runs in a thread of its own."""
        steps, games = self.settings.steps, self.settings.games
        coins = random_numbers(self.setup.seed, COINS, agent_steps)
        epsilon = self._epsilon(agent_steps)
        frames = np.empty((steps, games, 84, 84), np.uint8)
        actions, ages = np.empty((steps, games), np.int64), np.empty((steps, games), np.int64)
        rewards, ends = np.empty((steps, games), np.float32), np.empty((steps, games), bool)
        best, scores = 0.0, list[float]()
        for t in range(steps):
            frames[t], ages[t] = self._games.observations[:, -1], self._ages
            q_values = forward(self._actor, torch.from_numpy(self._games.observations), self.setup).cpu().numpy()
            best += float(q_values.max(axis=1).mean()) / steps
            random = coins.integers(len(self._games.actions), size=games)
            wanted = np.where(coins.random(games) < epsilon, random, q_values.argmax(axis=1))
            actions[t] = self._games.required(wanted)
            stepped = self._games.step(actions[t])
            rewards[t] = np.clip(stepped.rewards, -1.0, 1.0)
            ends[t] = stepped.game_over | (stepped.life_lost & self.setup.life_loss_ends)
            self._ages = np.where(stepped.game_over, 0, self._ages + 1)
            scores.extend(stepped.scores[stepped.game_over].tolist())
        return Turn(frames, actions, rewards, ends, ages, best, tuple(scores))

    def _remember(self, turn: Turn) -> None:
        for row in zip(turn.frames, turn.actions, turn.rewards, turn.ends, turn.ages, strict=True):
            self.memory.add(*row)

    def _learn(self) -> float:
        """One round of updates; gives the mean loss."""
        numbers = self.settings
        chance = random_numbers(self.setup.seed, DRAWS, self.agent_steps)
        updates = max(1, round(numbers.ratio * self.turn_steps / numbers.batch))
        losses = [self._update(self.memory.sample(chance, numbers.batch, numbers.ahead, numbers.discount)) for _ in range(updates)]
        return float(torch.stack(losses).mean())

    def _update(self, batch: Batch) -> Float[Tensor, ""]:
        """One step of the optimiser on one batch; gives the loss."""
        device = self.setup.device
        observations, following = torch.from_numpy(batch.observations), torch.from_numpy(batch.following)
        actions, rewards, discounts = (
            torch.from_numpy(values).to(device) for values in (batch.actions, batch.rewards, batch.discounts)
        )
        with torch.no_grad():
            choices = forward(self.network, following, self.setup).argmax(dim=1, keepdim=True)
            returns = rewards + discounts * forward(self.target, following, self.setup).gather(1, choices)[:, 0]
        chosen = forward(self.network, observations, self.setup).gather(1, actions[:, None])[:, 0]
        loss = nn.functional.huber_loss(chosen, returns)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.gradient_norm)
        self.optimizer.step()
        return loss.detach()
