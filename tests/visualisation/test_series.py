"""Numeric sequences as a figure: what is drawn are the numbers that were given, on one scale."""

import numpy as np
import pytest
import torch
from matplotlib.dates import num2date
from torch import nn

import seqxai
from seqxai.errors import InputError
from seqxai.targets import Several, Step
from seqxai.visualisation import Series, draw_series, plot_series, save_figure, symmetric_scale

STEPS, CHANNELS = 9, 2


@pytest.fixture
def random():
    return np.random.default_rng(0)


def strips(figure) -> list[np.ndarray]:
    """Relevance behind the colours: one (targets, T) for each channel, column by column; the colour bar has no rows."""
    found = [mesh.get_array() for axes in figure.axes for mesh in axes.collections if hasattr(mesh, "get_coordinates")]
    return [np.asarray(part) for part in found if part.shape[-1] > 1]


def sums(figure) -> list[np.ndarray]:
    """Σ over the channels, from the bars above and below zero."""
    stairs = [patch.get_data().values for axes in figure.axes for patch in axes.patches if hasattr(patch, "get_data")]
    return [up + down for up, down in zip(stairs[::2], stairs[1::2], strict=True)]


def texts(figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_curves_strips_and_sums_are_the_numbers(random):
    relevance, inputs = random.normal(size=(1, STEPS, CHANNELS)), random.normal(size=(1, STEPS, CHANNELS))
    figure = plot_series(relevance, inputs=inputs, explained=np.array([3.5]), channels=["rain", "heat"], method="lrp")
    curves = [axes.lines[0].get_ydata() for axes in figure.axes if axes.texts and axes.texts[0].get_text() in ("rain", "heat")]
    assert np.array_equal(np.stack(curves, 1), inputs[0])
    assert np.array_equal(np.concatenate(strips(figure)).T, relevance[0])
    assert sums(figure)[0] == pytest.approx(relevance[0].sum(1))
    totals = [f"{total:+.2g}".replace("-", "−") for total in relevance[0].sum(0)]
    assert [text for text in texts(figure) if text in totals] == totals
    assert f"explained 3.5   ΣR {relevance.sum():.4g}".replace("-", "−") in texts(figure)
    assert figure.texts[0].get_text() == "lrp"


def test_several_targets_and_series_share_one_scale(random):
    relevance = random.normal(size=(3, 4, STEPS, CHANNELS)) * np.array([1.0, 5.0, 0.2])[:, None, None, None]
    figure = plot_series(relevance, sample=[3, 0], targets=["low", "high", "mid"], series=["north", "south"])
    drawn = strips(figure)
    assert [part.shape for part in drawn] == [(3, STEPS)] * 4
    for column, sample in enumerate((3, 0)):
        for channel in range(CHANNELS):
            assert np.array_equal(drawn[2 * column + channel], relevance[:, sample, :, channel])
        for target in range(3):
            assert sums(figure)[3 * column + target] == pytest.approx(relevance[target, sample].sum(1))
    scale = symmetric_scale(relevance[:, [3, 0]])
    limits = {mesh.get_clim() for axes in figure.axes for mesh in axes.collections if hasattr(mesh, "get_coordinates")}
    assert limits == {(-scale, scale)}
    assert [text.get_text() for text in figure.texts] == ["north", "south"]
    assert len({axes.get_ylim() for axes in figure.axes if any(hasattr(p, "get_data") for p in axes.patches)}) == 1
    assert "b   high" in " ".join(texts(figure))


def test_dates_are_on_the_axis_and_steps_without_times(random):
    relevance = random.normal(size=(1, STEPS, 1))
    dates = np.arange("2005-03-01", "2005-03-10", dtype="datetime64[D]")
    low, high = strips_axes(plot_series(relevance, times=dates)).get_xlim()
    assert (num2date(low).isoformat()[:16], num2date(high).isoformat()[:16]) == ("2005-02-28T12:00", "2005-03-09T12:00")
    assert strips_axes(plot_series(relevance)).get_xlim() == (-0.5, 8.5)
    assert strips_axes(plot_series(relevance, times=[0, 1, 2, 3, 4, 5, 6, 7, 17])).get_xlim() == (-0.5, 22.0)
    bottom = plot_series(relevance, times=list("abcdefghi")).axes[-2]
    assert [label.get_text() for label in bottom.get_xticklabels()] == list("abcdefghi")


def strips_axes(figure):
    return next(axes for axes in figure.axes if axes.collections)


def test_long_series_are_added_up_in_groups(random):
    relevance, values = random.normal(size=(1, 5001, 2)), random.normal(size=(5001, 2))
    figure = draw_series([Series(relevance, values)])
    drawn = np.concatenate(strips(figure)).T
    assert drawn.shape == (1001, 2)  # 5 steps each, the last group of one
    assert drawn[:1000] == pytest.approx(relevance[0, :5000].reshape(1000, 5, 2).sum(1))
    assert drawn[1000] == pytest.approx(relevance[0, 5000])
    assert figure.axes[-1].get_ylabel() == "relevance of 5 steps (against − + for)"


def test_an_attribution_of_numbers_over_time_draws_itself():
    lstm = nn.LSTM(CHANNELS, 3, batch_first=True)
    x = torch.randn(2, STEPS, CHANNELS)
    found = seqxai.LRP(lambda x: lstm(x)[0]).attribute(x, target=Several([Step(-1, 0), Step(-1, 2)]))
    figure = found.plot([1], channels=["a", "b"])
    assert np.stack(strips(figure), -1) == pytest.approx(found.relevance[:, 1].numpy())
    assert any(text.startswith("b   output 2 at the last step   explained") for text in texts(figure))
    first = nn.LSTM(CHANNELS, 3)
    turned = seqxai.LRP(lambda x: first(x)[0][-1]).attribute(x.transpose(0, 1).contiguous(), target=0)
    assert np.concatenate(strips(turned.plot(1))).T == pytest.approx(turned.relevance[:, 1].numpy())


def test_wide_sequences_and_images_keep_their_pictures():
    wide = seqxai.LRP(lambda x: x.sum((1, 2))[:, None]).attribute(torch.ones(1, 4, 40), target=0)
    assert wide.plot().axes[1].get_images()[0].get_array().shape == (40, 4)
    with pytest.raises(InputError, match=r"Expected one sample to draw, got \[0\]"):
        wide.plot([0])


@pytest.mark.parametrize(
    ("relevance", "options", "message"),
    [
        ((2, 3), {}, r"relevance of shape \(B, T, C\) or \(targets, B, T, C\), got \(2, 3\)"),
        ((1, 0, 2), {}, r"relevance of shape \(targets, steps, channels\) to draw, got \(1, 0, 2\)"),
        ((1, 3, 2), {"sample": 1}, r"a sample in 0..0, got 1; the batch has 1"),
        ((5, 3, 2), {"sample": [0, 1, 2, 3, 4]}, r"1 to 4 series in one figure, got 5; choose some"),
        ((5, 1, 3, 2), {}, r"at most 4 targets in one figure, got 5"),
        ((1, 3, 17), {}, r"at most 16 channels in one figure, got 17"),
        ((1, 3, 2), {"channels": ["a"]}, r"a name for each of 2 channels, got 1"),
        ((1, 3, 2), {"targets": ["a", "b"]}, r"a name for each of 1 targets, got 2"),
        ((1, 3, 2), {"series": ["a", "b"]}, r"a name for each of 1 series, got 2"),
        ((1, 3, 2), {"inputs": np.ones((1, 3, 3))}, r"inputs of the relevance's shape, \(3, 2\) a series, got \(3, 3\)"),
        ((1, 3, 2), {"times": [1, 2]}, r"a time for each of 3 steps, got 2"),
        ((1, 3, 2), {"times": [1, 2, 2]}, r"times that grow from step to step; sort the rows"),
        ((1, 3, 2), {"explained": np.ones(2), "scale": 0.0}, r"positive, finite colour scale, got 0.0"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_sentence(relevance, options, message):
    with pytest.raises(InputError, match=message):
        plot_series(np.ones(relevance), **options)


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_it_is_saved_in_every_format(tmp_path, suffix):
    save_figure(plot_series(np.ones((1, 3, 1)), inputs=np.ones((1, 3, 1))), tmp_path / f"why{suffix}", dpi=50)
    assert (tmp_path / f"why{suffix}").stat().st_size > 3000
