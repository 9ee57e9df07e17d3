"""Files of texts: CSV, TSV, JSON lines, trees of the Stanford Sentiment Treebank, plain lines.

One reader for training, explaining and evaluating.  Files are read as a stream; every error names the line.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from seqxai.errors import InputError
from seqxai.text import trees
from seqxai.text.lines import numbered, place

FORMATS = {
    "csv": (".csv",),
    "tsv": (".tsv", ".tab"),
    "jsonl": (".jsonl", ".ndjson", ".json"),
    "trees": (".tree", ".trees", ".ptb"),
    "lines": (".text",),
}
FIELD_CHARACTERS_MAX = 10_000_000


@dataclass(frozen=True)
class Example:
    """One text of a file.

    Attributes:
        text: as it stands there, or its words where the file separates them (trees, JSON lists).
        label: None where none was asked for.
        line: where it begins, counted from 1.
        whole: False for a phrase inside a tree.
    """

    text: str | tuple[str, ...]
    label: str | None
    line: int
    whole: bool = True


def read(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    text: str = "text",
    label: str | None = "label",
    encoding: str = "utf-8",
    phrases: bool = False,
) -> Iterator[Example]:
    """Read the texts of a file, one after the other.

    Args:
        path: the file.
        format: ``csv``, ``tsv`` (both with a header), ``jsonl``, ``trees`` or ``lines``; None to tell it from the name's ending,
            and of a ``.txt`` from its first character.
        text: the column, or field, of the text.
        label: the column, or field, of the label; None to read texts alone.
        encoding: of the file.
        phrases: give every phrase of a tree, not only the sentence.

    Yields:
        The examples.  With a label, an empty text is an error; without, it is given as ``""``, for the caller to skip or show.

    Raises:
        InputError: anything that cannot be read, with the number of the line.
    """
    kind = format or recognise(path, encoding, labelled=label is not None)
    if kind == "trees":
        yield from _from_trees(path, label, encoding, phrases)
    elif kind == "jsonl":
        yield from _from_json(path, text, label, encoding)
    elif kind in ("csv", "tsv"):
        yield from _from_table(path, kind, text, label, encoding)
    elif kind == "lines":
        yield from _from_lines(path, label, encoding)
    else:
        raise InputError(f"unknown format {format!r}; expected one of {', '.join(FORMATS)}")


def recognise(path: str | os.PathLike[str], encoding: str = "utf-8", *, labelled: bool = True) -> str:
    """Tell a file's format from its name, and of a ``.txt`` from how it begins.

    Args:
        path: the file.
        encoding: of the file.
        labelled: whether labels are wanted, which plain lines have not.

    Raises:
        InputError: the name tells nothing, or is that of a folder.
    """
    if Path(path).is_dir():
        raise InputError(f"{str(path)!r} is a folder; expected a file of texts")
    suffix = Path(path).suffix.lower()
    for kind, suffixes in FORMATS.items():
        if suffix in suffixes:
            return kind
    if suffix == ".txt":
        first = next((line.strip() for _, line in numbered(path, encoding) if line.strip()), "")
        if first[:1] == "(" and first[1:2].isdigit():
            return "trees"
        if not labelled:
            return "lines"
    raise InputError(
        f"cannot tell the format of {Path(path).name!r}: expected a name ending in .csv, .tsv or .jsonl, or a .txt of trees; "
        f"say it with --format ({', '.join(FORMATS)})"
    )


def _from_trees(path: str | os.PathLike[str], label: str | None, encoding: str, phrases: bool) -> Iterator[Example]:
    for line, content in numbered(path, encoding):
        if content.strip():
            for name, words, whole in trees.phrases(path, line, content):
                if whole or phrases:
                    yield Example(words, None if label is None else name, line, whole)


def _from_lines(path: str | os.PathLike[str], label: str | None, encoding: str) -> Iterator[Example]:
    if label is not None:
        raise InputError(f"{Path(path).name!r} is read as plain lines, which have no labels; expected CSV, TSV, JSON lines or trees")
    for line, content in numbered(path, encoding):
        yield Example(content.rstrip("\r\n"), None, line)


def _from_json(path: str | os.PathLike[str], text: str, label: str | None, encoding: str) -> Iterator[Example]:
    for line, content in numbered(path, encoding):
        if not content.strip():
            continue
        where = place(path, line)
        record = _object(where, content)
        for name in (text, label):
            if name is not None and name not in record:
                option = "--text-column" if name == text else "--label-column"
                raise InputError(f"{where}: no field {name!r}; the fields are {_names(record)}; name the right one with {option}")
        value = record[text]
        if isinstance(value, list) and all(isinstance(word, str) for word in value):
            value = tuple(value)
        if not isinstance(value, str | tuple):
            raise InputError(f"{where}: the field {text!r} should be a text or a list of words, got {_shown(value)}")
        found = None if label is None else record[label]
        if isinstance(found, bool | int):
            found = str(found)
        if label is not None and not isinstance(found, str):
            raise InputError(f"{where}: the label should be a text or a whole number, got {_shown(found)}")
        yield _checked(where, value, found, line)


def _object(where: str, content: str) -> dict[str, Any]:
    """One line of JSON."""
    try:
        record = json.loads(content)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", "nested too deeply")
        half = "the line is cut off or " if content.rstrip()[-1:] not in ("}", "]") else ""
        raise InputError(f"{where}: {half}not JSON ({reason}); expected one object a line, such as {{\"text\": \"...\"}}") from error
    if not isinstance(record, dict):
        raise InputError(f"{where}: expected one JSON object a line, got {_shown(record)}; write each text on a line of its own")
    return record


def _from_table(path: str | os.PathLike[str], kind: str, text: str, label: str | None, encoding: str) -> Iterator[Example]:
    rows = _rows(path, kind, encoding)
    first, header = next(rows, (1, []))
    columns = []
    for name, option in ((text, "--text-column"), (label, "--label-column")):
        if name is not None and name not in header:
            names = ", ".join(map(_shown, header[:20])) or "none, the file is empty"
            raise InputError(f"{place(path, first)}: no column {name!r}; the columns are {names}; name the right one with {option}")
        if name is not None and header.count(name) > 1:
            raise InputError(f"{place(path, first)}: {header.count(name)} columns are called {name!r}; rename all but one")
        columns.append(None if name is None else header.index(name))
    for line, fields in rows:
        if len(fields) != len(header):
            raise InputError(
                f"{place(path, line)}: expected {len(header)} fields as in the header, got {len(fields)}; "
                + ("the line may be cut off" if len(fields) < len(header) else "put texts that contain the separator in quotes")
            )
        found = None if columns[1] is None else fields[columns[1]].strip()
        yield _checked(place(path, line), fields[columns[0] or 0], found, line)


def _rows(path: str | os.PathLike[str], kind: str, encoding: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of a table with the line on which each begins; empty lines are passed over."""
    if kind == "tsv":
        for line, content in numbered(path, encoding):
            if content.strip():
                yield line, [_unquoted(field) for field in content.rstrip("\r\n").split("\t")]
        return
    csv.field_size_limit(max(csv.field_size_limit(), FIELD_CHARACTERS_MAX))
    begin = 1
    contents = (content for _, content in numbered(path, encoding))
    first = next(contents, "")
    separator = max(",;\t", key=first.count)  # spreadsheets of many countries write semicolons
    reader = csv.reader(chain([first] if first else [], contents), strict=True, delimiter=separator)
    while True:
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise InputError(
                f"{place(path, begin)}: not CSV ({error}); the line may be cut off, or a quote inside a text is not doubled"
            ) from error
        if fields is None:
            return
        if fields:
            yield begin, fields
        begin = reader.line_num + 1


def _unquoted(field: str) -> str:
    """A field of a TSV, where quotes are letters unless a program has put the whole field in quotes."""
    inner = field[1:-1]
    if len(field) > 1 and field[0] == field[-1] == '"' and '"' not in inner.replace('""', ""):
        return inner.replace('""', '"')
    return field


def _checked(where: str, text: str | tuple[str, ...], label: str | None, line: int) -> Example:
    """An example, once it has what was asked for."""
    if label == "":
        raise InputError(f"{where}: the label is empty; give one or remove the line")
    if label is not None and not (text.strip() if isinstance(text, str) else text):
        raise InputError(f"{where}: the text is empty; give one or remove the line")
    return Example(text, label, line)


def _names(record: dict[str, Any]) -> str:
    return ", ".join(map(_shown, list(record)[:20])) or "none"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
