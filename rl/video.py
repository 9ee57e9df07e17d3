"""Explained decisions as a film: composed panel by panel, encoded as it is drawn, never all in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rl.checks import real_number, whole_number
from rl.drawing import Canvas
from rl.encoding import FPS, check_film, open_film
from rl.explaining import Explained
from rl.panels import Layout, colour_limit, empty_canvas, panels
from seqxai.errors import InputError


@dataclass(frozen=True)
class Video:
    """What was rendered.

    Attributes:
        path: the file.
        frames: one per decision.
        width: in pixels.
        height: in pixels.
        limit: value of full colour, in units of the explained value per observed pixel.
        bytes: size of the file.
    """

    path: Path
    frames: int
    width: int
    height: int
    limit: float
    bytes: int


def render(
    explained: Explained,
    path: str | os.PathLike[str],
    fps: float = FPS,
    scale: int = 3,
    quantile: float = 0.995,
    progress: Callable[[int], None] | None = None,
) -> Video:
    """Write a video of explained decisions.

    Args:
        explained: what to show.
        path: file name ending in ``.mp4``, ``.webm``, ``.gif`` or ``.apng``.
        fps: decisions per second; 15 is the game's own speed.
        scale: video pixels per game pixel, 2 .. 8.
        quantile: share of pixels, over all frames, whose relevance stays below full colour: one scale for all frames.
        progress: told the number of frames written so far.

    Returns:
        Size, frames and colour scale of the file.

    Raises:
        InputError: the path cannot be written, nothing to show, or a number out of range.
        DependencyError: the encoder is not installed.
    """
    path = Path(path)
    fps, scale, quantile = _check_numbers(explained, fps, scale, quantile)
    check_film(path)
    limit = colour_limit(explained.relevance, quantile)
    layout = Layout(scale)
    with open_film(path, layout.width, layout.height, fps) as film:
        for picture in frames(explained, layout, limit, fps):
            film.write(picture)
            if progress is not None:
                progress(film.frames)
    return Video(path, len(explained), layout.width, layout.height, limit, path.stat().st_size)


def _check_numbers(explained: Explained, fps: Any, scale: Any, quantile: Any) -> tuple[float, int, float]:
    """The numbers as Python's own; refuse an empty film, other things than numbers, and numbers out of range."""
    if not len(explained):
        raise InputError("the trajectory is empty: there is no frame to show")
    fps, scale, quantile = real_number("fps", fps), whole_number("scale", scale), real_number("quantile", quantile)
    if not 1.0 <= fps <= 240.0:
        raise InputError(f"fps should be 1 .. 240 decisions per second, got {fps}")
    if not 2 <= scale <= 8:
        raise InputError(f"scale should be 2 .. 8 video pixels per game pixel, got {scale}")
    if not 0.0 < quantile <= 1.0:
        raise InputError(f"quantile should be above 0 and at most 1, got {quantile}")
    return fps, scale, quantile


def frames(explained: Explained, layout: Layout, limit: float, fps: float = FPS) -> Iterator[Canvas]:
    """Draw the frames one after the other.

    Args:
        explained: what to show.
        layout: where.
        limit: value of full colour.
        fps: for the clock.

    Yields:
        One picture per decision, (height, width, 3); the array is used again for the next.
    """
    parts = panels(explained, layout, limit, fps)
    background = empty_canvas(layout)
    for panel in parts:
        panel.background(background)
    canvas = background.copy()
    for decision in range(len(explained)):
        np.copyto(canvas, background)
        for panel in parts:
            panel.draw(canvas, decision)
        yield canvas
