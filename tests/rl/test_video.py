"""The video: its format, its colours, its one scale, and everything that can stop it from being written."""

from __future__ import annotations

import dataclasses
import inspect
import re

import numpy as np
import pytest

import rl
from rl import drawing
from rl.panels import Layout, colour_limit, panels
from rl.video import frames, render
from seqxai.errors import InputError

av = pytest.importorskip("av")


def decoded(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        facts = (stream.codec_context.name, stream.codec_context.pix_fmt, float(stream.average_rate))
        return facts, [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("scale", [2, 3])
def test_the_file_is_what_was_drawn(coloured, tmp_path, scale):
    path = tmp_path / "video.mp4"
    video = render(coloured, path, fps=15.0, scale=scale)
    facts, pictures = decoded(path)
    assert facts == ("h264", "yuv420p", 15.0)
    assert len(pictures) == video.frames == 10
    assert pictures[0].shape == (video.height, video.width, 3)
    assert video.height % 2 == video.width % 2 == 0
    assert video.bytes == path.stat().st_size
    drawn = [frame.copy() for frame in frames(coloured, Layout(scale), video.limit)]
    box = Layout(scale).sidebar  # flat areas; the random game itself does not survive compression
    for picture, original in zip(pictures, drawn, strict=True):
        area = np.s_[box.y : box.bottom, box.x : box.right]
        difference = picture[area].astype(int) - original[area].astype(int)
        assert np.abs(difference).mean() < 3.0
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat"), "a browser must not need the whole file to start"


def test_red_speaks_for_and_blue_against(coloured):
    trajectory = dataclasses.replace(coloured.trajectory, screens=np.zeros_like(coloured.trajectory.screens))
    coloured = dataclasses.replace(coloured, trajectory=trajectory)
    layout = Layout(3)
    limit = colour_limit(coloured.relevance, 0.995)
    assert limit == 1.0  # four planes of 0.25
    box = layout.relevance
    frame = next(frames(coloured, layout, limit))
    left = frame[box.y : box.bottom, box.x : box.x + 3 * 80]  # 42 of 84 columns are 80 of 160
    right = frame[box.y : box.bottom, box.right - 3 * 80 : box.right]
    assert np.abs(left.astype(int) - drawing.FOR).max() <= 1
    assert np.abs(right.astype(int) - drawing.AGAINST).max() <= 1


def test_colours_survive_encoding_and_decoding(coloured, tmp_path):
    trajectory = dataclasses.replace(coloured.trajectory, screens=np.zeros_like(coloured.trajectory.screens))
    video = render(dataclasses.replace(coloured, trajectory=trajectory), tmp_path / "video.mp4")
    box = Layout(3).relevance
    for picture in decoded(video.path)[1]:
        panel = picture[box.y : box.bottom, box.x : box.right].astype(float)
        np.testing.assert_allclose(panel[:, 20:200].mean(axis=(0, 1)), drawing.FOR, atol=3.0)
        np.testing.assert_allclose(panel[:, -200:-20].mean(axis=(0, 1)), drawing.AGAINST, atol=3.0)


def test_the_game_is_shown_pixel_by_pixel_and_dimmed_below_relevance(coloured):
    silent = dataclasses.replace(coloured, relevance=np.zeros_like(coloured.relevance))
    layout = Layout(2)
    frame = next(frames(silent, layout, 1.0))
    screen = coloured.trajectory.screens[0]
    game, under = layout.game, layout.relevance
    np.testing.assert_array_equal(frame[game.y : game.bottom : 2, game.x : game.right : 2], screen)
    np.testing.assert_array_equal(frame[game.y + 1 : game.bottom : 2, game.x + 1 : game.right : 2], screen)
    grey = (screen @ [0.299, 0.587, 0.114]) * drawing.DIMMED
    shown = frame[under.y : under.bottom : 2, under.x : under.right : 2].astype(float)
    np.testing.assert_allclose(shown, np.repeat(grey[:, :, None], 3, axis=2), atol=0.6)


def test_colour_between_the_ends_is_linear():
    strength = np.float32([[0.0, 0.5, -0.5, 2.0, -2.0]])
    black = np.zeros((1, 5), np.float32)
    expected = [[0, 0, 0], np.divide(drawing.FOR, 2), np.divide(drawing.AGAINST, 2), drawing.FOR, drawing.AGAINST]
    np.testing.assert_allclose(drawing.diverging(strength, black)[0], expected, atol=0.6)


def test_the_game_shows_through_full_colour():
    shown = drawing.diverging(np.float32([[1.0, 1.0, 0.5]]), np.float32([[0.0, 255.0, 100.0]]))[0].astype(float)
    red = np.array(drawing.FOR, float)
    white = red + drawing.TINTED * (255 - red)
    mixed = 0.5 * 100 * drawing.DIMMED + 0.5 * (red + drawing.TINTED * 100 / 255 * (255 - red))
    np.testing.assert_allclose(shown, [red, white, mixed], atol=0.6)


def test_one_scale_for_the_whole_video():
    relevance = np.zeros((3, 4, 84, 84), np.float32)
    relevance[2, 1] = np.linspace(-1.0, 1.0, 84 * 84).reshape(84, 84)
    relevance[2, 3] = relevance[2, 1]
    summed = np.sort(np.abs(2 * relevance[2, 1]).ravel())
    everything = np.concatenate([np.zeros(2 * 84 * 84), summed])
    assert colour_limit(relevance, 0.9) == pytest.approx(np.quantile(everything, 0.9), rel=1e-3)
    assert colour_limit(relevance, 1.0) == 2.0
    assert colour_limit(relevance, 0.1) == 2.0  # the quantile is 0: the largest value instead
    assert colour_limit(np.zeros_like(relevance), 0.995) == 1.0


def test_the_action_taken_stands_out_and_bars_are_as_long_as_their_values(coloured):
    q_values = np.tile(np.float32([4.0, 1.0, -2.0, 2.0]), (10, 1))
    shown = dataclasses.replace(coloured, q_values=q_values)
    layout = Layout(3)
    bars = panels(shown, layout, 1.0, 15.0)[3]
    frame = next(frames(shown, layout, 1.0))
    lengths = []
    for action in range(4):
        line = frame[bars.box.y + action * bars._pitch + 47, bars.box.x + 2 : bars.box.right - 2]
        taken = action == shown.trajectory.chosen[0]
        lengths.append(int((line == (drawing.ACCENT if taken else drawing.BAR)).all(axis=1).sum()))
    for action, length in enumerate(lengths):
        assert length == pytest.approx(abs(q_values[0, action]) / 6.0 * bars.box.width, abs=5)
    edge = frame[bars.box.y + int(shown.trajectory.chosen[0]) * bars._pitch, bars.box.x + 5]
    assert tuple(edge) == drawing.ACCENT


def test_every_frame_says_where_it_stands(coloured):
    pictures = [frame.copy() for frame in frames(coloured, Layout(3), 1.0)]
    header = [picture[:70] for picture in pictures]
    assert all((header[0] != other).any() for other in header[1:])
    footer = Layout(3).footer
    sums = [picture[footer.y : footer.y + 40] for picture in pictures]
    assert all((sums[0] != other).any() for other in sums[1:])


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("header", {"trajectory": {"rewards": np.full(10, 7.0)}}),
        ("header", {"trajectory": {"lives": np.full(10, 9)}}),
        ("header", {"trajectory": {"agent_steps": 8}}),
        ("header", {"trajectory": {"game": "pong"}}),
        ("game", {"trajectory": {"screens": np.zeros((10, 210, 160, 3), np.uint8)}}),
        ("relevance", {"relevance": np.full((10, 4, 84, 84), 0.125, np.float32)}),
        ("sidebar", {"q_values": np.tile(np.float32([1, 2, 3, 4]), (10, 1))}),
        ("sidebar", {"trajectory": {"chosen_by": np.full(10, 1, np.uint8)}}),
        ("sidebar", {"explained": np.arange(10.0)}),
        ("footer", {"explained": np.full(10, 3.25)}),
        ("footer", {"ledger": {"input": np.full(10, 0.5), "constant": np.full(10, 0.25)}}),
        ("footer", {"composite": "epsilon"}),
        ("footer", {"target": "largest"}),
    ],
)
def test_every_fact_is_shown_in_its_place(coloured, part, change):
    facts = dict(change)
    if "trajectory" in facts:
        facts["trajectory"] = dataclasses.replace(coloured.trajectory, **facts["trajectory"])
    if part == "sidebar":
        coloured = dataclasses.replace(
            coloured, trajectory=dataclasses.replace(coloured.trajectory, chosen_by=np.full(10, 0, np.uint8))
        )
    layout, shown = Layout(3), []
    for explained in (coloured, dataclasses.replace(coloured, **facts)):
        *_, frame = frames(explained, layout, 1.0)
        shown.append(frame)
    box = getattr(layout, part)
    area = np.s_[box.y : box.bottom, box.x : box.right]
    assert (shown[0][area] != shown[1][area]).any()


