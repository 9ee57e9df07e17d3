"""Figures 11.6 and 11.7: the events of one episode, and beneath them the relevance of every step by each method."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from environment import COIN, FEATURES, MONEYBAG, Episodes
from explain import DIFFERENCES, GRADIENTS, PRODUCTS, Explanation
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure

SHOWN = (*PRODUCTS, GRADIENTS, DIFFERENCES)
COLOURS = {"moneybag": "#d95f02", "coin after": "#1b9e77", "coin before": "#7570b3", "no event": "0.6"}


def kinds(x: np.ndarray) -> list[str]:
    """What each step of an episode (T, 4) is, a key of ``COLOURS``."""
    has_bag = np.cumsum(x[:, MONEYBAG]) > 0
    names = []
    for step, after in zip(x, has_bag, strict=True):
        coin = "coin after" if after else "coin before"
        names.append("moneybag" if step[MONEYBAG] else coin if step[COIN] else "no event")
    return names


def choose(data: Episodes) -> dict[str, int]:
    """The first episode for each figure: without and with coins before the moneybag; both with three or more coins after it."""
    found: dict[str, int] = {}
    for index, (x, length) in enumerate(zip(data.x.numpy(), data.lengths.tolist(), strict=True)):
        steps = kinds(x[:length])
        bag_in_time = "moneybag" in steps and 4 <= steps.index("moneybag")
        if bag_in_time and steps.count("coin after") >= 3:
            early = steps.count("coin before")
            if early != 1:
                found.setdefault("fig_11_7" if early else "fig_11_6", index)
    return found


def draw(path: Path, data: Episodes, index: int, explained: dict[str, Explanation]) -> None:
    """Write one figure.

    Args:
        path: of the PNG.
        data: the explained episodes.
        index: which of them.
        explained: by method, of all the episodes.
    """
    length = int(data.lengths[index])
    x = data.x[index, :length].numpy()
    score = float(explained[SHOWN[0]].explained[index])
    figure = Figure(figsize=(7.2, 7.6), layout="constrained")
    axes = figure.subplots(len(SHOWN) + 1, 1, sharex=True, height_ratios=[1.25, *[1.0] * len(SHOWN)])
    _events(axes[0], x)
    axes[0].set_title(f"return {int(data.returns[index])}, predicted {score:.2f}", fontsize=10)
    for axis, method in zip(axes[1:], SHOWN, strict=True):
        _bars(axis, explained[method].relevance[index, :length].sum(1).numpy(), x, method)
    axes[-1].set_xlabel("step")
    axes[-1].set_xticks(range(0, length, 2), [str(step + 1) for step in range(0, length, 2)])
    handles = [axes[0].scatter([], [], marker="s", color=colour, label=name) for name, colour in COLOURS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(COLOURS), fontsize=9, frameon=False)
    figure.savefig(path, dpi=110)


def _events(axis: Axes, x: np.ndarray) -> None:
    """The four features, filled where they are 1, in the colour of the event."""
    palette = [to_rgb("white"), *map(to_rgb, COLOURS.values())]
    codes = np.zeros_like(x.T)
    for step, kind in enumerate(kinds(x)):
        number = 1 + list(COLOURS).index(kind)
        neutral = len(COLOURS)  # actions are grey
        for feature in range(len(FEATURES)):
            codes[feature, step] = x[step, feature] * (number if feature in (MONEYBAG, COIN) else neutral)
    axis.imshow(codes, cmap=ListedColormap(palette), vmin=0, vmax=len(COLOURS), aspect="auto", interpolation="nearest")
    axis.set_yticks(range(len(FEATURES)), FEATURES, fontsize=9)
    axis.set_yticks(np.arange(len(FEATURES) - 1) + 0.5, minor=True)
    axis.set_xticks(np.arange(len(x) - 1) + 0.5, minor=True)
    axis.grid(which="minor", color="0.85", linewidth=0.5)
    axis.tick_params(which="both", length=0)


def _bars(axis: Axes, relevance: np.ndarray, x: np.ndarray, method: str) -> None:
    """Relevance of the steps, coloured by event."""
    axis.bar(range(len(x)), relevance, color=[COLOURS[kind] for kind in kinds(x)], width=0.8)
    axis.axhline(0, color="0.3", linewidth=0.6)
    axis.set_ylabel("R", rotation=0, fontsize=9)
    axis.set_title(method, fontsize=9, loc="left", pad=2)
    axis.tick_params(labelsize=8)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
