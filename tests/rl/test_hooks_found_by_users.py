"""``ExplainedEnv``: what users found, one test each."""

from __future__ import annotations

import os
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import SyncVectorEnv
from torch import nn

import rl
from rl import drawing
from rl.hooks import Explainer
from rl.hooks.explanation import Explanation, Found, Pending
from rl.hooks.features import choose
from rl.hooks.picture import Picture
from seqxai.errors import InputError
from seqxai.files import written_whole
from tests.rl.tiny import Blinker, Recurrent, picture_network, vector_network


def _decided(network, **options):
    env = rl.ExplainedEnv(gym.make("CartPole-v1"), network, **options)
    env.reset(seed=0)
    return env.step(1)[-1]["explanation"]


def test_a_lazy_explanation_refuses_writes_through_data_and_another_mode():
    network = vector_network()
    late = _decided(network, lazy=True)
    for parameter in network.parameters():
        parameter.data.mul_(3.0)  # as averaged target networks do; PyTorch does not count it
    with pytest.raises(InputError, match="changed after this decision"):
        _ = late.relevance
    dropping = nn.Sequential(vector_network(), nn.Dropout(0.5)).eval()
    late = _decided(dropping, lazy=True)
    dropping.train()
    with pytest.raises(InputError, match="changed after this decision"):
        _ = late.relevance


def test_weights_in_bfloat16_are_explained():
    network = vector_network().to(torch.bfloat16)
    explanation = _decided(network)
    expected = network(torch.from_numpy(explanation.observation)[None].to(torch.bfloat16))[0, 1]
    assert explanation.q_values.dtype == np.float32
    assert explanation.explained == pytest.approx(expected.item(), rel=1e-2)
    assert explanation.relevance.sum() == pytest.approx(explanation.ledger["input"], rel=0.05, abs=1e-3)


def test_a_module_named_value_with_many_outputs_is_no_state_value():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.value, self.out = nn.Linear(4, 16), nn.Linear(16, 2)

        def forward(self, x):
            return self.out(torch.relu(self.value(x)))

    with pytest.raises(InputError, match="needs a dueling network with a module named 'value'"):
        _decided(Attention(), target="state-value")


def test_a_wrong_rate_is_told_before_the_game(tmp_path):
    with pytest.raises(InputError, match=r"fps should be .* got 0"):
        rl.ExplainedEnv(gym.make("CartPole-v1"), vector_network(), video_folder=tmp_path, fps=0)


class OneInfo(gym.Wrapper):
    """Returns one dictionary again and again."""

    def __init__(self, env):
        super().__init__(env)
        self.info = {"lives": 3}

    def step(self, action):
        *rest, _ = self.env.step(action)
        return (*rest, self.info)


def test_an_environment_may_return_one_dictionary_again_and_again():
    inner = OneInfo(gym.make("CartPole-v1"))
    env = rl.ExplainedEnv(inner, vector_network())
    env.reset(seed=0)
    first, second = env.step(0)[-1], env.step(1)[-1]
    assert first["explanation"] is not second["explanation"]
    assert first["lives"] == 3
    assert inner.info == {"lives": 3}, "the environment's own dictionary is left alone"


def test_a_wrong_option_of_videos_is_told_without_a_folder():
    for options, message in [
        ({"palette": "rainbow"}, "Unknown palette 'rainbow'"),
        ({"feature_names": ["x"]}, "Expected 4 feature names"),
        ({"video_size": (961, 480)}, "even number"),
        ({"fps": 0}, r"fps should be .* got 0"),
        ({"scale": -1}, "scale should be above 0"),
    ]:
        with pytest.raises(InputError, match=message):
            rl.ExplainedEnv(gym.make("CartPole-v1"), vector_network(), **options)


# ---- networks that change, and networks that draw ------------------------------------------------------------------------------


def learning(network, env, steps, learn_at):
    """A loop with memory that changes the weights between two steps; its own values and the infos."""
    observation, _ = env.reset(seed=0)
    state, values, infos = None, [], []
    for step in range(steps):
        if step in learn_at:
            with torch.no_grad():
                network.values.weight.mul_(1.5)
                network.lstm.weight_hh_l0.add_(0.2)
        with torch.no_grad():
            value, state = network(torch.from_numpy(observation)[None, None].double(), state)
        values.append(value[0, 0].numpy())
        observation, *_, info = env.step(step % 2)
        infos.append(info)
    return values, infos


