"""The lines of a text file with their numbers, decoded one by one so that an error can name the line."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, TextIOWrapper
from pathlib import Path

from seqxai.errors import InputError

BOMS = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
WIDE = ("utf-16", "utf-32")


def place(path: str | os.PathLike[str], line: int) -> str:
    """How an error names a line, counted from 1."""
    return f"{Path(path).name}, line {line}"


def numbered(path: str | os.PathLike[str], encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """Read a file line by line; memory does not grow with it.

    Args:
        path: the file.
        encoding: any that Python knows; a byte order mark is dropped.

    Yields:
        The line's number, counted from 1, and its text with the end of line.

    Raises:
        InputError: the file cannot be read, the encoding is unknown, or a line is not written in it.
    """
    with _opened(path) as file:
        name = _known(encoding)
        start = file.peek(4)  # a pipe cannot be wound back
        wide = next((found for mark, found in BOMS if start.startswith(mark)), None)
        if wide and not name.startswith(WIDE):
            raise InputError(f"{place(path, 1)}: the file is written in {wide.upper()}, not {name}; say so with --encoding {wide}")
        if name in WIDE and not wide:
            raise InputError(
                f"{place(path, 1)}: the file does not begin with the byte order mark of {name.upper()}; leave --encoding out, or "
                f"say {name}-le or {name}-be"
            )
        if name.startswith(WIDE):  # an end of line is no single byte there
            yield from _wide(path, file, name)
            return
        for number, raw in enumerate(file, 1):
            text = _decoded(path, raw, name, number)
            yield number, text.removeprefix("\ufeff") if number == 1 else text


def _wide(path: str | os.PathLike[str], file: BufferedReader, encoding: str) -> Iterator[tuple[int, str]]:
    """The lines of a file whose characters take two or four bytes."""
    number = 0
    try:
        with TextIOWrapper(file, encoding=encoding, newline="\n") as lines:
            for number, text in enumerate(lines, 1):
                yield number, text.removeprefix("\ufeff") if number == 1 else text
    except UnicodeError as error:
        raise InputError(f"{place(path, max(number, 1))} or soon after: not {encoding.upper()}, or cut off; copy the file again") from error


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[BufferedReader]:
    """The file's bytes; what the system refuses becomes one sentence."""
    try:
        with Path(path).open("rb") as file:
            yield file
    except FileNotFoundError as error:
        raise InputError(f"no file at {str(path)!r}; check the path") from error
    except IsADirectoryError as error:
        raise InputError(f"{str(path)!r} is a folder; expected a file of texts") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"{str(path)!r} cannot be read: {getattr(error, 'strerror', None) or error}; check the path") from error


def _known(encoding: str) -> str:
    try:
        return codecs.lookup(encoding).name
    except LookupError as error:
        raise InputError(f"unknown encoding {encoding!r}; expected a name such as utf-8, latin-1 or utf-16") from error


def _decoded(path: str | os.PathLike[str], raw: bytes, encoding: str, line: int) -> str:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        byte = f"0x{raw[error.start]:02x}"
        other = "latin-1" if encoding == "utf-8" else "utf-8"
        raise InputError(
            f"{place(path, line)}: the byte {byte} is not {encoding.upper()}; say how the file is written, for example "
            f"--encoding {other}"
        ) from error
