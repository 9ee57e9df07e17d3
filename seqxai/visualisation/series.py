"""Numeric sequences as a figure: every input channel over time, its relevance beneath it, and the sum of every step below.

Colours are signed and on one scale for all channels, targets and series of the figure; the bar at the side prints it.  The sign is
also told without colour: by the totals beside the strips, and by the direction of the bars of the sums.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from seqxai.errors import InputError
from seqxai.visualisation.colour import ArrayLike, as_array, check_finite, check_scale, symmetric_scale
from seqxai.visualisation.figure import GREY, _limit, _mappable, _tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

CHANNELS, SERIES, TARGETS = 16, 4, 4  # more in one figure cannot be read
BINS = 1200  # columns of a strip; longer series are drawn in groups of steps
LEFT, RIGHT, BOTTOM, GAP, LINE = 0.62, 1.15, 0.42, 0.17, 0.22  # inches
CURVE, STRIP, SUM = 0.56, 0.15, 0.95
LETTERS = "abcd"  # of the targets


@dataclass(frozen=True, eq=False)
class Series:
    """One explained series, as it is drawn.

    Attributes:
        relevance: (targets, T, C).
        values: the input channels over time, (T, C); None draws the relevance alone.
        times: (T,) numbers, ``datetime64`` or texts; None counts the steps from 0.
        name: above its column.
        explained: (targets,), the explained scalars, printed beside the sums.
    """

    relevance: np.ndarray
    values: np.ndarray | None = None
    times: np.ndarray | None = None
    name: str = ""
    explained: np.ndarray | None = None

    def __post_init__(self) -> None:
        targets, steps, channels = self.relevance.shape if self.relevance.ndim == 3 else (0, 0, 0)
        if not targets * steps * channels:
            raise InputError(f"Expected relevance of shape (targets, steps, channels) to draw, got {self.relevance.shape}.")
        check_finite(self.relevance)
        if self.values is not None and self.values.shape != (steps, channels):
            raise InputError(f"Expected inputs of the relevance's shape, {(steps, channels)} a series, got {self.values.shape}.")
        if self.times is not None and self.times.shape != (steps,):
            raise InputError(f"Expected a time for each of {steps} steps, got {len(self.times)}.")
        if self.explained is not None and self.explained.shape != (targets,):
            raise InputError(f"Expected an explained scalar for each of {targets} targets, got shape {self.explained.shape}.")


def plot_series(
    relevance: ArrayLike,
    *,
    inputs: ArrayLike | None = None,
    explained: ArrayLike | None = None,
    method: str = "",
    sample: int | Sequence[int] = 0,
    channels: Sequence[str] | None = None,
    times: Any = None,
    series: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    scale: float | None = None,
    palette: str = "red-blue",
) -> "Figure":
    """Draw numeric sequences: the channels over time, R_t beneath each, and the sum of every step.

    Args:
        relevance: (B, T, C), or (targets, B, T, C) for several targets.
        inputs: (B, T, C), what was explained; drawn as curves.
        explained: (B,) or (targets, B), the explained scalars.
        method: printed above.
        sample: which series of the batch, or several of them side by side, at most 4.
        channels: C names.
        times: T numbers, dates (``datetime64``, ``date``, ``datetime``) or texts: the axis of all series.
        series: names of the drawn series.
        targets: names of the targets.
        scale: magnitude with the full colour, in the units of the relevance; by default ``symmetric_scale`` of all that is drawn.
            Pass one to figures that are to be compared.
        palette: a name in ``PALETTES``.

    Returns:
        A ``matplotlib.figure.Figure``, to be saved with ``save_figure`` or shown by a notebook.

    Raises:
        InputError: shapes or names that do not fit each other, too much for one figure, or relevance that is not finite.
    """
    every = as_array(relevance)
    if every.ndim not in (3, 4):
        raise InputError(f"Expected relevance of shape (B, T, C) or (targets, B, T, C), got {every.shape}.")
    every = every if every.ndim == 4 else every[None]
    chosen = [sample] if isinstance(sample, int) else list(sample)
    for index in chosen:
        if not 0 <= index < every.shape[1]:
            raise InputError(f"Expected a sample in 0..{every.shape[1] - 1}, got {index}; the batch has {every.shape[1]}.")
    if series is not None and len(series) != len(chosen):
        raise InputError(f"Expected a name for each of {len(chosen)} series, got {len(series)}.")
    shown = None if inputs is None else as_array(inputs)
    scalars = None if explained is None else as_array(explained).reshape(every.shape[0], -1)
    names = series or [f"series {index}" if len(chosen) > 1 else "" for index in chosen]
    drawn = [
        Series(every[:, i], None if shown is None else shown[i], _times(times), name, None if scalars is None else scalars[:, i])
        for i, name in zip(chosen, names, strict=True)
    ]
    return draw_series(drawn, method=method, channels=channels, targets=targets, scale=scale, palette=palette)


def is_series(attribution: Any) -> bool:
    """Whether an attribution explains numbers over time, (B, T, C), of no more channels than are drawn one by one."""
    relevance, inputs = attribution.relevance, attribution.inputs
    if isinstance(relevance, tuple) or relevance.dim() != attribution.explained.dim() + 2 or not 0 < relevance.shape[-1] <= CHANNELS:
        return False
    return inputs is None or bool(inputs.dtype.is_floating_point)


def plot_attribution(attribution: Any, sample: int | Sequence[int] = 0, **options: Any) -> "Figure":
    """:func:`plot_series` of an attribution's numeric sequences; the batch may be behind the steps.

    Args:
        attribution: a :class:`seqxai.Attribution` whose input is (B, T, C), with one or several targets.
        sample: one or several.
        options: see :func:`plot_series`; ``labels`` is another name of ``times``.
    """
    options["times"] = options.pop("labels", options.get("times"))
    several = attribution.explained.dim() - 1
    inputs = attribution.inputs if hasattr(attribution.inputs, "movedim") else None
    return plot_series(
        attribution.relevance.movedim(several + attribution.batch, several),
        inputs=None if inputs is None else inputs.movedim(attribution.batch, 0), explained=attribution.explained,
        method=attribution.method, sample=sample, **{"targets": attribution.target.split("; ")} | options,
    )  # fmt: skip


def draw_series(
    series: Sequence[Series],
    *,
    method: str = "",
    channels: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    scale: float | None = None,
    palette: str = "red-blue",
) -> "Figure":
    """The same for series of different lengths, each with times of its own.

    Args:
        series: at most 4, of the same channels and targets.
        method, channels, targets, scale, palette: see :func:`plot_series`.

    Raises:
        InputError: see there.
    """
    plan = _Plan(series, _names(series, channels, 2, "channel"), _names(series, targets, 0, "target"), method)
    groups = [_Grouped.of(one) for one in series]
    limit = symmetric_scale(np.concatenate([g.relevance.ravel() for g in groups])) if scale is None else scale
    check_scale(limit)
    colours = _mappable(limit, palette)
    figure = plan.figure()
    for column, group in enumerate(groups):
        _draw_column(plan, figure, column, group, colours)
    _same_limits(plan)
    bar = _colour_bar_beside(plan, figure, colours, np.concatenate([g.relevance.ravel() for g in groups]))
    bar.set_label(f"relevance {groups[0].per} (against − + for)", color=GREY, fontsize=8)
    if method:
        figure.text(LEFT / plan.width, 1 - 0.1 / plan.height, method, fontsize=10, va="top", weight="bold")
    return figure


@dataclass(frozen=True, eq=False)
class _Plan:
    """Where everything stands, in inches; the axes by what they show."""

    series: Sequence[Series]
    channels: Sequence[str]
    targets: Sequence[str]
    method: str
    curves: dict[int, "list[Axes]"] = field(default_factory=dict)
    sums: "list[Axes]" = field(default_factory=list)

    @property
    def inner(self) -> float:
        """Width of a column."""
        return {1: 6.6, 2: 4.0}.get(len(self.series), 2.9)

    @property
    def width(self) -> float:
        """Of the figure."""
        return LEFT + RIGHT + len(self.series) * (self.inner + 0.5) - 0.5

    @property
    def shows_values(self) -> bool:
        """Whether there are curves."""
        return all(one.values is not None for one in self.series)

    @property
    def block(self) -> float:
        """Height of one channel."""
        return CURVE * self.shows_values + STRIP * len(self.targets) + GAP

    @property
    def top(self) -> float:
        """Room above the first channel: its name, the series' names, the method."""
        return 0.3 + LINE * (bool(self.method) + any(one.name for one in self.series))

    @property
    def height(self) -> float:
        """Of the figure."""
        return self.top + BOTTOM + len(self.channels) * self.block + len(self.targets) * (SUM + GAP) - GAP

    def figure(self) -> "Figure":
        """Empty."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(self.width, self.height))
        FigureCanvasAgg(figure)
        return figure

    def axes(self, figure: "Figure", column: int, top: float, height: float) -> "Axes":
        """New axes, ``top`` inches below the upper edge."""
        left = LEFT + column * (self.inner + 0.5)
        box = (left / self.width, 1 - (top + height) / self.height, self.inner / self.width, height / self.height)
        found: Axes = figure.add_axes(box)
        return found


@dataclass(frozen=True, eq=False)
class _Grouped:
    """A series with at most ``BINS`` steps: relevance added up, values as mean, lowest and highest of the steps grouped."""

    relevance: np.ndarray
    values: tuple[np.ndarray, np.ndarray, np.ndarray] | None
    edges: np.ndarray
    dates: bool
    texts: np.ndarray | None
    source: Series
    size: int

    @property
    def per(self) -> str:
        """What one column stands for."""
        return "a step" if self.size == 1 else f"of {self.size} steps"

    @classmethod
    def of(cls, one: Series) -> "_Grouped":
        """Group the steps of a series."""
        steps = one.relevance.shape[1]
        size = -(-steps // BINS)
        starts = np.arange(0, steps, size)
        places, dates, texts = _places(one.times, steps)
        values = None
        if one.values is not None:
            counts = np.diff(np.append(starts, steps))[:, None]
            v = one.values.astype(np.float64)
            mean = np.add.reduceat(v, starts) / counts
            values = (mean, np.minimum.reduceat(v, starts), np.maximum.reduceat(v, starts))
        edges = _edges(places)
        relevance = np.add.reduceat(one.relevance.astype(np.float64), starts, axis=1)
        return cls(relevance, values, np.append(edges[starts], edges[-1]), dates, texts, one, size)


def _times(times: Any) -> np.ndarray | None:
    if times is None:
        return None
    found = np.asarray(times)
    return found.astype("datetime64[us]") if found.dtype == object else found


def _places(times: np.ndarray | None, steps: int) -> tuple[np.ndarray, bool, np.ndarray | None]:
    """Numbers on the axis, whether they are dates, and the texts if they are neither."""
    if times is None:
        return np.arange(steps, dtype=np.float64), False, None
    if np.issubdtype(times.dtype, np.datetime64):
        from matplotlib.dates import date2num

        return np.asarray(date2num(times), dtype=np.float64), True, None
    if times.dtype.kind in "US":
        return np.arange(steps, dtype=np.float64), False, times
    return times.astype(np.float64), False, None


def _edges(places: np.ndarray) -> np.ndarray:
    """Borders half-way between neighbours, (T + 1,)."""
    if len(places) == 1:
        return np.array([places[0] - 0.5, places[0] + 0.5])
    if not (np.diff(places) > 0).all():
        raise InputError("Expected times that grow from step to step; sort the rows by time, or draw them without times.")
    middle = (places[1:] + places[:-1]) / 2
    return np.concatenate([[2 * places[0] - middle[0]], middle, [2 * places[-1] - middle[-1]]])


def _names(series: Sequence[Series], names: Sequence[str] | None, dimension: int, what: str) -> Sequence[str]:
    most = {"channel": CHANNELS, "target": TARGETS}[what]
    if not 1 <= len(series) <= SERIES:
        raise InputError(f"Expected 1 to {SERIES} series in one figure, got {len(series)}; choose some, or make several figures.")
    counts = {one.relevance.shape[dimension] for one in series}
    if len(counts) > 1:
        raise InputError(f"Expected series with the same {what}s, got {' and '.join(map(str, sorted(counts)))} of them.")
    (count,) = counts
    if count > most:
        raise InputError(f"Expected at most {most} {what}s in one figure, got {count}; draw a part of them.")
    if names is not None and len(names) != count:
        raise InputError(f"Expected a name for each of {count} {what}s, got {len(names)}.")
    return names if names is not None else [f"{what} {index}" if count > 1 or what == "channel" else "" for index in range(count)]


def _draw_column(plan: _Plan, figure: "Figure", column: int, group: _Grouped, colours: "ScalarMappable") -> None:
    top = plan.top
    shared: Axes | None = None
    targets = len(plan.targets)
    for channel, name in enumerate(plan.channels):
        if plan.shows_values:
            curve = plan.axes(figure, column, top, CURVE)
            _draw_curve(curve, group, channel, name)
            plan.curves.setdefault(channel, []).append(curve)
        strip = plan.axes(figure, column, top + CURVE * plan.shows_values, STRIP * targets)
        _draw_strip(strip, group, channel, colours, first=not column)
        if not plan.shows_values:
            strip.set_ylabel(name, fontsize=8, rotation=0, ha="right", va="center")
        top += plan.block
    for target in range(targets):
        shared = plan.axes(figure, column, top, SUM)
        _draw_sum(shared, plan, group, target, colours)
        plan.sums.append(shared)
        if not column:
            shared.set_ylabel("all channels", fontsize=7, color=GREY)
        if target < targets - 1:
            shared.tick_params(labelbottom=False)
        top += SUM + GAP
    assert shared is not None
    _draw_time_axis(shared, group)
    title = group.source.name
    if title:
        left = LEFT + column * (plan.inner + 0.5)
        figure.text(left / plan.width, 1 - (0.1 + LINE * bool(plan.method)) / plan.height, title, fontsize=9, va="top")


def _draw_curve(axes: "Axes", group: _Grouped, channel: int, name: str) -> None:
    assert group.values is not None
    mean, low, high = (part[:, channel] for part in group.values)
    middle = (group.edges[1:] + group.edges[:-1]) / 2
    if group.size > 1:
        axes.fill_between(middle, low, high, color="0.8", linewidth=0)
    axes.plot(middle, mean, color="0.1", linewidth=0.8, marker="o" if len(mean) == 1 else None, markersize=3)
    axes.set_xlim(group.edges[0], group.edges[-1])
    axes.text(0.0, 1.04, name, transform=axes.transAxes, fontsize=8, color="black", va="bottom")
    _tidy(axes)
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(labelsize=6, length=2, labelbottom=False, bottom=False)
    axes.locator_params(axis="y", nbins=3)


def _draw_strip(axes: "Axes", group: _Grouped, channel: int, colours: "ScalarMappable", *, first: bool) -> None:
    """One row for each target, told by a letter; its total is written behind it."""
    rows = group.relevance[:, :, channel]
    count = len(rows)
    limit = _limit(colours)
    axes.pcolormesh(group.edges, np.arange(count + 1), rows, cmap=colours.cmap, vmin=-limit, vmax=limit, rasterized=True)
    axes.set(xlim=(group.edges[0], group.edges[-1]), ylim=(count, 0), xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set(linewidth=0.4, color=GREY)
    for row, total in enumerate(rows.sum(axis=1)):
        axes.text(1.005, 1 - (row + 0.5) / count, _signed(total), transform=axes.transAxes, fontsize=6.5, va="center")
        if count > 1:
            axes.axhline(row, color=GREY, linewidth=0.4)
            if first and group.values is not None:
                axes.text(-0.005, 1 - (row + 0.5) / count, LETTERS[row], transform=axes.transAxes, fontsize=6.5, va="center", ha="right")


def _draw_sum(axes: "Axes", plan: _Plan, group: _Grouped, target: int, colours: "ScalarMappable") -> None:
    totals = group.relevance[target].sum(axis=1)
    for part, sign in ((np.maximum(totals, 0), 1), (np.minimum(totals, 0), -1)):
        axes.stairs(part, group.edges, fill=True, color=colours.to_rgba(np.array([sign * 2 / 3 * _limit(colours)]))[0], linewidth=0)
    axes.axhline(0, color=GREY, linewidth=0.6)
    axes.set_xlim(group.edges[0], group.edges[-1])
    several = len(plan.targets) > 1
    words = [f"{LETTERS[target]}   {plan.targets[target]}" if several else plan.targets[target]] if plan.targets[target] else []
    if group.source.explained is not None:
        words.append(f"explained {_plain(float(group.source.explained[target]))}")
    words.append(f"ΣR {_plain(float(totals.sum()))}")
    axes.text(0.0, 1.02, "   ".join(words), transform=axes.transAxes, fontsize=7.5, va="bottom")
    _tidy(axes)
    axes.tick_params(labelsize=6.5, length=2)
    axes.locator_params(axis="y", nbins=4)


def _draw_time_axis(axes: "Axes", group: _Grouped) -> None:
    axes.tick_params(axis="x", labelsize=7)
    if group.dates:
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        locator = AutoDateLocator(minticks=2, maxticks=7)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    elif group.texts is not None:
        every = max(1, -(-len(group.texts) // 12))
        axes.set_xticks(np.arange(0, len(group.texts), every), group.texts[::every], rotation=30, ha="right", rotation_mode="anchor")
    else:
        axes.locator_params(axis="x", integer=True)
        axes.set_xlabel("step" if group.source.times is None else "time", fontsize=8)


def _same_limits(plan: _Plan) -> None:
    """Curves of a channel, and all sums, on one vertical scale, so that series can be compared."""
    for axes in [*plan.curves.values(), plan.sums]:
        limits = [one.get_ylim() for one in axes]
        for number, one in enumerate(axes):
            one.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
            if number >= len(axes) // len(plan.series):
                one.tick_params(labelleft=False)


def _colour_bar_beside(plan: _Plan, figure: "Figure", colours: "ScalarMappable", values: np.ndarray) -> Any:
    """One signed bar for the figure; pointed ends where values lie beyond the scale."""
    limit = _limit(colours)
    above, below = bool((values > limit).any()), bool((values < -limit).any())
    extend = {(True, True): "both", (True, False): "max", (False, True): "min", (False, False): "neither"}[above, below]
    height = min(2.6, 0.8 * plan.height)
    place = figure.add_axes((1 - 0.62 / plan.width, 1 - (plan.top + height) / plan.height, 0.09 / plan.width, height / plan.height))
    bar = figure.colorbar(colours, cax=place, extend=extend)
    place.tick_params(labelsize=6.5, length=2)
    return bar


def _plain(number: float) -> str:
    return f"{number:.4g}".replace("-", "\N{MINUS SIGN}")


def _signed(number: float) -> str:
    return f"{number:+.2g}".replace("-", "\N{MINUS SIGN}")
