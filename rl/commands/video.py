"""`seqxai atari video`: an agent plays, every decision is explained, and a film shows it."""

from __future__ import annotations

import math
import re
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rl.clock import DECISIONS_PER_SECOND
from rl.commands.common import SetOption, announce, check_distinct, check_place, choices_of, progress_bars
from rl.commands.common import moment as moment_of
from seqxai.cli.output import JsonFlag, QuietFlag, emit
from seqxai.errors import InputError

if TYPE_CHECKING:
    from rl.checkpoints import Agent
    from rl.explaining import ExplainedStream
    from rl.trajectory import Trajectory
    from rl.video import Video

EXAMPLE = "seqxai atari video --game breakout --seconds 30 --composite epsilon-gamma-box --out breakout.mp4"
SECONDS_MAX = 3600.0


@dataclass(frozen=True)
class Files:
    """Where everything goes.

    Attributes:
        films: the same film in one or several formats.
        caption: of the films; None for none.
        relevance: raw numbers.
        trajectory: what was played.
        stills: pictures of one moment.
    """

    films: tuple[Path, ...]
    caption: Path | None
    relevance: Path | None
    trajectory: Path | None
    stills: tuple[Path, ...]

    def check(self) -> None:
        """Refuse every place that cannot be written, before a game is played."""
        from rl import caption, relevance_file, still, trajectory_file
        from rl.encoding import check_film

        if not self.films and not self.stills:
            raise InputError("nothing to write: give --out for a video, or --still and --still-out for a picture")
        for film in self.films:
            check_place(film, film.suffix.lower())
        if self.films:
            check_film(self.films)
        check_distinct(*self.films, self.caption, self.relevance, self.trajectory, *self.stills)
        for path, suffixes in (
            (self.caption, caption.SUFFIXES),
            (self.relevance, (relevance_file.SUFFIX,)),
            (self.trajectory, (trajectory_file.SUFFIX,)),
            *((picture, still.SUFFIXES) for picture in self.stills),
        ):
            if path is not None:
                check_place(path, *suffixes)


