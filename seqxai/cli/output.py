"""What the commands share: the flags ``--json`` and ``--quiet``, and how a result is printed."""

import contextlib
import errno
import json
import os
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from seqxai.errors import InputError

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
QuietFlag = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notes, only the result.")]


def emit(result: Mapping[str, Any], *, as_json: bool, text: str) -> None:
    """Print a command's result on stdout: ``result`` as one JSON object, or else ``text``.

    Numbers that JSON cannot hold (NaN, infinity) raise ``ValueError``: a result with them is a mistake of the command.

    Raises:
        InputError: stdout cannot be written, for example on a full disk.
    """
    shown = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) if as_json else text
    try:
        typer.echo(shown)
    except OSError as error:
        if error.errno == errno.EPIPE:  # the reader has seen enough, as in `| head`: typer ends that in silence
            raise
        raise unprintable(error) from error


def unprintable(error: OSError) -> InputError:
    """The error to show when stdout took nothing more; what is still waiting for it is given up.

    Without that the interpreter would try once more at its end, and complain in its own words.
    """
    with contextlib.suppress(OSError, ValueError, AttributeError):  # a stdout without a file descriptor, in a test
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
    reason = error.strerror or str(error)
    return InputError(f"Cannot write the result to standard output: {reason}; send it where there is room.")

