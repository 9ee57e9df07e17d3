"""Hit rates with their intervals as CSV, the tables that are drawn from it, and the figure."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from explain import METHODS, RANDOM, SEVEN, Hits
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sentences import CONDITIONS

from seqxai.files import written_whole

BEGIN, END = "<!-- tables: written by run.py --update -->", "<!-- end of tables -->"
FILES = ("results.csv", "training.csv")
MEASURES = ("subject", "number")
DRAWS = 2000
Lines = list[dict[str, str]]


def interval(hits: np.ndarray, counted: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of a hit rate by a bootstrap that draws models and sentences anew, each with replacement.

    Args:
        hits: (models, sentences).
        counted: (models, sentences), which of them count.
        seed: decides the draws.
    """
    draw = np.random.default_rng(seed)
    # How often each model and each sentence was drawn: multinomial counts are draws with replacement.
    rows, columns = (draw.multinomial(count, np.full(count, 1 / count), size=DRAWS) for count in hits.shape)
    drawn = [((rows @ table) * columns).sum(1) for table in (hits * counted, counted.astype(float))]
    rates = drawn[0] / np.maximum(1, drawn[1])
    low, high = np.quantile(rates, (0.025, 0.975))
    return float(low), float(high)


def line(found: list[Hits], measure: str, **about: str) -> dict[str, object]:
    """One line of results.csv: a hit rate over the models in percent, its interval, the lowest and the highest model.

    A hit on the subject is counted where a trained model predicts its number; everything else in every sentence.
    """
    hits = np.stack([getattr(one, measure).numpy() for one in found])
    correct = np.stack([one.correct.numpy() for one in found])
    counted = correct if measure == "subject" and about["weights"] == "trained" else np.ones_like(correct)
    low, high = interval(hits, counted)
    each = (hits * counted).sum(1) / np.maximum(1, counted.sum(1))
    numbers = {"hit": (hits * counted).sum() / max(1, counted.sum()), "low": low, "high": high, "lowest": each.min(), "highest": each.max()}
    return {
        **about, "measure": measure, **{name: f"{100 * float(value):.1f}" for name, value in numbers.items()},
        "models": len(found), "counted": int(counted.sum()),
    }  # fmt: skip


def write(out: Path, results: list[dict[str, object]], training: list[dict[str, object]]) -> None:
    """Write both CSV files, tables.md and the figure."""
    for name, lines in zip(FILES, (results, training), strict=True):
        with written_whole(out / name) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)
    with written_whole(out / "tables.md") as partial:
        partial.write_text(tables(out))
    draw(out / "figure.png", read(out / "results.csv"))


def update(here: Path, out: Path) -> None:
    """Copy the CSV files and the figure beside the README and renew its tables."""
    for name in (*FILES, "figure.png"):
        (here / name).write_bytes((out / name).read_bytes())
    readme = here / "README.md"
    before, rest = readme.read_text().split(BEGIN)
    readme.write_text(f"{before}{BEGIN}\n\n{tables(here)}\n{END}{rest.split(END)[1]}")


def read(path: Path) -> Lines:
    """The lines of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def cells(results: Lines, **where: str) -> Lines:
    """The lines that fit."""
    return [one for one in results if all(one[key] == value for key, value in where.items())]


def tables(folder: Path) -> str:
    """All tables as Markdown, from the CSV files of a folder."""
    results, training = (read(folder / name) for name in FILES)
    text: list[str] = []
    for title, where in {
        "The most relevant word is the subject, in % (95 % interval)": ("trained", "score", "subject"),
        "The most relevant word is a noun of the predicted number, in % (95 % interval)": ("trained", "score", "number"),
        "The subject, where the score minus the other number's is explained, in % (95 % interval)": ("trained", "contrast", "subject"),
        "Control: the subject in untrained models, in % (95 % interval)": ("untrained", "score", "subject"),
    }.items():
        text += [f"### {title}", "", *_table(cells(results, **dict(zip(("weights", "target", "measure"), where, strict=True))))]
    rows = [[line["seed"], *(line[condition] for condition in CONDITIONS)] for line in training]
    return "\n".join([*text, "### Accuracy of the trained models, in %", "", *_rows(["seed", *CONDITIONS], rows)])


def _table(results: Lines) -> list[str]:
    rows = []
    for method in (*METHODS, RANDOM):
        row = [f"**{method}**" if method in SEVEN else method]
        for condition in CONDITIONS:
            found = cells(results, method=method, condition=condition)
            row.append(f"{found[0]['hit']} ({found[0]['low']} to {found[0]['high']})" if found else "–")
        if row[1:] != ["–"] * len(CONDITIONS):
            rows.append(row)
    return _rows(["method", *CONDITIONS], rows)


def _rows(columns: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in (columns, ["---"] * len(columns), *rows)] + [""]


def draw(path: Path, results: Lines) -> None:
    """Hit rates on the subject with their intervals, a panel for each condition."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    shown = cells(results, weights="trained", target="score", measure="subject")
    methods = [method for method in METHODS if cells(shown, method=method)]
    order = sorted(methods, key=lambda method: sum(float(one["hit"]) for one in cells(shown, method=method)))
    for axes, condition in zip(figure.subplots(1, len(CONDITIONS), sharey=True), CONDITIONS, strict=True):
        for place, method in enumerate(order):
            (one,) = cells(shown, method=method, condition=condition)
            hit, low, high = (float(one[key]) for key in ("hit", "low", "high"))
            colour = "#c0392b" if method == "LRP-all" else "0.3"
            axes.errorbar(hit, place, xerr=[[max(0.0, hit - low)], [max(0.0, high - hit)]], fmt="o", color=colour, ms=5, capsize=3, lw=1)
        (chance,) = cells(shown, method=RANDOM, condition=condition)
        axes.axvline(float(chance["hit"]), color="#3b6fb6", lw=1, ls="--", label="a random word")
        axes.set(title=condition, xlabel="subject found, %", xlim=(-3, 103), yticks=range(len(order)), yticklabels=order)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", color="0.9")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    with written_whole(path) as partial, partial.open("wb") as file:
        figure.savefig(file, format="png", dpi=110)
