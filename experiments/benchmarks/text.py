"""Explaining a file of texts from the command line: wall time, processor time, peak memory, and what they are spent on.

    python experiments/benchmarks/text.py [--texts N] [--words N] [--model MODEL] [--units N] [--profile]

Bound: a file of 10,000 sentences of 20 words is explained in at most 8 seconds of wall time on two cores, start-up included, one class
each, with the balance; memory does not grow with the file (a file four times as long is explained, too, and the peaks compared).
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OUTPUTS = {"json": ["--json"], "text": [], "page": ["--html", "page.html"]}


def write_texts(path: Path, vocabulary: list[str], texts: int, words: int) -> None:
    """Sentences of words drawn from the model's vocabulary as words are in texts: the n-th most frequent one with weight 1/n."""
    drawn = random.Random(0)
    weights = [1 / rank for rank in range(1, len(vocabulary) + 1)]
    with path.open("w", encoding="utf-8") as file:
        for _ in range(texts):
            file.write(" ".join(drawn.choices(vocabulary, weights, k=words)) + "\n")


def made_up(path: Path, units: int) -> None:
    """A classifier with random weights: bidirectional, 16,000 words, five classes."""
    import torch

    from seqxai.text import Settings, TextClassifier, TextModel, Vocabulary

    torch.manual_seed(0)
    settings = Settings("lstm", units, units, 1, True)
    words = ("<pad>", "<unk>", *(f"word{i}" for i in range(16_000)))
    network = TextClassifier(settings, len(words), 5).eval().requires_grad_(False)
    TextModel(network, Vocabulary(words), ("very negative", "negative", "neutral", "positive", "very positive"), settings).save(path)


def timed(command: list[str], folder: Path) -> tuple[float, float, float]:
    """Wall seconds, processor seconds, and the peak of the process in MiB."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    measured = "import resource, sys; from seqxai.cli import app; app(prog_name='seqxai', standalone_mode=False); " \
               "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, file=sys.stderr)"  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    arguments = [sys.executable, "-c", measured, *command]
    done = subprocess.run(arguments, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wall = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, float(done.stderr.split()[-1])


def profile(model: Path | None, texts: Path) -> None:
    """Where the time goes, without start-up and without printing."""
    from seqxai.text import explain, load

    reader, lines = load(model), texts.read_text(encoding="utf-8").splitlines()
    list(explain(reader, lines[:512]))
    profiler = cProfile.Profile()
    profiler.runcall(lambda: [None for _ in explain(reader, lines)])
    pstats.Stats(profiler).sort_stats("tottime").print_stats(15)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--words", type=int, default=20)
    parser.add_argument("--model", type=Path, help="a model file; the shipped one if not given")
    parser.add_argument("--units", type=int, help="instead, a network of so many units with random weights")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model: Path | None = given.model and given.model.absolute()
        if given.units:
            model = folder / "made_up.safetensors"
            made_up(model, given.units)
        from seqxai.text import load

        vocabulary = [word for word in load(model).vocabulary.words[2:] if word.isalnum()]
        for name, factor in (("texts.txt", 1), ("longer.txt", 4)):
            write_texts(folder / name, vocabulary, factor * given.texts, given.words)
        if given.profile:
            profile(model, folder / "texts.txt")
            return
        command = ["text", "explain", *(["--model", str(model)] if model else []), "--quiet"]
        for output, options in OUTPUTS.items():
            for _ in range(given.runs):
                wall, processor, peak = timed([*command, "--file", "texts.txt", *options], folder)
                load_average = os.getloadavg()[0]
                print(f"{given.texts:,} texts to {output}: {wall:.1f} s, {processor:.1f} s of processor time, peak {peak:.0f} MiB, "
                      f"load {load_average:.1f}", flush=True)  # fmt: skip
        wall, processor, peak = timed([*command, "--file", "longer.txt", "--html", "page.html"], folder)
        print(f"{4 * given.texts:,} texts to page: {wall:.1f} s, {processor:.1f} s of processor time, peak {peak:.0f} MiB")


if __name__ == "__main__":
    main()
