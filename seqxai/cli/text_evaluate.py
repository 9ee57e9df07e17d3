"""``seqxai text evaluate``: which method's words are those the classifier decides by?"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqxai.cli.output import JsonFlag, QuietFlag, emit
from seqxai.errors import InputError

if TYPE_CHECKING:
    from seqxai.attribution import Attributor
    from seqxai.evaluation import Selectivity, Sentences
    from seqxai.text import TextModel

EXAMPLE = "seqxai text evaluate test.csv --methods lrp,occlusion,random --out deletion.png"

RANDOM, LRP = "random", "lrp"
TEN = (
    "lrp-all", "lrp-prop", "lrp-abs", "lrp-half", "gradient", "gradient-times-input", "occlusion", "occlusion-probability",
    "contextual-decomposition", RANDOM,
)  # fmt: skip
"""The methods of Fig 11.5."""
FIGURES = (".png", ".svg", ".pdf")
ORDERS = {"decreasing": "classified correctly, most relevant words deleted first", "increasing": "classified wrongly, least relevant first"}


def evaluate(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Labelled texts: CSV, TSV, JSON lines or trees.")],
    model: Annotated[Path | None, typer.Option(metavar="FILE", help="A model of `text train`; the shipped one by default.")] = None,
    methods: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help=f"With commas between: {', '.join(TEN)} (these by default), or {LRP} with --product."),
    ] = None,
    product: Annotated[
        str | None, typer.Option(help=f"The gate rule of {LRP}: signal-takes-all, half, proportional or absolute.")
    ] = None,
    epsilon: Annotated[float, typer.Option(help="The stabilizer of LRP; lrp-prop has 0.2.")] = 1e-3,
    max_words: Annotated[int, typer.Option(min=1, help="Delete up to so many words.")] = 5,
    min_length: Annotated[int, typer.Option(min=2, help="Leave out sentences of fewer words.")] = 10,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many sentences that are long enough.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="Random orders that are averaged.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Decides the random orders and the intervals.")] = 0,
    out: Annotated[Path | None, typer.Option(metavar="FIGURE", help="Draw the curves: .png, .svg or .pdf.")] = None,
    table: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write the curves as a table.")] = None,
    text_column: Annotated[str, typer.Option(help="The column, or field, of the texts.")] = "text",
    label_column: Annotated[str, typer.Option(help="The column, or field, of the true classes.")] = "label",
    form: Annotated[str | None, typer.Option("--format", help="csv, tsv, jsonl or trees; else told by the file's name.")] = None,
    encoding: Annotated[str, typer.Option(help="Of the file, such as latin-1.")] = "utf-8",
    batch: Annotated[int, typer.Option(min=1, help="Sentences at a time.")] = 256,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Delete words in the order of their relevance and watch the accuracy (Arras et al. 2019, Fig 11.5).

    Every method explains the TRUE class of each sentence. From sentences that are classified correctly the most relevant words are deleted
    first: the sooner the accuracy falls, the better the method. From the others the least relevant go first: the accuracy should rise.
    Words are taken out of the sentence, not masked.
    """
    names = _names(methods, product)
    if min_length <= max_words:
        raise InputError(f"--min-length must be above --max-words, got {min_length} and {max_words}; something must be left of a sentence")
    _check_places(out, table, {"DATA": data, "--model": model})

    import seqxai.text
    from seqxai.evaluation import selectivity

    classifier = seqxai.text.load(model)
    names = _possible(names, classifier, asked=methods is not None, quiet=quiet)
    inputs, left_out = _sentences(data, classifier, min_length, limit, text_column, label_column, form, encoding)
    explainers = {name: _explainer(name, classifier, product, epsilon) for name in names}
    with _bars(quiet, len(inputs)) as tell:
        found = selectivity(
            classifier.network, inputs, explainers, words=max_words, runs=runs, seed=seed, batch=batch, tell=tell
        )  # fmt: skip
    if table is not None:
        _write_table(table, found)
    if out is not None:
        from seqxai.visualisation.deletion import plot_deletion
        from seqxai.visualisation.figure import save_figure

        save_figure(plot_deletion(found), out)
    counts = {"sentences": len(inputs), "left_out": left_out}
    result = {
        "model": "shipped" if model is None else str(model), "data": str(data), **counts, "accuracy": _accuracy(found, len(inputs)),
        "max_words": max_words, "min_length": min_length, "results": list(_results(found, seed)),
    }  # fmt: skip
    emit(result, as_json=as_json, text=_described(result))


def _names(methods: str | None, product: str | None) -> list[str]:
    """The methods asked for, each once."""
    if methods is None:
        return list(TEN) if product is None else [LRP, *(name for name in TEN if not name.startswith("lrp"))]
    names = [name.strip() for name in methods.split(",") if name.strip()]
    for name in names:
        if name not in (LRP, *TEN):
            raise InputError(f"--methods must be among {', '.join((LRP, *TEN))}, got {name!r}")
        if names.count(name) > 1:
            raise InputError(f"--methods names {name!r} twice; name it once")
    if not names:
        raise InputError("--methods is empty; name at least one method, or leave it out for all")
    if product is not None and LRP not in names:
        raise InputError(f"--product is the gate rule of the method {LRP}, which --methods does not name; add {LRP} to it")
    return names


def _possible(names: list[str], classifier: TextModel, *, asked: bool, quiet: bool) -> list[str]:
    """Without contextual decomposition where the model is no LSTM, unless it was asked for by name."""
    if asked or classifier.settings.cell == "lstm":
        return names
    if not quiet:
        typer.echo("contextual-decomposition is left out: it is made for LSTMs, and this model is of another kind", err=True)
    return [name for name in names if name != "contextual-decomposition"]


