"""Figures after 19.2 to 19.5 of the chapter."""

from __future__ import annotations

from typing import Any

import explain
import numpy as np
import torch
from catchment import INPUTS, STATES, UNITS
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from seqxai.visualisation import Series, colour_table, draw_series

COLOURS = {"LRP": "#1b6ca8", "IG": "#c8641c", "truth": "black"}
LABELS = {"LRP": "LRP", "IG": "integrated gradients", "truth": "truth"}
GREY = "0.35"


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _tidy(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=7)


def hydrographs(shown: dict[str, dict[str, Any]]) -> Figure:
    """Fig 19.2: two years of observed and predicted discharge, precipitation from above, snow dark."""
    figure = _figure(8.5, 2.6 * len(shown))
    rows = figure.subplots(len(shown), 1, squeeze=False)[:, 0]
    for axes, (name, found) in zip(rows, shown.items(), strict=True):
        case = found["case"]
        days = case.data.days["test"][:730]
        dates, std, mean = case.basin.dates[days], case.data.std[5], case.data.mean[5]
        axes.plot(dates, case.basin.discharge[days], color="black", lw=1, label="true discharge")
        axes.plot(dates, found["predicted"][:730].numpy() * std + mean, "--", color=COLOURS["LRP"], lw=1, label="predicted")
        axes.set_ylabel("discharge, mm/d", fontsize=8)
        axes.set_title(f"basin {name}", fontsize=9, loc="left")
        rain = axes.twinx()
        weather = case.basin.inputs[days]
        snow = (weather[:, 2] + weather[:, 3]) / 2 < 0
        rain.bar(dates, weather[:, 0], width=1, color=np.where(snow, "0.35", "0.75"))
        rain.set_ylim(4 * weather[:, 0].max(), 0)
        rain.set_ylabel("precipitation, mm/d (snow dark)", fontsize=7)
        axes.set_ylim(0, 1.6 * case.basin.discharge[days].max())
        locator = AutoDateLocator()
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        axes.tick_params(labelsize=7)
        rain.tick_params(labelsize=7)
        axes.legend(fontsize=7, loc="center left", frameon=False)
    return figure


def _by_day(values: torch.Tensor, day: np.ndarray, width: int = 15) -> tuple[np.ndarray, np.ndarray]:
    """Centres of bins of days, and the three quartiles in each, (bins, 3)."""
    starts = np.arange(1, 366, width)
    inside = [values[torch.as_tensor((day >= start) & (day < start + width))].double() for start in starts]
    q = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    found = [part.quantile(q).numpy() if len(part) else np.full(3, np.nan) for part in inside]
    return starts + width / 2, np.stack(found)


def influence(shown: dict[str, dict[str, Any]]) -> Figure:
    """Fig 19.3: how many past days count through the year; TSOI, days of memory of precipitation beside the truth, the climate."""
    figure = _figure(4.4 * len(shown), 7)
    grid = figure.subplots(3, len(shown), squeeze=False, sharex=True)
    for column, (name, found) in enumerate(shown.items()):
        case = found["case"]
        day = case.basin.day_of_year[case.days]
        measures = [{m: explain.time_steps_of_influence(r.sum(2)) for m, r in found["relevance"].items()}]
        measures.append({m: explain.days_of_memory(r[:, :, 0]) for m, r in found["relevance"].items()})
        measures[1]["truth"] = explain.days_of_memory(found["truth"])
        titles = ("TSOI, threshold 2e-3, days", "days with 95 % of |R| of precipitation")
        for row, (title, each) in enumerate(zip(titles, measures, strict=True)):
            axes = grid[row, column]
            for method, values in each.items():
                centres, quartiles = _by_day(values, day)
                axes.fill_between(centres, quartiles[:, 0], quartiles[:, 2], color=COLOURS[method], alpha=0.18, lw=0)
                axes.plot(centres, quartiles[:, 1], color=COLOURS[method], lw=1.2, label=LABELS[method])
            axes.set_ylim(0, case.data.steps)
            axes.set_ylabel(title, fontsize=8)
            axes.legend(fontsize=7, frameon=False, loc="upper left", ncols=3)
            _tidy(axes)
        grid[0, column].set_title(f"basin {name}", fontsize=9, loc="left")
        _climate(grid[2, column], case)
    return figure


