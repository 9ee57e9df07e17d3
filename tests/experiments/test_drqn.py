"""The recurrent agent on CartPole without velocities: what is hidden, what is learnt from, what the explanations add up to."""

import csv
import importlib
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
EXPERIMENT = ROOT / "experiments" / "hausknecht2015_drqn"
MODULES = ("model", "train", "explain", "figures", "run")


@pytest.fixture(scope="module")
def drqn() -> Iterator[Any]:
    """The experiment's modules; their names are plain, so they leave again."""
    pytest.importorskip("gymnasium")
    kept = {name: sys.modules.pop(name) for name in MODULES if name in sys.modules}
    sys.path.insert(0, str(EXPERIMENT))
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    finally:
        sys.path.remove(str(EXPERIMENT))
        for name in MODULES:
            sys.modules.pop(name, None)
        sys.modules.update(kept)


def test_velocities_are_hidden(drqn: Any) -> None:
    env = drqn.model.masked_cartpole()
    seen, _ = env.reset(seed=0)
    assert np.array_equal(seen, np.asarray(env.unwrapped.state, np.float32)[[0, 2]])
    assert env.observation_space.contains(seen)


def test_pieces_follow_their_episodes_and_meet_the_last_step_as_often_as_others(drqn: Any) -> None:
    length = 40
    rows = np.arange(length + 1, dtype=np.float32)
    episode = drqn.train.Episode(np.stack([rows, -rows], 1), np.arange(length) % 2, True)
    how = drqn.train.Training(batch=2000, piece=8, burn_in=2)
    observations, actions, ends, real = drqn.train.sample(deque([episode]), how, np.random.default_rng(0))
    steps = observations[:, :-1, 0]
    learnt = real > 0
    assert torch.equal(actions[learnt], (steps[learnt] % 2).long())
    assert torch.equal(ends[learnt] > 0, steps[learnt] == length - 1)
    assert torch.equal(observations[:, 1:, 0][learnt], steps[learnt] + 1)
    counts = torch.bincount(steps[learnt].long(), minlength=length).float()
    assert float(counts[-1] / counts[10:].mean()) == pytest.approx(1.0, abs=0.15)
    first = real[observations[:, 0, 0] > 0]
    assert float(first[:, :2].sum()) == 0.0, "nobody can know the velocity in the first steps of a piece"


def test_double_q_learning_moves_towards_its_goal(drqn: Any) -> None:
    """With a discount of 0 every action is worth the reward."""
    network = drqn.model.FeedForward(16)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    how = drqn.train.Training(batch=32, piece=8, discount=0.0, reward_unit=0.7)
    rows = np.linspace(-1, 1, 31, dtype=np.float32)
    replay = deque([drqn.train.Episode(np.stack([rows, rows**2], 1), np.arange(30) % 2, False)])
    chance = np.random.default_rng(0)
    for _ in range(80):
        drqn.train.update(network, network, optimiser, drqn.train.sample(replay, how, chance), how)
    values = network(torch.from_numpy(replay[0].observations)[None])[0]
    assert float((values - 0.7).abs().max().detach()) < 0.1


def test_shares_of_a_known_table(drqn: Any) -> None:
    now_against_before = np.array([[0.0, 0.0], [0.0, -1.0], [0.0, 3.0]])
    found = drqn.explain.Relevance([now_against_before, now_against_before], [1.0, 3.0], [0.5, -0.5], [1.0, 1.0])
    np.testing.assert_allclose(found.by_age, [0.75, 0.25, 0.0])
    assert found.past == 0.25
    assert found.opposite() == 1.0
    assert found.opposite("cart position") == 0.0


def test_without_memory_nothing_is_relevant_but_the_present(drqn: Any) -> None:
    torch.manual_seed(0)
    shares = {}
    for name, kind in drqn.model.NETWORKS.items():
        found = drqn.explain.explain(kind(8), decisions=3, seed=1, every=1, window=5)
        shares[name] = found.past
        assert found.balance < 1e-5
        for table, explained, initial, bias in zip(found.tables, found.explained, found.initial, found.bias, strict=True):
            assert explained == pytest.approx(table.sum() + initial + bias, abs=1e-4)
    assert shares["feed-forward"] == 0.0
    assert shares["DRQN"] > 0.05


def test_the_published_results_have_both_networks(drqn: Any) -> None:
    """What the README says is what the table holds."""
    with (EXPERIMENT / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    trained = [row for row in rows if row["training"] != "none"]
    by_name = {name: [float(row["return"]) for row in trained if row["network"] == name] for name in drqn.model.NETWORKS}
    assert min(by_name["DRQN"]) > 2 * max(by_name["feed-forward"])
    assert all(float(row["share_past"]) == 0.0 for row in rows if row["network"] == "feed-forward")
    assert all(float(row["share_past"]) > 0.2 for row in trained if row["network"] == "DRQN")
