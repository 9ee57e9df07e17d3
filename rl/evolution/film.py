"""An evolution as a film: explained, drawn and encoded at the same time, a few frames in between."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rl.background import ahead
from rl.checks import real_number, whole_number
from rl.drawing import RED_BLUE, Canvas, Palette
from rl.encoding import FPS, check_film, open_film
from rl.evolution.layout import Layout, best_layout
from rl.evolution.moments import named_moments
from rl.evolution.panels import PAST, empty_canvas, panels
from rl.evolution.stages import Evolution, Tally
from rl.trajectory import Progress
from seqxai.errors import InputError
from seqxai.files import check_writable, written_whole

STILL_SUFFIXES = (".png",)

AHEAD = 64
"""Explained decisions that may wait to be drawn: two batches, 2 MB for six checkpoints."""


@dataclass(frozen=True)
class EvolutionFilm:
    """What was rendered.

    Attributes:
        paths: the files.
        frames: one per decision.
        width: in pixels.
        height: in pixels.
        table: one row per checkpoint, see :meth:`rl.evolution.Tally.table`.
    """

    paths: tuple[Path, ...]
    frames: int
    width: int
    height: int
    table: list[dict[str, Any]]


def render_evolution(
    evolution: Evolution,
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    fps: float = FPS,
    scale: int | None = None,
    decisions: Sequence[int] | None = None,
    palette: Palette = RED_BLUE,
    format: str | None = None,
    progress: Progress | None = None,
) -> EvolutionFilm:
    """Write a film in which all checkpoints are seen beside each other.

    Args:
        evolution: what to show.
        path: one file name or several, ending in ``.mp4``, ``.webm``, ``.gif`` or ``.apng``.
        fps: decisions per second; 15 is the game's own speed.
        scale: film pixels per game pixel, 2 .. 4; by the number of checkpoints when None.
        decisions: which; all when None.
        palette: the colours of relevance, one of `rl.drawing.PALETTES`.
        format: overrules the ending.
        progress: told the number of frames written so far.

    Returns:
        Size, frames, and the numbers behind them.

    Raises:
        InputError: a path that cannot be written, nothing to show, or a number out of range.
        DependencyError: the encoder is not installed.
    """
    rows = range(len(evolution)) if decisions is None else decisions
    if not len(rows):
        raise InputError("there is no decision to show: choose an end after the start, within the game")
    fps = real_number("fps", fps)
    layout = best_layout(len(evolution.stages), len(evolution.trajectory.actions), check_scale(scale))
    paths = (Path(path),) if isinstance(path, str | os.PathLike) else tuple(Path(one) for one in path)
    check_film(paths, format)
    tally = Tally(evolution)
    with open_film(paths, layout.width, layout.height, fps, format) as film:
        for picture in frames(evolution, layout, rows, tally, palette):
            film.write(picture)
            if progress is not None:
                progress(film.frames)
    return EvolutionFilm(paths, len(rows), layout.width, layout.height, tally.table())


def save_still(
    evolution: Evolution,
    path: str | os.PathLike[str],
    decision: int,
    *,
    scale: int | None = None,
    palette: Palette = RED_BLUE,
) -> None:
    """Write one frame of the film as a PNG; what led to it is explained too, for the curves of the last seconds.

    Args:
        evolution: what to show.
        path: file name ending in ``.png``.
        decision: its place, counted from 0; the picture says its number, counted from 1.
        scale: as for :func:`render_evolution`.
        palette: the colours of relevance.

    Raises:
        InputError: another ending, a place that cannot be written, or no such decision.
    """
    check_writable(path, STILL_SUFFIXES)
    (moment,) = named_moments([decision], len(evolution))
    layout = best_layout(len(evolution.stages), len(evolution.trajectory.actions), check_scale(scale))
    shown = range(max(0, moment.decision + 1 - PAST), moment.decision + 1)
    *_, picture = frames(evolution, layout, shown, palette=palette)
    with written_whole(path, STILL_SUFFIXES) as partial:
        Image.fromarray(picture).save(partial, format="PNG", optimize=True)


def check_scale(scale: Any) -> int | None:
    """A whole number of film pixels per game pixel, or None.

    Raises:
        InputError: out of range.
    """
    if scale is None:
        return None
    scale = whole_number("scale", scale)
    if not 2 <= scale <= 4:
        raise InputError(f"scale should be 2 .. 4 film pixels per game pixel, got {scale}")
    return scale


def frames(
    evolution: Evolution,
    layout: Layout,
    decisions: Sequence[int],
    tally: Tally | None = None,
    palette: Palette = RED_BLUE,
) -> Iterator[Canvas]:
    """Draw one frame after the other; the next are explained meanwhile.

    Args:
        evolution: what to show.
        layout: where.
        decisions: which.
        tally: told every decision.
        palette: the colours of relevance.

    Yields:
        (height, width, 3); the array is used again for the next.
    """
    parts = panels(evolution, layout, palette)
    background = empty_canvas(layout)
    for panel in parts:
        panel.background(background)
    canvas = background.copy()
    for sight in ahead(evolution.sights(decisions), AHEAD):
        np.copyto(canvas, background)
        for panel in parts:
            panel.draw(canvas, sight)
        if tally is not None:
            tally.add(sight)
        yield canvas
