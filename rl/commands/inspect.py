"""`seqxai atari inspect`: what a checkpoint is, before anything is played."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rl.commands.common import SetOption, choices_of
from seqxai.cli.output import JsonFlag, QuietFlag, emit

EXAMPLE = "seqxai atari inspect dqn.zip --game breakout"


def inspect(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", help="A checkpoint: ours, Stable-Baselines3, CleanRL, atari-agents, Kaixhin's Rainbow, tianshou, torchrl."
        ),
    ],
    game: Annotated[str | None, typer.Option(help="The game it was trained on, where the file does not say it.")] = None,
    choices: SetOption = None,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Tell what a checkpoint is: layers, actions, how the agent sees, what had to be assumed, what looks wrong.  Nothing in it is run."""
    from rl.checkpoints.inspection import inspected

    report = inspected(path, game, choices_of(choices))
    emit(report, as_json=as_json, text=_describe(report, quiet))


def _describe(report: dict[str, Any], quiet: bool) -> str:
    """The report in lines."""
    from rl.checkpoints.choices import KNOWN

    game = report["game"] or "not said by the file; say it with --game to play"
    actions = " ".join(report["actions"] or ())
    steps = f"{report['agent_steps']:,} agent steps" if report["agent_steps"] else "length not said"
    lines = [
        ("file", f"{report['path']}, {report['bytes'] / 1e6:.1f} MB, {report['container']}"),
        ("agent", f"{report['format']}, {steps}"),
        ("game", game),
        ("actions", f"{report['outputs']} {actions}".strip()),
        ("network", f"{report['network']}; {report['parameters']:,} parameters"),
        ("sees", report["sees"]),
        ("starts", report["starts"]),
        ("fingerprint", f"{report['fingerprint']}; {report['quantity']} of three fixed pictures {_values(report)}"),
    ]
    if not quiet:
        lines += [("layer", _layer(layer)) for layer in report["layers"]]
    lines += [("assumed", f"{guess['name']} = {guess['value']}: {guess['reason']}") for guess in report["assumed"]]
    if report["assumed"] and not quiet:
        lines.append(("", f"(say otherwise with --set NAME=VALUE: {', '.join(KNOWN)})"))
    lines += [("warning", warning) for warning in report["warnings"]]
    return "\n".join(f"{name:<12}{text}" for name, text in lines)


def _values(report: dict[str, Any]) -> str:
    return ", ".join(f"{min(row):.3g} .. {max(row):.3g}" for row in report["values_of_fixed_pictures"])


def _layer(layer: dict[str, Any]) -> str:
    shape = " x ".join(map(str, layer["weight"]))
    return f"{layer['name']:<20} {layer['kind']:<10} {shape:<18} {layer['parameters']:>10,} parameters"
