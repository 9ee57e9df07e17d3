"""The ``seqxai text`` commands.  Everything heavy is imported inside a command, so that ``--help`` answers at once."""

from __future__ import annotations

from collections.abc import Callable

import typer

from seqxai.cli import text_evaluate, text_explain, text_train

HELP = "Explain text classifiers: which words made the decision?"

COMMANDS: dict[str, tuple[Callable[..., None], str]] = {
    "explain": (text_explain.explain, text_explain.EXAMPLE),
    "train": (text_train.train, text_train.EXAMPLE),
    "evaluate": (text_evaluate.evaluate, text_evaluate.EXAMPLE),
}
"""Name: function and example.  A new command is a file beside this one and a line here."""

app = typer.Typer(no_args_is_help=True, help=HELP, rich_markup_mode=None)


@app.callback(help=HELP)
def text() -> None:
    """Make this a group even while it has one command."""


for _name, (_function, _example) in COMMANDS.items():
    app.command(_name, epilog=f"Example:  {_example}")(_function)
