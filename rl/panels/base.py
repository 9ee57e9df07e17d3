"""What all panels of a video frame know: what is shown, and where things lie on a frame of any size."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from rl.drawing import RED_BLUE, Box, Canvas, Palette
from rl.explaining import Decisions, Moment
from rl.scale import Scale


@dataclass(frozen=True)
class Scene:
    """What a video shows.

    Attributes:
        decisions: the explanations.
        scale: what full colour means.
        start: first decision shown.
        stop: one past the last.
        palette: the colours of relevance.
    """

    decisions: Decisions
    scale: Scale
    start: int
    stop: int
    palette: Palette = RED_BLUE
    _last: dict[int, Canvas] = field(default_factory=dict, repr=False, compare=False)

    def screen(self, decision: int) -> Canvas:
        """The colour screen, unpacked once for all panels that show it."""
        if decision not in self._last:
            self._last.clear()
            self._last[decision] = self.decisions.trajectory.screens[decision]
        return self._last[decision]


@dataclass(frozen=True)
class Grid:
    """A frame of any size, on which a design with its own size is laid out as large as it fits, in the middle.

    Attributes:
        width: of the frame in pixels.
        height: of the frame in pixels.
        design_width: of the design, in its own units.
        design_height: of the design, in its own units.
    """

    width: int
    height: int
    design_width: int
    design_height: int

    @property
    def unit(self) -> float:
        """Pixels per unit of the design."""
        return min(self.width / self.design_width, self.height / self.design_height)

    def length(self, units: float) -> int:
        """A length in pixels."""
        return round(units * self.unit)

    def text(self, units: float) -> int:
        """A size of letters in pixels; the smallest that can be read at least."""
        return max(9, round(units * self.unit))

    def box(self, x: float, y: float, width: float, height: float) -> Box:
        """A rectangle of the design in pixels."""
        left, top = (self.width - self.design_width * self.unit) / 2, (self.height - self.design_height * self.unit) / 2
        return Box(round(left + x * self.unit), round(top + y * self.unit), self.length(width), self.length(height))


@runtime_checkable
class Panel(Protocol):
    """Draws one part of a video frame."""

    def background(self, canvas: Canvas) -> None:
        """Paint what is the same in every frame."""

    def draw(self, canvas: Canvas, moment: Moment) -> None:
        """Paint what belongs to one decision; decisions come in order."""
