"""A recurrent Q-network on CartPole without velocities: does its relevance reach the past?

    python experiments/hausknecht2015_drqn/run.py [--out out/drqn] [--seeds 3]

Trains a DRQN and a network without memory, explains both through ``rl.ExplainedEnv`` and writes figure.png and
results.csv.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from explain import Relevance, explain, play_with_memory_of
from figures import draw
from model import NETWORKS
from train import Training, evaluate, train

from seqxai.files import written_whole

MEMORIES = (1, 2, 3, 4, 6, 8, 16, 32)
PLAY_SEED, EXPLAIN_SEED = 50_000, 90_000


def row_of(name: str, seed: int, training: int | str, returns: list[float], found: Relevance) -> dict[str, object]:
    """One row of the results."""
    row = {"network": name, "seed": seed, "training": training, "return": float(np.mean(returns)), "return_sd": float(np.std(returns))}
    return {**row, **found.means()}


def table(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """One row for each network and seed."""
    with written_whole(path) as unfinished, unfinished.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)


@dataclass
class Outcome:
    """What one seed gave.

    Attributes:
        rows: of the table.
        curves: (decisions, mean return) of each evaluation, by network.
        found: relevance, by network.
        memory: mean return of the DRQN by the number of observations it sees.
    """

    rows: list[dict[str, object]] = field(default_factory=list)
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    found: dict[str, Relevance] = field(default_factory=dict)
    memory: dict[int, float] = field(default_factory=dict)


def one_seed(seed: int, how: Training, episodes: int, explained: int) -> Outcome:
    """Train and explain both networks, and an untrained DRQN on what the trained one sees."""
    torch.set_num_threads(1)
    outcome = Outcome()
    for name in NETWORKS:
        started = time.perf_counter()
        network, outcome.curves[name] = train(name, seed, how)
        returns = evaluate(network, episodes, PLAY_SEED)
        outcome.found[name] = explain(network, explained, EXPLAIN_SEED)
        outcome.rows.append(row_of(name, seed, how.agent_steps, returns, outcome.found[name]))
        print(
            f"{name}, seed {seed}: return {np.mean(returns):.0f}, on past observations {outcome.found[name].past:.1%} of |R|, "
            f"{time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True,
        )  # fmt: skip
        if name == "DRQN":
            for steps in MEMORIES:
                outcome.memory[steps] = play_with_memory_of(network, steps, max(1, episodes // 5), PLAY_SEED)
            torch.manual_seed(seed)
            beginner = NETWORKS[name]()
            control = explain(beginner, explained, EXPLAIN_SEED, player=network)
            outcome.rows.append(row_of(name, seed, "none", evaluate(beginner, episodes, PLAY_SEED), control))
    return outcome


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/drqn"), help="folder of the results")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="seeds at the same time, each on one core")
    parser.add_argument("--agent-steps", type=int, default=Training().agent_steps, help="decisions of each training")
    parser.add_argument("--episodes", type=int, default=50, help="games of the final scores")
    parser.add_argument("--explain", type=int, default=300, help="decisions to explain for each network")
    options = parser.parse_args(arguments)
    if min(options.seeds, options.jobs, options.agent_steps, options.episodes, options.explain) < 1:
        parser.error("--seeds, --jobs, --agent-steps, --episodes and --explain must be at least 1")
    options.out.mkdir(parents=True, exist_ok=True)
    how = replace(Training(), agent_steps=options.agent_steps, evaluate_every=min(Training().evaluate_every, options.agent_steps))
    work = partial(one_seed, how=how, episodes=options.episodes, explained=options.explain)
    if options.jobs == 1:
        outcomes = [work(seed) for seed in range(options.seeds)]
    else:
        with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
            outcomes = list(pool.map(work, range(options.seeds)))
    table(options.out / "results.csv", [row for outcome in outcomes for row in outcome.rows])
    scores = [{"observations": steps, **{f"seed_{i}": o.memory[steps] for i, o in enumerate(outcomes)}} for steps in MEMORIES]
    table(options.out / "memory.csv", scores)
    draw(
        options.out / "figure.png",
        {name: [outcome.curves[name] for outcome in outcomes] for name in NETWORKS},
        {name: [outcome.found[name] for outcome in outcomes] for name in NETWORKS},
        {steps: [outcome.memory[steps] for outcome in outcomes] for steps in MEMORIES},
    )
    print(f"{options.out / 'figure.png'}, {options.out / 'results.csv'}, {options.out / 'memory.csv'}")


if __name__ == "__main__":
    main()
