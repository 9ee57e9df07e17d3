"""The toy arithmetic of Arras et al. 2019: the protocol, the trainer of many models at once, the statistics, the program."""

import csv
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.contracts import assert_close

ROOT = Path(__file__).parents[2]
EXPERIMENT = ROOT / "experiments" / "arras2019_arithmetic"
MODULES = ("data", "train", "explain", "report")


@pytest.fixture(scope="module")
def toy() -> Iterator[Any]:
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


# ---- data ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["addition", "subtraction", "positive-addition"])
def test_the_sequences_follow_the_protocol(toy: Any, name: str) -> None:
    task = toy.data.TASKS[name]
    splits = toy.data.splits(task, seed=3)
    wanted = {"train": (10_000, range(4, 11)), "validation": (2_500, (11, 12)), "test": (2_500, (13, 14))}
    assert set(splits) == set(wanted)
    for split, (count, lengths) in wanted.items():
        groups = splits[split]
        assert [group.x.shape[1] for group in groups] == list(lengths)
        assert sum(len(group.x) for group in groups) == count
        # Lengths are drawn uniformly: each within five standard deviations of its share.
        share = count / len(groups)
        assert all(abs(len(group.x) - share) < 5 * share**0.5 for group in groups)
        for group in groups:
            check_group(group, task)


def check_group(group: Any, task: Any) -> None:
    rows = torch.arange(len(group.x))
    second = torch.zeros(group.x.shape[:2], dtype=torch.bool)
    second[rows, group.a] = second[rows, group.b] = True
    assert bool((group.a < group.b).all())
    assert torch.equal(group.x[..., 1] != 0, second)
    assert torch.equal(group.x[..., 0] != 0, ~second)
    numbers = group.x.sum(2)
    assert float(numbers.abs().min()) >= 0.5
    assert float(numbers.abs().max()) <= 1.0
    negative = float((numbers < 0).double().mean())
    assert abs(negative - 0.5) < 0.02 if task.signed else negative == 0.0
    n_a, n_b = group.relevant_numbers()
    sign = -1 if task.name == "subtraction" else 1
    assert torch.equal(group.target, n_a + sign * n_b)


def test_every_pair_of_positions_is_as_likely(toy: Any) -> None:
    (group,) = toy.data.draw(toy.data.TASKS["addition"], 60_000, [4], torch.Generator().manual_seed(0))
    counts = torch.bincount(group.a * 4 + group.b, minlength=16).reshape(4, 4)
    assert int((counts > 0).sum()) == 6
    assert float((counts[counts > 0] - 10_000).abs().max()) < 500


def test_a_seed_decides_the_sequences(toy: Any) -> None:
    task = toy.data.TASKS["addition"]
    first, again, other = (toy.data.splits(task, seed)["test"][0].x for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)


# ---- trainer ---------------------------------------------------------------------------------------------------------


def some(toy: Any, cells: int) -> tuple[Any, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(cells)
    candidates = toy.train.Candidates.drawn(3, cells, generator, torch.float64)
    x, target = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((5, 6, 2), (5,)))
    return candidates, x, target


@pytest.mark.parametrize("cells", [1, 3])
def test_all_candidates_at_once_answer_as_lstms_do(toy: Any, cells: int) -> None:
    candidates, x, _ = some(toy, cells)
    answers = candidates.outputs(x)
    for index in range(3):
        module = candidates.module(index)
        assert isinstance(module.lstm, nn.LSTM)
        assert module.output.bias is None
        assert not bool(module.lstm.bias_hh_l0.any())
        assert_close(answers[index][None], module(x).T, 1e-12)


def test_one_cell_has_seventeen_parameters(toy: Any) -> None:
    assert some(toy, 1)[0].rows.shape == (3, 17)


@pytest.mark.parametrize("cells", [1, 3])
def test_the_written_gradient_is_that_of_autograd(toy: Any, cells: int) -> None:
    candidates, x, target = some(toy, cells)
    errors, gradient = candidates.gradient(x, target)
    for index in range(3):
        module = candidates.module(index).requires_grad_(True)
        error = (module(x)[:, 0] - target).square().mean()
        error.backward()
        assert float(errors[index]) == pytest.approx(error.item(), rel=1e-12)
        lstm = module.lstm
        parts = (lstm.weight_ih_l0, lstm.weight_hh_l0, lstm.bias_ih_l0, module.output.weight)
        assert_close(gradient[index][None], torch.cat([part.grad.flatten() for part in parts])[None], 1e-12)


