"""Writing files so that a name never points to half a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seqxai.errors import InputError


def check_writable(path: Path, suffix: str) -> None:
    """Refuse a path that cannot become the file asked for, before an hour of work is spent on its content.

    Args:
        path: the final name.
        suffix: the ending it must have, with its dot.

    Raises:
        InputError: wrong ending, a folder, a missing folder, or no permission.
    """
    if path.suffix.lower() != suffix:
        raise InputError(f"cannot write {path}: expected a name ending in {suffix}, got {path.suffix or 'no ending'}")
    if path.is_dir():
        raise InputError(f"cannot write {path}: it is a folder; give a file name ending in {suffix}")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {path}: the folder {path.parent} does not exist; create it first")
    probe = _sibling(path)
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another place") from error


def _sibling(path: Path) -> Path:
    """A hidden name beside the final one, so that the last step is a rename within one file system."""
    return path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")


@contextmanager
def written_whole(path: Path, suffix: str) -> Iterator[Path]:
    """Give a temporary name to write to; move it to ``path`` when the block ends well, remove it when it does not.

    Args:
        path: the final name.
        suffix: the ending it must have, with its dot.

    Yields:
        The temporary path.

    Raises:
        InputError: the path cannot be written, or the disk failed on the way.
    """
    check_writable(path, suffix)
    partial = _sibling(path)
    try:
        partial.touch()
        mode = partial.stat().st_mode  # what the user's umask asks for; some writers make private files
        yield partial
        partial.chmod(mode)
        partial.replace(path)
    except OSError as error:
        raise InputError(f"writing {path} failed: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
