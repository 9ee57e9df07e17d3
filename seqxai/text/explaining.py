"""From texts to explained texts: a stream in, a stream out, in batches of like length and in memory that does not grow."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from seqxai import comparison, composites
from seqxai.attribution import Attribution, Attributor
from seqxai.composites import Composite
from seqxai.errors import InputError, SeqxaiError, TargetError
from seqxai.lrp import LRP
from seqxai.rules.product import ProductRule
from seqxai.targets import Contrast, Index, Largest, Target
from seqxai.text.classifier import TextClassifier
from seqxai.text.model import Encoded, TextModel
from seqxai.text.own import OwnModel, beyond_embedding
from seqxai.text.tokens import pieces
from seqxai.trace.graph import Trace, Value
from seqxai.trace.recording import TraceWarning
from seqxai.visualisation.explained import ExplainedText, is_number

EPSILON = 1e-3  # of our commands for text: small enough to change no sum by much, large enough for cells near zero
WINDOW = 4096  # texts that are sorted by length together
WINDOW_WORDS = 200_000  # and their words, so that long texts do not fill the memory
BATCH = 128
BATCH_WORDS = 16_384


@runtime_checkable
class ExplainableText(Protocol):
    """What can be explained: a :class:`seqxai.text.TextModel`, or a network of one's own with its words."""

    @property
    def network(self) -> nn.Module:
        """Token indices (B, T), and lengths (B,) if it takes them, to scores (B, C)."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the scores; none if they have no names."""

    def tokenise(self, text: str) -> list[str]:
        """The words of a text."""

    def encode(self, texts: Sequence[str | Sequence[str]]) -> Encoded:
        """Texts, or words, as the network reads them."""


# ---- methods -------------------------------------------------------------------------------------------------------------------


def methods() -> dict[str, Callable[..., Attributor]]:
    """Every way to explain a text by its name: "lrp", and each of :mod:`seqxai.comparison`."""
    found: dict[str, Callable[..., Attributor]] = {"lrp": LRP}
    for name in comparison.__all__:
        made = getattr(comparison, name)
        if inspect.isclass(made) and issubclass(made, Attributor):
            found[_kebab(name)] = made
    if "occlusion" in found:
        found["occlusion-probability"] = lambda model, **options: comparison.Occlusion(model, of="probability", **options)
    return found


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()


def attributor(
    network: nn.Module,
    method: str = "lrp",
    *,
    composite: str | Composite = "epsilon",
    epsilon: float | None = None,
    product: str | ProductRule = "signal-takes-all",
    padding: int = 0,
) -> tuple[Attributor, str]:
    """A method by its name, made for a text classifier, and the method in words.

    Args:
        network: what is explained.
        method: a name in :func:`methods`.
        composite: of LRP, by name or as an object.
        epsilon: of composites that have one; 1e-3 by default.
        product: how LRP shares a gate's product.
        padding: the index of no word, which occlusion puts in the place of each.

    Raises:
        InputError: for an unknown name, or an option that belongs to another method.
    """
    known = methods()
    if method not in known:
        raise InputError(f"Expected a method among {', '.join(known)}, got {method!r}.")
    if method != "lrp":
        for name, given in (
            ("epsilon", epsilon is not None),
            ("composite", composite != "epsilon"),
            ("product", product != "signal-takes-all"),
        ):
            if given:
                raise InputError(
                    f"The option {name} belongs to the method lrp, and the method is {method}; leave one of them out."
                )
        made = known[method]
        options = {"reference": padding} if method.startswith("occlusion") else {}
        return made(network, **options), method.replace("-", " ")
    rules, told = _composite(composite, epsilon)
    gates = f", gates: {product if isinstance(product, str) else type(product).__name__}" if product != "signal-takes-all" else ""
    return LRP(network, composite=rules, product=product, ledger=True), f"LRP, {told}{gates}"


def _takes(made: Callable[..., Any], name: str) -> bool:
    return name in inspect.signature(made).parameters


