"""Played once, explained often: the record of an agent's decisions and everything it saw, did and got."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64, UInt8

from rl.checkpoints.agent import Agent
from rl.checks import real_number, whole_number
from rl.environment import Environment
from rl.frames import FramePacker, PackedFrames
from rl.trajectory_file import ARRAYS, FRAMES, SCALARS, SEED_MAX, SUFFIX, read, write
from seqxai.errors import InputError
from seqxai.files import check_writable

STACK = 4

AGENT, CHANCE, PROTOCOL = 0, 1, 2
"""Who chose an action: the agent's largest Q-value, the ε-coin, or the rule that FIRE follows a lost life."""

Pictures = np.ndarray | PackedFrames

Progress = Callable[[int], None]
"""Called now and then with the number of decisions done so far."""


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Some decisions in a row, over one or more games.  Row t of each array belongs to decision t.

    The pictures are kept packed, a hundredth to a thousandth of their size (:class:`rl.frames.PackedFrames`), and read by
    row like an array: ``screens[t]``, ``screens[first:last]``, ``planes[rows]``.

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
        stack_padding: what the agent saw before the first frame of a game, see :class:`rl.preprocessing.Preprocessing`.
    """

    game: str
    actions: tuple[str, ...]
    seed: int
    epsilon: float
    agent_fingerprint: str
    agent_steps: int
    screens: UInt8[Pictures, "decisions 210 160 3"]
    planes: UInt8[Pictures, "decisions 84 84"]
    starts: Bool[np.ndarray, " decisions"]
    ram: UInt8[np.ndarray, "decisions 128"]
    chosen: Int64[np.ndarray, " decisions"]
    chosen_by: UInt8[np.ndarray, " decisions"]
    rewards: Float64[np.ndarray, " decisions"]
    q_values: Float32[np.ndarray, "decisions actions"]
    lives: Int64[np.ndarray, " decisions"]
    stack_padding: str = "zeros"

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
            Four planes per decision, newest last; black where the game had not begun, or its first plane.
        """
        rows = np.arange(len(self)) if rows is None else rows
        index = rows[:, None] + np.arange(1 - STACK, 1)  # (part, 4)
        if self.stack_padding == "first":
            beginnings = np.flatnonzero(self.starts)
            return self.planes[np.maximum(index, beginnings[self.games[rows], None])]
        same_game = (index >= 0) & (self.games[np.maximum(index, 0)] == self.games[rows, None])
        return np.where(same_game[:, :, None, None], self.planes[np.maximum(index, 0)], np.uint8(0))

    def seen_by(self, agent: Agent, batch: int = 64) -> Trajectory:
        """The same states and actions with the Q-values of another agent, so that its values can be explained here.

        Args:
            agent: any agent with the same actions, such as another checkpoint of one training.
            batch: decisions per pass.

        Returns:
            A trajectory that counts as this agent's; who chose the actions it does not say.

        Raises:
            InputError: the agent has other actions.
        """
        if agent.actions != self.actions:
            raise InputError(
                f"the trajectory has the actions {' '.join(self.actions)}, the agent {' '.join(agent.actions)}; "
                "give an agent with the same actions in the same order"
            )
        q_values = np.empty_like(self.q_values)
        for start in range(0, len(self), batch):
            rows = np.arange(start, min(start + batch, len(self)))
            q_values[rows] = agent.q_values(torch.from_numpy(self.observations(rows))).numpy()
        return replace(self, q_values=q_values, agent_fingerprint=agent.fingerprint, agent_steps=agent.agent_steps)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a compressed ``.npz``, whole or not at all; :mod:`rl.trajectory_file` says what is in it.

        Raises:
            InputError: the path cannot be written.
        """
        scalars = {name: getattr(self, name) for name in SCALARS}
        write(path, scalars, {name: getattr(self, name) for name in (*ARRAYS, *FRAMES)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trajectory:
        """Read what :meth:`save` wrote; nothing in the file is executed.

        Raises:
            InputError: missing, damaged, of another kind or version, or inconsistent.
        """
        return cls(**read(path))


assert {field.name for field in fields(Trajectory)} == {*SCALARS, *ARRAYS, *FRAMES}  # what is recorded is saved


@contextmanager
def one_thread() -> Iterator[None]:
    """Within the block torch uses one thread: a decision is too little work to share, and two threads are slower than one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Rows:
    """What has been recorded so far; pictures are packed as they come."""

    def __init__(self) -> None:
        self._packers = {name: FramePacker(shape) for name, shape in FRAMES.items()}
        self._lists: dict[str, list[Any]] = defaultdict(list)

    def __len__(self) -> int:
        return min(map(len, self._packers.values()))

    def append(self, row: dict[str, Any]) -> None:
        """One decision."""
        for name in ARRAYS:
            self._lists[name].append(row[name])
        for name, packer in self._packers.items():
            packer.append(row[name])

    def arrays(self) -> dict[str, Any]:
        """The arrays of a trajectory; where an interruption cut a decision in two, it is left out."""
        count = len(self)
        whole: dict[str, Any] = {name: packer.packed(count) for name, packer in self._packers.items()}
        return whole | {name: np.array(self._lists[name][:count], dtype=dtype) for name, (dtype, _) in ARRAYS.items()}


