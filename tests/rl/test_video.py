"""The video: its panels and layouts, its colours, its one scale, and everything that can stop it from being written."""

from __future__ import annotations

import dataclasses
import inspect
import re

import numpy as np
import pytest

import rl
from rl import drawing
from rl.panels import LAYOUTS, Scene, design
from rl.panels.strip import PAGE, page_of
from rl.scale import SAMPLES, Scale, colour_limit, measure
from rl.trajectory import Trajectory
from rl.video import frames, render
from seqxai.errors import InputError

av = pytest.importorskip("av")

FULL = design("full")


def scene_of(explained, limit=None, palette=drawing.RED_BLUE):
    scale = measure(explained) if limit is None else Scale(limit, 0.995, len(explained), len(explained))
    return Scene(explained, scale, 0, len(explained), palette)


def drawn(explained, limit=1.0, layout="full", first=0, **where):
    grid = design(layout).grid(**where)
    return [picture.copy() for _, picture in frames(scene_of(explained, limit), grid, layout, first=first)]


def parts(explained, layout="full", **where):
    """The panels by the name of their class."""
    grid = design(layout).grid(**where)
    return {type(panel).__name__: panel for panel in design(layout).panels(scene_of(explained, 1.0), grid)}


def within(box):
    return np.s_[box.y : box.bottom, box.x : box.right]


