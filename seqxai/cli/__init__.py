"""The program ``seqxai``: one command line over the library and over every package that registers a group of commands.

Groups come from the entry-point group ``seqxai.commands`` (``atari = rl.cli:app``, where ``app`` is a ``typer.Typer``).
A group's module is imported when one of its commands runs, never for ``seqxai --help``, which so answers at once.

Conventions for every command, here and in a registered group: results go to stdout, progress and notes to stderr;
``--json`` prints one JSON object on stdout instead of text; ``--quiet`` silences progress and notes.  Exit code 0: it
worked; 1: a ``SeqxaiError``, printed as one line ``error: ...``; 2: the command line itself is wrong; 130: Ctrl-C; 143: SIGTERM.
A registered ``typer.Typer`` says ``rich_markup_mode=None``, as the program does, so that all help looks alike.
"""

import importlib.metadata
import sys
from typing import Annotated

import typer

from seqxai.cli import text
from seqxai.cli.group import ProgramGroup, heed_termination, interrupted
from seqxai.cli.output import JsonFlag, QuietFlag, emit, unprintable

__all__ = ["JsonFlag", "QuietFlag", "app", "emit", "main", "version"]

EXAMPLE = "Example:  seqxai atari video --seconds 30 --out breakout.mp4"

app = typer.Typer(
    cls=ProgramGroup,
    help="Explain PyTorch models and Atari agents by layer-wise relevance propagation.",
    epilog=EXAMPLE,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # importing rich would double the time --help takes
    context_settings={"help_option_names": ["-h", "--help"]},
)


def version() -> str:
    """The installed version of seqxai, or ``"not installed"`` where the source tree is used without installation."""
    try:
        return importlib.metadata.version("seqxai")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _print_version(asked: bool) -> bool:
    if asked:
        typer.echo(f"seqxai {version()}")
        raise typer.Exit()
    return asked


@app.callback()
def _program(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    del show_version  # an eager option: its callback has already answered


@app.command("doctor", epilog="Example:  seqxai doctor --json")
def _doctor(as_json: JsonFlag = False, quiet: QuietFlag = False) -> None:
    """Check this installation: versions, encoders, a self-test."""
    from seqxai.cli.doctor import run

    run(as_json=as_json, quiet=quiet)


app.add_typer(text.app, name="text")


def main() -> None:
    """Run the program on ``sys.argv`` and exit with its code: the console script ``seqxai``."""
    heed_termination()
    try:
        app(prog_name="seqxai")
    except KeyboardInterrupt as cause:  # before the first command took over
        sys.exit(interrupted(cause))
    except OSError as error:  # --help and --version print before a command takes over
        if not _stdout_fails():
            raise
        typer.echo(f"error: {unprintable(error)}", err=True)
        sys.exit(1)


def _stdout_fails() -> bool:
    """Whether stdout takes nothing more: the writer that failed has dropped its text, so another end of line tells."""
    try:
        sys.stdout.write("\n")
        sys.stdout.flush()
    except OSError:
        return True
    return False
