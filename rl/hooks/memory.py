"""What a recurrent network remembers: the last observations, and its state before them."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from rl.hooks.explainer import Explainer


class Memory:
    """The window of observations that a recurrent decision is explained over.

    Args:
        explainer: whose network carries the state on.
        window: observations that get relevance; ``None`` for all since the episode began.
    """

    def __init__(self, explainer: Explainer, window: int | None) -> None:
        self._explainer = explainer
        self._seen: deque[tuple[np.ndarray, Any]] = deque(maxlen=window)
        self._state: Any = None

    def forget(self) -> None:
        """A new episode begins, with the network's own initial state."""
        self._seen.clear()
        self._state = None

    def see(self, observation: np.ndarray) -> None:
        """One more observation; the network runs once to carry its state on."""
        self._seen.append((observation, self._state))
        if self._seen.maxlen is not None:  # over the whole episode the state is never needed again
            self._state = self._explainer.advance(observation, self._state)

    @property
    def window(self) -> np.ndarray:
        """The observations, (1, steps, ...), newest last."""
        return np.stack([observation for observation, _ in self._seen])[None]

    @property
    def state(self) -> Any:
        """The network's state before the first observation of the window."""
        return self._seen[0][1]
