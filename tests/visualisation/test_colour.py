"""Colour maps: exact at the anchors, honest about the sign, safe for every eye, and strict about their input."""

import numpy as np
import pytest
import torch

from seqxai.errors import InputError
from seqxai.visualisation import PALETTES, colour_table, colourise, symmetric_scale

# Full dichromacy as a matrix on linear RGB: Machado, Oliveira, Fernandes 2009, Table 1, severity 1.0.
DICHROMACIES = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def linear(srgb: np.ndarray) -> np.ndarray:
    """sRGB bytes to linear light in 0..1 (IEC 61966-2-1)."""
    unit = srgb / 255.0
    return np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)


def lightness(srgb: np.ndarray) -> np.ndarray:
    """CIE L* in 0..100."""
    luminance = linear(srgb) @ np.array([0.2126, 0.7152, 0.0722])
    return np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)


@pytest.mark.parametrize(("palette", "centre"), [("red-blue", 255), ("orange-purple", 255), ("black", 0)])
def test_zero_is_exactly_the_centre_and_the_ends_are_the_anchors(palette, centre):
    colours = colourise(np.array([-2.0, -0.0, 0.0, 2.0]), 2.0, palette)
    assert colours.dtype == np.uint8
    assert colours[1].tolist() == colours[2].tolist() == [centre] * 3
    assert colours[0].tolist() == [round(255 * part) for part in PALETTES[palette][0]]
    assert colours[3].tolist() == [round(255 * part) for part in PALETTES[palette][-1]]


def test_colours_between_anchors_are_interpolated():
    # One sixth of the scale lies half-way from white (1, 1, 1) to the first warm anchor (0.96, 0.69, 0.60).
    red, green, blue = colourise(np.array([1 / 6]), 1.0, "red-blue")[0].astype(int)
    assert [red, green, blue] == pytest.approx([255 * 0.98, 255 * 0.845, 255 * 0.80], abs=1)


def test_beyond_the_scale_saturates_and_halving_the_scale_doubles_the_value():
    assert (colourise(np.array([5.0, -5.0]), 1.0) == colourise(np.array([1.0, -1.0]), 1.0)).all()
    values = np.linspace(-1, 1, 41)
    assert (colourise(values, 1.0) == colourise(values / 2, 0.5)).all()


def test_shape_gets_a_last_axis_and_tensors_are_read():
    values = np.random.default_rng(0).normal(size=(2, 3, 4))
    colours = colourise(values, 1.0)
    assert colours.shape == (2, 3, 4, 3)
    tensor = torch.tensor(values, requires_grad=True)
    assert (colourise(tensor, 1.0) == colours).all()
    coarse = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.bfloat16)
    assert (colourise(coarse, 1.0) == colourise(np.array([-1.0, 0.0, 1.0]), 1.0)).all()


@pytest.mark.parametrize("palette", PALETTES)
def test_both_signs_are_equally_strong_and_lightness_is_monotone(palette):
    levels = lightness(colour_table(palette).astype(float))
    negative, positive = levels[255::-1], levels[255:]
    assert np.abs(negative - positive).max() < 3
    direction = 1 if palette == "black" else -1
    assert (direction * np.diff(positive) > -0.35).all()  # a byte of rounding
    assert (direction * np.diff(negative) > -0.35).all()
    assert abs(positive[-1] - positive[0]) > 75


@pytest.mark.parametrize("palette", PALETTES)
@pytest.mark.parametrize("eye", ["normal", *DICHROMACIES])
def test_signs_stay_apart_for_every_eye(palette, eye):
    light = linear(colour_table(palette).astype(float)) @ np.array(DICHROMACIES.get(eye, np.eye(3))).T
    light = light.clip(0, 1)
    seen = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    distance = np.linalg.norm(seen[256:] - seen[254::-1], axis=1)  # +t against -t, in bytes of sRGB
    assert distance[85:].min() > 60  # from a third of the scale on


def test_scale_is_a_quantile_of_the_magnitude():
    values = np.concatenate([np.arange(-50, 0), np.arange(1, 51)]).astype(float)
    assert symmetric_scale(values, quantile=1.0) == 50
    assert symmetric_scale(values, quantile=0.5) == 25.5
    assert symmetric_scale(values[::-1].reshape(4, 25), quantile=0.5) == 25.5
    assert symmetric_scale(torch.tensor(values), quantile=0.5) == 25.5


def test_scale_of_very_sparse_relevance_is_its_maximum():
    values = np.zeros(10_000)
    values[7] = -3.0
    assert symmetric_scale(values) == 3.0


def test_all_zero_relevance_has_no_scale_but_can_be_drawn_with_one():
    with pytest.raises(InputError, match=r"zero everywhere.*pass a scale \(scale=1.0\)"):
        symmetric_scale(np.zeros((2, 3)))
    assert (colourise(np.zeros((2, 3)), 1.0) == 255).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_located(bad):
    values = np.ones((3, 4))
    values[1, 2] = bad
    expected = r"Expected finite relevance, but 1 of 12 values are NaN or infinite, the first at index \(1, 2\)"
    with pytest.raises(InputError, match=expected):
        symmetric_scale(values)
    with pytest.raises(InputError, match=expected):
        colourise(values, 1.0)


def test_empty_relevance_is_refused():
    with pytest.raises(InputError, match="got an empty array"):
        symmetric_scale(np.zeros((0, 3)))


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_must_be_positive_and_finite(scale):
    with pytest.raises(InputError, match=rf"positive, finite colour scale, got {scale}; symmetric_scale"):
        colourise(np.ones(3), scale)


@pytest.mark.parametrize("quantile", [0.0, 1.5, -0.1])
def test_a_quantile_must_be_in_range(quantile):
    with pytest.raises(InputError, match=rf"quantile in \(0, 1\], got {quantile}"):
        symmetric_scale(np.ones(3), quantile)


def test_an_unknown_palette_names_the_known_ones():
    with pytest.raises(InputError, match="Unknown palette 'jet'; choose one of black, orange-purple, red-blue"):
        colour_table("jet")


def test_the_table_cannot_be_changed_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        colour_table("black")[0] = 0
