"""``seqxai text explain``: which words speak for a class, and which against it: in the terminal, as JSON, a page, a figure."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqxai.cli.output import JsonFlag, QuietFlag, unprintable
from seqxai.errors import InputError, SeqxaiError

if TYPE_CHECKING:
    from seqxai.text.explaining import ExplainableText, TextExplainer
    from seqxai.visualisation import ExplainedText

EXAMPLE = 'seqxai text explain "it \'s a good film -- not a classic , but odd , entertaining and authentic ." --html why.html'
PAGE = (".html", ".htm")
FIGURE = (".png", ".svg", ".pdf")
SHOWN_TOGETHER = 50  # so many texts, from the command line, share a scale in the terminal that is known before the first is shown
SKIPPED_LISTED = 20
AS_BUILT = "as it is built: no --weights"


def explain(
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT...", help="One or several texts, each in quotes.")] = None,
    file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="A file of texts instead: .txt (one a line), .csv, .tsv, .jsonl, trees; - for standard input."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="A .safetensors file of `text train`, or package.module:factory; else the shipped one."
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="State of the factory's network: .safetensors or .pt.")
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Of the factory's network: package.module:function, or a file with one word a line.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Of the factory's network: names of its scores, separated by commas.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="LABEL", help="The class to explain; each text's likeliest if not given.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="LABEL", help="Why not this one: explain the difference of the scores.")
    ] = None,
    method: Annotated[
        str, typer.Option(help="lrp, gradient, gradient-times-input, occlusion, contextual-decomposition, ...")
    ] = "lrp",
    composite: Annotated[str, typer.Option(help="The rules of relevance propagation, by name.")] = "epsilon",
    epsilon: Annotated[float | None, typer.Option(help="Their stabilizer; 0.001 if not given.")] = None,
    product: Annotated[
        str, typer.Option(help="What a gate receives: signal-takes-all (nothing), half, proportional or absolute.")
    ] = "signal-takes-all",
    html: Annotated[Path | None, typer.Option(metavar="PAGE", help="Also a standalone page, ending in .html.")] = None,
    png: Annotated[Path | None, typer.Option("--png", metavar="FIGURE", help="Also a figure: .png, .svg or .pdf.")] = None,
    scale: Annotated[
        float | None, typer.Option(help="Relevance with the full colour; one for all texts is found if not given.")
    ] = None,
    form: Annotated[
        str | None, typer.Option("--format", help="Of --file: lines, csv, tsv, jsonl or trees; else told by its name.")
    ] = None,
    text_column: Annotated[str, typer.Option(help="Column or field of the text.")] = "text",
    encoding: Annotated[str, typer.Option(help="Of --file, such as latin-1.")] = "utf-8",
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Explain what a text classifier decided, word by word."""
    if bool(texts) == (file is not None):
        raise InputError(
            "Give texts, each in quotes, or a --file of them" + (", not both." if texts else "; - is standard input.")
        )
    _check_files(html, png, scale)
    from seqxai.files import check_apart

    read = {"--file": file, "--model": model, "--weights": weights, "--tokenizer": tokenizer}
    check_apart({"--html": html, "--png": png}, read)
    import torch

    from seqxai.text.explaining import TextExplainer
    from seqxai.text.own import OwnModel, rows_unused

    torch.set_num_threads(1)  # steps of a sentence are too small to share: two threads take longer, much longer on a busy machine
    reader = load_model(model, weights, tokenizer, labels)
    drawn = not as_json or html is not None or png is not None
    explainer = TextExplainer(reader, method, target, against, composite, epsilon, product, written=drawn)
    source = _Arguments(texts or []) if file is None else _File(file, form, text_column, encoding)
    own = isinstance(reader, OwnModel)
    state = {"weights": AS_BUILT if weights is None else f"weights {weights.name}"} if own else {}
    heading: dict[str, Any] = {"model": model or "sentiment", **state, "method": explainer.described, "scale": scale}
    named = ", ".join([heading["model"], *state.values()])
    if isinstance(reader, OwnModel) and not quiet:
        for note in ([f"model {named}"] if weights is None else []) + rows_unused(reader):
            typer.echo(note, err=True)
    with ExitStack() as stack:
        outputs: list[_Output] = []
        if html is not None:
            outputs.append(stack.enter_context(_page(html, named, scale)))
        if png is not None:
            outputs.append(_Figure(png, scale))
        hidden = file is not None and bool(outputs)
        shown = _Json(heading, treebank=not own) if as_json else _Terminal(scale, compact=file is not None, hidden=hidden)
        stack.enter_context(_noted(source, quiet))
        bar = stack.enter_context(_progress(quiet or (isinstance(shown, _Terminal) and shown.talks)))
        _pass_on(_stream(explainer, source), outputs, shown, source, bar)
        for output in outputs:
            output.end()
        shown.finish(source, [path for path in (html, png) if path is not None], file is not None)


