"""Explained decisions as a film: explained, drawn and encoded side by side, and never all in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rl.background import ahead
from rl.checks import real_number, shown, whole_number
from rl.drawing import PALETTES, RED_BLUE, Canvas, Palette
from rl.encoding import FPS, check_film, open_film
from rl.explaining import Decisions, ExplainedPart, Moment
from rl.panels import Grid, Scene, design, empty_canvas
from rl.scale import QUANTILE, Scale, measure
from seqxai.errors import InputError

BATCH = 32
"""Decisions explained per pass while others are drawn: small enough that two of them may lie ready."""

Watcher = Callable[[ExplainedPart], None]


@dataclass(frozen=True)
class Video:
    """What was rendered.

    Attributes:
        paths: the files.
        frames: one per decision.
        width: in pixels.
        height: in pixels.
        fps: frames per second.
        start: first decision shown.
        scale: what full colour means.
        layout: its name.
        palette: its name.
        bytes: size of each file.
        tally: sums over the decisions shown.
    """

    paths: tuple[Path, ...]
    frames: int
    width: int
    height: int
    fps: float
    start: int
    scale: Scale
    layout: str
    palette: str
    bytes: tuple[int, ...]
    tally: Tally

    @property
    def path(self) -> Path:
        """The first file."""
        return self.paths[0]

    @property
    def limit(self) -> float:
        """Value of full colour, in units of the explained value per observed pixel."""
        return self.scale.limit


@dataclass
class Tally:
    """Sums over the decisions of a video, kept while they pass.

    Attributes:
        decisions: how many.
        explained: sum of the explained values.
        ledger: sum of each entry.
        balance: the largest gap of any decision's ledger.
        shares: sum of each plane's share of the absolute relevance.
    """

    decisions: int = 0
    explained: float = 0.0
    ledger: dict[str, float] = field(default_factory=dict)
    balance: float = 0.0
    shares: np.ndarray = field(default_factory=lambda: np.zeros(4))

    def add(self, moment: Moment) -> None:
        """One more decision."""
        self.decisions += 1
        self.explained += moment.explained
        self.balance = max(self.balance, moment.balance)
        self.shares = self.shares + moment.shares
        for name, value in moment.ledger.items():
            self.ledger[name] = self.ledger.get(name, 0.0) + value

    def mean(self, total: Any) -> Any:
        """A sum as a mean over the decisions."""
        return total / max(1, self.decisions)


def render(
    decisions: Decisions,
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    fps: float = FPS,
    scale: float | None = None,
    quantile: float = QUANTILE,
    progress: Callable[[int], None] | None = None,
    *,
    layout: str = "full",
    size: tuple[int, int] | None = None,
    palette: str = RED_BLUE.name,
    start: int = 0,
    stop: int | None = None,
    watch: Watcher | None = None,
) -> Video:
    """Write a video of explained decisions; memory does not grow with its length where ``decisions`` is a stream.

    Args:
        decisions: what to show: of :func:`rl.explain` or, explained as they are shown, of :func:`rl.explain_stream`.
        path: file name ending in ``.mp4`` (H.264), ``.webm`` (VP9), ``.gif`` or ``.apng``; or several.
        fps: decisions per second; 15 is the game's own speed.
        scale: video pixels per game pixel; 2 is 1280 x 720 in the layout ``full``.
        quantile: share of pixels, over all frames, whose relevance stays below full colour: one scale for all frames.
        progress: told the number of frames written so far.
        layout: ``"full"``, ``"compact"`` or ``"overlay"``.
        size: width and height in pixels, instead of a scale.
        palette: ``"red-blue"`` or, for everybody, ``"orange-purple"``.
        start: first decision shown.
        stop: one past the last; None for all.
        watch: given every part that was explained, in order, such as the ``write`` of :func:`rl.relevance_file.open_relevance`.

    Returns:
        Size, frames, colour scale and sums of the film.

    Raises:
        InputError: a path that cannot be written, nothing to show, or an unknown name or a number out of range.
        DependencyError: the encoder is not installed.
    """
    check_film(path)
    grid = design(layout).grid(size, scale)
    start, stop = check_range(decisions, start, stop)
    colours = check_palette(palette)
    fps, quantile = real_number("fps", fps), check_quantile(quantile)
    tally = Tally()
    with open_film(path, grid.width, grid.height, fps) as film:
        scene = Scene(decisions, measure(decisions, quantile, start, stop), start, stop, colours)
        for moment, picture in frames(scene, grid, layout, watch):
            film.write(picture)
            tally.add(moment)
            if progress is not None:
                progress(film.frames)
    paths = (Path(path),) if isinstance(path, str | os.PathLike) else tuple(map(Path, path))
    sizes = tuple(place.stat().st_size for place in paths)
    return Video(
        paths, film.frames, grid.width, grid.height, fps, start, scene.scale, layout, palette, sizes, tally
    )  # fmt: skip


def frames(
    scene: Scene, grid: Grid, layout: str, watch: Watcher | None = None, first: int | None = None, stop: int | None = None
) -> Iterator[tuple[Moment, Canvas]]:
    """Draw the frames one after the other, while a thread explains the next decisions.

    Args:
        scene: what to show.
        grid: where.
        layout: which panels.
        watch: given every explained part.
        first: the first decision to draw; the scene's first if None.
        stop: one past the last; the scene's if None.

    Yields:
        The decision and its picture, (height, width, 3); the array is used again for the next.
    """
    parts = design(layout).panels(scene, grid)
    background = empty_canvas(grid)
    for panel in parts:
        panel.background(background)
    canvas = background.copy()
    for explained in ahead(_explained(scene, scene.start if first is None else first, scene.stop if stop is None else stop)):
        if watch is not None:
            watch(explained)
        for moment in explained.moments():
            np.copyto(canvas, background)
            for panel in parts:
                panel.draw(canvas, moment)
            yield moment, canvas


def _explained(scene: Scene, first: int, stop: int) -> Iterator[ExplainedPart]:
    """The decisions in small parts; one thread each for explaining, drawing and encoding is faster than all threads for one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield from scene.decisions.parts(first, stop, BATCH)
    finally:
        torch.set_num_threads(threads)


def check_range(decisions: Decisions, start: Any, stop: Any) -> tuple[int, int]:
    """The decisions to show, as numbers from the front.

    Raises:
        InputError: there is none.
    """
    if not len(decisions):
        raise InputError("the trajectory is empty: there is no frame to show")
    start = whole_number("start", start)
    stop = len(decisions) if stop is None else whole_number("stop", stop)
    if not 0 <= start < stop <= len(decisions):
        raise InputError(
            f"decisions {start} to {stop} are not in the trajectory, which has {len(decisions)}; "
            f"choose 0 <= start < stop <= {len(decisions)}"
        )
    return start, stop


def check_palette(name: Any) -> Palette:
    """A palette by its name.

    Raises:
        InputError: unknown; the message lists what is known.
    """
    if not isinstance(name, str) or name not in PALETTES:
        raise InputError(f"unknown palette {shown(name)}: expected one of {', '.join(PALETTES)}")
    return PALETTES[name]


def check_quantile(quantile: Any) -> float:
    """The share of pixels below full colour.

    Raises:
        InputError: no number, or out of range.
    """
    quantile = real_number("quantile", quantile)
    if not 0.0 < quantile <= 1.0:
        raise InputError(f"quantile should be above 0 and at most 1, got {quantile}")
    return quantile
