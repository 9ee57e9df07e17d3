"""Explaining a Nature network: time of each composite relative to gradient x input, one thread.

    python experiments/benchmarks/nature.py [--batch 32] [--rounds 30]

Bounds at batch 32: epsilon 0.8 without and 0.9 with the ledger, epsilon-gamma-box 1.4.
"""

from __future__ import annotations

import argparse

import torch
from _common import gradient_times_input, nature_network, race, table

import seqxai


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = nature_network()
    x = torch.rand(options.batch, 4, 84, 84)
    runs = {"gradient x input": gradient_times_input(model, x)}
    for name in ("lrp-0", "epsilon", "epsilon-plus", "epsilon-gamma-box", "alpha2-beta1"):
        for ledger in (False, True):
            explainer = seqxai.LRP(model, name, ledger=ledger)
            runs[name + (" + ledger" if ledger else "")] = lambda e=explainer: e.attribute(x, target=1)
    print(f"Nature network, batch {options.batch}, one thread, shortest of {options.rounds}")
    print(table(race(runs, options.rounds), "gradient x input"))


if __name__ == "__main__":
    main()