def test_a_sum_that_does_not_close_is_shown_in_every_frame(coloured):
    leak = {**coloured.ledger, "stabilizer": np.full(10, 1e-4)}  # too small to be printed as an entry of its own
    box, shown = Layout(3).footer, []
    for explained in (coloured, dataclasses.replace(coloured, ledger=leak)):
        shown.append([frame[box.y : box.y + 40].copy() for frame in frames(explained, Layout(3), 1.0)])
    assert all((closed != open_).any() for closed, open_ in zip(*shown, strict=True))
    assert dataclasses.replace(coloured, ledger=leak).balance.max() == pytest.approx(1e-4)


def test_eighteen_actions_fit(coloured):
    trajectory = dataclasses.replace(
        coloured.trajectory,
        actions=tuple(f"ACTION{n}" for n in range(18)),
        q_values=np.ones((10, 18), np.float32),
    )
    shown = dataclasses.replace(coloured, trajectory=trajectory, q_values=trajectory.q_values)
    for scale in (2, 3, 4):
        side = Layout(scale).sidebar
        bars, history = panels(shown, Layout(scale), 1.0, 15.0)[3:5]
        assert bars.box.y + 18 * bars._pitch + 24 <= history.box.y
        assert history.box.bottom == side.bottom
        assert next(frames(shown, Layout(scale), 1.0)).shape[0] == Layout(scale).height


