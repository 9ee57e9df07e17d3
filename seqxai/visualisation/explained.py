"""One explained text as plain data, which terminal, page and figure draw alike; and what they have in common."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from seqxai.errors import InputError

if TYPE_CHECKING:
    from seqxai.attribution import Attribution

Named = tuple[tuple[str, float], ...]

# The ledger's entries (seqxai.attribution.ENTRIES), as a reader of texts calls them.
ENTRIES = {
    "input": "words",
    "padding": "padding",
    "initial_state": "initial state",
    "bias": "biases",
    "stabilizer": "stabilizer",
    "constant": "constants",
    "target": "target",
}
NOT_SHOWN = 5e-4  # share of the explained score below which an entry of the balance is not worth a word
EXACT = 1000  # up to this many words the largest one has the full colour
QUANTILE = 0.995  # of more words: this share is on the scale, the others have its end


@dataclass(frozen=True)
class ExplainedText:
    """A text, the relevance of its words, and what the model said.

    Attributes:
        words: tokens as they are read; control characters are made visible where they are drawn.
        relevance: one number a word.
        explained: the scalar explained.
        target: what that is, in words.
        method: how it was explained, in words.
        scores: (label, score) of every class, in the model's order.
        probabilities: (label, probability) likewise; empty if the model has none.
        ledger: (entry, amount) of the six entries that add up to ``explained``; empty for methods that keep none.
        unknown: numbers of the words that are not in the model's vocabulary.
        pieces: how the words are written one after the other, each with a blank in front where one belongs; all have one if not given.
        title: which text of several, for example "line 12".
    """

    words: tuple[str, ...]
    relevance: tuple[float, ...]
    explained: float
    target: str
    method: str
    scores: Named = ()
    probabilities: Named = ()
    ledger: Named = ()
    unknown: frozenset[int] = frozenset()
    pieces: tuple[str, ...] = ()
    title: str = ""

    def __post_init__(self) -> None:
        if len(self.words) != len(self.relevance):
            raise InputError(f"Expected one relevance for each of {len(self.words)} words, got {len(self.relevance)}.")
        if self.pieces and len(self.pieces) != len(self.words):
            raise InputError(f"Expected one piece of text for each of {len(self.words)} words, got {len(self.pieces)}.")
        if self.probabilities and len(self.probabilities) != len(self.scores):
            raise InputError(f"Expected a probability for each of {len(self.scores)} scores, got {len(self.probabilities)}.")
        if not all(map(math.isfinite, (*self.relevance, self.explained))):
            raise InputError(
                "Expected finite relevance, got NaN or infinity; look at the weights and the input of the explained model."
            )

    @property
    def predicted(self) -> str:
        """The label with the largest score; empty if there are no scores."""
        return max(self.scores, key=lambda pair: pair[1])[0] if self.scores else ""

    @property
    def shares(self) -> list[float | None]:
        """The probability of each class in the order of :attr:`scores`: by place, for two classes may have one name."""
        return [share for _, share in self.probabilities] if self.probabilities else [None] * len(self.scores)

    @property
    def groups(self) -> list[list[tuple[int, str]]]:
        """(number, what is drawn) of words with no blank between them."""
        found: list[list[tuple[int, str]]] = []
        for i, piece in enumerate(self.pieces or self.words):
            if i == 0 or not self.pieces or piece[:1] == " ":
                found.append([])
            found[-1].append((i, visible(piece[1:] if self.pieces and piece[:1] == " " else piece)))
        return found

    @property
    def balance(self) -> Named:
        """The ledger in a reader's words: what the words have, then every entry worth a word."""
        if not self.ledger:
            return ()
        amounts, words = dict(self.ledger), sum(self.relevance)
        amounts |= {"input": words, "padding": amounts.get("input", 0.0) - words}
        least = NOT_SHOWN * max(abs(self.explained), abs(words), 1e-30)
        shown = {name: amounts.get(name, 0.0) for name in ENTRIES}
        return tuple((ENTRIES[name], value) for name, value in shown.items() if name == "input" or abs(value) >= least)

    @property
    def largest(self) -> float:
        """The largest magnitude among the words, 0 without words."""
        return max(map(abs, self.relevance), default=0.0)

    @property
    def places(self) -> int | None:
        """Decimals of its numbers, see :func:`digits`."""
        return digits(max(self.largest, abs(self.explained) / 10))

    @property
    def written(self) -> list[str]:
        """The words as they are drawn in lists: as people write them, where that is known."""
        return [piece.removeprefix(" ") for piece in self.pieces] if self.pieces else list(self.words)

    def strongest(self, sign: int, count: int = 5) -> list[tuple[str, float]]:
        """The words that speak most for (+1) or against (-1) the target, largest magnitude first; none that would be shown as 0."""
        places = self.places
        least = 0.0 if places is None else 0.5 * 10.0**-places
        pairs = [(word, value) for word, value in zip(self.written, self.relevance, strict=True) if value * sign > least]
        return sorted(pairs, key=lambda pair: -abs(pair[1]))[:count]


