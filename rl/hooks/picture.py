"""One frame of a video about anyone's agent: what it saw, what of it mattered, what it thought of each action."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rl.checks import shown, whole_number
from rl.drawing import (
    ACCENT,
    BACKGROUND,
    BAR,
    LINE,
    PALETTES,
    QUIET,
    RED_BLUE,
    SURFACE,
    TEXT,
    Box,
    Canvas,
    Colour,
    Palette,
    colour_bar,
    diverging,
    draw_fitting,
    draw_text,
    draw_words,
    fill,
    fitting,
    line_height,
    outline,
    signed_bar,
    text_width,
)
from rl.hooks.explanation import Explanation
from rl.hooks.features import MOST, choose
from rl.hooks.pixels import Axes, as_rgb, grey_levels, grey_range, newest_plane, paste, summed
from rl.scale import limit_of
from seqxai.errors import InputError

MARGIN, GAP, SIDEBAR, NUMBER = 16, 16, 220, 84
WIDEST = "-0.000"
"""Room is kept for numbers as wide as this, so that the letters beside them do not change with the number."""
HEADER, CAPTION, FOOTER = 44, 20, 74
SMALLEST, LARGEST = (640, 360), (7680, 4320)
PITCH_LEAST, PITCH_MOST = 20, 56
"""Rows of pixels for a feature: less has no room for readable letters, more is waste."""
LETTERS = 11
"""Smallest letters of names and numbers, as long as nothing need be cut."""
STRIP = 56
"""Rows of pixels below a picture for the relevance of each step."""


@dataclass(frozen=True, eq=False)
class Shot:
    """What a frame shows.

    Attributes:
        frame: rendered, or ``None``.
        plane: what the observation shows, in its own unit; ``None`` of a vector.
        relevance: (rows, columns) of a picture; (features,) of a vector; (features, steps) of a recurrent one.
        steps: relevance of each step of a recurrent decision, or ``None``.
        explanation: the decision.
        rewards: sum of the rewards of the episode before this decision.
        episode: its number, from 0, as triggers and file names count.
        decision: its number within the episode, from 1.
    """

    frame: np.ndarray | None
    plane: np.ndarray | None
    relevance: np.ndarray
    steps: np.ndarray | None
    explanation: Explanation
    rewards: float
    episode: int
    decision: int


@dataclass
class Picture:
    """Draws frames of one size.

    Attributes:
        title: of the video.
        width, height: in pixels, even.
        names: of the actions.
        features: of the numbers of a vector.
        axes: rows and columns of an observation that is a picture, else ``None``.
        bounds: the darkest and the brightest value of an observation.
        recurrent: whether relevance has steps in front.
        framed: whether the environment renders frames.
        palette: the colours of relevance.
    """

    title: str
    width: int
    height: int
    names: tuple[str, ...]
    features: tuple[str, ...]
    axes: Axes | None
    bounds: tuple[float, float]
    recurrent: bool
    framed: bool
    palette: Palette = RED_BLUE

    def __post_init__(self) -> None:
        for name, value, low, high in zip(("width", "height"), (self.width, self.height), SMALLEST, LARGEST, strict=True):
            if whole_number(name, value) % 2 or not low <= value <= high:
                raise InputError(
                    f"A video's {name} should be an even number from {low} to {high}, got {shown(value)}; "
                    f"try {min(max(int(value) + int(value) % 2, low), high)}"
                )
        self._scale, self._note = 1.0, ""
        self._range, self._grey, self._full_step = (0.0, 1.0), (0.0, 255.0), 1.0
        self._rows = choose(self.features, [np.zeros(len(self.features))], MOST)
        self._background = np.empty((self.height, self.width, 3), np.uint8)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.width, self.height

    def shot(self, frame: np.ndarray | None, explanation: Explanation, rewards: float, episode: int, decision: int) -> Shot:
        """Keep of a decision what its frame needs."""
        relevance, observation = explanation.relevance, explanation.observation
        steps = relevance.reshape(len(relevance), -1).sum(axis=1) if self.recurrent else None
        rendered = None if frame is None else as_rgb(frame)
        if self.axes is None:
            flat = relevance.reshape(len(relevance), -1).T if self.recurrent else relevance.reshape(-1)
            return Shot(rendered, None, flat.astype(np.float32), steps, explanation, rewards, episode, decision)
        newest = (relevance[-1], observation[-1]) if self.recurrent else (relevance, observation)
        plane, shown_relevance = newest_plane(newest[1], self.axes), summed(newest[0], self.axes)
        return Shot(rendered, plane, shown_relevance, steps, explanation, rewards, episode, decision)

    # ---- what stays ----------------------------------------------------------------------------------------------------------------

    def begin(self, scale: float, note: str, first: list[Shot]) -> None:
        """Set what is the same in every frame, and paint it: colour scale, ranges, and which features have a row.

        Args:
            scale: value of full colour.
            note: where it is from.
            first: decisions that tell the ranges.
        """
        self._scale, self._note = scale, note
        values = np.concatenate([shot.explanation.q_values for shot in first])
        low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
        room = 0.25 * (high - low) or 1.0
        self._range = (low - room * (low < 0), high + room * (high > 0 or low == 0))
        self._grey = grey_range(self.bounds, [shot.plane for shot in first if shot.plane is not None] or [np.zeros(1)])
        self._full_step = limit_of([shot.steps for shot in first if shot.steps is not None] or [np.zeros(1)])
        canvas = self._background
        canvas[:] = BACKGROUND
        canvas[HEADER - 6, MARGIN : self.width - MARGIN] = LINE
        draw_fitting(canvas, self.title, MARGIN, 8, 20, self.width // 2 - MARGIN)
        quantity = first[0].explanation.target.split("(")[0]
        for box, text in self._captions(quantity):
            draw_fitting(canvas, text, box.x, box.y - CAPTION, 13, box.width, QUIET)
        self._legend(canvas, first[0].explanation)
        for index in range(self._shown_actions):
            fill(canvas, self._row(index), SURFACE)
        if self.axes is None:
            self._rows = choose(self.features, [shot.relevance for shot in first], self._relevance.height // PITCH_LEAST)
            for row in range(len(self._rows) if first[0].relevance.ndim == 1 else 0):
                fill(canvas, self._track(row), SURFACE)

    def _captions(self, quantity: str) -> list[tuple[Box, str]]:
        shows = "what spoke for and against it" if self.axes is None else "what it looked at"
        captions = [(self._relevance, shows), (self._sidebar, f"{quantity if quantity in ('Q', 'logit') else 'Q'} of each action")]
        return [(self._frame, "the environment"), *captions] if self.framed else captions

    def _legend(self, canvas: Canvas, explanation: Explanation) -> None:
        y = self.height - 34
        bar = Box(MARGIN + text_width("against", 13) + 8, y, 160, 12)
        colour_bar(canvas, bar, self.palette)
        draw_text(canvas, "against", MARGIN, y - 4, 13, QUIET)
        draw_text(canvas, "for", bar.right + 8, y - 4, 13, QUIET)
        for text, x in ((f"-{self._scale:.2g}", bar.x), ("0", bar.x + bar.width // 2), (f"+{self._scale:.2g}", bar.right)):
            draw_text(canvas, text, x, bar.bottom + 1, 12, QUIET, "middle")
        right, room = self.width - MARGIN, self.width - MARGIN - bar.right - 40
        draw_fitting(canvas, f"{explanation.method}, one colour scale: {self._note}", right, y - 4, 13, room, QUIET, "right")
        unit = "per pixel, planes summed" if self.axes is not None else "per feature"
        draw_fitting(canvas, f"relevance in units of the explained value, {unit}", right, y + 13, 12, room, QUIET, "right")

    # ---- where things are ------------------------------------------------------------------------------------------------------------

    @property
    def _body(self) -> Box:
        y = HEADER + CAPTION + 2
        return Box(MARGIN, y, self.width - 2 * MARGIN, self.height - FOOTER - y)

    @property
    def _sidebar(self) -> Box:
        wanted = max(text_width(name, 14) for name in self.names) + NUMBER
        width = max(SIDEBAR, min(wanted, self._body.width * 2 // 5))
        return Box(self._body.right - width, self._body.y, width, self._body.height)

    @property
    def _frame(self) -> Box:
        width = (self._body.width - self._sidebar.width - 2 * GAP) // 2 if self.framed else 0
        return Box(MARGIN, self._body.y, width, self._body.height)

    @property
    def _relevance(self) -> Box:
        x = self._frame.right + (GAP if self.framed else 0)
        return Box(x, self._body.y, self._sidebar.x - GAP - x, self._body.height)

    # ---- what changes ----------------------------------------------------------------------------------------------------------------

    def draw(self, shot: Shot) -> Canvas:
        """One frame, (height, width, 3)."""
        canvas = self._background.copy()
        facts = f"episode {shot.episode}    decision {shot.decision}    return {shot.rewards:g}"
        draw_fitting(canvas, facts, self.width - MARGIN, 12, 15, self.width // 2 - MARGIN, QUIET, "right")
        if shot.frame is not None:
            paste(canvas, shot.frame, self._frame)
        box = self._relevance
        if shot.plane is not None:
            strip = STRIP if shot.steps is not None else 0
            coloured = diverging(shot.relevance / np.float32(self._scale), grey_levels(shot.plane, *self._grey), self.palette)
            paste(canvas, coloured, Box(box.x, box.y, box.width, box.height - strip))
            if shot.steps is not None:
                self._columns(canvas, Box(box.x, box.bottom - strip + 6, box.width, strip - 6), shot.steps)
        elif shot.relevance.ndim == 1:
            self._bars(canvas, box, shot)
        else:
            self._table(canvas, box, shot)
        self._values(canvas, shot.explanation)
        self._sum(canvas, shot.explanation)
        return canvas

    @property
    def _pitch(self) -> int:
        """Rows of pixels from one feature to the next."""
        return min(PITCH_MOST, self._relevance.height // len(self._rows))

    @property
    def _letters(self) -> int:
        return max(LETTERS, min(14, self._pitch // 2 + 1))

    def _track(self, row: int) -> Box:
        """Where the bar of a feature lies, below its name."""
        box, top = self._relevance, line_height(self._letters)
        gap = 2 if self._pitch < 2 * top else 6
        return Box(box.x, box.y + row * self._pitch + top, box.width, max(3, self._pitch - top - gap))

    def _bars(self, canvas: Canvas, box: Box, shot: Shot) -> None:
        """A signed bar per feature, with its name and value."""
        size, observed = self._letters, shot.explanation.observation.reshape(-1)
        room = box.width - text_width(WIDEST, size) - 8
        values = self._rows.values(shot.relevance).tolist()
        for row, (label, relevance) in enumerate(zip(self._rows.labels(shot.relevance), values, strict=True)):
            y, letters, number = box.y + row * self._pitch, size, f"{relevance:+.3g}"
            if row < len(self._rows.own):  # the name's letters stay as they are, however long its number is
                label, letters = fitting(label, size, room - text_width(" = " + WIDEST, size))
                label += f" = {observed[self._rows.own[row]]:.3g}"
            below, left = (line_height(size) - line_height(letters)) // 2, min(room, box.width - text_width(number, size) - 8)
            draw_fitting(canvas, label, box.x, y + below, letters, left, QUIET)
            draw_text(canvas, number, box.right, y, size, TEXT, "right")
            track = self._track(row)
            signed_bar(canvas, track, relevance / self._scale, self.palette)
            fill(canvas, Box(track.x + track.width // 2, track.y - 1, 1, track.height + 2), LINE)

    def _table(self, canvas: Canvas, box: Box, shot: Shot) -> None:
        """A row of cells per feature, one for each step; the newest that there is room for."""
        labels = self._rows.labels(shot.relevance)
        left = min(max(text_width(label, 13) for label in labels) + 8, box.width * 2 // 5)
        table = self._rows.values(shot.relevance)[:, -(box.width - left) :]
        height, width = min(PITCH_MOST, (box.height - 18) // len(table)), (box.width - left) // table.shape[1]
        strength = (table / self._scale).astype(np.float32)
        cells = diverging(strength, np.full_like(strength, 24.0), self.palette).repeat(height, axis=0).repeat(width, axis=1)
        canvas[box.y : box.y + cells.shape[0], box.x + left : box.x + left + cells.shape[1]] = cells
        for row, name in enumerate(labels):
            draw_fitting(canvas, name, box.x, box.y + row * height + (height - line_height(13)) // 2, 13, left - 8, QUIET)
        y = box.y + cells.shape[0] + 2
        if table.shape[1] > 1 and cells.shape[1] > 160:
            draw_text(canvas, f"{table.shape[1] - 1} decisions ago", box.x + left, y, 12, QUIET)
        draw_text(canvas, "now", box.x + left + cells.shape[1], y, 12, QUIET, "right")

    def _columns(self, canvas: Canvas, box: Box, steps: np.ndarray) -> None:
        """Relevance of each step of the past as columns, the newest on the right, on a scale of their own for the whole film."""
        size = 12
        told = f"its past {len(steps)} decisions, now on the right; full height {self._full_step:.3g}"
        draw_fitting(canvas, told, box.x, box.y, size, box.width, QUIET)
        top = box.y + line_height(size) + 2
        middle, half = (top + box.bottom) // 2, (box.bottom - top) // 2
        steps = steps[-box.width :]
        pitch = min(24, box.width // len(steps))
        fill(canvas, Box(box.x, middle, box.width, 1), LINE)
        for age, relevance in enumerate(reversed((steps / self._full_step).tolist())):
            length = round(half * min(1.0, abs(relevance)))
            bar = Box(box.right - (age + 1) * pitch, middle - length if relevance > 0 else middle, max(1, pitch - 1), length)
            fill(canvas, bar, self.palette.positive if relevance > 0 else self.palette.negative)

    @property
    def _action_pitch(self) -> int:
        return max(11, min(46, self._sidebar.height // len(self.names)))

    @property
    def _shown_actions(self) -> int:
        """How many actions there is room for."""
        return min(len(self.names), self._sidebar.height // self._action_pitch)

    def _row(self, index: int) -> Box:
        """Where an action's value is shown."""
        box, pitch = self._sidebar, self._action_pitch
        return Box(box.x, box.y + index * pitch, box.width, pitch - max(1, pitch // 8))

    def _values(self, canvas: Canvas, explanation: Explanation) -> None:
        """A bar per action; the one taken stands out."""
        low, high = self._range
        for index in range(self._shown_actions):
            row, value = self._row(index), float(explanation.q_values[index])
            chosen = index == explanation.action
            places = [round(row.width * (min(max(v, low), high) - low) / (high - low)) for v in (0.0, value)]
            strip = max(2, row.height // 6)
            bar = Box(row.x + min(places), row.bottom - strip, max(places) - min(places), strip)
            fill(canvas, bar, ACCENT if chosen else BAR)
            if chosen:
                outline(canvas, row, ACCENT)
            size = max(8, min(16, (row.height - strip) * 4 // 5))
            y = row.y + (row.height - strip - line_height(size)) // 2
            colour, room = TEXT if chosen else QUIET, row.width - text_width(WIDEST, size) - 24
            draw_fitting(canvas, self.names[index], row.x + 8, y, size, room, colour)
            draw_text(canvas, f"{value:.3g}", row.right - 8, y, size, colour, "right")

    def _sum(self, canvas: Canvas, explanation: Explanation) -> None:
        """``Q(LEFT) 2.35 = input 2.10 + bias 0.25``."""
        pieces: list[tuple[str, Colour]] = [(explanation.target, ACCENT), (f"{explanation.explained:.3g}", TEXT)]
        least = 0.0005 * max(abs(explanation.explained), 1e-12)
        for name, value in explanation.ledger.items():
            if abs(value) >= least or name == "input":
                pieces += [(f"{'=' if len(pieces) == 2 else '+'} {name.replace('_', ' ')}", QUIET), (f"{value:.3g}", TEXT)]
        balance, y = f"off by {explanation.balance:.0e}", self.height - FOOTER + 8
        draw_text(canvas, balance, self.width - MARGIN, y, 15, QUIET, "right")
        room = self.width - 2 * MARGIN - text_width(balance, 15) - GAP
        draw_words(canvas, pieces, Box(MARGIN, y, room, line_height(15)), 15, 7, LETTERS)


def palette_named(name: Any) -> Palette:
    """The colours of relevance by name.

    Raises:
        InputError: lists what there is.
    """
    if not isinstance(name, str) or name not in PALETTES:
        raise InputError(f"Unknown palette {shown(name)}; expected one of {', '.join(PALETTES)}.")
    return PALETTES[name]


def picture_of(title: str, size: Any, names: tuple[str, ...], features: tuple[str, ...], space: Any, axes: Axes | None,
               *, recurrent: bool, framed: bool, palette: Any = RED_BLUE.name) -> Picture:  # fmt: skip
    """A picture for an observation space.

    Raises:
        InputError: the size is no pair of even numbers in range, or the palette is unknown.
    """
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise InputError(f"Expected a video_size of (width, height) in pixels, got {shown(size)}.")
    bounds = float(space.low.min()), float(space.high.max())
    return Picture(title, size[0], size[1], names, features, axes, bounds, recurrent, framed, palette_named(palette))
