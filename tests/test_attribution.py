"""Results: saved and loaded, sliced, summed, looked at on the way; bad inputs, options and files."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import seqxai
from seqxai.errors import InputError, SeqxaiError
from seqxai.targets import Several
from tests.contracts import Wrapped, assert_close, random, seeded
from tests.references import gradient_times_input

X = random(3, 2, 6, seed=1)


def model() -> nn.Sequential:
    return seeded(
        lambda: nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4)), 2
    )  # (B, 2, 6) -> (B, 4)


def explained(**options: Any) -> seqxai.Attribution:
    return seqxai.LRP(model(), composite="epsilon", **options).attribute(X, target=1)


def test_the_result_says_what_it_is() -> None:
    found = explained()
    assert found.method == "lrp/epsilon"
    assert "1" in found.target
    assert torch.equal(found.inputs, X)
    assert len(found) == 3
    text = str(found.ledger)
    assert "bias" in text
    assert "stabilizer" in text


@pytest.mark.parametrize("ledger", [True, False])
def test_what_is_saved_is_loaded(tmp_path: Path, ledger: bool) -> None:
    found = explained(ledger=ledger)
    found.save(tmp_path / "a.safetensors")
    loaded = seqxai.Attribution.load(tmp_path / "a.safetensors")
    for name in ("relevance", "output", "explained", "inputs"):
        assert torch.equal(getattr(loaded, name), getattr(found, name)), name
    assert (loaded.method, loaded.target, dict(loaded.settings)) == (found.method, found.target, dict(found.settings))
    if ledger:
        for name, entry in found.ledger.total().items():
            assert torch.equal(loaded.ledger.total()[name], entry)
        assert loaded.ledger.closed()
    else:
        with pytest.raises(InputError, match=r"ledger.*explain again"):
            _ = loaded.ledger
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_several_inputs_and_half_precision_survive_a_file(tmp_path: Path) -> None:
    def two(a: Tensor, b: Tensor) -> Tensor:
        return a @ random(4, 3, seed=3).to(a) + b @ random(4, 3, seed=4).to(a)

    a, b = random(2, 4, seed=5), random(2, 4, seed=6)
    found = seqxai.LRP(two, composite="lrp-0").attribute((a, b), target=2)
    assert isinstance(found.relevance, tuple)
    assert_close(found.relevance[0], gradient_times_input(lambda t: two(t, b)[:, 2], a), 1e-12)
    assert_close(found.relevance[1], gradient_times_input(lambda t: two(a, t)[:, 2], b), 1e-12)
    found.save(tmp_path / "b.safetensors")
    loaded = seqxai.Attribution.load(tmp_path / "b.safetensors")
    assert isinstance(loaded.relevance, tuple)
    assert all(torch.equal(p, q) for p, q in zip(loaded.relevance, found.relevance, strict=True))


@pytest.mark.parametrize("index", [0, 2, -1, slice(1, 3), torch.tensor([2, 0])], ids=str)
def test_slices_are_samples(index: Any) -> None:
    found = explained(ledger=True)
    part = found[index]
    rows = torch.arange(3)[index].reshape(-1)
    assert torch.equal(part.relevance, found.relevance[rows])
    assert torch.equal(part.explained, found.explained[rows])
    assert torch.equal(part.output, found.output[rows])
    assert torch.equal(part.inputs, X[rows])
    assert torch.equal(part.ledger.total()["bias"], found.ledger.total()["bias"][rows])
    assert part.ledger.closed()


@pytest.mark.parametrize("index", [3, -4])
def test_a_sample_out_of_range(index: int) -> None:
    with pytest.raises(InputError, match=rf"0 to 2, got {index}"):
        _ = explained()[index]


def test_slices_of_several_targets() -> None:
    found = seqxai.LRP(model(), composite="epsilon").attribute(X, target=Several([0, 1]))
    assert torch.equal(found[1].relevance, found.relevance[:, 1:2])
    assert torch.equal(found.sum(), found.relevance.sum((2, 3)))


def test_sums() -> None:
    found = explained()
    assert torch.equal(found.sum(), found.relevance.sum((1, 2)))
    assert torch.equal(found.sum(1), found.relevance.sum(1))


def test_the_relevance_on_the_way_adds_up() -> None:
    """Behind the read-out without losses, every layer's relevance sums to what is explained minus what was booked."""
    found = seqxai.LRP(model(), composite="lrp-0").attribute(X, target=1)
    hidden = found.at("1")
    assert hidden.shape == (3, 3, 4)
    h = torch.relu(model()[0](X)).detach()
    expected = h * model()[3].weight[1].detach().view(3, 4)
    assert_close(hidden, expected, 1e-12)
    assert_close(found.at("0"), expected, 1e-12)
    with pytest.raises(SeqxaiError, match="nowhere"):
        found.at("nowhere")


def test_arrays_have_one_row_per_element() -> None:
    columns = explained().to_arrays()
    assert {len(column) for column in columns.values()} == {36}
    found = explained()
    row = 1 * 12 + 1 * 6 + 4
    assert (columns["sample"][row], columns["index_1"][row], columns["index_2"][row]) == (1, 1, 4)
    assert columns["relevance"][row] == float(found.relevance[1, 1, 4])
    assert columns["value"][row] == float(X[1, 1, 4])
    assert columns["explained"][row] == float(found.explained[1])


def test_a_released_result_keeps_its_numbers_and_drops_the_run() -> None:
    found = explained().release()
    with pytest.raises(InputError, match="explain again"):
        found.at("0")
    assert torch.equal(found.relevance, explained().relevance)


