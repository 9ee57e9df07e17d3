"""One episode: its events on top, the relevance of its steps by every method below."""

from __future__ import annotations

from pathlib import Path

from environment import COIN, LEFT, MONEYBAG, Episodes
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from seqxai.files import written_whole

GOLD, BROWN, GREY, BLUE, RED = "#e0a800", "#8c4a00", "#999999", "#3b6fb6", "#c0392b"


def draw(path: Path, episodes: Episodes, relevance: dict[str, Tensor], row: int) -> None:
    """Write the figure of episode ``row``: two columns of methods, each under a strip of the events."""
    figure = Figure(figsize=(10, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    names = list(relevance)
    per_column = len(names) // 2
    left = [*names[: per_column - 1], names[-2]]
    right = [*names[per_column - 1 : -2], names[-1]]
    grid = figure.subplots(per_column + 1, 2, sharex=True, height_ratios=[0.6] + [1.0] * per_column)
    x = episodes.x[row]
    for column, methods in enumerate((left, right)):
        strip(grid[0][column], x)
        for axes, name in zip(grid[1:, column], methods, strict=True):
            bars(axes, x, relevance[name][row], name)
        grid[-1][column].set_xlabel("step")
    paid = int(episodes.paid[row, -1])
    figure.suptitle(f"return {paid}: coins count once the moneybag is taken", fontsize=11)
    with written_whole(path) as partial, partial.open("wb") as file:
        figure.savefig(file, format="png", dpi=90)


def strip(axes: Axes, x: Tensor) -> None:
    """M where the moneybag is taken, C where a coin is, arrows for the moves."""
    before = x[:, MONEYBAG].cumsum(0) == 0
    for t, step in enumerate(x):
        axes.text(t + 1, 0.2, "←" if step[LEFT] else "→", ha="center", va="center", color=GREY, fontsize=9)
        if step[MONEYBAG]:
            event(axes, t + 1, "M", BROWN)
        if step[COIN]:
            event(axes, t + 1, "C", GREY if before[t] else GOLD)
    axes.set(ylim=(0, 1), xlim=(0.3, len(x) + 0.7), yticks=[], xticks=range(2, len(x) + 1, 2))
    axes.set_title("M moneybag   C coin (grey: before it, unpaid)   ←→ move", fontsize=8)


def event(axes: Axes, at: int, letter: str, colour: str) -> None:
    disc = {"boxstyle": "circle", "fc": colour, "ec": "none"}
    axes.text(at, 0.65, letter, ha="center", va="center", color="white", fontsize=9, bbox=disc)


def bars(axes: Axes, x: Tensor, relevance: Tensor, name: str) -> None:
    """R_t of every step; the events keep a light band through all rows."""
    per_step = (relevance.sum(1) if relevance.dim() == 2 else relevance).tolist()
    before = x[:, MONEYBAG].cumsum(0) == 0
    for t, step in enumerate(x):
        if step[MONEYBAG] or step[COIN]:
            colour = BROWN if step[MONEYBAG] else GREY if before[t] else GOLD
            axes.axvspan(t + 0.5, t + 1.5, color=colour, alpha=0.18, linewidth=0)
    axes.bar(range(1, len(x) + 1), per_step, width=0.7, color=[BLUE if r < 0 else RED for r in per_step])
    axes.axhline(0, color="black", linewidth=0.6)
    axes.margins(y=0.12)
    axes.set_title(name, fontsize=9, loc="left")
    axes.tick_params(labelsize=7)
