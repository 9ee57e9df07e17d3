"""Relevance over the game, fast enough for a dozen checkpoints in every frame."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, UInt8

from rl.drawing import Canvas, diverging
from rl.preprocessing import to_screen

GREY = np.array([0.299, 0.587, 0.114], np.float32)
"""Luminance of red, green and blue (ITU-R BT.601), as the emulator's own grey levels."""

SHADES = 127
"""Steps of colour on either side of zero."""


class HeatPainter:
    """Paints relevance over a darkened screen, on one scale.

    Every colour that can come out, of a shade and a grey level, is computed once; painting looks it up.

    Args:
        limit: relevance per observed pixel with the full colour.
    """

    def __init__(self, limit: float) -> None:
        strength = np.linspace(-1.0, 1.0, 2 * SHADES + 1, dtype=np.float32)[:, None].repeat(256, axis=1)
        grey = np.arange(256, dtype=np.float32)[None].repeat(2 * SHADES + 1, axis=0)
        table = np.zeros((strength.size, 4), np.uint8)
        table[:, :3] = diverging(strength, grey).reshape(-1, 3)
        self._colours = table.view(np.uint32)[:, 0]
        self._factor = np.float32(SHADES / limit)
        self._grey = np.zeros((210, 160), np.int32)

    def paint(
        self, relevance: Float32[np.ndarray, "84 84"], screen: UInt8[np.ndarray, "210 160 3"] | None
    ) -> Canvas:
        """One picture.

        Args:
            relevance: per observed pixel.
            screen: the game below; the one of the last call when None.

        Returns:
            (210, 160, 3).
        """
        if screen is not None:
            self._grey = (screen.reshape(-1, 3) @ GREY + 0.5).astype(np.int32).reshape(210, 160)
        shades = np.clip(to_screen(relevance * self._factor), -SHADES, SHADES)
        place = np.rint(shades).astype(np.int32)
        place += SHADES
        place <<= 8
        place += self._grey
        found = self._colours.take(place.reshape(-1)).view(np.uint8).reshape(-1, 4)
        picture = np.empty((found.shape[0], 3), np.uint8)
        for channel in range(3):
            picture[:, channel] = found[:, channel]
        return picture.reshape(210, 160, 3)