def _check_places(out: Path | None, table: Path | None, read: Mapping[str, str | Path | None]) -> None:
    from seqxai.files import check_apart, check_writable

    check_apart({"--out": out, "--csv": table}, read)
    for path, suffixes in ((out, FIGURES), (table, ())):
        if path is not None:
            check_writable(path, suffixes)


def _explainer(name: str, classifier: TextModel, product: str | None, epsilon: float) -> Attributor | None:
    from seqxai.comparison import by_name
    from seqxai.composites import Epsilon
    from seqxai.lrp import LRP as Propagation

    if name == RANDOM:
        return None
    if name == LRP:
        return Propagation(classifier.network, Epsilon(epsilon), product=product or "signal-takes-all")
    return by_name(name, classifier.network, epsilon=epsilon, reference=classifier.vocabulary.padding)


def _sentences(
    data: Path, classifier: TextModel, min_length: int, limit: int | None, text: str, label: str, kind: str | None, encoding: str
) -> tuple[Sentences, int]:
    """The sentences that are long enough, and how many are not."""
    import torch

    from seqxai.evaluation import Sentences
    from seqxai.text import read

    texts: list[Sequence[str]] = []
    labels: list[int] = []
    left_out = 0
    for example in read(data, format=kind, text=text, label=label, encoding=encoding):
        if example.label not in classifier.positions:
            known = ", ".join(map(repr, classifier.labels))
            raise InputError(f"{data.name}, line {example.line}: the label {example.label!r} is none of the model's, {known}")
        words = classifier.tokenise(example.text) if isinstance(example.text, str) else example.text
        if len(words) < min_length:
            left_out += 1
            continue
        texts.append(words)
        labels.append(classifier.positions[example.label])
        if limit is not None and len(texts) == limit:
            break
    if not texts:
        raise InputError(f"no sentence of {data.name} has {min_length} words or more; lower --min-length (and --max-words)")
    encoded = classifier.encode(texts)
    return Sentences(encoded.tokens, encoded.lengths, torch.tensor(labels)), left_out


@contextmanager
def _bars(quiet: bool, total: int) -> Iterator[Callable[[str, int], None]]:
    """A bar on stderr for each method, as it begins."""
    if quiet:
        yield lambda method, done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    tasks: dict[str, TaskID] = {}
    with Progress(
        TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=Console(stderr=True)
    ) as progress:

        def tell(method: str, done: int) -> None:
            """The newest count."""
            if method not in tasks:
                tasks[method] = progress.add_task(method, total=total)
            progress.update(tasks[method], completed=done)

        yield tell


def _accuracy(found: dict[str, Selectivity], sentences: int) -> float:
    """The share of sentences that are classified correctly as they are."""
    first = next(iter(found.values())).decreasing
    return 0.0 if first is None else len(first.sentences) / sentences


def _results(found: dict[str, Selectivity], seed: int) -> Iterator[dict[str, Any]]:
    """One dictionary for each method and order: the curve, its mean over the deletions with the 95 % interval, the time."""
    for order in ORDERS:
        for name, each in found.items():
            curve = each.curve(order)
            if curve is not None:
                low, high = curve.interval(seed=seed)
                yield {
                    "method": name, "order": order, "sentences": len(curve.sentences), "accuracy": curve.accuracy.tolist(),
                    "spread": curve.spread.tolist(), "mean": curve.area, "low": low, "high": high,
                    "better": "higher" if order == "increasing" else "lower", "seconds": each.seconds,
                }  # fmt: skip


def _write_table(path: Path, found: dict[str, Selectivity]) -> None:
    """One line for each method, order and number of deleted words."""
    from seqxai.files import written_whole

    with written_whole(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["method", "order", "sentences", "deleted", "accuracy", "spread"])
        for order in ORDERS:
            for name, each in found.items():
                if (curve := each.curve(order)) is not None:
                    for deleted, (accuracy, spread) in enumerate(zip(curve.accuracy.tolist(), curve.spread.tolist(), strict=True)):
                        writer.writerow([name, order, len(curve.sentences), deleted, f"{accuracy:.6f}", f"{spread:.6f}"])


def _described(result: dict[str, Any]) -> str:
    """The report as lines of text: a table for each order, the best method first."""
    kind = "sentence" if result["sentences"] == 1 else "sentences"
    lines = [
        f"{result['sentences']} {kind} of at least {result['min_length']} words ({result['left_out']} shorter ones left out); "
        f"accuracy {100 * result['accuracy']:.1f} %"
    ]
    for order, title in ORDERS.items():
        rows = [one for one in result["results"] if one["order"] == order]
        if not rows:
            continue
        rows.sort(key=lambda one: one["mean"], reverse=order == "increasing")
        better = rows[0]["better"]
        lines += ["", f"{rows[0]['sentences']} sentences {title}; accuracy in %, {better} is better"]
        deleted = "".join(f"{count:7d}" for count in range(len(rows[0]["accuracy"])))
        lines.append(f"{'words deleted':<26}{deleted}   mean (95 % interval)   seconds")
        for one in rows:
            curve = "".join(f"{100 * value:7.1f}" for value in one["accuracy"])
            mean = f"{100 * one['mean']:5.1f} ({100 * one['low']:.1f} to {100 * one['high']:.1f})"
            lines.append(f"{one['method']:<26}{curve}  {mean:<21}{one['seconds']:10.1f}")
    return "\n".join(lines)
