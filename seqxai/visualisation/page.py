"""Explained texts as a page: one standalone HTML file without scripts, and the same as a fragment for notebooks.

Texts of others are escaped, and the page's own security policy forbids whatever could still run.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from html import escape as _escape
from importlib.resources import files
from typing import IO, TYPE_CHECKING

from seqxai.files import written_whole
from seqxai.visualisation.colour import check_scale
from seqxai.visualisation.explained import (
    ExplainedText,
    TextScale,
    digits,
    explained_texts,
    label_in_words,
    number,
    runs,
    scale_of,
    visible,
)

if TYPE_CHECKING:
    from seqxai.attribution import Attribution

CLASSES = 6  # as many rows as fit beside a sentence; of more classes the likeliest are shown
NARROW = 2  # letters of a word too narrow for a number of its own, where it is written to another
LISTED = 5  # words listed with their numbers, on either side

HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
{style}</style>
</head>
<body class="sx" style="--s:{scale:.6g}">
<div class="sx-page">
<header><h1>{title}</h1>
<p class="sub">{subtitle}</p></header>
<section class="key" aria-label="How to read this page">{key}</section>
<main>
"""
FOOT = """</main>
<footer>Numbers are in the unit of the model's scores. Made with seqxai.</footer>
</div>
</body>
</html>
"""


escape = lru_cache(maxsize=32_768)(_escape)  # texts repeat their words


class TextPage:
    """Takes texts one by one; see :func:`open_text_page`.

    Attributes:
        count: how many it has.
    """

    def __init__(self, body: IO[str]) -> None:
        self.count = 0
        self.unknown = 0
        self.balanced = True
        self.meter = TextScale()
        self.methods: dict[str, None] = {}
        self._body = body

    def add(self, text: ExplainedText) -> None:
        """Write one text below the others."""
        self.count += 1
        self.unknown += len(text.unknown)
        self.balanced = self.balanced and bool(text.ledger)
        self.methods.setdefault(text.method)
        self.meter.add(text.relevance)
        self._body.write(_article(text))


@contextmanager
def open_text_page(
    path: str | os.PathLike[str], *, title: str = "Explained texts", note: str = "", scale: float | None = None
) -> Iterator[TextPage]:
    """A page that takes any number of texts in memory that does not grow; it is there, whole, when the block ends well.

    Args:
        path: ends in .html or .htm.
        title: the heading.
        note: said beneath it, behind the method; for example the model's name.
        scale: magnitude with the full colour; by default one for all texts of the page, see :class:`TextScale`.

    Raises:
        InputError: for another ending, a place that cannot be written, or an unusable scale.
    """
    if scale is not None:
        check_scale(scale)
    with written_whole(path, (".html", ".htm")) as part, tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n") as body:
        page = TextPage(body)
        yield page
        measured = page.meter.value
        body.seek(0)
        with part.open("w", encoding="utf-8", newline="\n") as final:
            final.write(_head(page, title, note, measured if scale is None else scale))
            shutil.copyfileobj(body, final)
            final.write(FOOT)


def save_text_page(
    path: str | os.PathLike[str],
    texts: Iterable[ExplainedText] | Attribution,
    *,
    title: str = "Explained texts",
    note: str = "",
    scale: float | None = None,
    labels: Sequence[str] | None = None,
) -> None:
    """Write explained texts as one standalone HTML page.

    Args:
        path: ends in .html or .htm.
        texts: an attribution with tokens, or what :func:`explained_texts` made of several.
        title, note, scale: see :func:`open_text_page`.
        labels: of an attribution, the names of its classes.

    Raises:
        InputError: for tokens that are missing, an unusable scale or place.
    """
    with open_text_page(path, title=title, note=note, scale=scale) as page:
        for text in as_texts(texts, labels):
            page.add(text)


def as_texts(texts: Iterable[ExplainedText] | Attribution, labels: Sequence[str] | None = None) -> Iterable[ExplainedText]:
    """Explained texts, from an attribution if need be."""
    return explained_texts(texts, labels) if hasattr(texts, "relevance") and hasattr(texts, "tokens") else texts  # type: ignore[arg-type]


def text_html(
    texts: Iterable[ExplainedText] | Attribution, *, scale: float | None = None, labels: Sequence[str] | None = None
) -> str:
    """A piece of HTML with its style, for notebooks and for pages of one's own.

    Args:
        texts: an attribution with tokens, or explained texts.
        scale: magnitude with the full colour; by default one for all of them.
        labels: of an attribution, the names of its classes.
    """
    shown = list(as_texts(texts, labels))
    full = scale_of(shown, scale)
    articles = "".join(map(_article, shown))
    return f'<style>{_style()}</style><div class="sx" style="--s:{full:.6g}"><div class="sx-page">{articles}</div></div>'


@cache
def _style() -> str:
    return files("seqxai.visualisation").joinpath("page.css").read_text(encoding="utf-8")


def _head(page: TextPage, title: str, note: str, scale: float) -> str:
    texts = f"{page.count:,} text{'' if page.count == 1 else 's'}"
    subtitle = " · ".join(filter(None, [*page.methods, texts, note]))
    return HEAD.format(
        title=escape(visible(title)), style=_style(), scale=scale, subtitle=escape(visible(subtitle)), key=_key(page, scale)
    )


