"""Expectations of categorical distributions: against the slow twin, in every spelling, and what the closed ledger does not show."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import seqxai
from seqxai.errors import UnsupportedOperation
from seqxai.rules.softmax import path_weights
from tests.contracts import Wrapped, assert_close, assert_closed, random, seeded
from tests.references import softmax_expectation

ATOMS = torch.linspace(-10.0, 10.0, 5, dtype=torch.float64)

SPELLINGS = {
    "matmul": lambda p: p @ ATOMS,
    "sum of products": lambda p: (p * ATOMS).sum(-1),
    "product of the full shape": lambda p: torch.mul(p, ATOMS.expand_as(p)).sum(2),
    "einsum": lambda p: torch.einsum("bak,k->ba", p, ATOMS),
    "linear": lambda p: F.linear(p, ATOMS[None]).squeeze(-1),
    "through a view": lambda p: (p.reshape(-1, 5) * ATOMS).sum(1).view(-1, 3),
}


def head(spelling: str = "matmul", seed: int = 1) -> nn.Module:
    body = seeded(lambda: nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 15)), seed)
    return Wrapped(lambda x: SPELLINGS[spelling](torch.softmax(3.0 * body(x).view(-1, 3, 5), 2)))


def test_the_shares_are_those_of_the_slow_twin():
    logits = random(5, seed=2, low=-6.0, high=9.0)
    expected, uniform = softmax_expectation(logits, ATOMS)
    attribution = seqxai.LRP(lambda x: x.softmax(1) @ ATOMS, composite="lrp-0", ledger=True).attribute(logits[None], target=None)
    assert_close(attribution.relevance, expected[None], 1e-5)
    assert float(attribution.ledger.total()["constant"]) == pytest.approx(float(uniform), abs=1e-12)
    shifted = ATOMS + 3.0
    attribution = seqxai.LRP(lambda x: x.softmax(1) @ shifted, composite="lrp-0", ledger=True).attribute(logits[None])
    assert_close(attribution.relevance, expected[None], 1e-5)
    assert float(attribution.ledger.total()["constant"]) == pytest.approx(3.0, rel=1e-9)


@pytest.mark.parametrize("spread", [0.0, 0.1, 1.0, 10.0, 50.0, 200.0])
def test_the_quadrature_is_exact_to_rounding(spread):
    logits = spread * random(4, 51, seed=3)
    values = torch.linspace(-10, 10, 51, dtype=torch.float64).expand(4, 51)
    weights = path_weights(logits, values, 1)
    gained = (logits.softmax(1) * values).sum(1) - values.mean(1)
    assert (weights * logits).sum(1).sub(gained).abs().max() < 1e-12
    assert weights.sum(1).abs().max() < 1e-13


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_gives_the_same_and_closes(spelling):
    x = random(4, 6, seed=4)
    found = seqxai.LRP(head(spelling), composite="epsilon", ledger=True).attribute(x, target=2)
    expected = seqxai.LRP(head(), composite="epsilon").attribute(x, target=2)
    assert_close(found.relevance, expected.relevance, 1e-10)
    assert_closed(found, 20)
    assert float(found.relevance.abs().sum()) > 1.0, "nothing may be booked away"
    alone = seqxai.LRP(head(spelling), composite="epsilon").attribute(x[1:2], target=2)
    assert_close(alone.relevance, found.relevance[1:2], 1e-12)


def test_adding_the_same_to_all_logits_changes_nothing_below():
    body = seeded(lambda: nn.Linear(6, 5), 5)
    x, common = random(3, 6, seed=6), random(6, seed=7)

    def relevance(weight: Tensor, bias: Tensor) -> Tensor:
        model = Wrapped(lambda t: F.linear(t, weight, bias).softmax(1) @ ATOMS)
        return seqxai.LRP(model, composite="lrp-0").attribute(x).relevance

    assert_close(relevance(body.weight + common, body.bias + 40.0), relevance(body.weight, body.bias), 1e-9)


def test_a_contrast_of_two_expectations_closes():
    x = random(3, 6, seed=8)
    found = seqxai.LRP(head(), composite="epsilon", ledger=True).attribute(x, target=seqxai.targets.Contrast(0, 1))
    assert_closed(found, 20)
    parts = [seqxai.LRP(head(), composite="epsilon").attribute(x, target=t).relevance for t in (0, 1)]
    assert_close(found.relevance, parts[0] - parts[1], 1e-9)


def test_certain_distributions_are_explained_too():
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0, 400.0]])  # in float32 all but one probability are exactly 0
    found = seqxai.LRP(lambda x: x.softmax(1) @ ATOMS.float(), composite="lrp-0", ledger=True).attribute(logits)
    total = found.ledger.total()
    assert float(found.explained) == 10.0
    assert float(sum(total.values())) == pytest.approx(10.0, rel=1e-6)
    assert torch.isfinite(found.relevance).all()


def test_a_logarithm_of_probabilities_inside_is_refused():
    with pytest.raises(UnsupportedOperation, match="logarithm of probabilities"):
        seqxai.LRP(lambda x: x.log_softmax(1) @ ATOMS).attribute(random(2, 5, seed=9))