# ---- bad files and options -------------------------------------------------------------------------------------------


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Cannot write.*missing"):
        explained().save(tmp_path / "missing" / "a.safetensors")
    blocked = tmp_path / "folder.safetensors"
    blocked.mkdir()
    with pytest.raises(InputError, match=r"Cannot write"):
        explained().save(blocked)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.safetensors"]


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "foreign"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "a.safetensors"
    explained().save(path)
    if damage == "missing":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-40])
    else:
        save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(InputError, match=r"a\.safetensors"):
        seqxai.Attribution.load(path)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: seqxai.LRP(model(), composite="epsilonn"), r"epsilonn.*did you mean 'epsilon'"),
        (lambda: seqxai.LRP(model(), product="all"), r"product.*signal-takes-all.*'all'"),
        (lambda: seqxai.LRP(model(), bilinear="quarter"), r"bilinear.*'quarter'"),
        (lambda: seqxai.rules.Epsilon(epsilon=-1.0), r"epsilon.*-1"),
        (lambda: seqxai.rules.Gamma(gamma=-0.5), r"gamma.*-0\.5"),
        (lambda: seqxai.rules.Epsilon(bias="maybe"), r"bias.*'maybe'"),
        (lambda: seqxai.rules.ZBox(low=1.0, high=0.0), r"low <= high"),
        (lambda: seqxai.rules.ZBox(low=1.0), r"both low and high"),
        (lambda: seqxai.rules.Stabilizer(0.1, kind="odd"), r"kind.*'odd'"),
        (lambda: seqxai.composites.Composite([("layers", seqxai.rules.Epsilon())]), r"'layers'"),
    ],
)
def test_a_bad_option_is_named(build: Any, words: str) -> None:
    with pytest.raises(SeqxaiError, match=words):
        build()


def test_a_composite_that_leaves_a_node_without_a_rule_is_an_error() -> None:
    composite = seqxai.composites.Composite([("convolution", seqxai.rules.Epsilon())])
    with pytest.raises(seqxai.errors.CompositeError, match=r"no rule for.*linear"):
        seqxai.LRP(model(), composite=composite).attribute(X, target=0)


def test_deep_taylor_refuses_negative_outputs() -> None:
    negative = Wrapped(lambda t: -model()(t).abs() - 1.0)
    with pytest.raises(seqxai.errors.CompositeError, match=r"positive"):
        seqxai.LRP(negative, composite=seqxai.composites.DeepTaylor(low=-1.0, high=1.0)).attribute(X, target=0)


def test_an_input_outside_its_box_is_refused() -> None:
    with pytest.raises(SeqxaiError, match=r"box|low|outside"):
        seqxai.LRP(model(), composite="epsilon-gamma-box").attribute(3 * X, target=0)


@pytest.mark.parametrize("where", ["input", "weight", "infinite input"])
def test_numbers_that_are_not_finite_are_refused(where: str) -> None:
    bad, x = model(), X.clone()
    if where == "weight":
        with torch.no_grad():
            bad[0].weight[0, 0, 0] = float("nan")
    else:
        x[0, 0, 0] = float("nan") if where == "input" else float("inf")
    with pytest.raises(SeqxaiError, match=r"(?i)nan|infinite|finite"):
        seqxai.LRP(bad, composite="epsilon").attribute(x, target=0)


WRONG_TYPES = """
import torch, seqxai
model, x = torch.nn.Linear(4, 2), torch.rand(2, 4)
cases = {
    "list": lambda: seqxai.LRP(model).attribute([1.0, 2.0]),
    "none": lambda: seqxai.LRP(model).attribute(None),
    "text": lambda: seqxai.LRP(model).attribute("text"),
    "number": lambda: seqxai.LRP(model).attribute(3.0),
    "pair": lambda: seqxai.composites.Composite([("layer", "epsilon")]),
    "model": lambda: seqxai.LRP(3),
}
for name, case in cases.items():
    try:
        case()
        print(name, "accepted")
    except seqxai.SeqxaiError as error:
        print(name, error)
"""


def test_wrong_types_are_refused_in_words() -> None:
    """In a process of its own: while testing, the annotations are enforced before the library can say anything."""
    run = subprocess.run([sys.executable, "-c", WRONG_TYPES], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    answers = dict(line.split(" ", 1) for line in run.stdout.strip().splitlines())
    for name in ("list", "none", "text", "number"):
        assert re.search("(?i)tensor", answers[name]), answers[name]
    assert "(selector, rule)" in answers["pair"]
    assert "int" in answers["model"]


def test_an_empty_batch_is_explained_or_refused_in_words() -> None:
    try:
        found = seqxai.LRP(model(), composite="epsilon").attribute(X[:0], target=0)
    except SeqxaiError as error:
        raise AssertionError("an empty batch has an empty explanation") from error
    assert found.relevance.shape == (0, 2, 6)
    assert found.explained.shape == (0,)


def test_constants_of_the_call_are_passed_on() -> None:
    def masked(x: Tensor, scale: Tensor, *, mask: Tensor) -> Tensor:
        return (x * mask).flatten(1) @ random(12, 3, seed=9) * scale

    scale, mask = torch.tensor(2.0, dtype=torch.float64), (X[0] > 0).double()
    found = seqxai.LRP(masked, composite="lrp-0").attribute(X, target=2, args=(scale,), kwargs={"mask": mask})
    assert_close(found.relevance, gradient_times_input(lambda t: masked(t, scale, mask=mask)[:, 2], X), 1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_lower_precisions_close_to_their_rounding(dtype: torch.dtype) -> None:
    low = model().to(dtype)
    found = seqxai.LRP(low, composite="epsilon").attribute(X.to(dtype), target=1)
    assert found.relevance.dtype == dtype
    tolerance = {torch.float32: 1e-5, torch.float16: 2e-2, torch.bfloat16: 1e-1}[dtype]
    assert_close(found.relevance, explained().relevance, tolerance)
