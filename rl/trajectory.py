"""Played once, explained often: the record of an agent's decisions and everything it saw, did and got."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64, UInt8

from rl.checkpoints.agent import Agent
from rl.checks import real_number, whole_number
from rl.environment import Environment
from rl.trajectory_file import ARRAYS, FORMAT, FORMAT_VERSION, SCALARS, SEED_MAX, SUFFIX, read
from seqxai.errors import InputError
from seqxai.files import written_whole

STACK = 4

AGENT, CHANCE, PROTOCOL = 0, 1, 2
"""Who chose an action: the agent's largest Q-value, the ε-coin, or the rule that FIRE follows a lost life."""

Progress = Callable[[int], None]
"""Called now and then with the number of decisions done so far."""


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Some decisions in a row, over one or more games.  Row t of each array belongs to decision t.

    Attributes:
        game: the emulator's spelling.
        actions: names, in the order of `q_values`.
        seed: decided every chance; the same agent and seed give the same trajectory.
        epsilon: probability of a random action.
        agent_fingerprint: which weights decided.
        agent_steps: how long they had been trained.
        screens: colour screen when the decision was taken.
        planes: newest plane of the observation; the older three are the planes of the decisions before in this game.
        starts: the first decision of a game.
        ram: the console's memory.
        chosen: index of the action taken.
        chosen_by: `AGENT`, `CHANCE` or `PROTOCOL`.
        rewards: raw game points the action brought.
        q_values: the network's output.
        lives: lives left when the decision was taken.
    """

    game: str
    actions: tuple[str, ...]
    seed: int
    epsilon: float
    agent_fingerprint: str
    agent_steps: int
    screens: UInt8[np.ndarray, "decisions 210 160 3"]
    planes: UInt8[np.ndarray, "decisions 84 84"]
    starts: Bool[np.ndarray, " decisions"]
    ram: UInt8[np.ndarray, "decisions 128"]
    chosen: Int64[np.ndarray, " decisions"]
    chosen_by: UInt8[np.ndarray, " decisions"]
    rewards: Float64[np.ndarray, " decisions"]
    q_values: Float32[np.ndarray, "decisions actions"]
    lives: Int64[np.ndarray, " decisions"]

    def __len__(self) -> int:
        """Number of decisions."""
        return len(self.chosen)

    @cached_property
    def games(self) -> Int64[np.ndarray, " decisions"]:
        """Which game a decision belongs to, counted from 0."""
        return np.cumsum(self.starts) - 1

    @cached_property
    def score(self) -> Float64[np.ndarray, " decisions"]:
        """Raw points of the running game when the decision was taken."""
        total = np.cumsum(self.rewards) - self.rewards
        return total - total[self.starts][self.games]

    def observations(self, rows: Int64[np.ndarray, " part"] | None = None) -> UInt8[np.ndarray, "part 4 84 84"]:
        """What the agent saw, restacked from the single planes.

        Args:
            rows: which decisions; None for all.

        Returns:
            Four planes per decision, newest last; black where the game had not begun.
        """
        rows = np.arange(len(self)) if rows is None else rows
        index = rows[:, None] + np.arange(1 - STACK, 1)  # (part, 4)
        same_game = (index >= 0) & (self.games[np.maximum(index, 0)] == self.games[rows, None])
        return np.where(same_game[:, :, None, None], self.planes[np.maximum(index, 0)], np.uint8(0))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a compressed ``.npz``, whole or not at all.

        Raises:
            InputError: the path cannot be written.
        """
        header = {"format": FORMAT, "format_version": FORMAT_VERSION}
        header |= {name: getattr(self, name) for name in SCALARS}
        arrays = {name: getattr(self, name) for name in ARRAYS}
        with written_whole(path, (SUFFIX,)) as partial, partial.open("wb") as file:
            np.savez_compressed(file, header=np.array(json.dumps(header)), **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trajectory:
        """Read what :meth:`save` wrote; nothing in the file is executed.

        Raises:
            InputError: missing, damaged, of another kind or version, or inconsistent.
        """
        return cls(**read(path))


assert {field.name for field in fields(Trajectory)} == {*SCALARS, *ARRAYS}  # what is recorded is saved


@contextmanager
def _one_thread() -> Iterator[None]:
    """One decision at a time is too little work to share: on a busy machine two threads are slower than one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def record(
    agent: Agent,
    game: str | None = None,
    seed: int = 0,
    decisions: int | None = 450,
    epsilon: float = 0.01,
    progress: Progress | None = None,
) -> Trajectory:
    """Let an agent play, and keep everything.

    The agent takes the action of its largest Q-value.  Now and then, with probability ``epsilon``, it takes a random
    one: without that, an agent that only ever sees a deterministic game may loop for ever.

    Args:
        agent: who plays.
        game: the game; the agent's own when None.
        seed: decides every chance, 0 .. 2**32 - 1.
        decisions: how many; after a game is over the next begins.  None: one game to its end.
        epsilon: probability of a random action, 0 .. 1.
        progress: told the number of decisions taken so far.

    Returns:
        The trajectory; the same arguments give the identical one.

    Raises:
        InputError: unknown game, a game whose actions are not the agent's, or a number out of range.
        DependencyError: the emulator is not installed.
    """
    seed, decisions, epsilon = _check_numbers(seed, decisions, epsilon)
    environment = Environment(agent.game if game is None else game, agent.preprocessing, seed)
    to_game = _match_actions(agent, environment)
    chance = np.random.default_rng(seed)
    rows: dict[str, list[Any]] = defaultdict(list)
    over = True
    with _one_thread():
        while decisions is None or len(rows["chosen"]) < decisions:
            if over and decisions is None and rows:
                break
            if over:
                environment.reset()
            row = _look(environment, over) | _decide(agent, environment, to_game, epsilon, chance)
            outcome = environment.step(to_game[row["chosen"]])
            row["rewards"], over = outcome.reward, outcome.game_over
            for name, value in row.items():
                rows[name].append(value)
            if progress is not None:
                progress(len(rows["chosen"]))
    arrays: dict[str, Any] = {name: np.array(rows[name], dtype=dtype) for name, (dtype, _) in ARRAYS.items()}
    return Trajectory(environment.game, agent.actions, seed, epsilon, agent.fingerprint, agent.agent_steps, **arrays)


def _check_numbers(seed: Any, decisions: Any, epsilon: Any) -> tuple[int, int | None, float]:
    """The numbers as Python's own, which a file can hold; refuse other things and numbers out of range."""
    seed, epsilon = whole_number("seed", seed), real_number("epsilon", epsilon)
    decisions = None if decisions is None else whole_number("decisions", decisions)
    if not 0 <= seed <= SEED_MAX:
        raise InputError(f"seed should be 0 .. {SEED_MAX}, got {seed}")
    if decisions is not None and decisions < 1:
        raise InputError(f"decisions should be at least 1, or None for one whole game, got {decisions}")
    if not 0.0 <= epsilon <= 1.0:
        raise InputError(f"epsilon is a probability, 0 .. 1, got {epsilon}")
    return seed, decisions, epsilon


def _match_actions(agent: Agent, environment: Environment) -> list[int]:
    """For each of the agent's actions its index in the game."""
    if sorted(agent.actions) != sorted(environment.actions):
        raise InputError(
            f"this agent was trained for {agent.game} with the actions {' '.join(agent.actions)}; {environment.game} "
            f"has {' '.join(environment.actions)}; choose {agent.game}, or a game with the same actions"
        )
    return [environment.actions.index(name) for name in agent.actions]


def _look(environment: Environment, first: bool) -> dict[str, Any]:
    """What there is to see before a decision."""
    return {
        "screens": environment.screen,
        "planes": environment.plane,
        "starts": first,
        "ram": environment.ram,
        "lives": environment.lives,
    }


def _decide(
    agent: Agent, environment: Environment, to_game: list[int], epsilon: float, chance: np.random.Generator
) -> dict[str, Any]:
    """The Q-values, the action, and who chose it."""
    q_values = agent.q_values(torch.from_numpy(environment.observation)[None])[0].numpy()
    coin, random_action = chance.random(), int(chance.integers(len(to_game)))
    if environment.required_action is not None:
        chosen, chosen_by = to_game.index(environment.required_action), PROTOCOL
    elif coin < epsilon:
        chosen, chosen_by = random_action, CHANCE
    else:
        chosen, chosen_by = int(q_values.argmax()), AGENT
    return {"q_values": q_values, "chosen": chosen, "chosen_by": chosen_by}
