"""The options both wrappers share, checked once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rl.checks import real_number, shown, whole_number
from rl.encoding import check_rate
from rl.hooks.explanation import Explanation
from seqxai.errors import InputError

Trigger = Callable[[int], bool]
Callback = Callable[[Explanation], Any]

EPISODE = "episode"


@dataclass(frozen=True)
class When:
    """Which decisions are explained, and who is told.

    Attributes:
        every: every how many decisions; a video needs all of its own.
        lazy: compute when first looked at.
        callback: told each explanation.
        key: under which ``info`` holds it.
        recurrent: the window of a recurrent network in decisions, ``"episode"`` for all of them, ``None`` without memory.
    """

    every: int
    lazy: bool
    callback: Callback | None
    key: str
    recurrent: int | str | None

    @property
    def window(self) -> int | None:
        """Of a recurrent network: observations explained at a time; ``None`` for the whole episode."""
        return None if self.recurrent == EPISODE else self.recurrent  # type: ignore[return-value]

    def added(self, info: dict[str, Any], value: Any) -> dict[str, Any]:
        """A copy of ``info`` with an explanation: the environment's own dictionary, which it may return again, is left alone.

        Raises:
            InputError: another wrapper uses the key.
        """
        if self.key in info:
            raise InputError(
                f"The environment's info already has the key {self.key!r}; choose another with key=..., for example "
                f"key={self.key + '_2'!r}."
            )
        return {**info, self.key: value}


def when(every: Any, lazy: Any, callback: Any, key: Any, recurrent: Any) -> When:
    """Check the options.

    Raises:
        InputError: names the option, what it may be, and what it is.
    """
    every = whole_number("every", every)
    if every < 1:
        raise InputError(f"every should be at least 1, got {every}; 1 explains every decision")
    if callback is not None and not callable(callback):
        raise InputError(f"Expected a callback that takes an Explanation, got {shown(callback)}.")
    if not isinstance(key, str) or not key:
        raise InputError(f"Expected the key under which info holds the explanation, got {shown(key)}.")
    if recurrent is not None and recurrent != EPISODE:
        if whole_number("recurrent", recurrent) < 1:
            raise InputError(f"recurrent should be a window of at least 1 decision, {EPISODE!r} or None, got {recurrent}")
        recurrent = int(recurrent)
    return When(every, bool(lazy), callback, key, recurrent)


@dataclass(frozen=True)
class Filming:
    """Which decisions go into videos, and how these are shown.

    Attributes:
        episode_trigger: told the number of an episode that begins: record it?
        step_trigger: told the number of a decision: record from there?
        length: decisions per video; 0 for whole episodes.
        prefix: of the files' names.
        fps: decisions per second.
        scale: value of full colour for all videos; ``None`` to take it from the first decisions of each.
        warm_up: how many decisions that are.
    """

    episode_trigger: Trigger | None
    step_trigger: Trigger | None
    length: int
    prefix: str
    fps: float
    scale: float | None
    warm_up: int


def filming(options: dict[str, Any], fps: Any) -> Filming:
    """Check the options, whether or not a video is asked for: a wrong one should not wait for the day it is used.

    Args:
        options: by name.
        fps: decisions per second where the options have none.

    Raises:
        InputError: names the option, what it may be, and what it is.
    """
    triggers = [options[name] for name in ("episode_trigger", "step_trigger")]
    for name, trigger in zip(("episode_trigger", "step_trigger"), triggers, strict=True):
        if trigger is not None and not callable(trigger):
            raise InputError(f"Expected {name} to be a function of a number, got {shown(trigger)}.")
    length, warm_up = whole_number("video_length", options["video_length"]), whole_number("scale_decisions", options["scale_decisions"])
    if length < 0 or warm_up < 1:
        raise InputError(f"video_length should be 0 or more and scale_decisions 1 or more, got {length} and {warm_up}")
    scale = None if options["scale"] is None else real_number("scale", options["scale"])
    if scale is not None and scale <= 0:
        raise InputError(f"scale should be above 0, got {shown(options['scale'])}")
    if not isinstance(options["name_prefix"], str):
        raise InputError(f"Expected name_prefix to be text, got {shown(options['name_prefix'])}.")
    rate = real_number("fps", options["fps"] if options["fps"] is not None else fps)
    check_rate(rate)
    if triggers == [None, None]:
        triggers = [cubes_then_thousands, None]
    return Filming(triggers[0], triggers[1], length, options["name_prefix"], rate, scale, warm_up)


def cubes_then_thousands(episode: int) -> bool:
    """The schedule of ``gymnasium.wrappers.RecordVideo``, whose module asks for moviepy: 0, 1, 8, 27, ..., 1000, 2000, ..."""
    return round(episode ** (1 / 3)) ** 3 == episode if episode < 1000 else episode % 1000 == 0
