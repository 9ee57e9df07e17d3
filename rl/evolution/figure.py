"""An evolution on paper: a row per checkpoint, a column per key moment, one scale for all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill, wrap
from typing import Any

import numpy as np

from rl.clock import clock
from rl.drawing import RED_BLUE, Palette, diverging
from rl.evolution.heat import HeatPainter
from rl.evolution.moments import CRITERIA, Moment, key_moments
from rl.evolution.panels import TARGET_WORDS, short_steps
from rl.evolution.stages import Evolution, Stage
from rl.games import display_name
from seqxai.errors import InputError
from seqxai.files import check_writable, written_whole

SUFFIXES = (".png", ".svg", ".pdf")
CELL = (1.26, 1.26 * 210 / 160)
"""Inches of one picture: five of them and the labels fill the width of a page."""
LABEL, GAP_X, GAP_Y, GAP_GAME, HEAD, FOOT = 0.98, 0.1, 0.3, 0.14, 0.62, 0.78
"""Inches beside, between, above and below the pictures."""
BAR, SMALL, LINE, LETTERS, NOTE_MIN = 1.9, 6.5, 0.13, 20, 2.4
"""Of the legend: inches of the colour scale, points of its letters, inches of a line, letters in an inch, least inches."""
DOTS = 300
INK, GREY_INK, EMPTY = "#1a1c22", "#6a7080", "#eceef2"


def evolution_figure(
    evolution: Evolution,
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    moments: Sequence[Moment] | None = None,
    palette: Palette = RED_BLUE,
    decisions: range | None = None,
) -> list[Moment]:
    """Draw the figure.

    Args:
        evolution: what to show.
        path: one file name or several, ending in ``.png``, ``.svg`` or ``.pdf``.
        moments: the columns; the key moments of the game when None.
        palette: the colours of relevance, one of `rl.drawing.PALETTES`.
        decisions: where key moments are looked for; everywhere when None.

    Returns:
        The columns.  Where every checkpoint has a game of its own, the moments are found in each of them by the same
        criteria, and those of the last checkpoint are returned.

    Raises:
        InputError: another ending, a place that cannot be written, or no moment to show.
    """
    places = [path] if isinstance(path, str | os.PathLike) else list(path)
    paths = [check_writable(Path(place), SUFFIXES) for place in places]
    part = range(len(evolution)) if decisions is None else decisions
    own = part if evolution.on_policy and moments is None else None
    columns = list(key_moments(evolution.trajectory, part.start, part.stop) if moments is None else moments)
    if own is not None:  # a moment that only some games have is a column, too
        games = (stage.trajectory for stage in evolution.stages)
        found = {moment.name for game in games for moment in key_moments(game, part.start, part.stop)}
        columns = sorted(columns, key=lambda moment: list(CRITERIA).index(moment.name))
        columns += [Moment(name, -1) for name in CRITERIA if name in found - {moment.name for moment in columns}]
    if not columns:
        raise InputError("no key moment in this part of the game: it is too short; name decisions instead")
    figure = _Figure(evolution, columns, own, palette).drawn()
    import matplotlib as mpl

    for place in paths:
        with mpl.rc_context({"svg.hashsalt": "seqxai", "pdf.fonttype": 42}), written_whole(place, SUFFIXES) as partial:
            figure.savefig(partial, dpi=DOTS, metadata={"Date": None} if place.suffix.lower() == ".svg" else None)
    return columns


class _Figure:
    """The figure being drawn; lengths in inches from the lower left corner."""

    def __init__(self, evolution: Evolution, columns: Sequence[Moment], own: range | None, palette: Palette) -> None:
        from matplotlib.figure import Figure

        self._evolution, self._columns, self._own = evolution, columns, own
        self._first = 0 if evolution.on_policy else 1  # a row with the game itself, where all look at the same
        rows = len(evolution.stages) + self._first
        self._width = LABEL + len(columns) * (CELL[0] + GAP_X) + 0.05
        beside = self._width - LABEL - BAR - 0.4
        self._narrow = beside < NOTE_MIN  # the note then stands below the colour scale instead of beside it
        self._note = self._wrapped(self._width - LABEL if self._narrow else beside)
        self._foot = FOOT + (LINE * len(self._note) if self._narrow else 0.0)
        self._height = HEAD + rows * (CELL[1] + GAP_Y) + self._foot - (GAP_Y - GAP_GAME) * self._first
        self._figure = Figure(figsize=(self._width, self._height), facecolor="white")
        self._painter = HeatPainter(evolution.limit, palette, in_colour=evolution.on_policy)

    def drawn(self) -> Any:
        """Everything."""
        for column, moment in enumerate(self._columns):
            self._head(column, moment)
            if self._first:
                self._picture(0, column, self._evolution.trajectory.screens[moment.decision])
        if self._first:
            self._label(0, "the game", "", "")
        for number, stage in enumerate(self._evolution.stages):
            score = stage.checkpoint.mean_score
            told = "not measured" if score is None else f"{score:.1f}"
            self._label(number + self._first, short_steps(stage.checkpoint.agent_steps), "agent steps", f"score {told}")
            self._stage(number, stage)
        self._legend()
        return self._figure

    def _wrapped(self, inches: float) -> list[str]:
        """The small print, in lines of a width."""
        evolution = self._evolution
        target = TARGET_WORDS.get(evolution.target, f"the action {evolution.target.upper()}")
        note = (
            f"{display_name(evolution.trajectory.game)}. Relevance for {target}, per observed pixel; rules {evolution.composite}; "
            "one scale for all pictures; sums are off by at most "
            f"{evolution.balance:.0e}. Below each: the action it would take, and its Q-value."
        )
        return wrap(note, int(inches * LETTERS), break_on_hyphens=False)

    def _decisions(self, stage: Stage) -> list[int | None]:
        """The decision of each column in a stage's game; None where it has no such moment."""
        if self._own is None:
            return [moment.decision for moment in self._columns]
        found = {moment.name: moment.decision for moment in key_moments(stage.trajectory, self._own.start, self._own.stop)}
        return [found.get(moment.name) for moment in self._columns]

    def _stage(self, number: int, stage: Stage) -> None:
        """A row."""
        decisions = self._decisions(stage)
        there = [decision for decision in decisions if decision is not None]
        relevance, q_values, _ = self._evolution.look(number, there)
        for column, decision in enumerate(decisions):
            if decision is None:
                self._picture(number + self._first, column, None, "does not happen")
                continue
            place = there.index(decision)
            picture = self._painter.paint(relevance[place], stage.trajectory.screens[decision])
            choice = int(q_values[place].argmax())
            words = f"{stage.agent.actions[choice]}  {q_values[place, choice]:.2f}"
            self._picture(number + self._first, column, picture, words)

    def _corner(self, row: int, column: int) -> tuple[float, float]:
        """Lower left corner of a picture."""
        saved = GAP_Y - GAP_GAME if self._first and row else 0.0  # nothing stands below the pictures of the game
        return LABEL + column * (CELL[0] + GAP_X), self._height - HEAD - (row + 1) * CELL[1] - row * GAP_Y + saved

    def _text(self, x: float, y: float, text: str, size: float, colour: str = INK, **how: Any) -> None:
        """Words at a place."""
        self._figure.text(x / self._width, y / self._height, text, size=size, color=colour, **how)

    def _head(self, column: int, moment: Moment) -> None:
        """What a column is."""
        x, y = self._corner(0, column)
        when = "" if self._own is not None else f"\n{clock(moment.decision)}"
        words = fill(moment.name, 18) + when
        self._text(x + CELL[0] / 2, y + CELL[1] + 0.07, words, 7.5, ha="center", va="bottom", linespacing=1.25)

    def _label(self, row: int, *lines: str) -> None:
        """What a row is: large, and smaller below."""
        _, y = self._corner(row, 0)
        middle = y + CELL[1] / 2
        self._text(LABEL - 0.14, middle + 0.03, lines[0], 10 if lines[1] else 7.5, ha="right", va="bottom")
        self._text(LABEL - 0.14, middle - 0.02, "\n".join(lines[1:]), 7, GREY_INK, ha="right", va="top", linespacing=1.35)

    def _picture(self, row: int, column: int, picture: np.ndarray | None, words: str = "") -> None:
        """One cell, and what it says below."""
        x, y = self._corner(row, column)
        axes = self._figure.add_axes((x / self._width, y / self._height, CELL[0] / self._width, CELL[1] / self._height))
        axes.set_axis_off()
        if picture is None:
            axes.add_patch(_rectangle(axes))
        else:
            axes.imshow(picture, interpolation="nearest", aspect="auto")
        self._text(x + CELL[0] / 2, y - 0.04, words, 7, GREY_INK if picture is None else INK, ha="center", va="top")

    def _legend(self) -> None:
        """The colour scale and what it means."""
        base = self._foot - FOOT
        axes = self._figure.add_axes((LABEL / self._width, (base + 0.44) / self._height, BAR / self._width, 0.1 / self._height))
        ramp = np.linspace(-1.0, 1.0, 256, dtype=np.float32)[None]
        axes.imshow(diverging(ramp, np.zeros_like(ramp), self._painter.palette), aspect="auto")
        axes.set_axis_off()
        number = f"{self._evolution.limit:.2g}"
        for text, share in ((f"\N{MINUS SIGN}{number}", 0.0), ("0", 0.5), (f"+{number}", 1.0)):
            self._text(LABEL + share * BAR, base + 0.4, text, SMALL, GREY_INK, ha="center", va="top")
        self._text(LABEL, base + 0.57, "against", SMALL, GREY_INK, ha="left", va="bottom")
        self._text(LABEL + BAR, base + 0.57, "for", SMALL, GREY_INK, ha="right", va="bottom")
        x, y = (LABEL, 0.1 + base / 2) if self._narrow else (LABEL + BAR + 0.36, 0.5)
        self._text(x, y, "\n".join(self._note), SMALL, GREY_INK, va="center", linespacing=1.4)


def _rectangle(axes: Any) -> Any:
    """A quiet place where a picture would be."""
    from matplotlib.patches import Rectangle

    return Rectangle((0, 0), 1, 1, transform=axes.transAxes, facecolor=EMPTY, edgecolor="none")
