"""The panels of words and numbers: which game, how it stands, the explained value as a sum, what the colours mean."""

from __future__ import annotations

from dataclasses import dataclass

from rl.clock import clock
from rl.drawing import (
    ACCENT,
    QUIET,
    TEXT,
    Box,
    Canvas,
    Colour,
    colour_bar,
    draw_fitting,
    draw_text,
    draw_words,
    fitting,
    line_height,
    text_width,
)
from rl.explaining import Moment
from rl.games import display_name
from rl.panels.base import Grid, Scene
from rl.targets import in_words

AGAINST_WORDS, FOR_WORDS = "against", "for"
SHOWN_MIN = 0.0005
"""What prints as 0.000 would only cost room."""


def rule_and_target(scene: Scene) -> str:
    """What decides the relevance, in words."""
    target = scene.decisions.target
    return f"rules {scene.decisions.composite}  ·  relevance of {in_words(target, scene.decisions.quantity)}"


@dataclass(frozen=True)
class Header:
    """Which agent plays what, and how the game stands."""

    scene: Scene
    grid: Grid
    box: Box
    facts: tuple[str, ...] = ("decision", "time", "score", "lives")

    def background(self, canvas: Canvas) -> None:
        """The title."""
        trajectory = self.scene.decisions.trajectory
        title, size, small = display_name(trajectory.game), self.grid.text(28), self.grid.text(15)
        y = self.box.y + (self.box.height - line_height(size)) // 2
        draw_text(canvas, title, self.box.x, y, size)
        x = self.box.x + text_width(title, size) + self.grid.length(14)
        told = f"agent after {trajectory.agent_steps:,} decisions of training"
        room = self.box.right - self._room - x
        y += (line_height(size) - line_height(small)) * 2 // 3
        if room > text_width("agent after", small):
            draw_fitting(canvas, told, x, y, small, room, QUIET)

    @property
    def _room(self) -> int:
        """Width of the facts."""
        return sum(self.grid.length(width) for name, width in self._widths.items() if name in self.facts)

    @property
    def _widths(self) -> dict[str, int]:
        """Units from one fact to the next."""
        digits = max(5, 2 * len(str(self.scene.stop)) + 2)
        return {"decision": 16 + 11 * digits, "time": 78, "score": 84, "lives": 56}

    def draw(self, canvas: Canvas, moment: Moment) -> None:
        """Decision, time, score and lives, from the right."""
        trajectory, decision = self.scene.decisions.trajectory, moment.decision
        values = {
            "decision": f"{decision + 1} / {self.scene.stop}",
            "time": clock(decision),
            "score": f"{trajectory.score[decision]:.0f}",
            "lives": f"{trajectory.lives[decision]}",
        }
        small, large = self.grid.text(12), self.grid.text(20)
        top = self.box.y + (self.box.height - line_height(small) - line_height(large)) // 2
        right = self.box.right
        for name in reversed(self.facts):
            draw_text(canvas, name, right, top, small, QUIET, "right")
            draw_text(canvas, values[name], right, top + line_height(small), large, TEXT, "right")
            right -= self.grid.length(self._widths[name])


