"""The few drawing operations a video frame needs, on numpy arrays: fast enough for every frame of a film.

Coordinates are pixels from the top left corner; colours are (red, green, blue), 0..255.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from jaxtyping import Float, Float32, Int64, UInt8
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Canvas = UInt8[np.ndarray, "height width 3"]

BACKGROUND: Colour = (17, 19, 24)
SURFACE: Colour = (28, 31, 39)
LINE: Colour = (62, 68, 82)
TEXT: Colour = (236, 238, 242)
QUIET: Colour = (150, 157, 172)
ACCENT: Colour = (255, 196, 84)
BAR: Colour = (98, 108, 132)
FOR: Colour = (255, 64, 48)
AGAINST: Colour = (64, 140, 255)

DIMMED = 0.38
"""Brightness of the picture below where there is no colour: bright enough to recognise, dark enough to stand back."""
VEILED = 0.5
"""The same under a veil over the game in colour, which may be the only picture of it."""
TINTED = 0.8
"""How much of the picture below shows as a lighter tint within full colour."""
MUTED = 0.45
"""How much of its own colour the picture below keeps: enough to tell the objects, too little to be taken for relevance."""
GREY = np.array([0.299, 0.587, 0.114], np.float32)
"""Luminance of red, green and blue (ITU-R BT.601), as the emulator's own grey levels."""

SIZE_MIN = 9
"""Letters below this many pixels cannot be read."""


@dataclass(frozen=True)
class Palette:
    """The colours of relevance; zero is black, or the picture below.

    Attributes:
        name: what a user calls it.
        positive: full colour of what speaks for.
        negative: full colour of what speaks against.
    """

    name: str
    positive: Colour = FOR
    negative: Colour = AGAINST


RED_BLUE = Palette("red-blue")
PALETTES = {
    palette.name: palette
    for palette in (RED_BLUE, Palette("orange-purple", positive=(255, 158, 27), negative=(150, 104, 255)))
}
"""By name.  Orange and purple stay apart under every colour blindness: yellow and blue to a red-green one."""


@dataclass(frozen=True)
class Box:
    """A rectangle of the canvas.

    Attributes:
        x: left edge.
        y: upper edge.
        width: in pixels.
        height: in pixels.
    """

    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """One past the last column."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """One past the last row."""
        return self.y + self.height


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, so that a video looks alike on every machine; it knows Latin letters only."""
    font = ImageFont.load_default(size=size)
    if not isinstance(font, ImageFont.FreeTypeFont):  # a Pillow built without FreeType has one tiny bitmap font
        raise RuntimeError("Pillow was built without FreeType")
    return font


NUMERIC = frozenset("0123456789.,:+-/e %")
"""Letters of numbers, which change with every frame: their pictures are put together from those of single letters."""


@lru_cache(maxsize=4096)
def _mask(text: str, size: int) -> Float32[np.ndarray, "rows columns 1"]:
    """How much of each pixel the text covers, 0..1; as tall as the font's line, whatever the letters."""
    font = _font(size)
    ascent, descent = font.getmetrics()
    if len(text) > 1 and NUMERIC.issuperset(text):
        return np.concatenate([_mask(letter, size)[:, : _advance(letter, size)] for letter in text], axis=1)
    image = Image.new("L", (max(1, round(font.getlength(text)) + 2), ascent + descent))
    ImageDraw.Draw(image).text((0, ascent), text, fill=255, font=font, anchor="ls")
    return (np.asarray(image, dtype=np.float32) / 255.0)[:, :, None]


@cache
def _advance(letter: str, size: int) -> int:
    """From one letter of a number to the next; all digits take the same room, so that numbers do not tremble."""
    return max(1, round(_font(size).getlength("0" if letter.isdigit() else letter)))


def text_width(text: str, size: int) -> int:
    """Width of a line of text in pixels."""
    return _mask(text, size).shape[1]


def line_height(size: int) -> int:
    """Height of a line of text in pixels."""
    return _mask("", size).shape[0]


