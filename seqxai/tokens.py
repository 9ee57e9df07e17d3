"""The texts of an explained sequence: which tokens make a word, and what a word or a phrase adds up to.

Relevance is additive (Bach et al. 2015, eq. 1), so that of a word is the sum over its subwords and that of a phrase the sum over its
words; nothing is lost and the ledger stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from seqxai.errors import InputError

Tokens = tuple[tuple[str, ...], ...]
Span = tuple[int, int]

SPECIAL = frozenset({"[CLS]", "[SEP]", "[PAD]", "[MASK]", "[UNK]", "<s>", "</s>", "<pad>", "<unk>", "<mask>", "<|endoftext|>"})


def check(tokens: Iterable[Any], samples: int, steps: int) -> Tokens:
    """One text per step of each sample, as tuples.

    Args:
        tokens: for each sample its tokens; of a single sample also the tokens alone.  Fewer than steps: the rest is padding.
        samples: B.
        steps: T.

    Raises:
        InputError: if they are not texts, or not as many as there are samples and steps.
    """
    if isinstance(tokens, str):
        raise InputError(
            f"Expected the tokens of each sample as a list of texts, got one text ({tokens[:40]!r}); split it first."
        )
    given = list(tokens)
    alone = samples == 1 and bool(given) and all(isinstance(row, str) for row in given)
    rows: list[Any] = [given] if alone else given
    if len(rows) != samples:
        raise InputError(f"Expected the tokens of {samples} samples, one list each, got {len(rows)}.")
    for number, row in enumerate(rows):
        if isinstance(row, str) or not all(isinstance(token, str) for token in row):
            raise InputError(
                f"Expected the tokens of sample {number} as a list of texts, got {row!r:.60}; split it into tokens first."
            )
    found = tuple(tuple(row) for row in rows)
    for number, texts in enumerate(found):
        if len(texts) > steps:
            raise InputError(
                f"Expected at most {steps} tokens in sample {number}, one for each step of the relevance, got {len(texts)}; give the "
                "tokens that went into the model, special ones included."
            )
    return found


def totals(by_token: Float[Tensor, "samples steps"], spans: Sequence[Sequence[Span]]) -> Float[Tensor, "samples words"]:
    """Sums over spans: (B, T) to (B, W), W the largest number of spans of a sample, the rest 0."""
    sums = by_token.new_zeros(len(by_token), max((len(row) for row in spans), default=0))
    for number, row in enumerate(spans):
        for place, (start, stop) in enumerate(row):
            sums[number, place] = by_token[number, start:stop].sum()
    return sums


# ---- words of subwords ---------------------------------------------------------------------------------------------------------


def subwords(tokens: Sequence[str], convention: str) -> tuple[list[Span], list[str]]:
    """Which tokens make a word, and the words.

    Args:
        tokens: of one sample.
        convention: a name in ``CONVENTIONS``, or "none" for words as they are.

    Returns:
        Spans (start, stop) that cover all tokens in order, and a text for each.
    """
    if convention == "none":
        return [(i, i + 1) for i in range(len(tokens))], list(tokens)
    begins, text = CONVENTIONS[convention]
    starts = [i for i in range(len(tokens)) if _begins(tokens, i, begins)] if tokens else []
    spans = list(pairwise([*starts, len(tokens)]))
    return spans, [tokens[a] if b == a + 1 and tokens[a] in SPECIAL else text(tokens[a:b]) for a, b in spans]


def _begins(tokens: Sequence[str], place: int, begins: Callable[[str, str], bool]) -> bool:
    alone = place == 0 or tokens[place] in SPECIAL or tokens[place - 1] in SPECIAL
    return alone or begins(tokens[place - 1], tokens[place])


def convention_of(tokens: Iterable[Sequence[str]]) -> str:
    """The convention these tokens follow, by their marks; "none" if they have none.

    "##" and "@@" alone are also what people write, so that one such token among others says nothing: of a convention the text
    must have a mark with letters beside it.
    """
    texts = [token for row in tokens for token in row]
    marks: dict[str, Callable[[str], bool]] = {
        "sentencepiece": lambda t: t.startswith("▁"),
        "byte-level": lambda t: t.startswith("Ġ"),
        "wordpiece": lambda t: t.startswith("##") and len(t) > 2,
        "end-of-word": lambda t: t.endswith("</w>"),
        "continued": lambda t: t.endswith("@@") and len(t) > 2,
    }
    return next((name for name, mark in marks.items() if any(map(mark, texts))), "none")


@cache
def _bytes() -> dict[str, int]:
    """The letter that stands for each byte in byte-level vocabularies (Radford et al. 2019): printable ones for themselves."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


