"""Figures: what is drawn are the numbers that were given, one layout per shape, and no pyplot."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from seqxai.errors import InputError
from seqxai.visualisation import colour_table, plot, save_figure


def drawn_maps(figure) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for axes in figure.axes for image in axes.get_images()]


def title(figure) -> list[str]:
    return figure.get_suptitle().split("\n")


@pytest.fixture
def random():
    return np.random.default_rng(0)


def test_words_are_horizontal_bars_with_their_labels(random):
    relevance = random.normal(size=(2, 3))
    figure = plot(relevance, labels=["not", "bad", "."], sample=1)
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == relevance[1].tolist()
    assert [text.get_text() for text in axes.get_yticklabels()] == ["not", "bad", "."]
    strongest = axes.patches[int(np.abs(relevance[1]).argmax())]
    end = colour_table()[-1 if relevance[1][np.abs(relevance[1]).argmax()] > 0 else 0] / 255
    assert strongest.get_facecolor()[:3] == pytest.approx(end)


def test_labelled_features_show_their_value():
    figure = plot(np.array([[1.0, -2.0]]), inputs=np.array([[0.5, 30.0]]), labels=["income", "age"])
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["income = 0.5", "age = 30"]


def test_a_vector_without_labels_stands_under_its_input(random):
    relevance, inputs = random.normal(size=(1, 50)), random.normal(size=(1, 50))
    upper, lower = plot(relevance, inputs=inputs).axes
    assert upper.lines[0].get_ydata().tolist() == inputs[0].tolist()
    assert [bar.get_height() for bar in lower.patches] == relevance[0].tolist()


def test_a_series_is_a_map_of_steps_against_features_with_the_sum_of_each_step(random):
    relevance = random.normal(size=(1, 7, 4))
    figure = plot(relevance, inputs=relevance + 1, labels=[f"t{step}" for step in range(7)])
    curves, sums, board, bar = figure.axes
    assert len(curves.lines) == 4
    assert [patch.get_height() for patch in sums.patches] == pytest.approx(relevance[0].sum(1).tolist())
    assert (drawn_maps(figure)[0] == relevance[0].T).all()
    assert [text.get_text() for text in board.get_xticklabels()] == [f"t{step}" for step in range(7)]
    assert bar.get_ylabel().startswith("relevance")


@pytest.mark.parametrize("channels", [1, 3, 9])
def test_an_image_is_drawn_beside_the_sum_of_its_channels(random, channels):
    relevance = random.normal(size=(2, channels, 6, 5))
    inputs = random.integers(0, 256, size=(2, channels, 6, 5)).astype(np.uint8)
    picture, heat = drawn_maps(plot(relevance, inputs=inputs, sample=1))
    assert heat == pytest.approx(relevance[1].sum(0))
    brightness = inputs[1].transpose(1, 2, 0) / 255 if channels == 3 else inputs[1].mean(0) / 255
    assert picture == pytest.approx(brightness)


def test_a_frame_stack_is_drawn_plane_by_plane_with_one_scale(random):
    relevance = random.normal(size=(1, 4, 6, 5)) * np.arange(1, 5)[:, None, None]
    figure = plot(relevance, inputs=np.abs(relevance))
    maps = drawn_maps(figure)
    assert len(maps) == 8
    assert (np.stack(maps[4:]) == relevance[0]).all()
    scales = {axes.get_images()[0].get_clim() for axes in figure.axes[4:8]}
    assert len(scales) == 1
    assert [axes.get_title() for axes in figure.axes[:4]] == ["plane 0", "plane 1", "plane 2", "plane 3"]


def test_the_scale_is_symmetric_and_may_be_given(random):
    relevance = random.normal(size=(1, 1, 20, 20))
    low, high = plot(relevance).axes[0].get_images()[0].get_clim()
    assert high == -low == np.quantile(np.abs(relevance), 0.995)
    assert plot(relevance, scale=2.5).axes[0].get_images()[0].get_clim() == (-2.5, 2.5)


def test_the_title_names_the_method_what_was_explained_and_the_sum():
    relevance = np.array([[1.0, 2.0], [0.25, -0.5]])
    figure = plot(relevance, explained=torch.tensor([3.5, -0.125]), method="lrp/epsilon", sample=1)
    assert title(figure) == ["lrp/epsilon", "explained = −0.125    Σ relevance = −0.25"]
    assert title(plot(relevance)) == ["Σ relevance = 3"]


@pytest.mark.parametrize(
    ("relevance", "options", "message"),
    [
        ((4,), {}, r"a batch of shape \(B, N\), \(B, T, F\) or \(B, C, H, W\) to plot, got \(4,\)"),
        ((1, 2, 3, 4, 5), {}, r"got \(1, 2, 3, 4, 5\); sum or slice"),
        ((2, 3), {"sample": 2}, r"Expected a sample in 0..1, got 2; the batch has 2"),
        ((2, 3), {"sample": -1}, r"Expected a sample in 0..1, got -1"),
        ((2, 3), {"labels": ["a"]}, r"Expected 3 labels, one per value, got 1"),
        ((1, 201), {"labels": ["a"] * 201}, r"at most 200 labelled values in one figure, got 201"),
        ((2, 3), {"inputs": np.ones((2, 4))}, r"inputs of the relevance's shape, \(3,\) a sample, got \(4,\)"),
        ((2, 3), {"explained": np.ones(1), "sample": 1}, r"one explained scalar per sample, got 1 and asked for 1"),
        ((2, 3), {"scale": 0.0}, r"positive, finite colour scale, got 0.0"),
        ((2, 3), {"palette": "jet"}, r"Unknown palette 'jet'"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_sentence(relevance, options, message):
    with pytest.raises(InputError, match=message):
        plot(np.ones(relevance), **options)


def test_zero_everywhere_and_nan_are_refused_unless_they_can_be_drawn():
    with pytest.raises(InputError, match="zero everywhere"):
        plot(np.zeros((1, 2, 3)))
    assert drawn_maps(plot(np.zeros((1, 2, 3)), scale=1.0))[0].tolist() == np.zeros((3, 2)).tolist()
    with pytest.raises(InputError, match="Expected finite relevance"):
        plot(np.full((1, 3), np.nan), scale=1.0)


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_figures_are_saved_by_their_ending(tmp_path, suffix, magic):
    path = tmp_path / f"figure{suffix}"
    save_figure(plot(np.ones((1, 3))), path, dpi=50)
    assert path.read_bytes().startswith(magic)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_an_unknown_ending_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"ending in \.png or \.svg or \.pdf, got \.gif"):
        save_figure(plot(np.ones((1, 3))), tmp_path / "figure.gif")
    assert list(tmp_path.iterdir()) == []


def test_matplotlib_is_imported_only_to_draw_and_pyplot_never():
    script = (
        "import sys, numpy as np\n"
        "from seqxai.visualisation import colourise, heatmap, plot\n"
        "heatmap(np.ones((2, 2)))\n"
        "assert 'matplotlib' not in sys.modules\n"
        "plot(np.ones((1, 2, 2)))\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
