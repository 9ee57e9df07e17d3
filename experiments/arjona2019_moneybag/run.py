"""Figs. 11.6 and 11.7 of Arras et al. 2019: which step of an episode earned the return, moneybag and coins.

    python experiments/arjona2019_moneybag/run.py [--out out/moneybag]

Plays episodes, trains a Markov LSTM on their returns, explains 100 held-out ones and writes fig_11_6.png, fig_11_7.png
results.csv and model.safetensors.  A minute on one core.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from pathlib import Path

import torch
from environment import COIN, MONEYBAG, Episodes, episodes
from explain import Shares, explanations
from figures import draw
from model import Recipe, Return, train
from safetensors.torch import save_file
from torch import Tensor

from seqxai.files import written_whole

STEPS = 20  # the agent starts in the middle of 11 places


def explained_ones(held_out: Episodes, count: int) -> Episodes:
    """The first that earned something: a predicted return of zero leaves nothing to share."""
    rows = (held_out.paid[:, -1] > 0).nonzero()[:count, 0]
    if len(rows) < count:
        raise SystemExit(f"Only {len(rows)} of {len(held_out.x)} held-out episodes earned anything; raise --episodes.")
    return held_out.chosen(rows)


def picture(chosen: Episodes, coins_before: bool) -> int:
    """The first episode with coins paid, and with or without coins before the moneybag."""
    before = (chosen.x[..., COIN] * chosen.before_moneybag).sum(1)
    paid, when = chosen.paid[:, -1], chosen.x[..., MONEYBAG].argmax(1)
    fits = (before >= 2) & (paid >= 2) if coins_before else (before == 0) & (paid >= 3) & (when >= 2)
    return int(fits.int().argmax())


def table(path: Path, found: dict[str, tuple[Tensor, Shares]], errors: dict[str, float]) -> None:
    """One row per method; the error of the fit in every row."""
    with written_whole(path) as partial, partial.open("w", newline="") as file:
        rows = [{"method": name, **shares.rows()} for name, (_, shares) in found.items()]
        for row in rows:
            row |= {name: f"{value:.6f}" for name, value in errors.items()}
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def errors_of(model: Return, held_out: Episodes) -> dict[str, float]:
    """Mean squared errors on held-out episodes: of their returns, and of all steps."""
    squares = (model.predictions(held_out.x) - held_out.paid).square()
    return {"mse_return": float(squares[:, -1].mean()), "mse_steps": float(squares.mean())}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/moneybag"), help="folder of the results")
    parser.add_argument("--episodes", type=int, default=4000, help="episodes to train on; a quarter as many are held out")
    parser.add_argument("--updates", type=int, default=Recipe().updates)
    parser.add_argument("--explain", type=int, default=100, help="held-out episodes to explain")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if min(options.episodes, options.updates, options.explain) < 1:
        parser.error("--episodes, --updates and --explain must be at least 1")
    torch.set_num_threads(1)
    started = time.perf_counter()

    def say(step: int, error: float) -> None:
        if step % 500 == 0:
            print(
                f"update {step} of {options.updates}, error {error:.4f}, {time.perf_counter() - started:.0f} s", file=sys.stderr
            )

    held_out = episodes(max(options.episodes // 4, 4), STEPS, 2 * options.seed + 2)
    chosen = explained_ones(held_out, options.explain)
    model = train(episodes(options.episodes, STEPS, 2 * options.seed + 1), Recipe(updates=options.updates), options.seed, say)
    found = explanations(model, chosen)
    options.out.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), options.out / "model.safetensors")
    table(options.out / "results.csv", found, errors_of(model, held_out))
    for name, coins_before in (("fig_11_6.png", False), ("fig_11_7.png", True)):
        draw(options.out / name, chosen, {k: r for k, (r, _) in found.items()}, picture(chosen, coins_before))
    print((options.out / "results.csv").read_text())


if __name__ == "__main__":
    main()
