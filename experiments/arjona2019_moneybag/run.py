"""Moneybag and coins (Arras et al. 2019, Figs. 11.6 and 11.7): train, explain 100 held-out episodes, draw the figures."""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import torch
from environment import MONEYBAG, Episodes, episodes
from explain import METHODS, Explanation, explain, summary
from figures import choose, draw
from train import Recipe, ReturnPredictor, relative_error, train

HERE = Path(__file__).parent
TRAINING, TEST, HELD_OUT = 20_000, 2_000, 100
# The most negative biases that the chapter names (A2, A7), and the largest a_g and a_h (A2, A3).
ASSUMPTIONS = {"g_scale": 4.0, "h_scale": 4.0, "bias_z": -5.0, "bias_i": -4.0}
FIGURES = ("fig_11_6", "fig_11_7")


def held_out(data: Episodes, count: int) -> Episodes:
    """The first ``count`` episodes that were rewarded, in float64: of a return of zero there is nothing to share out."""
    some = data.select((data.returns > 0).nonzero()[:count, 0])
    assert bool((some.x[..., MONEYBAG].sum(1) == 1).all())
    return some._replace(x=some.x.double())


def write(path: Path, lines: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def run(options: argparse.Namespace) -> dict[str, Explanation]:
    """Everything; returns what each method found on the held-out episodes."""
    options.out.mkdir(parents=True, exist_ok=True)
    data, test = episodes(options.training, seed=3 * options.seed + 1), episodes(TEST, seed=3 * options.seed + 2)
    torch.manual_seed(options.seed)
    model = ReturnPredictor(options.cells, **ASSUMPTIONS)
    began = time.perf_counter()
    train(model, data, Recipe(updates=options.updates, sparsity=options.sparsity), options.seed)
    seconds, error = time.perf_counter() - began, relative_error(model, test)
    model.double().eval().requires_grad_(False)
    print(f"trained in {seconds:.0f} s; mean square error on {TEST} other episodes {100 * error:.3f} % of the variance of the return")
    explained_episodes = held_out(episodes(TEST, seed=3 * options.seed + 3), HELD_OUT)
    found = {method: explain(model, method, explained_episodes) for method in METHODS}
    lines: list[dict[str, object]] = []
    for method, explanation in found.items():
        numbers = summary(explanation, explained_episodes)
        lines.append({"method": method, **{name: f"{value:.3f}" for name, value in numbers.items()}})
        print(f"{method:28}" + "  ".join(f"{name} {value:.2f}" for name, value in numbers.items()))
    write(options.out / "results.csv", lines)
    write(options.out / "training.csv", [{
        "cells": options.cells, "updates": options.updates, "sparsity": options.sparsity, "seed": options.seed,
        "relative_error_percent": f"{100 * error:.4f}", "seconds": f"{seconds:.0f}",
    }])  # fmt: skip
    weights = torch.cat([model.cell.weight_z, model.cell.bias_z[:, None], model.cell.input_gate.weight,
                         model.cell.input_gate.bias[:, None], model.readout.weight.T], 1)  # fmt: skip
    names = [*("moneybag", "coin", "left", "right", "b_z"), *(f"from_{k}" for k in range(options.cells)), "b_i", "readout"]
    write(options.out / "weights.csv", [{"cell": k, **{n: f"{w:.2f}" for n, w in zip(names, row, strict=True)}}
                                        for k, row in enumerate(weights.tolist())])  # fmt: skip
    for name, index in choose(explained_episodes).items():
        draw(options.out / f"{name}.png", explained_episodes, index, found)
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/arjona2019_moneybag"), help="figures and tables")
    parser.add_argument("--cells", type=int, default=8)
    parser.add_argument("--updates", type=int, default=6000)
    parser.add_argument("--training", type=int, default=TRAINING, help="episodes to train on")
    parser.add_argument("--sparsity", type=float, default=0.1, help="weight of the mean modulus of the weights in the loss, at first")
    parser.add_argument("--seed", type=int, default=0, help="decides data, initialisation and order")
    parser.add_argument("--threads", type=int, default=1, help="of torch; the tensors are small")
    parser.add_argument("--update", action="store_true", help="write the figures and tables beside this file instead")
    options = parser.parse_args()
    if options.update:
        options.out = HERE
    return options


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    run(options)


if __name__ == "__main__":
    main()
