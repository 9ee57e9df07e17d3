"""One training as a folder of its checkpoints, from the first to the last."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np

from rl.checkpoints.agent import Agent
from rl.checkpoints.native import SUFFIX, Description
from rl.checkpoints.reading import describe, load
from rl.checks import shown, whole_number
from seqxai.errors import CheckpointError, InputError

FOLDER = "checkpoints"
"""Where a training of ours keeps them, inside its own folder."""

NEAR = 0.01
"""``400k`` means the checkpoint at 401,408 agent steps: one within this share of the number is meant."""

AMOUNT = re.compile(r"(\d+(?:\.\d+)?)([kM]?)")
SAME = {
    "game": "the game",
    "actions": "the actions",
    "preprocessing": "the preprocessing",
    "architecture": "the network",
    "layout": "the network",
}
"""What all checkpoints of one training have in common, in words."""


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint of a training; its weights are read when asked for.

    Attributes:
        path: the file.
        facts: what it says of its agent.
        game: as it was given, where the file does not say it.
        choices: likewise, see :func:`rl.load`.
    """

    path: Path
    facts: Description
    game: str | None = None
    choices: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def agent_steps(self) -> int:
        """Decisions taken in training until then, all parallel games together."""
        return self.facts.agent_steps

    @property
    def mean_score(self) -> float | None:
        """Raw game points, mean over full games; None where they were not measured."""
        return self.facts.score.mean if self.facts.score else None

    def load(self) -> Agent:
        """The agent.

        Raises:
            CheckpointError: the weights are damaged or do not fit.
        """
        return load(self.path, game=self.game, **self.choices)


