"""Cost of explaining recurrent layers, relative to gradient × input.

    python experiments/benchmarks/recurrent.py [--quick]

Bounds: a fused LSTM at most 0.9 for batch >= 32 and hidden >= 128, at most 1.6 for one sentence of 20 words and 60 units; a hand-written
cell at most 2.5 at 20 to 100 steps; 7,000 sentences a second at batch 64, 20 words, 60 units, both directions; 10,000 steps through a
fused kernel in 20 s, 2,000 steps of a hand-written cell in 30 s (hidden 64, batch 1).
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import torch
from _common import race, table
from _one_sentence import OneSentence
from capture import HandWrittenLSTM
from torch import Tensor, nn

import seqxai

# batch, steps, inputs, hidden
FUSED = ((32, 20, 128, 128), (32, 50, 128, 128), (32, 100, 64, 128), (32, 50, 4, 128), (32, 100, 128, 256), (64, 20, 128, 128))
SENTENCES = ((1, 20, 60, 60, False), (1, 20, 60, 60, True))
HAND_WRITTEN = ((1, 20, 60, 60), (1, 100, 60, 60), (32, 20, 60, 60), (32, 50, 128, 128), (32, 100, 128, 128))


class Classifier(nn.Module):
    """A recurrent layer and a linear read-out of its last states."""

    def __init__(self, inputs: int, hidden: int, both: bool = False, cell: type[nn.RNNBase] = nn.LSTM) -> None:
        super().__init__()
        self.layer = cell(inputs, hidden, batch_first=True, bidirectional=both)
        self.read_out = nn.Linear(hidden * (1 + both), 5)
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, F) to (B, 5)."""
        _, states = self.layer(x)
        h = states[0] if isinstance(states, tuple) else states
        return self.read_out(h.transpose(0, 1).flatten(1))


class HandWrittenClassifier(nn.Module):
    """The same with a cell written by hand."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.layer, self.read_out = HandWrittenLSTM(inputs, hidden), nn.Linear(hidden, 5)
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, F) to (B, 5)."""
        out: Tensor = self.read_out(self.layer(x))
        return out


def gradient_times_input(model: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    """The baseline of this table: gradients to the input alone, as in the table of convolutions."""

    def run() -> Tensor:
        leaf = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(model(leaf)[:, 1].sum(), leaf)
        return gradient * x

    return run


def ratios(title: str, model: nn.Module, x: Tensor, rounds: int, **options: str) -> None:
    """One row: the baseline, LRP, and LRP with its ledger."""
    plain, booked = seqxai.LRP(model, **options), seqxai.LRP(model, ledger=True, **options)
    best = race(
        {
            "gradient x input": gradient_times_input(model, x),
            "lrp": lambda: plain.attribute(x, target=1),
            "lrp with ledger": lambda: booked.attribute(x, target=1),
        },
        rounds,
    )
    print(title)
    print(table(best, "gradient x input"), flush=True)


def throughput(rounds: int) -> None:
    """Sentences a second at batch 64, 20 words, 60 units, both directions; beside gradients and the usual research code."""
    model, x = Classifier(60, 60, True), torch.randn(64, 20, 60)
    explain, single = seqxai.LRP(model), OneSentence(model.layer, model.read_out)
    sentence = x[3].numpy()
    ours = explain.attribute(x, target=1).relevance[3]
    assert float((ours - torch.from_numpy(single.explain(sentence, 1))).abs().max()) < 1e-3 * float(ours.abs().max())
    best = race(
        {
            "lrp": lambda: explain.attribute(x, target=1),
            "gradient x input": gradient_times_input(model, x),
            "NumPy": lambda: single.explain(sentence, 1),
        },
        rounds,
    )
    print("batch 64, 20 words, 60 units, both directions, sentences a second:")
    print(f"lrp {64 / best['lrp']:.0f}, gradient x input {64 / best['gradient x input']:.0f}, NumPy, one at a time {1 / best['NumPy']:.0f}")


def long_sequences() -> None:
    """Seconds and peak memory of long sequences; twice the length should cost twice as much."""
    for name, model, lengths in (
        ("fused", Classifier(64, 64), (5_000, 10_000)),
        ("hand-written", HandWrittenClassifier(64, 64), (1_000, 2_000)),
    ):
        for steps in lengths:
            x = torch.randn(1, steps, 64)
            start = time.perf_counter()
            seqxai.LRP(model).attribute(x, target=1)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{name}, {steps} steps: {time.perf_counter() - start:.2f} s, peak of the process {peak:.0f} MiB", flush=True)


def main() -> None:
    """Print the whole table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds, for a look")
    rounds = 3 if parser.parse_args().quick else 15
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for batch, steps, inputs, hidden in FUSED:
        title = f"nn.LSTM, batch {batch}, {steps} steps, {inputs} inputs, {hidden} units"
        ratios(title, Classifier(inputs, hidden), torch.randn(batch, steps, inputs), rounds)
    for batch, steps, inputs, hidden, both in SENTENCES:
        title = f"nn.LSTM, batch {batch}, {steps} steps, {hidden} units{', both directions' if both else ''}"
        ratios(title, Classifier(inputs, hidden, both), torch.randn(batch, steps, inputs), 5 * rounds)
    ratios("nn.GRU, batch 32, 50 steps, 128 units", Classifier(128, 128, cell=nn.GRU), torch.randn(32, 50, 128), rounds)
    for product in ("half", "proportional"):
        title = f"nn.LSTM, batch 32, 50 steps, 128 units, {product}"
        ratios(title, Classifier(128, 128), torch.randn(32, 50, 128), rounds, product=product)
    for batch, steps, inputs, hidden in HAND_WRITTEN:
        title = f"hand-written LSTM, batch {batch}, {steps} steps, {hidden} units"
        ratios(title, HandWrittenClassifier(inputs, hidden), torch.randn(batch, steps, inputs), rounds)
    throughput(5 * rounds)
    long_sequences()


if __name__ == "__main__":
    main()