def explained_texts(attribution: Attribution, labels: Sequence[str] | None = None) -> list[ExplainedText]:
    """What :func:`seqxai.visualisation.text_page` and its like draw, one for each sample.

    Args:
        attribution: with tokens, see :meth:`seqxai.Attribution.with_tokens`, and one target.
        labels: names of the output's classes; their numbers by default.

    Raises:
        InputError: without tokens, or for another number of labels than the model has outputs.
    """
    words = attribution.words()
    rows, names = _scores(attribution, labels)
    ledgers = _ledgers(attribution)
    return [
        ExplainedText(
            words=tuple(word for word, _ in pairs),
            relevance=tuple(value for _, value in pairs),
            explained=float(explained),
            target=names[row.index(max(row))]
            if attribution.target == "largest output" and row
            else target_in_words(attribution.target, names),
            method=method_in_words(attribution.method, attribution.settings),
            scores=tuple(zip(names, row, strict=True)),
            ledger=ledger,
        )
        for pairs, explained, row, ledger in zip(words, attribution.explained.tolist(), rows, ledgers, strict=True)
    ]


def _scores(attribution: Attribution, labels: Sequence[str] | None) -> tuple[list[list[float]], list[str]]:
    output = attribution.output[0] if isinstance(attribution.output, tuple) else attribution.output
    if getattr(output, "ndim", 0) != 2 or len(output) != len(attribution):
        return [[] for _ in range(len(attribution))], []
    names = [str(label) for label in labels] if labels is not None else [f"output {i}" for i in range(output.shape[1])]
    if len(names) != output.shape[1]:
        raise InputError(f"Expected {output.shape[1]} labels, one for each output of the model, got {len(names)}.")
    rows: list[list[float]] = output.detach().double().cpu().tolist()
    return rows, names


def _ledgers(attribution: Attribution) -> list[Named]:
    from seqxai.errors import SeqxaiError

    try:
        total = attribution.ledger.total()
    except SeqxaiError:  # another method, or a loaded result
        return [()] * len(attribution)
    rows = {name: value.tolist() for name, value in total.items()}
    return [tuple((name, row[i]) for name, row in rows.items()) for i in range(len(attribution))]


def method_in_words(method: str, settings: Mapping[str, str]) -> str:
    """The method's name with the settings that change its numbers."""
    if not method.startswith("lrp/"):
        return method
    product = settings.get("product", "signal-takes-all")
    return f"LRP, {method.removeprefix('lrp/')}" + (f", gates: {product}" if product != "signal-takes-all" else "")


def target_in_words(target: str, names: Sequence[str]) -> str:
    """A target's description with the names of classes in place of their numbers."""

    def named(found: re.Match[str]) -> str:
        index = int(found[2])
        return names[index] if -len(names) <= index < len(names) else found[0]

    return (
        re.sub(r"(outputs? |against )(-?\d+)(?![\d,])", lambda m: ("against " if m[1] == "against " else "") + named(m), target)
        if names
        else target
    )


class TextScale:
    """The magnitude with the full colour for a stream of texts, in memory that does not grow.

    Of up to 1000 words it is the largest magnitude; of more their 99.5 % quantile, read from a histogram over the logarithm (to 1 %).
    """

    STEPS = 64  # bins for each doubling
    LOWEST = -200  # log2 of the first bin's edge
    TOGETHER = 4096  # values that are counted at once

    def __init__(self) -> None:
        self.count = 0
        self.largest = 0.0
        self._waiting: list[float] = []
        self._bins = np.zeros(2 * -self.LOWEST * self.STEPS, dtype=np.int64)

    def add(self, relevance: Iterable[float]) -> None:
        """Take a text's relevance into account."""
        self._waiting += map(abs, relevance)
        if len(self._waiting) >= self.TOGETHER:
            self._count_waiting()

    def _count_waiting(self) -> None:
        magnitudes = np.array(self._waiting, dtype=np.float64)
        self._waiting.clear()
        if not len(magnitudes):
            return
        self.count += len(magnitudes)
        self.largest = max(self.largest, float(magnitudes.max()))
        places = (np.log2(np.maximum(magnitudes, 2.0**self.LOWEST)) - self.LOWEST) * self.STEPS
        self._bins += np.bincount(np.minimum(places.astype(np.intp), len(self._bins) - 1), minlength=len(self._bins))

    @property
    def value(self) -> float:
        """The scale; 1 if everything is zero, for then any will do."""
        self._count_waiting()
        if self.largest == 0:
            return 1.0
        if self.count <= EXACT:
            return self.largest
        place = int(np.searchsorted(np.cumsum(self._bins), QUANTILE * self.count))
        return min(self.largest, float(2.0 ** (self.LOWEST + (place + 1) / self.STEPS)))