def decoded(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def blackened(coloured):
    black = np.zeros_like(np.asarray(coloured.trajectory.screens))
    return dataclasses.replace(coloured, trajectory=dataclasses.replace(coloured.trajectory, screens=black))


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_the_files_are_what_was_drawn(coloured, tmp_path, layout):
    told = []
    paths = [tmp_path / "video.mp4", tmp_path / "video.webm"]
    video = render(coloured, paths, layout=layout, progress=told.append)
    assert video.frames == 10 == told[-1]
    assert video.bytes == tuple(path.stat().st_size for path in paths)
    originals = drawn(coloured, video.limit, layout)
    box = parts(coloured, layout)["Legend"].box  # the random game itself does not survive compression
    for path in paths:
        pictures = decoded(path)
        assert pictures[0].shape == (video.height, video.width, 3) == (LAYOUTS[layout].height, LAYOUTS[layout].width, 3)
        assert len(pictures) == 10
        for picture, original in zip(pictures, originals, strict=True):
            assert np.abs(picture[within(box)].astype(int) - original[within(box)]).mean() < 5.0


@pytest.mark.parametrize("palette", list(drawing.PALETTES.values()), ids=lambda palette: palette.name)
def test_one_colour_speaks_for_and_the_other_against(coloured, palette):
    coloured = blackened(coloured)
    assert colour_limit(coloured.relevance, 0.995) == 1.0  # four planes of 0.25
    grid = FULL.grid()
    box = parts(coloured)["Overlay"].box
    frame = next(frames(scene_of(coloured, palette=palette), grid, "full"))[1]
    left = frame[box.y : box.bottom, box.x : box.x + 2 * 80]  # 42 of 84 columns are 80 of 160
    right = frame[box.y : box.bottom, box.right - 2 * 80 : box.right]
    assert np.abs(left.astype(int) - palette.positive).max() <= 1
    assert np.abs(right.astype(int) - palette.negative).max() <= 1


def test_colours_survive_encoding_and_decoding(coloured, tmp_path):
    video = render(blackened(coloured), tmp_path / "video.mp4")
    panel = parts(coloured)["Overlay"].box
    for picture in decoded(video.path):
        shown = picture[within(panel)].astype(float)
        np.testing.assert_allclose(shown[:, 20:140].mean(axis=(0, 1)), drawing.FOR, atol=3.0)
        np.testing.assert_allclose(shown[:, -140:-20].mean(axis=(0, 1)), drawing.AGAINST, atol=3.0)


def test_the_game_is_shown_pixel_by_pixel_and_muted_below_relevance(coloured):
    silent = dataclasses.replace(coloured, relevance=np.zeros_like(coloured.relevance))
    frame = drawn(silent)[0]
    screen = coloured.trajectory.screens[0]
    game, under = parts(coloured)["Game"].box, parts(coloured)["Overlay"].box
    np.testing.assert_array_equal(frame[within(game)][::2, ::2], screen)
    np.testing.assert_array_equal(frame[within(game)][1::2, 1::2], screen)
    grey = (screen @ drawing.GREY)[:, :, None]
    expected = drawing.VEILED * (drawing.MUTED * screen + (1 - drawing.MUTED) * grey)
    np.testing.assert_allclose(frame[within(under)][::2, ::2].astype(float), expected, atol=0.6)


def test_each_plane_has_its_own_relevance_on_the_scale_of_their_sum(coloured):
    relevance = np.zeros_like(coloured.relevance)
    for plane, value in enumerate((0.1, -0.2, 0.3, 0.4)):
        relevance[:, plane] = value
    black = dataclasses.replace(coloured.trajectory, planes=np.zeros_like(np.asarray(coloured.trajectory.planes)))
    frame = drawn(dataclasses.replace(coloured, relevance=relevance, trajectory=black), limit=0.5)[0]
    for box, value in zip(parts(coloured)["Planes"].boxes, (0.1, -0.2, 0.3, 0.4), strict=True):
        colour = np.multiply(drawing.FOR if value > 0 else drawing.AGAINST, abs(value) / 0.5)
        np.testing.assert_allclose(frame[within(box)].mean(axis=(0, 1)), colour, atol=0.6)


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


@pytest.mark.parametrize("size", [(6, 8), (5, 7), (4, 4), (3, 9)])
def test_a_pixel_becomes_a_rectangle_with_sharp_edges(size):
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    width, height = size
    canvas = np.zeros((12, 12, 3), np.uint8)
    drawing.paste(canvas, drawing.Box(1, 2, width, height), image)
    middles = [(np.arange(new) + 0.5) * old / new for new, old in ((height, 2), (width, 3))]
    expected = image[middles[0].astype(int)][:, middles[1].astype(int)]
    np.testing.assert_array_equal(canvas[2 : 2 + height, 1 : 1 + width], expected)
    assert canvas.sum() == expected.sum()


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


def test_the_scale_of_a_stream_is_measured_on_decisions_spread_over_it(made_up, untrained, monkeypatch):
    stream, whole = rl.explain_stream(made_up, untrained), rl.explain(made_up, untrained)
    assert measure(stream, 0.9).limit == pytest.approx(measure(whole, 0.9).limit, rel=1e-5)
    monkeypatch.setattr("rl.scale.SAMPLES", 4)
    few = measure(stream, 0.9)
    assert (few.measured, few.decisions) == (4, 10)
    assert few.limit == pytest.approx(colour_limit(whole.relevance[[0, 3, 6, 9]], 0.9), rel=1e-5)
    assert "0.9" not in str(SAMPLES)
    assert str(few).startswith(f"full colour at ±{few.limit:.3g} per observed pixel, the 90 % quantile")
    assert "over 4 evenly spaced of 10 decisions; one scale for the whole video" in str(few)
    part = measure(whole, 0.9, 2, 5)
    assert part.limit == pytest.approx(colour_limit(whole.relevance[2:5], 0.9))


def test_the_action_taken_stands_out_and_bars_are_as_long_as_their_values(coloured):
    q_values = np.tile(np.float32([4.0, 1.0, -2.0, 2.0]), (10, 1))
    trajectory = dataclasses.replace(coloured.trajectory, q_values=q_values)
    shown = dataclasses.replace(coloured, q_values=q_values, trajectory=trajectory)
    bars, frame = parts(shown)["QValues"], drawn(shown)[0]
    taken = int(trajectory.chosen[0])
    for action in range(4):
        row = bars.box.y + (action + 1) * bars.pitch - max(2, bars.pitch // 8) - 3
        line = frame[row, bars.box.x + 2 : bars.box.right - 2]
        length = int((line == (drawing.ACCENT if action == taken else drawing.BAR)).all(axis=1).sum())
        assert length == pytest.approx(abs(q_values[0, action]) / 6.0 * bars.box.width, abs=5)
    assert tuple(frame[bars.box.y + taken * bars.pitch, bars.box.x + 5]) == drawing.ACCENT


def test_every_frame_says_where_it_stands(coloured):
    pictures, panels = drawn(coloured), parts(coloured)
    for name in ("Header", "Sum", "Strip"):
        shown = [picture[within(panels[name].box)] for picture in pictures]
        assert all((shown[0] != other).any() for other in shown[1:]), name


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("Header", {"trajectory": {"rewards": np.full(10, 7.0)}}),
        ("Header", {"trajectory": {"lives": np.full(10, 9)}}),
        ("Header", {"trajectory": {"agent_steps": 8}}),
        ("Header", {"trajectory": {"game": "pong"}}),
        ("Game", {"trajectory": {"screens": np.zeros((10, 210, 160, 3), np.uint8)}}),
        ("Overlay", {"relevance": np.full((10, 4, 84, 84), 0.125, np.float32)}),
        ("QValues", {"q_values": np.tile(np.float32([1, 2, 3, 4]), (10, 1))}),
        ("QValues", {"trajectory": {"chosen_by": np.full(10, 1, np.uint8)}}),
        ("Strip", {"trajectory": {"q_values": np.tile(np.float32([1, 2, 3, 4]), (10, 1))}}),
        ("Strip", {"trajectory": {"rewards": np.arange(10.0)}}),
        ("Strip", {"trajectory": {"lives": np.arange(10)}}),
        ("Strip", {"relevance": np.concatenate([np.ones((10, 1, 84, 84), np.float32), np.zeros((10, 3, 84, 84), np.float32)], 1)}),
        ("Sum", {"explained": np.full(10, 3.25)}),
        ("Sum", {"ledger": {"input": np.full(10, 0.5), "constant": np.full(10, 0.25)}}),
        ("Legend", {"composite": "epsilon"}),
        ("Legend", {"target": "largest"}),
    ],
)
def test_every_fact_is_shown_in_its_place(coloured, part, change):
    facts = dict(change)
    quiet = dataclasses.replace(coloured.trajectory, chosen_by=np.full(10, 0, np.uint8))
    coloured = dataclasses.replace(coloured, trajectory=quiet)
    if "trajectory" in facts:
        facts["trajectory"] = dataclasses.replace(quiet, **facts["trajectory"])
    area = within(parts(coloured)[part].box)
    before, after = (drawn(shown, first=9)[-1] for shown in (coloured, dataclasses.replace(coloured, **facts)))
    assert (before[area] != after[area]).any()


