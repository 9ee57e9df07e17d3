"""Writing files so that a name never points to half a file."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from seqxai.errors import InputError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
STALE_SECONDS = 600.0
"""A part that nobody has written to for so long is a killed program's, if no process of that number lives: the writer may be on another
machine that shares the disk."""


def check_writable(path: str | os.PathLike[str], suffixes: Collection[str] = ()) -> Path:
    """Refuse a path that cannot become the file asked for, before work is spent on its content.

    Args:
        path: the final name.
        suffixes: the endings that are possible, with their dots; none for any.

    Returns:
        The path.

    Raises:
        InputError: another ending, a directory of that name, a missing directory, or no permission.
    """
    final = Path(path)
    if suffixes and final.suffix.lower() not in suffixes:
        raise InputError(
            f"Cannot write {str(final)!r}: expected a name ending in {' or '.join(suffixes)}, got "
            f"{final.suffix or 'no ending'}; rename it."
        )
    try:
        _probe(final)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"Cannot write {str(final)!r}: {reason}; choose a place that can be written.") from error
    return final


def _probe(final: Path) -> None:
    if final.is_dir():
        raise InputError(f"Cannot write {str(final)!r}: it is a directory; give a file name inside it.")
    if final.parent.exists() and not final.parent.is_dir():
        raise InputError(f"Cannot write {str(final)!r}: {str(final.parent)!r} is a file, not a directory; choose another place.")
    if not final.parent.is_dir():
        raise InputError(f"Cannot write {str(final)!r}: the directory {str(final.parent)!r} is missing; create it first.")
    probe = _sibling(final)
    probe.touch()
    probe.unlink()


def check_apart(written: Mapping[str, Path | None], read: Mapping[str, str | Path | None]) -> None:
    """Refuse to write over what is read, or twice to one place.

    Args:
        written: option to the place that it writes to.
        read: option to the place that it reads from; "-" is standard input.

    Raises:
        InputError: naming both options.
    """
    outputs = [(name, path) for name, path in written.items() if path is not None]
    inputs = [(name, Path(path)) for name, path in read.items() if path is not None and str(path) != "-"]
    for i, (name, path) in enumerate(outputs):
        for other, used in (*inputs, *outputs[:i]):
            if _same_place(path, used):
                raise InputError(f"{name} {path} would overwrite what {other} names; give {name} a name of its own.")


def _same_place(one: Path, other: Path) -> bool:
    try:
        return one.resolve() == other.resolve() or one.samefile(other)
    except (OSError, ValueError):  # one of them is not there; what cannot be read is said where it is read
        return False


def _sibling(path: Path) -> Path:
    """A hidden name beside the final one, so that the last step is a rename within one file system."""
    return path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")


def remove_abandoned(folder: str | os.PathLike[str], start: str) -> None:
    """Remove what processes that were killed left behind in a folder: parts of files whose writer does not live any more.

    Args:
        folder: where.
        start: how the final names begin.
    """
    hidden = f".{start}"
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            writer = re.search(r"(\d+)\.part(\.\w+)?$", entry.name) if entry.name.startswith(hidden) else None
            if writer and not _alive(int(writer[1])) and time.time() - entry.stat().st_mtime > STALE_SECONDS:
                Path(entry.path).unlink(missing_ok=True)


def _alive(process: int) -> bool:
    """Whether a process lives; where that cannot be asked without harm, on Windows, all do."""
    try:
        if os.name == "posix":
            os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # somebody else's process
        pass
    return True


@contextmanager
def written_whole(path: str | os.PathLike[str], suffixes: Collection[str] = ()) -> Iterator[Path]:
    """Give a temporary name to write to; it becomes ``path`` when the block ends well and is removed when it does not.

    Args:
        path: the final name; an existing file is replaced.
        suffixes: the endings that are possible, with their dots; none for any.

    Yields:
        The temporary path.

    Raises:
        InputError: the path cannot be written, or the disk failed on the way.
    """
    final = check_writable(path, suffixes)
    partial = _sibling(final)
    try:
        remove_abandoned(final.parent, f"{final.stem}.")
        partial.touch()
        mode = partial.stat().st_mode  # what the user's umask asks for; some writers make private files
        yield partial
        partial.chmod(mode)
        partial.replace(final)
    except OSError as error:
        remedy = "make room there, or choose another place" if error.errno in FULL else "choose a place that can be written"
        raise InputError(f"Cannot write {str(final)!r}: {error.strerror or error}; {remedy}.") from error
    finally:
        partial.unlink(missing_ok=True)