def scale_of(texts: Iterable[ExplainedText], scale: float | None = None) -> float:
    """The given scale, or one for all the texts.

    Raises:
        InputError: if the given one is not positive and finite.
    """
    from seqxai.visualisation.colour import check_scale

    if scale is not None:
        check_scale(scale)
        return float(scale)
    meter = TextScale()
    for text in texts:
        meter.add(text.relevance)
    return meter.value


# ---- numbers and letters ---------------------------------------------------------------------------------------------------------


def digits(magnitude: float) -> int | None:
    """Decimals with which numbers of this magnitude are told apart; ``None`` for powers of ten."""
    if magnitude == 0:
        return 2
    order = math.floor(math.log10(magnitude))
    if not -5 <= order <= 6:
        return None
    return max(2, 1 - order) if order < 2 else max(0, 3 - order)


def number(value: float, places: int | None, sign: bool = True) -> str:
    """A number with its sign, U+2212 for minus; zero has none."""
    text = f"{abs(value):.1e}" if places is None else f"{abs(value):.{places}f}"
    if value == 0 or (places is not None and abs(value) < 0.6 * 0.1**places and not text.strip("0.")):
        return text
    return f"\N{MINUS SIGN}{text}" if value < 0 else f"+{text}" if sign else text


def is_number(label: str) -> bool:
    """Whether a label can be taken for a number."""
    try:
        float(label)
    except ValueError:
        return False
    return any(map(str.isdigit, label))  # no "nan", no "infinity"


def label_in_words(label: str) -> str:
    """A label, or "one rather than another", as it is drawn beside numbers: in quotes where it is one itself."""
    between = " rather than "
    return between.join(f'"{visible(one)}"' if is_number(one) else visible(one) for one in label.split(between))


@lru_cache(maxsize=32_768)
def visible(text: str) -> str:
    """A text safe to draw: control, formatting and broken characters as signs one can see, everything else as it is.

    Joiners inside a word stay: emoji and Indic and Persian words are made with them.
    """
    if text.isascii() and text.isprintable() and text.strip():
        return text
    if not text:
        return "⟨empty⟩"
    if not text.strip():
        return "".join("␣" if letter == " " else _sign(letter) for letter in text)
    inside = range(1, len(text) - 1)
    return "".join(letter if letter in "\u200c\u200d" and i in inside else _sign(letter) for i, letter in enumerate(text))


def _sign(letter: str) -> str:
    code = ord(letter)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    tag = 0xE0020 <= code <= 0xE007F  # flags of regions are made of these
    if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") and not tag:
        return f"⟨U+{code:04X}⟩"
    return letter


def right_to_left(word: str) -> bool | None:
    """The direction of a word's first letter that has one; ``None`` for digits and punctuation."""
    for letter in word:
        kind = unicodedata.bidirectional(letter)
        if kind in ("R", "AL"):
            return True
        if kind == "L":
            return False
    return None


def runs(words: Sequence[str]) -> tuple[bool, list[tuple[int, int, bool]]]:
    """Stretches of words in one direction.

    Words without a direction between two of one direction go with them, others with the whole text (as in Unicode's bidirectional
    algorithm, UAX #9, rules N1 and N2).

    Returns:
        Whether the whole text runs from right to left, by its first word that has a direction; and (start, stop, right to left) of
        every stretch, in order.
    """
    if words and all(map(str.isascii, words)):
        return False, [(0, len(words), False)]
    each = [right_to_left(word) for word in words]
    base = next((way for way in each if way is not None), False)
    told = [i for i, way in enumerate(each) if way is not None]
    resolved = [base] * len(each)
    for i in told:
        resolved[i] = bool(each[i])
    for before, after in pairwise(told):
        if each[before] == each[after]:
            resolved[before:after] = [bool(each[before])] * (after - before)
    edges = [i for i in range(len(words)) if i == 0 or resolved[i] != resolved[i - 1]]
    return base, [(start, stop, resolved[start]) for start, stop in pairwise([*edges, len(words)])]
