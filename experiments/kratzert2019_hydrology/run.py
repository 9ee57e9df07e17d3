"""Kratzert et al. 2019, "NeuralHydrology", on two simulated catchments whose storages are known.

    python experiments/kratzert2019_hydrology/run.py            # everything; what is finished is kept and not done again
    python experiments/kratzert2019_hydrology/run.py --quick     # seconds: the same path on a small basin and a hardly trained model

Trains a rainfall-runoff LSTM for a basin with snow (A) and one without (B), asks the chapter's three questions by integrated
gradients and by LRP, and writes results.csv, seasons.csv, cells.csv, tables.md and the figures into --out.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import explain
import numpy as np
import report
import torch
from catchment import CLIMATES, STATES, Basin, simulate
from model import STEPS, Data, Runoff, nash_sutcliffe, predict, prepare, train
from safetensors.torch import load_file, save_file
from torch import Tensor

from seqxai.files import written_whole

HERE = Path(__file__).parent
Line = dict[str, object]


@dataclass(frozen=True)
class Size:
    """How large the experiment is.

    Args:
        years, training_years: of weather.
        steps: days of weather the network sees.
        epochs, batch: of the training.
        every: every so many days of the test period are explained.
        points: of integrated gradients, m of eq. 19.6; as in the chapter.
    """

    years: int = 33
    training_years: float = 15
    steps: int = STEPS
    epochs: int = 50
    batch: int = 256
    every: int = 16
    points: int = 1000


QUICK = Size(years=4, training_years=2, steps=60, epochs=2, batch=64, every=24, points=20)


@dataclass(frozen=True, eq=False)
class Case:
    """One basin, its data and its model."""

    name: str
    basin: Basin
    data: Data
    model: Runoff
    days: np.ndarray
    """The test days that are explained."""


def say(text: str, began: float | None = None) -> None:
    spent = "" if began is None else f" ({time.process_time() - began:.0f} s of processor time)"
    print(text + spent, file=sys.stderr, flush=True)


def prepared(name: str, size: Size, options: argparse.Namespace) -> Case:
    """The basin and its model, trained now or read from an earlier run with the same settings."""
    basin = simulate(CLIMATES[name], size.years, options.seed)
    data = prepare(basin, size.training_years, size.steps)
    path, about = options.out / f"{name}.safetensors", f"{size.years} {size.training_years} {size.steps} {size.epochs} {size.batch}"
    about += f" {options.seed} {CLIMATES[name]}"
    model = read(path, about)
    if model is None:
        began = time.process_time()

        def tell(epoch: int, loss: float, score: float) -> None:
            say(f"{name}: epoch {epoch + 1} of {size.epochs}, loss {loss:.4f}, validation NSE {score:.3f}", began)

        model, _ = train(data, options.seed, size.epochs, size.batch, tell)
        with written_whole(path) as partial:
            save_file(model.state_dict(), str(partial), {"settings": about})
    return Case(name, basin, data, model.eval(), data.days["test"][:: size.every])


def read(path: Path, about: str) -> Runoff | None:
    """A model of an earlier run, if it was made with these settings."""
    from safetensors import safe_open

    if not path.exists():
        return None
    with safe_open(str(path), "pt") as file:
        if (file.metadata() or {}).get("settings") != about:
            return None
    model = Runoff()
    model.load_state_dict(load_file(path))
    return model


def run_basin(name: str, size: Size, options: argparse.Namespace) -> tuple[dict[str, list[Line]], dict[str, Any]]:
    """The lines of every CSV file for one basin, and what the figures need."""
    case = prepared(name, size, options)
    basin, data, days = case.basin, case.data, case.days
    lines: list[Line] = [{"basin": name, "quantity": "snow fraction", "method": "", "value": f"{basin.snow_fraction:.3f}"}]
    predicted = {split: predict(case.model, data, places) for split, places in data.days.items()}
    for split, y in predicted.items():
        score = nash_sutcliffe(y, data.y[data.days[split]])
        lines.append({"basin": name, "quantity": f"NSE {split}", "method": "", "value": f"{score:.3f}"})
    relevance = explained(case, size, options)
    truth = explain.true_precipitation_effects(name, basin, data, days)
    more, seasons = influence_of_days(case, relevance, truth)
    lines += more
    gap = explain.completeness_gap(case.model, data.windows(days), relevance["IG"])
    lines.append({"basin": name, "quantity": "largest |ΣR - (f(x) - f(0))|", "method": "IG", "value": f"{gap:.1e}"})
    cells, rho, more = storages(case)
    lines += more
    snow: dict[str, Any] = {}
    if name == "A":
        more, snow = snow_cell(case, rho, size)
        lines += more
    shown = {"case": case, "predicted": predicted["test"], "relevance": relevance, "truth": truth, "rho": rho, "snow": snow}
    return {"results": lines, "seasons": seasons, "cells": cells}, shown


def explained(case: Case, size: Size, options: argparse.Namespace) -> dict[str, Tensor]:
    """Relevance of the discharge of every explained day, (days, T, 5), by method; kept in a file."""
    path = options.out / f"{case.name}-relevance.safetensors"
    weights = f"{float(sum(p.detach().double().sum() for p in case.model.parameters())):.12f} {len(case.days)} {size.points}"
    if path.exists():
        from safetensors import safe_open

        with safe_open(str(path), "pt") as file:
            if (file.metadata() or {}).get("weights") == weights:
                return {name: file.get_tensor(name) for name in ("LRP", "IG")}
    found = {}
    for name, method in (("LRP", explain.lrp), ("IG", explain.integrated(size.points))):
        began = time.process_time()
        found[name] = explain.in_batches(method, case.model, case.data, case.days)
        say(f"{case.name}: {name} of {len(case.days)} days", began)
    with written_whole(path) as partial:
        save_file({name: tensor.contiguous() for name, tensor in found.items()}, str(partial), {"weights": weights})
    return found


def influence_of_days(case: Case, relevance: dict[str, Tensor], truth: Tensor) -> tuple[list[Line], list[Line]]:
    """Question 1: TSOI and days of memory through the year, and how far they are the truth."""
    lines: list[Line] = []
    seasons: list[Line] = []
    day = case.basin.day_of_year[case.days]
    quantities: dict[tuple[str, str], Tensor] = {("memory of precipitation", "truth"): explain.days_of_memory(truth)}
    for method, found in relevance.items():
        quantities["TSOI", method] = explain.time_steps_of_influence(found.sum(2))
        quantities["memory", method] = explain.days_of_memory(found.sum(2))
        quantities["memory of precipitation", method] = explain.days_of_memory(found[:, :, 0])
        agree = explain.agreement(found[:, :, 0], truth)
        about = {"basin": case.name, "quantity": "agreement with true effects of precipitation"}
        lines.append({**about, "method": method, "value": f"{float(agree.mean()):.3f}"})
        lines.append({**about, "quantity": about["quantity"] + ", median", "method": method, "value": f"{float(agree.median()):.3f}"})
    pair = [relevance[method].sum(2) for method in ("LRP", "IG")]
    both = float(explain.agreement(*pair).mean())
    lines.append({"basin": case.name, "quantity": "correlation of R_t, LRP with IG", "method": "", "value": f"{both:.3f}"})
    for (quantity, method), values in quantities.items():
        for low, high in report.SEASONS[case.name]:
            here = torch.as_tensor((day >= low) & (day < high))
            quartiles = values[here].double().quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)).tolist()
            about = {"basin": case.name, "quantity": quantity, "method": method, "from": low, "to": high}
            seasons.append({**about, **{f"q{q}": f"{value:.0f}" for q, value in zip((25, 50, 75), quartiles, strict=True)}})
    return lines, seasons


def storages(case: Case) -> tuple[list[Line], Tensor, list[Line]]:
    """Question 2: correlations of cells and storages."""
    x = case.data.windows(case.days)
    states = explain.cell_states(case.model, x)
    known = explain.storages_of(case.basin, case.data, case.days)
    rho = explain.correlations(states, known)
    lines: list[Line] = []
    cells = [
        {"basin": case.name, "cell": unit, **{state: f"{float(r):.2f}" for state, r in zip(STATES, row, strict=True)}}
        for unit, row in enumerate(rho)
    ]
    for index, state in enumerate(STATES):
        if float(known[..., index].abs().max()) == 0:
            continue
        best = int(rho[:, index].abs().argmax())
        months = case.basin.dates[case.days].astype("datetime64[M]").astype(int) % 12
        some = known[:, -1, index] > 1e-9
        anomalies = explain.anomaly_correlations(states[some, -1], known[some, -1, index], months[some.numpy()])
        for quantity, value in {
            "cells with |ρ| > 0.5": int((rho[:, index].abs() > 0.5).sum()),
            "largest |ρ|": f"{float(rho[best, index].abs()):.2f}",
            "the same cell, season removed": f"{float(anomalies[best] * rho[best, index].sign()):.2f}",
            "largest |ρ|, season removed": f"{float(anomalies.abs().max()):.2f}",
        }.items():
            lines.append({"basin": case.name, "quantity": f"{state}: {quantity}", "method": "", "value": value})
    return cells, rho, lines


def snow_cell(case: Case, rho: Tensor, size: Size) -> tuple[list[Line], dict[str, Any]]:
    """Question 3: which inputs fill the cell that follows the snow, turned so that more of it means more snow."""
    cell, sign = explain.snow_cell(case.model, rho)
    day = case.basin.day_of_year[case.days]
    winter = case.days[(day >= 335) | (day < 91)]
    x = case.data.windows(winter)
    lines: list[Line] = [{"basin": case.name, "quantity": "snow cell", "method": "", "value": cell.unit}]
    for name, method in (("LRP", explain.lrp), ("IG", explain.integrated(max(20, size.points // 4)))):
        found = explain.influence(sign * explain.in_batches(method, cell, case.data, winter), x)
        for kind, values in found.items():
            for label, value in zip(report.INPUTS, values, strict=True):
                lines.append({"basin": case.name, "quantity": f"snow cell, {kind}: {label}", "method": name, "value": f"{value:.4f}"})
    return lines, {"cell": cell, "sign": sign, "days": winter}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/kratzert2019_hydrology"), help="models and results; resumed from")
    parser.add_argument("--seed", type=int, default=0, help="decides weather, initialisation and order")
    parser.add_argument("--epochs", type=int, default=Size.epochs)
    parser.add_argument("--every", type=int, default=Size.every, help="every so many days of the test period are explained")
    parser.add_argument("--points", type=int, default=Size.points, help="of integrated gradients")
    parser.add_argument("--basins", nargs="+", choices=list(CLIMATES), default=list(CLIMATES))
    parser.add_argument("--quick", action="store_true", help="a small basin and a hardly trained model: tries the path, shows nothing")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--update", action="store_true", help="also renew the CSV files, figures and the README beside this file")
    parser.add_argument("--example", type=Path, help="write model, weather and scale of basin A for `seqxai series explain` here")
    options = parser.parse_args()
    if options.quick and options.out == parser.get_default("out"):
        options.out = options.out / "quick"
    return options


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    size = QUICK if options.quick else Size(epochs=options.epochs, every=options.every, points=options.points)
    lines: dict[str, list[Line]] = {}
    shown = {}
    for name in options.basins:
        found, shown[name] = run_basin(name, size, options)
        for file, more in found.items():
            lines.setdefault(file, []).extend(more)
        report.write(options.out, lines)
    report.figures(options.out, shown)
    print(report.tables(options.out))
    if options.update:
        report.update(HERE, options.out)
    if options.example is not None:
        report.example(options.example, shown["A"]["case"])


if __name__ == "__main__":
    main()
