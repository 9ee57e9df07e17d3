"""The parts of a video frame, each drawn by one panel into its own box.

A panel paints what stays into the background once, and what changes into every frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from rl.drawing import (
    ACCENT,
    BACKGROUND,
    BAR,
    LINE,
    QUIET,
    SURFACE,
    TEXT,
    Box,
    Canvas,
    Colour,
    diverging,
    draw_text,
    enlarge,
    fill,
    line_height,
    outline,
    polyline,
    text_width,
)
from rl.explaining import Explained
from rl.games import display_name
from rl.preprocessing import SCREEN_HEIGHT, SCREEN_WIDTH, to_screen
from rl.trajectory import AGENT, CHANCE, PROTOCOL

MARGIN, GAP = 24, 20
HEADER_HEIGHT, CAPTION_HEIGHT, FOOTER_HEIGHT = 76, 26, 112
SIDEBAR_WIDTH = 272
BAR_PITCH = 58
GREY = np.array([0.299, 0.587, 0.114], np.float32)
"""Luminance of red, green and blue (ITU-R BT.601), as the emulator's own grey levels."""

CHOSEN_BY = {
    AGENT: "chosen by the agent",
    CHANCE: "a random move (epsilon)",
    PROTOCOL: "FIRE is pressed after a lost life",
}

AGAINST_WORDS, FOR_WORDS = "speaks against it", "speaks for it"
TARGET_WORDS = {
    "chosen": "the action taken",
    "largest": "the largest Q-value",
    "contrast": "the action taken against the next best",
}


@runtime_checkable
class Panel(Protocol):
    """Draws one part of a video frame."""

    def background(self, canvas: Canvas) -> None:
        """Paint what is the same in every frame."""

    def draw(self, canvas: Canvas, decision: int) -> None:
        """Paint what belongs to one decision."""


@dataclass(frozen=True)
class Layout:
    """Where everything is.

    Attributes:
        scale: pixels of the video per pixel of the game, 2 or more.
    """

    scale: int

    @property
    def header(self) -> Box:
        """Title and status."""
        return Box(MARGIN, 0, self.width - 2 * MARGIN, HEADER_HEIGHT)

    @property
    def game(self) -> Box:
        """The game in colour."""
        return Box(MARGIN, HEADER_HEIGHT + CAPTION_HEIGHT, SCREEN_WIDTH * self.scale, SCREEN_HEIGHT * self.scale)

    @property
    def relevance(self) -> Box:
        """The game with relevance over it."""
        return Box(self.game.right + GAP, self.game.y, self.game.width, self.game.height)

    @property
    def sidebar(self) -> Box:
        """Q-values and their history."""
        return Box(self.relevance.right + GAP, self.game.y, SIDEBAR_WIDTH, self.game.height)

    @property
    def footer(self) -> Box:
        """The explained value as a sum, the rule, the colour scale."""
        return Box(MARGIN, self.game.bottom, self.width - 2 * MARGIN, FOOTER_HEIGHT)

    @property
    def width(self) -> int:
        """Of the frame; even, as H.264 wants it."""
        return _even(self.sidebar.right + MARGIN)

    @property
    def height(self) -> int:
        """Of the frame; even, as H.264 wants it."""
        return _even(self.footer.bottom)


def _even(size: int) -> int:
    """The next even number."""
    return size + size % 2


def _caption(canvas: Canvas, box: Box, text: str) -> None:
    """A panel's title, above it."""
    draw_text(canvas, text, box.x, box.y - CAPTION_HEIGHT + 1, 15, QUIET)


@dataclass(frozen=True)
class Header:
    """Which agent plays what, and how the game stands."""

    explained: Explained
    box: Box
    fps: float

    def background(self, canvas: Canvas) -> None:
        """The title."""
        trajectory = self.explained.trajectory
        title = display_name(trajectory.game)
        draw_text(canvas, title, self.box.x, 20, 30)
        told = f"agent after {trajectory.agent_steps:,} decisions of training"
        draw_text(canvas, told, self.box.x + text_width(title, 30) + 16, 32, 16, QUIET)

    def draw(self, canvas: Canvas, decision: int) -> None:
        """Decision, time, score and lives, from the right."""
        trajectory = self.explained.trajectory
        seconds = decision / self.fps
        facts = (
            ("lives", f"{trajectory.lives[decision]}", 52),
            ("score", f"{trajectory.score[decision]:.0f}", 76),
            ("time", f"{int(seconds // 60)}:{seconds % 60:04.1f}", 84),
            ("decision", f"{decision + 1} / {len(trajectory)}", 128),
        )
        right = self.box.right
        for name, value, width in facts:
            draw_text(canvas, name, right, 14, 13, QUIET, "right")
            draw_text(canvas, value, right, 32, 22, TEXT, "right")
            right -= width