def draw_text(canvas: Canvas, text: str, x: int, y: int, size: int, colour: Colour = TEXT, align: str = "left") -> None:
    """Write one line; what would stand over the canvas's edge is cut off.

    Args:
        canvas: drawn on in place.
        text: Latin letters.
        x: left edge, right edge or middle, as ``align`` says.
        y: upper edge of the line.
        size: in pixels.
        colour: of the letters.
        align: ``"left"``, ``"right"`` or ``"middle"``.
    """
    rest, ink = _ink(text, size, colour)
    x -= {"left": 0, "right": rest.shape[1], "middle": rest.shape[1] // 2}[align]
    area = canvas[y : y + rest.shape[0], max(x, 0) : x + rest.shape[1]]
    part = np.s_[: area.shape[0], -min(x, 0) : -min(x, 0) + area.shape[1]]
    mixed = area * rest[part]
    mixed += ink[part]
    area[:] = mixed


@lru_cache(maxsize=2048)
def _ink(text: str, size: int, colour: Colour) -> tuple[np.ndarray, np.ndarray]:
    """What stays of the picture below a text, and what the text adds to it, with a half for rounding."""
    mask = _mask(text, size)
    return 1.0 - mask, mask * np.asarray(colour, np.float32) + np.float32(0.5)


def draw_fitting(canvas: Canvas, text: str, x: int, y: int, size: int, width: int, colour: Colour = TEXT, align: str = "left") -> None:
    """Write one line into a given width: smaller where it is too long, and cut, with dots, where that is not enough.

    Args:
        canvas: drawn on in place.
        text: Latin letters.
        x: left edge, right edge or middle, as ``align`` says.
        y: upper edge of a line of the full size.
        size: in pixels, at most.
        width: in pixels.
        colour: of the letters.
        align: ``"left"``, ``"right"`` or ``"middle"``.
    """
    shown, smaller = fitting(text, size, width)
    draw_text(canvas, shown, x, y + (line_height(size) - line_height(smaller)) // 2, smaller, colour, align)


@lru_cache(maxsize=4096)
def fitting(text: str, size: int, width: int) -> tuple[str, int]:
    """A text and a size, at most the given one, which together fit into a width."""
    smallest = min(size, SIZE_MIN)
    for smaller in range(size, smallest - 1, -1):
        if text_width(text, smaller) <= width:
            return text, smaller
    shown = text
    while shown and text_width(shown + "...", smallest) > width:
        shown = shown[:-1]
    return (shown.rstrip() + "..." if shown else ""), smallest


def fill(canvas: Canvas, box: Box, colour: Colour) -> None:
    """Paint a rectangle."""
    canvas[box.y : box.bottom, box.x : box.right] = colour


def outline(canvas: Canvas, box: Box, colour: Colour, thickness: int = 1) -> None:
    """Draw a rectangle's edge, inside it."""
    fill(canvas, Box(box.x, box.y, box.width, thickness), colour)
    fill(canvas, Box(box.x, box.bottom - thickness, box.width, thickness), colour)
    fill(canvas, Box(box.x, box.y, thickness, box.height), colour)
    fill(canvas, Box(box.right - thickness, box.y, thickness, box.height), colour)


def signed_bar(canvas: Canvas, track: Box, strength: float, palette: Palette = RED_BLUE) -> None:
    """A bar from a track's middle to the right for what speaks for, to the left for what speaks against.

    Args:
        canvas: drawn on in place.
        track: the bar's room; half its width is full strength.
        strength: -1..1; beyond is cut.
        palette: the colours of relevance.
    """
    middle, length = track.x + track.width // 2, round(track.width // 2 * min(1.0, abs(strength)))
    start = middle if strength > 0 else middle - length
    fill(canvas, Box(start, track.y, length, track.height), palette.positive if strength > 0 else palette.negative)


def colour_bar(canvas: Canvas, box: Box, palette: Palette = RED_BLUE) -> None:
    """The colours from -1 to 1, over black."""
    ramp = np.linspace(-1.0, 1.0, box.width, dtype=np.float32)[None].repeat(box.height, axis=0)
    canvas[box.y : box.bottom, box.x : box.right] = diverging(ramp, np.zeros_like(ramp), palette)


def _room(words: Sequence[tuple[str, Colour]], size: int, gap: int) -> int:
    """Pixels that words take beside each other."""
    return sum(text_width(text, size) + gap for text, _ in words) - gap


def draw_words(canvas: Canvas, words: Sequence[tuple[str, Colour]], box: Box, size: int, gap: int, least: int = SIZE_MIN) -> None:
    """Write words of several colours in one line, smaller where they are too long; then the first is cut, then the last.

    Args:
        canvas: drawn on in place.
        words: each with its colour.
        box: the line's room; the words stand on its left, in the middle of its height.
        size: of the letters in pixels, at most.
        gap: pixels between words at the full size.
        least: the smallest size before words are cut.
    """
    while size > least and _room(words, size, gap) > box.width:
        size -= 1
    x, y = box.x, box.y + (box.height - line_height(size)) // 2
    spare = box.width - _room(words, size, gap)
    for index, (text, colour) in enumerate(words):
        width = text_width(text, size)
        if index == 0 and spare < 0:
            width = max(width + spare, width // 3)
        draw_fitting(canvas, text, x, y, size, max(0, min(width, box.right - x)), colour)
        x += width + gap


def enlarge(image: UInt8[np.ndarray, "rows columns 3"], factor: int) -> UInt8[np.ndarray, "new_rows new_columns 3"]:
    """Every pixel becomes a square of ``factor`` pixels."""
    return image.repeat(factor, axis=1).repeat(factor, axis=0)


@cache
def _nearest(old: int, new: int) -> Int64[np.ndarray, " new"]:
    """For every new pixel the old one under its middle."""
    return ((np.arange(new) * 2 + 1) * old // (2 * new)).astype(np.int64)


def paste(canvas: Canvas, box: Box, image: UInt8[np.ndarray, "rows columns 3"]) -> None:
    """Fill a box with a picture, each of whose pixels becomes a rectangle with sharp edges."""
    rows, columns = image.shape[:2]
    wide = np.take(np.ascontiguousarray(image).reshape(rows, -1), _bytes(columns, box.width), axis=1, mode="clip")
    area = canvas.reshape(len(canvas), -1)[box.y : box.bottom, 3 * box.x : 3 * box.right]  # whole rows of bytes: twice as fast
    if box.height % rows == 0:
        factor = box.height // rows
        for offset in range(factor):
            area[offset::factor] = wide
    else:
        area[:] = wide[_nearest(rows, box.height)]


@cache
def _bytes(old: int, new: int) -> Int64[np.ndarray, " bytes"]:
    """For every byte of a new row of pixels the old one."""
    return (_nearest(old, new)[:, None] * 3 + np.arange(3)).ravel()


def diverging(
    strength: Float32[np.ndarray, "rows columns"], grey: Float32[np.ndarray, "rows columns"], palette: Palette = RED_BLUE
) -> Canvas:
    """Red for positive, blue for negative, over a picture that stays visible: dimmed, and as a tint of the colour.

    Args:
        strength: -1..1; beyond is cut.
        grey: grey levels of the picture below, 0..255.
        palette: the colours, if not red and blue.

    Returns:
        With a = |strength|, g = grey / 255 and c = red or blue:
        ``255 (1 - a) DIMMED g + a (c + TINTED g (255 - c))``; over black, ``a c``.
    """
    return _mix(strength, grey, (grey, grey, grey), palette, DIMMED)


def veil(
    strength: Float32[np.ndarray, "rows columns"], screen: UInt8[np.ndarray, "rows columns 3"], palette: Palette = RED_BLUE
) -> Canvas:
    """Relevance over a picture in colour, which is dimmed and muted where there is none.

    Args:
        strength: -1..1; beyond is cut.
        screen: the picture below.
        palette: the colours of relevance.

    Returns:
        As :func:`diverging`, but below lies ``MUTED`` of the picture's own colour, ``VEILED`` in place of ``DIMMED``.
    """
    colours = screen.transpose(2, 0, 1).astype(np.float32)
    grey = np.tensordot(GREY, colours, axes=1)
    muted = [np.float32(1.0 - MUTED) * grey + np.float32(MUTED) * colour for colour in colours]
    return _mix(strength, grey, muted, palette, VEILED)


def _mix(
    strength: Float32[np.ndarray, "rows columns"],
    grey: Float32[np.ndarray, "rows columns"],
    below: Sequence[Float32[np.ndarray, "rows columns"]],
    palette: Palette,
    dimmed: float,
) -> Canvas:
    """The colour of relevance, as strong as it is, over what lies below."""
    amount = np.abs(strength)
    np.minimum(amount, np.float32(1.0), out=amount)
    rest = (np.float32(1.0) - amount) * np.float32(dimmed)
    light = amount * grey * np.float32(TINTED / 255.0)  # a TINTED g
    full = light * np.float32(255.0) + np.float32(0.5)
    amount -= light  # the hue's part: a (1 - TINTED g)
    hues = np.array([palette.negative, palette.positive], np.float32).T
    sign = (strength > 0).astype(np.intp)
    picture = np.empty((*strength.shape, 3), np.uint8)
    for channel in range(3):
        mixed = rest * below[channel]
        mixed += full
        mixed += amount * hues[channel].take(sign)
        picture[:, :, channel] = mixed
    return picture


def polyline(
    canvas: Canvas, box: Box, values: Float[np.ndarray, " points"], low: float, high: float, colour: Colour
) -> None:
    """Draw a curve that fills a box from left to right.

    Args:
        canvas: drawn on in place.
        box: where.
        values: one per point, evenly spaced.
        low: value at the box's lower edge.
        high: value at its upper edge.
        colour: of the line.
    """
    columns = np.linspace(0, box.width - 1, len(values))
    rows = (box.height - 1) * (1.0 - (values - low) / max(high - low, 1e-12))
    image = Image.fromarray(canvas[box.y : box.bottom, box.x : box.right].copy())
    points = [(float(x), float(y)) for x, y in zip(columns, rows, strict=True)]
    ImageDraw.Draw(image).line(points, fill=colour, width=2, joint="curve")
    canvas[box.y : box.bottom, box.x : box.right] = np.asarray(image)
