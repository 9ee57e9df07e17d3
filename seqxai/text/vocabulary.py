"""The words a model knows, in the order of its embedding's rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from seqxai.errors import InputError

PADDING = "<pad>"
UNKNOWN = "<unk>"
PADDING_INDEX = 0
UNKNOWN_INDEX = 1


@dataclass(frozen=True)
class Vocabulary:
    """Words and their indices.  Index 0 is the padding, index 1 stands for every word that is not in it.

    Attributes:
        words: ``"<pad>"``, ``"<unk>"``, then the words, each once.

    Raises:
        InputError: the first two words are others, or a word occurs twice.
    """

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.words[:2] != (PADDING, UNKNOWN):
            raise InputError(f"a vocabulary begins with {PADDING!r} and {UNKNOWN!r}, got {list(self.words[:2])}")
        if len(self._indices) != len(self.words):
            twice = next(word for word, count in Counter(self.words).items() if count > 1)
            raise InputError(f"a vocabulary holds each word once, got {twice!r} twice; remove the doublet")

    @classmethod
    def build(cls, sentences: Iterable[Sequence[str]], *, size: int | None = None, occurrences: int = 1) -> Vocabulary:
        """Collect the words of a training set, the most frequent first, equally frequent ones in alphabetical order.

        Args:
            sentences: the words of each.
            size: at most so many words, the padding and the unknown included; None for all.
            occurrences: a word must occur so often.

        Returns:
            The vocabulary.
        """
        counts = Counter(word for words in sentences for word in words)
        for special in (PADDING, UNKNOWN):
            counts.pop(special, None)
        kept = sorted((word for word, count in counts.items() if count >= occurrences), key=lambda word: (-counts[word], word))
        return cls((PADDING, UNKNOWN, *kept[: None if size is None else max(size - 2, 0)]))

    @cached_property
    def _indices(self) -> dict[str, int]:
        return {word: index for index, word in enumerate(self.words)}

    @property
    def padding(self) -> int:
        """The index that fills a batch of sentences of unequal length."""
        return PADDING_INDEX

    @property
    def unknown(self) -> int:
        """The index of a word that is not in the vocabulary."""
        return UNKNOWN_INDEX

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return self._indices.get(word, 0) > UNKNOWN_INDEX if isinstance(word, str) else False

    def indices(self, words: Sequence[str]) -> list[int]:
        """One index for each word; what the vocabulary lacks, and the word ``"<pad>"``, is unknown."""
        return [self._indices.get(word, UNKNOWN_INDEX) or UNKNOWN_INDEX for word in words]
