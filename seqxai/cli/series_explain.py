"""``seqxai series explain``: from a CSV file and one's own model to a figure, a table and a balance."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqxai.cli.output import JsonFlag, QuietFlag, emit
from seqxai.errors import InputError

if TYPE_CHECKING:
    from seqxai.series import ExplainedSeries, NumericSeries, Scale

EXAMPLE = "seqxai series explain river:Runoff river.csv --weights river.safetensors --normalise scale.csv --last 365 --out why.png"
FIGURES = (".png", ".svg", ".pdf")
STRONGEST = 5


def explain(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="package.module:factory; called without arguments it returns the nn.Module.")
    ],
    data: Annotated[list[Path], typer.Argument(metavar="CSV...", help="Tables of numbers, a row a step; several files, several series.")],
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its state: .safetensors, or a state_dict of torch.save; no code in it is run.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="The channels in the model's order; all but time and series.")
    ] = None,
    time: Annotated[str | None, typer.Option(metavar="COLUMN", help="Of times; one called date, time, datetime or timestamp.")] = None,
    series: Annotated[str | None, typer.Option(metavar="COLUMN", help="That tells to which series a row belongs.")] = None,
    only: Annotated[str | None, typer.Option(metavar="A,B", help="Only these series.")] = None,
    last: Annotated[int | None, typer.Option("--last", "--window", min=1, help="Give the model so many rows; all by default.")] = None,
    step: Annotated[
        str, typer.Option(metavar="WHEN", help="The step explained, the last row the model reads: a time, a row number, or last.")
    ] = "last",
    normalise: Annotated[
        str, typer.Option(metavar="HOW", help="none; data: by mean and deviation of all rows; or a CSV file: column,mean,std.")
    ] = "none",
    target: Annotated[
        list[str] | None, typer.Option("--target", metavar="OUTPUT", help="An output by number or name; again for more. Else the largest.")
    ] = None,
    output_names: Annotated[str | None, typer.Option(metavar="A,B", help="Names of the model's outputs.")] = None,
    method: Annotated[str, typer.Option(help="lrp, or a comparison method such as integrated-gradients.")] = "lrp",
    composite: Annotated[str, typer.Option(help="Of LRP: epsilon, lrp-0, epsilon-plus, ...")] = "epsilon",
    epsilon: Annotated[float | None, typer.Option(help="Of composites that have one; 1e-6 by default.")] = None,
    product: Annotated[
        str, typer.Option(help="What a gate receives: signal-takes-all, half, proportional, absolute.")
    ] = "signal-takes-all",
    time_major: Annotated[bool, typer.Option("--time-major", help="The model reads (steps, batch, channels).")] = False,
    decimal: Annotated[str, typer.Option(metavar="MARK", help='Of numbers in the files: "." or ",".')] = ".",
    encoding: Annotated[str, typer.Option(help="Of the files.")] = "utf-8",
    out: Annotated[Path | None, typer.Option("--out", metavar="FIGURE", help="A figure: .png, .svg or .pdf.")] = None,
    csv_out: Annotated[
        Path | None, typer.Option("--csv-out", metavar="FILE", help="All numbers: values and relevance, row by row.")
    ] = None,
    scale: Annotated[float | None, typer.Option(help="Relevance with the full colour, to compare figures.")] = None,
    palette: Annotated[str, typer.Option(help="Of the figure: red-blue or orange-purple.")] = "red-blue",
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Explain what a model of one's own makes of numeric series: relevance of every channel at every step, with its balance."""
    tables = {f"CSV file {number}": path for number, path in enumerate(data, 1)}
    _check_outputs(out, csv_out, {**tables, "--normalise": normalise, "--weights": weights})
    from seqxai.series import Reading, Request, read_series

    if decimal not in (".", ","):
        raise InputError(f'Expected "." or "," as --decimal, got {decimal!r}.')
    reading = Reading(_listed(columns), time, series, decimal, encoding)
    every = _chosen([one for path in data for one in read_series(path, reading)], _listed(only))
    scaling = _scaling(normalise, every)
    windows = [one.window(step, last) for one in every]
    _check_figure(out, windows, target or (), scale, palette)
    network = _network(model, weights)
    request = Request(tuple(target or ()), _listed(output_names), method, composite, epsilon, product, time_major)
    found = list(_explained(network, windows, scaling, request, quiet))
    if out is not None:
        _draw(found, out, scale, palette)
    if csv_out is not None:
        _write(found, csv_out)
    files = [str(path) for path in (out, csv_out) if path is not None]
    emit(_result(found, model, scaling, files), as_json=as_json, text=_text(found, model, weights, scaling, files))