def _climate(axes: Any, case: Any) -> None:
    """Discharge and temperature of the test period, medians by day of the year."""
    days = case.data.days["test"]
    day = case.basin.day_of_year[days]
    centres, quartiles = _by_day(torch.as_tensor(case.basin.discharge[days]), day)
    axes.fill_between(centres, quartiles[:, 0], quartiles[:, 2], color="0.8", lw=0)
    axes.plot(centres, quartiles[:, 1], color="black", lw=1.2)
    axes.set(xlabel="day of the year", ylim=(0, None))
    axes.set_ylabel("discharge, mm/d", fontsize=8)
    _tidy(axes)
    other = axes.twinx()
    centres, quartiles = _by_day(torch.as_tensor(case.basin.inputs[days, 2]), day)
    other.plot(centres, quartiles[:, 1], ":", color=GREY)
    other.set_ylabel("tmin, °C (dotted)", fontsize=8)
    other.spines["top"].set_visible(False)
    other.tick_params(labelsize=7)


def correlations(shown: dict[str, dict[str, Any]]) -> Figure:
    """Fig 19.4: every cell against every storage; those beyond 0.5 in bold."""
    from matplotlib.colors import ListedColormap

    figure = _figure(7, 1.5 * len(shown) + 0.5)
    rows = figure.subplots(len(shown), 1, squeeze=False)[:, 0]
    for axes, (name, found) in zip(rows, shown.items(), strict=True):
        rho = found["rho"].numpy().T
        picture = axes.imshow(rho, cmap=ListedColormap(colour_table() / 255.0), vmin=-1, vmax=1, aspect="auto")
        for state, cell in np.ndindex(rho.shape):
            strong = abs(rho[state, cell]) > 0.5
            colour = "white" if abs(rho[state, cell]) > 0.6 else "black"
            axes.text(cell, state, f"{rho[state, cell]:.2f}".replace("-", "−"), ha="center", va="center", fontsize=7, color=colour,
                      weight="bold" if strong else "normal")  # fmt: skip
        axes.set_xticks(range(rho.shape[1]), [f"cell {cell}" for cell in range(rho.shape[1])], fontsize=7)
        axes.set_yticks(range(len(STATES)), STATES, fontsize=8)
        axes.set_title(f"basin {name}", fontsize=9, loc="left")
    figure.colorbar(picture, ax=list(rows), shrink=0.8).set_label("mean correlation over a year", fontsize=8)
    return figure


def snow_cell(found: dict[str, Any]) -> Figure:
    """Fig 19.5: one winter of the snow cell, relevance by both methods beneath the weather."""
    case, snow = found["case"], found["snow"]
    spring = [d for d in snow["days"] if 80 <= case.basin.day_of_year[d] < 91] or list(snow["days"])
    day = int(spring[len(spring) // 2])
    x = case.data.windows(np.array([day]))
    relevance = [snow["sign"] * method(snow["cell"], x)[0].numpy() for method in (explain.integrated(200), explain.lrp)]
    days = slice(day - case.data.steps + 1, day + 1)
    value = snow["sign"] * float(snow["cell"](x).detach())
    one = Series(np.stack(relevance), case.basin.inputs[days], case.basin.dates[days], f"up to {case.basin.dates[day]}", np.full(2, value))
    names = [f"{name} ({UNITS[name]})" for name in INPUTS]
    title = f"memory cell {snow['cell'].unit}, which follows the snow"
    return draw_series([one], method=title, channels=names, targets=["integrated gradients", "LRP"])
