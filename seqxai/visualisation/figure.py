"""``plot``: one sample's relevance as a matplotlib figure, laid out by its shape.

matplotlib is imported when a figure is made, and only its object interface is used: no pyplot state, no window.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from seqxai.errors import InputError
from seqxai.files import written_whole
from seqxai.visualisation.colour import ArrayLike, as_array, check_finite, check_scale, colour_table, symmetric_scale
from seqxai.visualisation.heatmap import to_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

LABELLED_LIMIT = 200  # bars with a readable label each; more make no figure
PLANES = 8  # up to this many channels are drawn apart, unless they are colours
LINES = 6  # up to this many input features of a series are drawn as curves
GREY = "0.35"


def plot(
    relevance: ArrayLike,
    *,
    inputs: ArrayLike | None = None,
    explained: ArrayLike | None = None,
    method: str = "",
    labels: Sequence[str] | None = None,
    sample: int = 0,
    scale: float | None = None,
    palette: str = "red-blue",
) -> "Figure":
    """Draw the relevance of one sample of a batch; maps have a signed colour bar, bars a signed axis.

    By the shape after the batch: (N,) is a bar per value, horizontal with a label each if there are labels (words,
    names of features); (T, F) is a map of steps against features with the sum of every step above it; (C, H, W) is a
    heatmap of the summed channels beside the input for 1 or 3 channels, a row of planes for up to 8 (a frame stack).

    Args:
        relevance: (B, N), (B, T, F) or (B, C, H, W), an array or a tensor.
        inputs: what was explained, of the same shape; drawn beside or above the relevance.
        explained: (B,), the explained scalar per sample, printed beside the sum of the relevance.
        method: printed as the title.
        labels: one text per value of (N,) or per step of (T, F).
        sample: which sample of the batch.
        scale: magnitude with the full colour, in the units of the relevance.  By default the sample's largest magnitude
            for (N,), else ``symmetric_scale`` of the sample.  Pass one scale to figures that are to be compared.
        palette: a name in ``PALETTES``.

    Returns:
        A ``matplotlib.figure.Figure``, to be saved with ``save_figure`` or shown by a notebook.

    Raises:
        InputError: shapes that do not fit each other, a sample out of range, relevance that is not finite, or zero
            everywhere without a scale.
    """
    values = _sample_of(as_array(relevance), sample)
    shown = None if inputs is None else _sample_of(as_array(inputs), sample)
    if shown is not None and shown.shape != values.shape:
        raise InputError(f"Expected inputs of the relevance's shape, {values.shape} a sample, got {shown.shape}.")
    drawn = _maps(values) if values.ndim == 3 else values
    if scale is None:
        scale = symmetric_scale(drawn, quantile=1.0 if values.ndim == 1 else 0.995)
    check_scale(scale)
    check_finite(values)
    colours = _mappable(scale, palette)
    if values.ndim == 3:
        figure = _plot_image(drawn, shown, colours)
    elif values.ndim == 2:
        figure = _plot_series(values, shown, _checked(labels, len(values)), colours)
    else:
        figure = _plot_vector(values, shown, _checked(labels, len(values)), colours)
    _write_title(figure, method, values, explained, sample)
    return figure


def save_figure(figure: "Figure", path: str | os.PathLike[str], dpi: int = 200) -> None:
    """Write a figure as .png, .svg or .pdf by the file's ending; nothing half-written stands under the final name.

    Raises:
        InputError: another ending, or a place that cannot be written.
    """
    with written_whole(path, (".png", ".svg", ".pdf")) as part:
        figure.savefig(part, dpi=dpi)


def _sample_of(batch: np.ndarray, sample: int) -> np.ndarray:
    if batch.ndim not in (2, 3, 4):
        raise InputError(
            f"Expected a batch of shape (B, N), (B, T, F) or (B, C, H, W) to plot, got {batch.shape}; "
            "sum or slice the other dimensions away first."
        )
    if not 0 <= sample < len(batch):
        raise InputError(f"Expected a sample in 0..{len(batch) - 1}, got {sample}; the batch has {len(batch)}.")
    return batch[sample]


def _checked(labels: Sequence[str] | None, count: int) -> Sequence[str] | None:
    if labels is None:
        return None
    if len(labels) != count:
        raise InputError(f"Expected {count} labels, one per value, got {len(labels)}.")
    if count > LABELLED_LIMIT:
        raise InputError(
            f"Expected at most {LABELLED_LIMIT} labelled values in one figure, got {count}; plot a part, or no labels."
        )
    return labels


def _mappable(scale: float, palette: str) -> "ScalarMappable":
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    return ScalarMappable(Normalize(-scale, scale), ListedColormap(colour_table(palette) / 255.0, name=palette))


def _limit(colours: "ScalarMappable") -> float:
    """The magnitude with the full colour."""
    return float(np.max(colours.get_clim()))


def _new_figure(width: float, height: float) -> "Figure":
    """An empty figure with its own canvas, in inches, laid out without overlaps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _colour_bar(figure: "Figure", colours: "ScalarMappable", axes: "Sequence[Axes]", values: np.ndarray) -> None:
    """One signed bar for all axes; pointed ends where values lie beyond the scale."""
    limit = _limit(colours)
    above, below = bool((values > limit).any()), bool((values < -limit).any())
    extend = {(True, True): "both", (True, False): "max", (False, True): "min", (False, False): "neither"}[above, below]
    bar = figure.colorbar(colours, ax=list(axes), extend=extend, shrink=0.9, aspect=25, pad=0.02)
    bar.set_label("relevance (against  −   + for)", color=GREY)
    bar.ax.tick_params(labelsize=8)


