"""The one colour scale of a video: full colour means the same relevance in every frame, and the number is printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from rl.explaining import BATCH, Decisions, Explained

QUANTILE = 0.995
SAMPLES = 128
"""Decisions, evenly spaced, on which the scale of a stream is measured before the first is drawn."""


@dataclass(frozen=True)
class Scale:
    """Value of full colour, and where it comes from.

    Attributes:
        limit: in units of the explained value per observed pixel.
        quantile: share of the pixels whose absolute relevance is below it.
        measured: decisions it was measured on.
        decisions: decisions shown.
    """

    limit: float
    quantile: float
    measured: int
    decisions: int

    def __str__(self) -> str:
        """In words, for a caption."""
        where = "all" if self.measured == self.decisions else f"{self.measured} evenly spaced of"
        return (
            f"full colour at ±{self.limit:.3g} per observed pixel, the {100 * self.quantile:g} % quantile of the absolute "
            f"relevance over {where} {self.decisions} decisions; one scale for the whole video"
        )


def colour_limit(relevance: Float32[np.ndarray, "decisions 4 84 84"], quantile: float) -> float:
    """The value that this share of all pixels in all frames stays below, in absolute value.

    Args:
        relevance: of every decision; its planes are summed.
        quantile: 0..1; 1 is the largest value.

    Returns:
        The value of full colour, in units of the explained value per observed pixel; 1 where all relevance is 0.
    """
    return limit_of([relevance.sum(axis=1)], quantile)


def limit_of(relevances: Sequence[np.ndarray], quantile: float = QUANTILE) -> float:
    """The value that a share of all these numbers stays below, in absolute value; never 0, and 1 where all are 0."""
    absolute = np.concatenate([relevance.ravel() for relevance in relevances])
    np.abs(absolute, out=absolute)
    place = min(len(absolute) - 1, int(quantile * len(absolute)))
    limit = float(np.partition(absolute, place)[place])
    return limit or float(absolute.max()) or 1.0


def measure(decisions: Decisions, quantile: float = QUANTILE, start: int = 0, stop: int | None = None) -> Scale:
    """The scale of a video: over all decisions where their relevance is at hand or they are few, else over a sample.

    Args:
        decisions: what will be shown.
        quantile: share of pixels, over all frames, whose relevance stays below full colour.
        start: first decision shown.
        stop: one past the last; None for all.
    """
    stop = len(decisions) if stop is None else stop
    count = stop - start
    if isinstance(decisions, Explained):
        return Scale(colour_limit(decisions.relevance[start:stop], quantile), quantile, count, count)
    rows = np.unique(np.linspace(start, stop - 1, min(SAMPLES, count)).round().astype(np.int64))
    batches = (rows[i : i + BATCH] for i in range(0, len(rows), BATCH))
    summed = [decisions.part(batch).relevance.sum(axis=1) for batch in batches]
    return Scale(limit_of(summed, quantile), quantile, len(rows), count)
