"""Relevance over the game, on one scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from rl.drawing import GREY, Canvas, Palette, diverging, veil
from rl.preprocessing import to_screen


@dataclass(frozen=True)
class HeatPainter:
    """Paints relevance over a darkened screen.

    Attributes:
        limit: relevance per observed pixel with the full colour.
        palette: the colours of relevance.
        in_colour: the screen below keeps some of its colour: wanted where nothing else shows it.
    """

    limit: float
    palette: Palette
    in_colour: bool

    def paint(self, relevance: Float32[np.ndarray, "84 84"], screen: UInt8[np.ndarray, "210 160 3"]) -> Canvas:
        """One picture, (210, 160, 3)."""
        strength = to_screen(relevance) / np.float32(self.limit)
        if self.in_colour:
            return veil(strength, screen, self.palette)
        return diverging(strength, screen @ GREY, self.palette)