def video(
    out: Annotated[
        list[Path] | None,
        typer.Option("--out", help="The video: .mp4 (H.264), .webm (VP9), .gif or .apng; may be given several times."),
    ] = None,
    webm: Annotated[bool, typer.Option("--webm", help="Write the same as .webm beside the first --out.")] = False,
    agent: Annotated[str | None, typer.Option(metavar="PATH", help="Checkpoint of the agent; the shipped one if not given.")] = None,
    game: Annotated[str | None, typer.Option(help="The game; the agent's own if not given.")] = None,
    choices: SetOption = None,
    trajectory: Annotated[
        Path | None, typer.Option(help="Show this recorded trajectory (.npz) instead of playing; give its --agent.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=SECONDS_MAX, help="Length; 15 decisions are one second.")] = 30.0,
    start: Annotated[float, typer.Option(min=0.0, max=SECONDS_MAX, help="Show from this second of play on.")] = 0.0,
    end: Annotated[float | None, typer.Option(min=0.1, max=SECONDS_MAX, help="Show up to this second, instead of --seconds.")] = None,
    slow: Annotated[float, typer.Option(min=0.1, max=15.0, help="Slower than the game by this factor: 3 is 5 decisions a second.")] = 1.0,
    seed: Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="The same seed gives the same game; 0 if not given.")] = None,
    composite: Annotated[str, typer.Option(help="The rules of relevance propagation, by name.")] = "epsilon-gamma-box",
    target: Annotated[
        str,
        typer.Option(help="What to explain: chosen, largest, contrast, contrast-mean, state-value, or an action such as LEFT."),
    ] = "chosen",
    layout: Annotated[str, typer.Option(help="full, compact or overlay.")] = "full",
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Pixels of the video, such as 1920x1080.")] = None,
    scale: Annotated[float | None, typer.Option(help="Instead of --size, video pixels per game pixel; 2 in the layout full.")] = None,
    palette: Annotated[str, typer.Option(help="red-blue, or orange-purple for every kind of colour vision.")] = "red-blue",
    still: Annotated[
        str | None,
        typer.Option(metavar="MOMENT", help="Also one moment as a picture: 8.5s, or 201, the number of the decision shown."),
    ] = None,
    still_out: Annotated[
        list[Path] | None,
        typer.Option(help="Its file: .png (the frame), .svg or .pdf (a figure for a paper); may be given several times."),
    ] = None,
    caption: Annotated[Path | None, typer.Option(help="The caption, .txt or .json; beside the video if not given.")] = None,
    relevance: Annotated[Path | None, typer.Option(help="Also the raw relevance, ending in .npz: 1.7 MB per second.")] = None,
    trajectory_out: Annotated[
        Path | None, typer.Option(help="Also keep what was played, ending in .npz: play once, explain often.")
    ] = None,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Let an agent play, explain every decision by relevance propagation, and write a video of it."""
    import rl
    from rl.caption import write_caption

    files = _files(out, webm, still, still_out, caption, relevance, trajectory_out)
    shape: dict[str, Any] = {"layout": layout, "size": _size(size), "scale": scale, "palette": palette}
    _check_played(trajectory, {"--game": game, "--seed": seed, "--trajectory-out": trajectory_out})
    player, recorded = _prepare(files, agent, game, trajectory, composite, target, shape, choices_of(choices))
    announce(player, quiet)
    first, stop = _range(start, seconds, end, recorded)
    moment = moment_of(still or "", "--still", first, stop) if files.stills else None
    with progress_bars(quiet) as bar:
        if recorded is None:
            recorded = rl.record(player, game, seed or 0, stop, progress=bar("play", stop), save_to=files.trajectory)
        explained = rl.explain_stream(recorded, player, composite, target)
        report: dict[str, Any] = {"game": recorded.game, "seed": recorded.seed}
        film = None
        if files.films:
            film = _film(explained, files, first, stop, DECISIONS_PER_SECOND / slow, shape, bar("render", stop - first))
            report |= _report(player, explained, film)
        if moment is not None:
            measured = film.scale if film is not None else None
            limits = rl.render_still(explained, files.stills, moment, start=first, stop=stop, measured=measured, **shape)
            report |= {"stills": list(map(str, files.stills)), "decision": moment + 1, "scale": limits.limit}
    if film is not None and files.caption is not None:
        write_caption(files.caption, film, explained)
    for name in ("caption", "relevance", "trajectory"):
        if (path := getattr(files, name)) is not None and (film is not None or name == "trajectory"):
            report[name] = str(path)
    emit(report, as_json=as_json, text=_describe(report))


def _files(
    out: list[Path] | None,
    webm: bool,
    still: str | None,
    still_out: list[Path] | None,
    caption: Path | None,
    relevance: Path | None,
    trajectory_out: Path | None,
) -> Files:
    """The files asked for, with their usual names where none was given."""
    films = list(out or [])
    if webm:
        if not films:
            raise InputError("--webm writes beside the first --out, and none is given; give --out video.mp4, or --out video.webm")
        films.append(films[0].with_suffix(".webm"))
    if films and caption is None:
        caption = films[0].with_name(f"{films[0].stem}.caption.txt")
    if relevance is not None and not films:
        raise InputError("--relevance is written with the video; give --out, too")
    if still_out and still is None:
        raise InputError("--still-out says where, but not which moment; give --still, such as --still 8.5s")
    stills = list(still_out or [])
    if still is not None and not stills:
        if not films:
            raise InputError("--still says which moment, but not where; give --still-out, such as --still-out figure.pdf")
        stills = [films[0].with_suffix(".png")]
    return Files(tuple(films), caption, relevance, trajectory_out, tuple(stills))


def _check_played(trajectory: Path | None, playing: dict[str, Any]) -> None:
    """Refuse what only playing needs where nothing is played."""
    for option, value in playing.items():
        if trajectory is not None and value is not None:
            raise InputError(f"--trajectory shows what was recorded, and {option} is for playing; give one of them")


def _prepare(
    files: Files,
    agent: str | None,
    game: str | None,
    trajectory: Path | None,
    composite: str,
    target: str,
    shape: dict[str, Any],
    choices: dict[str, Any],
) -> tuple[Agent, Trajectory | None]:
    """Load the agent and refuse everything that can be refused before a game is played."""
    import rl
    from rl.games import resolve_game
    from rl.panels import design
    from rl.targets import check_target
    from rl.video import check_palette
    from seqxai.composites import ensure

    files.check()
    ensure(composite)
    design(shape["layout"]).grid(shape["size"], shape["scale"])
    check_palette(shape["palette"])
    if agent is not None and not agent.strip():
        raise InputError("--agent is empty; give the path of a checkpoint, or leave it out for the shipped agent")
    if game is not None and not game.strip():
        raise InputError("--game is empty; give a name such as breakout, or leave it out for the agent's own game")
    if game is not None:
        resolve_game(game)
    recorded = None if trajectory is None else rl.Trajectory.load(trajectory)
    trained_on = recorded.game if recorded is not None else game
    player = rl.load(rl.shipped_agent("breakout") if agent is None else agent, game=trained_on, **choices)
    check_target(target, player.actions, player.network)
    return player, recorded


def _size(text: str | None) -> tuple[int, int] | None:
    """Width and height from ``1920x1080``."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,5})\s*[xX×]\s*(\d{1,5})", text.strip())
    if found is None:
        raise InputError(f"--size should be width x height in pixels, such as 1920x1080, got {text!r}")
    return int(found[1]), int(found[2])


