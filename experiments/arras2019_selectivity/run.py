"""Fig 11.5 of Arras et al. 2019: words deleted in the order of their relevance, by ten methods, on the Stanford Sentiment Treebank.

    python experiments/arras2019_selectivity/run.py --data TEST    # the shipped model on the treebank's test trees; some minutes
    python experiments/arras2019_selectivity/run.py --quick        # seconds: the same path on invented sentences, shows nothing

Without --data the file is sst/test.txt in the folder data of SEQXAI_DATA.  Relevance is kept in --out, method by method, and read again
by the next run.  Writes results.csv, orderings.csv, tables.md and figure.png.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from pathlib import Path

import report
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import seqxai.text
from seqxai.attribution import Attributor
from seqxai.comparison import ContextualDecomposition, by_name
from seqxai.evaluation import Sentences, relevance_by_word
from seqxai.files import written_whole
from seqxai.text import Settings, TextClassifier, TextModel, Vocabulary

HERE = Path(__file__).parent
WHERE = "https://nlp.stanford.edu/sentiment/ (trainDevTestTrees_PTB.zip)"


def explainer(name: str, model: TextModel) -> Attributor:
    """A method of ``report.METHODS``, with the settings of section 11.5.1."""
    if name == "CD, biases to the phrase":
        return ContextualDecomposition(model.network, biases="phrase")
    if name == "CD":  # the authors' program was used, whose phrases of one word leave the product of the biases to the rest
        return ContextualDecomposition(model.network, biases="rest")
    return by_name(report.METHODS[name], model.network, epsilon=1e-3, reference=model.vocabulary.padding)


def sentences(path: Path, model: TextModel, min_length: int, limit: int | None) -> Sentences:
    """The sentences of at least so many words, with their true classes."""
    examples = [one for one in seqxai.text.read(path) if len(one.text) >= min_length][:limit]
    encoded = model.encode([one.text for one in examples])
    labels = torch.tensor([model.positions[str(one.label)] for one in examples])
    return Sentences(encoded.tokens, encoded.lengths, labels)


def invented() -> tuple[TextModel, Sentences]:
    """An untrained model and sentences without meaning: tries the path."""
    torch.manual_seed(0)
    draw = random.Random(0)
    vocabulary = Vocabulary.build([[f"w{number}" for number in range(50)]])
    settings = Settings(embedding_size=8, hidden_size=8, bidirectional=True)
    network = TextClassifier(settings, len(vocabulary), 3).eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.mul_(4.0)  # so that it decides by the words, and not the same of all
    model = TextModel(network, vocabulary, ("a", "b", "c"), settings)
    texts = [[f"w{draw.randrange(50)}" for _ in range(draw.randrange(8, 14))] for _ in range(40)]
    encoded = model.encode(texts)
    return model, Sentences(encoded.tokens, encoded.lengths, torch.tensor([draw.randrange(3) for _ in texts]))


def relevances(model: TextModel, inputs: Sentences, methods: list[str], out: Path) -> dict[str, tuple[torch.Tensor, float]]:
    """Relevance of every word and the seconds it took, by method; read from the folder where the model and the sentences are the same."""
    parts = [*model.network.parameters(), inputs.tokens, inputs.labels]
    about = " ".join(f"{float(part.double().abs().sum()):.10g}" for part in parts)
    found = {}
    for name in methods:
        path = out / f"{name.lower().replace(' ', '_').replace(',', '')}.safetensors"
        if path.exists():
            with safe_open(path, "pt") as file:
                metadata = file.metadata()
                if metadata["about"] == about:
                    found[name] = file.get_tensor("relevance"), float(metadata["seconds"])
                    continue
        began = time.perf_counter()
        relevance = relevance_by_word(explainer(name, model), inputs)
        seconds = time.perf_counter() - began
        with written_whole(path) as partial:
            save_file({"relevance": relevance}, partial, {"about": about, "seconds": f"{seconds:.1f}"})
        print(f"{name}: {len(inputs)} sentences explained in {seconds:.1f} s", file=sys.stderr, flush=True)
        found[name] = relevance, seconds
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="the treebank's test trees, one a line")
    parser.add_argument("--model", type=Path, help="a model of `seqxai text train`; the shipped one by default")
    parser.add_argument("--out", type=Path, default=Path("out/arras2019_selectivity"), help="relevance and results")
    parser.add_argument("--methods", nargs="+", choices=list(report.METHODS), default=list(report.METHODS), help="beside random")
    parser.add_argument("--max-words", type=int, default=5, help="deletions")
    parser.add_argument("--min-length", type=int, default=10, help="words of a sentence")
    parser.add_argument("--limit", type=int, help="only the first so many sentences")
    parser.add_argument("--runs", type=int, default=10, help="random orders that are averaged")
    parser.add_argument("--seed", type=int, default=0, help="decides the random orders and the intervals")
    parser.add_argument("--quick", action="store_true", help="an untrained model on invented sentences: tries the path, shows nothing")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--update", action="store_true", help="also renew the CSV files, the figure and the README beside this file")
    options = parser.parse_args()
    if options.quick and options.out == parser.get_default("out"):
        options.out = options.out / "quick"
    if options.data is None and "SEQXAI_DATA" in os.environ:
        options.data = Path(os.environ["SEQXAI_DATA"]) / "data" / "sst" / "test.txt"
    if not options.quick and (options.data is None or not options.data.is_file()):
        parser.error(f"the treebank's test.txt is needed, got {options.data}; give it as --data; it comes from {WHERE}")
    if options.min_length <= options.max_words:
        parser.error("--min-length must be above --max-words")
    if options.update and (options.quick or options.limit or options.methods != list(report.METHODS)):
        parser.error("--update renews the tables of all methods and sentences; leave --quick, --limit and --methods out")
    return options


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.quick:
        model, inputs = invented()
    else:
        model = seqxai.text.load(options.model)
        inputs = sentences(options.data, model, options.min_length, options.limit)
    found = relevances(model, inputs, options.methods, options.out)
    curves = report.curves(model.network, inputs, found, options.max_words, options.runs, options.seed)
    report.write(options.out, curves, {name: seconds for name, (_, seconds) in found.items()}, options.seed)
    print(report.tables(options.out))
    if options.update:
        report.update(HERE, options.out)


if __name__ == "__main__":
    main()
