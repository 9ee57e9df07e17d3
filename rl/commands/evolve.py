"""`seqxai atari evolve`: the checkpoints of one training explained side by side, as a film and as a figure."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rl.clock import DECISIONS_PER_SECOND
from rl.commands.common import SetOption, check_distinct, check_place, choices_of, moment, progress_bars
from seqxai.cli.output import JsonFlag, QuietFlag, emit
from seqxai.errors import InputError

if TYPE_CHECKING:
    from rl.checkpoints import Run
    from rl.drawing import Palette
    from rl.evolution import Evolution, EvolutionFilm, Moment
    from rl.trajectory import Trajectory

EXAMPLE = "seqxai atari evolve runs/breakout --checkpoints 6 --out evolution.mp4 --figure evolution.pdf"

SECONDS = 60.0

Bars = Callable[[str, int], Callable[[int], None]]  # see `progress_bars`


def evolve(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a training, or of its checkpoints.")],
    out: Annotated[
        list[Path] | None,
        typer.Option("--out", help="The film: .mp4 (H.264), .webm (VP9), .gif or .apng; may be given several times."),
    ] = None,
    webm: Annotated[bool, typer.Option("--webm", help="Write the same as .webm beside the first --out.")] = False,
    figure: Annotated[
        list[Path] | None,
        typer.Option(help="A still figure, .png, .svg or .pdf, with a row per checkpoint; may be given several times."),
    ] = None,
    checkpoints: Annotated[int, typer.Option(min=2, max=12, help="How many to show, spread by factors of agent steps.")] = 6,
    steps: Annotated[
        str | None, typer.Option(metavar="STEPS", help="Which to show instead, by agent steps: 0,400k,3.1M.")
    ] = None,
    on_policy: Annotated[bool, typer.Option("--on-policy", help="Each checkpoint plays a game of its own.")] = False,
    trajectory: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The states to explain; the best checkpoint plays if not given.")
    ] = None,
    trajectory_out: Annotated[Path | None, typer.Option(help="Keep what the best checkpoint played, ending in .npz.")] = None,
    game: Annotated[str | None, typer.Option(help="The game, where foreign checkpoints do not say it.")] = None,
    choices: SetOption = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, max=1800.0, help="How long is played, 60 if not given; 15 decisions are one second.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="The same seed gives the same game; 0 if not given.")] = None,
    composite: Annotated[str, typer.Option(help="The rules of relevance propagation, by name.")] = "epsilon-gamma-box",
    target: Annotated[
        str,
        typer.Option(
            help="What to explain: largest (each checkpoint's own choice), contrast (that against its second), "
            "contrast-mean, state-value, chosen (the action taken), or an action such as LEFT."
        ),
    ] = "largest",
    moments: Annotated[
        str | None,
        typer.Option(metavar="MOMENTS", help="Columns of the figure, such as 8s,13.3s or 120,300; key moments if not given."),
    ] = None,
    still: Annotated[
        str | None,
        typer.Option(metavar="MOMENT", help="Also one frame of the film as a picture: 8.5s, or 201, the decision's number."),
    ] = None,
    still_out: Annotated[Path | None, typer.Option(help="Its file, ending in .png.")] = None,
    start: Annotated[float, typer.Option(min=0.0, help="Show from this second of the game.")] = 0.0,
    end: Annotated[float | None, typer.Option(min=0.0, help="Show until this second of the game.")] = None,
    slow: Annotated[float, typer.Option(min=0.1, max=15.0, help="Slower than the game by this factor: 3 is 5 decisions a second.")] = 1.0,
    scale: Annotated[int | None, typer.Option(min=2, max=4, help="Film pixels per game pixel.")] = None,
    palette: Annotated[str, typer.Option(help="red-blue, or orange-purple for every kind of colour vision.")] = "red-blue",
    caption: Annotated[Path | None, typer.Option(help="The caption, .txt or .json; beside the film if not given.")] = None,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Explain the same states by several checkpoints of one training, side by side, on one colour scale."""
    import rl
    from rl.evolution import evolve as compare
    from rl.evolution import save_still, write_evolution_caption

    begun = time.perf_counter()
    films, figures, colours = _films(out, webm), list(figure or []), _palette(palette)
    if films and caption is None:
        caption = films[0].with_name(f"{films[0].stem}.caption.txt")
    _check_places(films, figures, still_out, trajectory_out, caption)
    if (still is None) != (still_out is None):
        raise InputError("a still needs --still MOMENT and --still-out FILE.png; give both or none")
    _check_modes(on_policy, trajectory, {"--trajectory-out": trajectory_out, "--seed": seed, "--seconds": seconds})
    chosen = _choose(run, checkpoints, steps, game, choices_of(choices))
    _check_words(chosen, composite, target)
    states = None if trajectory is None else _given_states(chosen, trajectory)
    decisions = max(1, round((seconds or SECONDS) * DECISIONS_PER_SECOND)) if states is None else len(states)
    part, columns = _part(decisions, start, end), _columns_asked(moments, decisions)
    frame = None if still is None else moment(still, "--still", 0, decisions)
    with progress_bars(quiet) as bars:
        if states is None and not on_policy:
            playing = bars("play", decisions)
            states = rl.record(chosen.best.load(), seed=seed or 0, decisions=decisions, progress=playing, save_to=trajectory_out)
        playing = bars("play", decisions * len(chosen))
        evolution = compare(
            chosen, states, on_policy=on_policy, decisions=decisions, seed=seed or 0,
            composite=composite, target=target, progress=playing,
        )  # fmt: skip
        report = _facts(chosen, evolution)
        if films:
            report |= _film(evolution, films, part, slow, scale, colours, bars)
        if figures:
            report |= _figures(evolution, figures, part, columns, colours)
        if frame is not None and still_out is not None:
            save_still(evolution, still_out, frame, scale=scale, palette=colours)
            report |= {"still": str(still_out), "decision": frame + 1}
    if not films:
        report["checkpoints"] = _table(evolution, part)
    if caption is not None:
        shown = [*films, *figures, *([still_out] if still_out is not None else [])]
        write_evolution_caption(caption, evolution, shown, report["checkpoints"])
        report["caption"] = str(caption)
    report["seconds"] = round(time.perf_counter() - begun, 1)
    emit(report, as_json=as_json, text=_describe(report))


