"""Rows for the numbers of an observation: all of them, or where there are too many those that mattered most and the others in one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

MOST = 24
"""Rows that a reader can take in."""


@dataclass(frozen=True)
class Rows:
    """Which numbers have a row of their own; they keep it all through a film, in the order of the observation.

    Rows that were chosen anew in every frame would jump, and nobody could follow one feature.  What the choice misses is
    not hidden: the last row sums the others and names the largest of them at each decision.

    Attributes:
        names: of all numbers.
        own: those with a row of their own.
        others: the rest, in one row.
    """

    names: tuple[str, ...]
    own: Int64[np.ndarray, " own"]
    others: Int64[np.ndarray, " others"]

    def __len__(self) -> int:
        """How many rows."""
        return len(self.own) + bool(len(self.others))

    def values(self, relevance: Float[np.ndarray, "features ..."]) -> Float[np.ndarray, "rows ..."]:
        """Relevance of each row, so that the rows sum to what the features do."""
        rows = relevance[self.own]
        return np.concatenate([rows, relevance[self.others].sum(axis=0, keepdims=True)]) if len(self.others) else rows

    def labels(self, relevance: Float[np.ndarray, "features ..."]) -> list[str]:
        """Names of the rows; where there are no steps, that of the others with the largest of them now."""
        labels = [self.names[feature] for feature in self.own]
        if len(self.others):
            told, now = f"{len(self.others)} others", relevance[self.others]
            largest = int(np.abs(now).argmax())
            labels.append(f"{told}, most {self.names[self.others[largest]]} {now[largest]:+.2g}" if now.ndim == 1 else told)
        return labels


def choose(names: tuple[str, ...], relevances: list[np.ndarray], room: int) -> Rows:
    """Rows for as many numbers as there is room for: those with the largest mean relevance, in absolute value.

    Args:
        names: of all numbers.
        relevances: (features,) or (features, steps), of each decision the choice is made on.
        room: rows at most.
    """
    room = max(2, min(MOST, room))
    if len(names) <= room:
        return Rows(names, np.arange(len(names)), np.arange(0))
    means = np.mean([np.abs(r.reshape(len(r), -1)).sum(axis=1) for r in relevances], axis=0)
    order = np.argsort(-means, kind="stable")
    return Rows(names, np.sort(order[: room - 1]), np.sort(order[room - 1 :]))
