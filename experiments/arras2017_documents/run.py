"""Two classifiers of documents, one on word statistics and one that reads, compared by the words they decide by.

    python experiments/arras2017_documents/run.py            # three seeds, some minutes
    python experiments/arras2017_documents/run.py --quick    # seconds: few documents, one epoch; tries the path, shows nothing

Needs the extra `analysis` and the packages whose docstrings are the corpus (all in the extra `dev`).  The corpus and the trained LSTMs are
kept in --out.  Writes results.csv, words.csv, tables.md and figure.png.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import report
import torch
from corpus import TOPICS, Corpus, Document, read, split
from explain import KINDS, bag_relevance, kinds, lstm_relevance, neighbours, shares, vectors
from models import BagOfWords, Reader, accuracy, encode, predict, train_bag, train_lstm
from safetensors.torch import load_file, save_file

from seqxai.evaluation import Sentences, WordDeletion
from seqxai.files import written_whole
from seqxai.text import Vocabulary

HERE = Path(__file__).parent
KIND_NAMES = {"topic": "topic words (in names of the package)", "stop": "stop words and punctuation", "other": "other words"}
PENALTIES = (0.001, 0.002, 0.003, 0.004, 0.005, 0.007, 0.01, 0.013, 0.016, 0.02, 0.026, 0.05, 0.1, 0.3, 1.0)  # C of the machine
Lines = list[dict[str, object]]


class Pair:
    """Both classifiers of one seed, with the documents they are compared on."""

    def __init__(self, corpus: Corpus, options: argparse.Namespace, seed: int, tell: Callable[[str], None]) -> None:
        train, validation, test = split(corpus.documents, seed)
        self.vocabulary = Vocabulary.build([one.words for one in train], occurrences=2)
        self.test = test
        path = options.out / f"lstm-{seed}-{options.documents}-{options.epochs}.safetensors"
        if path.exists():
            self.lstm = Reader(len(self.vocabulary), len(TOPICS)).eval().requires_grad_(False)
            self.lstm.load_state_dict(load_file(path))
        else:
            self.lstm = train_lstm(train, validation, self.vocabulary, options.epochs, seed, tell)
            with written_whole(path) as partial:
                save_file(self.lstm.state_dict(), partial)
        # They are compared where they are right equally often: of the penalties the one that comes nearest to the LSTM on the very
        # documents whose explanations are compared.  The best penalty, by the validation set, is reported beside it.
        bags = [train_bag(train, self.vocabulary, penalty, seed) for penalty in PENALTIES]
        wanted = accuracy(self.lstm, test, self.vocabulary)
        self.bag: BagOfWords = min(bags, key=lambda bag: abs(accuracy(bag, test, self.vocabulary) - wanted))
        self.best_bag = max(bags, key=lambda bag: accuracy(bag, validation, self.vocabulary))

    def relevance(self, documents: list[Document], topics: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """That of every word for a topic of each document, by classifier."""
        return {
            "BoW/SVM": bag_relevance(self.bag, documents, self.vocabulary, topics["BoW/SVM"]),
            "LSTM": lstm_relevance(self.lstm, documents, self.vocabulary, topics["LSTM"]),
        }

    @property
    def models(self) -> dict[str, torch.nn.Module]:
        """By name."""
        return {"BoW/SVM": self.bag, "LSTM": self.lstm}


def compared(pair: Pair, topic_words: set[str], seed: int) -> Lines:
    """All numbers of one seed."""
    lines: Lines = []

    def add(measure: str, model: str, value: float) -> None:
        lines.append({"seed": seed, "model": model, "measure": measure, "value": f"{100 * value:.1f}"})

    tokens, lengths, topics = encode(pair.test, pair.vocabulary)
    predicted = {name: predict(model, pair.test, pair.vocabulary) for name, model in pair.models.items()}
    for name, found in predicted.items():
        add("accuracy", name, float((found == topics).double().mean()))
    add("accuracy of the best penalty", "BoW/SVM", accuracy(pair.best_bag, pair.test, pair.vocabulary))
    add("both predict the same topic", "neither", float((predicted["BoW/SVM"] == predicted["LSTM"]).double().mean()))
    relevance = pair.relevance(pair.test, predicted)
    of_words = kinds(pair.test, topic_words)
    plain = (torch.arange(tokens.shape[1]) < lengths[:, None]).double()
    for name, values in {**relevance, "neither": plain}.items():
        for kind, share in zip(KINDS, shares(values, of_words).mean(0), strict=True):
            add(f"relevance on {KIND_NAMES[kind]}", name, float(share))
    for name, share in agreement(relevance["BoW/SVM"], relevance["LSTM"], lengths).items():
        add(name, "neither", share)
    for explained, values in pair.relevance(pair.test, dict.fromkeys(pair.models, topics)).items():
        for name, model in pair.models.items():
            score = WordDeletion(5)(model, Sentences(tokens, lengths, topics), values)
            add(f"accuracy of the {name} after 1 to 5 deletions by this classifier's words", explained, score)
    for name, model in pair.models.items():
        chance = WordDeletion(5).random(model, Sentences(tokens, lengths, topics), seed=seed)
        add(f"accuracy of the {name} after 1 to 5 deletions by this classifier's words", "neither", chance.area)
    for name, values in {**relevance, "neither": plain}.items():
        found = neighbours(vectors(values, pair.test, pair.vocabulary), topics.numpy())
        add("10 nearest neighbours of the documents' vectors", name, float(found.mean()))
    return lines


def agreement(first: torch.Tensor, second: torch.Tensor, lengths: torch.Tensor) -> dict[str, float]:
    """How alike the classifiers' words are: of the five most relevant of each, the share in common; and what chance gives."""
    common, chance = [], []
    for one, other, length in zip(first, second, lengths.tolist(), strict=True):
        count = min(5, length)
        top = [set(values[:length].topk(count).indices.tolist()) for values in (one, other)]
        common.append(len(top[0] & top[1]) / count)
        chance.append(count / length)
    return {"five most relevant words in common": float(np.mean(common)), "the same by chance": float(np.mean(chance))}


