"""``seqxai text train``: from a file of labelled texts to a model in one file; can be stopped and continued at any time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from seqxai.cli.output import JsonFlag, QuietFlag, emit
from seqxai.errors import InputError

if TYPE_CHECKING:
    from seqxai.text.corpus import Labelled
    from seqxai.text.session import Session
    from seqxai.text.training import Epoch, State

EXAMPLE = "seqxai text train reviews.csv --text-column review --label-column stars --bidirectional --out reviews.safetensors"
VALIDATION_SHARE = 0.1


def train(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Labelled texts: .csv, .tsv, .jsonl, or trees of the SST (.txt).")],
    out: Annotated[Path, typer.Option("--out", metavar="MODEL", help="The model, a name ending in .safetensors.")],
    validation: Annotated[Path | None, typer.Option(metavar="FILE", help="Texts to choose the best epoch by.")] = None,
    validation_share: Annotated[
        float | None, typer.Option(help="Without --validation: this share of DATA, 0.1 if nothing is said.")
    ] = None,
    test: Annotated[Path | None, typer.Option(metavar="FILE", help="Texts for the final report, looked at once.")] = None,
    form: Annotated[str | None, typer.Option("--format", help="csv, tsv, jsonl or trees; else told by the file's name.")] = None,
    text_column: Annotated[str, typer.Option(help="Column or field of the text.")] = "text",
    label_column: Annotated[str, typer.Option(help="Column or field of the label.")] = "label",
    encoding: Annotated[str, typer.Option(help="Of all files, such as latin-1.")] = "utf-8",
    phrases: Annotated[bool, typer.Option("--phrases", help="Learn from every phrase of a tree, too.")] = False,
    cell: Annotated[str, typer.Option(help="lstm or gru.")] = "lstm",
    bidirectional: Annotated[bool, typer.Option("--bidirectional", help="Read the text from both ends.")] = False,
    embedding_size: Annotated[int, typer.Option(help="Numbers per word.")] = 60,
    hidden_size: Annotated[int, typer.Option(help="Units per layer and direction.")] = 60,
    layers: Annotated[int, typer.Option(help="Recurrent layers.")] = 1,
    dropout: Annotated[float, typer.Option(help="Share of embedding and hidden numbers set to 0 while learning.")] = 0.5,
    word_dropout: Annotated[float, typer.Option(help="Share of words read as unknown while learning.")] = 0.05,
    vocabulary_size: Annotated[int | None, typer.Option(min=3, help="At most so many words, the most frequent.")] = None,
    occurrences: Annotated[int, typer.Option(min=1, help="A word must occur so often to be learned.")] = 1,
    keep_case: Annotated[bool, typer.Option("--keep-case", help="Do not lower-case the words.")] = False,
    epochs: Annotated[int, typer.Option(help="At most so many passes over the texts.")] = 40,
    patience: Annotated[int, typer.Option(help="Stop after so many epochs in which validation gained nothing.")] = 8,
    batch: Annotated[int, typer.Option(help="Texts of a step.")] = 32,
    learning_rate: Annotated[float, typer.Option(help="Of AdamW.")] = 2e-3,
    weight_decay: Annotated[float, typer.Option(help="Of AdamW.")] = 0.01,
    averaging: Annotated[float, typer.Option(help="Share of the running average of the weights that a step keeps; 0: none.")] = 0.99,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Decides all chance.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Of the processor; small networks gain nothing from more.")] = 1,
    full_precision: Annotated[bool, typer.Option("--full-precision", help="Write float32, at twice the size.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted training: the same call, and this.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a finished model of that name.")] = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Train a text classifier; the model is one file with its vocabulary, labels and settings."""
    import torch

    from seqxai.text import corpus
    from seqxai.text.classifier import Settings
    from seqxai.text.reading import read
    from seqxai.text.session import Session
    from seqxai.text.training import TrainingSettings

    if validation is not None and validation_share is not None:
        raise InputError("--validation names a file and --validation-share takes a part of DATA; give one of them")
    _check_files(out, data, validation, test, replace=resume or overwrite)
    if text_column == label_column and form != "trees" and data.suffix.lower() != ".txt":
        raise InputError(f"--text-column and --label-column are both {text_column!r}; name two different columns")
    settings = Settings(cell, embedding_size, hidden_size, layers, bidirectional, not keep_case, dropout)
    training = TrainingSettings(
        epochs=epochs, patience=patience, batch=batch, learning_rate=learning_rate, weight_decay=weight_decay,
        word_dropout=word_dropout, averaging=averaging, seed=seed,
    )  # fmt: skip

    def texts(path: Path, phrases: bool = False) -> list[Labelled]:
        """All labelled texts of a file."""
        found = read(path, format=form, text=text_column, label=label_column, encoding=encoding, phrases=phrases)
        return corpus.gather(found, path.name, lowercase=not keep_case)

    learned = texts(data, phrases)
    labels = corpus.ordered_labels(learned, data.name)
    if validation is None:
        learned, validated = corpus.split(learned, VALIDATION_SHARE if validation_share is None else validation_share, seed)
    else:
        validated = texts(validation)
    tested = None if test is None else texts(test)
    for path, examples in ((validation, validated), (test, tested)):
        if path is not None and examples is not None:
            corpus.check_labels(examples, labels, path.name)
    torch.set_num_threads(threads)
    session = Session.prepare(
        out, settings, training, learned, validated, labels,
        vocabulary_size=vocabulary_size, occurrences=occurrences, half=not full_precision,
    )  # fmt: skip
    state = session.open(resume=resume)
    _learn(session, state, quiet)
    given = {"texts": data, "validation": validation, "test": test}
    files = {name: None if path is None else path.name for name, path in given.items()}
    report = _report(session, state, files, learned, {"validation": validated, "test": tested})
    session.finish(session.model(state, report))
    emit({"model": str(out), **report}, as_json=as_json, text=_described(session, report))


