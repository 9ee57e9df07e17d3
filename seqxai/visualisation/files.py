"""Writing a file so that nothing half-written ever stands under its final name."""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from seqxai.errors import InputError


@contextmanager
def replacing(path: str | os.PathLike[str], suffixes: Collection[str]) -> Iterator[Path]:
    """Yield a temporary sibling of ``path`` to write to; it takes the final name only if the block succeeds.

    Args:
        path: the final name; an existing file is replaced.
        suffixes: the endings that are possible, for example ``(".png", ".svg")``.

    Raises:
        InputError: another ending, a missing directory, a directory of that name, or a file that cannot be written.
    """
    final = Path(path)
    if final.suffix.lower() not in suffixes:
        raise InputError(f"Expected a file name ending in {' or '.join(suffixes)}, got {str(final)!r}; rename it.")
    if final.is_dir():
        raise InputError(f"Cannot write {str(final)!r}: it is a directory; give a file name inside it.")
    if not final.parent.is_dir():
        raise InputError(
            f"Cannot write {str(final)!r}: the directory {str(final.parent)!r} is missing; create it first."
        )
    part = final.with_name(f".{final.stem}.{os.getpid()}.part{final.suffix}")
    try:
        yield part
        part.replace(final)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"Cannot write {str(final)!r}: {reason}; choose a place that can be written.") from error
    finally:
        part.unlink(missing_ok=True)
