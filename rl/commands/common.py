"""What the commands share: progress bars, and places that can be written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rl.clock import DECISIONS_PER_SECOND
from seqxai.errors import InputError

if TYPE_CHECKING:
    from rl.checkpoints import Agent

SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="What a foreign checkpoint does not say, such as interpolation=linear, divisor=1, padding=1; may be given several times.",
    ),
]


def choices_of(texts: list[str] | None) -> dict[str, Any]:
    """What ``--set`` says."""
    from rl.checkpoints.choices import parsed

    return parsed(texts or ())


def announce(agent: Agent, quiet: bool) -> None:
    """Say on stderr what was assumed of a foreign agent, and what looks wrong."""
    if quiet:
        return
    for guess in agent.guesses:
        typer.echo(f"assumed   {guess.name} = {guess.value}: {guess.reason}", err=True)
    for warning in agent.warnings:
        typer.echo(f"warning   {warning}", err=True)


@contextmanager
def progress_bars(quiet: bool) -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    """Progress bars on stderr: give a name and a total, get a function that takes what is done so far."""
    if quiet:
        yield lambda name, total: lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description:8}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True)) as progress:

        def start(name: str, total: int) -> Callable[[int], None]:
            """A new bar below the others, once there is something to show."""

            def update(done: int) -> None:
                if name not in tasks:
                    tasks[name] = progress.add_task(name, total=total)
                progress.update(tasks[name], completed=done)

            return update

        yield start


def check_place(path: Path, *suffixes: str) -> None:
    """Refuse a place for a file that cannot be written, and say when a part of the path is itself a file."""
    from seqxai.files import check_writable

    with suppress(OSError, ValueError):  # a name no file can have: told below
        blocking = next((parent for parent in path.parents if parent.is_file()), None)
        if blocking is not None:
            raise InputError(f"Cannot write {str(path)!r}: {str(blocking)!r} is a file, not a directory; choose another place.")
    check_writable(path, suffixes)


def moment(text: str, option: str, first: int, stop: int) -> int:
    """The decision a user means by ``8.5s``, seconds of play, or ``201``, its number as pictures and films show it, from 1.

    Args:
        text: what was typed.
        option: where, for messages.
        first: the first decision there is, counted from 0.
        stop: one past the last.

    Returns:
        The decision, counted from 0 as everywhere in Python.

    Raises:
        InputError: something else, or a decision that is not there.
    """
    found = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)\s*(s?)", text.strip())
    if found is None or (not found[2] and "." in found[1]):
        raise InputError(f"{option} should be seconds, such as 8.5s, or the number of a decision, such as 201, got {text!r}")
    decision = round(float(found[1]) * DECISIONS_PER_SECOND) if found[2] else int(found[1]) - 1
    if not first <= decision < stop:
        low, high = first / DECISIONS_PER_SECOND, (stop - 1) / DECISIONS_PER_SECOND
        raise InputError(f"{option} {text} is not shown: expected {low:.1f}s .. {high:.1f}s, or a decision {first + 1} .. {stop}")
    return decision


def check_distinct(*paths: Path | None) -> None:
    """Refuse to write two things under one name: the later would replace the earlier without a word."""
    names = [path.absolute() for path in paths if path is not None]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two outputs have the same name, {name.name!r}; give each file a name of its own")
