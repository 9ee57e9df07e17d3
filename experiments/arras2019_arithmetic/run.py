"""Table 11.2 of Arras et al. 2019: seven explanation methods on LSTMs that add and subtract.

    python experiments/arras2019_arithmetic/run.py            # everything, resumes where it was stopped
    python experiments/arras2019_arithmetic/run.py --quick     # seconds: the same path with a few, hardly trained models

Trains the candidates of both tasks, explains the first 50 good ones, repeats it with more cells and with positive addition, and
writes results.csv, training.csv, weights.csv and tables.md into --out.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import report
import torch
from data import COUNTS, TASKS, Sequences, splits
from explain import METHODS, explain, statistics
from torch import Tensor
from train import GOOD, Candidates, Recipe, Training, train

from seqxai.files import written_whole

HERE = Path(__file__).parent
UPDATES = {"addition": 60_000, "subtraction": 10_000}  # see the README for how they were chosen
SWEEP_UPDATES = {"addition": 20_000, "positive-addition": 20_000, "subtraction": 10_000}  # larger networks need fewer
QUICK_COUNTS = {"train": 600, "validation": 100, "test": 100}


@dataclass(frozen=True)
class Setting:
    """One batch of candidates.

    Args:
        task: a name in ``TASKS``.
        cells: memory cells of each model.
        candidates: how many are trained.
        keep: how many of the good ones are explained.
        recipe: how they are trained.
    """

    task: str
    cells: int
    candidates: int
    keep: int
    recipe: Recipe

    @property
    def name(self) -> str:
        """For the folder and for messages."""
        return f"{self.task}-{self.cells}"


def settings(options: argparse.Namespace) -> list[Setting]:
    """Both tasks of the table, then the sweep."""
    if options.quick:
        short = Recipe(steps=60, warm_up=10, rate=0.02)
        main = [Setting(task, 1, 4, 2, short) for task in ("addition", "subtraction")]
        sweep = [Setting("positive-addition", 1, 3, 1, short), Setting("addition", 2, 3, 1, short)]
        return main if options.no_sweep else main + sweep
    main = [
        Setting(task, 1, options.candidates, options.models, Recipe(steps=options.updates or updates, rate=options.rate))
        for task, updates in UPDATES.items()
    ]
    larger = [(task, cells) for cells in (2, 4, 8) for task in UPDATES]
    sweep = [
        Setting(task, cells, 30, 10, Recipe(steps=SWEEP_UPDATES[task], rate=0.02))
        for task, cells in [("positive-addition", 1), *larger]
    ]
    return main if options.no_sweep else main + sweep


class Progress:
    """Lines on standard error: where the run is, not more often than every few seconds."""

    def __init__(self, seconds: float = 5.0) -> None:
        self.seconds = seconds
        self.last = 0.0

    def say(self, text: str, always: bool = False) -> None:
        if always or time.perf_counter() - self.last > self.seconds:
            self.last = time.perf_counter()
            print(text, file=sys.stderr, flush=True)


def trained(setting: Setting, data: dict[str, list[Sequences]], options: argparse.Namespace, progress: Progress) -> Training:
    """The candidates of a setting, trained now, finished, or read from an earlier run."""

    def tell(training: Training, good: int) -> None:
        left = training.seconds / training.step * (setting.recipe.steps - training.step)
        progress.say(
            f"{setting.name}: update {training.step} of {setting.recipe.steps}, {good} of {setting.candidates} below {GOOD:g}, "
            f"{left:.0f} s left",
            training.step == setting.recipe.steps,
        )

    folder = options.out / setting.name
    folder.mkdir(parents=True, exist_ok=True)
    about = {"task": setting.task, "train": str(sum(len(group.x) for group in data["train"]))}
    return train(data, setting.cells, setting.candidates, setting.recipe, options.seed, folder / "state.safetensors", about, tell)


def explained(
    setting: Setting, rows: Tensor, data: list[Sequences], path: Path, methods: list[str], progress: Progress
) -> dict[str, list[dict[str, float]]]:
    """The statistics of every method for every model; written after each model, so that an interrupted run goes on.

    Args:
        setting: for messages and the number of cells.
        rows: the models' parameters.
        data: the sequences that are explained.
        path: where they are kept.
        methods: names in ``METHODS``.
        progress: for messages.
    """
    weights = rows.double().sum(1).tolist()  # what the numbers belong to
    found = json.loads(path.read_text()) if path.exists() else {}
    if found.get("weights") != weights:
        found = {"weights": weights, "methods": {}}
    candidates = Candidates(rows, setting.cells)
    for index in range(len(rows)):
        todo = [method for method in methods if len(found["methods"].get(method, [])) <= index]
        if not todo:
            continue
        model = candidates.module(index)
        for method in todo:
            found["methods"].setdefault(method, []).append(statistics(explain(model, method, data), data))
        with written_whole(path) as partial:
            partial.write_text(json.dumps(found))
        progress.say(f"{path.parent.name}: explained {path.stem} {index + 1} of {len(rows)}", index + 1 == len(rows))
    return {method: found["methods"][method] for method in METHODS if method in found["methods"]}


def run_setting(setting: Setting, options: argparse.Namespace, progress: Progress) -> dict[str, list[dict[str, object]]]:
    """Train and explain one setting: its lines of every CSV file."""
    data = splits(TASKS[setting.task], options.seed, QUICK_COUNTS if options.quick else COUNTS)
    training = trained(setting, data, options, progress)
    validation = Candidates(training.rows, setting.cells).errors(data["validation"])
    good = (validation < GOOD).nonzero()[:, 0]
    failed = setting.candidates - len(good)
    if options.quick:
        good = torch.arange(setting.candidates)  # so short a training makes no good models; the path is what is tried
    kept = good[: setting.keep]
    if len(kept) < setting.keep:
        progress.say(f"{setting.name}: only {len(kept)} of {setting.candidates} candidates are good", always=True)
    test = Candidates(training.rows[kept], setting.cells).errors(data["test"])
    line = {
        "task": setting.task, "cells": setting.cells, "parameters": training.rows.shape[1], "updates": setting.recipe.steps,
        "candidates": setting.candidates, "failed": failed, "kept": len(kept),
        "validation_mse": f"{float(validation[kept].median()):.2e}", "test_mse": f"{float(test.median()):.2e}",
        "largest_test_mse": f"{float(test.max()):.2e}", "training_seconds": round(training.seconds),
    }  # fmt: skip
    chosen = {"trained": training.rows[kept]}
    in_table = setting.cells == 1 and setting.task in UPDATES
    if in_table:
        # The other reading of "trained to a validation error below 1e-4": stopped as soon as it is.
        chosen["stopped"] = training.crossed[(training.crossed_at > 0).nonzero()[: setting.keep, 0]]
    lines: list[dict[str, object]] = []
    began = time.perf_counter()
    for which, rows in chosen.items():
        if len(rows):
            path = options.out / setting.name / f"{which}.json"
            found = explained(setting, rows, data["test"], path, options.methods, progress)
            lines += report.aggregate(setting.task, setting.cells, which, found)
            if (setting.name, which) == ("subtraction-1", "trained"):
                lines += by_output_gate(setting, rows, found)
    progress.say(f"{setting.name}: explained in {time.perf_counter() - began:.0f} s", always=True)
    weights = learnt(setting, training.rows[kept]) if in_table and len(kept) else []
    return {"training": [line], "results": lines, "weights": weights}


def by_output_gate(setting: Setting, rows: Tensor, found: dict[str, list[dict[str, float]]]) -> list[dict[str, object]]:
    """The same statistics apart for models whose output gate opens and closes for a relevant number.

    The task does not fix this sign, and the rules that give relevance to gates depend on it.
    """
    opens = Candidates(rows, setting.cells).split(rows)[0][:, 3, 0, 1] > 0
    lines = []
    for weights, chosen in (("output gate opens", opens), ("output gate closes", ~opens)):
        indices = chosen.nonzero()[:, 0].tolist()
        if indices:
            some = {method: [models[index] for index in indices] for method, models in found.items()}
            lines += report.aggregate(setting.task, setting.cells, weights, some)
    return lines


def learnt(setting: Setting, rows: Tensor) -> list[dict[str, object]]:
    """Lines of weights.csv: median and range of every weight over the models of one cell.

    Turning the sign of the cell, of all it feeds and of the candidate changes nothing, so models are turned to a positive output.
    """
    w, u, b, v = Candidates(rows, 1).split(rows)
    sign = v.sign()
    columns = {"irrelevant": w[:, :, 0, 0], "relevant": w[:, :, 0, 1], "state": u[:, :, 0, 0] * sign, "bias": b[:, :, 0]}
    lines: list[dict[str, object]] = []
    for k, gate in enumerate(("input gate", "forget gate", "candidate", "output gate")):
        for source, values in columns.items():
            turned = values[:, k] * sign[:, 0] if gate == "candidate" else values[:, k]
            lines.append(_spread(setting.task, gate, source, turned))
    return [*lines, _spread(setting.task, "output", "state", v.abs()[:, 0])]


def _spread(task: str, to: str, source: str, values: Tensor) -> dict[str, object]:
    numbers = {"median": values.median(), "lowest": values.min(), "highest": values.max()}
    return {"task": task, "to": to, "from": source, **{name: f"{float(number):.2f}" for name, number in numbers.items()}}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/arras2019_arithmetic"), help="states and results; resumed from")
    parser.add_argument("--models", type=int, default=50, help="good models that are explained, per task")
    parser.add_argument("--candidates", type=int, default=150, help="models that are trained, per task")
    parser.add_argument("--updates", type=int, help=f"of the two tasks of the table, instead of {UPDATES}")
    parser.add_argument("--rate", type=float, default=Recipe.rate, help="largest learning rate of the two tasks of the table")
    parser.add_argument("--seed", type=int, default=0, help="decides data, initialisation and order")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS), help="only these")
    parser.add_argument("--no-sweep", action="store_true", help="only the two tasks of the table")
    parser.add_argument("--quick", action="store_true", help="a few hardly trained models: tries the path, shows nothing")
    parser.add_argument("--threads", type=int, default=1, help="of torch; the tensors are small, more than two hardly help")
    parser.add_argument("--update", action="store_true", help="also renew the CSV files and the README beside this file")
    options = parser.parse_args()
    if options.quick and options.out == parser.get_default("out"):
        options.out = options.out / "quick"
    if not 0 < options.models <= options.candidates:
        parser.error("--models must be positive and not above --candidates")
    return options


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    progress = Progress()
    lines: dict[str, list[dict[str, object]]] = {}
    for setting in settings(options):
        for name, more in run_setting(setting, options, progress).items():
            lines.setdefault(name, []).extend(more)
        report.write(options.out, lines)  # after every setting, so that a stopped run shows what it has
    print(report.tables(options.out))
    if options.update:
        report.update(HERE, options.out)


if __name__ == "__main__":
    main()
