"""Videos of anyone's agent: which decisions they hold, what a frame shows, one colour scale, nothing kept in memory."""

from __future__ import annotations

import gc

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv

import rl
from rl import drawing
from rl.hooks import Explainer
from rl.hooks.explanation import Explanation, Found, Pending
from rl.hooks.picture import Picture, Shot
from rl.hooks.pixels import as_rgb, image_axes, newest_plane, summed
from rl.hooks.settings import cubes_then_thousands
from rl.scale import limit_of
from seqxai.errors import InputError
from tests.rl.tiny import Blinker, Recurrent, picture_network, play, vector_network

av = pytest.importorskip("av")


def decoded(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def film(folder, *, env=None, network=None, steps=12, **options):
    env = Blinker(render_mode="rgb_array") if env is None else env
    wrapped = rl.ExplainedEnv(env, network or picture_network(), video_folder=folder, video_size=(640, 360), **options)
    infos = [info for *_, info in play(wrapped, lambda o: 1, steps)]
    wrapped.close()
    return wrapped.videos, infos


# ---- which decisions ---------------------------------------------------------------------------------------------------------


def test_whole_episodes_by_number(tmp_path):
    videos, infos = film(tmp_path, episode_trigger=lambda episode: episode == 1, every=100, name_prefix="blink")
    assert [path.name for path in videos] == ["blink-episode-1.mp4"]
    pictures = decoded(videos[0])
    assert len(pictures) == 5  # an episode's decisions
    assert pictures[0].shape == (360, 640, 3)
    # Every recorded decision is explained, whatever `every` says.
    assert ["explanation" in info for info in infos] == [True] + 4 * [False] + 5 * [True] + 2 * [False]


def test_pieces_of_a_given_length_from_a_step_on(tmp_path):
    videos, _ = film(tmp_path, step_trigger=lambda step: step == 3, video_length=6)
    assert [path.name for path in videos] == ["explained-step-3.mp4"]
    assert len(decoded(videos[0])) == 6  # over the end of an episode
    assert list(tmp_path.iterdir()) == videos


def test_the_default_is_the_schedule_of_record_video(tmp_path):
    videos, _ = film(tmp_path, steps=11)
    assert [path.name for path in videos] == ["explained-episode-0.mp4", "explained-episode-1.mp4"]


def test_the_schedule_of_videos():
    recorded = [episode for episode in range(3001) if cubes_then_thousands(episode)]
    assert recorded == [*(k**3 for k in range(10)), 1000, 2000, 3000]


def test_one_of_many_environments_is_filmed(tmp_path):
    vector = SyncVectorEnv([lambda n=n: Blinker(length=n, render_mode="rgb_array") for n in (9, 3)])
    env = rl.ExplainedEnv(
        vector, picture_network(), video_folder=tmp_path, video_env=1, episode_trigger=lambda e: e == 1, video_size=(640, 360)
    )
    env.reset(seed=0)
    for _ in range(9):
        env.step(np.array([0, 1]))
    assert [path.name for path in env.videos] == ["explained-episode-1.mp4"]
    pictures = decoded(env.videos[0])
    assert len(pictures) == 3
    env.close()


def test_without_a_render_mode_the_observation_is_shown(tmp_path):
    videos, _ = film(tmp_path, env=Blinker(), steps=3)
    assert len(decoded(videos[0])) == 3
    videos, _ = film(tmp_path / "vector", env=gym.make("CartPole-v1"), network=vector_network(), steps=3)
    assert len(decoded(videos[0])) == 3
    videos, _ = film(tmp_path / "memory", env=gym.make("CartPole-v1"), network=Recurrent(), steps=4, recurrent=3)
    assert len(decoded(videos[0])) == 4


def kept():
    """Explanations and shots in memory, those of other tests included."""
    gc.collect()
    return sum(type(o) in (Shot, Explanation) for o in gc.get_objects())


def test_nothing_is_kept_but_the_decisions_the_scale_waits_for(tmp_path):
    env = rl.ExplainedEnv(
        Blinker(length=1000), picture_network(), video_folder=tmp_path, scale_decisions=4, lazy=True, video_size=(640, 360)
    )
    env.reset(seed=0)
    before = kept()
    for _ in range(20):
        env.step(0)
    assert kept() == before
    env.close()


def test_a_drawing_that_fails_leaves_no_file(tmp_path, monkeypatch):
    def broken(self, shot):
        raise RuntimeError("paint is out")

    monkeypatch.setattr(Picture, "draw", broken)
    with pytest.raises(RuntimeError, match="paint is out"):
        film(tmp_path, scale=1.0)
    assert list(tmp_path.iterdir()) == []


# ---- what a frame shows ------------------------------------------------------------------------------------------------------


def explanation_of(observation, relevance, values=(1.0, -0.5)):
    """An explanation whose numbers are given."""
    observation, relevance = np.asarray(observation), np.asarray(relevance, np.float64)
    space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    explainer = Explainer(vector_network(2), space, gym.spaces.Discrete(2), action_names=("LEFT", "RIGHT"))
    pending = Pending(explainer, observation[None], (0,))
    ledger = {"input": np.array([0.75]), "bias": np.array([0.25])}
    pending.__dict__["found"] = Found(relevance[None], np.array([values[0]]), np.array([values]), ledger, "lrp/epsilon")
    return Explanation(pending, 0)


def picture(features=(), axes=None, *, framed=False, recurrent=False):
    return Picture("game", 960, 480, ("LEFT", "RIGHT"), features, axes, (0.0, 255.0), recurrent, framed)


def drawn(painter, explanation, scale, frame=None):
    shot = painter.shot(frame, explanation, 3.0, 0, 7)
    painter.begin(scale, "given", [shot])
    return painter.draw(shot)


def test_bars_are_as_long_as_the_relevance_and_have_its_sign():
    painter = picture(("a", "b", "c"))
    canvas = drawn(painter, explanation_of([1.0, 2.0, 3.0], [0.5, -0.25, 4.0]), scale=1.0)
    box = painter._relevance
    area = canvas[box.y : box.bottom, box.x : box.right].astype(int)
    red, blue = ((area == colour).all(axis=2) for colour in (drawing.FOR, drawing.AGAINST))
    half, middle = box.width // 2, box.width // 2
    lengths = {int(row.sum()) for row in red} - {0}
    # The line in the middle covers a column of red.
    assert lengths == {round(0.5 * half) - 1, half - 1}, "beyond the scale a bar is full"
    assert {int(row.sum()) for row in blue} - {0} == {round(0.25 * half)}
    assert np.flatnonzero(red.any(axis=0)).min() >= middle > np.flatnonzero(blue.any(axis=0)).max()


def test_relevance_lies_over_the_newest_plane_in_the_colours_of_one_scale():
    observation = np.zeros((2, 12, 12), np.uint8)
    relevance = np.zeros((2, 12, 12), np.float32)
    relevance[:, :6], relevance[:, 6:] = 0.25, -0.5
    painter = picture(axes=(1, 2))
    canvas = drawn(painter, explanation_of(observation, relevance), scale=1.0)
    box = painter._relevance
    column = canvas[box.y : box.bottom, box.x + box.width // 2].astype(int)
    assert np.abs(column[box.height // 4] - np.array(drawing.FOR) * 0.5).max() <= 1
    assert np.abs(column[3 * box.height // 4] - np.array(drawing.AGAINST)).max() <= 1


def test_the_environment_is_shown_beside_it():
    painter = picture(("a",), framed=True)
    canvas = drawn(painter, explanation_of([1.0], [0.5]), 1.0, frame=np.full((50, 50, 3), (10, 200, 30), np.uint8))
    box = painter._frame
    assert tuple(canvas[box.y + box.height // 2, box.x + box.width // 2]) == (10, 200, 30)


def test_steps_are_the_columns_of_a_table():
    steps = picture(("a", "b"), recurrent=True)
    relevance = np.array([[0.0, 0.0], [1.0, -1.0]])  # two steps, two features
    canvas = drawn(steps, explanation_of(np.zeros((2, 2)), relevance), scale=1.0)
    box = steps._relevance
    now = canvas[box.y : box.bottom, box.right - 40].astype(int)
    assert np.abs(now[20] - np.array(drawing.FOR)).max() <= 30
    assert np.abs(now[56 + 20] - np.array(drawing.AGAINST)).max() <= 30


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((4, 84, 84), (1, 2)), ((84, 84, 3), (0, 1)), ((4, 84, 84, 3), (1, 2)), ((84, 84), (0, 1)), ((210, 160, 3), (0, 1)),
        ((10, 10, 4), (0, 1)), ((4,), None), ((4, 4), None), ((128,), None),
    ],
)  # fmt: skip
def test_rows_and_columns_are_found(shape, axes):
    assert image_axes(shape) == axes


def test_axes_that_are_not_there():
    with pytest.raises(InputError, match=r"image_axes should be the axes of rows and columns.*got \(0, 3\)"):
        image_axes((4, 84, 84), (0, 3))
    assert image_axes((3, 10, 40), (1, 2)) == (1, 2)


def test_what_of_an_observation_is_shown():
    stack = np.arange(2 * 8 * 8, dtype=np.float32).reshape(2, 8, 8)
    np.testing.assert_array_equal(newest_plane(stack, (1, 2)), stack[1])
    colour = np.zeros((8, 8, 3), np.uint8)
    colour[..., 1] = 100
    np.testing.assert_allclose(newest_plane(colour, (0, 1)), 58.7, rtol=1e-5)
    frames = np.stack([colour, 2 * colour])
    np.testing.assert_allclose(newest_plane(frames, (1, 2)), 117.4, rtol=1e-5)
    np.testing.assert_array_equal(summed(frames, (1, 2)), np.full((8, 8), 300.0))
    with pytest.raises(InputError, match=r"env.render\(\) to give a picture"):
        as_rgb(np.zeros(5))


def test_the_scale_is_a_quantile_of_the_first_decisions():
    maps = [np.linspace(-1, 1, 1001), np.zeros(1001)]
    assert limit_of(maps) == pytest.approx(np.quantile(np.abs(np.concatenate(maps)), 0.995), abs=1e-2)
    assert limit_of([np.zeros(3)]) == 1.0
    assert limit_of([np.array([0.0] * 999 + [2.0])]) == 2.0