# ---- what comes in -----------------------------------------------------------------------------------------------------------


def _check_outputs(out: Path | None, csv_out: Path | None, read: Mapping[str, str | Path | None]) -> None:
    """Refuse outputs that cannot be written, or that would destroy what is read."""
    from seqxai.files import check_apart, check_writable

    check_apart({"--out": out, "--csv-out": csv_out}, read)
    if out is not None:
        check_writable(out, FIGURES)
    if csv_out is not None:
        check_writable(csv_out, (".csv",))


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else ()


def _chosen(every: Sequence[NumericSeries], only: Sequence[str]) -> list[NumericSeries]:
    names = [one.name for one in every]
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise InputError(f"Two series are called {double[0]!r}; give the files different names.")
    missing = [name for name in only if name not in names]
    if missing:
        raise InputError(f"There is no series {missing[0]!r}; the files have {', '.join(names[:12])}{' ...' if len(names) > 12 else ''}.")
    columns = {one.columns for one in every}
    if len(columns) > 1:
        first, second, *_ = sorted(columns)
        both = f"{', '.join(first)} and {', '.join(second)}"
        raise InputError(f"The files have different columns, {both}; name those to read with --columns.")
    return [one for one in every if not only or one.name in only]


def _scaling(how: str, every: Sequence[NumericSeries]) -> Scale:
    from seqxai.series import Scale

    columns = every[0].columns
    if how == "none":
        return Scale.none(len(columns))
    if how == "data":
        return Scale.of_data(every)
    path = Path(how)
    if not path.suffix and not path.exists():
        raise InputError(f"Expected none, data or a CSV file of means and deviations as --normalise, got {how!r}.")
    return Scale.of_file(path, columns)


def _check_figure(
    out: Path | None, windows: Sequence[NumericSeries], targets: Sequence[str], scale: float | None, palette: str
) -> None:
    """Refuse a figure that cannot be drawn before anything is explained."""
    from seqxai.visualisation import colour_table
    from seqxai.visualisation.colour import check_scale
    from seqxai.visualisation.series import CHANNELS, SERIES, TARGETS

    if out is None:
        return
    colour_table(palette)
    if scale is not None:
        check_scale(scale)
    for what, count, most, remedy in (
        ("series", len(windows), SERIES, "choose some with --only"),
        ("targets", len(targets), TARGETS, "ask for fewer at a time"),
        ("channels", len(windows[0].columns), CHANNELS, "write all numbers with --csv-out"),
    ):
        if count > most:
            raise InputError(f"A figure has room for {most} {what}, got {count}; {remedy}, or leave out --out.")


def _network(reference: str, weights: Path | None) -> Any:
    from torch import nn

    from seqxai.text.own import load_reference, load_weights

    if ":" not in reference:
        remedy = "a file of weights does not say how the model computes: name the function that builds it, and the file with --weights"
        raise InputError(f"Expected MODEL as package.module:factory, got {reference!r}; {remedy}.")
    found = load_reference(reference, "MODEL")
    if not isinstance(found, nn.Module):
        if not callable(found):
            kind = type(found).__name__
            raise InputError(f"MODEL {reference} names something of type {kind}; expected a function that returns the nn.Module.")
        try:
            found = found()
        except Exception as error:  # somebody's code
            raise InputError(f"MODEL {reference}: calling it without arguments failed ({type(error).__name__}: {error}).") from error
    if not isinstance(found, nn.Module):
        kind = type(found).__name__
        raise InputError(f"MODEL {reference} returned something of type {kind}; expected an nn.Module that reads (1, steps, channels).")
    if weights is not None:
        load_weights(found, weights)
    return found.requires_grad_(False).eval()


# ---- the work ----------------------------------------------------------------------------------------------------------------


def _explained(network: Any, windows: Sequence[NumericSeries], scale: Scale, request: Any, quiet: bool) -> Iterator[ExplainedSeries]:
    from seqxai.series import explain_series

    with _progress(len(windows), sum(map(len, windows)), quiet) as advance:
        for one in windows:
            advance(one.name)
            yield explain_series(network, one, scale, request)


@contextmanager
def _progress(count: int, rows: int, quiet: bool) -> Iterator[Any]:
    """A bar on stderr, where there is something to wait for."""
    if quiet or (count < 4 and rows < 20_000):
        yield lambda name: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=count)
        done = -1

        def advance(name: str) -> None:
            """The next series begins."""
            nonlocal done
            done += 1
            progress.update(task, completed=done, description=name)

        yield advance
        progress.update(task, completed=count)