def _films(out: list[Path] | None, webm: bool) -> list[Path]:
    """The films to write."""
    films = list(out or [])
    if webm and not films:
        raise InputError("--webm writes beside the first --out, and none is given; give --out evolution.mp4")
    return [*films, films[0].with_suffix(".webm")] if webm else films


def _palette(name: str) -> Palette:
    """Colours by name."""
    from rl.drawing import PALETTES

    if name not in PALETTES:
        raise InputError(f"unknown palette {name!r}: expected one of {', '.join(PALETTES)}")
    return PALETTES[name]


def _check_places(
    films: list[Path], figures: list[Path], still_out: Path | None, trajectory_out: Path | None, caption: Path | None
) -> None:
    """Refuse files that cannot be written before anything is played."""
    from rl import caption as captions
    from rl.encoding import check_film
    from rl.evolution import figure as drawing
    from rl.evolution import film as filming

    if not films and not figures and still_out is None:
        raise InputError("nothing to write: give --out FILE.mp4, --figure FILE.pdf, or both")
    for film in films:
        check_place(film, film.suffix)
    if films:
        check_film(films)
    check_distinct(*films, *figures, still_out, trajectory_out, caption)
    endings: tuple[tuple[Path | None, tuple[str, ...]], ...] = (
        *((figure, drawing.SUFFIXES) for figure in figures),
        (still_out, filming.STILL_SUFFIXES),
        (trajectory_out, (".npz",)),
        (caption, captions.SUFFIXES),
    )
    for path, suffixes in endings:
        if path is not None:
            check_place(path, *suffixes)


def _choose(folder: Path, count: int, steps: str | None, game: str | None, choices: dict[str, Any]) -> Run:
    """The checkpoints to show."""
    import rl

    whole = rl.load_run(folder, game=game, **choices)
    if len(whole) < 2:
        raise InputError(f"{whole.folder} holds one checkpoint only; an evolution needs at least 2 of one training")
    if steps is None:
        return whole.spread(count)
    return whole.at([step for step in steps.split(",") if step.strip()])


def _check_words(run: Run, composite: str, target: str) -> None:
    """Refuse unknown rules and targets before anything is played."""
    from rl.targets import check_target
    from seqxai.composites import ensure

    ensure(composite)
    check_target(target, run[0].facts.actions, run[0].load().network)


def _check_modes(on_policy: bool, trajectory: Path | None, playing: dict[str, Any]) -> None:
    """Refuse options that exclude each other."""
    if on_policy and (trajectory is not None or playing["--trajectory-out"] is not None):
        raise InputError("with --on-policy every checkpoint plays a game of its own; leave --trajectory and --trajectory-out out")
    for option, value in playing.items():
        if trajectory is not None and value is not None:
            raise InputError(f"{option} is for playing, and with --trajectory nothing is played; leave one of the two out")


def _columns_asked(text: str | None, decisions: int) -> list[Moment] | None:
    """The columns of the figure that were asked for."""
    from rl.evolution import named_moments

    if text is None:
        return None
    return named_moments([moment(one, "--moments", 0, decisions) for one in text.split(",")], decisions)


def _given_states(run: Run, path: Path) -> Trajectory:
    """States of the training's game from a file."""
    import rl
    from rl.evolution.stages import check_same_game

    trajectory = rl.Trajectory.load(path)
    check_same_game(run, trajectory)
    return trajectory


