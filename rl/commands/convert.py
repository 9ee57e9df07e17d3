"""`seqxai atari convert`: a foreign checkpoint, or a folder of them, becomes ours, with everything that had to be assumed written down."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rl.commands.common import SetOption, announce, check_place, choices_of, progress_bars
from seqxai.cli.output import JsonFlag, QuietFlag, emit
from seqxai.errors import InputError

if TYPE_CHECKING:
    from rl.checkpoints import Agent

EXAMPLE = "seqxai atari convert dqn.zip --game breakout --out dqn.safetensors"
SUFFIX = ".safetensors"


def convert(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A checkpoint, or a folder with those of one training.")],
    out: Annotated[Path, typer.Option("--out", help="The new file, ending in .safetensors; for a folder a folder.")],
    game: Annotated[str | None, typer.Option(help="The game it was trained on, where the file does not say it.")] = None,
    choices: SetOption = None,
    half: Annotated[bool, typer.Option("--half", help="Half precision: half the size.")] = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Write a foreign agent in our format: its weights, how it sees, and the values it gives fixed pictures, so that it stays the same."""
    chosen = choices_of(choices)
    if path.is_dir():
        report = _folder(path, out, game, chosen, half, quiet)
    else:
        report = _file(path, out, game, chosen, half, quiet)
    lines = [f"{row['from']} -> {row['to']}, {row['agent_steps']:,} agent steps" for row in report["agents"]]
    emit(report, as_json=as_json, text="\n".join(lines))


def _file(path: Path, out: Path, game: str | None, choices: dict[str, Any], half: bool, quiet: bool) -> dict[str, Any]:
    """One agent."""
    import rl

    check_place(out, SUFFIX)
    if out.absolute() == path.absolute():
        raise InputError(f"--out {str(out)!r} is the file to convert; give another name")
    agent = rl.load(path, game=game, **choices)
    announce(agent, quiet)
    rl.save_agent(agent, out, half=half)
    return {"agents": [_row(path, out, agent)]}


def _folder(folder: Path, out: Path, game: str | None, choices: dict[str, Any], half: bool, quiet: bool) -> dict[str, Any]:
    """A training: one file per checkpoint, named by its agent steps."""
    import rl

    if out.is_file() or out.suffix == SUFFIX:
        raise InputError(f"{folder} is a folder, so --out should name one, too; got {str(out)!r}")
    run = rl.load_run(folder, game=game, **choices)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {str(out)!r}: {error.strerror or error}; choose another place") from error
    rows = []
    with progress_bars(quiet) as bars:
        progress = bars("convert", len(run))
        for number, checkpoint in enumerate(run, 1):
            agent, place = checkpoint.load(), out / f"{checkpoint.agent_steps:09d}{SUFFIX}"
            rl.save_agent(agent, place, half=half)
            rows.append(_row(checkpoint.path, place, agent))
            progress(number)
    return {"agents": rows, "ignored": run.ignored}


def _row(path: Path, out: Path, agent: Agent) -> dict[str, Any]:
    """What became of one file."""
    return {
        "from": str(path),
        "to": str(out),
        "format": agent.source,
        "game": agent.game,
        "agent_steps": agent.agent_steps,
        "fingerprint": agent.fingerprint,
        "assumed": [{"name": guess.name, "value": guess.value, "reason": guess.reason} for guess in agent.guesses],
        "warnings": list(agent.warnings),
    }