def _check_files(out: Path, data: Path, validation: Path | None, test: Path | None, *, replace: bool) -> None:
    """Refuse files that would be lost, or measured on what was learned.

    Raises:
        InputError: the model's name is an input's or a finished model's, or one file is to be learned from and measured on.
    """
    for option, path in (("DATA", data), ("--validation", validation), ("--test", test)):
        if path is None or not path.exists():
            continue
        if out.exists() and out.samefile(path):
            raise InputError(f"--out {str(out)!r} is the file of {option}, which would be lost; choose another name")
        if option != "DATA" and data.exists() and path.samefile(data):
            raise InputError(f"{option} {str(path)!r} is the same file as DATA; give texts that are not learned from")
    # beside an unfinished state the file is only the best epoch so far, and the session says how to go on
    if out.is_file() and not replace and not out.with_name(f"{out.stem}.unfinished{out.suffix}").exists():
        raise InputError(f"{str(out)!r} holds a finished model; choose another name, or --overwrite")


def _learn(session: Session, state: State, quiet: bool) -> None:
    """Run the epochs, with a bar; after Ctrl-C say how to go on."""
    try:
        with _display(quiet, len(session.texts), state) as display:
            for epoch in session.run(state, display.step):
                display.epoch(epoch)
    except KeyboardInterrupt:
        if not quiet and state.history:
            done = len(state.history)
            typer.echo(
                f"{session.out} holds the best of {done} complete epoch{'s' * (done > 1)}; go on with the same call and --resume", err=True
            )
        raise


class _Display(Protocol):
    """Where progress goes."""

    def step(self, texts: int, loss: float) -> None: ...
    def epoch(self, epoch: Epoch) -> None: ...


class _Silent:
    """Progress that nobody wants to see."""

    def step(self, texts: int, loss: float) -> None:
        """Nothing."""

    def epoch(self, epoch: Epoch) -> None:
        """Nothing."""


@contextmanager
def _display(quiet: bool, texts: int, state: State) -> Iterator[_Display]:
    """A bar for the running epoch and a line for each that is done, on stderr."""
    if quiet:
        yield _Silent()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True, highlight=False), transient=True) as progress:
        task = progress.add_task("epoch 1", total=texts)

        class Shown:
            """The bar, and the lines above it."""

            def step(self, done: int, loss: float) -> None:
                """Move the bar."""
                progress.update(task, completed=done, description=f"epoch {len(state.history) + 1}  loss {loss:.4f}")

            def epoch(self, epoch: Epoch) -> None:
                """A line for an epoch that is done."""
                best = "  best" if state.best_epoch is epoch else ""
                progress.console.print(
                    f"epoch {epoch.number:>3}  loss {epoch.loss:.4f}  validation loss {epoch.validation_loss:.4f}  "
                    f"accuracy {epoch.validation_accuracy:.1%}  {epoch.seconds:.0f} s{best}"
                )
                progress.reset(task)

        yield Shown()


def _report(
    session: Session, state: State, files: dict[str, str | None], learned: list[Labelled], measured: dict[str, list[Labelled] | None]
) -> dict[str, Any]:
    """Everything worth knowing of a training, as JSON can hold it; it goes into the model's file, too."""
    import torch

    from seqxai.cli import version
    from seqxai.text.report import evaluate

    best = state.best_epoch
    network = session.model(state).network
    return {
        "files": files,
        "labels": list(session.labels),
        "texts": len(learned),
        "sentences": sum(example.whole for example in learned),
        "words": len(session.vocabulary),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "settings": asdict(session.settings),
        "training": asdict(session.training),
        "versions": {"seqxai": version(), "torch": torch.__version__},
        "history": [asdict(epoch) for epoch in state.history],
        "best_epoch": best.number if best else None,
        **{
            name: None if examples is None else evaluate(network, session.vocabulary, session.labels, examples)
            for name, examples in measured.items()
        },
    }


def _described(session: Session, report: dict[str, Any]) -> str:
    """The report as text."""
    from seqxai.text.report import describe

    settings = session.settings
    kind = f"{'bidirectional ' if settings.bidirectional else ''}{settings.cell.upper()}"
    size = session.out.stat().st_size / 1e6
    whole = "" if report["sentences"] == report["texts"] else f" ({report['sentences']:,} whole)"
    parts = [
        f"model       {session.out}: {kind} of {settings.hidden_size} units on {settings.embedding_size} numbers a word, "
        f"{report['words']:,} words, {len(report['labels'])} classes; {size:.1f} MB\n"
        f"trained on  {report['texts']:,} texts{whole}, {len(report['history'])} epochs, "
        f"the best was {report['best_epoch']}"
    ]
    for name in ("validation", "test"):
        if report[name] is not None:
            parts.append(f"{name}\n" + "\n".join(f"  {line}".rstrip() for line in describe(report[name], report["labels"]).splitlines()))
    return "\n\n".join(parts)