def _from_bytes(tokens: Sequence[str]) -> str:
    letters, text = _bytes(), "".join(tokens)
    if any(letter not in letters for letter in text):
        return text.replace("Ġ", " ").strip()
    return bytes(letters[letter] for letter in text).decode("utf-8", "replace").strip(" ")


# name -> whether a token begins a word, from the one before and itself; the word's text from its tokens
CONVENTIONS: dict[str, tuple[Callable[[str, str], bool], Callable[[Sequence[str]], str]]] = {
    "wordpiece": (lambda _, t: not t.startswith("##"), lambda ts: ts[0] + "".join(t.removeprefix("##") for t in ts[1:])),
    "sentencepiece": (lambda _, t: t.startswith("▁"), lambda ts: "".join(ts).replace("▁", " ").strip(" ")),
    "byte-level": (lambda _, t: t.startswith(("Ġ", "Ċ")), _from_bytes),
    "continued": (lambda before, _: not before.endswith("@@"), lambda ts: "".join(t.removesuffix("@@") for t in ts)),
    "end-of-word": (lambda before, _: before.endswith("</w>"), lambda ts: "".join(t.removesuffix("</w>") for t in ts)),
}


def named_convention(name: str, tokens: Iterable[Sequence[str]]) -> str:
    """A convention by its name, or the one the tokens follow for "auto".

    Raises:
        InputError: for another name.
    """
    if name == "auto":
        return convention_of(tokens)
    if name != "none" and name not in CONVENTIONS:
        raise InputError(f"Expected a convention for subwords among auto, none, {', '.join(CONVENTIONS)}, got {name!r}.")
    return name


# ---- phrases -----------------------------------------------------------------------------------------------------------------


def phrases(tokens: Sequence[str], spans: Iterable[Any], sample: int) -> tuple[list[Span], list[str]]:
    """Spans that cover all tokens: the given ones, and each other token for itself; a text for each, joined by blanks.

    Raises:
        InputError: if a span is empty, leaves the tokens, or overlaps another.
    """
    wanted = sorted(_span(span, len(tokens), sample) for span in spans)
    found: list[Span] = []
    for start, stop in wanted:
        reached = found[-1][1] if found else 0
        if start < reached:
            raise InputError(
                f"Expected spans that do not overlap in sample {sample}, but {found[-1]} and {(start, stop)} share tokens."
            )
        found += [(i, i + 1) for i in range(reached, start)]
        found.append((start, stop))
    found += [(i, i + 1) for i in range(found[-1][1] if found else 0, len(tokens))]
    return found, [" ".join(tokens[start:stop]) for start, stop in found]


def _span(span: Any, count: int, sample: int) -> Span:
    pair = tuple(span) if isinstance(span, (tuple, list, range)) else ()
    if isinstance(span, range) and len(span) and span.step == 1:
        pair = (span.start, span.stop)
    if len(pair) != 2 or not all(hasattr(end, "__index__") for end in pair):
        raise InputError(f"Expected spans as pairs (start, stop) of token numbers, got {span!r} for sample {sample}.")
    start, stop = int(pair[0]), int(pair[1])
    if not 0 <= start < stop <= count:
        raise InputError(
            f"Expected spans (start, stop) with 0 <= start < stop <= {count} in sample {sample}, got {(start, stop)}."
        )
    return start, stop


def by_sample(spans: Iterable[Any], samples: int) -> list[list[Any]]:
    """One list of spans per sample; for a single sample also its spans alone.

    Raises:
        InputError: for another number of samples.
    """
    rows: list[Any] = list(spans)
    plain = [row for row in rows if isinstance(row, (tuple, range)) and len(row) and not isinstance(row[0], (tuple, list, range))]
    if samples == 1 and len(plain) == len(rows):
        rows = [rows]
    if len(rows) != samples:
        raise InputError(f"Expected one list of spans (start, stop) for each of {samples} samples, got {len(rows)}.")
    return [list(row) if isinstance(row, (tuple, list)) else [] for row in rows]


def check_tensor_like(relevance: object) -> None:
    """Refuse relevance that has no steps to name.

    Raises:
        InputError: if it is not one tensor with a batch and a time dimension.
    """
    if not isinstance(relevance, torch.Tensor) or relevance.dim() < 2:
        shape = tuple(relevance.shape) if isinstance(relevance, torch.Tensor) else "several inputs"
        raise InputError(f"Tokens belong to the steps of one input, (B, T) or (B, T, ...), and this relevance has {shape}.")
