"""What a recurrent network remembers: the last observations, and its state before them."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from rl.hooks.explainer import Explainer


class Memory:
    """The window of observations that a recurrent decision is explained over.

    The network is run over the window again.  That is how it decided only as long as its weights are the same, so the
    window begins anew where they change: at the observation decided on next, with the state the network then has.

    Args:
        explainer: whose network carries the state on.
        window: observations that get relevance; ``None`` for all since the episode began.
    """

    def __init__(self, explainer: Explainer, window: int | None) -> None:
        self._explainer = explainer
        self._seen: deque[tuple[np.ndarray, Any]] = deque(maxlen=window)
        self._after: Any = None
        self._weights: tuple[float, ...] | None = None

    def forget(self) -> None:
        """A new episode begins, with the network's own initial state."""
        self._seen.clear()
        self._after = None

    def see(self, observation: np.ndarray) -> None:
        """One more observation, which is decided on next."""
        self._seen.append((observation, self._after))

    def decide(self, weights: tuple[float, ...]) -> bool:
        """The decision is made, now, by these weights: the network runs once to carry its state on.

        Args:
            weights: fingerprint of the network.

        Returns:
            Whether older observations had to be left behind, because other weights decided on them.
        """
        if not self._seen:  # a step before the first reset, which the environment will refuse
            return False
        observation, before = self._seen[-1]
        left = self._weights is not None and weights != self._weights and len(self._seen) > 1
        if left:
            self._seen.clear()
            self._seen.append((observation, before))
        self._weights = weights
        self._after = self._explainer.advance(observation, before)
        return left

    @property
    def window(self) -> np.ndarray:
        """The observations, (1, steps, ...), newest last."""
        return np.stack([observation for observation, _ in self._seen])[None]

    @property
    def state(self) -> Any:
        """The network's state before the first observation of the window."""
        return self._seen[0][1]
