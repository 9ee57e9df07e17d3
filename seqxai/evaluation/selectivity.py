"""Both halves of the word-deletion experiment for several methods at once (Arras et al. 2019, Fig 11.5)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from torch import Tensor

from seqxai.attribution import Attributor
from seqxai.errors import InputError
from seqxai.evaluation.deletion import DeletionCurve, Sentences, WordDeletion, classified, relevance_by_word

Tell = Callable[[str, int], None]


@dataclass(frozen=True, eq=False)
class Selectivity:
    """How one method fares.

    Attributes:
        decreasing: the most relevant words deleted from sentences that were classified correctly; None if there were none.
        increasing: the least relevant from sentences that were classified wrongly; likewise.
        seconds: what explaining all sentences took.
        relevance: (N, T) that of every word for the true class; None for the random orders.
    """

    decreasing: DeletionCurve | None
    increasing: DeletionCurve | None
    seconds: float
    relevance: Tensor | None = None

    def curve(self, order: str) -> DeletionCurve | None:
        """That of an order by its name."""
        return self.decreasing if order == "decreasing" else self.increasing


def selectivity(
    model: Any,
    inputs: Sentences,
    methods: Mapping[str, Attributor | None],
    *,
    words: int = 5,
    runs: int = 10,
    seed: int = 0,
    batch: int = 256,
    tell: Tell = lambda method, done: None,
) -> dict[str, Selectivity]:
    """Explain the true class of every sentence by every method, then delete words.

    Args:
        model: ``model(tokens, lengths) -> scores (N, classes)``, without gradients and in evaluation mode.
        inputs: sentences of more than ``words`` words.
        methods: name -> attributor of this model, or None for random orders.
        words: deletions.
        runs: random orders that are averaged.
        seed: decides them.
        batch: sentences at a time.
        tell: told the method and how many sentences are explained.

    Returns:
        The result of each method, in their order.

    Raises:
        InputError: no methods, or sentences that are too short.
    """
    if not methods:
        raise InputError("Expected at least one method to evaluate, got none.")
    correct = classified(model, inputs, batch)
    orders: list[Literal["decreasing", "increasing"]] = []
    orders += ["decreasing"] if bool(correct.any()) else []
    orders += ["increasing"] if not bool(correct.all()) else []
    metrics = {order: WordDeletion(words, order, batch) for order in orders}
    found = {}
    for name, attributor in methods.items():
        began = time.perf_counter()
        relevance = None
        if attributor is not None:
            relevance = relevance_by_word(attributor, inputs, batch=batch, progress=partial(tell, name))
        seconds = time.perf_counter() - began
        curves = {
            order: metric.random(model, inputs, runs=runs, seed=seed) if relevance is None else metric.curve(model, inputs, relevance)
            for order, metric in metrics.items()
        }
        found[name] = Selectivity(curves.get("decreasing"), curves.get("increasing"), seconds, relevance)
        tell(name, len(inputs))
    return found