def _pass_on(
    texts: Iterator[ExplainedText],
    outputs: list[_Output],
    shown: _Json | _Terminal,
    source: _Arguments | _File,
    bar: Callable[[int], None],
) -> None:
    """Every text to every output; of an error, what was shown before it stays whole."""
    number = 0
    try:
        for number, text in enumerate(texts, 1):
            for output in (*outputs, shown):
                output.add(text)
            bar(number)
    except SeqxaiError as error:
        shown.cut(source, str(error))
        raise
    if not number and isinstance(source, _File):
        name = "standard input" if source.path == "-" else source.path
        raise InputError(f"{name} has no text with words, so there is nothing to explain; give at least one.")


def _check_files(html: Path | None, png: Path | None, scale: float | None) -> None:
    """Refuse every place and number that cannot be used, before anything is computed."""
    from seqxai.files import check_writable

    for path, suffixes in ((html, PAGE), (png, FIGURE)):
        if path is not None:
            check_writable(path, suffixes)
    if scale is not None and not 0 < scale < float("inf"):
        raise InputError(f"--scale should be a positive number, the relevance with the full colour, got {scale:g}.")


def load_model(model: str | None, weights: Path | None, tokenizer: str | None, labels: str | None) -> ExplainableText:
    """The model that the options name.

    Raises:
        InputError: for options that do not belong together, and whatever cannot be loaded.
    """
    from seqxai.text import load
    from seqxai.text.own import is_reference, load_own, weights_alone

    if model is not None and is_reference(model):
        if tokenizer is None:
            raise InputError(
                "--model package.module:factory needs its --tokenizer: package.module:function, or a file with one word a line."
            )
        return load_own(model, weights, tokenizer, [label.strip() for label in labels.split(",")] if labels else [])
    for name, given in (("--weights", weights), ("--tokenizer", tokenizer), ("--labels", labels)):
        if given is not None:
            raise InputError(f"{name} belongs to a network of your own; name it with --model package.module:factory.")
    if model is not None and Path(model).is_file() and weights_alone(Path(model)):
        raise InputError(
            f"--model {model} holds weights, not the network they belong to; give "
            f"--model package.module:factory --weights {model} --tokenizer package.module:function."
        )
    return load(model)


# ---- where texts come from -----------------------------------------------------------------------------------------------------


class _Arguments:
    """Texts of the command line."""

    skipped = 0
    empty: tuple[int, ...] = ()

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts

    def __iter__(self) -> Iterator[tuple[str | tuple[str, ...], str]]:
        for number, text in enumerate(self.texts, 1):
            # What is no valid text in the terminal's encoding arrives as surrogates.
            whole = text.encode("utf-8", "replace").decode("utf-8")
            yield whole, f"text {number}" if len(self.texts) > 1 else ""

    def without_words(self, title: str) -> None:
        """Refuse a text without words: it was given on purpose."""
        raise InputError(f"{(title or 'the text').capitalize()} has no words, so there is nothing to explain; give at least one.")


class _File:
    """Texts of a file or of standard input, as a stream.

    Attributes:
        skipped: how many were passed over, for want of words.
        empty: the lines of the first of them.
    """

    def __init__(self, path: str, form: str | None, column: str, encoding: str) -> None:
        self.path, self.form, self.column, self.encoding = path, form, column, encoding
        self.skipped = 0
        self.empty: list[int] = []
        self.lines: list[int] = []

    def __iter__(self) -> Iterator[tuple[str | tuple[str, ...], str]]:
        from seqxai.text.reading import read

        with ExitStack() as stack:
            if self.path == "-" and self.form in (None, "lines"):
                yield from _lines_of_standard_input(self.encoding)
                return
            path = self.path if self.path != "-" else stack.enter_context(_spooled())
            for example in read(path, format=self.form, text=self.column, label=None, encoding=self.encoding):
                yield example.text, f"line {example.line}"

    def without_words(self, title: str) -> None:
        """Count it; the lines are named at the end."""
        self.skipped += 1
        if len(self.empty) < SKIPPED_LISTED:
            self.empty.append(int(title.removeprefix("line ")))