def _composite(composite: str | Composite, epsilon: float | None) -> tuple[Composite, str]:
    """The composite with its ε, and both in words."""
    if not isinstance(composite, str) or composite not in composites.PRESETS:
        found = composites.ensure(composite)
        if epsilon is not None:
            raise InputError("An ε goes with a composite's name; a composite of one's own has its own.")
        return found, found.name
    make = composites.PRESETS[composite]
    if not _takes(make, "epsilon"):
        if epsilon is not None:
            raise InputError(f"The composite {composite} has no ε; leave --epsilon out, or take the composite epsilon.")
        return make(), composite
    value = EPSILON if epsilon is None else float(epsilon)
    if not 0 < value < float("inf"):
        raise InputError(f"Expected a positive, finite ε, got {epsilon}; the composite lrp-0 has none.")
    return make(epsilon=value), f"ε = {value:g}" if composite == "epsilon" else f"{composite} with ε = {value:g}"  # type: ignore[call-arg]


class Unpadded(nn.Module):
    """A :class:`seqxai.text.TextClassifier` for texts of equal length: the same scores without packing, at half the cost.

    Args:
        network: whose layers it uses.
    """

    def __init__(self, network: TextClassifier) -> None:
        super().__init__()
        self.embedding, self.recurrent, self.output = network.embedding, network.recurrent, network.output
        self.train(network.training)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T) to (B, C)."""
        state = self.recurrent(self.embedding(tokens))[1]
        hidden = state[0] if isinstance(state, tuple) else state  # (layers * directions, B, H)
        directions = 2 if self.recurrent.bidirectional else 1
        scores: Tensor = self.output(torch.cat([hidden[i] for i in range(-directions, 0)], dim=-1))
        return scores


# ---- targets -------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LargestAgainst(Target):
    """Each sample's largest output but one, minus that one.

    Attributes:
        other: the output it is set against.
    """

    other: int

    def _contrast(self, scores: Tensor) -> Contrast:
        rows = scores.clone()
        rows[:, self.other] = -torch.inf
        return Contrast(tuple(rows.argmax(1).tolist()), (self.other,) * len(rows))

    def chosen(self, trace: Trace, output: Value) -> Target:
        """The same with the largest of this run."""
        return self._contrast(trace.data(self.value(trace, output)))

    def combine(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`seqxai.targets.Target`."""
        return self._contrast(scores).combine(scores)

    def __str__(self) -> str:
        return f"largest output against {self.other}"


def class_index(labels: Sequence[str], label: str | int) -> int:
    """A class by its label, in any case, or by its number; where labels are numbers themselves, a text is a label only.

    Raises:
        TargetError: listing the labels.
    """
    if isinstance(label, int) or (label.removeprefix("-").isdecimal() and not any(map(is_number, labels))):
        index = int(label)
        if labels and not 0 <= index < len(labels):
            raise TargetError(f"The class {index} is out of range; the labels are {_listed(labels)}, counted from 0.")
        return index
    for same in (lambda one: one == label, lambda one: one.casefold() == label.strip().casefold()):
        found = [i for i, one in enumerate(labels) if same(one)]
        if len(found) == 1:
            return found[0]
    raise TargetError(f"Unknown label {label!r}; the model's labels are {_listed(labels) or 'not named, so give a number'}.")


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(labels[:20]) + (f" and {len(labels) - 20} more" if len(labels) > 20 else "")


