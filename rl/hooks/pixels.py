"""Observations of any layout as pictures: which axes are rows and columns, what to show below relevance."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from rl.drawing import GREY, Box, Canvas
from seqxai.errors import InputError

Axes = tuple[int, int]

SMALLEST = 8
"""Rows and columns from which a table of numbers is taken for a picture."""


def image_axes(shape: tuple[int, ...], given: Axes | None = None) -> Axes | None:
    """Which axes of an observation are rows and columns: the neighbouring pair with the most pixels.

    (4, 84, 84) and (84, 84, 3), (4, 84, 84, 3) and (84, 84) are all found.

    Args:
        shape: of an observation.
        given: the user's word, which decides.

    Returns:
        The two axes; ``None`` where the observation is not a picture: a vector, or a table of fewer than 8 rows or columns.

    Raises:
        InputError: axes that the observation does not have.
    """
    if given is not None:
        if len(given) != 2 or len(set(given)) != 2 or not all(0 <= axis < len(shape) for axis in given):
            raise InputError(f"image_axes should be the axes of rows and columns of an observation of shape {shape}, got {given!r}")
        return given
    pairs = [(i, i + 1) for i in range(len(shape) - 1)]
    if not pairs:
        return None
    best = max(pairs, key=lambda pair: shape[pair[0]] * shape[pair[1]])
    return best if min(shape[axis] for axis in best) >= SMALLEST else None


def summed(values: np.ndarray, axes: Axes) -> Float32[np.ndarray, "rows columns"]:
    """All planes of relevance in one."""
    rows_first = np.moveaxis(values, axes, (-2, -1))
    return rows_first.reshape(-1, *rows_first.shape[-2:]).sum(axis=0, dtype=np.float32)


def newest_plane(observation: np.ndarray, axes: Axes) -> Float32[np.ndarray, "rows columns"]:
    """What an observation shows, in its own unit: its newest frame; of a colour picture its brightness."""
    planes = np.moveaxis(observation, axes, (-2, -1)).astype(np.float32)
    if axes[1] < observation.ndim - 1 and observation.shape[-1] in (1, 3, 4):  # colours come last, a stack comes first
        colour = planes[..., :3, :, :] if observation.shape[-1] >= 3 else planes[..., :1, :, :]
        weights = GREY if colour.shape[-3] == 3 else np.ones(1, np.float32)
        planes = np.tensordot(colour, weights, axes=([-3], [0])) if colour.ndim == 3 else np.einsum("...chw,c->...hw", colour, weights)
    return planes.reshape(-1, *planes.shape[-2:])[-1]


def grey_range(bounds: tuple[float, float], planes: list[np.ndarray]) -> tuple[float, float]:
    """What is drawn black and white: the bounds of the space, or where it has none, of several pictures together."""
    low, high = bounds
    if not (np.isfinite(low) and np.isfinite(high) and high > low):
        low, high = min(float(p.min()) for p in planes), max(float(p.max()) for p in planes)
    return low, high if high > low else low + 1.0


def grey_levels(plane: np.ndarray, low: float, high: float) -> Float32[np.ndarray, "rows columns"]:
    """0 for black to 255 for white; what lies beyond is cut."""
    return np.clip((plane.astype(np.float32) - np.float32(low)) * np.float32(255.0 / (high - low)), 0.0, 255.0)


def as_rgb(frame: np.ndarray) -> UInt8[np.ndarray, "rows columns 3"]:
    """A rendered frame as red, green and blue bytes.

    Raises:
        InputError: it is no picture.
    """
    if frame.ndim == 2:
        frame = frame[:, :, None].repeat(3, axis=2)
    if frame.ndim != 3 or frame.shape[2] not in (1, 3, 4) or 0 in frame.shape:
        raise InputError(f"Expected env.render() to give a picture of shape (height, width, 3), got {frame.shape}.")
    frame = frame[:, :, :3] if frame.shape[2] >= 3 else frame.repeat(3, axis=2)
    return frame if frame.dtype == np.uint8 else np.clip(frame, 0, 255).astype(np.uint8)


def paste(canvas: Canvas, picture: UInt8[np.ndarray, "rows columns 3"], box: Box) -> Box:
    """Draw a picture as large as fits, its shape kept: pixels stay squares where it grows, and are averaged where it shrinks.

    Returns:
        Where it is.
    """
    rows, columns = picture.shape[:2]
    factor = min(box.width / columns, box.height / rows)
    factor = float(int(factor)) if factor >= 2 else factor
    width, height = max(1, int(columns * factor)), max(1, int(rows * factor))
    resampling = Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.BOX
    x, y = box.x + (box.width - width) // 2, box.y + (box.height - height) // 2
    canvas[y : y + height, x : x + width] = np.asarray(Image.fromarray(picture).resize((width, height), resampling))
    return Box(x, y, width, height)