@dataclass(frozen=True)
class Game:
    """The game as a person sees it."""

    explained: Explained
    box: Box
    scale: int

    def background(self, canvas: Canvas) -> None:
        """The caption."""
        _caption(canvas, self.box, "the game")

    def draw(self, canvas: Canvas, decision: int) -> None:
        """The colour screen."""
        screen = self.explained.trajectory.screens[decision]
        canvas[self.box.y : self.box.bottom, self.box.x : self.box.right] = enlarge(screen, self.scale)


@dataclass(frozen=True)
class Relevance:
    """The game with what the agent looks at: the four planes summed, carried back to the screen."""

    explained: Explained
    box: Box
    scale: int
    limit: float

    def background(self, canvas: Canvas) -> None:
        """The caption."""
        _caption(canvas, self.box, "what the agent looks at")

    def draw(self, canvas: Canvas, decision: int) -> None:
        """Relevance over the dimmed screen."""
        summed = to_screen(self.explained.relevance[decision].sum(axis=0))
        picture = diverging(summed / self.limit, self.explained.trajectory.screens[decision] @ GREY)
        canvas[self.box.y : self.box.bottom, self.box.x : self.box.right] = enlarge(picture, self.scale)


@dataclass(frozen=True)
class QValues:
    """A bar for the value of every action; the one taken stands out."""

    explained: Explained
    box: Box

    @property
    def _pitch(self) -> int:
        """Rows from one bar to the next."""
        return max(12, min(BAR_PITCH, (self.box.height - 34) // len(self.explained.trajectory.actions)))

    @property
    def _range(self) -> tuple[float, float]:
        """Values at the left and right end, the same in the whole video."""
        q_values = self.explained.q_values
        return min(0.0, float(q_values.min())), max(0.0, float(q_values.max())) or 1.0

    def _column(self, value: float) -> int:
        """Where a value lies on the bars' axis."""
        low, high = self._range
        return self.box.x + round(self.box.width * (value - low) / max(high - low, 1e-12))

    def background(self, canvas: Canvas) -> None:
        """The caption."""
        _caption(canvas, self.box, "Q-value of each action")

    def draw(self, canvas: Canvas, decision: int) -> None:
        """Names, bars and numbers."""
        trajectory = self.explained.trajectory
        for action, name in enumerate(trajectory.actions):
            y = self.box.y + action * self._pitch
            row = Box(self.box.x, y, self.box.width, self._pitch - max(2, self._pitch // 8))
            value = float(self.explained.q_values[decision, action])
            self._bar(canvas, row, value, name, bool(action == trajectory.chosen[decision]))
        chosen_by = CHOSEN_BY[int(trajectory.chosen_by[decision])]
        y = self.box.y + len(trajectory.actions) * self._pitch + 4
        draw_text(canvas, chosen_by, self.box.x, y, 14, ACCENT)

    def _bar(self, canvas: Canvas, row: Box, value: float, name: str, chosen: bool) -> None:
        """One action."""
        fill(canvas, row, SURFACE)
        start, end = sorted((self._column(0.0), self._column(value)))
        strip = max(2, row.height // 6)
        fill(canvas, Box(start, row.bottom - strip, end - start, strip), ACCENT if chosen else BAR)
        if chosen:
            outline(canvas, row, ACCENT)
        size = max(9, min(18, (row.height - strip) * 4 // 5))
        colour = TEXT if chosen else QUIET
        y = row.y + (row.height - strip - line_height(size)) // 2
        draw_text(canvas, name, row.x + 12, y, size, colour)
        draw_text(canvas, f"{value:.3f}", row.right - 12, y, size, colour, "right")


@dataclass(frozen=True)
class History:
    """The explained value over the whole video, with a mark at the present."""

    explained: Explained
    box: Box

    @property
    def _plot(self) -> Box:
        """The curve's box."""
        return Box(self.box.x + 8, self.box.y + 8, self.box.width - 16, self.box.height - 16)

    def background(self, canvas: Canvas) -> None:
        """The curve and its range."""
        values = self.explained.explained
        low, high = float(values.min()), float(values.max())
        _caption(canvas, self.box, "explained value over time")
        fill(canvas, self.box, SURFACE)
        polyline(canvas, self._plot, values, low, high, QUIET)
        spread = f"{low:.2f} .. {high:.2f}"
        draw_text(canvas, spread, self.box.right, self.box.y - CAPTION_HEIGHT + 2, 14, QUIET, "right")

    def draw(self, canvas: Canvas, decision: int) -> None:
        """The mark."""
        share = decision / max(1, len(self.explained) - 1)
        x = self._plot.x + round(share * (self._plot.width - 1))
        fill(canvas, Box(x - 1, self.box.y, 2, self.box.height), ACCENT)


@dataclass(frozen=True)
class Footer:
    """The explained value as the sum it is, the rule, and what the colours mean in numbers."""

    explained: Explained
    box: Box
    limit: float

    @property
    def _legend(self) -> Box:
        """The colour bar."""
        return Box(self.box.x + text_width(AGAINST_WORDS, 15) + 10, self.box.y + 54, 220, 14)

    def background(self, canvas: Canvas) -> None:
        """Colour bar, rule and target."""
        bar = self._legend
        ramp = np.linspace(-1.0, 1.0, bar.width, dtype=np.float32)[None].repeat(bar.height, axis=0)
        canvas[bar.y : bar.bottom, bar.x : bar.right] = diverging(ramp, np.zeros_like(ramp))
        draw_text(canvas, AGAINST_WORDS, self.box.x, bar.y - 4, 15, QUIET)
        draw_text(canvas, FOR_WORDS, bar.right + 10, bar.y - 4, 15, QUIET)
        number = f"{self.limit:.2g}"
        for text, x in ((f"-{number}", bar.x), ("0", bar.x + bar.width // 2), (f"+{number}", bar.right)):
            draw_text(canvas, text, x, bar.bottom + 3, 13, QUIET, "middle")
        right = self.box.right
        target = TARGET_WORDS.get(self.explained.target, self.explained.target)
        what = f"rules {self.explained.composite}  ·  target: {target}"
        draw_text(canvas, what, right, bar.y - 4, 15, QUIET, "right")
        note = "relevance per observed pixel, sum of the 4 frames seen; one scale for the whole video"
        draw_text(canvas, note, right, bar.bottom + 3, 13, QUIET, "right")

    def draw(self, canvas: Canvas, decision: int) -> None:
        """The sum."""
        for text, colour, x in self._sum(decision):
            draw_text(canvas, text, x, self.box.y + 12, 17, colour)
        balance = f"balance: off by {self.explained.balance[decision]:.0e}"
        draw_text(canvas, balance, self.box.right, self.box.y + 12, 17, QUIET, "right")

    def _sum(self, decision: int) -> Sequence[tuple[str, Colour, int]]:
        """The pieces of ``Q(LEFT) 2.351 = pixels 2.102 + bias 0.249``, each with colour and place."""
        pieces: list[tuple[str, Colour]] = [
            (self.explained.label(decision), ACCENT),
            (f"{self.explained.explained[decision]:.3f}", TEXT),
        ]
        for name, values in self.explained.ledger.items():
            if np.abs(values).max() >= 0.0005:  # what prints as 0 in the whole video would only cost room
                sign = "=" if len(pieces) == 2 else "+"
                pieces += [(f"{sign} {'pixels' if name == 'input' else name.replace('_', ' ')}", QUIET)]
                pieces += [(f"{values[decision]:.3f}", TEXT)]
        placed, x = [], self.box.x
        for text, colour in pieces:
            placed.append((text, colour, x))
            x += text_width(text, 17) + 8
        return placed


def colour_limit(relevance: Float32[np.ndarray, "decisions 4 84 84"], quantile: float) -> float:
    """The one colour scale of a video: this share of all pixels in all frames stays below it in absolute value.

    Args:
        relevance: of every decision.
        quantile: 0..1; 1 is the largest value.

    Returns:
        The value of full colour, in units of the explained value per observed pixel; 1 where all relevance is 0.
    """
    absolute = np.abs(relevance.sum(axis=1)).ravel()
    place = min(len(absolute) - 1, int(quantile * len(absolute)))
    limit = float(np.partition(absolute, place)[place])
    return limit or float(absolute.max()) or 1.0


def panels(explained: Explained, layout: Layout, limit: float, fps: float) -> tuple[Panel, ...]:
    """All panels of a frame, in the order they are drawn."""
    side = layout.sidebar
    history_height = max(84, min(260, side.height - len(explained.trajectory.actions) * BAR_PITCH - 100))
    bars = Box(side.x, side.y, side.width, side.height - history_height - CAPTION_HEIGHT - 8)
    history = Box(side.x, side.bottom - history_height, side.width, history_height)
    return (
        Header(explained, layout.header, fps),
        Game(explained, layout.game, layout.scale),
        Relevance(explained, layout.relevance, layout.scale, limit),
        QValues(explained, bars),
        History(explained, history),
        Footer(explained, layout.footer, limit),
    )


def empty_canvas(layout: Layout) -> Canvas:
    """A frame with nothing on it."""
    canvas = np.empty((layout.height, layout.width, 3), np.uint8)
    canvas[:] = BACKGROUND
    canvas[layout.header.bottom - 12, MARGIN : layout.width - MARGIN] = LINE
    return canvas