@dataclass(frozen=True)
class Sum:
    """The explained value as the sum it is: ``Q(LEFT) 2.351 = pixels 2.102 + bias 0.249``, and how well it closes.

    Attributes:
        scene: what is shown.
        grid: of the frame.
        box: where.
        size: of the letters.
        lines: 1, or 2 where there is little room; the second has the rule, too.
    """

    scene: Scene
    grid: Grid
    box: Box
    size: int = 17
    lines: int = 1

    def background(self, canvas: Canvas) -> None:
        """The rule and the target, on a line of their own."""
        if self.lines == 2:
            size = self.grid.text(13)
            room = self.box.width - text_width("balance: off by 0e-00", size) - self.grid.length(12)
            draw_fitting(canvas, rule_and_target(self.scene), self.box.x, self._below(size), size, room, QUIET)

    def _below(self, size: int) -> int:
        """Upper edge of the second line."""
        return self.box.bottom - line_height(size)

    def draw(self, canvas: Canvas, moment: Moment) -> None:
        """The sum from the left, the balance from the right or on the second line."""
        size, small = self.grid.text(self.size), self.grid.text(15 if self.lines == 1 else 13)
        balance = f"balance: off by {moment.balance:.0e}"
        room = self.box.width - (text_width(balance, small) + self.grid.length(16) if self.lines == 1 else 0)
        height = self.box.height // self.lines
        line = Box(self.box.x, self.box.y, room, height)
        draw_words(canvas, self._pieces(moment), line, size, self.grid.length(7))
        y = self._below(small) if self.lines == 2 else self.box.y + (height - line_height(small)) // 2
        draw_text(canvas, balance, self.box.right, y, small, QUIET, "right")

    def _pieces(self, moment: Moment) -> list[tuple[str, Colour]]:
        """Words and numbers, each in its colour."""
        pieces: list[tuple[str, Colour]] = [
            (self.scene.decisions.label(moment.decision), ACCENT),
            (f"{moment.explained:.3f}", TEXT),
        ]
        for name, value in moment.ledger.items():
            if abs(value) >= SHOWN_MIN:
                sign = "=" if len(pieces) == 2 else "+"
                pieces += [(f"{sign} {'pixels' if name == 'input' else name.replace('_', ' ')}", QUIET), (f"{value:.3f}", TEXT)]
        return pieces


@dataclass(frozen=True)
class Legend:
    """What the colours mean in numbers, the rule and the target: the same in the whole video."""

    scene: Scene
    grid: Grid
    box: Box

    def background(self, canvas: Canvas) -> None:
        """A colour bar on the left, words on the right."""
        size, small = self.grid.text(14), self.grid.text(13)
        bar_width = self.grid.length(150 if self._narrow else 220)
        self._bar(canvas, bar_width, size)
        quantile = f"full colour: {100 * self.scene.scale.quantile:g} % quantile"
        words = (quantile, "one scale for the whole video")
        if not self._narrow:
            note = f"per observed pixel, sum of the 4 frames  ·  {quantile}, one scale for the whole video"
            words = (rule_and_target(self.scene), note)
        room = self.box.width - bar_width - text_width(AGAINST_WORDS + FOR_WORDS, size) - self.grid.length(40)
        draw_fitting(canvas, words[0], self.box.right, self.box.y, size, room, QUIET, "right")
        below = self.box.y + line_height(size) + self.grid.length(1)
        draw_fitting(canvas, words[1], self.box.right, below, small, room, QUIET, "right")

    @property
    def _narrow(self) -> bool:
        return self.box.width < self.grid.length(700)

    def draw(self, canvas: Canvas, moment: Moment) -> None:
        """Nothing changes."""

    def _bar(self, canvas: Canvas, width: int, size: int) -> None:
        """The colour bar with its numbers."""
        left = self.box.x + text_width(AGAINST_WORDS, size) + self.grid.length(8)
        height = max(6, self.grid.length(13))
        top = self.box.y + (line_height(size) - height) // 2
        colour_bar(canvas, Box(left, top, width, height), self.scene.palette)
        draw_text(canvas, AGAINST_WORDS, self.box.x, self.box.y, size, QUIET)
        draw_text(canvas, FOR_WORDS, left + width + self.grid.length(8), self.box.y, size, QUIET)
        number, small = f"{self.scene.scale.limit:.2g}", self.grid.text(13)
        below = self.box.y + line_height(size) + self.grid.length(1)
        for text, x in ((f"-{number}", left), ("0", left + width // 2), (f"+{number}", left + width)):
            shown, fitted = fitting(text, small, width // 2)
            draw_text(canvas, shown, x, below, fitted, QUIET, "middle")
