"""The `seqxai atari` commands.  Everything heavy is imported inside a command, so that ``--help`` answers at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqxai.cli.output import JsonFlag, QuietFlag, emit
from seqxai.errors import InputError

if TYPE_CHECKING:
    from rl.checkpoints import Agent
    from rl.explaining import Explained
    from rl.video import Video

DECISIONS_PER_SECOND = 15

app = typer.Typer(no_args_is_help=True, help="Explain Atari agents: what do they look at when they decide?")


@app.callback()
def atari() -> None:
    """Explain Atari agents: what do they look at when they decide?"""


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str, int], Callable[[int], None]]]:
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


@app.command(
    epilog="Example:  seqxai atari video --game breakout --seconds 30 --composite epsilon-gamma-box --out breakout.mp4"
)
def video(
    out: Annotated[Path, typer.Option("--out", help="The video to write, ending in .mp4.")],
    agent: Annotated[str | None, typer.Option(metavar="PATH", help="Checkpoint of the agent; the shipped one if not given.")] = None,
    game: Annotated[str | None, typer.Option(help="The game; the agent's own if not given.")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=600.0, help="Length; 15 decisions are one second.")] = 30.0,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="The same seed gives the same game.")] = 0,
    composite: Annotated[str, typer.Option(help="The rules of relevance propagation, by name.")] = "epsilon-gamma-box",
    target: Annotated[
        str, typer.Option(help="What to explain: chosen, largest, contrast, or an action such as LEFT.")
    ] = "chosen",
    trajectory_out: Annotated[
        Path | None, typer.Option(help="Also keep what was played, ending in .npz: play once, explain often.")
    ] = None,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Let an agent play, explain every decision by relevance propagation, and write a video of it."""
    import rl

    player = _prepare({".mp4": out, ".npz": trajectory_out}, agent, game, composite, target)
    decisions = max(1, round(seconds * DECISIONS_PER_SECOND))
    with _progress(quiet) as bar:
        trajectory = rl.record(player, game, seed, decisions, progress=bar("play", decisions))
        if trajectory_out is not None:
            trajectory.save(trajectory_out)
        explained = rl.explain(trajectory, player, composite, target, progress=bar("explain", decisions))
        film = rl.render(explained, out, progress=bar("render", decisions))
    report = _report(player, explained, film)
    if trajectory_out is not None:
        report["trajectory"] = str(trajectory_out)
    emit(report, as_json=as_json, text=_describe(report))


def _prepare(places: dict[str, Path | None], agent: str | None, game: str | None, composite: str, target: str) -> Agent:
    """Load the agent and refuse everything that can be refused before a game is played."""
    import rl
    from rl.encoding import check_film
    from rl.explaining import check_target
    from rl.games import resolve_game
    from seqxai.composites import ensure

    film = places.pop(".mp4")
    for suffix, path in places.items():
        if path is not None:
            _check_place(path, suffix)
    if film is not None:
        _check_place(film, film.suffix)
    check_film(film or [])
    ensure(composite)
    if agent is not None and not agent.strip():
        raise InputError("--agent is empty; give the path of a checkpoint, or leave it out for the shipped agent")
    if game is not None and not game.strip():
        raise InputError("--game is empty; give a name such as breakout, or leave it out for the agent's own game")
    if game is not None:
        resolve_game(game)
    player = rl.load(rl.shipped_agent("breakout") if agent is None else agent)
    check_target(target, player.actions)
    return player


def _check_place(path: Path, suffix: str) -> None:
    """Refuse a place for a file that cannot be written, and say when a part of the path is itself a file."""
    from seqxai.files import check_writable

    with suppress(OSError, ValueError):  # a name no file can have: told below
        blocking = next((parent for parent in path.parents if parent.is_file()), None)
        if blocking is not None:
            raise InputError(f"Cannot write {str(path)!r}: {str(blocking)!r} is a file, not a directory; choose another place.")
    check_writable(path, (suffix,))


def _report(agent: Agent, explained: Explained, film: Video) -> dict[str, Any]:
    """The summary, as plain values that JSON can hold."""
    trajectory = explained.trajectory
    return {
        "video": str(film.path),
        "bytes": film.bytes,
        "frames": film.frames,
        "width": film.width,
        "height": film.height,
        "game": trajectory.game,
        "agent_steps": agent.agent_steps,
        "seed": trajectory.seed,
        "points": float(trajectory.rewards.sum()),
        "games": int(trajectory.starts.sum()),
        "method": explained.method,
        "target": explained.target,
        "scale": film.limit,
        "balance": float(explained.balance.max()),
        "ledger": {name: float(values.mean()) for name, values in explained.ledger.items()},
        "explained_mean": float(explained.explained.mean()),
    }


def _describe(report: dict[str, Any]) -> str:
    """The summary in lines."""
    parts = {name: value for name, value in report["ledger"].items() if abs(value) >= 0.0005}
    shares = " + ".join(f"{'pixels' if name == 'input' else name} {value:.3f}" for name, value in parts.items())
    digits = max(0, 1 - math.floor(math.log10(report["scale"])))
    lines = {
        "video": f"{report['video']}, {report['bytes'] / 1e6:.1f} MB, {report['frames']} decisions",
        "played": f"{report['game']}, seed {report['seed']}: {report['points']:.0f} points, {report['games']} game(s)",
        "explained": f"{report['method']}, target {report['target']}",
        "on average": f"{report['explained_mean']:.3f} = {shares}",
        "balance": f"sums are off by at most {report['balance']:.1e}",
        "full colour": f"at ±{report['scale']:.{digits}f} per observed pixel, in the whole video",
    }
    if "trajectory" in report:
        lines["trajectory"] = report["trajectory"]
    return "\n".join(f"{name:<12}{text}" for name, text in lines.items())
