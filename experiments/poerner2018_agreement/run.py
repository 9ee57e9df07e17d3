"""Subject-verb agreement after Poerner et al. 2018: does a method find the noun that decides the number of the verb?

    python experiments/poerner2018_agreement/run.py            # three models, some minutes; trained models are kept and read again
    python experiments/poerner2018_agreement/run.py --quick    # seconds: the same path with one hardly trained model

Writes results.csv, training.csv, tables.md and figure.png into --out.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import report
import torch
from explain import METHODS, RANDOM, TARGETS, Hits, asked, hits
from model import NumberPredictor, Recipe, train
from sentences import CONDITIONS, Grammar, Sentence, test_sentences

HERE = Path(__file__).parent
Found = dict[tuple[str, str, str, str], list[Hits]]


def explained(found: Found, weights: str, model: NumberPredictor, test: dict[str, list[Sentence]], methods: list[str]) -> None:
    """Add one model's hits of every condition, method and target."""
    for condition, sentences in test.items():
        for method in (*methods, RANDOM):
            for target in TARGETS if weights == "trained" else ("score",):
                if asked(method, target):
                    found.setdefault((weights, target, condition, method), []).append(hits(model, method, target, sentences))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/poerner2018_agreement"), help="models and results")
    parser.add_argument("--models", type=int, default=3, help="trained from seeds 0, 1, ...")
    parser.add_argument("--sentences", type=int, default=500, help="of each condition")
    parser.add_argument("--steps", type=int, default=Recipe.steps, help="updates of each model")
    parser.add_argument("--seed", type=int, default=0, help="decides the sentences")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS), help="only these, beside random")
    parser.add_argument("--quick", action="store_true", help="one hardly trained model and few sentences: tries the path, shows nothing")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--update", action="store_true", help="also renew the CSV files, the figure and the README beside this file")
    options = parser.parse_args()
    if options.quick:
        options.models, options.sentences, options.steps = 1, 12, 30
        if options.out == parser.get_default("out"):
            options.out = options.out / "quick"
    if min(options.models, options.sentences, options.steps) < 1:
        parser.error("--models, --sentences and --steps must be positive")
    if options.update and options.methods != list(METHODS):
        parser.error("--update renews the tables of all methods; leave --methods out")
    return options


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    recipe = Recipe(steps=options.steps)
    training = Grammar(2 * options.seed).mixed(recipe.steps * recipe.batch)
    test = test_sentences(options.sentences, 2 * options.seed + 1, {sentence.words for sentence in training})
    found: Found = {}
    accuracy: list[dict[str, object]] = []
    for seed in range(options.models):
        began = time.perf_counter()
        torch.manual_seed(seed)
        untrained = NumberPredictor().eval()

        def tell(step: int, loss: float, seed: int = seed) -> None:
            if step % 100 == 0 or step == recipe.steps:
                print(f"model {seed}: update {step} of {recipe.steps}, loss {loss:.2g}", file=sys.stderr, flush=True)

        model = train(training, recipe, seed, options.out / f"model-{seed}.safetensors", tell)
        for weights, network in (("trained", model), ("untrained", untrained)):
            explained(found, weights, network, test, options.methods)
        right = {name: found["trained", "score", name, RANDOM][-1].correct.double().mean() for name in CONDITIONS}
        accuracy.append({"seed": seed, **{name: f"{100 * float(rate):.1f}" for name, rate in right.items()}})
        print(f"model {seed}: done in {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    results = [
        report.line(each, measure, **dict(zip(("weights", "target", "condition", "method"), key, strict=True)))
        for key, each in found.items()
        for measure in report.MEASURES
    ]
    report.write(options.out, results, accuracy)
    print(report.tables(options.out))
    if options.update:
        report.update(HERE, options.out)


if __name__ == "__main__":
    main()
