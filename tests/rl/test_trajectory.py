"""Playing and keeping what was played."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import re
from collections import deque

import numpy as np
import pytest
import torch

import rl
from rl.environment import Environment
from rl.network import NatureNetwork
from rl.preprocessing import Preprocessing
from rl.trajectory import AGENT, CHANCE, PROTOCOL, Trajectory
from seqxai.errors import InputError

FIELDS = [field.name for field in dataclasses.fields(Trajectory)]


def assert_same(first: Trajectory, second: Trajectory) -> None:
    for name in FIELDS:
        a, b = getattr(first, name), getattr(second, name)
        if name in ("screens", "planes"):  # packed or not, they are the same pictures
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
        else:
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


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ({"seed": "a"}, "seed should be a whole number, got 'a'"),
        ({"seed": True}, "seed should be a whole number, got True"),
        ({"decisions": 2.5}, "decisions should be a whole number, got 2.5"),
        ({"epsilon": None}, "epsilon should be a finite number, got None"),
        ({"epsilon": float("nan")}, "epsilon should be a finite number, got nan"),
    ],
)
def test_what_is_no_number(untrained, numbers, text):
    with pytest.raises(InputError, match=re.escape(text)):
        inspect.unwrap(rl.record)(untrained, **numbers)  # below the type checks that only these tests have


@pytest.mark.atari
def test_numpy_numbers_can_be_saved(untrained, tmp_path):
    played = inspect.unwrap(rl.record)(untrained, seed=np.int64(3), decisions=np.int64(2), epsilon=np.float32(0.5))
    played.save(tmp_path / "played.npz")
    assert (played.seed, played.epsilon, len(Trajectory.load(tmp_path / "played.npz"))) == (3, 0.5, 2)


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


def test_version_1_is_still_read(made_up, tmp_path):
    path = tmp_path / "old.npz"
    made_up.save(path)
    with np.load(path) as file:
        header = json.loads(str(file["header"])) | {"format_version": 1}
        entries = {name: file[name] for name in file.files if not name.startswith(("screens", "planes"))}
    entries |= {"header": np.array(json.dumps(header)), "screens": made_up.screens, "planes": made_up.planes}
    np.savez_compressed(path, **entries)
    assert_same(Trajectory.load(path), made_up)
    np.savez(path, **{**entries, "planes": made_up.planes[:9]})
    with pytest.raises(InputError, match=r"planes should be uint8 \(10, 84, 84\), is uint8 \(9, 84, 84\)"):
        Trajectory.load(path)


@pytest.mark.atari
def test_what_was_played_until_an_interruption_is_kept(shipped, played, tmp_path):
    def stop(done):
        if done == 70:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rl.record(shipped, seed=1, decisions=130, progress=stop, save_to=tmp_path / "part.npz")
    kept = Trajectory.load(tmp_path / "part.npz")
    assert len(kept) == 70
    np.testing.assert_array_equal(kept.screens, played.screens[:70])
    np.testing.assert_array_equal(kept.q_values, played.q_values[:70])


def test_recording_to_a_place_that_cannot_be_written_is_refused_before_playing(untrained, tmp_path):
    with pytest.raises(InputError, match="is missing; create it first"):
        rl.record(untrained, decisions=10**6, save_to=tmp_path / "no" / "a.npz")


def test_the_same_states_seen_by_another_agent(made_up, untrained):
    with torch.no_grad():
        network = NatureNetwork(4).eval().requires_grad_(False)
    other = dataclasses.replace(untrained, network=network, agent_steps=9)
    seen = made_up.seen_by(other, batch=3)
    np.testing.assert_allclose(seen.q_values, other.q_values(torch.from_numpy(made_up.observations())), rtol=1e-5)
    assert (seen.agent_fingerprint, seen.agent_steps) == (other.fingerprint, 9)
    assert seen.screens is made_up.screens
    explained = rl.explain(seen, other, target="largest")
    np.testing.assert_allclose(explained.explained, seen.q_values.max(axis=1), rtol=1e-5)
    with pytest.raises(InputError, match="has the actions NOOP FIRE RIGHT LEFT, the agent LEFT FIRE; give an agent"):
        made_up.seen_by(dataclasses.replace(other, actions=("LEFT", "FIRE")))


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
        ({"header": {"format_version": 9}}, "has format version 9, this seqxai reads 1 and 2; record the trajectory again"),
        ({"ram": None}, "lacks ram; record the trajectory again"),
        ({"lives": np.zeros(3, np.int64)}, "lives should be int64 (10,), is int64 (3,)"),
        ({"q_values": np.zeros((10, 6), np.float32)}, "q_values should be float32 (10, 4), is float32 (10, 6)"),
        ({"rewards": np.zeros(10, np.float32)}, "rewards should be float64 (10,), is float32 (10,)"),
        ({"planes": np.array(1, np.uint8)}, "is uint8 (); record the trajectory again"),
        ({"planes": np.zeros(0, np.uint8)}, "is uint8 (0,); record the trajectory again"),
        ({"planes_ends": None}, "lacks planes_ends; record the trajectory again"),
        ({"planes_ends": np.zeros(2, np.int64)}, "planes_ends should be int64 (1,), is int64 (2,)"),
        ({"screens_ends": np.zeros(1), "screens": np.zeros(0, np.uint8)}, "screens_ends should be int64 (1,), is float64"),
        ({"screens_ends": np.zeros(1, np.int64), "screens": np.zeros(0, np.uint8)}, "screens_ends should grow, is [0]"),
        ({"starts": np.zeros(10, bool)}, "the first decision should be the start of a game, starts has False"),
        ({"chosen_by": np.full(10, 77, np.uint8)}, "chosen_by should be 0 .. 2, has 77"),
        ({"chosen": np.full(10, -1)}, "chosen should be 0 .. 3, has -1"),
        ({"chosen": np.full(10, 4)}, "chosen should be 0 .. 3, has 4"),
        ({"lives": np.full(10, -1)}, "lives should be at least 0, has -1"),
        ({"q_values": np.full((10, 4), np.nan, np.float32)}, "q_values contains NaN or infinity"),
        ({"rewards": np.full(10, np.inf)}, "rewards contains NaN or infinity"),
        ({"header": {"game": 3}}, "game should be the name of a game, is 3"),
        ({"header": {"actions": None}}, "actions should be a list of different names, is None"),
        ({"header": {"actions": 4}}, "actions should be a list of different names, is 4"),
        ({"header": {"actions": ["NOOP", "NOOP", "LEFT", "RIGHT"]}}, "actions should be a list of different names"),
        ({"header": {"actions": [[], {}, 1, "RIGHT"]}}, "actions should be a list of different names"),
        ({"header": {"agent_steps": "many"}}, "agent_steps should be a whole number, at least 0, is 'many'"),
        ({"header": {"seed": 1.5}}, "seed should be a whole number, 0 .. 4294967295, is 1.5"),
        ({"header": {"epsilon": float("nan")}}, "epsilon should be a probability, 0 .. 1, is nan"),
        ({"header": {"agent_fingerprint": None}}, "agent_fingerprint should be a name of weights, is None"),
    ],
)
def test_wrong_content(made_up, tmp_path, changes, text):
    path = tmp_path / "played.npz"
    stored(made_up, path, **changes)
    with pytest.raises(InputError, match=re.escape(text)):
        Trajectory.load(path)


@pytest.mark.parametrize("header", ["[]", '"text"', "3", "null"])
def test_a_header_that_is_no_object(made_up, tmp_path, header):
    path = tmp_path / "played.npz"
    np.savez(path, header=np.array(header))
    with pytest.raises(InputError, match="is not a trajectory saved by seqxai; save one with"):
        Trajectory.load(path)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9])
def test_flipped_bits(made_up, tmp_path, share):
    path = tmp_path / "played.npz"
    made_up.save(path)
    content = bytearray(path.read_bytes())
    for place in range(int(share * len(content)), int(share * len(content)) + 8):
        content[place] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"^.* is damaged \(.*\); record the trajectory again$"):
        Trajectory.load(path)


def test_an_unknown_compression(made_up, tmp_path):
    path = tmp_path / "played.npz"
    made_up.save(path)
    content = path.read_bytes()
    for record, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):  # each member says its method twice
        start = content.index(record) + place
        content = content[:start] + b"\x63\x00" + content[start + 2 :]
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"is damaged \(.*compression.*record the trajectory again"):
        Trajectory.load(path)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(InputError, match=r"is a pipe or a device; expected a trajectory file ending in \.npz"):
        Trajectory.load(tmp_path / "pipe.npz")


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_names_no_file_can_have(name):
    with pytest.raises(InputError, match=r"cannot be read: .*; give a trajectory file you may read"):
        Trajectory.load(name)


def test_wrong_files(made_up, tmp_path):
    path = tmp_path / "played.npz"
    with pytest.raises(InputError, match="the file does not exist"):
        Trajectory.load(path)
    with pytest.raises(InputError, match=r"is a folder; expected a trajectory file ending in \.npz"):
        Trajectory.load(tmp_path)
    made_up.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="is truncated or not a trajectory; record the trajectory again"):
        Trajectory.load(path)
    np.savez(path, header=np.array([{"a": 1}], dtype=object))  # an object array is a pickle
    with pytest.raises(InputError, match=r"is damaged .*record the trajectory again"):
        Trajectory.load(path)
    for place, text in (("a.txt", "expected a name ending in .npz"), ("no/a.npz", "is missing; create it first")):
        with pytest.raises(InputError, match=text):
            made_up.save(tmp_path / place)