def _write_title(figure: "Figure", method: str, values: np.ndarray, explained: ArrayLike | None, sample: int) -> None:
    parts = [f"Σ relevance = {values.sum(dtype=np.float64):.4g}"]
    if explained is not None:
        scalars = as_array(explained).reshape(-1)
        if not 0 <= sample < len(scalars):
            raise InputError(f"Expected one explained scalar per sample, got {len(scalars)} and asked for {sample}.")
        parts.insert(0, f"explained = {float(scalars[sample]):.4g}")
    balance = "    ".join(parts).replace("-", "\N{MINUS SIGN}")
    figure.suptitle("\n".join(filter(None, [method, balance])), fontsize=11)


def _tidy(axes: "Axes") -> None:
    """Only the left and lower line of a graph, and small ticks."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def _plot_vector(
    values: np.ndarray, shown: np.ndarray | None, labels: Sequence[str] | None, colours: "ScalarMappable"
) -> "Figure":
    """Bars: horizontal and labelled, or upright along the index under the input's curve."""
    places, fill = np.arange(len(values)), colours.to_rgba(values)
    if labels is not None:
        figure = _new_figure(6.0, 1.3 + 0.24 * len(values))
        axes = figure.subplots()
        axes.barh(places, values, color=fill, edgecolor=GREY, linewidth=0.4, height=0.8)
        texts = labels if shown is None else [f"{label} = {x:.4g}" for label, x in zip(labels, shown, strict=True)]
        axes.set_yticks(places, texts)
        axes.invert_yaxis()
        axes.axvline(0, color=GREY, linewidth=0.8)
        axes.set_xlabel("relevance")
        _tidy(axes)
        return figure
    figure = _new_figure(8.0, 2.6 if shown is None else 4.2)
    upper, lower = _stacked(figure, shown is not None, (1, 1))
    if upper is not None and shown is not None:
        upper.plot(places, shown, color="black", linewidth=1)
        upper.set_ylabel("input")
        _tidy(upper)
    lower.bar(places, values, color=fill, edgecolor=GREY, linewidth=0.4 if len(values) <= 100 else 0, width=0.9)
    lower.axhline(0, color=GREY, linewidth=0.8)
    lower.margins(x=0.01)
    lower.set(xlabel="index", ylabel="relevance")
    _tidy(lower)
    return figure


