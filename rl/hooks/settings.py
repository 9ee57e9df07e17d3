"""The options both wrappers share, checked once."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rl.checks import shown, whole_number
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
        last: what was handed out last, not kept alive.
    """

    every: int
    lazy: bool
    callback: Callback | None
    key: str
    recurrent: int | str | None
    last: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def window(self) -> int | None:
        """Of a recurrent network: observations explained at a time; ``None`` for the whole episode."""
        return None if self.recurrent == EPISODE else self.recurrent  # type: ignore[return-value]

    def put(self, info: dict[str, Any], value: Any) -> None:
        """Hand an explanation out in ``info``.

        Raises:
            InputError: another wrapper uses the key.
        """
        ours = self.last["value"]() if self.last else None  # some environments return one dictionary again and again
        if self.key in info and (ours is None or info[self.key] is not ours):
            raise InputError(
                f"The environment's info already has the key {self.key!r}; choose another with key=..., for example "
                f"key={self.key + '_2'!r}."
            )
        info[self.key], self.last["value"] = value, weakref.ref(value)


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
