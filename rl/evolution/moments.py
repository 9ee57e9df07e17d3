"""Key moments of a game, each by a criterion that can be said in a few words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int64

from rl.checks import whole_number
from rl.trajectory import STACK, Trajectory
from seqxai.errors import InputError

APART = 15
"""Decisions between two moments, a second at least: closer ones look the same."""

LEAD = 5
"""Decisions before a life is lost, a third of a second: later the agent can no longer help it."""

BEGINNING = "a game begins"
REWARD = "the largest reward follows"
VALUE = "the largest Q-value"
SPREAD = "the choice matters most"
LIFE = "a life is about to be lost"
CRITERIA = {
    BEGINNING: "the first decision for which all four frames are there",
    REWARD: "the decision that brought the most points, the first of equals",
    VALUE: "the decision with the largest Q-value",
    SPREAD: "the largest difference between the best and the worst action's Q-value",
    LIFE: f"{LEAD} decisions before the first life is lost",
}
"""What each moment is; Q-values are those of the agent that played."""


@dataclass(frozen=True)
class Moment:
    """A decision worth a look.

    Attributes:
        name: a key of `CRITERIA`, or the decision's number as pictures show it, from 1.
        decision: its place in the trajectory, from 0.
    """

    name: str
    decision: int


def key_moments(trajectory: Trajectory, start: int = 0, end: int | None = None) -> list[Moment]:
    """One decision for each criterion that applies, a second apart at least.

    Args:
        trajectory: where to look.
        start: first decision.
        end: one past the last.

    Returns:
        In the order of time; none where the part has no decision with four frames.
    """
    rows = np.arange(start, len(trajectory) if end is None else end)
    age = rows - np.maximum.accumulate(np.where(trajectory.starts, np.arange(len(trajectory)), 0))[rows]
    free = age >= STACK - 1  # all four planes are of this game
    q_values = trajectory.q_values[rows]
    spread = np.ptp(q_values, axis=1).astype(np.float64)
    wishes = {
        BEGINNING: np.where(age == STACK - 1, 0.0, -np.inf),
        LIFE: _before_a_life(trajectory, rows),
        REWARD: np.where(trajectory.rewards[rows] > 0, trajectory.rewards[rows], -np.inf),
        VALUE: q_values.max(axis=1).astype(np.float64),
        SPREAD: np.where(spread > 0, spread, -np.inf),
    }
    moments = []
    for name, worth in wishes.items():
        place = _best(worth, free)
        if place is not None:
            moments.append(Moment(name, int(rows[place])))
            free &= np.abs(rows - rows[place]) >= APART
    return sorted(moments, key=lambda moment: moment.decision)


def _before_a_life(trajectory: Trajectory, rows: Int64[np.ndarray, " rows"]) -> Float[np.ndarray, " rows"]:
    """0 a little before a life is lost, minus infinity elsewhere."""
    lives = trajectory.lives
    lost = np.zeros(len(lives), bool)
    lost[:-1] = (np.diff(lives) < 0) & ~trajectory.starts[1:]
    soon = np.roll(lost, -LEAD)
    soon[len(soon) - LEAD :] = False
    return np.where(soon[rows], 0.0, -np.inf)


def _best(worth: Float[np.ndarray, " rows"], free: Bool[np.ndarray, " rows"]) -> int | None:
    """The first place of the largest worth among the free ones."""
    left = np.where(free, worth, -np.inf)
    return int(left.argmax()) if left.size and left.max() > -np.inf else None


def named_moments(decisions: Sequence[Any], count: int) -> list[Moment]:
    """Moments by number.

    Args:
        decisions: their places, counted from 0.
        count: how many decisions there are.

    Raises:
        InputError: none, or a place that is not there.
    """
    numbers = [whole_number("a moment", decision) for decision in decisions]
    if not numbers:
        raise InputError("expected at least one moment to show, got none; give decisions such as 120,300")
    for number in numbers:
        if not 0 <= number < count:
            raise InputError(f"there is no decision at place {number} of this game: it has the places 0 .. {count - 1}")
    return [Moment(f"decision {number + 1}", number) for number in numbers]