def test_an_interrupted_training_ends_in_the_same_weights(toy: Any, tmp_path: Path) -> None:
    task = toy.data.TASKS["subtraction"]
    data = toy.data.splits(task, 0, {"train": 300, "validation": 40, "test": 40})
    recipe = toy.train.Recipe(steps=60, warm_up=5)

    def trained(name: str, **options: Any) -> Any:
        return toy.train.train(data, 1, 4, recipe, 5, tmp_path / f"{name}.safetensors", {"task": "x"}, every=10, **options)

    class Stopped(Exception):
        pass

    def stop(training: Any, good: int) -> None:
        if training.step == 40:
            raise Stopped

    straight = trained("straight")
    with pytest.raises(Stopped):
        trained("resumed", report=stop, save_seconds=0.0)
    resumed = trained("resumed")
    assert resumed.step == 60
    assert torch.equal(resumed.rows, straight.rows)
    assert not torch.equal(resumed.rows, toy.train.Candidates.drawn(4, 1, torch.Generator().manual_seed(5)).rows)
    with pytest.raises(SystemExit, match="other settings"):
        toy.train.train(data, 1, 4, recipe, 6, tmp_path / "resumed.safetensors", {"task": "x"}, every=10)


def test_subtraction_is_learnt(toy: Any, tmp_path: Path) -> None:
    data = toy.data.splits(toy.data.TASKS["subtraction"], 0)
    training = toy.train.train(
        data, 1, 6, toy.train.Recipe(steps=1000, rate=0.03, warm_up=100), 0, tmp_path / "s.safetensors", {}
    )
    errors = toy.train.Candidates(training.rows, 1).errors(data["validation"])
    assert float(errors.min()) < 1e-3  # guessing the mean leaves 0.04


# ---- statistics and methods ------------------------------------------------------------------------------------------


def perfect(group: Any, sign: int) -> Tensor:
    rows = torch.arange(len(group.x))
    relevance = torch.zeros(group.x.shape[:2], dtype=torch.float64)
    relevance[rows, group.a], relevance[rows, group.b] = group.x[rows, group.a, 1], sign * group.x[rows, group.b, 1]
    return relevance


def test_a_perfect_explanation_reaches_a_hundred_percent(toy: Any) -> None:
    data = toy.data.splits(toy.data.TASKS["subtraction"], 0)["test"]
    found = toy.explain.statistics([perfect(group, -1) for group in data], data)
    assert found == pytest.approx({"corr_a": 1.0, "corr_b": -1.0, "share": 1.0}, abs=1e-12)


def test_passing_asks_for_the_sign_of_the_task(toy: Any) -> None:
    found = {"corr_a": 0.96, "corr_b": -0.96, "share": 0.1}
    assert toy.explain.passes(found, toy.data.TASKS["subtraction"])
    assert not toy.explain.passes(found, toy.data.TASKS["addition"])
    assert not toy.explain.passes({**found, "corr_a": 0.9}, toy.data.TASKS["subtraction"])


def test_the_share_is_the_mean_of_ratios_of_absolute_values(toy: Any) -> None:
    group = toy.data.Sequences(
        x=torch.tensor([[[0.0, 0.5], [0.7, 0.0], [0.0, 0.6]], [[0.0, 0.8], [0.0, 0.9], [0.6, 0.0]]], dtype=torch.float64),
        a=torch.tensor([0, 0]),
        b=torch.tensor([2, 1]),
        target=torch.tensor([1.1, 1.7], dtype=torch.float64),
    )
    relevance = torch.tensor([[1.0, -2.0, -1.0], [3.0, 0.0, 1.0]], dtype=torch.float64)
    found = toy.explain.statistics([relevance], [group])
    assert found == pytest.approx({"corr_a": 1.0, "corr_b": 1.0, "share": (2 / 4 + 3 / 4) / 2}, abs=1e-12)


