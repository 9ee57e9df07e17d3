"""The figure: learning curves, relevance by age, the score by length of memory, one decision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from explain import Relevance
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from model import FEATURES

from seqxai.files import written_whole
from seqxai.visualisation import colourise, symmetric_scale

COLOURS = {"DRQN": "#c0392b", "feed-forward": "#3b6fb6"}
AGES = 12


def draw(
    path: Path,
    curves: dict[str, list[list[tuple[int, float]]]],
    relevance: dict[str, list[Relevance]],
    memory: dict[int, list[float]],
) -> None:
    """Write the figure.

    Args:
        path: a PNG file.
        curves: by network, for each seed (decisions, mean return).
        relevance: by network, for each seed.
        memory: steps seen to the DRQN's mean return, for each seed.
    """
    figure = Figure(figsize=(11, 6), layout="constrained")
    FigureCanvasAgg(figure)
    ((first, second), (third, fourth)) = figure.subplots(2, 2)
    learning(first, curves)
    ages(second, relevance)
    lengths(third, memory)
    decision(fourth, relevance["DRQN"][0])
    with written_whole(path) as partial, partial.open("wb") as file:
        figure.savefig(file, format="png", dpi=90)


def learning(axes: Axes, curves: dict[str, list[list[tuple[int, float]]]]) -> None:
    """Mean return of greedy games during training; a line for each seed."""
    for name, seeds in curves.items():
        for number, curve in enumerate(seeds):
            axes.plot(*zip(*curve, strict=True), color=COLOURS[name], lw=1, label=name if number == 0 else None)
    axes.set(xlabel="decisions of training", ylabel="return (500 at most)", title="CartPole without velocities", ylim=(0, 510))
    axes.legend(frameon=False)


def ages(axes: Axes, relevance: dict[str, list[Relevance]]) -> None:
    """Share of |R| by age."""
    for shift, (name, seeds) in zip((-0.2, 0.2), relevance.items(), strict=True):
        shares = np.stack([found.by_age[:AGES] for found in seeds])
        axes.bar(np.arange(AGES) + shift, shares.mean(axis=0), 0.4, color=COLOURS[name], label=name)
        for row in shares:
            axes.plot(np.arange(AGES) + shift, row, ".", color="black", ms=3)
    axes.set(xlabel="steps ago", ylabel="share of |R|", title="where the relevance lies (dots: seeds)", xticks=range(AGES))


def lengths(axes: Axes, memory: dict[int, list[float]]) -> None:
    """The DRQN's score where it sees the last steps only."""
    for seed in range(len(next(iter(memory.values())))):
        axes.plot(range(len(memory)), [returns[seed] for returns in memory.values()], "o-", color=COLOURS["DRQN"], lw=1, ms=4)
    axes.set(
        xlabel="observations the DRQN sees", ylabel="return", title="how much memory it needs to play", ylim=(0, 510),
        xticks=range(len(memory)), xticklabels=[str(steps) for steps in memory],
    )  # fmt: skip


def decision(axes: Axes, found: Relevance) -> None:
    """The decision whose contrast is largest: relevance of each feature at each step."""
    number = int(np.argmax(found.explained))
    table = found.tables[number][-AGES:].T
    axes.imshow(colourise(table, symmetric_scale(table, 1.0)), aspect="auto")
    largest = np.abs(table).max()
    for row, column in np.ndindex(table.shape):
        size = abs(table[row, column]) / largest
        if size >= 0.05:
            colour = "white" if size > 0.5 else "black"
            axes.text(column, row, f"{table[row, column]:+.2f}", ha="center", va="center", fontsize=7, color=colour)
    axes.set(
        yticks=range(len(FEATURES)), yticklabels=FEATURES, xticks=range(table.shape[1]),
        xticklabels=[str(age) for age in range(table.shape[1] - 1, -1, -1)], xlabel="steps ago",
        title=f"one decision: Q(taken) - Q(other) = {found.explained[number]:.2f}",
    )  # fmt: skip