def test_label_names_both_sides_of_a_contrast(coloured):
    q_values = np.tile(np.float32([1.0, 4.0, 3.0, 2.0]), (10, 1))
    trajectory = dataclasses.replace(coloured.trajectory, q_values=q_values, chosen=np.full(10, 2))
    shown = dataclasses.replace(coloured, trajectory=trajectory, subjects=trajectory.chosen)
    assert shown.label(0) == "Q(RIGHT)"
    assert dataclasses.replace(shown, target="contrast").label(0) == "Q(RIGHT) - Q(FIRE)"


def test_text_is_cut_at_the_edges():
    canvas = np.zeros((20, 40, 3), np.uint8)
    for x, align in ((-10, "left"), (35, "left"), (5, "right"), (20, "middle")):
        drawing.draw_text(canvas, "LONG WORDS", x, 2, 14, align=align)
    drawing.draw_text(canvas, "below", 0, 15, 14)
    assert canvas.any()
    assert drawing.text_width("wide", 20) > drawing.text_width("wide", 10)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("video.avi", "expected a name ending in .mp4, .webm, .gif or .apng, got .avi"),
        ("video", "or .apng, got no ending"),
        ("missing/video.mp4", "is missing; create it first"),
        ("folder.mp4", "it is a directory; give a file name inside it"),
    ],
)
def test_places_that_cannot_be_written(coloured, tmp_path, place, text):
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(InputError, match=text):
        render(coloured, tmp_path / place)
    assert [p.name for p in tmp_path.iterdir()] == ["folder.mp4"]


def test_read_only_folder(coloured, tmp_path, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.touch", refuse)
    with pytest.raises(InputError, match="Permission denied; choose a place that can be written"):
        render(coloured, tmp_path / "video.mp4")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_video_leaves_nothing_and_keeps_the_old_one(coloured, tmp_path, stop):
    path = tmp_path / "video.mp4"
    path.write_bytes(b"the old one")

    def interrupt(done):
        if done == 3:
            raise stop

    with pytest.raises(stop):
        render(coloured, path, progress=interrupt)
    assert [p.name for p in tmp_path.iterdir()] == ["video.mp4"]
    assert path.read_bytes() == b"the old one"


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ({"fps": 0.0}, "fps should be 1 .. 240 decisions per second, got 0.0"),
        ({"scale": 1}, "scale should be 2 .. 8 video pixels per game pixel, got 1"),
        ({"quantile": 0.0}, "quantile should be above 0 and at most 1, got 0.0"),
    ],
)
def test_numbers_out_of_range(coloured, tmp_path, numbers, text):
    with pytest.raises(InputError, match=re.escape(text)):
        render(coloured, tmp_path / "video.mp4", **numbers)


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ({"fps": "x"}, "fps should be a finite number, got 'x'"),
        ({"scale": 2.5}, "scale should be a whole number, got 2.5"),
        ({"quantile": None}, "quantile should be a finite number, got None"),
    ],
)
def test_what_is_no_number(coloured, tmp_path, numbers, text):
    with pytest.raises(InputError, match=re.escape(text)):
        inspect.unwrap(rl.render)(coloured, tmp_path / "video.mp4", **numbers)


def test_nothing_to_show(coloured, tmp_path):
    arrays = {
        field.name: getattr(coloured.trajectory, field.name)[:0]
        for field in dataclasses.fields(coloured.trajectory)
        if isinstance(getattr(coloured.trajectory, field.name), np.ndarray)
    }
    empty = dataclasses.replace(
        coloured,
        trajectory=dataclasses.replace(coloured.trajectory, **arrays),
        relevance=coloured.relevance[:0],
        explained=coloured.explained[:0],
        q_values=coloured.q_values[:0],
        ledger={},
        subjects=coloured.subjects[:0],
    )
    with pytest.raises(InputError, match="the trajectory is empty: there is no frame to show"):
        rl.render(empty, tmp_path / "video.mp4")
