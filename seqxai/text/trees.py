"""Labelled trees, one a line, as the Stanford Sentiment Treebank comes: ``(3 (2 It) (4 (2 's) (4 good)))``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from seqxai.errors import InputError
from seqxai.text.lines import place

LABELS = ("very negative", "negative", "neutral", "positive", "very positive")
"""The treebank's five classes, 0 to 4 (Socher et al. 2013, Recursive Deep Models for Semantic Compositionality)."""

_PIECE = re.compile(r"[()]|[^\s()]+")


def phrases(path: str | os.PathLike[str], line: int, text: str) -> Iterator[tuple[str, tuple[str, ...], bool]]:
    """Read one tree.

    Args:
        path: of the file, for the messages.
        line: its number, likewise.
        text: the line.

    Yields:
        Label, words, and whether it is the whole sentence, which comes last; each phrase of the sentence once per label.

    Raises:
        InputError: brackets that do not match, a node without label or words, an unknown label, text beside the tree.
    """
    where = place(path, line)
    seen: set[tuple[str, tuple[str, ...]]] = set()
    words: list[str] = []
    open_nodes: list[tuple[str, int]] = []  # label, and how many words came before
    pieces = _PIECE.findall(text)
    for position, piece in enumerate(pieces):
        if piece == "(":
            open_nodes.append((_label(where, pieces, position), len(words)))
        elif piece == ")":
            label, start = _closed(where, open_nodes, position, pieces)
            phrase = (label, tuple(words[start:]))
            if not phrase[1]:
                raise InputError(f"{where}: a node of the tree has no words; expected (label word) or (label (...) (...))")
            whole = not open_nodes
            if whole or phrase not in seen:
                seen.add(phrase)
                yield *phrase, whole
        elif not open_nodes:
            raise InputError(f"{where}: expected a tree such as (3 (2 good) (2 film)), got {text.strip()[:40]!r}")
        elif pieces[position - 1] != "(":
            words.append(piece)
    if open_nodes:
        raise InputError(f"{where}: the tree does not end: {len(open_nodes)} of its brackets are never closed")


def _label(where: str, pieces: list[str], position: int) -> str:
    """The name of the class that follows an opening bracket."""
    found = pieces[position + 1] if position + 1 < len(pieces) else "the end of the line"
    if found not in ("0", "1", "2", "3", "4"):
        raise InputError(f"{where}: expected a label from 0 to 4 after '(', got {found[:40]!r}")
    return LABELS[int(found)]


def _closed(where: str, open_nodes: list[tuple[str, int]], position: int, pieces: list[str]) -> tuple[str, int]:
    """The node that a closing bracket ends."""
    if not open_nodes:
        raise InputError(f"{where}: the brackets of the tree do not match: one ')' too many")
    if len(open_nodes) == 1 and position + 1 < len(pieces):
        rest = pieces[position + 1][:40]
        raise InputError(f"{where}: the tree ends before the line does; expected one tree a line, got {rest!r} after it")
    return open_nodes.pop()
