"""What is explained: one output, the largest, one per sample, contrasts, units on the way, several at once; bad targets."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import seqxai
from seqxai.errors import TargetError
from seqxai.targets import Contrast, Index, Largest, LogOdds, Several, Unit
from tests.contracts import Wrapped, assert_close, check_explanation, random, seeded
from tests.references import gradient_times_input

X = 3.0 * random(4, 5, seed=7)  # the largest output is not the same for all


def model() -> nn.Sequential:
    return seeded(lambda: nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)), 2)


def explain(target: Any, x: Tensor = X) -> seqxai.Attribution:
    return seqxai.LRP(model(), composite="lrp-0").attribute(x, target=target)


@pytest.mark.parametrize("target", [2, -1, Index(2), (2,), torch.tensor(2)], ids=str)
def test_an_index(target: Any) -> None:
    found = explain(target)
    assert_close(found.relevance, gradient_times_input(lambda t: model()(t)[:, 2], X), 1e-12)
    assert torch.equal(found.explained, found.output[:, 2])


@pytest.mark.parametrize("target", [None, Largest()], ids=str)
def test_the_largest_output_of_each_sample(target: Any) -> None:
    found = explain(target)
    assert len(set(found.output.argmax(1).tolist())) > 1
    assert_close(found.relevance, gradient_times_input(lambda t: model()(t).max(1).values, X), 1e-12)
    assert torch.equal(found.explained, found.output.max(1).values)


@pytest.mark.parametrize("target", [torch.tensor([0, 2, 1, 1]), [0, 2, 1, 1], [0, -1, 1, -2]], ids=str)
def test_one_index_per_sample(target: Any) -> None:
    found = explain(target)
    rows, columns = torch.arange(4), torch.tensor([0, 2, 1, 1])
    assert_close(found.relevance, gradient_times_input(lambda t: model()(t)[rows, columns], X), 1e-12)
    assert torch.equal(found.explained, found.output[rows, columns])


def test_an_index_beyond_the_batch() -> None:
    layer = seeded(lambda: nn.Linear(5, 6), 3)
    wrapped = Wrapped(lambda t: layer(t).relu().view(-1, 3, 2))
    relevance = check_explanation(wrapped, X, "lrp-0", target=(2, 1))
    assert_close(relevance, gradient_times_input(lambda t: wrapped(t)[:, 2, 1], X), 1e-12)


def test_a_contrast_is_a_difference() -> None:
    found, first, second = explain(Contrast(2, 0)), explain(2), explain(0)
    assert_close(found.relevance, first.relevance - second.relevance, 1e-12)
    assert torch.allclose(found.explained, first.explained - second.explained, rtol=0, atol=1e-15)
    nothing = explain(Contrast(1, 1))
    assert float(nothing.relevance.abs().max()) == 0.0


def test_log_odds_are_those_of_the_softmax() -> None:
    found = explain(LogOdds(1))
    p = found.output.softmax(1)[:, 1]
    assert torch.allclose(found.explained, (p / (1 - p)).log(), rtol=1e-12)


@pytest.mark.parametrize("path", ["0", "1"])
def test_a_hidden_unit(path: str) -> None:
    found = seqxai.LRP(model(), composite="lrp-0").attribute(X, target=Unit(path, 3))
    part = model()[: int(path) + 1]
    assert_close(found.relevance, gradient_times_input(lambda t: part(t)[:, 3], X), 1e-12)
    assert torch.allclose(found.explained, part(X)[:, 3].detach())
    assert found.ledger.closed()


def test_a_hidden_unit_at_a_step() -> None:
    """The second of three calls of a module."""

    class Repeated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.Linear(5, 5)

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(3):
                x = self.cell(x).relu()
            return x

    repeated = seeded(Repeated, 4)
    found = seqxai.LRP(repeated, composite="lrp-0").attribute(X, target=Unit("cell", 2, call=1))
    cell = repeated.cell
    assert_close(found.relevance, gradient_times_input(lambda t: cell(cell(t).relu())[:, 2], X), 1e-12)


def test_several_targets_from_one_forward_pass() -> None:
    base = model()
    calls: list[int] = []
    base.register_forward_hook(lambda *_: calls.append(1))
    targets = [Index(0), Index(2), Contrast(1, 0)]
    found = seqxai.LRP(base, composite="lrp-0").attribute(X, target=Several(targets))
    assert len(calls) == 1
    assert found.relevance.shape == (3, *X.shape)
    assert found.explained.shape == (3, 4)
    for number, target in enumerate(targets):
        alone = explain(target)
        assert_close(found.relevance[number], alone.relevance, 1e-13)
        assert torch.equal(found.explained[number], alone.explained)
    total = found.ledger.total()
    assert torch.allclose(sum(total.values()), found.explained, rtol=1e-12)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (3, r"3.*out of range.*0 to 2"),
        (-4, r"-4.*out of range"),
        (torch.tensor([0, 1, 2, 3]), r"3.*out of range"),
        (torch.tensor([0, 1]), r"4 samples.*2"),
        ((0, 1), r"1 ind"),
        ("cat", r"target.*cat"),
        (1.5, r"target.*1\.5"),
        (True, r"True"),
        (torch.tensor([0.5, 1.0, 0.0, 1.0]), r"integer"),
        (LogOdds(7), r"7.*out of range"),
        (Contrast(0, 9), r"9.*out of range"),
        (Unit("0", 99), r"99.*out of range"),
        (Unit("0", 1, call=5), r"call"),
    ],
    ids=str,
)
def test_a_bad_target_says_what_was_expected(target: Any, words: str) -> None:
    with pytest.raises(TargetError, match=words) as error:
        explain(target)
    assert not isinstance(error.value, IndexError | TypeError | AttributeError)


def test_an_unknown_path_names_the_nearest() -> None:
    with pytest.raises(seqxai.errors.SeqxaiError, match=r"nowhere"):
        explain(Unit("nowhere", 0))