def _range(start: float, seconds: float, end: float | None, recorded: Trajectory | None) -> tuple[int, int]:
    """First decision shown, and one past the last."""
    first = round(start * DECISIONS_PER_SECOND)
    stop = max(first + 1, first + round(seconds * DECISIONS_PER_SECOND)) if end is None else round(end * DECISIONS_PER_SECOND)
    if end is not None and stop <= first:
        raise InputError(f"--end {end:g} is not after --start {start:g}; both are seconds from the beginning of play")
    if recorded is None:
        return first, stop
    if first >= len(recorded):
        length = len(recorded) / DECISIONS_PER_SECOND
        raise InputError(f"--start {start:g} is after the end of the trajectory, which is {length:.1f} seconds long")
    return first, min(stop, len(recorded))


def _film(
    explained: ExplainedStream, files: Files, first: int, stop: int, fps: float, shape: dict[str, Any], progress: Any
) -> Video:
    """Render the films, and the raw relevance on the way."""
    import rl
    from rl.relevance_file import open_relevance

    with ExitStack() as stack:
        watch = None
        if files.relevance is not None:
            watch = stack.enter_context(open_relevance(files.relevance, explained, stop - first)).write
        return rl.render(explained, files.films, fps, progress=progress, start=first, stop=stop, watch=watch, **shape)


def _report(agent: Agent, explained: ExplainedStream, film: Video) -> dict[str, Any]:
    """The summary, as plain values that JSON can hold."""
    trajectory, tally = explained.trajectory, film.tally
    shown = slice(film.start, film.start + film.frames)
    return {
        "video": str(film.path),
        "videos": list(map(str, film.paths)),
        "bytes": film.bytes[0],
        "frames": film.frames,
        "width": film.width,
        "height": film.height,
        "fps": film.fps,
        "game": trajectory.game,
        "agent_steps": agent.agent_steps,
        "seed": trajectory.seed,
        "points": float(trajectory.rewards[shown].sum()),
        "games": int(trajectory.games[shown][-1] - trajectory.games[shown][0]) + 1,
        "method": explained.method,
        "target": explained.target,
        "scale": film.limit,
        "balance": tally.balance,
        "ledger": {name: tally.mean(value) for name, value in tally.ledger.items()},
        "explained_mean": tally.mean(tally.explained),
    }


def _describe(report: dict[str, Any]) -> str:
    """The summary in lines."""
    digits = max(0, 1 - math.floor(math.log10(report["scale"])))
    lines = {}
    if "video" in report:
        parts = {name: value for name, value in report["ledger"].items() if abs(value) >= 0.0005}
        shares = " + ".join(f"{'pixels' if name == 'input' else name} {value:.3f}" for name, value in parts.items())
        lines = {
            "video": f"{', '.join(report['videos'])}, {report['bytes'] / 1e6:.1f} MB, {report['frames']} decisions",
            "played": f"{report['game']}, seed {report['seed']}: {report['points']:.0f} points, {report['games']} game(s)",
            "explained": f"{report['method']}, target {report['target']}",
            "on average": f"{report['explained_mean']:.3f} = {shares}",
            "balance": f"sums are off by at most {report['balance']:.1e}",
        }
    lines["full colour"] = f"at ±{report['scale']:.{digits}f} per observed pixel, in the whole video"
    if "stills" in report:
        lines["still"] = f"{', '.join(report['stills'])}, decision {report['decision']}"
    lines |= {name: report[name] for name in ("caption", "relevance", "trajectory") if name in report}
    return "\n".join(f"{name:<12}{text}" for name, text in lines.items())
