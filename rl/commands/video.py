"""`seqxai atari video`: an agent plays, every decision is explained, and a film shows it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rl.commands.common import DECISIONS_PER_SECOND, check_place, progress_bars
from seqxai.cli.output import JsonFlag, QuietFlag, emit
from seqxai.errors import InputError

if TYPE_CHECKING:
    from rl.checkpoints import Agent
    from rl.explaining import Explained
    from rl.video import Video

EXAMPLE = "seqxai atari video --game breakout --seconds 30 --composite epsilon-gamma-box --out breakout.mp4"


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
    with progress_bars(quiet) as bar:
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
            check_place(path, suffix)
    if film is not None:
        check_place(film, film.suffix)
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
