"""How a text classifier learns, from the top: settings, one epoch, the epochs until the validation texts gain no more.

Cross-entropy over sentences (and, from trees, their phrases), AdamW, batches of like length.  What is validated, kept
and shipped is a running average of the weights, which on small data sets is a better and steadier classifier than the
weights themselves.  All chance of an epoch comes from the seed and the epoch's number: a training that was stopped after
any epoch goes on to the same numbers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from seqxai.errors import InputError, SeqxaiError
from seqxai.text.classifier import Settings, TextClassifier
from seqxai.text.corpus import Corpus
from seqxai.text.vocabulary import UNKNOWN_INDEX

_Tensors = list[torch.Tensor] | tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class TrainingSettings:
    """How to learn.

    Attributes:
        epochs: at most so many passes over the texts.
        patience: stop after so many epochs in which neither the accuracy nor the loss of the validation texts got better.
        batch: texts of one step.
        learning_rate: of AdamW.
        weight_decay: of AdamW, decoupled from the gradient.
        word_dropout: share of the words that are read as unknown, which teaches what an unknown word means.
        averaging: share of the running average of the weights that a step keeps (less in the first steps); 0 for the weights
            themselves.
        clip: largest norm of the gradient.
        seed: decides all chance.

    Raises:
        InputError: a value out of its range.
    """

    epochs: int = 40
    patience: int = 8
    batch: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    word_dropout: float = 0.05
    averaging: float = 0.99
    clip: float = 5.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "patience", "batch"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} should be at least 1, got {getattr(self, name)}")
        for name in ("word_dropout", "averaging"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} should be a share from 0 to below 1, got {getattr(self, name)}")
        for name in ("learning_rate", "clip"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} should be above 0, got {getattr(self, name)}")
        if not self.weight_decay >= 0:
            raise InputError(f"weight_decay should be at least 0, got {self.weight_decay}")


@dataclass(frozen=True)
class Epoch:
    """What one pass over the texts brought.

    Attributes:
        number: counted from 1.
        loss: mean cross-entropy while learning, dropout included.
        validation_loss: mean cross-entropy of the validation sentences.
        validation_accuracy: share of the validation sentences that are right.
        seconds: it took.
    """

    number: int
    loss: float
    validation_loss: float
    validation_accuracy: float
    seconds: float


@dataclass(eq=False)
class State:
    """A training between two epochs: everything it takes to go on.

    Attributes:
        network: the weights that learn.
        average: their running average.
        optimiser: with its moments.
        history: the epochs done.
        best: the averaged weights of the best epoch so far.
    """

    network: TextClassifier
    average: AveragedModel
    optimiser: torch.optim.AdamW
    history: list[Epoch] = field(default_factory=list)
    best: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def best_epoch(self) -> Epoch | None:
        """The most accurate on the validation texts, the lower loss deciding between equals."""
        return min(self.history, key=lambda epoch: (-epoch.validation_accuracy, epoch.validation_loss), default=None)

    def finished(self, training: TrainingSettings) -> bool:
        """Whether the epochs are done, or the last ones brought nothing."""
        best = self.best_epoch
        if best is None:
            return False
        closest = min(self.history, key=lambda epoch: epoch.validation_loss)
        done = len(self.history)
        return done >= training.epochs or done - max(best.number, closest.number) >= training.patience


def begin(settings: Settings, training: TrainingSettings, words: int, classes: int) -> State:
    """A network with random weights, which the seed decides; the global random state is not touched.

    Args:
        settings: of the network.
        training: how it will learn.
        words: of the vocabulary.
        classes: number of labels.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        network = TextClassifier(settings, words, classes)
        with torch.no_grad():
            network.embedding.weight.mul_(0.1)  # small: a rare word begins as one that says nothing
    average = AveragedModel(network, multi_avg_fn=_running(training.averaging))
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
    )
    return State(network, average, optimiser)


def _running(share: float) -> Callable[[_Tensors, _Tensors, torch.Tensor | int], None]:
    """The running average of the weights; the first steps, far from everything later, are forgotten sooner."""

    def update(averages: _Tensors, weights: _Tensors, steps: torch.Tensor | int) -> None:
        kept = min(share, (1 + int(steps)) / (10 + int(steps)))
        get_ema_multi_avg_fn(kept)(averages, weights, steps)

    return update


def epochs(
    state: State,
    training: TrainingSettings,
    texts: Corpus,
    validation: Corpus,
    progress: Callable[[int, float], None] = lambda texts, loss: None,
) -> Iterator[Epoch]:
    """Learn until the validation texts gain no more; after each epoch ``state`` is complete and can be saved.

    Args:
        state: where to begin, or to go on.
        training: how.
        texts: to learn from.
        validation: to choose the best epoch by.
        progress: told after each step how many texts of the epoch are done and the mean loss so far.

    Yields:
        What each epoch brought.

    Raises:
        SeqxaiError: the loss is no longer a number.
    """
    while not state.finished(training):
        number = len(state.history) + 1
        begun = time.perf_counter()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed * 1_000_003 + number)  # nothing but these decides an epoch's chance
            loss = _learn(state, training, texts, progress)
        network = cast(TextClassifier, state.average.module)
        accuracy, validation_loss = measure(network, validation)
        state.history.append(Epoch(number, loss, validation_loss, accuracy, time.perf_counter() - begun))
        if state.best_epoch is state.history[-1]:
            state.best = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        yield state.history[-1]


def _learn(state: State, training: TrainingSettings, texts: Corpus, progress: Callable[[int, float], None]) -> float:
    """One pass over the texts."""
    network = state.network.train()
    total, done = 0.0, 0
    for chosen in texts.batches(training.batch, torch.default_generator):
        tokens, lengths, labels = texts.batch(chosen)
        loss = nn.functional.cross_entropy(network(_forgotten(tokens, training.word_dropout), lengths), labels)
        state.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), training.clip)
        state.optimiser.step()
        state.average.update_parameters(network)
        total, done = total + loss.item() * len(labels), done + len(labels)
        if total != total:
            raise SeqxaiError(
                f"the training diverged: the loss is not a number; try a smaller learning rate than {training.learning_rate}"
            )
        progress(done, total / done)
    return total / done


def _forgotten(tokens: torch.Tensor, share: float) -> torch.Tensor:
    """The tokens with some words replaced by the unknown one; the padding stays."""
    if not share:
        return tokens
    return torch.where((torch.rand(tokens.shape) < share) & (tokens != 0), UNKNOWN_INDEX, tokens)


@torch.no_grad()
def scores(network: TextClassifier, corpus: Corpus, batch: int = 256) -> torch.Tensor:
    """Class scores of every text (texts, classes)."""
    network.eval()
    found = network.output.weight.new_empty(len(corpus), network.output.out_features)
    for chosen in corpus.batches(batch):
        tokens, lengths, _ = corpus.batch(chosen)
        found[chosen] = network(tokens, lengths)
    return found


def measure(network: TextClassifier, corpus: Corpus) -> tuple[float, float]:
    """Accuracy and mean cross-entropy."""
    found = scores(network, corpus)
    accuracy = float((found.argmax(dim=-1) == corpus.labels).double().mean())
    return accuracy, float(nn.functional.cross_entropy(found, corpus.labels))