def record(
    agent: Agent,
    game: str | None = None,
    seed: int = 0,
    decisions: int | None = 450,
    epsilon: float = 0.01,
    progress: Progress | None = None,
    save_to: str | os.PathLike[str] | None = None,
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
        save_to: also save the trajectory under this name; what was played until then if recording is interrupted.

    Returns:
        The trajectory; the same arguments give the identical one.

    Raises:
        InputError: unknown game, a game whose actions are not the agent's, a number out of range, or a name that cannot
            be written.
        DependencyError: the emulator is not installed.
    """
    seed, decisions, epsilon = _check_numbers(seed, decisions, epsilon)
    if save_to is not None:
        check_writable(save_to, (SUFFIX,))
    environment = Environment(agent.game if game is None else game, agent.preprocessing, seed)
    to_game = _match_actions(agent, environment)
    rows = _Rows()

    def played() -> Trajectory:
        facts = (environment.game, agent.actions, seed, epsilon, agent.fingerprint, agent.agent_steps)
        return Trajectory(*facts, **rows.arrays(), stack_padding=agent.preprocessing.stack_padding)

    try:
        with one_thread():
            for row in _play(agent, environment, to_game, epsilon, np.random.default_rng(seed), decisions):
                rows.append(row)
                if progress is not None:
                    progress(len(rows))
    except BaseException:
        if save_to is not None and len(rows):
            with suppress(InputError):  # what interrupted the game is told, not what came after
                played().save(save_to)
        raise
    trajectory = played()
    if save_to is not None:
        trajectory.save(save_to)
    return trajectory


def decide(
    agent: Agent, game: str | None = None, *, seed: int = 0, decisions: int | None = None, epsilon: float = 0.01
) -> Iterator[dict[str, Any]]:
    """Let an agent play, and keep nothing: what :func:`record` keeps, one decision at a time.

    Args:
        agent: as for :func:`record`, and likewise `game`, `seed`, `decisions` and `epsilon`.

    Yields:
        A decision: ``screens``, ``planes``, ``ram``, ``lives``, ``starts``, ``q_values``, ``chosen``, ``chosen_by``, ``rewards``.

    Raises:
        InputError: as :func:`record`.
        DependencyError: the emulator is not installed.
    """
    seed, decisions, epsilon = _check_numbers(seed, decisions, epsilon)
    environment = Environment(agent.game if game is None else game, agent.preprocessing, seed)
    to_game = _match_actions(agent, environment)
    yield from _play(agent, environment, to_game, epsilon, np.random.default_rng(seed), decisions)


def _play(
    agent: Agent,
    environment: Environment,
    to_game: list[int],
    epsilon: float,
    chance: np.random.Generator,
    decisions: int | None,
) -> Iterator[dict[str, Any]]:
    """One row per decision; to the end of the game when their number is None."""
    over, done = True, 0
    while decisions is None or done < decisions:
        if over and decisions is None and done:
            return
        if over:
            environment.reset()
        row = _look(environment, over) | _decide(agent, environment, to_game, epsilon, chance)
        outcome = environment.step(to_game[row["chosen"]])
        row["rewards"], over = outcome.reward, outcome.game_over
        done += 1
        yield row


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