# ---- texts -----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class TextExplainer:
    """Explains texts with one model, one method and one target.

    Args:
        model: see :class:`ExplainableText`.
        method: see :func:`methods`.
        target: a label or its number; each text's most likely class by default.
        against: explain the contrast to this label.
        composite, epsilon, product: of LRP, see :func:`attributor`.
        batch: texts that are computed at once.
        written: find out how words are written one after the other, which only pictures need.

    Raises:
        SeqxaiError: for what the model does not know.
    """

    model: ExplainableText
    method: str = "lrp"
    target: str | int | None = None
    against: str | int | None = None
    composite: str | Composite = "epsilon"
    epsilon: float | None = None
    product: str | ProductRule = "signal-takes-all"
    batch: int = BATCH
    written: bool = True
    _made: tuple[Attributor, str] = field(init=False, repr=False)
    _target: Target = field(init=False, repr=False)

    def __post_init__(self) -> None:
        network = self.model.network
        if type(network) is TextClassifier:
            network = Unpadded(network)
        made = attributor(
            network, self.method, composite=self.composite, epsilon=self.epsilon, product=self.product,
            padding=getattr(self.model, "padding", None) or 0,
        )  # fmt: skip
        object.__setattr__(self, "_made", made)
        object.__setattr__(self, "_target", self._wanted())

    @property
    def described(self) -> str:
        """The method in words."""
        return self._made[1]

    def _wanted(self) -> Target:
        labels = self.model.labels
        index = None if self.target is None else class_index(labels, self.target)
        if self.against is None:
            return Largest() if index is None else Index(index)
        other = class_index(labels, self.against)
        if other == index:
            raise TargetError(f"The target and what it is set against are both {self.against!r}; give two labels.")
        if len(labels) == 1:
            raise TargetError("The model has one score only, so there is nothing to set it against; leave against out.")
        return LargestAgainst(other) if index is None else Contrast(index, other)

    def explain(self, texts: Iterable[str | Sequence[str]]) -> Iterator[ExplainedText]:
        """Explain texts in their order, as a stream.

        Args:
            texts: each a string, or its words.

        Yields:
            One result for each text; a text without words gives one without words and with score 0.

        Raises:
            SeqxaiError: what cannot be explained.
        """
        if isinstance(texts, str):
            raise InputError(f"Expected several texts, a list or a stream, got one ({texts[:40]!r}); write [text].")
        return self.explain_pairs((text, "") for text in texts)

    def explain_pairs(self, texts: Iterable[tuple[str | Sequence[str], str]]) -> Iterator[ExplainedText]:
        """:meth:`explain` for texts with titles, for example "line 12"."""
        stream = ((self._words(text), title) for text, title in texts)
        while window := _window(stream):
            yield from self._explained(window)

    def _words(self, text: str | Sequence[str]) -> list[str]:
        return self.model.tokenise(text) if isinstance(text, str) else list(text)

    def _explained(self, window: list[tuple[list[str], str]]) -> list[ExplainedText]:
        found: list[ExplainedText | None] = [None] * len(window)
        filled = sorted((i for i, (words, _) in enumerate(window) if words), key=lambda i: len(window[i][0]))
        for part in _batches(filled, [len(words) for words, _ in window], self.batch, self._equal_lengths):
            for i, one in zip(part, self._batch([window[i] for i in part]), strict=True):
                found[i] = one
        return [one or ExplainedText((), (), 0.0, "", self.described, title=window[i][1]) for i, one in enumerate(found)]

    @property
    def _equal_lengths(self) -> bool:
        """Whether the network is called without lengths, so that nothing may be padded."""
        return type(self.model.network) is TextClassifier or not getattr(self.model, "takes_lengths", True)

    def _batch(self, texts: list[tuple[list[str], str]]) -> list[ExplainedText]:
        encoded = self.model.encode([words for words, _ in texts])
        args = () if self._equal_lengths else (encoded.lengths,)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", TraceWarning)  # a softmax at the end: its input is explained, as asked
                found = self._made[0].attribute(encoded.tokens, target=self._target, args=args)
        except SeqxaiError as error:
            raise type(error)(f"{_called(texts)}{error}") from error
        except Exception as error:  # somebody's network, which may fail on indices and lengths in its own words
            if isinstance(self.model, TextModel):
                raise
            if isinstance(self.model, OwnModel) and (reason := beyond_embedding(self.model, encoded.tokens)):
                raise InputError(f"{_called(texts)}{reason}.") from error
            low, high = int(encoded.tokens.min()), int(encoded.tokens.max())
            raise InputError(
                f"{_called(texts)}the network fails on token indices of shape {tuple(encoded.tokens.shape)}, from {low} to {high}"
                f"{', with lengths' if args else ''} ({type(error).__name__}: {' '.join(str(error).split())[:200]})."
            ) from error
        return self._read(found, encoded, [title for _, title in texts])

    def _read(self, found: Attribution, encoded: Encoded, titles: list[str]) -> list[ExplainedText]:
        scores = _rows_of(found.output, len(titles))
        names = self._names(scores.shape[1])
        shares = _probabilities(scores)
        relevance = found.by_token().double().tolist()
        unknown = self._unknown(encoded)
        entries = {name: value.tolist() for name, value in found.ledger.total().items()} if self.method == "lrp" else {}
        told = self._told(scores, names)
        lengths, explained = encoded.lengths.tolist(), found.explained.double().tolist()
        rows, likely = scores.double().tolist(), shares.tolist()
        ours = self.written and isinstance(self.model, TextModel)  # whose words are written as the Treebank has them
        return [
            ExplainedText(
                words=tuple(encoded.words[i]),
                relevance=tuple(relevance[i][: lengths[i]]),
                explained=explained[i],
                target=told[i],
                method=self.described,
                scores=tuple(zip(names, rows[i], strict=True)),
                probabilities=tuple(zip(names, likely[i], strict=True)) if likely[i] else (),
                ledger=tuple((name, row[i]) for name, row in entries.items()),
                unknown=unknown[i],
                pieces=tuple(pieces(encoded.words[i])) if ours else (),
                title=title,
            )
            for i, title in enumerate(titles)
        ]

    def _names(self, count: int) -> tuple[str, ...]:
        labels = self.model.labels or tuple(f"output {i}" for i in range(count))
        if len(labels) != count:
            raise InputError(f"Expected {count} labels, one for each score of the model, got {len(labels)}: {_listed(labels)}.")
        return labels

    def _told(self, scores: Tensor, names: Sequence[str]) -> list[str]:
        """What is explained of each text, in words."""
        if self.against is None:
            chosen = scores.argmax(1).tolist() if self.target is None else [class_index(names, self.target)] * len(scores)
            return [names[i] for i in chosen]
        other = class_index(names, self.against)
        contrast = (
            LargestAgainst(other)._contrast(scores).index
            if self.target is None
            else [class_index(names, self.target)] * len(scores)
        )
        return [f"{names[int(i)]} rather than {names[other]}" for i in contrast]  # type: ignore[union-attr]

    def _unknown(self, encoded: Encoded) -> list[frozenset[int]]:
        vocabulary = getattr(self.model, "vocabulary", None)
        index = vocabulary.unknown if vocabulary is not None else getattr(self.model, "unknown_index", None)
        found: dict[int, list[int]] = {}
        if index is not None:
            for row, place in (encoded.tokens == index).nonzero().tolist():
                found.setdefault(row, []).append(place)
        return [frozenset(found.get(i, ())) for i in range(len(encoded.words))]


