"""Where everything is in a frame of an evolution: what happens at the left, one tile per checkpoint beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rl.drawing import Box
from rl.preprocessing import SCREEN_HEIGHT, SCREEN_WIDTH

MARGIN, GAP = 28, 28
HEADER_HEIGHT = 58
"""Of a tile: agent steps and score, and a line of what it would do."""

LEFT_WIDTH, LEFT_SCALE = 320, 2
TITLE_HEIGHT, CAPTION_HEIGHT, FACTS_HEIGHT, LEGEND_HEIGHT = 74, 24, 70, 230
LEFT_HEIGHT = TITLE_HEIGHT + CAPTION_HEIGHT + SCREEN_HEIGHT * LEFT_SCALE + FACTS_HEIGHT + LEGEND_HEIGHT
BESIDE_WIDTH = 124
"""Of the Q-values to the right of a screen."""
BELOW_PITCH, BELOW_ROWS = 26, 6
"""Of the Q-values under a screen: height of one, and how many are under each other."""

WIDESCREEN = 16 / 9
EMPTY_COSTS = 0.15
"""How much less wanted a layout with an empty place is, on the scale of the logarithm of the sides' ratio."""


@dataclass(frozen=True)
class Layout:
    """Where everything is.

    Attributes:
        stages: number of tiles.
        actions: number of Q-values in each.
        scale: pixels of the film per pixel of the game.
        columns: tiles beside each other.
        beside: the Q-values stand to the right of the screen; otherwise under it.
    """

    stages: int
    actions: int
    scale: int
    columns: int
    beside: bool

    @property
    def rows(self) -> int:
        """Rows of tiles."""
        return math.ceil(self.stages / self.columns)

    @property
    def left(self) -> Box:
        """What happens, and what the colours mean."""
        return Box(MARGIN, MARGIN, LEFT_WIDTH, self.height - 2 * MARGIN)

    @property
    def game(self) -> Box:
        """The game in colour."""
        top = self.left.y + TITLE_HEIGHT + CAPTION_HEIGHT
        return Box(self.left.x, top, SCREEN_WIDTH * LEFT_SCALE, SCREEN_HEIGHT * LEFT_SCALE)

    @property
    def facts(self) -> Box:
        """Time, score, lives, action."""
        return Box(self.left.x, self.game.bottom, LEFT_WIDTH, FACTS_HEIGHT)

    @property
    def legend(self) -> Box:
        """The colour scale and the small print, at the bottom."""
        return Box(self.left.x, self.left.bottom - LEGEND_HEIGHT, LEFT_WIDTH, LEGEND_HEIGHT)

    @property
    def _tile(self) -> tuple[int, int]:
        """Width and height of one tile."""
        width, height = SCREEN_WIDTH * self.scale, HEADER_HEIGHT + SCREEN_HEIGHT * self.scale
        if self.beside:
            return width + BESIDE_WIDTH, height
        height += 8 + BELOW_PITCH * min(self.actions, BELOW_ROWS)
        return width, max(height, LEFT_HEIGHT) if self.rows == 1 else height  # a single row has room to the bottom

    def tile(self, stage: int) -> Box:
        """One checkpoint's place, header included."""
        row, column = divmod(stage, self.columns)
        width, height = self._tile
        x = self.left.right + GAP + column * (width + GAP)
        return Box(x, MARGIN + row * (height + GAP), width, height)

    def screen(self, stage: int) -> Box:
        """The game with one checkpoint's relevance over it."""
        tile = self.tile(stage)
        return Box(tile.x, tile.y + HEADER_HEIGHT, SCREEN_WIDTH * self.scale, SCREEN_HEIGHT * self.scale)

    def values(self, stage: int) -> Box:
        """The Q-values of one checkpoint."""
        tile, screen = self.tile(stage), self.screen(stage)
        if self.beside:
            return Box(screen.right + 12, screen.y, BESIDE_WIDTH - 12, screen.height)
        return Box(screen.x, screen.bottom + 8, screen.width, tile.bottom - screen.bottom - 8)

    @property
    def width(self) -> int:
        """Of the frame; even, as video wants it."""
        last = self.tile(self.columns - 1)
        return _even(last.right + MARGIN)

    @property
    def height(self) -> int:
        """Of the frame; even, as video wants it."""
        tiles = self.rows * (self._tile[1] + GAP) - GAP
        return _even(max(tiles, LEFT_HEIGHT) + 2 * MARGIN)

    @property
    def shape_costs(self) -> float:
        """How far the frame is from a wide screen, and how much of it is empty: less is better."""
        empty = self.rows * self.columns - self.stages
        return abs(math.log(self.width / self.height / WIDESCREEN)) + EMPTY_COSTS * empty


def _even(size: int) -> int:
    """The next even number."""
    return size + size % 2


def best_layout(stages: int, actions: int, scale: int | None = None) -> Layout:
    """The arrangement that fills a wide screen best.

    Args:
        stages: number of tiles.
        actions: number of Q-values in each.
        scale: pixels of the film per pixel of the game; 2 when None, 3 where there are only two tiles.
    """
    scale = (3 if stages == 2 else 2) if scale is None else scale
    candidates = [
        Layout(stages, actions, scale, columns, beside)
        for columns in range(1, stages + 1)
        for beside in (True, False)
    ]
    return min(candidates, key=lambda layout: layout.shape_costs)
