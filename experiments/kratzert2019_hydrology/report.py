"""Results as CSV and tables, and what is written for `seqxai series explain` to try: nothing in the README's tables is typed by hand."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from catchment import INPUTS as INPUTS
from safetensors.torch import save_file

from seqxai.files import written_whole

BEGIN, END = "<!-- tables: written by run.py --update -->", "<!-- end of tables -->"
FILES = ("results.csv", "seasons.csv", "cells.csv")
FIGURES = ("fig_19_2.png", "fig_19_3.png", "fig_19_4.png", "fig_19_5.png")
SEASONS = {
    "A": ((1, 100), (100, 160), (160, 200), (200, 300), (300, 367)),
    "B": ((1, 100), (100, 180), (180, 280), (280, 367)),
}
"""Days of the year between which the chapter describes the influence of past days."""


def write(out: Path, files: dict[str, list[dict[str, object]]]) -> None:
    """Write a CSV file for every name, and tables.md."""
    for name, lines in files.items():
        with written_whole(out / f"{name}.csv") as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)
    with written_whole(out / "tables.md") as partial:
        partial.write_text(tables(out))


def read(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def update(here: Path, out: Path) -> None:
    """Copy the CSV files and figures beside the README and renew its tables."""
    for name in (*FILES, *FIGURES):
        if (out / name).exists():
            shutil.copy(out / name, here / name)
    readme = here / "README.md"
    before, rest = readme.read_text().split(BEGIN)
    readme.write_text(f"{before}{BEGIN}\n\n{tables(here)}\n{END}{rest.split(END)[1]}")


def tables(out: Path) -> str:
    """The README's tables, from the CSV files."""
    results, basins = read(out / "results.csv"), []
    for line in results:
        if line["basin"] not in basins:
            basins.append(line["basin"])
    parts = [_scores(results, basins), _influence(read(out / "seasons.csv"))]
    parts += [_agreement(results, basins), _storages(results, basins), _snow_cell(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _table(title: str, head: list[str], rows: list[list[object]]) -> str:
    return "\n".join([f"### {title}", "", _row(*head), _row(*["---"] * len(head)), *(_row(*row) for row in rows)])


def _value(results: list[dict[str, str]], basin: str, quantity: str, method: str = "") -> str:
    found = [r["value"] for r in results if (r["basin"], r["quantity"], r["method"]) == (basin, quantity, method)]
    return found[0] if found else "–"


PUBLISHED = {"A": ("56 %", "0.79", "0.76"), "B": ("0 %", "0.72", "0.72")}


def _scores(results: list[dict[str, str]], basins: list[str]) -> str:
    rows: list[list[object]] = []
    for basin in basins:
        ours = [f"{100 * float(_value(results, basin, 'snow fraction')):.0f} %"]
        ours += [_value(results, basin, f"NSE {split}") for split in ("train", "validation", "test")]
        snow, validation, test = PUBLISHED[basin]
        rows.append([basin, ours[0], snow, ours[1], ours[2], validation, ours[3], test])
    head = ["basin", "snow", "published", "NSE train", "validation", "published", "test", "published"]
    return _table("The basins and the networks", head, rows)


def _influence(seasons: list[dict[str, str]]) -> str:
    parts = []
    for basin in dict.fromkeys(line["basin"] for line in seasons):
        own = [line for line in seasons if line["basin"] == basin]
        spans = list(dict.fromkeys((line["from"], line["to"]) for line in own))
        rows: list[list[object]] = []
        for quantity, method in dict.fromkeys((line["quantity"], line["method"]) for line in own):
            cells = [f"{r['q50']} ({r['q25']} to {r['q75']})" for r in own if (r["quantity"], r["method"]) == (quantity, method)]
            rows.append([quantity, method, *cells])
        head = ["quantity", "by", *(f"day {low} to {int(high) - 1}" for low, high in spans)]
        parts.append(_table(f"Basin {basin}: how many past days count, median (quartiles), through the year", head, rows))
    return "\n\n".join(parts)


def _agreement(results: list[dict[str, str]], basins: list[str]) -> str:
    name = "agreement with true effects of precipitation"
    rows: list[list[object]] = []
    for basin in basins:
        each = [f"{_value(results, basin, name, m)} ({_value(results, basin, name + ', median', m)})" for m in ("LRP", "IG")]
        gap = _value(results, basin, "largest |ΣR - (f(x) - f(0))|", "IG")
        rows.append([basin, *each, _value(results, basin, "correlation of R_t, LRP with IG"), gap])
    head = ["basin", "LRP with the truth", "IG with the truth", "LRP with IG", "completeness gap of IG, largest"]
    return _table("Correlation over the days, mean (median) over samples", head, rows)


def _storages(results: list[dict[str, str]], basins: list[str]) -> str:
    names = ("cells with |ρ| > 0.5", "largest |ρ|", "the same cell, season removed", "largest |ρ|, season removed")
    rows: list[list[object]] = []
    for basin in basins:
        for state in ("SWE", "UZS", "LZS"):
            if _value(results, basin, f"{state}: {names[0]}") != "–":
                rows.append([basin, state, *(_value(results, basin, f"{state}: {name}") for name in names)])
    return _table("Memory cells and storages", ["basin", "storage", *(name.replace("|", "\\|") for name in names)], rows)


def _snow_cell(results: list[dict[str, str]]) -> str:
    rows: list[list[object]] = []
    for label in INPUTS:
        cells = [_value(results, "A", f"snow cell, {kind}: {label}", m) for m in ("LRP", "IG") for kind in ("relevance", "slope")]
        if "–" not in cells:
            rows.append([label, *cells])
    head = ["input", "LRP: mean ΣR", "slope ΣRx/Σx²", "integrated gradients: mean ΣR", "slope ΣRx/Σx²"]
    return _table("What fills the snow cell, on winter days, turned so that more of it means more snow", head, rows) if rows else ""


def figures(out: Path, shown: dict[str, dict[str, Any]]) -> None:
    """The figures of all basins that ran."""
    import figures as drawing

    from seqxai.visualisation import save_figure

    save_figure(drawing.hydrographs(shown), out / "fig_19_2.png", dpi=130)
    save_figure(drawing.influence(shown), out / "fig_19_3.png", dpi=130)
    save_figure(drawing.correlations(shown), out / "fig_19_4.png", dpi=130)
    if "A" in shown:
        save_figure(drawing.snow_cell(shown["A"]), out / "fig_19_5.png", dpi=130)


def example(folder: Path, case: Any) -> None:
    """Weights, three years of weather and the scale of basin A, for `seqxai series explain`."""
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / "river.safetensors") as partial:
        save_file(case.model.state_dict(), str(partial))
    first = int(np.searchsorted(case.basin.dates, np.datetime64("2004-10-01")))
    rows = slice(first, first + 3 * 365)
    with written_whole(folder / "river.csv") as partial, partial.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["date", *INPUTS])
        for date, values in zip(case.basin.dates[rows], case.basin.inputs[rows], strict=True):
            writer.writerow([date, *(f"{value:.1f}" for value in values)])
    with written_whole(folder / "scale.csv") as partial, partial.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["column", "mean", "std"])
        for name, mean, std in zip(INPUTS, case.data.mean, case.data.std, strict=False):
            writer.writerow([name, f"{mean:.6g}", f"{std:.6g}"])