def _lines_of_standard_input(encoding: str) -> Iterator[tuple[str, str]]:
    """One text a line, each as soon as it is there."""
    try:
        encoding = codecs.lookup(encoding).name
    except LookupError as error:
        raise InputError(f"unknown encoding {encoding!r}; expected a name such as utf-8, latin-1 or utf-16") from error
    for number, raw in enumerate(sys.stdin.buffer, 1):
        try:
            yield raw.decode(encoding).rstrip("\r\n").removeprefix("\ufeff"), f"line {number}"
        except UnicodeDecodeError as error:
            raise InputError(
                f"standard input, line {number}: the byte 0x{raw[error.start]:02x} is not {encoding.upper()}; say how it is written, for "
                "example --encoding latin-1"
            ) from error


@contextmanager
def _spooled() -> Iterator[Path]:
    """Standard input as a file: what is not one text a line is read by name."""
    import shutil
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "standard input"
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield path


def _stream(explainer: TextExplainer, source: _Arguments | _File) -> Iterator[ExplainedText]:
    """Explained texts in their order, those without words left out and told to the source.

    Where the source cannot be read on, what was read before comes first, then the error.
    """
    failed: list[SeqxaiError] = []

    def readable() -> Iterator[tuple[str | tuple[str, ...], str]]:
        try:
            yield from source
        except SeqxaiError as error:
            failed.append(error)

    for text in explainer.explain_pairs(readable()):
        if text.words:
            yield text
        else:
            source.without_words(text.title)
    if failed:
        raise failed[0]


@contextmanager
def _noted(source: _Arguments | _File, quiet: bool) -> Iterator[None]:
    """Says on stderr at the end which lines were passed over."""
    yield
    if source.skipped and not quiet:
        more = f" and {source.skipped - len(source.empty)} more" if source.skipped > len(source.empty) else ""
        lines = ", ".join(map(str, source.empty))
        typer.echo(f"passed over, for want of words: line{'s' * (source.skipped > 1)} {lines}{more}", err=True)


# ---- where they go -----------------------------------------------------------------------------------------------------------------


class _Output:
    """Something explained texts go to."""

    def add(self, text: ExplainedText) -> None:
        """One more."""

    def end(self) -> None:
        """No more."""


@contextmanager
def _page(path: Path, model: str, scale: float | None) -> Iterator[_Output]:
    from seqxai.visualisation import open_text_page

    with open_text_page(path, note=f"model: {model}", scale=scale) as page:
        yield _Adapter(page.add)


@dataclass
class _Adapter(_Output):
    """A function as an output."""

    take: Callable[[ExplainedText], None]

    def add(self, text: ExplainedText) -> None:
        """See :class:`_Output`."""
        self.take(text)


@dataclass
class _Figure(_Output):
    """A figure of all texts, which therefore are kept; it refuses more than it can hold."""

    path: Path
    scale: float | None
    texts: list[ExplainedText] = field(default_factory=list)
    words: int = 0

    def add(self, text: ExplainedText) -> None:
        """See :class:`_Output`."""
        from seqxai.visualisation.text_figure import WORDS

        self.texts.append(text)
        self.words += len(text.words)
        if self.words > WORDS:
            raise InputError(f"--png holds at most {WORDS} words, and the texts have more; give --html, which takes any number.")

    def end(self) -> None:
        """Draw it."""
        from seqxai.visualisation import save_figure, text_figure

        if self.texts:
            save_figure(text_figure(self.texts, scale=self.scale), self.path)


