"""Results as CSV, and the tables that are drawn from it: nothing in the README's tables is typed by hand."""

from __future__ import annotations

import csv
import statistics as st
from pathlib import Path

from data import TASKS
from explain import METHODS, PASSING, STATISTICS, passes

from seqxai.files import written_whole

HERE = Path(__file__).parent
HEADINGS = ("ρ(n_a, R_a)", "ρ(n_b, R_b)", "E[(\\|R_a\\| + \\|R_b\\|) / Σ\\|R_t\\|]")  # a bare bar would end the cell
SOURCES = ("irrelevant", "relevant", "state", "bias")
DIGITS = {"addition": (3, 3, 2), "subtraction": (1, 1, 1)}  # of the published table
BEGIN, END = "<!-- tables: written by run.py --update -->", "<!-- end of tables -->"
FILES = ("results.csv", "training.csv", "weights.csv")
Lines = list[dict[str, str]]


def aggregate(task: str, cells: int, weights: str, found: dict[str, list[dict[str, float]]]) -> list[dict[str, object]]:
    """Mean and standard deviation over the models, in percent, of every method and statistic.

    The statistic "passed" is the number of models that pass, see :func:`explain.passes`.
    """
    lines: list[dict[str, object]] = []
    for method, models in found.items():
        about = {"task": task, "cells": cells, "weights": weights, "method": method}
        for name in STATISTICS:
            values = [100 * model[name] for model in models]
            spread = f"{st.stdev(values):.3f}" if len(values) > 1 else "0.000"
            lines.append({**about, "statistic": name, "mean": f"{st.fmean(values):.3f}", "std": spread, "models": len(values)})
        passed = sum(passes(model, TASKS[task]) for model in models)
        lines.append({**about, "statistic": "passed", "mean": passed, "std": "", "models": len(models)})
    return lines


def write(out: Path, files: dict[str, list[dict[str, object]]]) -> None:
    """Write a CSV file for every name, and tables.md."""
    for name, lines in files.items():
        if lines:
            with written_whole(out / f"{name}.csv") as partial, partial.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
                writer.writeheader()
                writer.writerows(lines)
    with written_whole(out / "tables.md") as partial:
        partial.write_text(tables(out))


def update(here: Path, out: Path) -> None:
    """Copy the CSV files beside the README and renew its tables."""
    for name in FILES:
        (here / name).write_text((out / name).read_text())
    readme = here / "README.md"
    before, rest = readme.read_text().split(BEGIN)
    readme.write_text(f"{before}{BEGIN}\n\n{tables(here)}\n{END}{rest.split(END)[1]}")


def read(path: Path) -> Lines:
    """The lines of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def tables(folder: Path) -> str:
    """All tables as Markdown, from the CSV files of a folder."""
    results, training, weights = (read(folder / name) for name in FILES)
    text = [*_main(results), *_stopped(results), *_learnt(weights), *_by_gate(results), *_sweep(results), *_training(training)]
    return "\n".join(text)


def _number(lines: Lines, digits: int, **where: object) -> str:
    """Mean and standard deviation of the one line that fits, or a dash."""
    found = [line for line in lines if all(line[key] == str(value) for key, value in where.items())]
    if not found:
        return "–"
    (line,) = found
    return f"{float(line['mean']):.{digits}f} ({float(line['std']):.{digits}f})"


def _table(columns: list[str], rows: list[list[str]]) -> list[str]:
    lines = [columns, ["---"] * len(columns), *rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines] + [""]


def _main(results: Lines) -> list[str]:
    expected = read(HERE / "expected.csv")
    text = []
    for task, digits in DIGITS.items():
        rows = []
        for method in METHODS:
            row = [method]
            for name, places in zip(STATISTICS, digits, strict=True):
                row.append(_number(results, places, task=task, cells=1, weights="trained", method=method, statistic=name))
                row.append(_number(expected, places, task=task, method=method, statistic=name))
            rows.append(row)
        columns = ["method"] + [name for heading in HEADINGS for name in (heading, "published")]
        text += [
            f"### {task.capitalize()}: mean and standard deviation over {_models(results, task, 'trained')} models, in %",
            "",
        ]
        text += _table(columns, rows)
    return text


def _models(results: Lines, task: str, weights: str) -> str:
    found = [line["models"] for line in results if (line["task"], line["cells"], line["weights"]) == (task, "1", weights)]
    return found[0] if found else "no"


def _stopped(results: Lines) -> list[str]:
    text = []
    for task, digits in DIGITS.items():
        rows = [
            [method]
            + [
                _number(results, places, task=task, cells=1, weights="stopped", method=method, statistic=name)
                for name, places in zip(STATISTICS, digits, strict=True)
            ]
            for method in METHODS
        ]
        models = _models(results, task, "stopped")
        text += [f"### {task.capitalize()}, each of {models} models stopped at the first validation error below 1e-4, in %", ""]
        text += _table(["method", *HEADINGS], rows)
    return text


def _learnt(weights: Lines) -> list[str]:
    text = []
    for task in DIGITS:
        found = {(line["to"], line["from"]): line for line in weights if line["task"] == task}
        rows = [
            [to] + [_range(found[to, source]) if (to, source) in found else "–" for source in SOURCES]
            for to in dict.fromkeys(to for to, _ in found)
        ]
        text += [f"### What the {task} models learnt: median weight (lowest to highest), turned to a positive output", ""]
        text += _table(["to", "irrelevant number", "relevant number", "state", "bias"], rows)
    return text


def _range(line: dict[str, str]) -> str:
    return f"{float(line['median']):.1f} ({float(line['lowest']):.1f} to {float(line['highest']):.1f})"


def _by_gate(results: Lines) -> list[str]:
    rows = []
    for which in ("output gate opens", "output gate closes"):
        models = [line["models"] for line in results if line["weights"] == which]
        where = {"task": "subtraction", "weights": which, "statistic": "corr_b"}
        rows.append([which, models[0] if models else "0", *(_number(results, 1, method=method, **where) for method in METHODS)])
    text = ["### Subtraction: ρ(n_b, R_b) in %, by what a relevant number does to the output gate", ""]
    return text + _table(["models whose", "count", *METHODS], rows)


def _sweep(results: Lines) -> list[str]:
    settings = sorted({(line["task"], int(line["cells"])) for line in results if line["weights"] == "trained"})
    text = []
    rows = [
        [task, str(cells)] + [_passed(results, task=task, cells=cells, weights="trained", method=m) for m in METHODS]
        for task, cells in settings
    ]
    text += [f"### More cells, and addition of positive numbers: models with both correlations beyond {PASSING:.0%}", ""]
    text += _table(["task", "cells", *METHODS], rows)
    for name, heading in zip(STATISTICS, HEADINGS, strict=True):
        rows = [
            [task, str(cells)]
            + [_number(results, 1, task=task, cells=cells, weights="trained", method=m, statistic=name) for m in METHODS]
            for task, cells in settings
        ]
        plain = heading.replace("\\|", "|")
        text += [f"### More cells, and addition of positive numbers: {plain} in %", ""]
        text += _table(["task", "cells", *METHODS], rows)
    return text


def _passed(results: Lines, **where: object) -> str:
    found = [r for r in results if r["statistic"] == "passed" and all(r[key] == str(value) for key, value in where.items())]
    return f"{found[0]['mean']} of {found[0]['models']}" if found else "–"


def _training(training: Lines) -> list[str]:
    columns = [name.replace("_", " ") for name in training[0]]
    return ["### Training", "", *_table(columns, [list(line.values()) for line in training])]
