"""Labelled texts in memory: gathered from a file, split, and cut into batches of sentences of like length."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64

from seqxai.errors import InputError
from seqxai.text.reading import Example
from seqxai.text.tokens import normalise, tokenise
from seqxai.text.trees import LABELS as TREE_LABELS
from seqxai.text.vocabulary import Vocabulary

MANY_LABELS = 20
"""A column with more, most of them different, is no label."""


@dataclass(frozen=True)
class Labelled:
    """One text, ready to be learned from.

    Attributes:
        words: as the model will see them, never none.
        label: its class.
        line: where it stands in its file.
        whole: False for a phrase inside a tree.
    """

    words: tuple[str, ...]
    label: str
    line: int
    whole: bool = True


def gather(examples: Iterable[Example], name: str, *, lowercase: bool = True) -> list[Labelled]:
    """Collect labelled texts; of the phrases inside trees each is kept once, however many sentences have it.

    Args:
        examples: with labels.
        name: of the file, for the messages.
        lowercase: as the model will be.

    Raises:
        InputError: no examples, or a text of which nothing is left (control characters only).
    """
    seen: set[tuple[tuple[str, ...], str | None]] = set()
    gathered = []
    for example in examples:
        text = example.text
        words = tuple(tokenise(text, lowercase=lowercase) if isinstance(text, str) else normalise(text, lowercase=lowercase))
        if not words:
            raise InputError(f"{name}, line {example.line}: the text has no words, only control characters; remove the line")
        if not example.whole:
            if (words, example.label) in seen:
                continue
            seen.add((words, example.label))
        gathered.append(Labelled(words, str(example.label), example.line, example.whole))
    if not gathered:
        raise InputError(f"{name} holds no texts; expected one labelled text a line")
    return gathered


def ordered_labels(examples: Sequence[Labelled], name: str) -> tuple[str, ...]:
    """The classes of a training set: the treebank's in its order, whole numbers by size, others by the alphabet.

    Raises:
        InputError: one class only, or nearly as many classes as texts.
    """
    found = {example.label for example in examples}
    if len(found) < 2:
        raise InputError(f"{name} has one class only, {found.pop()!r}; a classifier needs texts of at least two")
    if len(found) > MANY_LABELS and len(found) > len(examples) / 2:
        raise InputError(
            f"{name} has {len(found):,} different labels in {len(examples):,} texts, more than anybody can learn; "
            "name the right column with --label-column"
        )
    if found <= set(TREE_LABELS):
        return tuple(label for label in TREE_LABELS if label in found)
    if all(label.removeprefix("-").isdecimal() for label in found):
        return tuple(sorted(found, key=lambda label: (int(label), label)))
    return tuple(sorted(found))


def check_labels(examples: Sequence[Labelled], labels: Sequence[str], name: str) -> None:
    """Refuse classes that the training has not seen.

    Raises:
        InputError: with the line of the first such text.
    """
    for example in examples:
        if example.label not in labels:
            raise InputError(
                f"{name}, line {example.line}: the label {example.label!r} does not occur in the training texts, whose labels are "
                f"{', '.join(map(repr, labels[:20]))}; correct it, or train on texts that have it"
            )


def split(examples: Sequence[Labelled], share: float, seed: int) -> tuple[list[Labelled], list[Labelled]]:
    """Put a random part of the sentences aside; phrases stay with the sentence of their line.

    Args:
        examples: of one file.
        share: of the sentences, above 0 and below 1.
        seed: decides which.

    Returns:
        The texts to learn from, and the sentences put aside.

    Raises:
        InputError: too few sentences for both.
    """
    lines = [example.line for example in examples if example.whole]
    count = round(share * len(lines))
    if not 0 < count < len(lines):
        raise InputError(
            f"a share of {share} of {len(lines)} texts leaves nothing for {'training' if count else 'validation'}; "
            "give more texts, another --validation-share, or a file with --validation"
        )
    order = torch.randperm(len(lines), generator=torch.Generator().manual_seed(seed)).tolist()
    aside = {lines[i] for i in order[:count]}
    return (
        [example for example in examples if example.line not in aside],
        [example for example in examples if example.line in aside and example.whole],
    )


def coverage(examples: Iterable[Labelled], vocabulary: Vocabulary) -> float:
    """Share of the words of whole sentences, each as often as it occurs, that the vocabulary knows."""
    known = total = 0
    for example in examples:
        if example.whole:
            known += sum(word in vocabulary for word in example.words)
            total += len(example.words)
    return known / total if total else 0.0


@dataclass(frozen=True, eq=False)
class Corpus:
    """Labelled texts as numbers, all sentences in one row.

    Attributes:
        tokens: word indices of all texts.
        starts: where each text begins.
        lengths: words of each text.
        labels: positions of the classes.
        whole: which are sentences, not phrases.
    """

    tokens: Int64[torch.Tensor, " words"]
    starts: Int64[torch.Tensor, " texts"]
    lengths: Int64[torch.Tensor, " texts"]
    labels: Int64[torch.Tensor, " texts"]
    whole: Bool[torch.Tensor, " texts"]

    @classmethod
    def build(cls, examples: Sequence[Labelled], vocabulary: Vocabulary, labels: Sequence[str]) -> Corpus:
        """Look words and labels up."""
        positions = {label: position for position, label in enumerate(labels)}
        lengths = torch.tensor([len(example.words) for example in examples])
        return cls(
            tokens=torch.tensor([index for example in examples for index in vocabulary.indices(example.words)]),
            starts=lengths.cumsum(0) - lengths,
            lengths=lengths,
            labels=torch.tensor([positions[example.label] for example in examples]),
            whole=torch.tensor([example.whole for example in examples]),
        )

    def __len__(self) -> int:
        return len(self.lengths)

    def batches(self, size: int, generator: torch.Generator | None = None) -> Iterator[Int64[torch.Tensor, " texts"]]:
        """Cut the texts into batches of like length, so that little is padding; every text comes once.

        Args:
            size: texts of a batch.
            generator: shuffles the texts of each length, then the batches; None for the shortest first.

        Yields:
            Which texts form a batch.
        """
        order = torch.arange(len(self)) if generator is None else torch.randperm(len(self), generator=generator)
        parts = order[torch.argsort(self.lengths[order], stable=True)].split(size)
        turn = range(len(parts)) if generator is None else torch.randperm(len(parts), generator=generator).tolist()
        for number in turn:
            yield parts[number]

    def batch(self, texts: Int64[torch.Tensor, " batch"]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Tokens padded with 0 (batch, steps), lengths (batch,) and labels (batch,) of some texts."""
        lengths = self.lengths[texts]
        steps = torch.arange(int(lengths.max()))
        inside = steps < lengths[:, None]
        place = torch.where(inside, self.starts[texts][:, None] + steps, 0)
        return torch.where(inside, self.tokens[place], 0), lengths, self.labels[texts]

    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with any word or label."""
        digest = hashlib.sha256()
        for part in (self.tokens, self.lengths, self.labels, self.whole):
            digest.update(part.numpy().tobytes())
        return digest.hexdigest()[:16]
