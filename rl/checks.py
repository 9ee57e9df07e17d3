"""What several doors check alike: that a number is one, and that a path names a file that can be read."""

from __future__ import annotations

import math
import operator
import os
import stat
from pathlib import Path
from typing import Any

from seqxai.errors import InputError

SHOWN = 60
"""Letters of a wrong value that a message repeats; a file may hold megabytes of it."""


def shown(value: Any) -> str:
    """A wrong value as a message shows it: on one line and cut when long."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def whole_number(name: str, value: Any) -> int:
    """A whole number, Python's or numpy's.

    Args:
        name: of the argument, for the message.
        value: what was given.

    Raises:
        InputError: anything else, ``True`` and ``2.0`` included.
    """
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise InputError(f"{name} should be a whole number, got {shown(value)}")


def real_number(name: str, value: Any) -> float:
    """A finite number, Python's or numpy's.

    Args:
        name: of the argument, for the message.
        value: what was given.

    Raises:
        InputError: anything else, text and NaN included.
    """
    try:
        number = math.nan if isinstance(value, str | bytes | bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{name} should be a finite number, got {shown(value)}")
    return number


def check_readable(
    path: str | os.PathLike[str], kind: str, suffix: str, error: type[InputError] = InputError
) -> Path:
    """Refuse a path that is no regular file: a pipe or a device may never end, or never begin.

    Args:
        path: what was given.
        kind: of file, in one word, for the message.
        suffix: the ending such files have.
        error: the class to raise.

    Returns:
        The path.

    Raises:
        InputError: missing, a folder, a pipe, a device, or not readable; of the class ``error``.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            path.open("rb").close()
    except (FileNotFoundError, NotADirectoryError) as cause:
        raise error(f"no {kind} at {path}: the file does not exist; check the path") from cause
    except (OSError, ValueError) as cause:  # ValueError: a NUL in the name
        reason = getattr(cause, "strerror", None) or cause
        raise error(f"{path} cannot be read: {reason}; give a {kind} file you may read") from cause
    if stat.S_ISDIR(mode):
        raise error(f"{path} is a folder; expected a {kind} file ending in {suffix}")
    if not stat.S_ISREG(mode):
        raise error(f"{path} is a pipe or a device; expected a {kind} file ending in {suffix}")
    return path