class _Terminal(_Output):
    """Coloured words, one scale for all of them.

    A few texts are shown together, so that the scale is that of all; of a stream it is that of the first ones, and of the largest word so
    far, which is said.
    """

    def __init__(self, scale: float | None, *, compact: bool, hidden: bool) -> None:
        from rich.console import Console

        self.console = Console()
        self.colours = None if self.console.no_color or not self.console.is_terminal else self.console._color_system
        self.scale, self.compact, self.hidden = scale, compact, hidden
        self.waiting: list[ExplainedText] = []
        self.full = scale
        self.count = 0

    @property
    def talks(self) -> bool:
        """Whether what is printed shows how far it is."""
        return self.console.is_terminal and not self.hidden

    def add(self, text: ExplainedText) -> None:
        """See :class:`_Output`."""
        self.count += 1
        if self.hidden:
            return
        if self.full is None:
            self.waiting.append(text)
            if len(self.waiting) == SHOWN_TOGETHER:
                self._show_waiting()
        else:
            self._show(text)

    def _show_waiting(self) -> None:
        from seqxai.visualisation.explained import scale_of

        if self.full is None:
            self.full = scale_of(self.waiting)
        for text in self.waiting:
            self._show(text)
        self.waiting = []

    def _show(self, text: ExplainedText) -> None:
        from seqxai.visualisation import text_lines

        lines = text_lines(text, self.full or 1.0, width=self.console.width, colours=self.colours, compact=self.compact)
        _print("\n".join([*lines, ""] if not self.compact else lines))

    def cut(self, source: Any, reason: str) -> None:
        """Show what was explained before an error, which stderr tells."""
        self._show_waiting()

    def finish(self, source: Any, files: list[Path], streamed: bool) -> None:
        """What the colours mean, and which files there are."""
        from seqxai.visualisation.terminal import scale_line

        self._show_waiting()
        if line := scale_line(self.full or 1.0, self.count, self.colours) if not self.hidden and self.count else "":
            _print(line)
        if files:
            _print(f"{self.count:,} text{'s' * (self.count > 1)}: {', '.join(map(str, files))}")


class _Json(_Output):
    """One JSON object, written as it comes: memory does not grow with the texts."""

    def __init__(self, heading: dict[str, Any], *, treebank: bool) -> None:
        self.heading, self.treebank = heading, treebank
        self.count = 0

    def add(self, text: ExplainedText) -> None:
        """See :class:`_Output`."""
        self._begin()
        _print(("," if self.count else "") + json.dumps(as_plain(text, self.treebank), ensure_ascii=False, allow_nan=False))
        self.count += 1

    def _begin(self) -> None:
        if not self.count:
            _print(json.dumps(self.heading, ensure_ascii=False)[:-1] + ', "texts": [')

    def cut(self, source: Any, reason: str) -> None:
        """The end of an object that was begun, with the error; nothing if there was none."""
        if self.count:
            self._end(source, [], {"error": reason})

    def finish(self, source: Any, files: list[Path], streamed: bool) -> None:
        """The end of the object."""
        self._end(source, files, {})

    def _end(self, source: Any, files: list[Path], more: dict[str, str]) -> None:
        rest = {"skipped": source.skipped, "skipped_lines": list(source.empty), "files": list(map(str, files)), **more}
        _print("], " + json.dumps(rest)[1:])


def as_plain(text: ExplainedText, treebank: bool) -> dict[str, Any]:
    """An explained text as JSON can hold it; of a line of a file its number; the Treebank's words as people write them."""
    from seqxai.text.tokens import as_written

    plain: dict[str, Any] = {"line": int(text.title[5:])} if text.title.startswith("line ") else {}
    return plain | {
        "words": list(map(as_written, text.words) if treebank else text.words),
        "relevance": list(text.relevance),
        "unknown": sorted(text.unknown),
        "target": text.target,
        "explained": text.explained,
        "predicted": text.predicted,
        "scores": dict(text.scores),
        "probabilities": dict(text.probabilities),
        "ledger": dict(text.ledger) or None,
    }


def _print(text: str) -> None:
    """A line on stdout; what its encoding lacks is written with backslashes."""
    try:
        typer.echo(text)
    except UnicodeEncodeError:
        encoding = sys.stdout.encoding or "ascii"
        typer.echo(text.encode(encoding, "backslashreplace").decode(encoding))
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # the reader has seen enough, as in `| head`
            raise
        raise unprintable(error) from error


@contextmanager
def _progress(hidden: bool) -> Iterator[Callable[[int], None]]:
    """A counter on stderr: how many texts a file has is not known before its end."""
    if hidden or not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.completed:,} texts explained"), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("explain", total=None)
        yield lambda done: progress.update(task, completed=done)
