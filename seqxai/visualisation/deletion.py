"""The figure of a word-deletion experiment: accuracy over deleted words, a line for each method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from seqxai.evaluation import DeletionCurve, Selectivity
from seqxai.visualisation.figure import GREY, _new_figure, _tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's colours, told apart by every kind of colour vision, twice: full lines and dashes; markers for print without colour.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00")
MARKERS = "osD^vP*X<>"
TITLES = {
    "decreasing": "most relevant words first,\nsentences classified correctly ({}); lower is better",
    "increasing": "least relevant words first,\nsentences classified wrongly ({}); higher is better",
}


def plot_deletion(results: Mapping[str, Selectivity]) -> Figure:
    """Draw what :func:`seqxai.evaluation.selectivity` found, as Fig 11.5 of Arras et al. 2019.

    Args:
        results: method -> its curves; the method "random" is drawn in black, with a band of one standard deviation of its runs.

    Returns:
        A ``matplotlib.figure.Figure``, to be saved with ``save_figure``; a panel for each order there are sentences for.
    """
    orders = [order for order in TITLES if any(found.curve(order) is not None for found in results.values())]
    figure = _new_figure(1.8 + 4.2 * len(orders), 4.2)
    panels = figure.subplots(1, len(orders), squeeze=False)[0]
    for axes, order in zip(panels, orders, strict=True):
        count = 0
        named = [name for name in results if name != "random"]
        for name, found in results.items():
            curve = found.curve(order)
            if curve is not None:
                _line(axes, name, curve, None if name == "random" else named.index(name))
                count = len(curve.sentences)
                axes.set_xticks(range(len(curve.accuracy)))
        axes.set_title(TITLES[order].format(count), fontsize=9)
        axes.set_xlabel("words deleted")
        _tidy(axes)
    panels[0].set_ylabel("accuracy, %")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", fontsize=8, frameon=False)
    return figure


def _line(axes: Axes, name: str, curve: DeletionCurve, number: int | None) -> None:
    accuracy, spread = (100 * numbers.numpy() for numbers in (curve.accuracy, curve.spread))
    places = range(len(accuracy))
    if number is None:
        axes.plot(places, accuracy, color="black", lw=1.2, ls=":", label=name)
        axes.fill_between(places, accuracy - spread, accuracy + spread, color=GREY, alpha=0.25, lw=0)
        return
    axes.plot(
        places, accuracy, color=COLOURS[number % 5], ls="-" if number % 10 < 5 else "--", marker=MARKERS[number % 10], ms=4.5, lw=1.3,
        markerfacecolor=COLOURS[number % 5] if number % 10 < 5 else "white", label=name,
    )  # fmt: skip
