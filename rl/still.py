"""One moment of a film as a picture: the frame itself as PNG, or a figure for a paper as SVG or PDF with vector text."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rl.checks import whole_number
from rl.clock import DECISIONS_PER_SECOND, clock
from rl.drawing import RED_BLUE, diverging, veil
from rl.explaining import Decisions, Moment
from rl.games import display_name
from rl.panels import Grid, Scene, design
from rl.panels.pictures import PLANE_NAMES
from rl.panels.strip import page_of
from rl.panels.words import SHOWN_MIN, rule_and_target
from rl.preprocessing import to_screen
from rl.scale import QUANTILE, Scale, measure
from rl.video import check_palette, check_quantile, check_range, frames
from seqxai.errors import InputError
from seqxai.files import written_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")
AROUND = 8 * DECISIONS_PER_SECOND
"""Decisions before and after that the curves of a figure show."""
TAKEN, OTHER = "#b8860b", "#8a93a6"


def render_still(
    decisions: Decisions,
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    decision: int,
    *,
    layout: str = "full",
    size: tuple[int, int] | None = None,
    scale: float | None = None,
    quantile: float = QUANTILE,
    palette: str = RED_BLUE.name,
    start: int = 0,
    stop: int | None = None,
    measured: Scale | None = None,
) -> Scale:
    """Write one explained decision as a picture.

    Args:
        decisions: what to show.
        path: file name ending in ``.png`` (the frame of the video), ``.svg`` or ``.pdf`` (a figure); or several.
        decision: which, counted from 0.
        layout: of a PNG, as for :func:`rl.render`; a figure always shows everything.
        size: of a PNG in pixels.
        scale: of a PNG, pixels per pixel of the game.
        quantile: share of pixels, over all decisions, below full colour.
        palette: as for :func:`rl.render`.
        start: first decision of the video the picture is from.
        stop: one past its last.
        measured: the video's colour scale; measured here when None.

    Returns:
        The colour scale.

    Raises:
        InputError: a path that cannot be written, or a decision that is not there.
    """
    places = [Path(path)] if isinstance(path, str | os.PathLike) else [Path(place) for place in path]
    start, stop = check_range(decisions, start, stop)
    decision = whole_number("decision", decision)
    if not start <= decision < stop:
        raise InputError(f"decision {decision + 1} is not shown: expected one of {start + 1} .. {stop}")
    grid = design(layout).grid(size, scale)
    colours = check_palette(palette)
    measured = measured or measure(decisions, check_quantile(quantile), start, stop)
    scene = Scene(decisions, measured, start, stop, colours)
    for place in places:
        with written_whole(place, SUFFIXES) as partial:
            if place.suffix.lower() == ".png":
                _frame(scene, grid, layout, decision, partial)
            else:
                _save(figure(scene, decision), partial)
    return measured


def _frame(scene: Scene, grid: Grid, layout: str, decision: int, path: Path) -> None:
    """The frame of the video; the strip needs the decisions of its page before this one."""
    from PIL import Image

    first = page_of(decision, scene.start, scene.stop)[0] if layout == "full" else decision
    for _, picture in frames(scene, grid, layout, first=first, stop=decision + 1):
        last = picture
    Image.fromarray(last).save(path)


def _save(drawn: Figure, path: Path) -> None:
    """With text as text, so that it can be searched, edited and set in the paper's own font; the same file every time."""
    from matplotlib import rc_context

    date = {"Date": None} if path.suffix == ".svg" else {"CreationDate": None}
    with rc_context({"svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": "seqxai"}):
        drawn.savefig(path, metadata=date)


def figure(scene: Scene, decision: int) -> Figure:
    """A figure of one decision on white: pictures as pixels, everything else as vectors.

    Args:
        scene: what to show.
        decision: which, counted from 0.
    """
    from matplotlib.figure import Figure

    moment = next(scene.decisions.part(np.array([decision])).moments())
    drawn = Figure(figsize=(7.4, 4.5), layout="constrained")
    halves: Any = drawn.subfigures(2, 1, height_ratios=[3.0, 1.5])
    upper, lower = halves
    game, planes, values = upper.subfigures(1, 3, width_ratios=[2.3, 2.5, 2.6])
    _game(game, scene, moment)
    _planes(planes, scene, moment)
    _values(values.subplots(), scene, moment)
    _curves(lower, scene, decision)
    drawn.suptitle(_title(scene, moment), fontsize=8, x=0.01, ha="left")
    drawn.supxlabel(_note(scene, moment), fontsize=6.5, x=0.01, ha="left")
    return drawn


def _title(scene: Scene, moment: Moment) -> str:
    trajectory = scene.decisions.trajectory
    return (
        f"{display_name(trajectory.game)}, decision {moment.decision + 1} ({clock(moment.decision)}), "
        f"agent after {trajectory.agent_steps:,} decisions of training"
    )


