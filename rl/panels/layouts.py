"""The layouts of a video frame: which panels, and where, on a design that is enlarged to any size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rl.checks import real_number, shown, whole_number
from rl.drawing import BACKGROUND, Canvas
from rl.panels.base import Grid, Panel, Scene
from rl.panels.pictures import Game, Overlay, Planes
from rl.panels.strip import Strip
from rl.panels.values import QValues
from rl.panels.words import Header, Legend, Sum
from seqxai.errors import InputError

SIDE_MAX = 8192


@dataclass(frozen=True)
class Design:
    """One layout.

    Attributes:
        name: what a user calls it.
        width: of the design in its own units, which are pixels at `zoom`.
        height: likewise.
        zoom: units per pixel of the game.
        unit_min: pixels per unit below which its words cannot be read.
        panels: makes the panels for a scene and a grid.
    """

    name: str
    width: int
    height: int
    zoom: int
    unit_min: float
    panels: Callable[[Scene, Grid], tuple[Panel, ...]]

    def grid(self, size: tuple[Any, Any] | None = None, scale: Any = None) -> Grid:
        """Where the design lies on a frame.

        Args:
            size: width and height of the frame; the design fills as much of it as its shape allows.
            scale: instead of a size, pixels of the video per pixel of the game.

        Raises:
            InputError: not numbers, too small to read, or too large.
        """
        if size is not None and scale is not None:
            raise InputError("give a size or a scale, not both: one follows from the other")
        if size is None:
            unit = 1.0 if scale is None else real_number("scale", scale) / self.zoom
            if unit <= 0.0:
                raise InputError(f"scale should be above 0, video pixels per game pixel, got {shown(scale)}; {self.zoom} is usual")
            width, height = (_even(round(side * unit)) for side in (self.width, self.height))
        else:
            width, height = (whole_number("size", side) for side in size)
        grid = Grid(width, height, self.width, self.height)
        smallest = [_even(round(side * self.unit_min)) for side in (self.width, self.height)]
        if width < smallest[0] or height < smallest[1] or max(width, height) > SIDE_MAX:
            given = f"a scale of {scale} makes" if size is None else "got"
            raise InputError(
                f"the layout {self.name!r} should be at least {smallest[0]}x{smallest[1]} pixels and at most {SIDE_MAX} wide or "
                f"high, {given} {width}x{height}; {_smaller(self)}"
            )
        return grid


def _smaller(design: Design) -> str:
    """Which layout to choose for a smaller picture."""
    others = [other.name for other in LAYOUTS.values() if other.height * other.unit_min < design.height * design.unit_min]
    return f"choose another size, or the layout {' or '.join(others)}" if others else "choose another size"


def _even(side: int) -> int:
    """The next even number: H.264 and VP9 store colour for 2 x 2 pixels."""
    return side + side % 2


def _full(scene: Scene, grid: Grid) -> tuple[Panel, ...]:
    """Game, relevance, the four frames, all values, the strip: everything."""
    top, zoomed = 88, (320, 420)
    planes = [grid.box(696 + (n % 2) * 180, top + (n // 2) * 216, 172, 180) for n in range(4)]
    return (
        Header(scene, grid, grid.box(24, 4, 1232, 54)),
        Game(scene, grid, grid.box(24, top, *zoomed)),
        Overlay(scene, grid, grid.box(360, top, *zoomed)),
        Planes(scene, grid, planes, grid.box(696, top, 352, 420)),
        QValues(scene, grid, grid.box(1064, top, 192, 420)),
        Strip(scene, grid, grid.box(24, 522, 1232, 112)),
        Sum(scene, grid, grid.box(24, 640, 1232, 28)),
        Legend(scene, grid, grid.box(24, 674, 1232, 40)),
    )


def _compact(scene: Scene, grid: Grid) -> tuple[Panel, ...]:
    """Relevance over the game, all values, and what is explained."""
    return (
        Header(scene, grid, grid.box(16, 2, 608, 50), ("decision", "time", "score", "lives")),
        Overlay(scene, grid, grid.box(16, 58, 320, 420), title=""),
        QValues(scene, grid, grid.box(352, 80, 272, 398)),
        Sum(scene, grid, grid.box(16, 483, 608, 44), 16, 2),
        Legend(scene, grid, grid.box(16, 536, 608, 38)),
    )


def _overlay(scene: Scene, grid: Grid) -> tuple[Panel, ...]:
    """The game with relevance over it, and what the colours mean."""
    return (
        Overlay(scene, grid, grid.box(0, 0, 480, 630), title=""),
        Sum(scene, grid, grid.box(10, 635, 460, 42), 15, 2),
        Legend(scene, grid, grid.box(10, 684, 460, 38)),
    )


LAYOUTS = {
    design.name: design
    for design in (
        Design("full", 1280, 720, 2, 0.75, _full),
        Design("compact", 640, 580, 2, 0.75, _compact),
        Design("overlay", 480, 726, 3, 0.75, _overlay),
    )
}


def design(name: Any) -> Design:
    """A layout by its name.

    Raises:
        InputError: unknown; the message lists what is known.
    """
    if not isinstance(name, str) or name not in LAYOUTS:
        raise InputError(f"unknown layout {shown(name)}: expected one of {', '.join(LAYOUTS)}")
    return LAYOUTS[name]


def empty_canvas(grid: Grid) -> Canvas:
    """A frame with nothing on it."""
    canvas = np.empty((grid.height, grid.width, 3), np.uint8)
    canvas[:] = BACKGROUND
    return canvas
