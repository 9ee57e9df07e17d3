"""What lies between the screen of a game and the eyes of an agent: part of the model, so it travels with the weights.

The resize is the area interpolation the agents were trained with.  It is written out here instead of taken from an
image library because its weights are needed twice: to shrink the screen, and to carry relevance back onto it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from rl.checks import shown
from seqxai.errors import InputError

SCREEN_HEIGHT, SCREEN_WIDTH = 210, 160

SUPPORTED: dict[str, tuple[Any, ...]] = {
    "pooled_frames": (2, 1),
    "colour": ("grey", "rgb-pooled", "rgb-resized"),
    "height": (84,),
    "width": (84,),
    "interpolation": ("area", "linear", "linear-antialias"),
    "pool_after_resize": (False, True),
    "stack": (4,),
    "stack_padding": ("zeros", "first"),
    "noise": ("means", "stored"),
}
"""The fields of `Preprocessing` with a few possible values; the others are free within `LIMITS`."""

LIMITS = {"frame_skip": (1, 60), "start_frames": (0, 10_000), "sticky_probability": (0.0, 0.99), "divisor": (1e-3, 1e5)}
"""Emulator frames, 60 a second: beyond a second per decision or three minutes of waiting nothing sensible is played."""

ADDED = ("pool_after_resize", "noise")
"""Fields that agents saved before there was a choice do not have; their defaults are what was done then."""


@dataclass(frozen=True)
class Preprocessing:
    """How a screen becomes an observation, and how a game is started; stored in every checkpoint.

    Attributes:
        frame_skip: emulator frames per decision; the action is held that long.
        pooled_frames: the pixelwise maximum is taken over this many of the last frames, since sprites may flicker.
        colour: when it becomes grey.  ``"grey"``: at once, by the emulator's own luminance; ``"rgb-pooled"``: after the frames
            were pooled in colour (Stable-Baselines3); ``"rgb-resized"``: after they were pooled and shrunk in colour (CleanRL).
        height: rows of a plane.
        width: columns of a plane.
        interpolation: ``"area"``: each new pixel is the mean over the box it covers; ``"linear"``: it is interpolated between the four
            nearest old ones, the others are not looked at; ``"linear-antialias"``: likewise from all that a wider triangle covers.
        stack: planes in an observation, newest last.
        stack_padding: the planes before the first frame of a game are black (``"zeros"``) or that frame (``"first"``).
        sticky_probability: chance that the emulator repeats the previous action instead, in every frame.
        start_frames: exclusive upper limit of the random number of frames, FIRE included, before the first decision.
        fire_at_reset: press FIRE for one frame when a game starts, where the game knows FIRE.
        fire_after_life: the decision after a lost life is FIRE, where the game knows FIRE.
        divisor: what the network divides the pixels by, inside itself; 1 for nothing.
        pool_after_resize: each frame is shrunk before the maximum is taken, instead of after.
        noise: what noisy layers were reduced to: ``"means"``, or the noise that was ``"stored"`` in the file.
    """

    frame_skip: int = 4
    pooled_frames: int = 2
    colour: str = "grey"
    height: int = 84
    width: int = 84
    interpolation: str = "area"
    stack: int = 4
    stack_padding: str = "zeros"
    sticky_probability: float = 0.0
    start_frames: int = 30
    fire_at_reset: bool = True
    fire_after_life: bool = True
    divisor: float = 255.0
    pool_after_resize: bool = False
    noise: str = "means"


def check_supported(preprocessing: Preprocessing) -> None:
    """Refuse a preprocessing nobody here performs: the agent would look at something else than in training.

    Raises:
        InputError: names the field, what it says and what is possible.
    """
    for name, possible in SUPPORTED.items():
        value = getattr(preprocessing, name)
        if value not in possible:
            known = " and ".join(map(repr, possible)) + (" is" if len(possible) == 1 else " are")
            raise InputError(
                f"the agent was trained with {name}={shown(value)}; only {known} supported so far; choose an agent that was trained so"
            )
    if preprocessing.frame_skip < preprocessing.pooled_frames:
        raise InputError(
            f"frame_skip is {preprocessing.frame_skip}; pooling two frames needs at least 2; choose another agent"
        )
    for name, (low, high) in LIMITS.items():
        value = getattr(preprocessing, name)
        if not low <= value <= high:
            unit = " emulator frames" if name.endswith(("skip", "frames")) else ""
            raise InputError(f"{name} should be {low} .. {high}{unit}, got {shown(value)}; choose another agent")


GREYS = {
    "grey": "grey by the emulator's palette",
    "rgb-pooled": "in colour, then grey",
    "rgb-resized": "in colour, grey when it is small",
}
SHRINKS = {"area": "area interpolation", "linear": "linear interpolation", "linear-antialias": "antialiased linear interpolation"}


def sight_in_words(how: Preprocessing) -> str:
    """How the screen becomes an observation, in a line."""
    pooled = f"maximum of the last {how.pooled_frames}" if how.pooled_frames > 1 else "only the last"
    order = "each made small before" if how.pool_after_resize else "made small after"
    padding = "black" if how.stack_padding == "zeros" else "the first frame"
    inside = f"divided by {how.divisor:g}" if how.divisor != 1.0 else "not divided"
    return (
        f"every {how.frame_skip} emulator frames the {pooled}, {GREYS[how.colour]}, {order}: {how.height} x {how.width} by "
        f"{SHRINKS[how.interpolation]}; {how.stack} planes, {padding} before a game begins; inside the network {inside}"
    )


def start_in_words(how: Preprocessing) -> str:
    """How a game is started and played, in a line."""
    waits = f"up to {how.start_frames} frames of waiting" if how.start_frames > 1 else "no waiting"
    presses = [words for pressed, words in ((how.fire_at_reset, "at the start"), (how.fire_after_life, "after a lost life")) if pressed]
    fire = f"FIRE {' and '.join(presses)}" if presses else "FIRE is left to the agent"
    sticky = f"actions stick with probability {how.sticky_probability:g}" if how.sticky_probability else "actions do not stick"
    return f"{waits}, {fire}; {sticky}"


@dataclass(frozen=True)
class Taps:
    """A resize along one axis: new pixel i is ``sum_k weights[i, k] * old[index[i, k]]``.

    Attributes:
        index: (new, taps) position in the old axis.
        weights: (new, taps) share of each; rows sum to 1; 0 where fewer taps are needed.
    """

    index: Int[np.ndarray, "new taps"]
    weights: Float32[np.ndarray, "new taps"]


@cache
def area_taps(old: int, new: int) -> Taps:
    """Box weights for shrinking an axis from ``old`` to ``new`` pixels: the share of the new pixel each old one covers.

    Args:
        old: pixels before; at least ``new``.
        new: pixels after.

    Returns:
        Taps in ascending position; arithmetic in float64, stored as float32.
    """
    edges = np.arange(new + 1) * (old / new)
    count = int(np.ceil(old / new)) + 1
    index = np.floor(edges[:-1] + 1e-9).astype(np.int64)[:, None] + np.arange(count)
    covered = np.minimum(index + 1, edges[1:, None]) - np.maximum(index, edges[:-1, None])
    weights = np.clip(covered, 0.0, None)
    weights[weights < 1e-9] = 0.0
    weights /= old / new
    return Taps(index=np.minimum(index, old - 1), weights=weights.astype(np.float32))


@cache
def linear_taps(old: int, new: int, antialias: bool = False) -> Taps:
    """Triangle weights for shrinking an axis: pixels are points at their centres.

    Args:
        old: pixels before.
        new: pixels after.
        antialias: widen the triangle by the factor of shrinking, so that every old pixel takes part; else two do.

    Returns:
        Taps in ascending position; rows sum to 1.
    """
    scale = old / new
    reach = max(1.0, scale) if antialias else 1.0
    centres = (np.arange(new) + 0.5) * scale - 0.5
    first = np.ceil(centres - reach).astype(np.int64) if antialias else np.floor(centres).astype(np.int64)
    index = first[:, None] + np.arange(int(np.ceil(2 * reach)) + 1 if antialias else 2)
    weights = np.clip(1.0 - np.abs(index - centres[:, None]) / reach, 0.0, None)
    if antialias:
        weights[(index < 0) | (index >= old)] = 0.0
    weights /= weights.sum(axis=1, keepdims=True)
    return Taps(index=np.clip(index, 0, old - 1), weights=weights.astype(np.float32))


def resize(
    screen: UInt8[np.ndarray, "rows columns"], height: int, width: int, interpolation: str = "area"
) -> UInt8[np.ndarray, "new_rows new_columns"]:
    """Shrink a grey screen; linear interpolation differs from OpenCV's, which is in integers, by at most one grey level.

    Args:
        screen: grey levels 0..255.
        height: rows of the result.
        width: columns of the result.
        interpolation: as in :class:`Preprocessing`.
    """
    if interpolation == "area":
        return area_resize(screen, height, width)
    antialias = interpolation == "linear-antialias"
    return _shrunk(screen, linear_taps(screen.shape[0], height, antialias), linear_taps(screen.shape[1], width, antialias))


def grey_of(screen: UInt8[np.ndarray, "rows columns 3"]) -> UInt8[np.ndarray, "rows columns"]:
    """Luminance of red, green and blue in parts of 2**14, rounded, as the emulator's palette has it (ITU-R BT.601).

    OpenCV differs by one grey level at most.
    """
    parts = screen.astype(np.int32) @ np.array([4899, 9617, 1868], np.int32)
    return ((parts + (1 << 13)) >> 14).astype(np.uint8)


def area_resize(
    screen: UInt8[np.ndarray, "rows columns"], height: int, width: int
) -> UInt8[np.ndarray, "new_rows new_columns"]:
    """Shrink a grey screen by area interpolation, bit for bit as the training environment does.

    The sums run in float32, columns first, in ascending order, and halves go to the even neighbour: one screen in
    some hundred has a pixel exactly between two grey levels, where any other order decides differently.

    Args:
        screen: grey levels 0..255.
        height: rows of the result.
        width: columns of the result.

    Returns:
        Grey levels 0..255.
    """
    return _shrunk(screen, area_taps(screen.shape[0], height), area_taps(screen.shape[1], width))


def _shrunk(
    screen: UInt8[np.ndarray, "rows columns"], vertical: Taps, horizontal: Taps
) -> UInt8[np.ndarray, "new_rows new_columns"]:
    """Apply taps, columns first."""
    values = screen.astype(np.float32)
    narrow = values[:, horizontal.index[:, 0]] * horizontal.weights[:, 0]
    for k in range(1, horizontal.index.shape[1]):
        narrow += values[:, horizontal.index[:, k]] * horizontal.weights[:, k]
    small = narrow[vertical.index[:, 0]] * vertical.weights[:, 0, None]
    for k in range(1, vertical.index.shape[1]):
        small += narrow[vertical.index[:, k]] * vertical.weights[:, k, None]
    return np.rint(small).astype(np.uint8)


@cache
def area_matrix(old: int, new: int) -> Float32[np.ndarray, "new old"]:
    """The weights of :func:`area_taps` as a matrix ``m``, so that ``small = m @ large`` along the first axis."""
    taps = area_taps(old, new)
    matrix = np.zeros((new, old), np.float32)
    np.add.at(matrix, (np.arange(new)[:, None], taps.index), taps.weights)
    return matrix


def to_screen(plane: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "210 160"]:
    """Carry values of an observed plane back to the screen pixels they were computed from.

    A screen pixel gets the mean of the plane's pixels it went into, in the shares it went into them by area interpolation; for agents
    that interpolate linearly, which looks at four of some six pixels, the picture is the same.  The unit stays
    "per observed pixel"; the sum over the screen is the plane's sum times (210 * 160) / (rows * columns).

    Args:
        plane: relevance per observed pixel.

    Returns:
        The same, as seen from each screen pixel.
    """
    vertical, horizontal = area_matrix(SCREEN_HEIGHT, plane.shape[0]), area_matrix(SCREEN_WIDTH, plane.shape[1])
    density = (SCREEN_HEIGHT * SCREEN_WIDTH) / plane.size
    return np.float32(density) * (vertical.T @ plane @ horizontal)
