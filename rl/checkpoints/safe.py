"""Opening safetensors files: told by their first bytes, their length checked before the parser sees them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import safe_open

from rl.checks import check_readable
from seqxai.errors import CheckpointError

SUFFIX = ".safetensors"
COPY = "copy or download the checkpoint again"
HEADER_BYTES_MAX = 100_000_000
"""The limit of the safetensors format itself; a longer header is not one."""


def begins_like_safetensors(path: Path) -> bool:
    """Whether a file's first bytes are those of a safetensors file; then its length is checked, too.

    Raises:
        CheckpointError: missing, no regular file, empty, or shorter than its header says.
    """
    check_readable(path, "checkpoint", SUFFIX, CheckpointError)
    try:
        with path.open("rb") as file:
            start = file.read(9)
            size = path.stat().st_size
            if not size:
                raise CheckpointError(f"{path} is empty; {COPY}")
            if start[8:9] != b"{" or not _header_bytes(start):
                return False
            _check_length(path, size, file.read(_header_bytes(start)), _header_bytes(start))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}; {COPY}") from error
    return True


def _header_bytes(start: bytes) -> int:
    """Bytes of the header that follow the first nine; 0 when the number cannot be one."""
    count = int.from_bytes(start[:8], "little") - 1
    return count if 0 < count < HEADER_BYTES_MAX else 0


def _check_length(path: Path, size: int, rest: bytes, rest_bytes: int) -> None:
    """Compare a file's length with what its header announces (the header's first byte, ``{``, is not in ``rest``)."""
    header_end = 9 + rest_bytes
    try:
        header = json.loads(b"{" + rest) if size >= header_end else {}
        needed = header_end + max((t["data_offsets"][1] for n, t in header.items() if n != "__metadata__"), default=0)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} has a damaged header; copy or download the checkpoint again") from error
    if size < needed:
        raise CheckpointError(
            f"{path} is truncated: its header announces {needed} bytes, the file has {size}; "
            "copy or download the checkpoint again"
        )


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A safetensors file open for reading.

    Raises:
        CheckpointError: it is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except Exception as error:  # bytes at random: safetensors and torch each fail in ways of their own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(f"{path} is damaged ({reason[:200]}); {COPY}") from error
