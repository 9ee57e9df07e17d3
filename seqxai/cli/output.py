"""What the commands share: the flags ``--json`` and ``--quiet``, and how a result is printed."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
QuietFlag = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notes, only the result.")]


def emit(result: Mapping[str, Any], *, as_json: bool, text: str) -> None:
    """Print a command's result on stdout: ``result`` as one JSON object, or else ``text``.

    Numbers that JSON cannot hold (NaN, infinity) raise ``ValueError``: a result with them is a mistake of the command.
    """
    typer.echo(json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) if as_json else text)
