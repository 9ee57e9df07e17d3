"""Moneybag and coins: the rules of the world, the identities of the explanations, the program from end to end."""

import csv
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import seqxai
from tests.contracts import assert_close

EXPERIMENT = Path(__file__).parents[2] / "experiments" / "arjona2019_moneybag"
MODULES = ("environment", "model", "explain", "figures", "run")
L, R = 2, 3


@pytest.fixture(scope="module")
def bag() -> Iterator[Any]:
    """The experiment's modules; their names are plain, so they leave again."""
    kept = {name: sys.modules.pop(name) for name in MODULES if name in sys.modules}
    sys.path.insert(0, str(EXPERIMENT))
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    finally:
        sys.path.remove(str(EXPERIMENT))
        for name in MODULES:
            sys.modules.pop(name, None)
        sys.modules.update(kept)


@pytest.fixture(scope="module")
def fitted(bag: Any) -> Any:
    """A network after a few updates."""
    return bag.model.train(bag.environment.episodes(200, 12, 5), bag.model.Recipe(cells=4, updates=60), 0)


# ---- the world -------------------------------------------------------------------------------------------------------


def test_coins_count_once_the_moneybag_is_taken(bag: Any) -> None:
    world = bag.environment.World(size=7, agent=3, moneybag=5, coins={2, 4, 6})
    features, paid = bag.environment.play(world, [L, R, R, R, R, R, L])
    moneybag, coin, left, right = zip(*features, strict=True)
    assert moneybag == (0, 0, 0, 1, 0, 0, 0)
    assert coin == (1, 0, 1, 0, 1, 0, 0)  # the wall at 6 stops the sixth step, and nothing is taken twice
    assert left == (1, 0, 0, 0, 0, 0, 1)
    assert right == (0, 1, 1, 1, 1, 1, 0)
    assert paid == [0, 0, 0, 0, 1, 1, 1]
    assert world.agent == 5


def test_without_the_moneybag_nothing_is_paid(bag: Any) -> None:
    world = bag.environment.World(size=7, agent=3, moneybag=0, coins={4, 5, 6})
    assert bag.environment.play(world, [R, R, R])[1] == [0, 0, 0]


def test_episodes_have_variety_and_depend_on_the_seed_only(bag: Any) -> None:
    played = bag.environment.episodes(300, 20, 1)
    assert torch.equal(played.x, bag.environment.episodes(300, 20, 1).x)
    assert not torch.equal(played.x, bag.environment.episodes(300, 20, 2).x)
    assert bool((played.x[..., L] + played.x[..., R] == 1).all())
    early = (played.x[..., 1] * played.before_moneybag).sum(1)
    assert float((early > 0).double().mean()) > 0.3
    assert float(played.paid[:, -1].unique().numel()) >= 5
    assert torch.equal(played.paid[:, -1], (played.x[..., 1] * ~played.before_moneybag).sum(1))


# ---- explanations ----------------------------------------------------------------------------------------------------


def test_differences_telescope_to_the_prediction(bag: Any, fitted: Any) -> None:
    x = bag.environment.episodes(20, 12, 6).x
    assert_close(bag.explain.differences(fitted, x).sum(1, keepdim=True), fitted(x), 1e-13)


def test_integrated_gradients_sum_to_the_change_of_the_prediction(bag: Any, fitted: Any) -> None:
    x = bag.environment.episodes(20, 12, 6).x
    total = bag.explain.integrated_gradients(fitted, x).sum((1, 2))
    assert_close(total[:, None], fitted(x) - fitted(torch.zeros_like(x)), 1e-3)


def test_the_gate_of_the_first_step_traps_half_of_what_the_step_receives(bag: Any, fitted: Any) -> None:
    """Episodes of one step, LRP-0: what is explained reaches one product, and half of it the gate that nothing could have opened."""
    x = bag.environment.episodes(20, 12, 6).x[:, :1]
    half, whole = (
        seqxai.LRP(fitted, composite="lrp-0", product=product, ledger=True).attribute(x, target=0)
        for product in ("half", "signal-takes-all")
    )
    assert_close(bag.explain.trapped(half)[:, None], fitted(x) / 2, 1e-12)
    assert_close(half.relevance, whole.relevance / 2, 1e-12)
    assert float(bag.explain.trapped(whole).abs().max()) == 0.0


def test_shares_sort_relevance_by_event(bag: Any) -> None:
    x = torch.zeros(1, 4, 4)
    x[0, 0, 1] = x[0, 1, 0] = x[0, 2, 1] = 1.0  # a coin too early, the moneybag, a coin
    relevance = torch.zeros(1, 4, 4)
    relevance[0, 0, 1], relevance[0, 1, 0], relevance[0, 2, 1], relevance[0, 3, 2] = -1.0, 2.0, 4.0, 3.0
    relevance[0, 1, 3] = -2.0  # an action of the moneybag's step
    played = bag.environment.Episodes(x, torch.tensor([[0.0, 0.0, 1.0, 1.0]]))
    found = bag.explain.shares(played, relevance, torch.tensor([2.0]))
    assert [round(12 * v) for v in (found.coins_before, found.moneybag, found.coins_after, found.actions)] == [1, 2, 4, 5]
    assert found.step_moneybag == 0.0
    assert found.step_coins_before == pytest.approx(1 / 8)
    assert (found.signed_moneybag, found.signed_coins) == (1.0, 1.5)


# ---- the program -----------------------------------------------------------------------------------------------------


def test_the_program_runs_from_end_to_end(bag: Any, tmp_path: Path) -> None:
    bag.run.main(["--out", str(tmp_path), "--episodes", "120", "--updates", "20", "--explain", "5"])
    with (tmp_path / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows][:3] == ["LRP-all", "LRP-prop", "LRP-half"]
    assert len(rows) == 8
    for row in rows:
        parts = [float(row[name]) for name in ("moneybag", "coins_before", "coins_after", "actions")]
        assert sum(parts) == pytest.approx(1.0, abs=1e-4)
    for name in ("fig_11_6.png", "fig_11_7.png"):
        assert 1_000 < (tmp_path / name).stat().st_size < 150_000


def test_too_few_episodes_are_named(bag: Any, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"of 10 held-out episodes earned anything; raise --episodes"):
        bag.run.main(["--out", str(tmp_path), "--episodes", "40", "--explain", "50"])


def test_the_committed_results_keep_their_bounds() -> None:
    with (EXPERIMENT / "results.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    for suffix in ("", ", bias ignored"):
        blocked, *through = (rows[name + suffix] for name in ("LRP-all", "LRP-prop", "LRP-half"))
        assert float(blocked["moneybag"]) < 0.01
        assert all(float(row["moneybag"]) > max(0.1, 10 * float(blocked["moneybag"])) for row in through)
        assert all(float(row["coins_before"]) < 0.02 for row in (blocked, *through))
