"""The replay memory against a twin that keeps everything and walks through it in plain loops; deep Q-learning on it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from rl.preprocessing import Preprocessing
from rl.training import dqn, pqn, replay
from rl.training.common import Setup, forward
from rl.training.dqn import DQN, DQNSettings
from rl.training.replay import ReplayMemory
from rl.training.session import Session
from seqxai.errors import CheckpointError, InputError

GAMES, KEPT, SPARE, STEPS, DISCOUNT = 3, 20, 6, 3, 0.9
SMALL = DQNSettings(games=4, steps=4, memory=256, batch=8, first_steps=32, target_steps=64, epsilon_steps=64)


class Twin:
    """Every observation, reward and end that ever was, by row and game; what a batch should hold, found by walking."""

    def __init__(self, chance):
        self.chance, self.rows, self.cut_after = chance, [], set()
        self.stacks = [np.zeros((4, 84, 84), np.uint8) for _ in range(GAMES)]
        self.ages = [0] * GAMES

    def play(self):
        """One row: a number that is met once as the picture; games end and lives are lost by chance."""
        row = []
        for game in range(GAMES):
            if self.ages[game] == 0:
                self.stacks[game] = np.zeros((4, 84, 84), np.uint8)
            picture = np.zeros((84, 84), np.uint8)
            picture[0, :4] = [len(self.rows) % 251 + 1, game + 1, self.chance.integers(256), self.chance.integers(256)]
            self.stacks[game] = np.concatenate([self.stacks[game][1:], picture[None]])
            over, lost = self.chance.random() < 0.15, self.chance.random() < 0.1
            entry = (self.stacks[game], int(self.chance.integers(18)), float(self.chance.normal()), over or lost, self.ages[game])
            row.append(entry)
            self.ages[game] = 0 if over else self.ages[game] + 1
        self.rows.append(row)
        return row

    def write(self, memory):
        row = self.play()
        stacks, actions, rewards, ends, ages = zip(*row, strict=True)
        frames = np.stack([stack[-1] for stack in stacks])
        memory.add(frames, np.array(actions), np.float32(rewards), np.array(ends), np.array(ages))

    def begin_anew(self):
        """All games start again: what followed the last row is not known."""
        self.cut_after.add(len(self.rows) - 1)
        self.ages = [0] * GAMES

    def sample(self, row, game):
        """(observation, action, reward, discount, following), or None where the following is not known."""
        total, discount = 0.0, 1.0
        for t in range(row, row + STEPS):
            _, _, reward, end, _ = self.rows[t][game]
            total += discount * np.float32(reward)
            discount *= DISCOUNT
            if end:
                return self.rows[row][game][0], self.rows[row][game][1], total, 0.0, None
            if t in self.cut_after:
                return None
        return self.rows[row][game][0], self.rows[row][game][1], total, discount, self.rows[row + STEPS][game][0]


def where(observation):
    """Row and game of a picture, read from it."""
    return tuple(observation[-1, 0, :4].tolist())


def check(memory, twin, seed):
    """A batch against the twin; gives the rows that were drawn."""
    by_picture = {where(entry[0]): (r, g) for r, row in enumerate(twin.rows) for g, entry in enumerate(row)}
    batch = memory.sample(np.random.default_rng(seed), 64, STEPS, DISCOUNT)
    drawn, kinds = [], set()
    for i in range(64):
        row, game = by_picture[where(batch.observations[i])]
        expected = twin.sample(row, game)
        assert expected is not None, "a sample whose successor nobody knows"
        observation, action, reward, discount, following = expected
        np.testing.assert_array_equal(batch.observations[i], observation)
        assert batch.actions[i] == action
        assert batch.rewards[i] == pytest.approx(reward, abs=1e-6)
        assert batch.discounts[i] == pytest.approx(discount, abs=1e-7)
        if following is not None:
            np.testing.assert_array_equal(batch.following[i], following)
        drawn.append(row)
        kinds.add(discount == 0.0)
    assert kinds == {True, False}
    return set(drawn)


def test_batches_are_those_of_a_memory_that_keeps_everything(tmp_path):
    twin = Twin(np.random.default_rng(0))
    memory = ReplayMemory(tmp_path, KEPT * GAMES, GAMES, SPARE * GAMES)
    for _ in range(12):
        twin.write(memory)
    assert check(memory, twin, 1) == set(range(12 - STEPS)), "every row but those whose end is not known"
    for _ in range(70):  # round the ring three times
        twin.write(memory)
    drawn = set().union(*(check(memory, twin, seed) for seed in range(4)))
    assert drawn == set(range(82 - KEPT + 3, 82 - STEPS)), "the last M, less the planes before and the steps after"


def test_a_run_that_goes_on_draws_the_same_and_nothing_across_its_beginning(tmp_path):
    twin = Twin(np.random.default_rng(2))
    memory = ReplayMemory(tmp_path, KEPT * GAMES, GAMES, SPARE * GAMES)
    for _ in range(40):
        twin.write(memory)
    memory.flush()
    lost = Twin(np.random.default_rng(3))
    for _ in range(SPARE):  # written after the state that is gone on from, by a run that was killed
        lost.write(memory)
    batches = []
    for _ in range(2):
        again = ReplayMemory(tmp_path, KEPT * GAMES, GAMES, SPARE * GAMES, rows=40)
        batches.append(again.sample(np.random.default_rng(4), 32, STEPS, DISCOUNT))
    for field in dataclasses.fields(batches[0]):
        np.testing.assert_array_equal(*(getattr(batch, field.name) for batch in batches))
    twin.begin_anew()
    assert {23, 24, 25} <= set().union(*(check(again, twin, seed) for seed in range(3))), "where the killed run wrote on the ring"
    for _ in range(8):
        twin.write(again)
    drawn = set().union(*(check(again, twin, seed) for seed in range(6)))
    assert {40, 41, 44} <= drawn
    assert len(drawn & {37, 38, 39}) > 0, "before the cut an end tells enough"


def test_a_memory_that_does_not_fit_is_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="a memory of 20 decisions is too small for 4 games; expected at least 32"):
        ReplayMemory(tmp_path, 20, 4, 8)
    usage = dataclasses.make_dataclass("Usage", ["free"])
    monkeypatch.setattr(replay.shutil, "disk_usage", lambda path: usage(10**9))
    with pytest.raises(InputError, match=r"memory of 1,000,000 decisions needs 7\.1 GB, and there are 1\.0 GB on this disk"):
        ReplayMemory(tmp_path, 1_000_000, 4, 100)
    monkeypatch.setattr(replay.shutil, "disk_usage", lambda path: usage(10**12))
    monkeypatch.setattr(replay, "_machine_bytes", lambda: 2 * 10**9)
    with pytest.raises(InputError, match=r"needs 7\.1 GB, and there are 2\.0 GB in this machine's memory"):
        ReplayMemory(tmp_path, 1_000_000, 4, 100)
    monkeypatch.setattr(replay, "_machine_bytes", lambda: None)
    ReplayMemory(tmp_path, 64, 4, 8)
    (tmp_path / "ends.bin").write_bytes(b"short")
    with pytest.raises(CheckpointError, match=r"ends\.bin is missing or of another size"):
        ReplayMemory(tmp_path, 64, 4, 8, rows=3)
    few = ReplayMemory(tmp_path / "new", 64, 4, 8)
    few.rows = 2
    with pytest.raises(InputError, match="2 rows are too few to draw from; expected more than 7"):
        few.sample(np.random.default_rng(0), 1, 3, 0.9)


@pytest.fixture(scope="module")
def setup() -> Setup:
    return Setup("breakout", "nips", 3, torch.device("cpu"), False, 1, True, Preprocessing())


def weights(network):
    return torch.cat([parameter.detach().ravel() for parameter in network.parameters()])


@pytest.mark.atari
def test_what_is_remembered_is_what_the_games_showed(setup, tmp_path):
    algorithm = DQN(setup, dataclasses.replace(SMALL, memory=2048, first_steps=10**6), tmp_path)
    twin, shown, lost = setup.games(4, 0), [], 0
    for _ in range(18):
        algorithm.advance()
    for row in range(72):
        shown.append(twin.observations.copy())
        actions = algorithm.memory._fields["actions"][row].astype(np.int64)
        stepped = twin.step(actions)
        np.testing.assert_array_equal(algorithm.memory._fields["rewards"][row], np.clip(stepped.rewards, -1, 1))
        np.testing.assert_array_equal(algorithm.memory._fields["ends"][row], stepped.game_over | stepped.life_lost)
        lost += int(stepped.life_lost.sum())
    rows, games = np.repeat(np.arange(72), 4), np.tile(np.arange(4), 72)
    np.testing.assert_array_equal(algorithm.memory._observations(rows, games), np.concatenate(shown))
    assert lost > 0
    twin.close()
    algorithm.close()


@pytest.mark.atari
def test_an_update_draws_q_values_to_the_double_estimate(setup, tmp_path):
    algorithm = DQN(setup, dataclasses.replace(SMALL, first_steps=10**6, learning_rate=1e-3), tmp_path)
    for _ in range(8):
        algorithm.advance()
    with torch.no_grad():
        for parameter in algorithm.target.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    batch = algorithm.memory.sample(np.random.default_rng(0), 32, 3, 0.99)
    seen, later = torch.from_numpy(batch.observations), torch.from_numpy(batch.following)
    with torch.no_grad():
        own, others = forward(algorithm.network, later, setup), forward(algorithm.target, later, setup)
        estimates = [float(others[i, own[i].argmax()]) for i in range(32)]
        expected = torch.tensor(batch.rewards + batch.discounts * np.float32(estimates))
        before = forward(algorithm.network, seen, setup)[torch.arange(32), torch.from_numpy(batch.actions)]
    error = (before - expected).abs()
    huber = torch.where(error < 1, error**2 / 2, error - 0.5).mean()
    assert float(algorithm._update(batch)) == pytest.approx(float(huber), rel=1e-5)
    for _ in range(20):
        last = float(algorithm._update(batch))
    assert last < 0.95 * float(huber)
    algorithm.close()


@pytest.mark.atari
def test_the_target_follows_in_strides_and_learning_waits(setup, tmp_path):
    algorithm = DQN(setup, SMALL, tmp_path)
    begun = weights(algorithm.network)
    losses = [algorithm.advance().loss for _ in range(3)]
    assert np.isnan(losses[0])
    assert np.isfinite(losses[1:]).all(), "32 decisions are there after the second turn"
    assert torch.equal(weights(algorithm.target), begun)
    assert not torch.equal(weights(algorithm.network), begun)
    algorithm.advance()  # 64 decisions
    assert torch.equal(weights(algorithm.target), weights(algorithm.network))
    algorithm.close()


@pytest.mark.atari
def test_a_run_with_a_memory_is_resumed_and_two_resumptions_agree(tmp_path):
    run = tmp_path / "run"
    first = Session.open(run, "breakout", "dqn", "nips", seed=5, threads=1, numbers=SMALL)
    first.run(agent_steps=96, games=0)
    kept = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    ends = []
    for _ in range(2):
        again = Session.open(run, threads=1, resume=True)
        assert (again.name, again.setup.architecture, again.algorithm.settings) == ("dqn", "nips", SMALL)
        assert torch.equal(weights(again.algorithm.target), weights(first.algorithm.target))
        again.run(agent_steps=192, games=0)
        ends.append((weights(again.algorithm.network), weights(again.algorithm.target)))
        (run / "state.safetensors").write_bytes(kept[run / "state.safetensors"])  # the memory stays as the lost future left it
    assert torch.equal(ends[0][0], ends[1][0])
    assert torch.equal(ends[0][1], ends[1][1])
    assert not torch.equal(ends[0][0], weights(first.algorithm.network))
    with pytest.raises(InputError, match="has memory=256, asked for was 512"):
        Session.open(run, memory=512, resume=True)
    with pytest.raises(InputError, match="pqn has no replay memory; leave --memory out, or choose --algorithm dqn"):
        Session.open(tmp_path / "other", "breakout", memory=512)


def test_the_page_on_training_has_every_deviation():
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    for paper, here, why in (*pqn.DEVIATIONS, *dqn.DEVIATIONS):
        assert f"| {paper} | {here} | {why} |" in page
