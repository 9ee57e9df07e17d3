"""Scores of whole games: what they mean, how sure they are, the table, the curve, the film."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from typer.testing import CliRunner

import rl
from rl import playing
from rl.cli import app
from rl.preprocessing import Preprocessing
from rl.scores import REFERENCES, Mean, mean_with_interval
from rl.training.parallel import playable_in_parallel
from rl.trajectory import decide
from seqxai.errors import InputError
from tests.rl.test_evolution import agent_of

RUNNER = CliRunner()


def test_the_scale_between_random_and_human_play():
    breakout = REFERENCES["breakout"]
    assert (breakout.normalised(1.7), breakout.normalised(30.5)) == (0.0, 1.0)
    assert breakout.normalised(401.2) == pytest.approx(13.872, abs=1e-3)  # DQN: 1327 % with Nature's own human, 31.8
    assert REFERENCES["pong"].normalised(18.9) == pytest.approx((18.9 + 20.7) / (14.6 + 20.7))
    assert len(REFERENCES) == 57


@pytest.mark.atari
def test_every_reference_is_a_game_of_the_emulator():
    from rl.games import known_games

    assert set(REFERENCES) <= set(known_games())


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says():
    chance, covered = np.random.default_rng(0), 0
    for _ in range(200):
        interval = mean_with_interval(chance.exponential(10.0, size=30))
        covered += interval.low <= 10.0 <= interval.high
    assert 0.88 <= covered / 200 <= 0.98  # a little below 95 % for 30 skewed games, as is known of this bootstrap
    assert mean_with_interval(np.array([4.0])) == Mean(4.0, None, None)
    assert mean_with_interval(np.full(5, 3.0)) == Mean(3.0, 3.0, 3.0)


def test_a_row_of_the_table():
    row = playing.Played("breakout", 7, np.array([0.0, 10.0, 20.0], np.float32)).row()
    assert (row["agent_steps"], row["games"], row["mean"], row["median"], row["min"], row["max"]) == (7, 3, 10.0, 10.0, 0.0, 20.0)
    assert row["human_normalised"] == pytest.approx((10 - 1.7) / 28.8)
    low, high = row["interval"]
    assert row["human_normalised_interval"] == pytest.approx([(low - 1.7) / 28.8, (high - 1.7) / 28.8])
    assert playing.Played("adventure", 7, np.array([1.0, 2.0], np.float32)).row()["human_normalised"] is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("run")
    for steps in (0, 1_000):
        rl.save_agent(agent_of(1.0, steps), place / f"{steps}.safetensors")
    return place


def run(*arguments):
    return RUNNER.invoke(app, ["play", *map(str, arguments)])


@pytest.mark.atari
def test_one_command_plays_a_training_and_draws_its_curve(folder, tmp_path):
    curve = tmp_path / "curve.svg"
    result = run(folder, "--games", 1, "--threads", 1, "--epsilon", 1.0, "--curve", curve, "--json", "--quiet")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert [row["agent_steps"] for row in report["checkpoints"]] == [0, 1000]
    points = playing.play_games(rl.load(folder / "1000.safetensors"), 1, 0, 1, 1.0)
    assert report["checkpoints"][1]["points"] == points.tolist()
    assert report["checkpoints"][1]["mean"] == points.mean()
    svg = curve.read_text()
    for text in ("agent steps, millions", "Breakout: mean points of 1 game", "human: 30.5", "random: 1.7", "95 % interval"):
        assert f">{text}<" in svg
    told = run(folder, "--games", 1, "--threads", 1, "--epsilon", 1.0, "--checkpoints", 2)
    assert "human = 1: 30.5 points" in told.stdout
    assert [line.split()[0] for line in told.stdout.splitlines()[3:5]] == ["0", "1,000"]


@pytest.mark.atari
def test_the_film_shows_the_game_and_nothing_else(folder, tmp_path):
    av = pytest.importorskip("av")
    agent = rl.load(folder / "0.safetensors")
    told = []
    points = playing.film_a_game(agent, [tmp_path / "a.mp4"], seed=3, epsilon=1.0, zoom=2, progress=told.append)
    rows = list(decide(agent, seed=3, epsilon=1.0))
    assert told == list(range(1, len(rows) + 1))
    assert points == sum(row["rewards"] for row in rows)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert float(container.streams.video[0].average_rate) == 15.0
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(pictures) == len(rows)
    for place in (0, len(rows) // 2, len(rows) - 1):
        screen = rows[place]["screens"].repeat(2, axis=0).repeat(2, axis=1)
        assert np.abs(pictures[place].astype(int) - screen).mean() < 4.0


@pytest.mark.atari
def test_what_is_decided_is_what_is_recorded(folder):
    agent = rl.load(folder / "0.safetensors")
    recorded = rl.record(agent, seed=2, decisions=12, epsilon=0.3)
    for place, row in enumerate(decide(agent, seed=2, decisions=12, epsilon=0.3)):
        np.testing.assert_array_equal(row["screens"], recorded.screens[place])
        assert (row["chosen"], row["rewards"]) == (recorded.chosen[place], recorded.rewards[place])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("",), "the path is empty; give a checkpoint"),
        (("none.safetensors",), "the file does not exist"),
        (("F/0.safetensors", "--checkpoints", 2), "--checkpoints and --steps choose among the checkpoints of a training"),
        (("F", "--checkpoints", 2, "--steps", "0,1k"), "--checkpoints and --steps both choose; give one of them"),
        (("F", "--steps", "0,3M"), "is at 3M agent steps; there are 0, 1000"),
        (("F", "--curve", "a.bmp"), "expected a name ending in .png or .svg or .pdf, got .bmp"),
        (("F", "--video", "a.avi"), "expected a name ending in .mp4, .webm, .gif or .apng"),
        (("F", "--video", "no/a.mp4"), "is missing; create it first"),
    ],
)
def test_mistakes_end_in_one_sentence_before_anything_is_played(folder, tmp_path, monkeypatch, arguments, text):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(playing, "play_games", None)
    result = run(*(str(a).replace("F", str(folder), 1) if str(a).startswith("F") else a for a in arguments))
    assert isinstance(result.exception, InputError | rl.checkpoints.native.CheckpointError), result.output
    assert text in str(result.exception)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.atari
def test_agents_that_see_other_pictures_are_played_one_by_one(folder):
    """The vector environment would show them what they were never trained on."""
    agent = dataclasses.replace(rl.load(folder / "0.safetensors"), preprocessing=Preprocessing(interpolation="linear", start_frames=8))
    told = []
    points = playing.play_games(agent, 2, 7, epsilon=1.0, progress=told.append)
    seeds = np.random.SeedSequence(7).generate_state(2).tolist()
    assert points.tolist() == [sum(row["rewards"] for row in decide(agent, seed=seed, epsilon=1.0)) for seed in seeds]
    assert told == [1, 2]
    assert playable_in_parallel(Preprocessing(sticky_probability=0.25, frame_skip=3, start_frames=1, divisor=1.0))
    for field in ("linear", "linear-antialias"):
        assert not playable_in_parallel(Preprocessing(interpolation=field))
    assert not playable_in_parallel(Preprocessing(stack_padding="first"))
