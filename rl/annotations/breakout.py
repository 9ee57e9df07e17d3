"""Breakout from its memory: the 108 bricks, and tunnels through them.

The console keeps two bits for each brick; a brick stands where both are set.  Addresses and bit orders were found by comparing memory
with screens; `tests/rl/test_annotations.py` holds them against the colours of a game.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, UInt8

ROWS, COLUMNS = 6, 18
TOP, LEFT, HEIGHT, WIDTH = 57, 8, 6, 8
"""Of the upper left brick on the screen, and of each brick, in pixels."""

_BYTES = ((35, (6,)), (29, (6, 4, 2, 0)), (23, (0, 2, 4, 6)), (17, (4, 6)), (11, (6, 4, 2, 0)), (5, (0, 2, 4)))
"""From the left: the byte of the top row, and the lower bit of each column in it; the rows below are in the bytes before."""
_BYTE = np.array([byte for byte, bits in _BYTES for _ in bits])
_BIT = np.array([bit for _, bits in _BYTES for bit in bits])


def bricks(ram: UInt8[np.ndarray, "*moments 128"]) -> Bool[np.ndarray, "*moments 6 18"]:
    """Which bricks stand, the upper row first, from the left.

    Args:
        ram: the console's memory, of one moment or of many.
    """
    address = _BYTE[None, :] - np.arange(ROWS)[:, None]
    standing: np.ndarray = (ram[..., address] >> _BIT & 3) == 3
    return standing


def tunnels(
    standing: Bool[np.ndarray, "*moments 6 18"], bricks_left: int = 60
) -> Bool[np.ndarray, "*moments 18"]:
    """Columns without a brick while the wall is still there, through which the ball gets behind it.

    Args:
        standing: as :func:`bricks` gives it.
        bricks_left: so many must stand in the other columns, or an open column is no tunnel but the end of the wall.
    """
    enough = standing.sum(axis=(-2, -1)) >= bricks_left
    return ~standing.any(axis=-2) & enough[..., None]
