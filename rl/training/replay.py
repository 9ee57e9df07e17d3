"""The replay memory of Mnih et al. 2015: the last M decisions, on disk, from which batches are drawn at random.

Only the newest frame of each observation is kept; the other three are its predecessors, or black where a game had just
begun, exactly as the emulators stack them.  All games write one row per decision into a ring that is longer than M by
what may be written between two saved states: after a kill the ring still holds everything the last state needs, and two
continuations of one state draw the same batches.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from seqxai.errors import CheckpointError, InputError

STACK, SIDE = 4, 84
FIELDS: Mapping[str, type] = {
    "frames": np.uint8,
    "actions": np.uint8,
    "rewards": np.float32,
    "ends": np.bool_,
    "cuts": np.bool_,
    "ages": np.uint8,
}
"""What is kept of each decision: the newest frame before it, the action, the reward, whether nothing after it counts for it, whether its
successor is unknown, and how many decisions of its game came before (at most 3)."""
BYTES_EACH = SIDE * SIDE + sum(np.dtype(kind).itemsize for name, kind in FIELDS.items() if name != "frames")


@dataclass(frozen=True)
class Batch:
    """Samples to learn from: ``reward + discount * max_a Q(following, a)`` is the target of ``Q(observation, action)``.

    Attributes:
        observations: before the decisions.
        actions: taken.
        rewards: ``Σ_k γ^k r(t+k)`` over n decisions, or to the end.
        discounts: ``γ^n``, and 0 where an end came first.
        following: observations n decisions later; anything where the discount is 0.
    """

    observations: UInt8[np.ndarray, "batch 4 84 84"]
    actions: Int64[np.ndarray, " batch"]
    rewards: Float32[np.ndarray, " batch"]
    discounts: Float32[np.ndarray, " batch"]
    following: UInt8[np.ndarray, "batch 4 84 84"]


class ReplayMemory:
    """A ring of rows on disk, one decision of every game in each.

    Args:
        folder: where its files are; made where it is missing.
        decisions: M, of all games together.
        games: that write.
        spare: decisions that may be written after a saved state without touching what it needs.
        rows: already written, in a run that goes on.

    Raises:
        InputError: M is too small for the games, or larger than the disk's or the machine's memory.
        CheckpointError: the files of a run that goes on are missing or of another size.
    """

    def __init__(self, folder: Path, decisions: int, games: int, spare: int, rows: int = 0) -> None:
        self.games, self.rows = games, rows
        self._kept, self._length = decisions // games, -(-(decisions + spare) // games)
        if self._kept < 2 * STACK:
            raise InputError(f"a memory of {decisions:,} decisions is too small for {games} games; expected at least {2 * STACK * games:,}")
        shapes = {name: (self._length, games, *((SIDE, SIDE) if name == "frames" else ())) for name in FIELDS}
        if not rows:
            _check_room(folder, decisions, self._length * games * BYTES_EACH)
        self._fields = {
            name: _mapped(folder / f"{name}.bin", FIELDS[name], shape, new=not rows) for name, shape in shapes.items()
        }
        if rows:  # the games begin anew, so what followed the last decision will never be known
            self._fields["cuts"][(rows - 1) % self._length] = True

    def __len__(self) -> int:
        """Decisions that can be drawn from, before those too near to the ends are left out."""
        return min(self.rows, self._kept) * self.games

    def add(
        self,
        frames: UInt8[np.ndarray, "games 84 84"],
        actions: Int64[np.ndarray, " games"],
        rewards: Float32[np.ndarray, " games"],
        ends: Bool[np.ndarray, " games"],
        ages: Int64[np.ndarray, " games"],
    ) -> None:
        """Write one decision of every game.

        Args:
            frames: the newest of each observation.
            actions: taken.
            rewards: that followed.
            ends: nothing after it counts for it.
            ages: decisions of this game before it; more than 3 is as 3.
        """
        row = self.rows % self._length
        values = dict(frames=frames, actions=actions, rewards=rewards, ends=ends, cuts=False, ages=np.minimum(ages, STACK - 1))
        for name, value in values.items():
            self._fields[name][row] = value
        self.rows += 1

    def sample(self, chance: np.random.Generator, batch: int, steps: int, discount: float) -> Batch:
        """Draw decisions uniformly, with replacement.

        Args:
            chance: what is drawn is a function of its state and of what was written.
            batch: how many.
            steps: n, after which the network's own estimate is taken.
            discount: γ.

        Raises:
            InputError: too little has been written.
        """
        oldest = max(0, self.rows - self._kept)
        first, last = oldest + (STACK - 1 if oldest else 0), self.rows - 1 - steps
        if last < first:
            raise InputError(f"{self.rows} rows are too few to draw from; expected more than {steps + STACK}")
        rows, games = np.empty(0, np.int64), np.empty(0, np.int64)
        while len(rows) < batch:
            row, game = chance.integers(first, last + 1, batch), chance.integers(self.games, size=batch)
            known = self._known(row, game, steps)
            rows, games = np.concatenate([rows, row[known]])[:batch], np.concatenate([games, game[known]])[:batch]
        return self._batch(rows, games, steps, discount)

    def flush(self) -> None:
        """Hand everything to the disk, before a state that needs it is written."""
        for field in self._fields.values():
            field.flush()

    def _field(self, name: str, rows: Int64[np.ndarray, ...], games: Int64[np.ndarray, ...]) -> np.ndarray:
        found: np.ndarray = self._fields[name][rows % self._length, games]
        return found

    def _window(self, rows: Int64[np.ndarray, " batch"], steps: int) -> Int64[np.ndarray, "batch steps"]:
        return rows[:, None] + np.arange(steps)

    def _known(self, rows: Int64[np.ndarray, " batch"], games: Int64[np.ndarray, " batch"], steps: int) -> Bool[np.ndarray, " batch"]:
        """Where what followed is known: no cut in the n decisions, unless an end comes first or with it."""
        window = self._window(rows, steps)
        ended = np.logical_or.accumulate(self._field("ends", window, games[:, None]), axis=1)
        return np.asarray(~(self._field("cuts", window, games[:, None]) & ~ended).any(axis=1))

    def _batch(self, rows: Int64[np.ndarray, " batch"], games: Int64[np.ndarray, " batch"], steps: int, discount: float) -> Batch:
        window = self._window(rows, steps)
        ends = self._field("ends", window, games[:, None])
        going_on = np.cumprod(~ends, axis=1)  # 1 as long as no end has come
        counted = np.concatenate([np.ones((len(rows), 1)), going_on[:, :-1]], axis=1)
        rewards = (self._field("rewards", window, games[:, None]) * counted * discount ** np.arange(steps)).sum(axis=1)
        return Batch(
            observations=self._observations(rows, games),
            actions=self._field("actions", rows, games).astype(np.int64),
            rewards=rewards.astype(np.float32),
            discounts=(going_on[:, -1] * discount**steps).astype(np.float32),
            following=self._observations(rows + steps, games),
        )

    def _observations(self, rows: Int64[np.ndarray, " batch"], games: Int64[np.ndarray, " batch"]) -> UInt8[np.ndarray, "batch 4 84 84"]:
        """The newest frame of each row with its predecessors; black before the game began."""
        back = np.arange(STACK - 1, -1, -1)
        frames: np.ndarray = self._field("frames", np.maximum(rows[:, None] - back, 0), games[:, None])
        frames[self._field("ages", rows, games)[:, None] < back] = 0
        return frames


def _check_room(folder: Path, decisions: int, needed: int) -> None:
    """Refuse a memory that the disk or the machine cannot hold."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    for what, there in (("on this disk", free), ("in this machine's memory, without which it is too slow", _machine_bytes())):
        if there is not None and needed > there:
            raise InputError(
                f"a replay memory of {decisions:,} decisions needs {needed / 1e9:.1f} GB, and there are {there / 1e9:.1f} GB {what}; "
                "choose a smaller --memory, or another place"
            )


def _machine_bytes() -> int | None:
    """Physical memory; None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _mapped(path: Path, kind: type, shape: tuple[int, ...], *, new: bool) -> np.memmap:
    """A file as an array.  Its blocks are reserved at once: a disk that fills up later would kill the program, without a word."""
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    if new:
        try:
            with path.open("wb") as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)
                else:
                    file.truncate(size)
        except OSError as error:
            raise InputError(f"cannot reserve {size / 1e9:.1f} GB for {path}: {error.strerror or error}; make room there") from error
    elif not path.exists() or path.stat().st_size != size:
        raise CheckpointError(f"the replay memory {path} is missing or of another size than the run needs; start a new run")
    return np.memmap(path, kind, "r+", shape=shape)
