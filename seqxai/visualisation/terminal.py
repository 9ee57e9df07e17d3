"""Explained texts in a terminal: coloured words, or words with their numbers where there is no colour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from seqxai.visualisation.colour import STEPS, colour_table
from seqxai.visualisation.explained import ExplainedText, digits, label_in_words, number, visible
from seqxai.visualisation.page import LISTED, balance_in_words

if TYPE_CHECKING:
    from rich.color import ColorSystem
    from rich.style import Style

FAINT = 0.04  # share of the scale below which a word keeps the terminal's own colours
CLASSES = 6
INDENT = "  "


def text_lines(
    text: ExplainedText, scale: float, *, width: int = 80, colours: ColorSystem | None = None, compact: bool = False
) -> list[str]:
    """One explained text as lines for a terminal.

    Words the model does not know have a question mark.  With colours, a word for the target has a warm background and one against
    it a cold one and an underline, so that the sign is readable without them.  Without colours every word is followed by its number.

    Args:
        text: what to show.
        scale: magnitude with the full colour.
        width: columns.
        colours: what the terminal can show, ``rich.console.Console()._color_system``; ``None`` for none at all.
        compact: only the heading and the words.
    """
    places = text.places
    heading = f"{label_in_words(text.target)} {number(text.explained, places)}"
    if text.predicted and text.predicted != text.target:
        heading += f"  (predicted: {label_in_words(text.predicted)})"
    if text.title:
        heading = f"{visible(text.title)}: {heading}"
    lines = [_strong(heading, colours), *_wrapped(_pieces(text, scale, places, colours), width)]
    if compact:
        return lines
    for name, sign in (("for", 1), ("against", -1)):
        if pairs := text.strongest(sign, LISTED):
            lines += _entry(name, [f"{visible(word)} {number(value, places)}" for word, value in pairs], width)
    if text.unknown:
        written = text.written
        lines += _entry("unknown", [visible(written[i]) for i in sorted(text.unknown)], width)
    if text.scores:
        lines += _entry("classes", _classes(text), width)
    return [*lines, *_entry("balance", [balance_in_words(text, places)], width)]


def scale_line(scale: float, texts: int, colours: ColorSystem | None) -> str:
    """What the colours mean, in one line: one scale for all texts shown."""
    if colours is None:
        return ""
    end = number(scale, digits(scale), sign=False)
    shown = [
        _style(round(share * STEPS), colours).render(f" {name} ", color_system=colours)
        for share, name in ((1.0, f"+{end}"), (-1.0, f"−{end}"))
    ]
    whole = f", one scale for {texts} texts" if texts > 1 else ""
    return f"full colour {shown[0]} for, {shown[1]} against (underlined){whole}"


def _pieces(text: ExplainedText, scale: float, places: int | None, colours: ColorSystem | None) -> Iterable[tuple[str, int]]:
    """(what is printed, its columns) of words that are written together."""
    from rich.cells import cell_len

    for group in text.groups:
        parts, columns = [], 0
        for i, word in group:
            shown, value = word + ("?" if i in text.unknown else ""), text.relevance[i]
            if colours is None:
                shown = f"{shown}({number(value, places)})"
            step = round(max(-1.0, min(1.0, value / scale)) * STEPS)
            plain = colours is None or abs(step) < FAINT * STEPS
            parts.append(shown if plain else _style(step, colours).render(shown, color_system=colours))
            columns += cell_len(shown)
        yield ("" if colours else " ").join(parts), columns + (0 if colours else len(parts) - 1)
    if not text.words:
        yield "(no words)", 10


@lru_cache(maxsize=2 * STEPS + 1)
def _style(step: int, colours: ColorSystem | None) -> Style:
    """Background, and black or white on it, whichever is easier to read; an underline where negative.

    Of the eight colours every terminal has, the letters have red or blue, of strong words the background.
    """
    from rich.color import Color, ColorSystem
    from rich.style import Style

    if colours not in (ColorSystem.TRUECOLOR, ColorSystem.EIGHT_BIT):
        hue = Color.parse("red" if step > 0 else "blue")
        strong = abs(step) > STEPS / 3
        return Style(color=Color.parse("white") if strong else hue, bgcolor=hue if strong else None, underline=step < 0)
    red, green, blue = (int(c) for c in colour_table()[STEPS + step * 2 // 3])
    light = 0.2126 * (red / 255) ** 2.2 + 0.7152 * (green / 255) ** 2.2 + 0.0722 * (blue / 255) ** 2.2
    ink = Color.from_rgb(0, 0, 0) if light > 0.18 else Color.from_rgb(255, 255, 255)
    return Style(color=ink, bgcolor=Color.from_rgb(red, green, blue), underline=step < 0)


def _wrapped(pieces: Iterable[tuple[str, int]], width: int) -> list[str]:
    """Lines of pieces with blanks between them; a piece wider than the line has one for itself, which the terminal folds."""
    lines: list[str] = []
    line: list[str] = []
    used = len(INDENT)
    for piece, columns in pieces:
        if line and used + columns > width:
            lines.append(INDENT + " ".join(line))
            line, used = [], len(INDENT)
        line.append(piece)
        used += columns + 1
    return [*lines, INDENT + " ".join(line)] if line else lines


def _entry(name: str, items: Sequence[str], width: int) -> list[str]:
    from rich.cells import cell_len

    lead = f"{INDENT}{name:<9}"
    lines = _wrapped([(item + "  ", cell_len(item) + 2) for item in items], max(20, width - len(lead) + len(INDENT)))
    return [f"{lead if i == 0 else ' ' * len(lead)}{line.removeprefix(INDENT).rstrip()}" for i, line in enumerate(lines)]


def _classes(text: ExplainedText) -> list[str]:
    places = digits(max(abs(score) for _, score in text.scores))
    shown = sorted(zip(text.scores, text.shares, strict=True), key=lambda row: -row[0][1])[:CLASSES]
    told = [
        f"{label_in_words(label)} {number(score, places)}" + ("" if share is None else f" ({100 * share:.0f} %)")
        for (label, score), share in shown
    ]
    return told + ([f"and {len(text.scores) - CLASSES} more"] if len(text.scores) > CLASSES else [])


def _strong(text: str, colours: ColorSystem | None) -> str:
    if colours is None:
        return text
    from rich.style import Style

    return Style(bold=True).render(text, color_system=colours)
