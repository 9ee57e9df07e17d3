"""The same states explained at several times of a training: rows are states, columns times, one colour scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rl.drawing import (
    BACKGROUND,
    LINE,
    QUIET,
    RED_BLUE,
    SURFACE,
    TEXT,
    Box,
    Canvas,
    Palette,
    colour_bar,
    diverging,
    draw_fitting,
    draw_text,
    fill,
    signed_bar,
    text_width,
)
from rl.hooks.explanation import Explanation
from rl.hooks.features import MOST, Rows, choose
from rl.hooks.pixels import Axes, grey_levels, grey_range, newest_plane, paste, summed
from rl.scale import limit_of

MARGIN, GAP, CELL, LABEL = 12, 8, 132, 18
BAR_PITCH, BAR_CELL = 18, 190


@dataclass(frozen=True, eq=False)
class Snapshot:
    """All states, explained at one time.

    Attributes:
        step: time of the training.
        explanations: one per state.
    """

    step: int
    explanations: tuple[Explanation, ...]


@dataclass(frozen=True)
class Grid:
    """Draws snapshots.

    Attributes:
        axes: rows and columns of an observation that is a picture, else ``None``.
        bounds: its darkest and its brightest value.
        features: names of a vector's numbers.
        scale: value of full colour; ``None`` for a quantile over everything that is drawn.
        palette: the colours of relevance.
    """

    axes: Axes | None
    bounds: tuple[float, float]
    features: tuple[str, ...]
    scale: float | None = None
    palette: Palette = RED_BLUE

    def limit(self, snapshots: list[Snapshot]) -> float:
        """The value of full colour: one for all cells."""
        return self.scale or limit_of([self._map(e) for snapshot in snapshots for e in snapshot.explanations])

    def _map(self, explanation: Explanation) -> np.ndarray:
        return explanation.relevance.reshape(-1) if self.axes is None else summed(explanation.relevance, self.axes)

    def draw(self, snapshots: list[Snapshot]) -> Canvas:
        """The picture; its first column is what the states look like."""
        everything = [explanation for snapshot in snapshots for explanation in snapshot.explanations]
        limit = self.limit(snapshots)
        cells: _Pictures | _Bars
        if self.axes is not None:
            planes = [newest_plane(explanation.observation, self.axes) for explanation in everything]
            cells = _Pictures(self.palette, limit, self.axes, grey_range(self.bounds, planes))
        else:
            cells = _Bars(self.palette, limit, choose(self.features, [self._map(explanation) for explanation in everything], MOST))
        width, height = cells.size
        columns, rows = len(snapshots) + 1, len(snapshots[0].explanations)
        canvas = np.empty(
            (2 * MARGIN + LABEL + rows * (height + LABEL + GAP) + 3 * LABEL, max(2 * MARGIN + columns * (width + GAP), 560), 3), np.uint8
        )
        canvas[:] = BACKGROUND
        for column in range(columns):
            x = MARGIN + column * (width + GAP)
            title = "state" if column == 0 else f"step {snapshots[column - 1].step:,}"
            draw_text(canvas, title, x, MARGIN, 13, QUIET)
            for row in range(rows):
                box = Box(x, MARGIN + LABEL + row * (height + LABEL + GAP), width, height)
                explanation = snapshots[max(column - 1, 0)].explanations[row]
                if column == 0:
                    cells.state(canvas, box, explanation)
                    continue
                cells.explained(canvas, box, explanation, self._map(explanation))
                told = f" = {explanation.explained:.3g}"
                draw_text(canvas, told, box.right, box.bottom + 1, 12, TEXT, "right")
                draw_fitting(canvas, explanation.target, box.x, box.bottom + 1, 12, box.width - text_width(told, 12), TEXT)
        self._legend(canvas, limit, snapshots[-1].explanations[0])
        return canvas

    def _legend(self, canvas: Canvas, limit: float, explanation: Explanation) -> None:
        y = canvas.shape[0] - MARGIN - 2 * LABEL
        bar = Box(MARGIN + text_width(f"-{limit:.2g}", 12) + 6, y + 3, 140, 10)
        colour_bar(canvas, bar, self.palette)
        draw_text(canvas, f"-{limit:.2g}", MARGIN, y, 12, QUIET)
        draw_text(canvas, f"+{limit:.2g}", bar.right + 6, y, 12, QUIET)
        unit = "per pixel" if self.axes is not None else "per feature"
        note = f"{explanation.method}; relevance {unit}, one colour scale for all states and steps"
        draw_text(canvas, note, MARGIN, y + LABEL, 12, QUIET)


@dataclass(frozen=True)
class _Pictures:
    """Cells of observations that are pictures."""

    palette: Palette
    limit: float
    axes: Axes
    greys: tuple[float, float]
    size = (CELL, CELL)

    def _grey(self, explanation: Explanation) -> np.ndarray:
        return grey_levels(newest_plane(explanation.observation, self.axes), *self.greys)

    def state(self, canvas: Canvas, box: Box, explanation: Explanation) -> None:
        """What it looks like."""
        paste(canvas, self._grey(explanation).astype(np.uint8)[:, :, None].repeat(3, axis=2), box)

    def explained(self, canvas: Canvas, box: Box, explanation: Explanation, relevance: np.ndarray) -> None:
        """Relevance over it."""
        paste(canvas, diverging((relevance / self.limit).astype(np.float32), self._grey(explanation), self.palette), box)


@dataclass(frozen=True)
class _Bars:
    """Cells of observations that are vectors."""

    palette: Palette
    limit: float
    rows: Rows

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return BAR_CELL, max(3, len(self.rows)) * BAR_PITCH

    def state(self, canvas: Canvas, box: Box, explanation: Explanation) -> None:
        """Names and values."""
        for row, feature in enumerate(self.rows.own):
            value = explanation.observation.reshape(-1)[feature]
            draw_fitting(canvas, self.rows.names[feature], box.x, box.y + row * BAR_PITCH, 12, box.width - 60, QUIET)
            draw_text(canvas, f"{value:.3g}", box.right, box.y + row * BAR_PITCH, 12, TEXT, "right")
        if len(self.rows.others):
            draw_text(canvas, f"{len(self.rows.others)} others", box.x, box.y + len(self.rows.own) * BAR_PITCH, 12, QUIET)

    def explained(self, canvas: Canvas, box: Box, explanation: Explanation, relevance: np.ndarray) -> None:
        """A signed bar for each row."""
        for row, value in enumerate(self.rows.values(relevance).tolist()):
            track = Box(box.x, box.y + row * BAR_PITCH + 2, box.width, BAR_PITCH - 5)
            fill(canvas, track, SURFACE)
            signed_bar(canvas, track, value / self.limit, self.palette)
        fill(canvas, Box(box.x + box.width // 2, box.y, 1, BAR_PITCH * len(self.rows)), LINE)
