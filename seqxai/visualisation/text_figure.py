"""Explained texts as a figure for papers and slides: PNG, SVG or PDF by ``save_figure``."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from seqxai.errors import InputError
from seqxai.visualisation.colour import colour_table
from seqxai.visualisation.explained import ExplainedText, digits, label_in_words, number, runs, scale_of, visible
from seqxai.visualisation.page import as_texts, balance_in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from seqxai.attribution import Attribution

WORDS = 3000  # more do not fit a figure anybody reads; a page takes any number
POINTS = 12.0  # size of the words
SMALL = 7.0  # size of the numbers beneath
LINE = 3.0 * POINTS  # from line to line, in points: bar, word, bar, number
BAR = 0.55 * POINTS
SHARE = 0.1  # of the scale: weaker words have no number beneath
INK, SOFT, FOR, AGAINST = "#1b1a18", "#5f5b55", "#c4382b", "#1f66b8"


def text_figure(
    texts: Iterable[ExplainedText] | Attribution,
    *,
    scale: float | None = None,
    width: float = 7.0,
    labels: Sequence[str] | None = None,
    palette: str = "red-blue",
) -> Figure:
    """Draw texts with coloured words; a bar above a word speaks for the target, one below against it.

    Args:
        texts: an attribution with tokens, several of them, or explained texts.
        scale: magnitude with the full colour; by default one for all of them.
        width: of the figure in inches; long texts are wrapped.
        labels: of an attribution, the names of its classes.
        palette: a name in ``PALETTES`` with a white centre.

    Returns:
        A ``matplotlib.figure.Figure``, to be saved with ``save_figure`` or shown by a notebook.

    Raises:
        InputError: for more than 3000 words (a page takes any number), an unusable width or scale, or tokens that are missing.
    """
    shown = [one for text in (texts if isinstance(texts, list) else [texts]) for one in _each(text, labels)]
    count = sum(len(text.words) for text in shown)
    if count > WORDS:
        raise InputError(f"Expected at most {WORDS} words in a figure, got {count}; write a page (.html), or plot fewer texts.")
    if not 2.0 <= width <= 100.0:
        raise InputError(f"Expected a width from 2 to 100 inches, got {width:g}.")
    full = scale_of(shown, scale)
    blocks = [_Block(text, 72 * width - 2 * POINTS) for text in shown]
    height = sum(block.height for block in blocks) + 3.2 * POINTS
    figure, axes = _canvas(width, height / 72)
    y = height - POINTS
    for block in blocks:
        block.draw(axes, y, full, palette)
        y -= block.height
    end = number(full, digits(full), sign=False)
    axes.text(
        POINTS, y - 0.4 * POINTS, f"bar above: for, below: against; full colour at ±{end}", size=SMALL + 0.5, color=SOFT, va="top"
    )
    return figure


def _each(text: Any, labels: Sequence[str] | None) -> Iterable[ExplainedText]:
    return [text] if isinstance(text, ExplainedText) else as_texts(text, labels)


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure whose one axis is measured in points, (0, 0) lower left."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 72 * width), ylim=(0, 72 * height))
    axes.set_axis_off()
    return figure, axes


Placed = tuple[
    int, str, float, float, bool
]  # number of the word, what is drawn, left edge and width in points, the word's beginning


def _parts(group: list[tuple[int, str]], width: float) -> list[list[tuple[int, str]]]:
    """A group of words that fits a line as it is; a longer one word by word, and words letter by letter as far as need be."""
    if sum(_width(shown, POINTS) for _, shown in group) <= width - POINTS:
        return [group]
    return [[(i, part)] for i, shown in group for part in _cut(shown, width - POINTS)]


def _cut(word: str, width: float) -> list[str]:
    """A word that is longer than a line, in parts that are not."""
    wide = _width(word, POINTS)
    if wide <= width:
        return [word]
    letters = max(1, int(0.9 * len(word) * width / wide))
    return [word[i : i + letters] for i in range(0, len(word), letters)]


class _Block:
    """One text: its heading, its lines, its balance."""

    def __init__(self, text: ExplainedText, width: float) -> None:
        self.text = text
        self.places = text.places
        self.width = width
        self.groups = [group for whole in text.groups for group in _parts([(i, drawable(shown)) for i, shown in whole], width)]
        self.leftwards, stretches = runs(["".join(shown for _, shown in group) for group in self.groups])
        self._begun: set[int] = set()
        self.lines = self._lines(stretches)
        self.balance = _folded(balance_in_words(text, self.places), width, SMALL + 1.0)
        self.height = 1.6 * POINTS + len(self.lines) * LINE + 0.85 * POINTS * len(self.balance) + 1.6 * POINTS

    def _lines(self, stretches: list[tuple[int, int, bool]]) -> list[list[Placed]]:
        """The words of each line with their places, in points."""
        gap, ways = 0.26 * POINTS, {g: way for start, stop, way in stretches for g in range(start, stop)}
        widths = [
            [_width(shown, POINTS) + (0.3 if len(group) == 1 else 0.14) * POINTS for _, shown in group] for group in self.groups
        ]
        rows: list[list[int]] = [[]]
        used = 0.0
        for g, each in enumerate(widths):
            if rows[-1] and used + sum(each) > self.width:
                rows.append([])
                used = 0.0
            rows[-1].append(g)
            used += sum(each) + gap
        return [self._placed(_visual(row, ways, self.leftwards), widths, ways, gap) for row in rows if row]

    def _placed(self, row: list[int], widths: list[list[float]], ways: dict[int, bool], gap: float) -> list[Placed]:
        total = sum(sum(widths[g]) for g in row) + gap * (len(row) - 1)
        x = POINTS + (self.width - total if self.leftwards else 0.0)
        found = []
        for g in row:
            for (i, shown), wide in list(zip(self.groups[g], widths[g], strict=True))[:: -1 if ways[g] else 1]:
                found.append((i, shown, x, wide, i not in self._begun))
                self._begun.add(i)
                x += wide
            x += gap
        return found

    def draw(self, axes: Axes, top: float, scale: float, palette: str) -> None:
        """Heading, words and balance from ``top`` downwards."""
        text, left = self.text, POINTS
        heading = f"{drawable(label_in_words(text.target))} {number(text.explained, self.places)}"
        differs = text.predicted and text.predicted != text.target
        aside = [f"predicted: {drawable(label_in_words(text.predicted))}"] if differs else []
        aside += [drawable(visible(text.title))] if text.title else []
        _write(axes, left, top, heading, size=POINTS - 2, color=INK, weight="bold", va="top")
        _write(axes, left + self.width, top, "   ".join(aside), size=SMALL + 1, color=SOFT, va="top", ha="right")
        base = top - 1.6 * POINTS - BAR - 0.9 * POINTS
        for line in self.lines:
            for word in line:
                self._draw_word(axes, word, base, scale, palette)
            self._draw_numbers(axes, line, base - 0.32 * POINTS - BAR - 1.0, scale)
            base -= LINE
        y = base + LINE - BAR - 0.35 * POINTS - SMALL - 0.5 * POINTS if self.lines else base
        for row in self.balance:
            _write(axes, left, y, row, size=SMALL + 1, color=SOFT, va="top")
            y -= 0.85 * POINTS

    def _draw_word(self, axes: Axes, word: Placed, base: float, scale: float, palette: str) -> None:
        from matplotlib.patches import Rectangle

        i, shown, x, wide, _ = word
        value = self.text.relevance[i]
        share = float(np.clip(value / scale, -1, 1))
        low, high = base - 0.32 * POINTS, base + 0.92 * POINTS
        table = colour_table(palette)
        tint = table[255 + round(share * 255 * 0.42)] / 255.0
        axes.add_patch(Rectangle((x, low), wide, high - low, facecolor=tint, linewidth=0))
        if abs(share) > 0.03:
            bar = BAR * abs(share)
            edge = high if share > 0 else low - bar
            axes.add_patch(Rectangle((x, edge), wide, bar, facecolor=FOR if share > 0 else AGAINST, linewidth=0))
        if i in self.text.unknown:
            axes.add_patch(Rectangle((x, low), wide, high - low, fill=False, edgecolor=SOFT, linewidth=0.5, linestyle=":"))
        _write(axes, x + wide / 2, base, shown, size=POINTS, color=INK, ha="center", va="baseline")

    def _draw_numbers(self, axes: Axes, line: list[Placed], top: float, scale: float) -> None:
        """Beneath the strong words, the strongest first; none over another."""
        taken: list[tuple[float, float]] = []
        for i, _, x, wide, first in sorted(line, key=lambda word: -abs(self.text.relevance[word[0]])):
            value = self.text.relevance[i]
            told, middle = number(value, self.places), x + wide / 2
            half = _width(told, SMALL) / 2 + 1.0
            free = all(middle + half <= left or right <= middle - half for left, right in taken)
            if first and free and abs(value) >= SHARE * scale:
                taken.append((middle - half, middle + half))
                _write(axes, middle, top, told, size=SMALL, color=SOFT, ha="center", va="top")


def _visual(row: list[int], ways: dict[int, bool], leftwards: bool) -> list[int]:
    """Words of one line from left to right: stretches in the direction of the whole text, words in that of their stretch."""
    stretches: list[list[int]] = []
    for i in row:
        if stretches and ways[i] == ways[stretches[-1][-1]]:
            stretches[-1].append(i)
        else:
            stretches.append([i])
    ordered = [stretch[::-1] if ways[stretch[0]] else stretch for stretch in stretches]
    return [i for stretch in (ordered[::-1] if leftwards else ordered) for i in stretch]


def _write(axes: Axes, x: float, y: float, text: str, **style: Any) -> None:
    if text:
        axes.text(x, y, text, family=list(_families()), parse_math=False, **style)


def _folded(text: str, width: float, size: float) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and _width(longer, size) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


# ---- fonts -------------------------------------------------------------------------------------------------------------------------


@cache
def _families() -> tuple[str, ...]:
    """The default font, and installed ones with more scripts for what it lacks; none is downloaded."""
    from matplotlib.font_manager import fontManager

    wanted = (
        "Noto Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans Devanagari", "Noto Sans Arabic", "Noto Sans Hebrew",
        "Noto Sans Thai", "Noto Emoji", "Segoe UI", "Segoe UI Symbol", "Arial Unicode MS", "Hiragino Sans", "Microsoft YaHei",
        "WenQuanYi Zen Hei", "Symbola",
    )  # fmt: skip
    there = {font.name for font in fontManager.ttflist}
    return ("DejaVu Sans", *(name for name in wanted if name in there))


@cache
def _glyphs() -> frozenset[int]:
    """Every character the fonts can draw."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    found: set[int] = set()
    for family in _families():
        found |= set(get_font(findfont(FontProperties(family=[family]))).get_charmap())
    return frozenset(found)


def drawable(text: str) -> str:
    """A text in which characters without a glyph are named where that helps, such as most emoji: "⟨grinning face⟩"; else a box."""
    if text.isascii():
        return text
    glyphs = _glyphs()
    return "".join(letter if ord(letter) in glyphs else _named(letter) for letter in text)


def _named(letter: str) -> str:
    import unicodedata

    if letter in "\u200c\u200d\ufe0e\ufe0f":
        return ""
    code = ord(letter)
    if 0x2400 <= code < 0x2421:  # a control character made visible
        return f"⟨U+{code - 0x2400:04X}⟩"
    symbol = unicodedata.category(letter).startswith("S")
    return f"⟨{unicodedata.name(letter, f'U+{code:04X}').lower()}⟩" if symbol else "□"


@cache
def _width(text: str, size: float) -> float:
    """Width in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    if not text:
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a font without a glyph says so again when it is drawn
        width, _, _ = TextToPath().get_text_width_height_descent(text, FontProperties(family=list(_families()), size=size), False)
    return float(width)