def _note(scene: Scene, moment: Moment) -> str:
    """The sum, the balance, the rule."""
    shown = {name: value for name, value in moment.ledger.items() if abs(value) >= SHOWN_MIN}
    parts = " + ".join(f"{'pixels' if name == 'input' else name.replace('_', ' ')} {value:.3f}" for name, value in shown.items())
    total = f"{scene.decisions.label(moment.decision)} = {moment.explained:.3f} = {parts}"
    return f"{total}; balance off by {moment.balance:.0e}. {rule_and_target(scene).capitalize()}."


def _game(place: Any, scene: Scene, moment: Moment) -> None:
    """The game with relevance over it, and what the colours mean."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    axes, limit = place.subplots(), scene.scale.limit
    summed = to_screen(moment.relevance.sum(axis=0)) / np.float32(limit)
    axes.imshow(veil(summed, scene.screen(moment.decision), scene.palette), interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    ends = [np.divide(colour, 255) for colour in (scene.palette.negative, (0, 0, 0), scene.palette.positive)]
    colours = ScalarMappable(Normalize(-limit, limit), LinearSegmentedColormap.from_list(scene.palette.name, ends, N=511))
    bar = place.colorbar(colours, ax=axes, orientation="horizontal", ticks=[-limit, 0, limit], aspect=18, pad=0.03)
    bar.ax.set_xticklabels([f"−{limit:.2g}", "0", f"+{limit:.2g}"], fontsize=6.5)
    bar.set_label("relevance per observed pixel", fontsize=6.5)
    bar.outline.set_visible(False)


def _planes(place: Any, scene: Scene, moment: Moment) -> None:
    """The four frames with their own relevance."""
    seen = scene.decisions.trajectory.observations(np.array([moment.decision]))[0].astype(np.float32)
    limit = np.float32(scene.scale.limit)
    for plane, axes in enumerate(place.subplots(2, 2).ravel()):
        axes.imshow(diverging(moment.relevance[plane] / limit, seen[plane], scene.palette), interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"{PLANE_NAMES[plane]}: {100 * moment.shares[plane]:.0f} %", fontsize=7, pad=2)


def _values(axes: Any, scene: Scene, moment: Moment) -> None:
    """Q-values as bars."""
    trajectory = scene.decisions.trajectory
    taken = int(trajectory.chosen[moment.decision])
    places = np.arange(len(trajectory.actions))
    letters = 7 if len(places) <= 9 else 5.5
    axes.barh(places, moment.q_values, height=0.6, color=[TAKEN if place == taken else OTHER for place in places])
    axes.set_yticks(places, trajectory.actions, fontsize=letters)
    for place, value in enumerate(moment.q_values):
        text = dict(fontsize=letters, va="center", xytext=(3 if value >= 0 else -3, 0), textcoords="offset points")
        axes.annotate(f"{value:.3f}", (value, place), ha="left" if value >= 0 else "right", **text)
    axes.invert_yaxis()
    axes.margins(x=0.22)
    axes.axvline(0, color="black", linewidth=0.6)
    axes.set_title(f"{_quantity(scene)} of each action", fontsize=7, pad=3)
    _tidy(axes)


def _quantity(scene: Scene) -> str:
    """What the agent's outputs are."""
    return "Q-value" if scene.decisions.quantity == "Q" else scene.decisions.quantity


def _curves(place: Any, scene: Scene, decision: int) -> None:
    """Q of the action taken within the spread of all, rewards and lives, for some seconds around."""
    trajectory = scene.decisions.trajectory
    first, stop = max(scene.start, decision - AROUND), min(scene.stop, decision + AROUND)
    rows = np.arange(first, stop)
    seconds, q_values = rows / DECISIONS_PER_SECOND, trajectory.q_values[rows]
    upper, lower = place.subplots(2, 1, sharex=True, height_ratios=[2.2, 1])
    upper.fill_between(seconds, q_values.min(axis=1), q_values.max(axis=1), color=OTHER, alpha=0.35, linewidth=0, label="all actions")
    upper.plot(seconds, q_values[np.arange(len(rows)), trajectory.chosen[rows]], color="black", linewidth=0.8, label="action taken")
    upper.set_ylabel(_quantity(scene), fontsize=7)
    upper.legend(fontsize=6, frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 0.97), borderpad=0)
    lower.step(seconds, trajectory.lives[rows], where="mid", color="black", linewidth=0.8)
    gains = rows[trajectory.rewards[rows] != 0] / DECISIONS_PER_SECOND
    most = max(1, int(trajectory.lives[rows].max()))
    lower.vlines(gains, 0, most, color=TAKEN, linewidth=1)
    lower.set_ylabel("lives,\nreward", fontsize=7)
    lower.set_ylim(0, most * 1.15)
    lower.set_xlabel("seconds of play", fontsize=7)
    for axes in (upper, lower):
        axes.axvline(decision / DECISIONS_PER_SECOND, color=TAKEN, linewidth=1.2)
        axes.margins(x=0)
        _tidy(axes)


def _tidy(axes: Any) -> None:
    """Only the left and lower line of a graph, and small ticks."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="x", labelsize=6.5)
    if axes.get_title() == "":
        axes.tick_params(axis="y", labelsize=6.5)
