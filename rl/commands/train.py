"""`seqxai atari train`: a Q-network learns a game, with checkpoints, and can be stopped and continued at any time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqxai.cli.output import JsonFlag, QuietFlag, emit
from seqxai.errors import InputError

if TYPE_CHECKING:
    from rl.training.loop import Report

EXAMPLE = "seqxai atari train --game breakout --minutes 180 --out runs/breakout"


def train(
    out: Annotated[Path, typer.Option("--out", metavar="RUN", help="The run's folder; new, or of a run to --resume.")],
    game: Annotated[str | None, typer.Option(help="The game, such as breakout, which it is if not given, or pong.")] = None,
    agent_steps: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many decisions, all games together, earlier sessions included.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Stop after this time.")] = None,
    algorithm: Annotated[
        str | None,
        typer.Option(help="pqn, if not given: parallel Q-learning with λ-returns; dqn: with replay memory and target network."),
    ] = None,
    memory: Annotated[
        int | None, typer.Option(min=1, help="Decisions that the replay memory of dqn holds, M; 250,000 if not given, which is 2.2 GB.")
    ] = None,
    network: Annotated[str | None, typer.Option(help="The architecture: nature, if not given, nips or dueling.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="Decides all chance; 0 if not given.")] = None,
    device: Annotated[str, typer.Option(help="Where the network lives: auto, cpu, cuda or cuda:1.")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="Threads of the network, and as many of the emulators.")] = 2,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in RUN, with its own settings.")] = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Train a Q-network on an Atari game; checkpoints and all it takes to go on are kept in RUN."""
    if agent_steps is None and minutes is None:
        raise InputError("say when to stop, with --agent-steps, --minutes or both; a run can be continued later with --resume")
    from rl.training.session import Session

    session = Session.open(out, game, algorithm, network, seed, device, threads, memory=memory, resume=resume)
    with _display(quiet, agent_steps, minutes) as show:
        last = session.run(agent_steps, None if minutes is None else 60.0 * minutes, show)
    steps = session.agent_steps
    recent = None if last is None or last.recent != last.recent else last.recent  # NaN: no game has ended yet
    result: dict[str, Any] = {
        "run": str(out),
        "game": session.game,
        "agent_steps": steps,
        "steps_per_second": None if last is None else last.steps_per_second,
        "score_of_last_100_games": recent,
        "checkpoints": len(list(session.folder.checkpoints.glob("*.safetensors"))),
    }
    speed = "" if last is None else f", {last.steps_per_second:.0f} a second"
    score = "no game has ended yet" if recent is None else f"{recent:.1f} points in the last games of training"
    text = (
        f"run         {out}: {session.game}, {steps:,} agent steps{speed}\n"
        f"score       {score}\n"
        f"checkpoints {result['checkpoints']}, in {session.folder.checkpoints}"
    )
    emit(result, as_json=as_json, text=text)


@contextmanager
def _display(quiet: bool, agent_steps: int | None, minutes: float | None) -> Iterator[Callable[[Report], None]]:
    """A live line on stderr: how far, how fast, how good, how long still."""
    if quiet:
        yield lambda report: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("starting", total=1.0)

        def show(report: Report) -> None:
            """The newest numbers."""
            done = report.progress
            shares = [done.agent_steps / agent_steps] if agent_steps else []
            shares += [report.seconds / (60.0 * minutes)] if minutes else []
            share = min(1.0, max(shares))
            score = "-" if report.recent != report.recent else f"{report.recent:.1f}"
            left = report.seconds * (1.0 - share) / max(share, 1e-9) / 60.0
            progress.update(
                task,
                completed=share,
                description=f"{done.agent_steps:,} steps  {report.steps_per_second:.0f}/s  score {score}  "
                f"ε {done.epsilon:.2f}  loss {done.loss:.4f}  Q {done.value:.2f}  {left:.0f} min left",
            )

        yield show
