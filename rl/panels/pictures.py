"""The panels that show pictures: the game, relevance over the game, and what the network was given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rl.drawing import LINE, QUIET, TEXT, Box, Canvas, diverging, draw_fitting, draw_text, line_height, outline, paste, veil
from rl.explaining import Moment
from rl.panels.base import Grid, Scene
from rl.preprocessing import to_screen

CAPTION = 15
PLANE_NAMES = ("3 before", "2 before", "1 before", "now")


def caption(canvas: Canvas, grid: Grid, box: Box, text: str) -> None:
    """A panel's title, above it."""
    size = grid.text(CAPTION)
    draw_fitting(canvas, text, box.x, box.y - line_height(size) - grid.length(3), size, box.width, QUIET)


@dataclass(frozen=True)
class Game:
    """The game as a person sees it."""

    scene: Scene
    grid: Grid
    box: Box

    def background(self, canvas: Canvas) -> None:
        """The caption."""
        caption(canvas, self.grid, self.box, "the game")

    def draw(self, canvas: Canvas, moment: Moment) -> None:
        """The colour screen."""
        paste(canvas, self.box, self.scene.screen(moment.decision))


@dataclass(frozen=True)
class Overlay:
    """The game with what the agent looks at: the four planes summed, carried back to the screen."""

    scene: Scene
    grid: Grid
    box: Box
    title: str = "what the agent looks at"

    def background(self, canvas: Canvas) -> None:
        """The caption."""
        if self.title:
            caption(canvas, self.grid, self.box, self.title)

    def draw(self, canvas: Canvas, moment: Moment) -> None:
        """Relevance over the screen, whose colours are muted."""
        summed = to_screen(moment.relevance.sum(axis=0))
        screen = self.scene.screen(moment.decision)
        paste(canvas, self.box, veil(summed / np.float32(self.scene.scale.limit), screen, self.scene.palette))


@dataclass(frozen=True)
class Planes:
    """The four planes the network was given, each with its own relevance, on the same scale as their sum."""

    scene: Scene
    grid: Grid
    boxes: Sequence[Box]
    title_box: Box

    def background(self, canvas: Canvas) -> None:
        """The captions, and a frame around each plane: its own background may be black."""
        caption(canvas, self.grid, self.title_box, "the four frames it is given, and their share of the relevance")
        for box in self.boxes:
            outline(canvas, Box(box.x - 1, box.y - 1, box.width + 2, box.height + 2), LINE)

    def draw(self, canvas: Canvas, moment: Moment) -> None:
        """Relevance over each plane, and each plane's share of all of it."""
        seen = self.scene.decisions.trajectory.observations(np.array([moment.decision]))[0].astype(np.float32)
        limit, size = np.float32(self.scene.scale.limit), self.grid.text(14)
        height, width = seen.shape[1:]
        strength = (moment.relevance / limit).reshape(-1, width)  # all four at once: less to start
        pictures = diverging(strength, seen.reshape(-1, width), self.scene.palette).reshape(-1, height, width, 3)
        for plane, (box, share) in enumerate(zip(self.boxes, moment.shares, strict=True)):
            paste(canvas, box, pictures[plane])
            y = box.bottom + self.grid.length(3)
            draw_text(canvas, PLANE_NAMES[plane], box.x, y, size, QUIET)
            draw_text(canvas, f"{100 * share:.0f} %", box.right, y, size, TEXT, "right")
