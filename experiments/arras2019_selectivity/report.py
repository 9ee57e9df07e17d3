"""Curves, intervals and orderings as CSV, the tables that are drawn from them, and the figure."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from seqxai.evaluation import DeletionCurve, Selectivity, Sentences, WordDeletion
from seqxai.evaluation.deletion import bootstrap
from seqxai.files import written_whole
from seqxai.visualisation.deletion import plot_deletion
from seqxai.visualisation.figure import save_figure

METHODS = {
    "Occlusion P-diff": "occlusion-probability",
    "Occlusion f-diff": "occlusion",
    "LRP-all": "lrp-all",
    "CD": "",
    "Gradient x Input": "gradient-times-input",
    "Gradient": "gradient",
    "LRP-prop": "lrp-prop",
    "LRP-abs": "lrp-abs",
    "LRP-half": "lrp-half",
    "CD, biases to the phrase": "",
}
"""Those of Fig 11.5 beside random, and a variant of CD: name here -> name in ``seqxai.comparison.by_name``."""
RANDOM = "random"
MARGIN = 5.0  # points of mean accuracy, set before anything was measured
ORDERS: tuple[Literal["decreasing", "increasing"], ...] = ("decreasing", "increasing")
TITLES = {
    "decreasing": "Left: sentences classified correctly ({}), most relevant words deleted first; accuracy in %, lower is better",
    "increasing": "Right: sentences classified wrongly ({}), least relevant words deleted first; accuracy in %, higher is better",
}
FILES = ("results.csv", "orderings.csv")
BEGIN, END = "<!-- tables: written by run.py --update -->", "<!-- end of tables -->"
Lines = list[dict[str, str]]


def curves(
    network: Any, inputs: Sentences, found: dict[str, tuple[Tensor, float]], words: int, runs: int, seed: int
) -> dict[str, Selectivity]:
    """Both curves of every method, and of random orders."""
    metrics = {order: WordDeletion(words, order) for order in ORDERS}
    each = {
        name: Selectivity(*(metric.curve(network, inputs, relevance) for metric in metrics.values()), seconds)
        for name, (relevance, seconds) in found.items()
    }
    chance = Selectivity(*(metric.random(network, inputs, runs=runs, seed=seed) for metric in metrics.values()), 0.0)
    return {**each, RANDOM: chance}


def claims() -> Lines:
    """What the section says of the figure, line by line: the better method, the worse one, or two that are the same."""
    return read(Path(__file__).parent / "expected.csv")


def judged(claim: dict[str, str], better: DeletionCurve, worse: DeletionCurve, seed: int) -> dict[str, object]:
    """One claim against what was found: the difference of the mean accuracies over the deletions, with its paired 95 % interval.

    The difference is positive where the first method is the better one.  An ordering "holds" if the interval is above zero, is
    "reversed" if it is below, and else "undecided".  Methods the section calls on par, or almost equivalent, are so if they differ by
    less than ``MARGIN`` points.
    """
    sign = -1 if claim["order"] == "decreasing" else 1
    difference = 100 * sign * (better.by_sentence - worse.by_sentence)
    low, high = bootstrap(difference, seed=seed)
    verdict = "holds" if low > 0 else "reversed" if high < 0 else "undecided"
    if claim["relation"] == "same":
        verdict = "holds" if abs(float(difference.mean())) < MARGIN else "differs"
    return {
        **claim, "difference": f"{float(difference.mean()):.2f}", "low": f"{low:.2f}", "high": f"{high:.2f}", "verdict": verdict,
    }  # fmt: skip


def write(out: Path, found: dict[str, Selectivity], seconds: dict[str, float], seed: int) -> None:
    """Write both CSV files, tables.md and the figure."""
    results: list[dict[str, object]] = []
    for order in ORDERS:
        for name, each in found.items():
            curve = each.curve(order)
            assert curve is not None
            low, high = curve.interval(seed=seed)
            numbers = {"mean": curve.area, "low": low, "high": high}
            line = {"order": order, "method": name, "sentences": len(curve.sentences)}
            line |= {f"after_{count}": f"{100 * value:.2f}" for count, value in enumerate(curve.accuracy.tolist())}
            line |= {key: f"{100 * value:.2f}" for key, value in numbers.items()}
            results.append({**line, "largest_std": f"{float(curve.spread.max()):.4f}", "seconds": f"{seconds.get(name, 0.0):.1f}"})
    orderings = []
    for claim in claims():
        pair = [found[claim[key]].curve(claim["order"]) for key in ("first", "second") if claim[key] in found]
        if len(pair) == 2 and pair[0] is not None and pair[1] is not None:
            orderings.append(judged(claim, pair[0], pair[1], seed))
    for name, lines in zip(FILES, (results, orderings), strict=True):
        with written_whole(out / name) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)
    with written_whole(out / "tables.md") as partial:
        partial.write_text(tables(out))
    shown = {name: each for name, each in found.items() if "," not in name}  # without the variant of CD: the ten of the figure
    save_figure(plot_deletion(shown), out / "figure.png", dpi=110)


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


def tables(folder: Path) -> str:
    """All tables as Markdown, from the CSV files of a folder; the best method first."""
    results, orderings = (read(folder / name) for name in FILES)
    text: list[str] = []
    for order in ORDERS:
        lines = [line for line in results if line["order"] == order]
        lines.sort(key=lambda line: float(line["mean"]), reverse=order == "increasing")
        deleted = [key for key in lines[0] if key.startswith("after_")]
        rows = [
            [line["method"], *(f"{float(line[key]):.1f}" for key in (*deleted, "mean")),
             f"{line['low']} to {line['high']}", line["seconds"]]
            for line in lines
        ]  # fmt: skip
        columns = ["words deleted", *(key.removeprefix("after_") for key in deleted), "mean of them", "95 % interval", "seconds to explain"]
        text += [f"### {TITLES[order].format(lines[0]['sentences'])}", "", *_table(columns, rows)]
    text += ["### What the section says of the figure, and what is found here", ""]
    rows = [
        [{"decreasing": "left", "increasing": "right"}[one["order"]], f"{one['first']} {SIGNS[one['relation']]} {one['second']}",
         f"{one['difference']} ({one['low']} to {one['high']})", one["verdict"]]
        for one in orderings
    ]  # fmt: skip
    return "\n".join([*text, *_table(["panel", "claim", "difference in points, paired (95 % interval)", "here"], rows)])


SIGNS = {"better": "better than", "same": "as good as"}


def _table(columns: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in (columns, ["---"] * len(columns), *rows)] + [""]
