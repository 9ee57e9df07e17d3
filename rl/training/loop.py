"""The loop around an algorithm: when to save, to score, to report, and when to end."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from rl.checkpoints import Agent
from rl.games import game_actions
from rl.network import NETWORKS
from rl.training.board import Board
from rl.training.common import Algorithm, Progress, Setup, channels_last
from rl.training.evaluation import measured, play_games
from rl.training.folder import RunFolder, half_precision

EPOCH_STEPS = 250_000
"""Agent steps of an epoch: as in the training programs of Mnih et al. 2015's time (deep_q_rl)."""
FIRST_STEPS = 10_000
"""Below an epoch, checkpoints are kept at 0 and at this number doubled again and again: early learning is fast."""
STATE_SECONDS = 120.0
"""A killed training loses at most this much."""
RECENT_GAMES = 100


@dataclass(frozen=True)
class Report:
    """How a training stands.

    Attributes:
        progress: of the last block.
        seconds: since the loop began.
        steps_per_second: over the whole loop.
        recent: mean points of the last 100 training games; NaN before the first ended.
    """

    progress: Progress
    seconds: float
    steps_per_second: float
    recent: float


def checkpoint_steps() -> Iterator[int]:
    """The agent steps at which an agent is kept, in order, without end."""
    yield 0
    steps = FIRST_STEPS
    while steps < EPOCH_STEPS:
        yield steps
        steps *= 2
    epoch = 1
    while True:
        yield epoch * EPOCH_STEPS
        epoch += 1


def checkpoint_due(before: int, after: int) -> bool:
    """Whether a step at which an agent is kept lies in ``before < step <= after``."""
    return next(step for step in checkpoint_steps() if step > before) <= after


def train(
    folder: RunFolder,
    setup: Setup,
    algorithm: Algorithm,
    name: str,
    agent_steps: int | None = None,
    seconds: float | None = None,
    games: int = 10,
    report: Callable[[Report], None] | None = None,
) -> Report | None:
    """Train until a number of agent steps or a time is reached, whichever comes first.

    Args:
        folder: where everything is kept.
        setup: of the run.
        algorithm: new, or with a saved state in it.
        name: of the algorithm, for the checkpoints.
        agent_steps: the end, counted from the start of the run; None for no such end.
        seconds: likewise of this call.
        games: whole games by which each checkpoint is scored.
        report: told how it stands after each block.

    Returns:
        The last report; None where the end was reached before the first block.
    """
    begun, first = time.monotonic(), algorithm.agent_steps
    saved, saved_steps, recent, last = begun, first, deque[float](maxlen=RECENT_GAMES), None
    board = Board(folder.path, first)
    keep = partial(_keep, folder, board, setup, algorithm, name, games)
    if first == 0:
        keep()
    while not _ended(algorithm.agent_steps, agent_steps, time.monotonic() - begun, seconds):
        before = algorithm.agent_steps
        progress = algorithm.advance()
        recent.extend(progress.scores)
        elapsed = time.monotonic() - begun
        speed = (progress.agent_steps - first) / elapsed
        last = Report(progress, elapsed, speed, float(np.mean(recent)) if recent else float("nan"))
        _log(folder, board, last)
        if report is not None:
            report(last)
        if checkpoint_due(before, progress.agent_steps):
            keep()
        unsaved = algorithm.agent_steps - saved_steps
        if time.monotonic() - saved > STATE_SECONDS or (algorithm.unsaved_max is not None and unsaved >= algorithm.unsaved_max):
            folder.write_state(algorithm)
            saved, saved_steps = time.monotonic(), algorithm.agent_steps
    folder.write_state(algorithm)
    board.close()
    return last


def _ended(done: int, steps: int | None, elapsed: float, seconds: float | None) -> bool:
    """Whether one of the two ends is reached."""
    return (steps is not None and done >= steps) or (seconds is not None and elapsed >= seconds)


def _keep(folder: RunFolder, board: Board, setup: Setup, algorithm: Algorithm, name: str, games: int) -> None:
    """Score the agent as it is and keep it."""
    actions = game_actions(setup.game)
    network = NETWORKS[setup.architecture](len(actions))
    network.load_state_dict(half_precision(algorithm.network))
    network = channels_last(network.eval().requires_grad_(False))
    agent = Agent(network, setup.game, actions, setup.preprocessing, algorithm.agent_steps, None, name, setup.architecture)
    score = measured(play_games(agent, games, setup.seed, setup.threads)) if games else None
    folder.write_checkpoint(
        Agent(network, setup.game, actions, setup.preprocessing, algorithm.agent_steps, score, name, setup.architecture)
    )
    folder.log({"agent_steps": algorithm.agent_steps, "evaluation": None if score is None else score.__dict__})
    board.add(algorithm.agent_steps, {"score/whole games": None if score is None else score.mean})


def _log(folder: RunFolder, board: Board, report: Report) -> None:
    """One line of numbers, and a point on each curve."""
    progress = report.progress
    folder.log(
        {
            "agent_steps": progress.agent_steps,
            "seconds": round(report.seconds, 1),
            "steps_per_second": round(report.steps_per_second, 1),
            "score_of_last_100_games": None if np.isnan(report.recent) else round(report.recent, 2),
            "epsilon": round(progress.epsilon, 4),
            "loss": None if np.isnan(progress.loss) else round(progress.loss, 6),
            "value": round(progress.value, 4),
        }
    )
    board.add(
        progress.agent_steps,
        {
            "score/last 100 games of training": report.recent,
            "learning/loss": progress.loss,
            "learning/largest Q-value": progress.value,
            "learning/epsilon": progress.epsilon,
            "speed/agent steps a second": report.steps_per_second,
        },
    )