def _draw(found: Sequence[ExplainedSeries], out: Path, scale: float | None, palette: str) -> None:
    from seqxai.visualisation import Series, draw_series, save_figure

    drawn = [Series(one.relevance, one.series.values, one.series.times, one.series.name, one.explained) for one in found]
    targets = found[0].targets
    if any(one.targets != targets for one in found):
        targets = tuple("largest output" for _ in targets)
    options: dict[str, Any] = {"method": found[0].method, "channels": found[0].series.columns, "scale": scale, "palette": palette}
    save_figure(draw_series(drawn, targets=targets, **options), out)


def _write(found: Sequence[ExplainedSeries], path: Path) -> None:
    """One row for each series, target and step: the values, the relevance of each channel, and its sum."""
    from seqxai.files import written_whole

    columns = found[0].series.columns
    with written_whole(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["series", "target", "row", "time", *columns, *(f"R {name}" for name in columns), "R"])
        for one in found:
            for target, relevance in zip(one.targets, one.relevance, strict=True):
                rows = zip(one.series.values.tolist(), relevance.tolist(), relevance.sum(1).tolist(), strict=True)
                for row, (values, parts, total) in enumerate(rows):
                    time = "" if one.series.times is None else one.series.when(row)
                    writer.writerow([one.series.name, target, row, time, *values, *(f"{part:.9g}" for part in parts), f"{total:.9g}"])


# ---- what goes out -----------------------------------------------------------------------------------------------------------


def _result(found: Sequence[ExplainedSeries], model: str, scale: Scale, files: list[str]) -> dict[str, Any]:
    return {
        "model": model,
        "method": found[0].method,
        "columns": list(found[0].series.columns),
        "normalisation": scale.source,
        "series": [_of_series(one) for one in found],
        "files": files,
    }


def _of_series(one: ExplainedSeries) -> dict[str, Any]:
    targets = []
    for index, name in enumerate(one.targets):
        relevance = one.relevance[index]
        by_step = relevance.sum(1)
        strongest = sorted(range(len(by_step)), key=lambda row: -abs(by_step[row]))[:STRONGEST]
        targets.append({
            "target": name,
            "explained": float(one.explained[index]),
            "relevance": float(relevance.sum()),
            "balance": {entry: float(values[index]) for entry, values in one.balance.items()} or None,
            "closed": one.closed if one.balance else None,
            "by_channel": dict(zip(one.series.columns, relevance.sum(0).tolist(), strict=True)),
            "strongest_steps": [{"step": one.series.when(row), "relevance": float(by_step[row])} for row in strongest],
        })  # fmt: skip
    return {
        "name": one.series.name, "rows": len(one.series), "first": one.series.when(0), "last": one.series.when(len(one.series) - 1),
        "targets": targets,
    }  # fmt: skip


def _text(found: Sequence[ExplainedSeries], model: str, weights: Path | None, scale: Scale, files: list[str]) -> str:
    lines = [
        f"model      {model}{', as it is built: no --weights' if weights is None else f', weights {weights.name}'}",
        f"method     {found[0].method}",
        f"numbers    {scale.source}",
    ]
    for one in map(_of_series, found):
        lines += ["", f"{one['name']}: {_rows(one['rows'])}, {one['first']} to {one['last']}"]
        for target in one["targets"]:
            lines += _target_lines(target)
    return "\n".join(lines + [""] * bool(files) + [f"written    {name}" for name in files])


def _rows(count: int) -> str:
    return f"{count:,} row{'s' * (count != 1)}"


def _target_lines(target: dict[str, Any]) -> list[str]:
    def listed(pairs: Any) -> str:
        return "   ".join(f"{name} {value:+.3g}" for name, value in pairs)

    lines = [f"  {target['target']} = {target['explained']:.5g}"]
    if target["balance"] is None:
        lines.append(f"    balance    none: this method has no ledger; the relevance sums to {target['relevance']:.5g}")
    else:
        shown = [(name, value) for name, value in target["balance"].items() if value or name == "input"]
        lines.append(f"    balance    {listed(shown)}   {'closed' if target['closed'] else 'NOT CLOSED'}")
    channels = sorted(target["by_channel"].items(), key=lambda pair: -abs(pair[1]))
    lines.append(f"    channels   {listed(channels[:8])}")
    lines.append(f"    steps      {listed((one['step'], one['relevance']) for one in target['strongest_steps'])}")
    return lines
