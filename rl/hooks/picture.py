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
    diverging,
    draw_fitting,
    draw_text,
    fill,
    line_height,
    outline,
    text_width,
)
from rl.hooks.explanation import Explanation
from rl.hooks.pixels import Axes, as_rgb, paste, shown_plane, summed
from seqxai.errors import InputError

MARGIN, GAP, SIDEBAR = 16, 16, 220
HEADER, CAPTION, FOOTER = 44, 20, 74
SMALLEST, LARGEST = (640, 360), (7680, 4320)
NAMED = 24
"""Features beyond this many have no room for names: they become a table of colours."""


@dataclass(frozen=True, eq=False)
class Shot:
    """What a frame shows.

    Attributes:
        frame: rendered, or ``None``.
        grey: what the observation shows, grey levels; ``None`` of a vector.
        relevance: (rows, columns) of a picture; (features,) of a vector; (features, steps) of a recurrent one.
        steps: relevance of each step of a recurrent decision, or ``None``.
        explanation: the decision.
        reward: sum of the rewards of the episode so far.
        step: number of the decision.
    """

    frame: np.ndarray | None
    grey: np.ndarray | None
    relevance: np.ndarray
    steps: np.ndarray | None
    explanation: Explanation
    reward: float
    step: int


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
        self._range = (0.0, 1.0)
        self._background = np.empty((self.height, self.width, 3), np.uint8)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.width, self.height

    def shot(self, frame: np.ndarray | None, explanation: Explanation, reward: float, step: int) -> Shot:
        """Keep of a decision what its frame needs."""
        relevance, observation = explanation.relevance, explanation.observation
        steps = relevance.reshape(len(relevance), -1).sum(axis=1) if self.recurrent else None
        rendered = None if frame is None else as_rgb(frame)
        if self.axes is None:
            flat = relevance.reshape(len(relevance), -1).T if self.recurrent else relevance.reshape(-1)
            return Shot(rendered, None, flat.astype(np.float32), steps, explanation, reward, step)
        newest = (relevance[-1], observation[-1]) if self.recurrent else (relevance, observation)
        grey = shown_plane(newest[1], self.axes, *self.bounds)
        return Shot(rendered, grey, summed(newest[0], self.axes), steps, explanation, reward, step)

    # ---- what stays ----------------------------------------------------------------------------------------------------------------

    def begin(self, scale: float, note: str, first: list[Shot]) -> None:
        """Set the one colour scale and the range of the bars, and paint what is the same in every frame.

        Args:
            scale: value of full colour.
            note: where it is from.
            first: decisions whose Q-values tell the range.
        """
        self._scale, self._note = scale, note
        values = np.concatenate([shot.explanation.q_values for shot in first])
        low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
        room = 0.25 * (high - low) or 1.0
        self._range = (low - room * (low < 0), high + room * (high > 0 or low == 0))
        canvas = self._background
        canvas[:] = BACKGROUND
        canvas[HEADER - 6, MARGIN : self.width - MARGIN] = LINE
        draw_fitting(canvas, self.title, MARGIN, 8, 20, self.width // 2)
        quantity = first[0].explanation.target.split("(")[0] if first else "Q"
        for box, text in self._captions(quantity):
            draw_text(canvas, text, box.x, box.y - CAPTION, 13, QUIET)
        self._legend(canvas, first[0].explanation)
        for index in range(self._rows):
            fill(canvas, self._row(index), SURFACE)
        relevance = first[0].relevance
        if self.axes is None and relevance.ndim == 1 and len(relevance) <= NAMED:
            for row in range(len(relevance)):
                fill(canvas, self._track(row, len(relevance)), SURFACE)

    def _captions(self, quantity: str) -> list[tuple[Box, str]]:
        shows = "what spoke for and against it" if self.axes is None else "what it looked at"
        captions = [(self._relevance, shows), (self._sidebar, f"{quantity if quantity in ('Q', 'logit') else 'Q'} of each action")]
        return [(self._frame, "the environment"), *captions] if self.framed else captions

    def _legend(self, canvas: Canvas, explanation: Explanation) -> None:
        y = self.height - 34
        bar = Box(MARGIN + text_width("against", 13) + 8, y, 160, 12)
        ramp = np.linspace(-1.0, 1.0, bar.width, dtype=np.float32)[None].repeat(bar.height, axis=0)
        canvas[bar.y : bar.bottom, bar.x : bar.right] = diverging(ramp, np.zeros_like(ramp), self.palette)
        draw_text(canvas, "against", MARGIN, y - 4, 13, QUIET)
        draw_text(canvas, "for", bar.right + 8, y - 4, 13, QUIET)
        for text, x in ((f"-{self._scale:.2g}", bar.x), ("0", bar.x + bar.width // 2), (f"+{self._scale:.2g}", bar.right)):
            draw_text(canvas, text, x, bar.bottom + 1, 12, QUIET, "middle")
        right = self.width - MARGIN
        draw_text(canvas, f"{explanation.method}, one colour scale: {self._note}", right, y - 4, 13, QUIET, "right")
        unit = "per pixel, planes summed" if self.axes is not None else "per feature"
        draw_text(canvas, f"relevance in units of the explained value, {unit}", right, y + 13, 12, QUIET, "right")

    # ---- where things are ------------------------------------------------------------------------------------------------------------

    @property
    def _body(self) -> Box:
        y = HEADER + CAPTION + 2
        return Box(MARGIN, y, self.width - 2 * MARGIN, self.height - FOOTER - y)

    @property
    def _sidebar(self) -> Box:
        return Box(self._body.right - SIDEBAR, self._body.y, SIDEBAR, self._body.height)

    @property
    def _frame(self) -> Box:
        width = (self._body.width - SIDEBAR - 2 * GAP) // 2 if self.framed else 0
        return Box(MARGIN, self._body.y, width, self._body.height)

    @property
    def _relevance(self) -> Box:
        x = self._frame.right + (GAP if self.framed else 0)
        return Box(x, self._body.y, self._sidebar.x - GAP - x, self._body.height)

    # ---- what changes ----------------------------------------------------------------------------------------------------------------

    def draw(self, shot: Shot) -> Canvas:
        """One frame, (height, width, 3)."""
        canvas = self._background.copy()
        facts = f"decision {shot.step}    return {shot.reward:g}"
        draw_text(canvas, facts, self.width - MARGIN, 12, 15, QUIET, "right")
        if shot.frame is not None:
            paste(canvas, shot.frame, self._frame)
        if shot.grey is not None:
            box = self._relevance
            strip = 34 if shot.steps is not None else 0
            coloured = diverging(shot.relevance / np.float32(self._scale), shot.grey, self.palette)
            paste(canvas, coloured, Box(box.x, box.y, box.width, box.height - strip))
            if shot.steps is not None:
                self._columns(canvas, Box(box.x, box.bottom - strip + 4, box.width, strip - 4), shot.steps)
        elif shot.relevance.ndim == 1 and len(shot.relevance) <= NAMED:
            self._bars(canvas, self._relevance, shot)
        else:
            self._table(canvas, self._relevance, shot)
        self._values(canvas, shot.explanation)
        self._sum(canvas, shot.explanation)
        return canvas

    def _track(self, row: int, count: int) -> Box:
        """Where the bar of a feature lies, below its name."""
        box, pitch = self._relevance, self._pitch(count)
        top = line_height(self._letters(count))
        return Box(box.x, box.y + row * pitch + top, box.width, max(3, pitch - top - 6))

    def _pitch(self, count: int) -> int:
        return min(56, self._relevance.height // count)

    def _letters(self, count: int) -> int:
        return max(9, min(14, self._pitch(count) // 2 - 2))

    def _bars(self, canvas: Canvas, box: Box, shot: Shot) -> None:
        """A signed bar per feature, with its name and value."""
        count = len(shot.relevance)
        middle, half, size = box.x + box.width // 2, box.width // 2, self._letters(count)
        observed = shot.explanation.observation.reshape(-1)
        for row, (name, relevance, value) in enumerate(zip(self.features, shot.relevance, observed, strict=True)):
            y, track = box.y + row * self._pitch(count), self._track(row, count)
            length = round(half * min(1.0, abs(float(relevance)) / self._scale))
            draw_fitting(canvas, f"{name} = {value:.3g}", box.x, y, size, box.width - 80, QUIET)
            draw_text(canvas, f"{relevance:+.3g}", box.right, y, size, TEXT, "right")
            bar = Box(middle if relevance > 0 else middle - length, track.y, length, track.height)
            fill(canvas, bar, self.palette.positive if relevance > 0 else self.palette.negative)
        fill(canvas, Box(middle, box.y, 1, self._pitch(count) * count), LINE)

    def _table(self, canvas: Canvas, box: Box, shot: Shot) -> None:
        """A cell per feature and step; without steps, a square of cells in the order of the features."""
        table = shot.relevance
        named = table.ndim == 2 and len(table) <= NAMED
        if table.ndim == 1:
            columns = int(np.ceil(len(table) ** 0.5))
            table = np.pad(table, (0, -len(table) % columns)).reshape(-1, columns)
        left = max(text_width(name, 13) for name in self.features) + 8 if named else 0
        strength = (table / self._scale).astype(np.float32)
        height, width = max(1, (box.height - 18) // table.shape[0]), max(1, (box.width - left) // table.shape[1])
        cells = diverging(strength, np.full_like(strength, 24.0), self.palette).repeat(height, axis=0).repeat(width, axis=1)
        canvas[box.y : box.y + cells.shape[0], box.x + left : box.x + left + cells.shape[1]] = cells
        if named:
            for row, name in enumerate(self.features):
                draw_text(canvas, name, box.x, box.y + row * height + (height - line_height(13)) // 2, 13, QUIET)
            y = box.y + cells.shape[0] + 2
            draw_text(canvas, f"{table.shape[1] - 1} decisions ago", box.x + left, y, 12, QUIET)
            draw_text(canvas, "now", box.x + left + cells.shape[1], y, 12, QUIET, "right")

    def _columns(self, canvas: Canvas, box: Box, steps: np.ndarray) -> None:
        """Relevance of each step of the past, as columns on an axis of their own: the largest fills half the height."""
        largest = float(np.abs(steps).max()) or 1.0
        middle, pitch = box.y + box.height // 2, max(1, box.width // len(steps))
        for column, relevance in enumerate(steps):
            length = round(box.height / 2 * abs(float(relevance)) / largest)
            bar = Box(box.x + column * pitch, middle - length if relevance > 0 else middle, max(1, pitch - 1), length)
            fill(canvas, bar, self.palette.positive if relevance > 0 else self.palette.negative)

    @property
    def _action_pitch(self) -> int:
        return max(11, min(46, self._sidebar.height // len(self.names)))

    @property
    def _rows(self) -> int:
        """How many actions there is room for."""
        return min(len(self.names), self._sidebar.height // self._action_pitch)

    def _row(self, index: int) -> Box:
        """Where an action's value is shown."""
        box, pitch = self._sidebar, self._action_pitch
        return Box(box.x, box.y + index * pitch, box.width, pitch - max(1, pitch // 8))

    def _values(self, canvas: Canvas, explanation: Explanation) -> None:
        """A bar per action; the one taken stands out."""
        low, high = self._range
        for index in range(self._rows):
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
            draw_fitting(canvas, self.names[index], row.x + 8, y, size, row.width - 84, TEXT if chosen else QUIET)
            draw_text(canvas, f"{value:.3g}", row.right - 8, y, size, TEXT if chosen else QUIET, "right")

    def _sum(self, canvas: Canvas, explanation: Explanation) -> None:
        """``Q(LEFT) 2.35 = input 2.10 + bias 0.25``."""
        pieces: list[tuple[str, Colour]] = [(explanation.target, ACCENT), (f"{explanation.explained:.3g}", TEXT)]
        least = 0.0005 * max(abs(explanation.explained), 1e-12)
        for name, value in explanation.ledger.items():
            if abs(value) >= least or name == "input":
                pieces += [(f"{'=' if len(pieces) == 2 else '+'} {name.replace('_', ' ')}", QUIET), (f"{value:.3g}", TEXT)]
        x, y = MARGIN, self.height - FOOTER + 8
        for text, colour in pieces:
            draw_text(canvas, text, x, y, 15, colour)
            x += text_width(text, 15) + 7
        draw_text(canvas, f"off by {explanation.balance:.0e}", self.width - MARGIN, y, 15, QUIET, "right")


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