@pytest.mark.parametrize("window", [4, "episode"])
def test_what_other_weights_decided_on_is_left_behind(window):
    network = Recurrent().double()
    env = rl.ExplainedEnv(gym.make("CartPole-v1"), network, recurrent=window)
    with pytest.warns(UserWarning, match="weights or mode changed within an episode") as told:
        values, infos = learning(network, env, 8, learn_at=(3, 5))
    assert len(told) == 1, "told once"
    explanations = [info["explanation"] for info in infos]
    assert [len(e.relevance) for e in explanations] == [1, 2, 3, 1, 2, 1, 2, 3]
    for explanation, value in zip(explanations, values, strict=True):  # what acted is what is explained
        np.testing.assert_allclose(explanation.q_values, value, rtol=1e-10)
        assert explanation.balance < 1e-12
    assert abs(explanations[-1].ledger["initial_state"]) > 1e-6


def test_learning_between_episodes_costs_no_window():
    network = Recurrent().double()
    env = rl.ExplainedEnv(gym.make("CartPole-v1"), network, recurrent=4)
    for _ in range(2):
        _, infos = learning(network, env, 5, learn_at=(0,))
        assert [len(info["explanation"].relevance) for info in infos] == [1, 2, 3, 4, 4]


def test_many_memories_begin_anew_when_the_weights_change():
    network = Recurrent()
    env = rl.ExplainedEnv(SyncVectorEnv([lambda: gym.make("CartPole-v1")] * 2), network, recurrent="episode")
    env.reset(seed=0)

    def lengths():
        return [len(explanation.relevance) for explanation in env.step(np.array([0, 1]))[-1]["explanation"]]

    assert [lengths(), lengths()] == [[1, 1], [2, 2]]
    network.values.weight.data.mul_(2.0)
    with pytest.warns(UserWarning, match="weights or mode changed within an episode"):
        assert lengths() == [1, 1]
    assert lengths() == [2, 2]


class Restless(nn.Module):
    """Noise in every run, or a running mean that every run moves."""

    def __init__(self, noise):
        super().__init__()
        self.layer, self.noise = nn.Linear(4, 2), noise
        self.register_buffer("mean", torch.ones(4))

    def forward(self, x):
        if not self.noise:
            self.mean.lerp_(x.detach().mean(0), 0.5)
        return self.layer(x - self.mean + self.noise * torch.randn_like(x))


@pytest.mark.parametrize("network", [nn.Sequential(vector_network(), nn.Dropout(0.5)), Restless(1.0)], ids=["dropout", "noise"])
def test_a_network_that_draws_is_told_once(network):
    env = rl.ExplainedEnv(gym.make("CartPole-v1"), network)
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="draws random numbers"):
        env.step(1)
    env.step(1)  # a second warning would be an error


def test_a_network_that_is_calm_is_not_warned_of():
    _decided(nn.Sequential(vector_network(), nn.Dropout(0.5)).eval())
    _decided(Restless(0.0))


# ---- films ---------------------------------------------------------------------------------------------------------------------


def filmed(folder, seed=0, steps=6, **options):
    env = rl.ExplainedEnv(Blinker(length=3), picture_network(), video_folder=folder, video_size=(640, 360), **options)
    env.reset(seed=seed)
    for _ in range(steps):
        if env.step(2)[2]:
            env.reset()
    env.close()
    return env.videos


def test_a_frame_shows_the_rewards_before_it_and_counts_within_the_episode(tmp_path, monkeypatch):
    shots = []
    draw = Picture.draw
    monkeypatch.setattr(Picture, "draw", lambda self, shot: shots.append(shot) or draw(self, shot))
    filmed(tmp_path, step_trigger=lambda step: step == 1, video_length=4)
    assert [(s.episode, s.decision, s.rewards) for s in shots] == [(0, 2, 2.0), (0, 3, 4.0), (1, 1, 0.0), (1, 2, 2.0)]
    shots.clear()
    vector = SyncVectorEnv([lambda n=n: Blinker(length=n) for n in (9, 2)])  # the second is reset by a step of its own
    env = rl.ExplainedEnv(vector, picture_network(), video_folder=tmp_path / "many", video_env=1, video_size=(640, 360))
    env.reset(seed=0)
    for _ in range(6):
        env.step(np.array([1, 2]))
    env.close()
    assert [(s.episode, s.decision, s.rewards) for s in shots] == [(0, 1, 0.0), (0, 2, 2.0), (1, 1, 0.0), (1, 2, 2.0)]