def words(pair: Pair, count: int = 10) -> Lines:
    """The words with the most relevance for each topic, summed over the test documents of the topic."""
    _, _, topics = encode(pair.test, pair.vocabulary)
    lines: Lines = []
    relevance = pair.relevance(pair.test, dict.fromkeys(pair.models, topics))
    for number, topic in enumerate(TOPICS):
        rows = topics == number
        tokens = encode(pair.test, pair.vocabulary)[0][rows]
        for name, values in relevance.items():
            total = torch.zeros(len(pair.vocabulary)).scatter_add_(0, tokens.flatten(), values[rows].flatten().float())
            total[0] = 0.0
            best = total.topk(count).indices.tolist()
            lines.append({"topic": topic, "model": name, "words": " ".join(pair.vocabulary.words[index] for index in best)})
    return lines


def shown(pair: Pair) -> tuple[Document, dict[str, np.ndarray]]:
    """A document of forty to sixty words that both classify correctly, the first of them, and its relevance."""
    found = [predict(model, pair.test, pair.vocabulary) for model in pair.models.values()]
    topics = torch.tensor([one.topic for one in pair.test])
    right = [number for number in range(len(pair.test)) if found[0][number] == found[1][number] == topics[number]]
    chosen = next((number for number in right if 40 <= len(pair.test[number].words) <= 60), right[0] if right else 0)
    document = pair.test[chosen]
    relevance = pair.relevance([document], dict.fromkeys(pair.models, topics[chosen : chosen + 1]))
    return document, {name: values[0].numpy() for name, values in relevance.items()}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/arras2017_documents"), help="corpus, models and results")
    parser.add_argument("--seeds", type=int, default=3, help="splits and initial weights 0, 1, ...")
    parser.add_argument("--documents", type=int, default=700, help="of each topic, at most")
    parser.add_argument("--epochs", type=int, default=8, help="of each LSTM; the best is kept")
    parser.add_argument("--quick", action="store_true", help="few documents, one epoch: tries the path, shows nothing")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--update", action="store_true", help="also renew the CSV files, the figure and the README beside this file")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.documents, options.epochs = 1, 40, 1
        if options.out == parser.get_default("out"):
            options.out = options.out / "quick"
    if min(options.seeds, options.documents, options.epochs) < 1:
        parser.error("--seeds, --documents and --epochs must be positive")
    return options


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)

    def tell(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    corpus = read(options.out / "corpus.json", options.documents)
    tell(f"{len(corpus.documents)} documents of {', '.join(f'{name} {version}' for name, version in corpus.versions.items())}")
    results: Lines = []
    for seed in range(options.seeds):
        pair = Pair(corpus, options, seed, tell)
        results += compared(pair, corpus.topic_words, seed)
        if seed == 0:
            first, most = shown(pair), words(pair)
        tell(f"seed {seed}: compared")
    report.write(options.out, {"results.csv": results, "words.csv": most})
    report.draw(options.out / "figure.png", *first, results)
    print(report.tables(options.out))
    if options.update:
        report.update(HERE, options.out)


if __name__ == "__main__":
    main()