def test_a_sum_that_does_not_close_is_shown_in_every_frame(coloured):
    leak = {**coloured.ledger, "stabilizer": np.full(10, 1e-4)}  # too small to be printed as an entry of its own
    area = within(parts(coloured)["Sum"].box)
    open_ = dataclasses.replace(coloured, ledger=leak)
    pairs = zip(drawn(coloured), drawn(open_), strict=True)
    assert all((closed[area] != leaking[area]).any() for closed, leaking in pairs)
    assert open_.balance.max() == pytest.approx(1e-4)


def with_actions(coloured, names):
    q_values = np.linspace(-3.0, 12.0, 10 * len(names), dtype=np.float32).reshape(10, -1)
    trajectory = dataclasses.replace(coloured.trajectory, actions=names, q_values=q_values)
    return dataclasses.replace(coloured, trajectory=trajectory, q_values=q_values)


@pytest.mark.parametrize("layout", list(LAYOUTS))
@pytest.mark.parametrize("enlarged", [0.75, 1.0, 2.0])
def test_eighteen_actions_with_long_names_fit_at_every_size(coloured, layout, enlarged):
    names = tuple(f"DOWNRIGHTFIRE{n}" for n in range(18))
    shown = with_actions(coloured, names)
    size = tuple(2 * round(side * enlarged / 2) for side in (LAYOUTS[layout].width, LAYOUTS[layout].height))
    panels = parts(shown, layout, size=size)
    picture = drawn(shown, layout=layout, size=size, first=9)[-1]
    assert picture.shape == (size[1], size[0], 3)
    boxes = [panel.box for name, panel in panels.items() if name != "Planes"] + list(getattr(panels.get("Planes"), "boxes", []))
    for i, box in enumerate(boxes):
        assert 0 <= box.x < box.right <= size[0]
        assert 0 <= box.y < box.bottom <= size[1]
        for other in boxes[:i]:
            apart = box.right <= other.x or other.right <= box.x or box.bottom <= other.y or other.bottom <= box.y
            assert apart, (box, other)
    if "QValues" in panels:
        bars = panels["QValues"]
        assert bars.box.y + 18 * bars.pitch <= bars.box.bottom - 10
        number = drawing.text_width("-00.000", bars._letters)
        assert max(drawing.text_width(name, bars._letters) for name in names) + number <= bars.box.width


def test_another_shape_is_filled_from_the_middle(coloured):
    picture = drawn(coloured, size=(1280, 800), first=9)[-1]
    box = parts(coloured, size=(1280, 800))["Game"].box
    assert box.y == parts(coloured)["Game"].box.y + 40
    assert (picture[:40] == drawing.BACKGROUND).all()
    assert parts(coloured, scale=3)["Game"].box.width == 480


def test_a_page_of_the_strip_is_half_a_minute_and_the_last_a_little_longer():
    assert page_of(0, 0, 10) == (0, 10)
    assert page_of(449, 0, 450) == (0, 450)
    assert page_of(500, 0, 650) == (0, 650)
    assert page_of(500, 0, 700) == (PAGE, 700)
    assert page_of(27_000 - 1, 0, 27_000) == (26_550, 27_000)
    assert page_of(120, 100, 2000) == (100, 550)
    assert page_of(560, 100, 2000) == (550, 1000)


