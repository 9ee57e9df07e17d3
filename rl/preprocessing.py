"""What lies between the screen of a game and the eyes of an agent: part of the model, so it travels with the weights.

The resize is the area interpolation the agents were trained with.  It is written out here instead of taken from an
image library because its weights are needed twice: to shrink the screen, and to carry relevance back onto it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from rl.checks import shown
from seqxai.errors import InputError

SCREEN_HEIGHT, SCREEN_WIDTH = 210, 160

SUPPORTED = {
    "pooled_frames": 2,
    "colour": "grey",
    "height": 84,
    "width": 84,
    "interpolation": "area",
    "stack": 4,
    "stack_padding": "zeros",
    "sticky_probability": 0.0,
    "divisor": 255.0,
}
"""The fields of `Preprocessing` that have one possible value so far; the others are free."""

LIMITS = {"frame_skip": (2, 60), "start_frames": (0, 10_000)}
"""Emulator frames, 60 a second: beyond a second per decision or three minutes of waiting nothing sensible is played."""


@dataclass(frozen=True)
class Preprocessing:
    """How a screen becomes an observation, and how a game is started; stored in every checkpoint.

    Attributes:
        frame_skip: emulator frames per decision; the action is held that long.
        pooled_frames: the pixelwise maximum is taken over this many of the last frames, since sprites may flicker.
        colour: ``"grey"``: the emulator's own luminance.
        height: rows of a plane.
        width: columns of a plane.
        interpolation: ``"area"``: each new pixel is the mean over the box it covers.
        stack: planes in an observation, newest last.
        stack_padding: ``"zeros"``: the planes before the first frame of a game are black.
        sticky_probability: chance that the emulator repeats the previous action instead.
        start_frames: exclusive upper limit of the random number of frames, FIRE included, before the first decision.
        fire_at_reset: press FIRE for one frame when a game starts, where the game knows FIRE.
        fire_after_life: the decision after a lost life is FIRE, where the game knows FIRE.
        divisor: what the network divides the pixels by, inside itself.
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


def check_supported(preprocessing: Preprocessing) -> None:
    """Refuse a preprocessing nobody here performs: the agent would look at something else than in training.

    Raises:
        InputError: names the field, what it says and what is possible.
    """
    for name, possible in SUPPORTED.items():
        value = getattr(preprocessing, name)
        if value != possible:
            raise InputError(
                f"the agent was trained with {name}={shown(value)}; only {possible!r} is supported so far; "
                "choose an agent that was trained so"
            )
    if preprocessing.frame_skip < 2:
        raise InputError(
            f"frame_skip is {preprocessing.frame_skip}; pooling two frames needs at least 2; choose another agent"
        )
    for name, (low, high) in LIMITS.items():
        value = getattr(preprocessing, name)
        if not low <= value <= high:
            raise InputError(f"{name} should be {low} .. {high} emulator frames, got {shown(value)}; choose another agent")


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
    horizontal, vertical = area_taps(screen.shape[1], width), area_taps(screen.shape[0], height)
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

    A screen pixel gets the mean of the plane's pixels it went into, in the shares it went into them.  The unit stays
    "per observed pixel"; the sum over the screen is the plane's sum times (210 * 160) / (rows * columns).

    Args:
        plane: relevance per observed pixel.

    Returns:
        The same, as seen from each screen pixel.
    """
    vertical, horizontal = area_matrix(SCREEN_HEIGHT, plane.shape[0]), area_matrix(SCREEN_WIDTH, plane.shape[1])
    density = (SCREEN_HEIGHT * SCREEN_WIDTH) / plane.size
    return np.float32(density) * (vertical.T @ plane @ horizontal)
