"""Videos of explained decisions, written while they are made: a few decisions wait for the colour scale, no more."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rl.checks import real_number, shown, whole_number
from rl.encoding import check_film, check_rate, open_film
from rl.hooks.explanation import Explanation
from rl.hooks.picture import Picture, Shot
from seqxai.errors import InputError

Trigger = Callable[[int], bool]

QUANTILE = 0.995
"""Share of the relevance that stays below full colour, over the decisions that the scale is taken from."""


class Film:
    """One video file being written.

    Args:
        path: where.
        picture: draws it.
        fps: decisions per second.
        scale: value of full colour; ``None`` to take it from the first decisions.
        warm_up: how many decisions that are.
    """

    def __init__(self, path: Path, picture: Picture, fps: float, scale: float | None, warm_up: int) -> None:
        self.path = path
        self.length = 0
        self._picture, self._fps, self._scale, self._warm_up = picture, fps, scale, warm_up
        self._waiting: list[Shot] = []
        self._stack = ExitStack()
        self._film: Any = None

    def add(self, shot: Shot) -> None:
        """One more decision."""
        self.length += 1
        self._waiting.append(shot)
        if self._film is not None or self._scale is not None or len(self._waiting) >= self._warm_up:
            with self._undone():
                self._write()

    @contextmanager
    def _undone(self) -> Iterator[None]:
        """When drawing or encoding fails, no file stands under the name."""
        try:
            yield
        except BaseException:
            self._waiting.clear()
            self._stack.__exit__(*sys.exc_info())
            raise

    def _write(self) -> None:
        if self._film is None:
            taken = len(self._waiting)
            given = self._scale is not None
            self._scale = self._scale if given else quantile([shot.relevance for shot in self._waiting])
            note = "given" if given else f"from the first {taken} decisions"
            self._picture.begin(self._scale or 1.0, note, self._waiting)
            size = self._picture.size
            self._film = self._stack.enter_context(open_film(self.path, size[0], size[1], self._fps))
        for shot in self._waiting:
            self._film.write(self._picture.draw(shot))
        self._waiting.clear()

    def close(self) -> None:
        """Finish the file; without a single decision there is none."""
        if self._waiting:
            with self._undone():
                self._write()
        self._stack.close()


def quantile(relevances: list[np.ndarray]) -> float:
    """The magnitude of full colour: a high quantile over several pictures; 1 where everything is 0."""
    magnitudes = np.abs(np.concatenate([r.ravel() for r in relevances]))
    return float(np.quantile(magnitudes, QUANTILE)) or float(magnitudes.max()) or 1.0


def cubes_then_thousands(episode: int) -> bool:
    """The schedule of ``gymnasium.wrappers.RecordVideo``, whose module asks for moviepy: 0, 1, 8, 27, ..., 1000, 2000, ..."""
    return round(episode ** (1 / 3)) ** 3 == episode if episode < 1000 else episode % 1000 == 0


class Recorder:
    """Starts and ends videos as ``gymnasium.wrappers.RecordVideo`` does, one frame a decision.

    Args:
        folder: where the files go; made if missing.
        picture: draws the frames.
        episode_trigger: told the number of an episode that begins: record it?
        step_trigger: told the number of a decision: record from there?
        length: decisions per video; 0 for whole episodes.
        prefix: of the files' names.
        fps: decisions per second.
        scale: value of full colour for all videos; by default from the first decisions of each.
        warm_up: how many decisions that are.

    Raises:
        InputError: a folder that cannot be made or written, a trigger that is none, or a number out of range.
        DependencyError: the encoder is missing.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        picture: Picture,
        *,
        episode_trigger: Any,
        step_trigger: Any,
        length: Any,
        prefix: str,
        fps: Any,
        scale: Any,
        warm_up: Any,
    ) -> None:
        for name, trigger in (("episode_trigger", episode_trigger), ("step_trigger", step_trigger)):
            if trigger is not None and not callable(trigger):
                raise InputError(f"Expected {name} to be a function of a number, got {shown(trigger)}.")
        self._length = whole_number("video_length", length)
        self._warm_up = whole_number("scale_decisions", warm_up)
        if self._length < 0 or self._warm_up < 1:
            raise InputError(f"video_length should be 0 or more and scale_decisions 1 or more, got {length} and {warm_up}")
        self._scale = None if scale is None else real_number("scale", scale)
        if self._scale is not None and self._scale <= 0:
            raise InputError(f"scale should be above 0, got {shown(scale)}")
        self._fps = real_number("fps", fps)
        check_rate(self._fps)
        self._folder, self._prefix, self._picture = _folder(folder), prefix, picture
        check_film(self._folder / f"{prefix}-episode-0.mp4")
        if episode_trigger is None and step_trigger is None:
            episode_trigger = cubes_then_thousands
        self._episode_trigger: Trigger | None = episode_trigger
        self._step_trigger: Trigger | None = step_trigger
        self._film: Film | None = None
        self.paths: list[Path] = []

    @property
    def recording(self) -> bool:
        """Whether the next decision will be in a video."""
        return self._film is not None

    @property
    def wants_frame(self) -> bool:
        """Whether the next decision needs a rendered frame."""
        return self.recording and self._picture.framed

    def begin_episode(self, episode: int) -> None:
        """An episode begins."""
        if self._length == 0:
            self.close()
        if self._episode_trigger is not None and self._episode_trigger(episode):
            self._start(f"{self._prefix}-episode-{episode}.mp4")

    def begin_step(self, step: int) -> None:
        """A decision will be made."""
        if self._step_trigger is not None and self._step_trigger(step):
            self._start(f"{self._prefix}-step-{step}.mp4")

    def add(self, frame: Any, explanation: Explanation, reward: float, step: int) -> None:
        """A decision was made and explained."""
        if self._film is None:
            return
        self._film.add(self._picture.shot(frame, explanation, reward, step))
        if self._length and self._film.length >= self._length:
            self.close()

    def end_episode(self) -> None:
        """An episode is over: a video of one episode is too."""
        if self._length == 0:
            self.close()

    def close(self) -> None:
        """Finish the video that is being written."""
        film, self._film = self._film, None
        if film is not None and film.length:
            film.close()
            self.paths.append(film.path)

    def _start(self, name: str) -> None:
        self.close()
        self._film = Film(self._folder / name, self._picture, self._fps, self._scale, self._warm_up)


def _folder(folder: str | os.PathLike[str]) -> Path:
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot make the folder {str(path)!r} for videos: {error.strerror}; choose another video_folder.") from error
    return path
