"""The parts of a frame of an evolution, each drawn by one panel into its own box."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np

from rl.clock import DECISIONS_PER_SECOND, clock
from rl.drawing import (
    ACCENT,
    BACKGROUND,
    BAR,
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
    enlarge,
    fill,
    line_height,
    polyline,
    text_width,
)
from rl.evolution.heat import HeatPainter
from rl.evolution.layout import CAPTION_HEIGHT, LEFT_SCALE, TITLE_HEIGHT, Layout
from rl.evolution.stages import Evolution, Sight
from rl.games import display_name

SCORES_HEIGHT_MIN, SCORES_HEIGHT_MAX = 110, 220
"""Pixels a chart of the scores needs, and what is enough."""

PAST = 300
"""Decisions whose largest Q-value is drawn as a curve: 20 seconds."""

FACTS_AT = (0, 108, 168, 216)
"""Pixels from the left to the time, the score, the lives and the action taken."""

PITCH_MIN, PITCH_MAX = 20, 48
"""Height of one Q-value."""

TARGET_WORDS = {
    "largest": "the action each would take",
    "contrast": "the action each would take against its next best",
    "contrast-mean": "the action each would take against the mean of the others",
    "state-value": "the value of the state",
    "chosen": "the action taken in this game",
}


@runtime_checkable
class Panel(Protocol):
    """Draws one part of a frame."""

    def background(self, canvas: Canvas) -> None:
        """Paint what is the same in every frame."""

    def draw(self, canvas: Canvas, sight: Sight) -> None:
        """Paint what belongs to one decision."""


def short_steps(agent_steps: int) -> str:
    """Agent steps in at most six letters: ``0``, ``401 k``, ``3.08 M``."""
    if agent_steps < 1000:
        return str(agent_steps)
    if agent_steps < 999_500:
        return f"{agent_steps / 1000:.0f} k"
    return f"{agent_steps / 1e6:.2f} M" if agent_steps < 99_950_000 else f"{agent_steps / 1e6:.0f} M"


def short_action(name: str) -> str:
    """A combined action by its letters: ``DOWNRIGHTFIRE`` becomes ``DR+FIRE``; a single one as it is."""
    pressed, fire = name.removesuffix("FIRE"), name.endswith("FIRE")
    letters = re.sub(r"(U)P|(D)OWN|(L)EFT|(R)IGHT", lambda match: match.group()[0], pressed)
    if not pressed or (letters and len(letters) == 1 and not fire):
        return name
    return f"{letters}+FIRE" if fire else letters


def score_words(mean_score: float | None) -> str:
    """A checkpoint's mean score as it stands in a tile."""
    return "score not measured" if mean_score is None else f"mean score {mean_score:.1f}"


@dataclass(frozen=True)
class Title:
    """Which game, and what is compared."""

    evolution: Evolution
    box: Box

    def background(self, canvas: Canvas) -> None:
        """All of it."""
        draw_text(canvas, display_name(self.evolution.trajectory.game), self.box.x, self.box.y, 32)
        states = "each its own game" if self.evolution.on_policy else "the same states"
        told = f"{len(self.evolution.stages)} checkpoints of one training, {states}"
        draw_text(canvas, told, self.box.x, self.box.y + 42, 14, QUIET)

    def draw(self, canvas: Canvas, sight: Sight) -> None:
        """Nothing changes."""


@dataclass(frozen=True)
class Game:
    """The states that all checkpoints look at, as a person sees them."""

    evolution: Evolution
    box: Box
    facts: Box

    def background(self, canvas: Canvas) -> None:
        """The caption."""
        steps = short_steps(self.evolution.trajectory.agent_steps)
        told = f"the game, played by the agent of {steps} steps"
        draw_text(canvas, told, self.box.x, self.box.y - CAPTION_HEIGHT, 14, QUIET)

    def draw(self, canvas: Canvas, sight: Sight) -> None:
        """The colour screen, and how the game stands."""
        trajectory = self.evolution.trajectory
        screen = trajectory.screens[sight.decision]
        canvas[self.box.y : self.box.bottom, self.box.x : self.box.right] = enlarge(screen, LEFT_SCALE)
        facts = (
            (f"decision {sight.decision + 1}", clock(sight.decision)),
            ("score", f"{trajectory.score[sight.decision]:.0f}"),
            ("lives", f"{trajectory.lives[sight.decision]}"),
            ("taken", trajectory.actions[trajectory.chosen[sight.decision]]),
        )
        ends = (*FACTS_AT[1:], self.facts.width)
        for left, end, (name, value) in zip(FACTS_AT, ends, facts, strict=True):
            x = self.facts.x + left
            draw_text(canvas, name, x, self.facts.y + 10, 13, QUIET)
            draw_fitting(canvas, value, x, self.facts.y + 27, 20, end - left, TEXT)