def _part(decisions: int, start: float, end: float | None) -> range:
    """The decisions between two seconds of the game."""
    first = round(start * DECISIONS_PER_SECOND)
    last = decisions if end is None else min(decisions, round(end * DECISIONS_PER_SECOND))
    if first >= last:
        length = decisions / DECISIONS_PER_SECOND
        until = "the end" if end is None else f"--end {end:g}"
        raise InputError(f"nothing to show between --start {start:g} and {until}: the game lasts {length:.1f} s")
    return range(first, last)


def _facts(run: Run, evolution: Evolution) -> dict[str, Any]:
    """What was compared, as plain values that JSON can hold."""
    trajectory = evolution.trajectory
    return {
        "game": trajectory.game,
        "run": str(run.folder),
        "ignored": run.ignored,
        "on_policy": evolution.on_policy,
        "played_by": None if evolution.on_policy else trajectory.agent_steps,
        "decisions": len(evolution),
        "seed": trajectory.seed,
        "rules": evolution.composite,
        "target": evolution.target,
        "scale": evolution.limit,
        "quantile": evolution.quantile,
        "balance": evolution.balance,
    }


def _film(
    evolution: Evolution, films: list[Path], part: range, slow: float, scale: int | None, palette: Palette, bars: Bars
) -> dict[str, Any]:
    """Write the film, and report it."""
    from rl.evolution import render_evolution

    film: EvolutionFilm = render_evolution(
        evolution, films, fps=DECISIONS_PER_SECOND / slow, scale=scale, decisions=part, palette=palette,
        progress=bars("render", len(part)),
    )  # fmt: skip
    return {
        "films": [str(path) for path in film.paths],
        "bytes": [path.stat().st_size for path in film.paths],
        "frames": film.frames,
        "width": film.width,
        "height": film.height,
        "checkpoints": film.table,
    }


def _figures(
    evolution: Evolution, figures: list[Path], part: range, columns: list[Moment] | None, palette: Palette
) -> dict[str, Any]:
    """Write the figure, and report it."""
    from rl.evolution import evolution_figure

    shown = evolution_figure(evolution, figures, columns, palette, part)
    return {"figures": list(map(str, figures)), "moments": {m.name: m.decision + 1 for m in shown if m.decision >= 0}}


def _table(evolution: Evolution, part: range) -> list[dict[str, Any]]:
    """The numbers behind the figure, from decisions spread over the game."""
    from rl.evolution import Tally
    from rl.evolution.stages import SAMPLE

    tally = Tally(evolution)
    for sight in evolution.sights(part[:: max(1, len(part) // SAMPLE)]):
        tally.add(sight)
    return tally.table()


def _describe(report: dict[str, Any]) -> str:
    """The summary in lines."""
    digits = max(0, 1 - math.floor(math.log10(report["scale"])))
    lines = {}
    if "films" in report:
        sizes = ", ".join(f"{path} {size / 1e6:.1f} MB" for path, size in zip(report["films"], report["bytes"], strict=True))
        lines["film"] = f"{sizes}, {report['frames']} decisions, {report['width']} x {report['height']}"
    if "figures" in report:
        lines["figure"] = ", ".join(report["figures"])
        lines["moments"] = "; ".join(f"{name} ({decision})" for name, decision in report["moments"].items())
    if "still" in report:
        lines["still"] = f"{report['still']}, decision {report['decision']}"
    by = "each checkpoint its own" if report["on_policy"] else f"by the agent of {report['played_by']} steps"
    lines["played"] = f"{report['game']}, {by}, seed {report['seed']}, {report['decisions']} decisions"
    lines["explained"] = f"{report['rules']}, target {report['target']}"
    lines["full colour"] = (
        f"at ±{report['scale']:.{digits}f} per observed pixel, for all: "
        f"{100 * report['quantile']:g} % of the pixels of the strongest are below"
    )
    lines["balance"] = f"sums are off by at most {report['balance']:.1e}"
    if "caption" in report:
        lines["caption"] = report["caption"]
    for name, reason in report["ignored"].items():
        lines[f"ignored {name}"] = reason
    told = "\n".join(f"{name:<12}{text}" for name, text in lines.items())
    return f"{told}\n\n{_columns(report)}\n\n{report['seconds']:.1f} s"


def _columns(report: dict[str, Any]) -> str:
    """The table of the checkpoints."""
    last = "points here" if report["on_policy"] else "acts like the last"
    head = f"{'agent steps':>12}{'mean score':>12}{'mean |Q|':>10}{'relevance':>11}{last:>20}"
    rows = [head]
    for row in report["checkpoints"]:
        score = "-" if row["score"] is None else f"{row['score']:.1f}"
        end = f"{row['points']:.0f}" if report["on_policy"] else f"{100 * row['agreement']:.0f} %"
        rows.append(
            f"{row['agent_steps']:>12}{score:>12}{row['mean_absolute_q']:>10.3f}{row['mean_relevance']:>11.3f}{end:>20}"
        )
    return "\n".join(rows)
