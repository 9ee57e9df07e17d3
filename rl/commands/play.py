"""`seqxai atari play`: an agent, or every checkpoint of a training, plays whole games, and the points are told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rl.commands.common import SetOption, announce, check_distinct, check_place, choices_of, progress_bars
from seqxai.cli.output import JsonFlag, QuietFlag, emit
from seqxai.errors import InputError

if TYPE_CHECKING:
    from rl.checkpoints import Agent

EXAMPLE = "seqxai atari play runs/breakout --games 30 --curve curve.png"


def play(
    agent: Annotated[
        str | None, typer.Argument(metavar="[PATH]", help="A checkpoint, or the folder of a training; the shipped agent if not given.")
    ] = None,
    games: Annotated[int, typer.Option(min=1, max=10_000, help="Whole games of each checkpoint.")] = 30,
    checkpoints: Annotated[
        int | None, typer.Option(min=2, help="Of a training, only so many, spread by factors of agent steps; all if not given.")
    ] = None,
    steps: Annotated[str | None, typer.Option(metavar="STEPS", help="Of a training, only those: 0,400k,3.1M.")] = None,
    game: Annotated[str | None, typer.Option(help="The game, where foreign checkpoints do not say it.")] = None,
    choices: SetOption = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Decides all chance.")] = 0,
    epsilon: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of random actions.")] = 0.01,
    threads: Annotated[int, typer.Option(min=1, max=256, help="Threads of the emulators.")] = 2,
    curve: Annotated[Path | None, typer.Option(help="Points over training as a figure, ending in .png, .svg or .pdf.")] = None,
    out: Annotated[
        list[Path] | None,
        typer.Option("--video", help="One whole game as a plain video, of the last checkpoint: .mp4, .webm, .gif or .apng."),
    ] = None,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Play whole games and tell the points: raw, between random and human play, with 95 % intervals."""
    from rl.playing import CURVE_SUFFIXES, draw_curve, film_a_game
    from rl.playing import play as play_agent
    from rl.trajectory import one_thread

    films = list(out or [])
    _check_places(films, curve, CURVE_SUFFIXES)
    agents, ignored = _agents(agent, checkpoints, steps, game, choices_of(choices))
    announce(agents[-1], quiet)
    played = []
    with progress_bars(quiet) as bars, one_thread():
        for loaded in agents:
            bar = bars(f"{loaded.agent_steps:,} steps", games)
            played.append(play_agent(loaded, games, seed, epsilon, threads, bar))
        report: dict[str, Any] = {
            "game": played[0].game, "seed": seed, "epsilon": epsilon, "ignored": ignored, "checkpoints": [one.row() for one in played],
        }  # fmt: skip
        if films:
            report |= {"video": list(map(str, films)), "video_points": film_a_game(agents[-1], films, seed, epsilon)}
    if curve is not None:
        draw_curve(curve, played)
        report["curve"] = str(curve)
    emit(report, as_json=as_json, text=_describe(report))


def _check_places(films: list[Path], curve: Path | None, suffixes: tuple[str, ...]) -> None:
    """Refuse files that cannot be written before anything is played."""
    from rl.encoding import check_film

    for film in films:
        check_place(film, film.suffix.lower())
    if films:
        check_film(films)
    if curve is not None:
        check_place(curve, *suffixes)
    check_distinct(*films, curve)


def _agents(
    path: str | None, count: int | None, steps: str | None, game: str | None, choices: dict[str, Any]
) -> tuple[list[Agent], dict[str, str]]:
    """Who plays, by agent steps, and the files of the folder that are no checkpoints, with the reason."""
    import rl

    if path is not None and not path.strip():
        raise InputError("the path is empty; give a checkpoint or the folder of a training, or leave it out for the shipped agent")
    place = Path(rl.shipped_agent("breakout") if path is None else path)
    if not place.is_dir():
        if count is not None or steps is not None:
            raise InputError("--checkpoints and --steps choose among the checkpoints of a training; give its folder, or leave them out")
        return [rl.load(place, game=game, **choices)], {}
    run = rl.load_run(place, game=game, **choices)
    if count is not None and steps is not None:
        raise InputError("--checkpoints and --steps both choose; give one of them")
    if count is not None:
        run = run.spread(count)
    if steps is not None:
        run = run.at([step for step in steps.split(",") if step.strip()])
    return [checkpoint.load() for checkpoint in run], dict(run.ignored)


def _describe(report: dict[str, Any]) -> str:
    """The table, and what was written."""
    from rl.games import display_name
    from rl.scores import REFERENCES

    rows = report["checkpoints"]
    lines = [
        f"{display_name(report['game'])}, {rows[0]['games']} whole games each, seed {report['seed']}, ε {report['epsilon']:g}",
        "",
        f"{'agent steps':>12}{'mean points':>13}{'95 % interval':>18}{'median':>9}{'min':>8}{'max':>8}{'human = 1':>11}",
    ]
    for row in rows:
        interval = "-" if row["interval"] is None else "{:.1f} .. {:.1f}".format(*row["interval"])
        human = "-" if row["human_normalised"] is None else f"{row['human_normalised']:.2f}"
        lines.append(
            f"{row['agent_steps']:>12,}{row['mean']:>13.1f}{interval:>18}{row['median']:>9.1f}{row['min']:>8.0f}{row['max']:>8.0f}{human:>11}"
        )
    reference = REFERENCES.get(report["game"])
    if reference is not None:
        players = f"{reference.human:g} points of a professional tester; 0: {reference.random:g} of random play"
        lines += ["", f"human = 1: {players} (Wang et al. 2016)"]
    lines += [f"ignored {name}: {reason}" for name, reason in report["ignored"].items()]
    if "video" in report:
        lines.append(f"video: {', '.join(report['video'])}, one game of {report['video_points']:.0f} points")
    if "curve" in report:
        lines.append(f"curve: {report['curve']}")
    return "\n".join(lines)
