"""The panel of Q-values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from rl.drawing import (
    ACCENT,
    BAR,
    QUIET,
    SURFACE,
    TEXT,
    Box,
    Canvas,
    draw_fitting,
    draw_text,
    fill,
    line_height,
    outline,
    text_width,
)
from rl.explaining import Moment
from rl.panels.base import Grid, Scene
from rl.panels.pictures import caption
from rl.trajectory import AGENT, CHANCE, PROTOCOL

PITCH_MAX = 66

CHOSEN_BY = {
    AGENT: "chosen by the agent",
    CHANCE: "a random move (epsilon)",
    PROTOCOL: "FIRE is pressed after a lost life",
}


@dataclass(frozen=True)
class QValues:
    """A bar for the value of every action; the one taken stands out."""

    scene: Scene
    grid: Grid
    box: Box

    @cached_property
    def _below(self) -> int:
        """Rows for the line that says who chose."""
        return line_height(self.grid.text(14)) + self.grid.length(4)

    @cached_property
    def pitch(self) -> int:
        """Rows from one bar to the next."""
        room = (self.box.height - self._below) // len(self.scene.decisions.trajectory.actions)
        return min(self.grid.length(PITCH_MAX), room)

    @cached_property
    def _range(self) -> tuple[float, float]:
        """Values at the left and right end, the same in the whole video; 0 is always among them."""
        q_values = self.scene.decisions.trajectory.q_values[self.scene.start : self.scene.stop]
        return min(0.0, float(q_values.min())), max(0.0, float(q_values.max())) or 1.0

    @cached_property
    def _letters(self) -> int:
        """One size for all names, so that the longest fits beside its number."""
        room = self.box.width - 3 * self.grid.length(8) - text_width("-00.000", self.grid.text(11))
        size = max(8, min(self.grid.text(18), (self.pitch - 3) * 2 // 3))
        names = self.scene.decisions.trajectory.actions
        while size > 8 and max(text_width(name, size) for name in names) > room:
            size -= 1
        return size

    def _column(self, value: float) -> int:
        """Where a value lies on the bars' axis."""
        low, high = self._range
        return self.box.x + round(self.box.width * (value - low) / max(high - low, 1e-12))

    def background(self, canvas: Canvas) -> None:
        """The caption."""
        kind = "Q-value" if self.scene.decisions.quantity == "Q" else self.scene.decisions.quantity
        caption(canvas, self.grid, self.box, f"{kind} of each action")

    def draw(self, canvas: Canvas, moment: Moment) -> None:
        """Names, bars and numbers."""
        trajectory = self.scene.decisions.trajectory
        taken = int(trajectory.chosen[moment.decision])
        for action, name in enumerate(trajectory.actions):
            row = Box(self.box.x, self.box.y + action * self.pitch, self.box.width, self.pitch - max(2, self.pitch // 8))
            self._bar(canvas, row, float(moment.q_values[action]), name, action == taken)
        y = self.box.y + len(trajectory.actions) * self.pitch + self.grid.length(2)
        chosen_by = CHOSEN_BY[int(trajectory.chosen_by[moment.decision])]
        draw_fitting(canvas, chosen_by, self.box.x, y, self.grid.text(14), self.box.width, ACCENT)

    def _bar(self, canvas: Canvas, row: Box, value: float, name: str, chosen: bool) -> None:
        """One action."""
        fill(canvas, row, SURFACE)
        start, end = sorted((self._column(0.0), self._column(value)))
        strip = max(2, row.height // 6)
        fill(canvas, Box(start, row.bottom - strip, end - start, strip), ACCENT if chosen else BAR)
        if chosen:
            outline(canvas, row, ACCENT)
        size, inset = self._letters, self.grid.length(8)
        colour = TEXT if chosen else QUIET
        y = row.y + (row.height - strip - line_height(size)) // 2
        draw_text(canvas, name, row.x + inset, y, size, colour)
        draw_text(canvas, f"{value:.3f}" if abs(value) < 100 else f"{value:.1f}", row.right - inset, y, size, colour, "right")