def lrp_twin(weights: tuple[Tensor, ...], x: Tensor, rule: str) -> Tensor:
    """LRP with ε = 0 through one cell, one sample: gates and signals by their pre-activations. Returns (T,)."""
    w, u, b, v = weights[0][:, 0], weights[1][:, 0, 0], weights[2][:, 0], weights[3][0]
    h = c = torch.zeros((), dtype=torch.float64)
    steps = []
    for now in x:
        pre = w @ now + u * h + b
        i, f, o = (torch.sigmoid(pre[k]) for k in (0, 1, 3))
        steps.append((now, h, pre, i * torch.tanh(pre[2]), f * c, c))
        c = f * c + i * torch.tanh(pre[2])
        h = o * torch.tanh(c)

    def to_gate(z_g: Tensor, z_s: Tensor) -> Any:
        size = {"prop": z_g + z_s, "abs": z_g.abs() + z_s.abs()}
        return {"all": 0.0, "half": 0.5, "prop": z_g / size["prop"], "abs": z_g.abs() / size["abs"]}[rule]

    r_h, r_c, relevance = v * h, torch.zeros(()), torch.zeros(len(x), dtype=torch.float64)
    for t in reversed(range(len(x))):
        now, before, pre, new, kept, c = steps[t]
        at_gates = torch.zeros(4, dtype=torch.float64)
        share = to_gate(pre[3], new + kept)
        at_gates[3] = share * r_h
        r_c = r_c + (1 - share) * r_h
        r_new, r_kept = r_c * new / (new + kept), r_c * kept / (new + kept)
        share = to_gate(pre[0], pre[2])
        at_gates[0], at_gates[2] = share * r_new, (1 - share) * r_new
        share = to_gate(pre[1], c) if t else 0.0  # nothing is kept of an empty cell
        at_gates[1], r_c = share * r_kept, (1 - share) * r_kept
        relevance[t] = ((w @ now) * at_gates / pre).sum()
        r_h = (u * before * at_gates / pre).sum()
    return relevance


@pytest.mark.parametrize("rule", ["prop", "abs", "half", "all"])
def test_lrp_equals_its_twin(toy: Any, rule: str) -> None:
    candidates, _, _ = some(toy, 1)
    task = toy.data.TASKS["addition"]
    data = toy.data.draw(task, 12, [5, 7], torch.Generator().manual_seed(0))
    weights = tuple(part[1] for part in candidates.split(candidates.rows))
    for found, group in zip(toy.explain.explain(candidates.module(1), f"LRP-{rule}", data), data, strict=True):
        assert_close(found, torch.stack([lrp_twin(weights, x, rule) for x in group.x]), 1e-9)


# ---- the program and what it left in the repository ------------------------------------------------------------------


def test_the_program_runs_end_to_end_and_resumes(tmp_path: Path) -> None:
    command = [sys.executable, str(EXPERIMENT / "run.py"), "--quick", "--out", str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=300)

    first = run()
    assert first.returncode == 0, first.stderr
    results = (tmp_path / "out" / "results.csv").read_text()
    assert "Gradient x Input" in first.stdout
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        methods = {line["method"] for line in csv.DictReader(file)}
    assert len(methods) == 8  # the seven of the table and one variant
    state = tmp_path / "out" / "addition-1" / "state.safetensors"
    written = state.stat().st_mtime_ns
    second = run()
    assert second.returncode == 0, second.stderr
    assert (tmp_path / "out" / "results.csv").read_text() == results
    assert state.stat().st_mtime_ns == written


def test_the_tables_of_the_readme_are_those_of_the_results(toy: Any) -> None:
    text = (EXPERIMENT / "README.md").read_text()
    written = text.split(toy.report.BEGIN)[1].split(toy.report.END)[0]
    assert written.strip() == toy.report.tables(EXPERIMENT).strip()


def test_what_the_section_claims_of_lrp_all_holds_in_the_results(toy: Any) -> None:
    """The numbers that are in the repository, against the published ones: the method that passes on both tasks."""
    lines = toy.report.read(EXPERIMENT / "results.csv")
    mean = {
        (line["task"], line["method"], line["statistic"]): float(line["mean"])
        for line in lines
        if line["cells"] == "1" and line["weights"] == "trained"
    }
    for method in ("LRP-all", "Gradient x Input"):
        assert mean["addition", method, "corr_a"] > 99.9
        assert mean["addition", method, "corr_b"] > 99.9
        assert mean["subtraction", method, "corr_a"] > 95
        assert mean["subtraction", method, "corr_b"] < -95
    for method in ("LRP-prop", "LRP-abs", "LRP-half"):
        assert abs(mean["addition", method, "corr_a"]) < 60
        assert abs(mean["subtraction", method, "corr_b"]) < 60
    assert mean["subtraction", "Occlusion", "share"] < 60