def _key(page: TextPage, scale: float) -> str:
    places = digits(scale)
    end = number(scale, places, sign=False)
    beyond = (
        f" A few words go beyond it, up to {number(page.meter.largest, places, sign=False)}."
        if page.meter.largest > scale * 1.005
        else ""
    )
    dotted = " A dotted frame: the model's vocabulary lacks the word." if page.unknown else ""
    adds = " Words, biases and what else the balance names add up to the score." if page.balanced else ""
    one = "One scale for the whole page: full" if page.count > 1 else "Full"
    return (
        '<div><div class="ramp" role="img" aria-label="Colours from against, blue, to for, red"></div>'
        f'<div class="ends"><span>\N{MINUS SIGN}{end} against</span><span>0</span><span>for +{end}</span></div></div>'
        "<div><p><b>A red bar above a word</b>: it speaks for what is explained; <b>a blue bar below</b>: against it."
        f"{adds}</p>"
        f"<p>{one} colour and bar at ±{end}.{beyond}{dotted}</p>"
        '<p><label class="all"><input type="checkbox" id="sx-all">Numbers under all words, not only the strong ones</label></p></div>'
    )


# ---- one text ----------------------------------------------------------------------------------------------------------------


def _article(text: ExplainedText) -> str:
    places = text.places
    return (
        f"<article><header>{_heading(text, places)}</header>\n<div>{_words(text, places)}\n"
        f'<dl class="facts">{_listed("For", text, 1, places)}{_listed("Against", text, -1, places)}{_balance(text, places)}</dl></div>\n'
        f"{_classes(text)}</article>\n"
    )


def _heading(text: ExplainedText, places: int | None) -> str:
    score = f"<span>explained: <b>{escape(label_in_words(text.target))}</b> {number(text.explained, places)}</span>"
    predicted = f"<span>predicted: {escape(label_in_words(text.predicted))}</span>" if text.scores else ""
    title = f'<span class="title">{escape(visible(text.title))}</span>' if text.title else ""
    return score + predicted + title


def _words(text: ExplainedText, places: int | None) -> str:
    if not text.words:
        return '<p class="words none">no words</p>'
    groups = text.groups
    base, stretches = runs(["".join(shown for _, shown in group) for group in groups])
    parts = []
    for start, stop, leftwards in stretches:
        words = " ".join(_group(text, group, places) for group in groups[start:stop])
        parts.append(words if leftwards == base else f'<bdi dir="{"rtl" if leftwards else "ltr"}">{words}</bdi>')
    return f'<p class="words" dir="{"rtl" if base else "ltr"}">{" ".join(parts)}</p>'


def _group(text: ExplainedText, group: list[tuple[int, str]], places: int | None) -> str:
    """Words that are written together, and stay on one line."""
    # The number of a comma would lie over that of the word it is written to: it shows when pointed at, or with all.
    words = "".join(_word(text, i, shown, places, " s" if n and len(shown) <= NARROW else "") for n, (i, shown) in enumerate(group))
    return words if len(group) == 1 else f'<span class="g">{words}</span>'


def _word(text: ExplainedText, i: int, shown: str, places: int | None, narrow: str = "") -> str:
    value = text.relevance[i]
    kind = "p" if value > 0 else "n" if value < 0 else ""
    told = f"{kind}{' u' if i in text.unknown else ''}{narrow}"
    return f'<span class="w {told}" style="--m:{abs(value):.4g}"><b>{escape(shown)}</b><i>{number(value, places)}</i></span>'


def _classes(text: ExplainedText) -> str:
    if not text.scores:
        return ""
    order = sorted(range(len(text.scores)), key=lambda i: -text.scores[i][1])
    chosen = {*order[:CLASSES], *(i for i in order if text.scores[i][0] == text.target)}
    places = digits(max(abs(score) for _, score in text.scores))
    rows = []
    for i, ((label, score), share) in enumerate(zip(text.scores, text.shares, strict=True)):
        if i not in chosen:
            continue
        name = escape(label_in_words(label)) + (f'<span class="bar" style="--v:{share:.3f}"></span>' if share is not None else "")
        percent = f"<td>{100 * share:.0f} %</td>" if share is not None else ""
        top = ' class="top"' if i == order[0] else ""
        rows.append(f'<tr{top}><th scope="row">{name}</th>{percent}<td>{number(score, places)}</td></tr>')
    rest = len(order) - len(rows)
    caption = "Class scores" + (f", the {len(rows)} highest of {len(order)}" if rest else "")
    return f'<table class="classes"><caption>{caption}</caption>{"".join(rows)}</table>\n'


def _listed(name: str, text: ExplainedText, sign: int, places: int | None) -> str:
    pairs = text.strongest(sign, LISTED)
    if not pairs:
        return ""
    side = "f" if sign > 0 else "a"
    items = "".join(
        f'<span class="v"><bdi>{escape(visible(word))}</bdi> <span class="{side}">{number(value, places)}</span></span>'
        for word, value in pairs
    )
    return f"<dt>{name}</dt><dd>{items}</dd>"


def _balance(text: ExplainedText, places: int | None) -> str:
    return f"<dt>Balance</dt><dd>{escape(balance_in_words(text, places))}</dd>"


def balance_in_words(text: ExplainedText, places: int | None = 2) -> str:
    """Where the explained score went, as one line."""
    total = number(sum(text.relevance), places)
    if not text.balance:
        return f"the words add up to {total}, the score is {number(text.explained, places)}; this method keeps no balance"
    first, *others = [f"{name} {number(value, places)}" for name, value in text.balance]
    return f"{number(text.explained, places)} = {', '.join([first, *others])}"