def test_films_of_another_run_are_kept(tmp_path):
    first = filmed(tmp_path)
    kept = first[0].read_bytes()
    with pytest.warns(UserWarning, match=r"videos of another run named explained-.*named explained-2-"):
        second = filmed(tmp_path, seed=5)
    assert [p.name for p in second] == ["explained-2-episode-0.mp4", "explained-2-episode-1.mp4"]
    assert first[0].read_bytes() == kept
    with pytest.warns(UserWarning, match="explained-3-"):
        third = filmed(tmp_path, step_trigger=lambda step: step == 4, video_length=2)
    assert third[0].name == "explained-3-step-4.mp4"
    assert filmed(tmp_path, name_prefix="expl")[0].name == "expl-episode-0.mp4"


def test_two_wrappers_may_film_into_one_folder(tmp_path):
    envs = [rl.ExplainedEnv(Blinker(length=3), picture_network(), video_folder=tmp_path, video_size=(640, 360))]
    with pytest.warns(UserWarning, match="explained-2-"):
        envs += [rl.ExplainedEnv(Blinker(length=3), picture_network(), video_folder=tmp_path, video_size=(640, 360))]
    for env in envs:
        env.reset(seed=0)
    for _ in range(3):
        for env in envs:
            env.step(0)
    assert [env.videos[0].name for env in envs] == ["explained-episode-0.mp4", "explained-2-episode-0.mp4"]