def explain(model: ExplainableText, texts: Iterable[str | Sequence[str]], **options: Any) -> Iterator[ExplainedText]:
    """Explain texts: which words speak for the class, and which against it.

    Args:
        model: :func:`seqxai.text.load`'s, or one's own (:class:`seqxai.text.OwnModel`).
        texts: each a string, or its words; a stream is explained as one.
        options: see :class:`TextExplainer`.

    Yields:
        An explained text for each; :func:`seqxai.visualisation.save_text_page` writes them.
    """
    return TextExplainer(model, **options).explain(texts)


def _called(texts: Sequence[tuple[list[str], str]]) -> str:
    """Which texts an error is about, as far as they have titles."""
    title = texts[0][1]
    others = f" or one of the {len(texts) - 1} computed with it" if len(texts) > 1 else ""
    return f"{title}{others}: " if title else ""


def _window(stream: Iterator[tuple[list[str], str]]) -> list[tuple[list[str], str]]:
    window, words = [], 0
    for item in islice(stream, WINDOW):
        window.append(item)
        words += len(item[0])
        if words >= WINDOW_WORDS:
            break
    return window


def _batches(order: Sequence[int], lengths: Sequence[int], batch: int, equal: bool) -> Iterator[list[int]]:
    """Texts sorted by length in batches, none of them larger than so many texts and so many words with the padding."""
    part: list[int] = []
    for i in order:
        full = len(part) == batch or (len(part) + 1) * lengths[i] > BATCH_WORDS
        if part and (full or (equal and lengths[i] != lengths[part[0]])):
            yield part
            part = []
        part.append(i)
    if part:
        yield part


def _rows_of(output: Any, count: int) -> Tensor:
    scores = output[0] if isinstance(output, (tuple, list)) else output
    if isinstance(scores, Tensor) and scores.dim() == 1 and len(scores) == count:
        scores = scores.unsqueeze(1)
    if not isinstance(scores, Tensor) or scores.dim() != 2 or len(scores) != count:
        shape = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise InputError(f"Expected scores of shape (texts, classes) from the model, ({count}, ...), got {shape}.")
    return scores.detach()


def _probabilities(scores: Tensor) -> Tensor:
    """Of scores by the softmax; what is already a distribution stays; one score alone has none, (B, 0)."""
    if scores.shape[1] < 2:
        return scores.new_zeros(len(scores), 0)
    if bool((scores >= 0).all()) and bool(((scores.sum(1) - 1).abs() < 1e-4).all()):
        return scores.double()
    return scores.double().softmax(1)
