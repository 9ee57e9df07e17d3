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
    diverging,
    draw_fitting,
    draw_text,
    fill,
    text_width,
)
from rl.hooks.explanation import Explanation
from rl.hooks.pixels import Axes, paste, shown_plane, summed
from rl.hooks.recorder import quantile

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
        return self.scale or quantile([self._map(e) for snapshot in snapshots for e in snapshot.explanations])

    def _map(self, explanation: Explanation) -> np.ndarray:
        return explanation.relevance.reshape(-1) if self.axes is None else summed(explanation.relevance, self.axes)

    @property
    def _cell(self) -> tuple[int, int]:
        """Width and height."""
        return (CELL, CELL) if self.axes is not None else (BAR_CELL, max(3 * BAR_PITCH, BAR_PITCH * len(self.features)))

    def draw(self, snapshots: list[Snapshot]) -> Canvas:
        """The picture; its first column is what the states look like."""
        width, height = self._cell
        columns, rows = len(snapshots) + 1, len(snapshots[0].explanations)
        canvas = np.empty(
            (2 * MARGIN + LABEL + rows * (height + LABEL + GAP) + 3 * LABEL, max(2 * MARGIN + columns * (width + GAP), 560), 3), np.uint8
        )
        canvas[:] = BACKGROUND
        limit = self.limit(snapshots)
        for column in range(columns):
            x = MARGIN + column * (width + GAP)
            title = "state" if column == 0 else f"step {snapshots[column - 1].step:,}"
            draw_text(canvas, title, x, MARGIN, 13, QUIET)
            for row in range(rows):
                box = Box(x, MARGIN + LABEL + row * (height + LABEL + GAP), width, height)
                if column == 0:
                    self._state(canvas, box, snapshots[0].explanations[row])
                else:
                    self._explained(canvas, box, snapshots[column - 1].explanations[row], limit)
        self._legend(canvas, limit, snapshots[-1].explanations[0])
        return canvas

    def _state(self, canvas: Canvas, box: Box, explanation: Explanation) -> None:
        if self.axes is not None:
            grey = shown_plane(explanation.observation, self.axes, *self.bounds)
            paste(canvas, np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2), box)
            return
        for row, (name, value) in enumerate(zip(self.features, explanation.observation.reshape(-1), strict=True)):
            draw_fitting(canvas, name, box.x, box.y + row * BAR_PITCH, 12, box.width - 60, QUIET)
            draw_text(canvas, f"{value:.3g}", box.right, box.y + row * BAR_PITCH, 12, TEXT, "right")

    def _explained(self, canvas: Canvas, box: Box, explanation: Explanation, limit: float) -> None:
        if self.axes is not None:
            grey = shown_plane(explanation.observation, self.axes, *self.bounds)
            paste(canvas, diverging((self._map(explanation) / limit).astype(np.float32), grey, self.palette), box)
        else:
            middle, half = box.x + box.width // 2, box.width // 2
            for row, value in enumerate(self._map(explanation)):
                y, length = box.y + row * BAR_PITCH + 2, round(half * min(1.0, abs(float(value)) / limit))
                fill(canvas, Box(box.x, y, box.width, BAR_PITCH - 5), SURFACE)
                colour = self.palette.positive if value > 0 else self.palette.negative
                fill(canvas, Box(middle if value > 0 else middle - length, y, length, BAR_PITCH - 5), colour)
            fill(canvas, Box(middle, box.y, 1, BAR_PITCH * len(self.features)), LINE)
        draw_fitting(canvas, f"{explanation.target} = {explanation.explained:.3g}", box.x, box.bottom + 1, 12, box.width, TEXT)

    def _legend(self, canvas: Canvas, limit: float, explanation: Explanation) -> None:
        y = canvas.shape[0] - MARGIN - 2 * LABEL
        ramp = np.linspace(-1.0, 1.0, 140, dtype=np.float32)[None].repeat(10, axis=0)
        x = MARGIN + text_width(f"-{limit:.2g}", 12) + 6
        canvas[y + 3 : y + 13, x : x + 140] = diverging(ramp, np.zeros_like(ramp), self.palette)
        draw_text(canvas, f"-{limit:.2g}", MARGIN, y, 12, QUIET)
        draw_text(canvas, f"+{limit:.2g}", x + 146, y, 12, QUIET)
        unit = "per pixel" if self.axes is not None else "per feature"
        note = f"{explanation.method}; relevance {unit}, one colour scale for all states and steps"
        draw_text(canvas, note, MARGIN, y + LABEL, 12, QUIET)
