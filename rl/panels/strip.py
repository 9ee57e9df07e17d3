"""The strip below: Q-values, reward, lives, and which of the four frames the relevance lies on, over time.

It shows a page of the video at a time, so that a long game stays legible and costs no more per frame than a short one.
What is known beforehand is drawn when a page is opened; the shares of relevance grow as decisions are explained.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from rl.clock import DECISIONS_PER_SECOND
from rl.drawing import (
    ACCENT,
    BACKGROUND,
    LINE,
    QUIET,
    SURFACE,
    TEXT,
    Box,
    Canvas,
    Colour,
    draw_fitting,
    draw_text,
    fill,
    line_height,
    polyline,
)
from rl.explaining import Moment
from rl.panels.base import Grid, Scene

PAGE = 30 * DECISIONS_PER_SECOND
LAST_PAGE = PAGE // 2
"""A rest shorter than this stays on the page before."""

SPREAD: Colour = (60, 66, 82)
PLANE_COLOURS: tuple[Colour, ...] = ((52, 60, 80), (86, 98, 126), (134, 148, 180), (206, 214, 232))
"""Oldest to newest frame: darker is longer ago."""
GAIN: Colour = (255, 196, 84)
LOSS: Colour = (150, 157, 172)
TICKS = (1, 2, 5, 10, 15, 30, 60)


def page_of(decision: int, start: int, stop: int) -> tuple[int, int]:
    """First decision of the page a decision is on, and one past its last."""
    pages = max(1, (stop - start + PAGE - LAST_PAGE - 1) // PAGE)
    page = min((decision - start) // PAGE, pages - 1)
    first = start + page * PAGE
    return first, stop if page == pages - 1 else first + PAGE


@dataclass(eq=False)
class Strip:
    """Four rows over time, with a mark at the present.

    Attributes:
        scene: what is shown.
        grid: of the frame.
        box: where.
    """

    scene: Scene
    grid: Grid
    box: Box
    _page: tuple[int, int] = (0, 0)
    _drawn: Canvas = field(default_factory=lambda: np.zeros((1, 1, 3), np.uint8))

    @property
    def _plot(self) -> Box:
        """Where time runs, names left of it, ranges right of it."""
        left, right = self.grid.length(104), self.grid.length(78)
        axis = line_height(self.grid.text(12))
        return Box(left, 0, self.box.width - left - right, self.box.height - axis)

    @property
    def _rows(self) -> dict[str, Box]:
        """Row of each quantity within the strip."""
        plot, gap = self._plot, max(2, self.grid.length(4))
        room = plot.height - 3 * gap
        heights = {"Q-values": 0.38, "reward": 0.12, "lives": 0.12, "shares": 0.38}
        rows, y = {}, 0
        for name, share in heights.items():
            rows[name] = Box(plot.x, y, plot.width, max(4, int(room * share)))
            y += rows[name].height + gap
        return rows

    def background(self, canvas: Canvas) -> None:
        """Nothing stays: the whole strip is a picture of its own."""

    def draw(self, canvas: Canvas, moment: Moment) -> None:
        """The page, and the mark."""
        page = page_of(moment.decision, self.scene.start, self.scene.stop)
        if page != self._page:
            self._page = page
            self._drawn = self._open_page(*page)
        self._share(moment)
        box, plot = self.box, self._plot
        canvas[box.y : box.bottom, box.x : box.right] = self._drawn
        x = box.x + plot.x + (self._column(moment.decision) + self._column(moment.decision + 1)) // 2
        fill(canvas, Box(x, box.y, max(1, self.grid.length(2)), plot.height), ACCENT)

    def _column(self, decision: int) -> int:
        """Where a decision begins on the plot."""
        first, stop = self._page
        return (decision - first) * self._plot.width // (stop - first)

    def _open_page(self, first: int, stop: int) -> Canvas:
        """Everything of a page that is known before its decisions are explained."""
        drawn = np.empty((self.box.height, self.box.width, 3), np.uint8)
        drawn[:] = BACKGROUND
        for row in self._rows.values():
            fill(drawn, row, SURFACE)
        trajectory = self.scene.decisions.trajectory
        self._curves(drawn, self._rows["Q-values"], trajectory.q_values[first:stop], trajectory.chosen[first:stop])
        self._rewards(drawn, self._rows["reward"], trajectory.rewards[first:stop])
        self._lives(drawn, self._rows["lives"], trajectory.lives[first:stop].astype(np.float64))
        self._names(drawn)
        self._axis(drawn, first, stop)
        return drawn

    def _curves(self, drawn: Canvas, row: Box, q_values: np.ndarray, chosen: np.ndarray) -> None:
        """The spread of all actions' values, and the value of the action taken as a line over it."""
        everything = self.scene.decisions.trajectory.q_values[self.scene.start : self.scene.stop]
        low, high = float(everything.min()), float(everything.max())
        span = max(high - low, 1e-9)
        columns = self._columns(len(q_values))
        inner = Box(row.x, row.y + 2, row.width, max(1, row.height - 4))

        def place(values: Float[np.ndarray, " columns"]) -> np.ndarray:
            return (inner.y + (inner.height - 1) * (high - values) / span).round().astype(int)

        tops, bottoms = place(q_values.max(axis=1)[columns]), place(q_values.min(axis=1)[columns])
        for x, (top, bottom) in enumerate(zip(tops, bottoms, strict=True)):
            drawn[top : bottom + 1, row.x + x] = SPREAD
        taken = q_values[np.arange(len(q_values)), chosen].astype(np.float64)
        polyline(drawn, inner, taken if len(taken) > 1 else taken.repeat(2), low, high, TEXT)
        size = self.grid.text(12)
        draw_text(drawn, f"{high:.2f}", self.box.width, row.y, size, QUIET, "right")
        if row.height > 2 * line_height(size):
            draw_text(drawn, f"{low:.2f}", self.box.width, row.bottom - line_height(size), size, QUIET, "right")

    def _columns(self, count: int) -> np.ndarray:
        """For every column of the plot the decision it shows."""
        return np.arange(self._plot.width) * count // self._plot.width

    def _rewards(self, drawn: Canvas, row: Box, rewards: np.ndarray) -> None:
        """A tick for every decision that brought points, upwards; below the middle where it cost points."""
        middle = row.y + row.height // 2
        thickness = max(2, self.grid.length(2))
        for place in np.flatnonzero(rewards).tolist():
            x = row.x + (2 * place + 1) * row.width // (2 * len(rewards))
            upwards = rewards[place] > 0
            tick = Box(x, row.y + 1, thickness, row.height - 2) if upwards else Box(x, middle, thickness, row.bottom - middle)
            fill(drawn, tick, GAIN if upwards else LOSS)
        points = f"{rewards.sum():+.0f} points"
        self._note(drawn, row, points)

    def _lives(self, drawn: Canvas, row: Box, lives: np.ndarray) -> None:
        """A step down for every life lost."""
        most = max(1.0, float(self.scene.decisions.trajectory.lives[self.scene.start : self.scene.stop].max()))
        heights = (lives[self._columns(len(lives))] / most * (row.height - 2)).round().astype(int)
        for x, height in enumerate(heights):
            drawn[row.bottom - 1 - height : row.bottom - 1, row.x + x] = SPREAD
            drawn[row.bottom - 1 - height, row.x + x] = TEXT
        self._note(drawn, row, f"of {most:.0f}")

    def _note(self, drawn: Canvas, row: Box, text: str) -> None:
        """A few words right of a row."""
        size = self.grid.text(12)
        y = max(0, row.y + (row.height - line_height(size)) // 2)
        draw_fitting(drawn, text, self.box.width, y, size, self.box.width - row.right - 4, QUIET, "right")

    def _names(self, drawn: Canvas) -> None:
        """Names left of the rows, and which colour is which of the four frames."""
        size = self.grid.text(12)
        names = {"Q-values": f"{self.scene.decisions.quantity}: taken, all", "reward": "reward", "lives": "lives", "shares": "relevance on"}
        for name, row in self._rows.items():
            y = max(0, row.y + (row.height - line_height(size)) // 2)
            if name == "shares":
                y = row.y
            draw_fitting(drawn, names[name], 0, y, size, row.x - 6, QUIET)
        row = self._rows["shares"]
        pitch, mark = row.height / 4, self.grid.length(8)
        for plane in range(4):
            top, bottom = round(row.y + (3 - plane) * pitch), round(row.y + (4 - plane) * pitch)
            fill(drawn, Box(row.right + self.grid.length(6), top, mark, bottom - top), PLANE_COLOURS[plane])
        place = row.right + self.grid.length(10) + mark
        for word, y in (("now", row.y), ("3 before", row.bottom - line_height(size))):
            draw_fitting(drawn, word, place, y, size, self.box.width - place, QUIET)

    def _axis(self, drawn: Canvas, first: int, stop: int) -> None:
        """Times below."""
        size, plot = self.grid.text(12), self._plot
        seconds = (stop - first) / DECISIONS_PER_SECOND
        room = max(2, plot.width // max(1, self.grid.length(90)))
        step = next((tick for tick in TICKS if seconds / tick <= room), TICKS[-1]) * DECISIONS_PER_SECOND
        for decision in range(-(-first // step) * step, stop, step):
            x = plot.x + self._column(decision)
            for row in self._rows.values():
                fill(drawn, Box(x, row.bottom, 1, 2), LINE)
            second = decision // DECISIONS_PER_SECOND
            align = "left" if x < plot.x + 20 else "middle"
            draw_text(drawn, f"{second // 60}:{second % 60:02d}", x, plot.bottom, size, QUIET, align)

    def _share(self, moment: Moment) -> None:
        """One more column of the shares, newest frame on top."""
        row = self._rows["shares"]
        left, right = self._column(moment.decision), max(self._column(moment.decision + 1), self._column(moment.decision) + 1)
        shares = moment.shares
        if not shares.any():
            return
        edges = (row.height * np.cumsum(shares[::-1])).round().astype(int)
        top = 0
        for plane, edge in zip(range(3, -1, -1), edges, strict=True):
            self._drawn[row.y + top : row.y + edge, row.x + left : row.x + right] = PLANE_COLOURS[plane]
            top = edge
