"""The `seqxai atari` commands.  Everything heavy is imported inside a command, so that ``--help`` answers at once."""

from __future__ import annotations

from collections.abc import Callable

import typer

from rl.commands import convert, evolve, inspect, play, train, video

HELP = "Explain Atari agents: what do they look at when they decide?"

COMMANDS: dict[str, tuple[Callable[..., None], str]] = {
    "video": (video.video, video.EXAMPLE),
    "evolve": (evolve.evolve, evolve.EXAMPLE),
    "train": (train.train, train.EXAMPLE),
    "play": (play.play, play.EXAMPLE),
    "inspect": (inspect.inspect, inspect.EXAMPLE),
    "convert": (convert.convert, convert.EXAMPLE),
}
"""Name: function and example.  A new command is a file in `rl/commands` and a line here."""

app = typer.Typer(no_args_is_help=True, help=HELP, rich_markup_mode=None)


@app.callback(help=HELP)
def atari() -> None:
    """Make this a group even while it has one command."""


for _name, (_function, _example) in COMMANDS.items():
    app.command(_name, epilog=f"Example:  {_example}")(_function)
