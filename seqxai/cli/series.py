"""The ``seqxai series`` commands.  Everything heavy is imported inside a command, so that ``--help`` answers at once."""

from __future__ import annotations

import typer

from seqxai.cli import series_explain

HELP = "Explain forecasts and classifiers of numeric series: which channels at which steps?"

app = typer.Typer(no_args_is_help=True, help=HELP, rich_markup_mode=None)


@app.callback(help=HELP)
def series() -> None:
    """Make this a group even while it has one command."""


app.command("explain", epilog=f"Example:  {series_explain.EXAMPLE}")(series_explain.explain)
