"""Videos of explained decisions, written while they are made: a few decisions wait for the colour scale, no more."""

from __future__ import annotations

import os
import re
import sys
import warnings
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rl.encoding import check_film, open_film
from rl.hooks.explanation import Explanation
from rl.hooks.picture import Picture, Shot
from rl.hooks.settings import Filming
from rl.scale import limit_of
from seqxai.errors import InputError
from seqxai.files import remove_abandoned


class Film:
    """One video file being written.

    Its first decisions wait in memory, until they tell the colour scale, unless that is given, and the range of the values.

    Args:
        path: where.
        picture: draws it.
        settings: speed, colour scale, and how many decisions wait.
    """

    def __init__(self, path: Path, picture: Picture, settings: Filming) -> None:
        self.path = path
        self.length = 0
        self._picture, self._settings = picture, settings
        self._waiting: list[Shot] = []
        self._stack = ExitStack()
        self._film: Any = None

    def add(self, shot: Shot) -> None:
        """One more decision."""
        self.length += 1
        self._waiting.append(shot)
        if self._film is not None or len(self._waiting) >= self._settings.warm_up:
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
            scale, note = self._settings.scale, "given"
            if scale is None:
                scale = limit_of([shot.relevance for shot in self._waiting])
                note = f"from the first {len(self._waiting)} decisions"
            self._picture.begin(scale, note, self._waiting)
            size = self._picture.size
            self._film = self._stack.enter_context(open_film(self.path, size[0], size[1], self._settings.fps))
        for shot in self._waiting:
            self._film.write(self._picture.draw(shot))
        self._waiting.clear()

    def close(self) -> None:
        """Finish the file; without a single decision there is none."""
        if self._waiting:
            with self._undone():
                self._write()
        self._stack.close()


class Recorder:
    """Starts and ends videos as ``gymnasium.wrappers.RecordVideo`` does, one frame a decision.

    Files of an earlier run are never replaced: where the folder has some, all files of this run get a number behind the prefix.

    Args:
        folder: where the files go; made if missing.
        picture: draws the frames.
        settings: which decisions, and how they are shown.

    Raises:
        InputError: a folder that cannot be made or written.
        DependencyError: the encoder is missing.
    """

    def __init__(self, folder: str | os.PathLike[str], picture: Picture, settings: Filming) -> None:
        self._folder, self._picture, self._settings = _folder(folder), picture, settings
        self._prefix = settings.prefix
        check_film(self._folder / f"{self._prefix}-episode-0.mp4")
        remove_abandoned(self._folder, f"{self._prefix}-")
        self._choose_prefix()
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
        if self._settings.length == 0:
            self.close()
        if self._settings.episode_trigger is not None and self._settings.episode_trigger(episode):
            self._start(f"episode-{episode}.mp4")

    def begin_step(self, step: int) -> None:
        """A decision will be made."""
        if self._settings.step_trigger is not None and self._settings.step_trigger(step):
            self._start(f"step-{step}.mp4")

    def add(self, frame: Any, explanation: Explanation, rewards: float, episode: int, decision: int) -> None:
        """A decision was made and explained; see :class:`rl.hooks.picture.Shot`."""
        if self._film is None:
            return
        self._film.add(self._picture.shot(frame, explanation, rewards, episode, decision))
        if self._settings.length and self._film.length >= self._settings.length:
            self.close()

    def end_episode(self) -> None:
        """An episode is over: a video of one episode is too."""
        if self._settings.length == 0:
            self.close()

    def close(self) -> None:
        """Finish the video that is being written."""
        film, self._film = self._film, None
        if film is not None and film.length:
            film.close()
            self.paths.append(film.path)

    def _start(self, name: str) -> None:
        self.close()
        if (self._folder / f"{self._prefix}-{name}").exists():  # another run has begun to write here
            self._choose_prefix()
        self._film = Film(self._folder / f"{self._prefix}-{name}", self._picture, self._settings)

    def _choose_prefix(self) -> None:
        """The first prefix that no other run has: one with files in the folder, or one that is about to write some."""
        wanted, number = self._settings.prefix, 1
        while _taken(self._folder, self._prefix, self):
            number += 1
            self._prefix = f"{wanted}-{number}"
        _IN_USE[str(self._folder.resolve() / self._prefix)] = self
        if number > 1:
            warnings.warn(
                f"The folder {str(self._folder)!r} has videos of another run named {wanted}-...; those of this run are named "
                f"{self._prefix}-..., so that none is lost (env.videos lists them; name_prefix=... names them yourself).",
                stacklevel=6,
            )


_IN_USE: weakref.WeakValueDictionary[str, Recorder] = weakref.WeakValueDictionary()
"""Who writes under which folder and prefix in this process; its files appear later."""


def _taken(folder: Path, prefix: str, recorder: Recorder) -> bool:
    if _IN_USE.get(str(folder.resolve() / prefix), recorder) is not recorder:
        return True
    known = re.compile(re.escape(prefix) + r"-(episode|step)-\d+\.mp4")
    return any(known.fullmatch(entry.name) for entry in folder.iterdir())


def _folder(folder: str | os.PathLike[str]) -> Path:
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot make the folder {str(path)!r} for videos: {error.strerror}; choose another video_folder.") from error
    return path