@dataclass(frozen=True)
class Race:
    """What each checkpoint has scored so far in its own game."""

    evolution: Evolution
    box: Box

    @cached_property
    def _points(self) -> np.ndarray:
        """Points of every stage before every decision, over all its games."""
        count = len(self.evolution)
        rewards = np.stack([stage.trajectory.rewards[:count] for stage in self.evolution.stages])
        return np.cumsum(rewards, axis=1) - rewards

    def background(self, canvas: Canvas) -> None:
        """The caption."""
        draw_text(canvas, "points so far", self.box.x, self.box.y - CAPTION_HEIGHT, 14, QUIET)

    def draw(self, canvas: Canvas, sight: Sight) -> None:
        """When, and a bar per checkpoint; the longest is as long as the winner's last."""
        when = f"decision {sight.decision + 1}, {clock(sight.decision)}"
        draw_text(canvas, when, self.box.right, self.box.y - CAPTION_HEIGHT, 14, QUIET, "right")
        points = self._points[:, sight.decision]
        most = max(float(self._points.max()), 1.0)
        pitch = min(44, self.box.height // len(points))
        for number, (stage, value) in enumerate(zip(self.evolution.stages, points, strict=True)):
            y = self.box.y + number * pitch
            draw_text(canvas, short_steps(stage.checkpoint.agent_steps), self.box.x, y, 16, QUIET)
            draw_text(canvas, f"{value:.0f}", self.box.right, y, 16, TEXT, "right")
            length = round(max(0.0, float(value)) / most * self.box.width)
            fill(canvas, Box(self.box.x, y + 24, self.box.width, 6), SURFACE)
            fill(canvas, Box(self.box.x, y + 24, length, 6), BAR)


@dataclass(frozen=True)
class Scores:
    """The mean score of every checkpoint, as bars beside each other; drawn where there is room."""

    evolution: Evolution
    box: Box

    def background(self, canvas: Canvas) -> None:
        """All of it."""
        stages = self.evolution.stages
        scores = [stage.checkpoint.mean_score for stage in stages if stage.checkpoint.mean_score is not None]
        if self.box.height < SCORES_HEIGHT_MIN or len(scores) < len(stages):
            return
        draw_text(canvas, "mean score by agent steps", self.box.x, self.box.y, 14, QUIET)
        pitch = self.box.width // len(stages)
        labels = [short_steps(stage.checkpoint.agent_steps).replace(" ", "") for stage in stages]
        labelled = all(text_width(label, 12) <= pitch - 2 for label in labels)
        base = min(self.box.bottom, self.box.y + SCORES_HEIGHT_MAX) - 20
        room = base - self.box.y - 2 * CAPTION_HEIGHT
        most = max(*scores, 1.0)
        for number, (label, score) in enumerate(zip(labels, scores, strict=True)):
            x, width = self.box.x + number * pitch, pitch - 8
            height = max(2, round(room * max(0.0, score) / most))
            fill(canvas, Box(x, base - height, width, height), BAR)
            points = f"{score:.0f}" if score >= 9.95 else f"{score:.1f}"
            draw_text(canvas, points, x + width // 2, base - height - 18, 12, TEXT, "middle")
            if labelled:
                draw_text(canvas, label, x + width // 2, base + 3, 12, QUIET, "middle")

    def draw(self, canvas: Canvas, sight: Sight) -> None:
        """Nothing changes."""


@dataclass(frozen=True)
class Legend:
    """What the colours mean in numbers, by which rules, and that there is one scale."""

    evolution: Evolution
    box: Box
    palette: Palette

    def background(self, canvas: Canvas) -> None:
        """All of it."""
        limit = self.evolution.limit
        bar = Box(self.box.x, self.box.y + 34, self.box.width, 14)
        ramp = np.linspace(-1.0, 1.0, bar.width, dtype=np.float32)[None].repeat(bar.height, axis=0)
        draw_text(canvas, "speaks against it", bar.x, bar.y - 24, 14, QUIET)
        draw_text(canvas, "speaks for it", bar.right, bar.y - 24, 14, QUIET, "right")
        canvas[bar.y : bar.bottom, bar.x : bar.right] = diverging(ramp, np.zeros_like(ramp), self.palette)
        number = f"{limit:.2g}"
        for text, x, align in (
            (f"-{number}", bar.x, "left"), ("0", bar.x + bar.width // 2, "middle"), (f"+{number}", bar.right, "right")
        ):  # fmt: skip
            draw_text(canvas, text, x, bar.bottom + 4, 13, QUIET, align)
        target = TARGET_WORDS.get(self.evolution.target, f"the action {self.evolution.target.upper()}")
        notes = (
            f"Relevance for {target}, by the rules {self.evolution.composite}; per observed pixel, the four frames seen summed up.",
            f"One scale for all checkpoints and the whole film: {100 * self.evolution.quantile:g} % of the pixels "
            f"of the strongest checkpoint are below full colour. Sums are off by at most {self.evolution.balance:.0e}.",
        )
        y = bar.bottom + 34
        for note in notes:
            for line in wrapped(note, 14, self.box.width):
                draw_text(canvas, line, self.box.x, y, 14, QUIET)
                y += line_height(14) + 1
            y += 6

    def draw(self, canvas: Canvas, sight: Sight) -> None:
        """Nothing changes."""


def wrapped(text: str, size: int, width: int) -> list[str]:
    """Lines that fit a width."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_width(longer, size) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


@dataclass(frozen=True)
class Tiles:
    """Every checkpoint: how far it is, what it would do, and what it looks at."""

    evolution: Evolution
    layout: Layout
    painter: HeatPainter

    def background(self, canvas: Canvas) -> None:
        """Agent steps and score."""
        for number, stage in enumerate(self.evolution.stages):
            box = self.layout.tile(number)
            steps = short_steps(stage.checkpoint.agent_steps)
            draw_text(canvas, steps, box.x, box.y, 24)
            draw_text(canvas, "agent steps", box.x + text_width(steps, 24) + 8, box.y + 9, 14, QUIET)
            right = self.layout.screen(number).right
            draw_text(canvas, score_words(stage.checkpoint.mean_score), right, box.y + 9, 14, QUIET, "right")

    def draw(self, canvas: Canvas, sight: Sight) -> None:
        """Relevance over the game, dimmed."""
        screen = self.evolution.trajectory.screens[sight.decision]
        for number, (stage, choice) in enumerate(zip(self.evolution.stages, sight.choices, strict=True)):
            tile, box = self.layout.tile(number), self.layout.screen(number)
            if self.evolution.on_policy:
                screen = stage.trajectory.screens[sight.decision]
            picture = self.painter.paint(sight.relevance[number], screen)
            canvas[box.y : box.bottom, box.x : box.right] = enlarge(picture, self.layout.scale)
            wish = f"would take {stage.agent.actions[choice]}"
            draw_text(canvas, wish, tile.x, tile.y + 33, 14, ACCENT)
            if self.evolution.on_policy:
                trajectory = stage.trajectory
                game, lives = trajectory.score[sight.decision], trajectory.lives[sight.decision]
                draw_text(canvas, f"this game {game:.0f}, lives {lives}", box.right, tile.y + 33, 14, TEXT, "right")


@dataclass(frozen=True)
class Values:
    """The Q-values of one checkpoint, on an axis that all of them share."""

    evolution: Evolution
    stage: int
    box: Box
    _past: deque[float] = field(default_factory=lambda: deque(maxlen=PAST))

    @cached_property
    def _history(self) -> Box | None:
        """Where the last seconds are drawn, at the bottom; None where there is no room."""
        free = self.box.bottom - self._rows[-1].bottom
        height = min(84, free - 44)
        return Box(self.box.x, self.box.bottom - height, self.box.width, height) if height >= 40 else None

    @cached_property
    def _rows(self) -> list[Box]:
        """A place for each action: under each other, and in several columns where they are many."""
        actions = len(self.evolution.stages[0].agent.actions)
        columns = -(-actions // max(1, self.box.height // PITCH_MIN))
        per_column = -(-actions // columns)
        pitch = min(PITCH_MAX, self.box.height // per_column)
        width = (self.box.width - 16 * (columns - 1)) // columns
        places = [divmod(action, per_column) for action in range(actions)]
        return [Box(self.box.x + c * (width + 16), self.box.y + r * pitch, width, pitch) for c, r in places]

    @cached_property
    def _names(self) -> list[str]:
        """The actions, shortened where they would run into their numbers."""
        names, room = self.evolution.stages[self.stage].agent.actions, self._rows[0].width - text_width("-0.00", self._size)
        fits = all(text_width(name, self._size) < room for name in names)
        return list(names) if fits else [short_action(name) for name in names]

    def background(self, canvas: Canvas) -> None:
        """The names, and the axes."""
        for row, name in zip(self._rows, self._names, strict=True):
            draw_text(canvas, name, row.x, row.y, self._size, QUIET)
            fill(canvas, self._strip(row), SURFACE)
        if self._history is not None:
            caption = f"largest, last {PAST // DECISIONS_PER_SECOND} s"
            draw_text(canvas, caption, self._history.x, self._history.y - line_height(12) - 2, 12, QUIET)
            fill(canvas, self._history, SURFACE)

    @property
    def _size(self) -> int:
        """Of the letters."""
        return 13 if self._rows[0].height >= 24 else 11

    def _strip(self, row: Box) -> Box:
        """The bar's track, under the name."""
        return Box(row.x, row.y + line_height(self._size) + 1, row.width, 5 if row.height >= 30 else 3)

    def draw(self, canvas: Canvas, sight: Sight) -> None:
        """A bar per action; the one it would take stands out."""
        low, high = self.evolution.q_range
        values, choice = sight.q_values[self.stage], int(sight.choices[self.stage])
        for action, (row, value) in enumerate(zip(self._rows, values.tolist(), strict=True)):
            strip = self._strip(row)
            ends = [strip.x + round(strip.width * (v - low) / max(high - low, 1e-12)) for v in (0.0, value)]
            left, right = max(strip.x, min(ends)), min(strip.right, max(ends))
            own = action == choice
            fill(canvas, Box(left, strip.y, max(0, right - left), strip.height), ACCENT if own else BAR)
            if own:
                fill(canvas, Box(row.x, row.y, row.width, line_height(self._size)), BACKGROUND)
                draw_text(canvas, self._names[action], row.x, row.y, self._size, TEXT)
            draw_text(canvas, f"{round(value, 2) + 0.0:.2f}", row.right, row.y, self._size, TEXT if own else QUIET, "right")
        self._past.append(float(values[choice]))
        if self._history is not None and len(self._past) > 1:
            self._curve(canvas, self._history)

    def _curve(self, canvas: Canvas, box: Box) -> None:
        """The largest Q-value until now, at the right; the axis is that of the bars, upright."""
        width = round(box.width * (len(self._past) - 1) / (PAST - 1))
        inside = Box(box.right - max(2, width), box.y + 3, max(2, width), box.height - 6)
        low, high = self.evolution.q_range
        values = np.clip(np.array(self._past), low, high)
        polyline(canvas, inside, values, low, high, ACCENT)


def panels(evolution: Evolution, layout: Layout, palette: Palette = RED_BLUE) -> Sequence[Panel]:
    """All panels of a frame, in the order they are drawn."""
    painter = HeatPainter(evolution.limit, palette, in_colour=evolution.on_policy)
    left: list[Panel] = [Title(evolution, layout.left)]
    if evolution.on_policy:
        top = layout.left.y + TITLE_HEIGHT + CAPTION_HEIGHT
        left.append(Race(evolution, Box(layout.left.x, top, layout.left.width, layout.legend.y - top - 20)))
    else:
        left.append(Game(evolution, layout.game, layout.facts))
        top = layout.facts.bottom + 10
        left.append(Scores(evolution, Box(layout.left.x, top, layout.left.width, layout.legend.y - top - 24)))
    values = [Values(evolution, stage, layout.values(stage)) for stage in range(len(evolution.stages))]
    return [*left, Legend(evolution, layout.legend, palette), Tiles(evolution, layout, painter), *values]


def empty_canvas(layout: Layout) -> Canvas:
    """A frame with nothing on it."""
    canvas = np.empty((layout.height, layout.width, 3), np.uint8)
    canvas[:] = BACKGROUND
    return canvas
