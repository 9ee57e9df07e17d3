"""Results as CSV, the tables that are drawn from them, and the figure."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from corpus import TOPICS, Document
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from seqxai.files import written_whole
from seqxai.visualisation import colourise

FILES = ("results.csv", "words.csv")
BEGIN, END = "<!-- tables: written by run.py --update -->", "<!-- end of tables -->"
MODELS = ("BoW/SVM", "LSTM")
COLOURS = {"BoW/SVM": "#3b6fb6", "LSTM": "#c0392b"}
Lines = list[dict[str, str]]


def write(out: Path, files: dict[str, list[dict[str, object]]]) -> None:
    """Write the CSV files and tables.md."""
    for name, lines in files.items():
        with written_whole(out / name) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)
    with written_whole(out / "tables.md") as partial:
        partial.write_text(tables(out))


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
    """All tables as Markdown, from the CSV files of a folder."""
    results, words = (read(folder / name) for name in FILES)
    seeds = list(dict.fromkeys(line["seed"] for line in results))
    rows = []
    for measure in dict.fromkeys(line["measure"] for line in results):
        row = [measure]
        for model in (*MODELS, "neither"):
            found = [line["value"] for line in results if line["measure"] == measure and line["model"] == model]
            row.append(", ".join(found) or "–")
        rows.append(row)
    text = [f"### Seeds {', '.join(seeds)}, in %", "", *_table(["", *MODELS, "neither (what the texts alone give)"], rows)]
    text += ["### The ten words with the most relevance for each topic, over the test documents of seed 0", ""]
    rows = [[line["topic"], line["model"], line["words"]] for line in words]
    return "\n".join([*text, *_table(["topic", "classifier", "words"], rows)])


def _table(columns: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in (columns, ["---"] * len(columns), *rows)] + [""]


def draw(path: Path, document: Document, relevance: dict[str, np.ndarray], results: list[dict[str, object]]) -> None:
    """One document in the colours of both classifiers, and what the kinds of words receive."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplot_mosaic([["BoW/SVM", "shares"], ["LSTM", "shares"]], width_ratios=[2.2, 1])
    for model in MODELS:
        _coloured(panels[model], document.words, relevance[model])
        panels[model].set_title(f"{model}: why {list(TOPICS)[document.topic]!r}?  (red for, blue against)", fontsize=9, loc="left")
    _bars(panels["shares"], results)
    with written_whole(path) as partial, partial.open("wb") as file:
        figure.savefig(file, format="png", dpi=110)


def _coloured(axes: Axes, words: tuple[str, ...], relevance: np.ndarray, width: int = 96) -> None:
    """The words of a text on their colours, wrapped."""
    values = relevance[: len(words)]
    colours = colourise(values[None], float(np.abs(values).max()))[0] / 255
    column, row = 0, 0
    for word, colour in zip(words, colours, strict=True):
        if column + len(word) > width:
            column, row = 0, row + 1
        dark = float(colour[:3] @ (0.3, 0.6, 0.1)) < 0.5
        axes.text(
            column, row, word, family="monospace", fontsize=8, color="white" if dark else "black", va="center",
            bbox={"facecolor": colour, "edgecolor": "none", "pad": 1.5},
        )  # fmt: skip
        column += len(word) + 1
    axes.set(xlim=(-0.5, width + 1), ylim=(max(row, 5) + 0.7, -0.7))
    axes.axis("off")


def _bars(axes: Axes, results: list[dict[str, object]]) -> None:
    """Shares of the positive relevance by kind of word: mean over the seeds, a dot for each."""
    measures = [str(line["measure"]) for line in results if str(line["measure"]).startswith("relevance on")]
    kinds = list(dict.fromkeys(measures))
    for shift, model in zip((-0.27, 0, 0.27), (*MODELS, "neither"), strict=True):
        for place, kind in enumerate(kinds):
            found = [float(str(line["value"])) for line in results if line["measure"] == kind and line["model"] == model]
            label = None if place else "share of the words" if model == "neither" else model
            axes.barh(place + shift, np.mean(found), 0.25, color=COLOURS.get(model, "0.7"), label=label)
            axes.plot(found, [place + shift] * len(found), ".", color="black", ms=3)
    axes.set(yticks=range(len(kinds)), yticklabels=[kind.removeprefix("relevance on ").replace(" (", "\n(") for kind in kinds])
    axes.set(xlabel="share of the positive relevance, %")
    axes.invert_yaxis()
    axes.tick_params(labelsize=8)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
