"""Heatmaps: channels summed with their signs, the overlay's arithmetic, and files that are whole or absent."""

import numpy as np
import pytest
import torch
from PIL import Image

from seqxai.errors import InputError
from seqxai.visualisation import colour_table, colourise, heatmap, save_heatmap
from seqxai.visualisation.heatmap import to_grey


def test_channels_are_summed_with_their_signs():
    relevance = np.zeros((2, 3, 4))
    relevance[:, 0, 0] = 1.0, -1.0  # cancels
    relevance[:, 1, 2] = 0.5, 0.5
    picture = heatmap(relevance)
    assert picture.shape == (3, 4, 3)
    assert picture[0, 0].tolist() == [255, 255, 255]
    assert (picture[1, 2] == colour_table()[-1]).all()
    assert (heatmap(relevance, scale=2.0)[1, 2] == colourise(np.array([1.0]), 2.0)[0]).all()  # a sum, not a mean
    assert (heatmap(torch.tensor(relevance)) == picture).all()


def test_alone_it_is_the_colour_map_with_the_given_scale():
    relevance = np.random.default_rng(0).normal(size=(5, 6))
    assert (heatmap(relevance, scale=2.0, palette="black") == colourise(relevance, 2.0, "black")).all()


def test_over_an_image_no_relevance_shows_the_dimmed_image_and_full_relevance_only_colour():
    image = np.full((1, 3), 200, np.uint8)
    table = colour_table().astype(int)
    clear, full, half = heatmap(np.array([[0.0, 1.0, -0.5]]), image, scale=1.0)[0].astype(int)
    assert clear.tolist() == [110] * 3  # 0.55 · 200
    assert (full == table[255 + 170]).all()
    assert half == pytest.approx((110 + table[255 - 170]) / 2, abs=1)


@pytest.mark.parametrize("layout", ["hw", "chw", "hwc"])
def test_every_layout_of_an_image_has_the_same_brightness(layout):
    grey = np.linspace(0, 255, 20).astype(np.uint8).reshape(4, 5)
    image = {"hw": grey, "chw": np.stack([grey] * 3), "hwc": np.stack([grey] * 3, -1)}[layout]
    assert to_grey(image) == pytest.approx(grey / 255, abs=1e-12)


def test_floating_images_are_stretched_and_constant_ones_are_mid_grey():
    assert to_grey(np.array([[-1.0, 0.0, 3.0]])).tolist() == [[0.0, 0.25, 1.0]]
    assert to_grey(np.full((2, 2), 7.0)).tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(InputError, match=r"as high and wide as the relevance, \(3, 4\), got \(4, 3\)"):
        heatmap(np.ones((3, 4)), np.ones((4, 3)))
    with pytest.raises(InputError, match=r"got \(2, 3, 4, 4\); pick one sample of a batch"):
        heatmap(np.ones((2, 3, 4, 4)))
    with pytest.raises(InputError, match=r"Expected an image of shape .* got \(2, 3, 4, 4\)"):
        heatmap(np.ones((4, 4)), np.ones((2, 3, 4, 4)))
    with pytest.raises(InputError, match="Expected finite image, but 1 of 4 values"):
        heatmap(np.ones((2, 2)), np.array([[0.0, np.nan], [1.0, 2.0]]))


def test_a_saved_heatmap_is_the_heatmap_with_every_pixel_repeated(tmp_path):
    relevance = np.random.default_rng(0).normal(size=(5, 6))
    save_heatmap(tmp_path / "map.png", relevance, zoom=3)
    with Image.open(tmp_path / "map.png") as file:
        pixels = np.asarray(file)
    assert pixels.shape == (15, 18, 3)
    assert (pixels[1::3, 1::3] == heatmap(relevance)).all()
    assert [path.name for path in tmp_path.iterdir()] == ["map.png"]


def test_places_that_cannot_be_written_are_named(tmp_path):
    relevance = np.ones((2, 2))
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError, match=r"ending in \.png, got \.jpg; rename it"):
        save_heatmap(tmp_path / "map.jpg", relevance)
    with pytest.raises(InputError, match=r"folder\.png': it is a directory"):
        save_heatmap(tmp_path / "folder.png", relevance)
    with pytest.raises(InputError, match=r"nowhere' is missing; create it first"):
        save_heatmap(tmp_path / "nowhere" / "map.png", relevance)
    with pytest.raises(InputError, match="zoom of at least 1, got 0"):
        save_heatmap(tmp_path / "map.png", relevance, zoom=0)


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_else(tmp_path, monkeypatch):
    target = tmp_path / "map.png"
    target.write_bytes(b"old")

    def disk_full(self, path, *arguments, **options):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", disk_full)
    with pytest.raises(InputError, match=r"Cannot write '.*map\.png': No space left on device"):
        save_heatmap(target, np.ones((2, 2)))
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["map.png"]