def test_label_names_both_sides_of_a_contrast(coloured):
    q_values = np.tile(np.float32([1.0, 4.0, 3.0, 2.0]), (10, 1))
    trajectory = dataclasses.replace(coloured.trajectory, q_values=q_values, chosen=np.full(10, 2))
    shown = dataclasses.replace(coloured, trajectory=trajectory, subjects=trajectory.chosen)
    assert shown.label(0) == "Q(RIGHT)"
    assert dataclasses.replace(shown, target="contrast").label(0) == "Q(RIGHT) - Q(FIRE)"


def test_text_is_cut_at_the_edges_and_made_to_fit():
    canvas = np.zeros((20, 40, 3), np.uint8)
    for x, align in ((-10, "left"), (35, "left"), (5, "right"), (20, "middle")):
        drawing.draw_text(canvas, "LONG WORDS", x, 2, 14, align=align)
    drawing.draw_text(canvas, "below", 0, 15, 14)
    assert canvas.any()
    assert drawing.text_width("wide", 20) > drawing.text_width("wide", 10)
    assert drawing.fitting("short", 14, 200) == ("short", 14)
    words, size = drawing.fitting("a sentence that is longer than its box", 14, 100)
    assert words.endswith("...")
    assert size == drawing.SIZE_MIN
    assert drawing.text_width(words, size) <= 100
    assert drawing.text_width("1.11", 20) == drawing.text_width("8.88", 20)  # numbers do not tremble


def test_a_part_of_a_trajectory(coloured, tmp_path):
    seen = []
    video = render(coloured, tmp_path / "video.gif", layout="overlay", start=3, stop=7, watch=seen.append)
    assert (video.frames, video.start, len(decoded(video.path))) == (4, 3, 4)
    assert np.concatenate([part.rows for part in seen]).tolist() == [3, 4, 5, 6]
    assert video.tally.mean(video.tally.explained) == pytest.approx(coloured.explained[3:7].mean())
    assert video.tally.mean(video.tally.ledger["bias"]) == pytest.approx(0.25 * coloured.explained[3:7].mean())
    np.testing.assert_allclose(video.tally.mean(video.tally.shares), [0.25] * 4)


def test_an_error_while_explaining_ends_the_film(made_up, untrained, tmp_path):
    wrong = made_up.q_values.copy()
    wrong[6, 2] += 0.5
    stream = rl.explain_stream(dataclasses.replace(made_up, q_values=wrong), untrained)
    with pytest.raises(InputError, match="decision 6: the network gives Q-values"):
        render(stream, tmp_path / "video.mp4")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("video.avi", "expected a name ending in .mp4, .webm, .gif or .apng, got .avi"),
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
    ("options", "text"),
    [
        ({"fps": 0.0}, "fps should be 0.1 .. 240 pictures per second, got 0.0"),
        ({"fps": "x"}, "fps should be a finite number, got 'x'"),
        ({"scale": 1}, "'full' should be at least 960x540 pixels and at most 8192 wide or high, a scale of 1 makes 640x360"),
        ({"size": (640, 480)}, "got 640x480; choose another size, or the layout compact"),
        ({"size": (1281, 721)}, "needs an even width and height, got 1281 x 721"),
        ({"size": (1280, 720), "scale": 2}, "give a size or a scale, not both"),
        ({"size": (1280.5, 720)}, "size should be a whole number, got 1280.5"),
        ({"scale": "big"}, "scale should be a finite number, got 'big'"),
        ({"quantile": 0.0}, "quantile should be above 0 and at most 1, got 0.0"),
        ({"quantile": None}, "quantile should be a finite number, got None"),
        ({"layout": "wide"}, "unknown layout 'wide': expected one of full, compact, overlay"),
        ({"palette": "grey"}, "unknown palette 'grey': expected one of red-blue, orange-purple"),
        ({"start": 4, "stop": 4}, "decisions 4 to 4 are not in the trajectory, which has 10"),
        ({"stop": 11}, "decisions 0 to 11 are not in the trajectory, which has 10; choose 0 <= start < stop <= 10"),
    ],
)
def test_what_cannot_be_rendered(coloured, tmp_path, options, text):
    with pytest.raises(InputError, match=re.escape(text)):
        inspect.unwrap(rl.render)(coloured, tmp_path / "video.mp4", **options)
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_show(coloured, tmp_path):
    arrays = {
        field.name: np.asarray(getattr(coloured.trajectory, field.name))[:0]
        for field in dataclasses.fields(Trajectory)
        if hasattr(getattr(coloured.trajectory, field.name), "dtype")
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
