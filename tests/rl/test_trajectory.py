"""Playing and keeping what was played."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import deque

import numpy as np
import pytest
import torch

import rl
from rl.environment import Environment
from rl.preprocessing import Preprocessing
from rl.trajectory import AGENT, CHANCE, PROTOCOL, Trajectory
from seqxai.errors import InputError

FIELDS = [field.name for field in dataclasses.fields(Trajectory)]


def assert_same(first: Trajectory, second: Trajectory) -> None:
    for name in FIELDS:
        a, b = getattr(first, name), getattr(second, name)
        assert type(a) is type(b)
        np.testing.assert_array_equal(a, b, err_msg=name)


@pytest.mark.atari
def test_a_seed_decides_everything(shipped, played):
    assert_same(rl.record(shipped, seed=1, decisions=130), played)
    other = rl.record(shipped, seed=2, decisions=130)
    assert (other.planes != played.planes).any()


@pytest.mark.atari
def test_a_shorter_recording_is_the_beginning_of_a_longer_one(shipped, played):
    short = rl.record(shipped, seed=1, decisions=40)
    np.testing.assert_array_equal(short.screens, played.screens[:40])
    np.testing.assert_array_equal(short.chosen, played.chosen[:40])


@pytest.mark.atari
def test_restacked_observations_are_what_the_agent_saw(shipped, played):
    seen = played.observations()
    assert seen.shape == (130, 4, 84, 84)
    q_values = np.concatenate([shipped.q_values(torch.from_numpy(seen[t : t + 1])).numpy() for t in range(0, 130, 7)])
    np.testing.assert_allclose(q_values, played.q_values[::7], rtol=1e-5, atol=1e-5)
    greedy = played.chosen_by == AGENT
    np.testing.assert_array_equal(played.chosen[greedy], played.q_values[greedy].argmax(axis=1))
    np.testing.assert_array_equal(played.observations(np.array([50, 3])), seen[[50, 3]])


@pytest.mark.atari
def test_replaying_the_actions_gives_the_same_game(played):
    environment = Environment("breakout", Preprocessing(), seed=played.seed)
    environment.reset()
    for t in range(len(played)):
        np.testing.assert_array_equal(environment.screen, played.screens[t])
        np.testing.assert_array_equal(environment.observation, played.observations(np.array([t]))[0])
        np.testing.assert_array_equal(environment.ram, played.ram[t])
        assert environment.lives == played.lives[t]
        assert environment.step(int(played.chosen[t])).reward == played.rewards[t]


@pytest.mark.atari
def test_the_shipped_agent_plays(shipped):
    game = rl.record(shipped, seed=2, decisions=None)
    assert game.rewards.sum() >= 20.0  # random play scores 1.7 (Mnih et al. 2015, table 2)
    assert game.starts.sum() == 1
    # the console counts the score in decimal digits: bytes 76 (hundreds) and 77 (tens and ones)
    hundreds, rest = game.ram[:, 76].astype(int), game.ram[:, 77].astype(int)
    shown = 100 * (hundreds & 15) + 10 * (rest >> 4) + (rest & 15)
    np.testing.assert_array_equal(game.score, shown)
    lost = np.flatnonzero(np.diff(game.lives) < 0) + 1
    assert len(lost) == 4
    np.testing.assert_array_equal(np.flatnonzero(game.chosen_by == PROTOCOL), lost)
    assert {game.actions[a] for a in game.chosen[lost]} == {"FIRE"}


@pytest.mark.atari
def test_a_new_game_begins_after_the_last(untrained):
    many = rl.record(untrained, seed=0, decisions=600, epsilon=1.0)
    starts = np.flatnonzero(many.starts)
    assert len(starts) >= 2
    assert (many.lives[starts] == 5).all()
    assert (many.score[starts] == 0).all()
    assert not many.observations(starts)[:, :3].any()
    np.testing.assert_array_equal(many.observations(starts + 3)[0], many.planes[starts[0] : starts[0] + 4])
    assert (many.chosen_by[~np.isin(many.chosen_by, [PROTOCOL])] == CHANCE).all()
    assert np.unique(many.games).tolist() == list(range(len(starts)))


@pytest.mark.atari
def test_epsilon_is_the_share_of_random_actions(untrained):
    for epsilon, low, high in ((0.0, 0, 0), (0.3, 40, 80)):
        trajectory = rl.record(untrained, seed=3, decisions=200, epsilon=epsilon)
        assert low <= (trajectory.chosen_by == CHANCE).sum() <= high


@pytest.mark.atari
def test_progress_counts_to_the_end_and_threads_are_given_back(untrained):
    told, threads = [], torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        rl.record(untrained, decisions=5, progress=told.append)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert told == [1, 2, 3, 4, 5]


@pytest.mark.atari
def test_another_game_needs_the_same_actions(shipped, untrained):
    with pytest.raises(
        InputError,
        match=r"trained for breakout with the actions NOOP FIRE RIGHT LEFT; pong has NOOP FIRE RIGHT LEFT RIGHTFIRE",
    ):
        rl.record(shipped, game="Pong", decisions=1)
    with pytest.raises(InputError, match=r"unknown game 'pog'.*did you mean"):
        rl.record(shipped, game="pog", decisions=1)
    mixed = dataclasses.replace(untrained, actions=("LEFT", "NOOP", "FIRE", "RIGHT"))
    trajectory = rl.record(mixed, seed=0, decisions=60, epsilon=0.0)
    required = trajectory.chosen_by == PROTOCOL
    assert {mixed.actions[a] for a in trajectory.chosen[required]} <= {"FIRE"}
    assert len(np.unique(trajectory.ram[:, 72])) > 1 or mixed.actions[trajectory.chosen[0]] in ("NOOP", "FIRE")


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ({"seed": -1}, "seed should be 0 .. 4294967295, got -1"),
        ({"decisions": 0}, "decisions should be at least 1, or None for one whole game, got 0"),
        ({"epsilon": 1.5}, "epsilon is a probability, 0 .. 1, got 1.5"),
    ],
)
def test_numbers_out_of_range(untrained, numbers, text):
    with pytest.raises(InputError, match=re.escape(text)):
        rl.record(untrained, **numbers)


def test_restacking_by_hand(made_up):
    planes, starts = made_up.planes, set(np.flatnonzero(made_up.starts).tolist())
    stack = deque(maxlen=4)
    for t, seen in enumerate(made_up.observations()):
        if t in starts:
            stack.extend([np.zeros((84, 84), np.uint8)] * 4)
        stack.append(planes[t])
        np.testing.assert_array_equal(seen, np.stack(stack))


def test_score_by_hand(made_up):
    trajectory = dataclasses.replace(made_up, rewards=np.arange(1.0, 11.0))
    assert trajectory.score.tolist() == [0, 1, 3, 6, 10, 0, 6, 13, 21, 30]


def test_save_and_load(made_up, tmp_path):
    path = tmp_path / "played.npz"
    made_up.save(path)
    assert_same(Trajectory.load(path), made_up)
    assert [p.name for p in tmp_path.iterdir()] == ["played.npz"]


def test_nothing_half_written_stays(made_up, tmp_path, monkeypatch):
    def interrupted(file, **arrays):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made_up.save(tmp_path / "played.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_in_one_sentence(made_up, tmp_path, monkeypatch):
    def full(file, **arrays):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(InputError, match=r"Cannot write .*played.npz.*No space left on device"):
        made_up.save(tmp_path / "played.npz")
    assert list(tmp_path.iterdir()) == []


def stored(trajectory, path, **changes):
    """Write a trajectory file with some entries changed."""
    trajectory.save(path)
    with np.load(path) as file:
        entries = {name: file[name] for name in file.files}
    header = json.loads(str(entries["header"])) | changes.pop("header", {})
    entries |= {"header": np.array(json.dumps(header)), **changes}
    np.savez(path, **{name: value for name, value in entries.items() if value is not None})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"header": {"format": "other"}}, "is not a trajectory saved by seqxai"),
        ({"header": {"format_version": 9}}, "has format version 9, this seqxai reads 1; record the trajectory again"),
        ({"ram": None}, "lacks ram; record the trajectory again"),
        ({"lives": np.zeros(3, np.int64)}, "lives should be int64 (10,), is int64 (3,)"),
        ({"q_values": np.zeros((10, 6), np.float32)}, "q_values should be float32 (10, 4), is float32 (10, 6)"),
        ({"rewards": np.zeros(10, np.float32)}, "rewards should be float64 (10,), is float32 (10,)"),
    ],
)
def test_wrong_content(made_up, tmp_path, changes, text):
    path = tmp_path / "played.npz"
    stored(made_up, path, **changes)
    with pytest.raises(InputError, match=re.escape(text)):
        Trajectory.load(path)


def test_wrong_files(made_up, tmp_path):
    path = tmp_path / "played.npz"
    with pytest.raises(InputError, match="the file does not exist"):
        Trajectory.load(path)
    with pytest.raises(InputError, match=r"is a folder; expected a trajectory file ending in \.npz"):
        Trajectory.load(tmp_path)
    made_up.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="is truncated or not a trajectory; record it again"):
        Trajectory.load(path)
    np.savez(path, header=np.array([{"a": 1}], dtype=object))  # an object array is a pickle
    with pytest.raises(InputError, match=r"is damaged .*record the trajectory again"):
        Trajectory.load(path)
    for place, text in (("a.txt", "expected a name ending in .npz"), ("no/a.npz", "is missing; create it first")):
        with pytest.raises(InputError, match=text):
            made_up.save(tmp_path / place)
