"""A relevance map as an RGB image, alone or laid over the image it explains."""

import os

import numpy as np
from jaxtyping import Float64, UInt8

from seqxai.errors import InputError
from seqxai.files import written_whole
from seqxai.visualisation.colour import (
    STEPS,
    ArrayLike,
    as_array,
    check_finite,
    colour_table,
    colourise,
    symmetric_scale,
)

DIMMED = 0.55  # brightness kept by an image under its heatmap, so that colour stands out
FULL_HUE = STEPS * 2 // 3  # where a palette is most saturated; beyond it only gets darker (or lighter)


def heatmap(
    relevance: ArrayLike,
    image: ArrayLike | None = None,
    scale: float | None = None,
    palette: str = "red-blue",
) -> UInt8[np.ndarray, "height width 3"]:
    """Draw signed relevance; the channels of one pixel are summed, signs kept.

    Over an image, which is drawn grey and dimmed, relevance is a veil whose opacity is ``|relevance| / scale``; alone
    it is ``colourise``.

    Args:
        relevance: (H, W) or (C, H, W).
        image: what was explained, of the same height and width: (H, W), (C, H, W) or (H, W, 3); uint8 in 0..255, or
            floating, stretched from its minimum to its maximum.
        scale: magnitude with the full colour, in the units of the relevance; by default ``symmetric_scale`` of the map.
        palette: a name in ``PALETTES``.

    Raises:
        InputError: wrong shapes, values that are not finite, relevance that is zero everywhere without a scale.
    """
    values = sum_channels(as_array(relevance))
    scale = symmetric_scale(values) if scale is None else scale
    coloured = colourise(values, scale, palette)
    if image is None:
        return coloured
    grey = to_grey(as_array(image))
    if grey.shape != values.shape:
        raise InputError(
            f"Expected an image as high and wide as the relevance, {values.shape}, got {grey.shape}; "
            "pass the image the model was given."
        )
    table = colour_table(palette)
    hue = np.where((values >= 0)[..., None], table[STEPS + FULL_HUE], table[STEPS - FULL_HUE])
    opacity = np.clip(np.abs(values) / scale, 0, 1)[..., None]
    return np.rint((1 - opacity) * DIMMED * 255 * grey[..., None] + opacity * hue).astype(np.uint8)


def save_heatmap(
    path: str | os.PathLike[str],
    relevance: ArrayLike,
    *,
    image: ArrayLike | None = None,
    scale: float | None = None,
    palette: str = "red-blue",
    zoom: int = 1,
) -> None:
    """Write ``heatmap(...)`` as a PNG file, every pixel repeated ``zoom`` times in both directions.

    Raises:
        InputError: as ``heatmap``; a name that does not end in .png; a place that cannot be written; a zoom below 1.
    """
    from PIL import Image

    if zoom < 1:
        raise InputError(f"Expected a zoom of at least 1, got {zoom}; it repeats every pixel that many times.")
    picture = heatmap(relevance, image, scale, palette).repeat(zoom, axis=0).repeat(zoom, axis=1)
    with written_whole(path, (".png",)) as part:
        Image.fromarray(picture).save(part)


def sum_channels(relevance: np.ndarray) -> np.ndarray:
    """(C, H, W) -> (H, W) by summing; (H, W) unchanged.

    Raises:
        InputError: any other number of dimensions.
    """
    if relevance.ndim not in (2, 3):
        raise InputError(
            f"Expected relevance of shape (height, width) or (channels, height, width), got {relevance.shape}; "
            "pick one sample of a batch, relevance[0]."
        )
    return relevance.sum(axis=0) if relevance.ndim == 3 else relevance


def to_grey(image: np.ndarray) -> Float64[np.ndarray, "height width"]:
    """Brightness in 0..1 of an (H, W), (C, H, W) or (H, W, 3) image: the mean of its channels.

    uint8 is read as 0..255; anything else is stretched from its minimum to its maximum (a constant image is mid-grey).
    """
    values = to_unit(image)
    if values.ndim == 2:
        return values
    if values.ndim != 3:
        raise InputError(f"Expected an image of shape (H, W), (C, H, W) or (H, W, 3), got {image.shape}; pick one image.")
    channels_last = values.shape[-1] == 3 and values.shape[0] not in (1, 3)
    return values.mean(axis=-1 if channels_last else 0)


def to_unit(image: np.ndarray) -> np.ndarray:
    """The image's values in 0..1 as float64, its shape kept; see ``to_grey`` for how.

    Raises:
        InputError: the image has no pixels or is not finite.
    """
    if image.size == 0:
        raise InputError(f"Expected an image, got an empty array of shape {image.shape}.")
    if image.dtype == np.uint8:
        return image / 255.0
    values = image.astype(np.float64)
    check_finite(values, what="image")
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.full(values.shape, 0.5)