def _stacked(figure: "Figure", two: bool, heights: tuple[int, int]) -> "tuple[Axes | None, Axes]":
    """An upper and a lower axis that share the horizontal one, or only the lower."""
    if not two:
        return None, figure.subplots()
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=heights)
    return upper, lower


def _plot_series(
    values: np.ndarray, shown: np.ndarray | None, labels: Sequence[str] | None, colours: "ScalarMappable"
) -> "Figure":
    """Steps to the right, features downwards; above it the sum of every step, and the input's curves if few."""
    steps, features = values.shape
    curves = shown is not None and features <= LINES
    figure = _new_figure(8.0, 3.2 + (1.2 if curves else 0.0) + min(0.18 * features, 4))
    axes = list(figure.subplots(2 + curves, 1, sharex=True, height_ratios=[1] * (1 + curves) + [1 + features / 8]))
    if curves and shown is not None:
        for feature in range(features):  # greys: colour means relevance
            axes[0].plot(shown[:, feature], linewidth=1, color=str(0.75 * feature / features), label=f"{feature}")
        axes[0].legend(title="feature", fontsize=7, title_fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
        axes[0].set_ylabel("input")
        _tidy(axes[0])
    sums, board = axes[-2:]
    totals = values.sum(axis=1)
    sign = colours.to_rgba(np.sign(totals) * 2 / 3 * _limit(colours))
    sums.bar(np.arange(steps), totals, color=sign, width=0.9)
    sums.axhline(0, color=GREY, linewidth=0.8)
    sums.set_ylabel("Σ of step")
    _tidy(sums)
    board.imshow(values.T, cmap=colours.cmap, norm=colours.norm, aspect="auto", interpolation="nearest")
    board.set(xlabel="step", ylabel="feature")
    board.tick_params(labelsize=8)
    board.yaxis.get_major_locator().set_params(integer=True)
    if labels is not None:
        board.set_xticks(np.arange(steps), labels, rotation=45, ha="right", rotation_mode="anchor")
    _colour_bar(figure, colours, axes, values)
    return figure


def _maps(values: np.ndarray) -> np.ndarray:
    """What is drawn of (C, H, W): the planes of a small stack, or else one plane, the sum over the channels."""
    apart = values.shape[0] not in (1, 3) and values.shape[0] <= PLANES
    return values if apart else values.sum(axis=0, keepdims=True)


def _plot_image(maps: np.ndarray, shown: np.ndarray | None, colours: "ScalarMappable") -> "Figure":
    """The input beside the heatmap of the summed channels; a stack of planes in rows, input above relevance."""
    apart = len(maps) > 1
    pictures: list[np.ndarray] = []
    if shown is not None:
        unit = to_unit(shown)
        pictures = list(unit) if apart else [np.moveaxis(unit, 0, -1) if len(unit) == 3 else unit.mean(axis=0)]
    rows, columns = (1 + bool(pictures), len(maps)) if apart else (1, 1 + bool(pictures))
    side = 2.0 if apart else 3.4
    figure = _new_figure(side * columns + 1.2, side * rows * maps.shape[1] / maps.shape[2] + 0.8)
    axes = list(np.ravel(figure.subplots(rows, columns, squeeze=False)))
    for axis, picture in zip(axes, pictures, strict=False):
        axis.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    for axis, plane in zip(axes[len(pictures) :], maps, strict=True):
        axis.imshow(plane, cmap=colours.cmap, norm=colours.norm, interpolation="nearest")
    for number, axis in enumerate(axes):
        axis.set(xticks=[], yticks=[])
        if apart and number < columns:
            axis.set_title(f"plane {number}", fontsize=9, color=GREY)
    _colour_bar(figure, colours, axes, maps)
    return figure