def test_what_a_killed_run_left_is_removed_and_nobody_elses(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        dead = process.pid
    stale = [tmp_path / f".explained-episode-8.{dead}.part.mp4", tmp_path / f".explained-episode-0.{dead}.part.mp4"]
    alive = tmp_path / f".explained-episode-8.{os.getppid()}.part.mp4"
    other = tmp_path / f".other-episode-8.{dead}.part.mp4"
    for path in (*stale, alive, other):
        path.touch()
        os.utime(path, (0, 0))
    filmed(tmp_path)
    assert sorted(p.name for p in tmp_path.glob(".*")) == sorted([alive.name, other.name])
    with written_whole(tmp_path / "other-episode-8.mp4") as partial:
        partial.write_bytes(b"film")
    assert [p.name for p in tmp_path.glob(".*")] == [alive.name]


def shown(picture, explanations, scale=1.0):
    """Frames of a film about these decisions."""
    shots = [picture.shot(None, explanation, 0.0, 0, number + 1) for number, explanation in enumerate(explanations)]
    picture.begin(scale, "given", shots)
    return [picture.draw(shot).astype(int) for shot in shots]


def told(observation, relevance, names=("LEFT", "RIGHT")):
    """An explanation whose numbers are given."""
    observation, relevance = np.asarray(observation), np.asarray(relevance, np.float64)
    space = gym.spaces.Box(-9, 9, (2,), np.float32)
    explainer = Explainer(vector_network(2), space, gym.spaces.Discrete(2), action_names=names, target="contrast")
    pending = Pending(explainer, observation[None], (0,))
    ledger = {"input": np.array([0.75]), "bias": np.array([0.25])}
    pending.__dict__["found"] = Found(relevance[None], np.array([1.0]), np.array([[1.0, -0.5]]), ledger, "lrp/epsilon")
    return Explanation(pending, 0)


def picture(features=(), axes=None, *, size=(640, 480), names=("LEFT", "RIGHT"), bounds=(0.0, 255.0), recurrent=False):
    return Picture("game", *size, names, features, axes, bounds, recurrent, False)


def is_colour(area, colour):
    return (np.abs(area - np.array(colour)) <= 1).all(axis=2)


def test_columns_of_steps_have_one_scale_in_a_film():
    painter = picture(axes=(1, 2), recurrent=True)
    observation, pixels = np.zeros((2, 1, 8, 8), np.uint8), np.ones((1, 8, 8)) / 64
    frames = shown(painter, [told(observation, [0.0 * pixels, size * pixels]) for size in (1.0, 0.25, 0.5)])
    box = painter._relevance
    strips = [frame[box.bottom - 40 : box.bottom, box.right - 12 : box.right - 2] for frame in frames]
    heights = [int(is_colour(strip, drawing.FOR).any(axis=1).sum()) for strip in strips]
    assert heights[0] > 12
    assert heights[1] == pytest.approx(heights[0] / 4, abs=1)
    assert heights[2] == pytest.approx(heights[0] / 2, abs=1)


def test_a_picture_without_bounds_has_one_range_of_grey_in_a_film():
    painter = picture(axes=(0, 1), bounds=(-np.inf, np.inf))
    dark, bright = np.zeros((8, 8), np.float32), np.zeros((8, 8), np.float32)
    dark[0, 0], bright[0, 0] = 1.0, 4.0
    frames = shown(painter, [told(o, np.zeros((8, 8))) for o in (dark, bright)])
    box = painter._relevance
    levels = [f[box.y : box.bottom, box.x : box.right].max() for f in frames]
    assert levels[1] == round(255 * drawing.DIMMED)
    assert levels[0] == pytest.approx(levels[1] / 4, abs=1)


def test_the_features_that_matter_keep_a_row_and_the_others_share_one():
    names = tuple(f"x[{i}]" for i in range(60))
    first, second = np.zeros(60), np.zeros(60)
    first[[3, 40, 59]], second[[3, 40, 59]] = (0.5, -0.2, 0.4), (0.1, 0.1, -0.4)
    second[[7, 8]] = 0.3, -0.1  # they did not matter before
    rows = choose(names, [first], 4)
    assert [names[i] for i in rows.own] == ["x[3]", "x[40]", "x[59]"], "in the order of the observation, whatever their size"
    np.testing.assert_allclose(rows.values(second), [0.1, 0.1, -0.4, 0.2])
    assert rows.labels(second)[-1] == "57 others, most x[7] +0.3"
    assert len(choose(names, [first], 100)) == 24
    assert len(choose(names[:20], [first[:20]], 24)) == 20, "all have a row where there is room"
    steps = np.outer(first, [1, 2])
    np.testing.assert_allclose(choose(names, [steps], 4).values(steps).sum(axis=0), steps.sum(axis=0))


@pytest.mark.parametrize(("count", "size"), [(16, (640, 480)), (300, (640, 480)), (20, (1280, 720)), (60, (1280, 720))])
def test_bars_of_many_features_sum_to_all_and_can_be_read(count, size):
    painter = picture(tuple(f"a long name of feature {i}" for i in range(count)), size=size)
    relevance = np.where(np.arange(count) % 2 == 0, 0.5, -0.25)
    (frame,) = shown(painter, [told(np.zeros(count), relevance)])
    assert painter._letters >= 11
    assert len(painter._rows) == min(count, 24, painter._relevance.height // 20)
    lengths = {}
    for row in range(len(painter._rows)):
        track = painter._track(row)
        assert track.bottom <= painter._relevance.bottom
        area = frame[track.y : track.bottom, track.x : track.right]
        lengths[row] = int(is_colour(area, drawing.FOR).sum() - is_colour(area, drawing.AGAINST).sum()) // track.height
    expected = [round(0.5 * min(1.0, abs(v)) * painter._relevance.width) * (1 if v > 0 else -1) for v in painter._rows.values(relevance)]
    np.testing.assert_allclose(list(lengths.values()), expected, atol=1)


@pytest.mark.parametrize("size", [(640, 480), (1280, 720)])
def test_long_names_of_actions_leave_the_balance_alone(size):
    names = ("MOVE FORWARD AND FIRE LEFT", "MOVE BACKWARD AND FIRE ALL")
    painter = picture(("a", "b"), names=names, size=size)
    (frame,) = shown(painter, [told([0.0, 0.0], [0.5, 0.25], names)])
    (short,) = shown(picture(("a", "b"), size=size), [told([0.0, 0.0], [0.5, 0.25])])
    line = np.s_[painter.height - 66 : painter.height - 46, -110:]  # the balance and a gap
    np.testing.assert_array_equal(frame[line], short[line])


def test_more_steps_than_pixels_are_cut_at_the_oldest():
    painter = picture(("a", "b"), recurrent=True)
    relevance = np.zeros((900, 2))
    relevance[-1] = 1.0, -1.0
    (frame,) = shown(painter, [told(np.zeros((900, 2)), relevance)])
    box = painter._relevance
    assert np.abs(frame[box.y + 20, box.right - 1] - np.array(drawing.FOR)).max() <= 30
    assert (frame[box.y + 20, box.right + 1 : box.right + 10] == drawing.BACKGROUND).all(), "nothing reaches into the next panel"
