"""Parallel Q-learning and the loop around it, on small blocks of real games."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rl.checkpoints import load_run
from rl.environment import Environment
from rl.preprocessing import Preprocessing
from rl.training.common import Setup, epsilon_at, forward
from rl.training.evaluation import play_games
from rl.training.folder import RunFolder
from rl.training.loop import checkpoint_due, checkpoint_steps
from rl.training.parallel import ParallelGames, Stepped
from rl.training.pqn import PQN, PQNSettings, lambda_returns
from rl.training.session import Session, find_device
from seqxai.errors import CheckpointError, InputError

pytestmark = pytest.mark.atari

SMALL = PQNSettings(games=4, steps=8, batch=16, epsilon_steps=64)


def test_lambda_returns_are_the_mixture_of_n_step_returns():
    """G is (1 - λ) sum_n λ^(n-1) G_n, the last of them with all the weight that is left; nothing crosses an end."""
    chance, discount, trace = np.random.default_rng(0), 0.9, 0.7
    rewards = chance.normal(size=(6, 5))
    ends = chance.random((6, 5)) < 0.25
    best = chance.normal(size=(7, 5))
    got = lambda_returns(rewards, ends, best, discount, trace)
    for game in range(5):
        for t in range(6):
            steps, total, weight, mixture = 0, 0.0, 1.0, 0.0
            while True:
                total += discount**steps * rewards[t + steps, game]
                steps += 1
                over, last = ends[t + steps - 1, game], t + steps == 6
                n_step = total + (0.0 if over else discount**steps * best[t + steps, game])
                mixture += n_step * (weight if over or last else weight * (1 - trace))
                if over or last:
                    break
                weight *= trace
            assert got[t, game] == pytest.approx(mixture, abs=1e-12)
    assert ends.any()
    assert not ends.all()


def test_parallel_games_follow_the_protocol_of_the_game_that_is_explained():
    parallel = ParallelGames("breakout", 2, seed=4, threads=1)
    single = Environment("breakout", Preprocessing(), seed=0)
    single.reset(start_frames=int(parallel._frames[1]))
    np.testing.assert_array_equal(parallel.observations[1], single.observation)
    chance, lost, points, steps, over = np.random.default_rng(1), 0, 0.0, 0, False
    while not over and steps < 400:
        steps += 1
        wanted = chance.integers(4, size=2)
        actions = parallel.required(wanted)
        if single.required_action is not None:
            assert actions[1] == single.required_action == 1
        outcome, stepped = single.step(int(actions[1])), parallel.step(actions)
        points += outcome.reward
        assert (stepped.rewards[1], stepped.game_over[1]) == (outcome.reward, outcome.game_over)
        over = outcome.game_over
        if over:
            assert (stepped.scores[1], stepped.lengths[1]) == (points, steps)
            continue
        assert stepped.life_lost[1] == outcome.life_lost
        lost += outcome.life_lost
        np.testing.assert_array_equal(parallel.observations[1], single.observation)
    assert lost == 4, "the fifth life ends the game"
    parallel.close()


def test_each_game_has_its_own_score():
    parallel, ended, points, steps = ParallelGames("breakout", 2, seed=4, threads=1), 0, np.zeros(2), np.zeros(2, int)
    while ended < 4:
        stepped = parallel.step(parallel.required(np.array([2, 3])))
        points, steps = points + stepped.rewards, steps + 1
        over = stepped.game_over
        np.testing.assert_array_equal(stepped.scores[over], points[over])
        np.testing.assert_array_equal(stepped.lengths[over], steps[over])
        ended, points, steps = ended + int(over.sum()), points * ~over, steps * ~over
    parallel.close()


def test_epsilon_falls_in_a_straight_line():
    assert [epsilon_at(steps, 0.1, 100) for steps in (0, 50, 100, 500)] == pytest.approx([1.0, 0.55, 0.1, 0.1])


def test_agents_are_kept_at_doubling_steps_and_then_every_epoch():
    steps = checkpoint_steps()
    assert [next(steps) for _ in range(9)] == [0, 10_000, 20_000, 40_000, 80_000, 160_000, 250_000, 500_000, 750_000]
    assert checkpoint_due(9_000, 10_000)
    assert not checkpoint_due(10_000, 12_000)
    assert checkpoint_due(249_000, 251_000)


@pytest.fixture(scope="module")
def setup() -> Setup:
    return Setup("breakout", "nips", 3, torch.device("cpu"), False, 1, True, Preprocessing())


def _weights(algorithm: PQN) -> torch.Tensor:
    return torch.cat([p.detach().ravel() for p in algorithm.network.parameters()])


def test_the_same_run_twice_is_the_same_to_the_last_bit(setup):
    runs = []
    for _ in range(2):
        algorithm = PQN(setup, SMALL)
        before = _weights(algorithm)
        losses = [algorithm.advance().loss for _ in range(3)]
        runs.append((losses, _weights(algorithm)))
        assert not torch.equal(runs[-1][1], before)
        algorithm.close()
    assert runs[0][0] == runs[1][0]
    assert torch.equal(runs[0][1], runs[1][1])
    other = PQN(dataclasses.replace(setup, seed=4), SMALL)
    assert not torch.equal(_weights(other), before)
    other.close()


def test_learning_draws_q_values_to_their_returns(setup):
    algorithm = PQN(setup, dataclasses.replace(SMALL, passes=40))
    block = algorithm._play(0)
    targets = torch.from_numpy(lambda_returns(block.rewards, block.ends, block.best, 0.99, 0.85).ravel())
    actions = torch.from_numpy(block.actions.ravel())

    def error() -> float:
        with torch.no_grad():
            q_values = forward(algorithm.network, block.observations.flatten(0, 1), setup)
        return float((q_values.gather(1, actions[:, None])[:, 0] - targets).square().mean())

    before = error()
    algorithm._learn(block)
    assert error() < before / 4
    algorithm.close()


@pytest.mark.parametrize("game", ["breakout", "space_invaders"])
def test_a_block_holds_what_the_games_showed(setup, game):
    setup = dataclasses.replace(setup, game=game)
    algorithm = PQN(setup, dataclasses.replace(SMALL, games=2, steps=60))
    block = algorithm._play(0)
    twin, lost, most = setup.games(2, 0), 0, 0.0
    for t in range(60):
        np.testing.assert_array_equal(block.observations[t].numpy(), twin.observations)
        stepped = twin.step(block.actions[t])
        np.testing.assert_array_equal(block.rewards[t], np.clip(stepped.rewards, -1, 1))
        np.testing.assert_array_equal(block.ends[t], stepped.game_over | stepped.life_lost)
        lost, most = lost + int(stepped.life_lost.sum()), max(most, stepped.rewards.max())
    assert lost > 0 if game == "breakout" else most > 1.0
    twin.close()
    algorithm.close()


def test_a_block_is_played_by_the_weights_of_one_block_ago(setup):
    algorithm = PQN(setup, SMALL)
    algorithm.advance()
    learnt = _weights(algorithm)
    algorithm.advance()
    assert torch.equal(torch.cat([p.ravel() for p in algorithm._actor.parameters()]), learnt)
    assert not torch.equal(_weights(algorithm), learnt)
    algorithm.close()


def test_a_run_is_resumed_and_two_resumptions_agree(tmp_path):
    run = tmp_path / "run"
    first = Session.open(run, "Breakout", network="nips", seed=5, threads=1, numbers=SMALL)
    last = first.run(agent_steps=64, games=1)
    assert last is not None
    assert (last.progress.agent_steps, first.agent_steps) == (64, 64)
    state = (run / "state.safetensors").read_bytes()
    ends = []
    for _ in range(2):
        (run / "state.safetensors").write_bytes(state)
        again = Session.open(run, "breakout", network="nips", seed=5, threads=1, numbers=SMALL, resume=True)
        assert again.agent_steps == 64
        assert torch.equal(_weights(again.algorithm), _weights(first.algorithm))
        memory = [again.algorithm.optimizer.state_dict(), first.algorithm.optimizer.state_dict()]
        assert all(torch.equal(memory[0]["state"][p][n], v) for p, e in memory[1]["state"].items() for n, v in e.items())
        again.run(agent_steps=128, games=0)
        ends.append(_weights(again.algorithm))
    assert torch.equal(*ends)
    assert not torch.equal(ends[0], _weights(first.algorithm))
    agent = load_run(run)[0].load()
    assert (agent.agent_steps, agent.algorithm, agent.architecture, agent.score.games) == (0, "pqn", "nips", 1)
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    curves = accumulator.EventAccumulator(str(run / "tensorboard"))
    curves.Reload()
    assert [event.step for event in curves.Scalars("learning/loss")][-2:] == [96, 128]
    assert [event.step for event in curves.Scalars("score/whole games")] == [0]
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert curves.Scalars("learning/loss")[-1].value == pytest.approx(lines[-1]["loss"], abs=1e-6)
    assert [line["agent_steps"] for line in lines] == [0, 32, 64, 96, 128, 96, 128]


def test_what_does_not_fit_a_run_is_refused(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(InputError, match=r"no run in .* to resume"):
        Session.open(run, "pong", resume=True)
    Session.open(run, "pong", network="nips", threads=1, numbers=SMALL).algorithm.close()
    with pytest.raises(InputError, match="holds a run already; continue it with --resume"):
        Session.open(run, "pong")
    with pytest.raises(InputError, match=r"has game='pong', asked for was 'breakout'"):
        Session.open(run, "breakout", network="nips", numbers=SMALL, resume=True)
    with pytest.raises(InputError, match=r"unknown algorithm 'sarsa': expected one of dqn, pqn"):
        Session.open(tmp_path / "other", "pong", algorithm="sarsa")
    with pytest.raises(InputError, match=r"unknown network 'big': expected one of dueling, nature, nips"):
        Session.open(tmp_path / "other", "pong", network="big")
    with pytest.raises(InputError, match="the device cuda:9 is not there"):
        find_device("cuda:9")
    with pytest.raises(InputError, match="unknown device 'gpu'"):
        find_device("gpu")
    (run / "state.safetensors").write_bytes(b"half a file")
    with pytest.raises(CheckpointError, match="is damaged"):
        Session.open(run, "pong", network="nips", numbers=SMALL, resume=True)


def test_a_seed_repeats_the_scores(untrained):
    scores = play_games(untrained, games=2, seed=1, threads=1)
    np.testing.assert_array_equal(scores, play_games(untrained, games=2, seed=1, threads=1))
    assert scores.dtype == np.float32


class _ShortAndLong:
    """Two places: a game of the first has one decision and one point, a game of the second five decisions and seven points."""

    def __init__(self, *_):
        self.actions, self.observations, self._time = ("NOOP", "FIRE", "RIGHT", "LEFT"), np.zeros((2, 4, 84, 84), np.uint8), 0

    def required(self, actions):
        return actions

    def step(self, actions):
        self._time += 1
        over = np.array([True, self._time % 5 == 0])
        return Stepped(np.zeros(2, np.float32), np.zeros(2, bool), over, np.array([1, 7], np.float32) * over, np.ones(2, np.int64))

    def close(self):
        pass


def test_short_games_are_not_favoured(untrained, monkeypatch):
    monkeypatch.setattr("rl.training.evaluation.ParallelGames", _ShortAndLong)
    assert play_games(untrained, games=2).tolist() == [1.0, 7.0]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_told_and_the_log_stays_whole(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.log({"agent_steps": 1})
    assert (folder.path / "log.jsonl").read_text() == '{"agent_steps": 1}\n'
    (folder.path / "log.jsonl").unlink()
    (folder.path / "log.jsonl").symlink_to("/dev/full")
    with pytest.raises(InputError, match="No space left on device; make room there and go on with --resume"):
        folder.log({"agent_steps": 2})
