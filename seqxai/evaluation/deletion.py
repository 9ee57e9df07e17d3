"""Word deletion: a good explanation names the words without which the model decides otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from seqxai.attribution import Attribution, Attributor
from seqxai.errors import InputError
from seqxai.evaluation.base import Metric

ORDERS = ("decreasing", "increasing")


@dataclass(frozen=True, eq=False)
class Sentences:
    """Sentences with their true classes, as a model ``model(tokens, lengths) -> scores (N, classes)`` reads them.

    Attributes:
        tokens: word indices, padded behind each sentence.
        lengths: words of each sentence.
        labels: the true class of each.

    Raises:
        InputError: sizes that do not agree, or lengths that do not fit the tokens.
    """

    tokens: Int64[Tensor, "sentences steps"]
    lengths: Int64[Tensor, " sentences"]
    labels: Int64[Tensor, " sentences"]

    def __post_init__(self) -> None:
        if not len(self.tokens) == len(self.lengths) == len(self.labels) or len(self.tokens) == 0:
            raise InputError(
                f"Expected at least one sentence with a length and a label each, got {len(self.tokens)} rows of tokens, "
                f"{len(self.lengths)} lengths and {len(self.labels)} labels."
            )
        if int(self.lengths.min()) < 1 or int(self.lengths.max()) > self.tokens.shape[1]:
            raise InputError(
                f"Expected lengths from 1 to {self.tokens.shape[1]}, the columns of the tokens, got {int(self.lengths.min())} to "
                f"{int(self.lengths.max())}."
            )

    def __len__(self) -> int:
        return len(self.tokens)

    def at(self, rows: Tensor) -> Sentences:
        """Some of the sentences, by index (K,) or mask (N,)."""
        return Sentences(self.tokens[rows], self.lengths[rows], self.labels[rows])

    @property
    def present(self) -> Tensor:
        """Where there is a word and no padding, (N, T)."""
        return torch.arange(self.tokens.shape[1], device=self.tokens.device) < self.lengths[:, None]


@dataclass(frozen=True, eq=False)
class DeletionCurve:
    """The share of sentences that the model classifies correctly while their words are deleted.

    Attributes:
        sentences: (M,) which of the given ones took part.
        correct: (M, words + 1) whether each is classified correctly after 0, 1, ... deletions, as 0 or 1; with several random orders the
            share of them.
        spread: (words + 1,) the standard deviation of the accuracy over the random orders, 0 for one explanation.
    """

    sentences: Int64[Tensor, " chosen"]
    correct: Float[Tensor, "chosen deletions"]
    spread: Float[Tensor, " deletions"]

    @property
    def accuracy(self) -> Float[Tensor, " deletions"]:
        """The share of correct sentences after 0, 1, ... deletions."""
        return self.correct.mean(0)

    @property
    def area(self) -> float:
        """The mean accuracy over the deletions: the normalised area under the curve, without its common first point."""
        return float(self.by_sentence.mean())

    @property
    def by_sentence(self) -> Float[Tensor, " chosen"]:
        """The area of each sentence, whose mean is :attr:`area`; differences of two methods are taken sentence by sentence."""
        return self.correct[:, 1:].mean(1)

    def interval(self, level: float = 0.95, draws: int = 2000, seed: int = 0) -> tuple[float, float]:
        """The interval of the area by a bootstrap over sentences.

        Args:
            level: the share of the draws inside.
            draws: how often the sentences are drawn anew, with replacement.
            seed: decides the draws.
        """
        return bootstrap(self.by_sentence, level, draws, seed)


def bootstrap(values: Tensor, level: float = 0.95, draws: int = 2000, seed: int = 0) -> tuple[float, float]:
    """The interval of a mean by drawing its values anew, with replacement.

    Args:
        values: (N,).
        level: the share of the draws inside.
        draws: how many.
        seed: decides them.
    """
    generator = torch.Generator().manual_seed(seed)
    values = values.double().cpu()
    together = max(1, 500_000 // len(values))  # draws at a time: memory does not grow with them
    means = torch.cat([
        values[torch.randint(len(values), (min(together, draws - done), len(values)), generator=generator)].mean(1)
        for done in range(0, draws, together)
    ])  # fmt: skip
    outside = (1 - level) / 2
    low, high = torch.quantile(means, torch.tensor([outside, 1 - outside], dtype=torch.float64)).tolist()
    return low, high


@dataclass(frozen=True)
class WordDeletion(Metric):
    """The mean accuracy while words are deleted in the order of their relevance for the TRUE class (Arras et al. 2019, sec. 11.5.1).

        score = 1/K Σ_{k=1..K} 1/|S| Σ_{s in S} [argmax model(s without its first k words in the order) = true class of s]

    In decreasing order S are the sentences the model classifies correctly, the words that speak most *for* the class go first, and a
    good explanation makes the accuracy fall: lower is better.  In increasing order S are the sentences it classifies wrongly, the words
    that speak most *against* the true class go first, and the accuracy should rise: higher is better.

    A word is taken out and the rest moves together; nothing is masked.  The order is that of the explanation of the whole sentence: it is
    not explained again.  Of equally relevant words the earlier goes first.  The section plots the accuracy after each deletion,
    :meth:`curve`; the mean over them is our summary.

    Args:
        words: deletions K; every sentence must be longer.
        order: "decreasing" or "increasing".
        batch: sentences at a time.

    Raises:
        InputError: a parameter out of its range.
    """

    words: int = 5
    order: Literal["decreasing", "increasing"] = "decreasing"
    batch: int = 256

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise InputError(f"The 'order' parameter of WordDeletion must be one of {', '.join(ORDERS)}. Got {self.order!r} instead.")
        for name in ("words", "batch"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"The '{name}' parameter of WordDeletion must be a whole number from 1. Got {value!r} instead.")

    @property
    def name(self) -> str:
        """The name in tables."""
        return f"word deletion, {self.order} relevance"

    @property
    def higher_is_better(self) -> bool:
        """In increasing order, of sentences that were classified wrongly."""
        return self.order == "increasing"

    def __call__(self, model: Any, inputs: Sentences, attributions: Attribution | Tensor) -> float:
        """The mean accuracy after 1 to ``words`` deletions, see :meth:`curve`."""
        return self.curve(model, inputs, attributions).area

    def curve(self, model: Any, inputs: Sentences, attributions: Attribution | Tensor) -> DeletionCurve:
        """The accuracy after each deletion.

        Args:
            model: ``model(tokens, lengths) -> scores (N, classes)``.
            inputs: all sentences; those that are classified correctly (in increasing order: wrongly) take part.
            attributions: relevance of each word for the true class, (N, T); what stands behind a sentence is not looked at.

        Raises:
            InputError: no sentence takes part, one is too short, or the relevance is not finite or of another shape.
        """
        relevance = attributions.relevance if isinstance(attributions, Attribution) else attributions
        if not isinstance(relevance, Tensor) or relevance.shape != inputs.tokens.shape:
            raise InputError(
                f"Expected relevance of the tokens' shape, {tuple(inputs.tokens.shape)}, got "
                f"{tuple(relevance.shape) if isinstance(relevance, Tensor) else type(relevance).__name__}; sum it over the embedding."
            )
        if not bool(relevance[inputs.present].isfinite().all()):
            raise InputError("Expected finite relevance, got NaN or infinity for some word; explain again, or with a larger epsilon.")
        rows = self._taking_part(model, inputs)
        correct = self._deleted(model, inputs.at(rows), relevance[rows])
        return DeletionCurve(rows, correct, torch.zeros(self.words + 1, dtype=torch.float64))

    def random(self, model: Any, inputs: Sentences, *, runs: int = 10, seed: int = 0) -> DeletionCurve:
        """The same with words deleted at random: what an explanation that knows nothing gives.

        Args:
            model: see :meth:`curve`.
            inputs: see there.
            runs: random orders that are averaged.
            seed: decides them.

        Raises:
            InputError: see :meth:`curve`.
        """
        if runs < 1:
            raise InputError(f"The 'runs' parameter of WordDeletion.random must be a whole number from 1. Got {runs!r} instead.")
        generator = torch.Generator().manual_seed(seed)
        rows = self._taking_part(model, inputs)
        chosen = inputs.at(rows)
        # Drawn for all sentences: a sentence's order does not depend on which others take part.
        orders = [torch.rand(inputs.tokens.shape, generator=generator).to(rows.device)[rows] for _ in range(runs)]
        correct = torch.stack([self._deleted(model, chosen, order) for order in orders])
        return DeletionCurve(rows, correct.mean(0), correct.mean(1).std(0, correction=0))

    def _taking_part(self, model: Any, inputs: Sentences) -> Tensor:
        shortest = int(inputs.lengths.min())
        if shortest <= self.words:
            raise InputError(
                f"Deleting {self.words} words needs sentences of at least {self.words + 1}, got one of {shortest}; leave short ones out or "
                "delete fewer."
            )
        wanted = self.order == "decreasing"
        rows = (classified(model, inputs, self.batch) == wanted).nonzero()[:, 0]
        if len(rows) == 0:
            state = "correctly" if wanted else "wrongly"
            raise InputError(f"In {self.order} order the sentences classified {state} take part, but of {len(inputs)} there is none.")
        return rows

    def _deleted(self, model: Any, inputs: Sentences, relevance: Tensor) -> Tensor:
        """Whether each sentence is right after each deletion, (M, words + 1)."""
        last = -torch.inf if self.order == "decreasing" else torch.inf
        keys = torch.where(inputs.present, relevance.double(), last)
        order = keys.argsort(dim=1, descending=self.order == "decreasing", stable=True)
        steps = [classified(model, _without(inputs, order[:, :count]), self.batch) for count in range(self.words + 1)]
        return torch.stack(steps, 1).double()


def _without(inputs: Sentences, places: Tensor) -> Sentences:
    """The sentences without the words at places (N, K): the others move together, the padding behind them stays."""
    gone = torch.zeros_like(inputs.tokens, dtype=torch.bool).scatter_(1, places, True)
    order = gone.long().argsort(dim=1, stable=True)[:, : inputs.tokens.shape[1] - places.shape[1]]
    return Sentences(inputs.tokens.gather(1, order), inputs.lengths - places.shape[1], inputs.labels)


@torch.no_grad()
def classified(model: Any, inputs: Sentences, batch: int = 256) -> Tensor:
    """Whether the largest score is that of the true class, (N,); sentences of like length run together."""
    correct = torch.empty(len(inputs), dtype=torch.bool, device=inputs.tokens.device)
    for part in by_length(inputs, batch):
        lengths = inputs.lengths[part]
        scores = model(inputs.tokens[part, : int(lengths.max())], lengths)
        correct[part] = scores.argmax(1) == inputs.labels[part]
    return correct


def by_length(inputs: Sentences, batch: int) -> tuple[Tensor, ...]:
    """The indices of the sentences in batches of like length."""
    return torch.argsort(inputs.lengths, stable=True).split(batch)


def relevance_by_word(
    attributor: Attributor, inputs: Sentences, *, batch: int = 256, progress: Callable[[int], None] = lambda done: None
) -> Float[Tensor, "sentences steps"]:
    """Explain the true class of every sentence, in batches of like length.

    Args:
        attributor: of a model ``model(tokens, lengths)`` whose explained input are the tokens.
        inputs: the sentences.
        batch: how many at a time.
        progress: told how many are done.

    Returns:
        One relevance for each word, 0 behind a sentence.
    """
    relevance: Tensor | None = None
    done = 0
    for part in by_length(inputs, batch):
        lengths = inputs.lengths[part]
        longest = int(lengths.max())
        found = attributor.attribute(inputs.tokens[part, :longest], inputs.labels[part], args=(lengths,)).relevance
        if relevance is None:
            relevance = found.new_zeros(inputs.tokens.shape)
        relevance[part, :longest] = found
        done += len(part)
        progress(done)
    assert relevance is not None  # there is at least one sentence
    return torch.where(inputs.present, relevance, 0.0)