@dataclass(frozen=True)
class Run(Sequence[Checkpoint]):
    """The checkpoints of one training, by agent steps.

    Attributes:
        folder: where they are.
        checkpoints: at least one; all of one game, with the same actions, preprocessing and network.
        ignored: names of files in the folder that look like checkpoints and are none, each with the reason.
    """

    folder: Path
    checkpoints: tuple[Checkpoint, ...]
    ignored: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of checkpoints."""
        return len(self.checkpoints)

    @overload
    def __getitem__(self, place: int) -> Checkpoint: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[Checkpoint, ...]: ...

    def __getitem__(self, place: Any) -> Any:
        """The checkpoint at a place, the first is the earliest."""
        return self.checkpoints[place]

    def __iter__(self) -> Iterator[Checkpoint]:
        """From the first to the last."""
        return iter(self.checkpoints)

    @property
    def best(self) -> Checkpoint:
        """The one with the highest mean score; the last where no score was measured, and of equals."""
        return max(self.checkpoints, key=lambda c: (c.mean_score if c.mean_score is not None else -np.inf, c.agent_steps))

    def spread(self, count: int) -> Run:
        """Some checkpoints from the first to the last, as far apart as possible on a scale of factors.

        An agent changes most in the beginning; so one looks at 0, 100,000, 200,000, 400,000 agent steps rather than at
        equal distances.

        Args:
            count: how many; all of them where there are fewer.

        Raises:
            InputError: not a whole number, or less than 2.
        """
        count = whole_number("the number of checkpoints", count)
        if count < 2:
            raise InputError(f"the number of checkpoints to compare should be at least 2, got {count}")
        if count >= len(self):
            return self
        steps = np.array([checkpoint.agent_steps for checkpoint in self], np.float64)
        first = 1 if steps[0] == 0 and count > 2 else 0  # no factor leads from 0 to anything
        places = np.log(np.maximum(steps, 1.0))
        chosen = [0] if first else []
        wanted = np.linspace(places[first], places[-1], count - first)
        for number, target in enumerate(wanted):
            low = chosen[-1] + 1 if chosen else first
            high = len(self) - (len(wanted) - 1 - number)  # enough must remain for the others
            chosen.append(low + int(np.abs(places[low:high] - target).argmin()))
        return Run(self.folder, tuple(self.checkpoints[place] for place in chosen), self.ignored)

    def at(self, steps: Sequence[str | int]) -> Run:
        """The checkpoints at given agent steps.

        Args:
            steps: whole numbers, or text such as ``"401408"``, ``"400k"``, ``"3.1M"``; within one per cent is meant.

        Raises:
            InputError: no such checkpoint, or fewer than two different ones.
        """
        found = {self._near(amount) for amount in steps}
        if len(found) < 2:
            raise InputError(f"expected the agent steps of at least 2 checkpoints to compare, got {len(found)}; {self._known()}")
        return Run(self.folder, tuple(c for c in self.checkpoints if c in found), self.ignored)

    def _near(self, amount: str | int) -> Checkpoint:
        """The checkpoint that is meant by an amount of agent steps."""
        match = AMOUNT.fullmatch(str(amount).strip().replace("_", ""))
        if match is None:
            raise InputError(f"agent steps should be numbers such as 401408, 400k or 3.1M, got {shown(amount)}; {self._known()}")
        wanted = float(match.group(1)) * {"": 1, "k": 1e3, "M": 1e6}[match.group(2)]
        nearest = min(self.checkpoints, key=lambda checkpoint: abs(checkpoint.agent_steps - wanted))
        if abs(nearest.agent_steps - wanted) > NEAR * wanted:
            raise InputError(f"no checkpoint in {self.folder} is at {amount} agent steps; {self._known()}")
        return nearest

    def _known(self) -> str:
        """The second half of a sentence: what there is."""
        return f"there are {', '.join(str(checkpoint.agent_steps) for checkpoint in self)}"


def load_run(folder: str | os.PathLike[str], *, game: str | None = None, **choices: Any) -> Run:
    """Look at the checkpoints of one training; their weights are read later, one by one.

    Args:
        folder: of a training, which holds a folder ``checkpoints``, or of checkpoints, ours or another library's.  Order and content come
            from what the files say; only where a foreign file does not say its training steps its name does.
        game: as for :func:`rl.load`.
        choices: as there.

    Raises:
        InputError: no such folder.
        CheckpointError: no checkpoint in it, or checkpoints of different trainings.
        DependencyError: the emulator, which knows the game's actions, is not installed.
    """
    folder = _checked_folder(folder)
    found: dict[int, Checkpoint] = {}
    ignored: dict[str, str] = {}
    files = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and _looks_like_one(path))
    for path in files:
        try:
            checkpoint = Checkpoint(path, describe(path, game=game, **choices), game, choices)
        except CheckpointError as error:
            ignored[path.name] = str(error)
            continue
        if checkpoint.agent_steps in found:
            ignored[path.name] = f"as many agent steps as {found[checkpoint.agent_steps].path.name}"
        else:
            found[checkpoint.agent_steps] = checkpoint
    if not found:
        why = f"; the first of {len(ignored)} files that look like some: {next(iter(ignored.values()))}" if ignored else ""
        raise CheckpointError(
            f"{folder} holds no checkpoint: expected files ending in {SUFFIX} or of another library, saved during one training, "
            f"there or in a folder {FOLDER} inside{why}"
        )
    checkpoints = tuple(found[steps] for steps in sorted(found))
    _check_alike(folder, checkpoints)
    return Run(folder, checkpoints, ignored)


MAGIC = (b"PK\x03\x04", b"\x1f\x8b", b"\x80")


def _looks_like_one(path: Path) -> bool:
    """Whether a file may be a checkpoint: by its ending if it is ours, by its first bytes else (zip, gzip, old PyTorch file)."""
    if path.suffix == SUFFIX:
        return True
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(4).startswith(MAGIC)
    except OSError:
        return False


def _checked_folder(folder: str | os.PathLike[str]) -> Path:
    """The folder the checkpoints themselves are in."""
    path = Path(folder)
    try:
        if (path / FOLDER).is_dir():
            path = path / FOLDER
        next(path.iterdir(), None)
    except NotADirectoryError as error:
        raise InputError(f"{path} is a file; expected the folder of a training, with several checkpoints") from error
    except FileNotFoundError as error:
        raise InputError(f"no folder at {path}; give the folder of a training, with several checkpoints") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}; give a folder you may read") from error
    return path


def _check_alike(folder: Path, checkpoints: tuple[Checkpoint, ...]) -> None:
    """Refuse checkpoints that cannot come from one training."""
    first = checkpoints[0]
    for other in checkpoints[1:]:
        for name, words in SAME.items():
            ours, theirs = getattr(first.facts, name), getattr(other.facts, name)
            if ours != theirs:
                said, instead = _difference(ours, theirs)
                raise CheckpointError(
                    f"{folder} holds checkpoints of different trainings: {words} of {first.path.name} is {said}, "
                    f"of {other.path.name} {instead}; keep one training in one folder"
                )


def _difference(ours: Any, theirs: Any) -> tuple[str, str]:
    """Two different facts as a message shows them; of records only the first field that differs."""
    if isinstance(ours, tuple):
        return " ".join(ours), " ".join(theirs)
    if is_dataclass(ours):
        name = next(name for name in vars(ours) if getattr(ours, name) != getattr(theirs, name))
        return f"{name}={getattr(ours, name)}", f"{name}={getattr(theirs, name)}"
    return str(ours), str(theirs)
