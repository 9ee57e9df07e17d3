"""Signed relevance as colour: diverging palettes whose centre is exactly zero, and one symmetric scale.

Positive relevance (for the decision) is warm, negative relevance (against it) is cold or violet, zero is the centre of
the palette and nothing else.  Both sides of a palette have the same luminance at the same magnitude, so that neither
sign looks stronger than it is, and the two stay apart under the three dichromacies.  Use one scale for all pictures
that are compared: the frames of a video, the epochs of a training.  A scale per picture hides growth and loss of
relevance.
"""

from functools import cache
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, UInt8

from seqxai.errors import InputError

STEPS = 255  # colours on either side of the centre

# Anchor colours (red, green, blue in 0..1), evenly spaced from -1 to +1 and joined by straight lines.
PALETTES: dict[str, tuple[tuple[float, float, float], ...]] = {
    # White centre, for figures on paper.
    "red-blue": (
        (0.03, 0.16, 0.42),
        (0.14, 0.43, 0.76),
        (0.60, 0.78, 0.94),
        (1.00, 1.00, 1.00),
        (0.96, 0.69, 0.60),
        (0.80, 0.22, 0.18),
        (0.39, 0.01, 0.06),
    ),
    # White centre, for readers who cannot tell red: orange and violet also differ in blueness under every deficiency.
    "orange-purple": (
        (0.26, 0.08, 0.46),
        (0.52, 0.40, 0.76),
        (0.80, 0.75, 0.92),
        (1.00, 1.00, 1.00),
        (0.96, 0.73, 0.49),
        (0.73, 0.37, 0.05),
        (0.34, 0.14, 0.02),
    ),
    # Black centre, for light on a darkened frame.
    "black": (
        (0.62, 0.90, 1.00),
        (0.08, 0.52, 1.00),
        (0.02, 0.20, 0.55),
        (0.00, 0.00, 0.00),
        (0.50, 0.07, 0.03),
        (1.00, 0.30, 0.16),
        (1.00, 0.86, 0.62),
    ),
}


@runtime_checkable
class ArrayLike(Protocol):
    """Anything numpy can read as an array of numbers: an array, or a torch tensor."""

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        """The array."""
        ...


def as_array(values: ArrayLike) -> np.ndarray:
    """Read an array, or a tensor of any device and floating type, as a numpy array; its gradients are left behind."""
    tensor: Any = values
    if hasattr(tensor, "detach"):  # a torch tensor; torch itself is not imported here
        tensor = tensor.detach().cpu()
        tensor = tensor.double() if tensor.is_floating_point() else tensor
    return np.asarray(tensor)


def check_finite(values: np.ndarray, what: str = "relevance") -> None:
    """Refuse NaN and infinity in ``values``, called ``what`` in the message.

    Raises:
        InputError: naming how many there are and where the first one is.
    """
    broken = ~np.isfinite(values)
    if broken.any():
        first = tuple(int(i) for i in np.argwhere(broken)[0])
        raise InputError(
            f"Expected finite {what}, but {int(broken.sum())} of {values.size} values are NaN or infinite, the first "
            f"at index {first}; look at the weights and the input of the explained model."
        )


def symmetric_scale(relevance: ArrayLike, quantile: float = 0.995) -> float:
    """The magnitude that gets the full colour: a quantile of ``|relevance|`` over all its values.

    Args:
        relevance: any shape; for a video all of its frames, so that they share one scale.
        quantile: in (0, 1]; 1 is the maximum, less lets a few outliers saturate.  Where more than this share of the
            values is exactly zero, the maximum is taken.

    Raises:
        InputError: the relevance is empty, not finite, or zero everywhere (no scale follows from it), or the quantile
            is out of range.
    """
    if not 0 < quantile <= 1:
        raise InputError(f"Expected a quantile in (0, 1], got {quantile}; use 0.995, or 1 for the maximum.")
    magnitude = np.abs(as_array(relevance))
    if magnitude.size == 0:
        raise InputError("Expected relevance to take a scale from, got an empty array; pass at least one value.")
    check_finite(magnitude)
    largest = float(magnitude.max())
    if largest == 0:
        raise InputError(
            "The relevance is zero everywhere, so no colour scale follows from it; "
            "pass a scale (scale=1.0) to draw it all the same."
        )
    return float(np.quantile(magnitude, quantile)) or largest


@cache
def _table(palette: str) -> UInt8[np.ndarray, "steps 3"]:
    if palette not in PALETTES:
        raise InputError(f"Unknown palette {palette!r}; choose one of {', '.join(sorted(PALETTES))}.")
    anchors: Float64[np.ndarray, "anchors 3"] = np.array(PALETTES[palette])
    positions = np.linspace(-1, 1, len(anchors))
    steps = np.arange(-STEPS, STEPS + 1) / STEPS
    channels = [np.interp(steps, positions, anchors[:, channel]) for channel in range(3)]
    table = np.rint(255 * np.stack(channels, axis=-1)).astype(np.uint8)
    table.setflags(write=False)
    return table


def colour_table(palette: str = "red-blue") -> UInt8[np.ndarray, "511 3"]:
    """The palette as a read-only table of 511 colours, from -1 to +1; row 255 is exactly zero.

    Raises:
        InputError: there is no such palette.
    """
    return _table(palette)


def colourise(relevance: ArrayLike, scale: float, palette: str = "red-blue") -> UInt8[np.ndarray, "*shape 3"]:
    """Colours of signed relevance: ``-scale`` and below is one end of the palette, 0 its centre, ``+scale`` the other.

    Args:
        relevance: any shape.
        scale: the magnitude with the full colour, in the units of the relevance; see ``symmetric_scale``.
        palette: ``"red-blue"`` or ``"orange-purple"`` (white centre), ``"black"`` (black centre, for video frames).

    Returns:
        uint8 of the relevance's shape with red, green, blue as the last axis.

    Raises:
        InputError: the relevance is not finite, the scale not positive and finite, or the palette unknown.
    """
    values = as_array(relevance)
    check_scale(scale)
    check_finite(values)
    index = np.rint(np.clip(values / scale, -1, 1) * STEPS).astype(np.intp) + STEPS
    return _table(palette)[index]


def check_scale(scale: float) -> None:
    """Refuse a scale that is not a positive finite number.

    Raises:
        InputError: naming the scale.
    """
    if not (np.isfinite(scale) and scale > 0):
        raise InputError(f"Expected a positive, finite colour scale, got {scale}; symmetric_scale(relevance) computes one.")
