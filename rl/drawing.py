"""The few drawing operations a video frame needs, on numpy arrays: fast enough for every frame of a film.

Coordinates are pixels from the top left corner; colours are (red, green, blue), 0..255.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from jaxtyping import Float, Float32, UInt8
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
TINTED = 0.8
"""How much of the picture below shows as a lighter tint within full colour."""


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


@lru_cache(maxsize=4096)
def _mask(text: str, size: int) -> Float32[np.ndarray, "rows columns 1"]:
    """How much of each pixel the text covers, 0..1; as tall as the font's line, whatever the letters."""
    font = _font(size)
    ascent, descent = font.getmetrics()
    image = Image.new("L", (max(1, round(font.getlength(text)) + 2), ascent + descent))
    ImageDraw.Draw(image).text((0, ascent), text, fill=255, font=font, anchor="ls")
    return (np.asarray(image, dtype=np.float32) / 255.0)[:, :, None]


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
    mask = _mask(text, size)
    x -= {"left": 0, "right": mask.shape[1], "middle": mask.shape[1] // 2}[align]
    area = canvas[y : y + mask.shape[0], max(x, 0) : x + mask.shape[1]]
    mask = mask[: area.shape[0], -min(x, 0) : -min(x, 0) + area.shape[1]]
    area[:] = area + mask * (np.asarray(colour, np.float32) - area) + 0.5


def fill(canvas: Canvas, box: Box, colour: Colour) -> None:
    """Paint a rectangle."""
    canvas[box.y : box.bottom, box.x : box.right] = colour


def outline(canvas: Canvas, box: Box, colour: Colour, thickness: int = 1) -> None:
    """Draw a rectangle's edge, inside it."""
    fill(canvas, Box(box.x, box.y, box.width, thickness), colour)
    fill(canvas, Box(box.x, box.bottom - thickness, box.width, thickness), colour)
    fill(canvas, Box(box.x, box.y, thickness, box.height), colour)
    fill(canvas, Box(box.right - thickness, box.y, thickness, box.height), colour)


def enlarge(image: UInt8[np.ndarray, "rows columns 3"], factor: int) -> UInt8[np.ndarray, "new_rows new_columns 3"]:
    """Every pixel becomes a square of ``factor`` pixels."""
    return image.repeat(factor, axis=1).repeat(factor, axis=0)


def diverging(strength: Float32[np.ndarray, "rows columns"], grey: Float32[np.ndarray, "rows columns"]) -> Canvas:
    """Red for positive, blue for negative, over a picture that stays visible: dimmed, and as a tint of the colour.

    Args:
        strength: -1..1; beyond is cut.
        grey: grey levels of the picture below, 0..255.

    Returns:
        With a = |strength|, g = grey / 255 and c = red or blue:
        ``255 (1 - a) DIMMED g + a (c + TINTED g (255 - c))``; over black, ``a c``.
    """
    amount = np.minimum(np.abs(strength), 1.0)
    light = amount * grey * (TINTED / 255.0)
    dark = (grey - amount * grey) * DIMMED + 0.5
    picture = np.empty((*strength.shape, 3), np.uint8)
    for channel, (positive, negative) in enumerate(zip(FOR, AGAINST, strict=True)):
        hue = np.where(strength > 0, np.float32(positive), np.float32(negative))
        picture[:, :, channel] = dark + amount * hue + light * (255.0 - hue)
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
