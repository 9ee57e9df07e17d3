"""Results as CSV, and the tables that are drawn from it: nothing in the README's tables is typed by hand."""

from __future__ import annotations

import csv
import statistics as st
from pathlib import Path

from explain import METHODS, STATISTICS

from seqxai.files import written_whole

HERE = Path(__file__).parent
HEADINGS = ("ρ(n_a, R_a)", "ρ(n_b, R_b)", "E[(|R_a| + |R_b|) / Σ|R_t|]")
BEGIN, END = "<!-- tables: written by run.py --update -->", "<!-- end of tables -->"
Lines = list[dict[str, str]]


def aggregate(task: str, cells: int, weights: str, found: dict[str, list[dict[str, float]]]) -> list[dict[str, object]]:
    """Mean and standard deviation over the models, in percent, of every method and statistic."""
    lines: list[dict[str, object]] = []
    for method, models in found.items():
        for name in STATISTICS:
            values = [100 * model[name] for model in models]
            spread = st.stdev(values) if len(values) > 1 else 0.0
            lines.append(
                {
                    "task": task, "cells": cells, "weights": weights, "method": method, "statistic": name,
                    "mean": f"{st.fmean(values):.3f}", "std": f"{spread:.3f}", "models": len(values),
                }
            )  # fmt: skip
    return lines


def write(out: Path, training: list[dict[str, object]], results: list[dict[str, object]]) -> None:
    """Write training.csv, results.csv and tables.md."""
    for name, lines in (("training.csv", training), ("results.csv", results)):
        if lines:
            with written_whole(out / name) as partial, partial.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
                writer.writeheader()
                writer.writerows(lines)
    with written_whole(out / "tables.md") as partial:
        partial.write_text(tables(out))


def update(here: Path, out: Path) -> None:
    """Copy the CSV files beside the README and renew its tables."""
    for name in ("training.csv", "results.csv"):
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
    results, training = read(folder / "results.csv"), read(folder / "training.csv")
    expected = {
        (line["task"], line["method"], line["statistic"]): f"{line['mean']} ({line['std']})"
        for line in read(HERE / "expected.csv")
    }
    return "\n".join([_main(results, expected), _sweep(results), _training(training)])


def _cell(lines: Lines, **where: object) -> str:
    found = [line for line in lines if all(line[k] == str(v) for k, v in where.items())]
    if not found:
        return "–"
    mean, std = float(found[0]["mean"]), float(found[0]["std"])
    digits = 3 if abs(mean) > 99.9 else 1
    return f"{mean:.{digits}f} ({std:.{digits}f})"


def _main(results: Lines, expected: dict[tuple[str, str, str], str]) -> str:
    text = []
    for task in ("addition", "subtraction"):
        models = {line["weights"]: line["models"] for line in results if line["task"] == task and line["cells"] == "1"}
        text += [f"### {task.capitalize()}: mean (standard deviation) in % over {models.get('trained', 0)} models", ""]
        text += ["| method | |" + "".join(f" {h} |" for h in HEADINGS), "|---|---|" + "---|" * len(HEADINGS)]
        for method in METHODS:
            rows = {
                "published": [expected[task, method, s] for s in STATISTICS],
                "ours": [_cell(results, task=task, cells=1, weights="trained", method=method, statistic=s) for s in STATISTICS],
                "stopped early": [
                    _cell(results, task=task, cells=1, weights="stopped", method=method, statistic=s) for s in STATISTICS
                ],
            }
            for who, values in rows.items():
                text.append(f"| {method if who == 'published' else ''} | {who} | " + " | ".join(values) + " |")
        text.append("")
    return "\n".join(text)


def _sweep(results: Lines) -> str:
    text = ["### More cells, and addition of positive numbers", ""]
    settings = dict.fromkeys((line["task"], int(line["cells"])) for line in results if line["weights"] == "trained")
    for statistic, heading in zip(STATISTICS, HEADINGS, strict=True):
        text += [f"{heading}, mean (standard deviation) in %:", ""]
        text += ["| task | cells |" + "".join(f" {m} |" for m in METHODS), "|---|---|" + "---|" * len(METHODS)]
        for task, cells in sorted(settings):
            values = [_cell(results, task=task, cells=cells, weights="trained", method=m, statistic=statistic) for m in METHODS]
            text.append(f"| {task} | {cells} | " + " | ".join(values) + " |")
        text.append("")
    return "\n".join(text)


def _training(training: Lines) -> str:
    text = ["### Training", ""]
    names = list(training[0])
    text += ["| " + " | ".join(n.replace("_", " ") for n in names) + " |", "|" + "---|" * len(names)]
    text += ["| " + " | ".join(line.values()) + " |" for line in training]
    return "\n".join([*text, ""])
