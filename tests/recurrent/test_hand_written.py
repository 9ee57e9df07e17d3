"""Gated cells written by hand, without any declaration: every product rule against a slow oracle, and shares in closed form."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import seqxai
from seqxai import rules
from seqxai.composites import Composite
from seqxai.errors import InputError, UnsupportedOperation
from tests.contracts import assert_close, check_explanation, random
from tests.recurrent.gated_cells import CELLS, Oracle, Plain
from tests.references import gradient_times_input

RULES: dict[str, rules.ProductRule] = {
    "all": rules.SignalTakesAll(), "half": rules.Half(), "proportional": rules.Proportional(), "absolute": rules.Absolute(),
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", CELLS)
def test_a_cell_equals_its_oracle(name: str, rule: str) -> None:
    cell, x = CELLS[name]
    found = check_explanation(lambda t: cell(t, Plain()), x, "lrp-0", target=1, product=RULES[rule])
    expected = gradient_times_input(lambda t: cell(t, Oracle(RULES[rule]))[:, 1], x)
    assert_close(found, expected, 1e-10)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", CELLS)
def test_its_ledger_closes_with_large_stabilizers(name: str, rule: str) -> None:
    cell, x = CELLS[name]
    composite = Composite([("layer", rules.Epsilon(0.1)), ("sum", rules.Epsilon(0.2))])
    check_explanation(lambda t: cell(t, Plain()), x, composite, target=0, product=RULES[rule])


def one_product(gate: Any, signal: Any) -> Any:
    """A product of a gate over the first feature and a signal over the second."""
    return lambda x: gate(2.0 * x[:, :1]) * signal(3.0 * x[:, 1:])


# For x = (0.5, 1/6): a = 1, s = 0.5.  Shares (gate, signal) by hand.
PAIR = torch.tensor([[0.5, 1 / 6]], dtype=torch.float64)
SHARES = {
    "all": lambda a, s: (0.0, 1.0),
    "half": lambda a, s: (0.5, 0.5),
    "proportional": lambda a, s: (a / (a + s + 0.2 * np.sign(a + s)), s / (a + s + 0.2 * np.sign(a + s))),
    "absolute": lambda a, s: (abs(a) / (abs(a) + abs(s) + 1e-3), abs(s) / (abs(a) + abs(s) + 1e-3)),
}
GATES = {"sigmoid": (torch.sigmoid, 1.0), "1 - sigmoid": (lambda a: 1 - torch.sigmoid(a), -1.0),
         "tanh": (lambda a: 0.5 * (torch.tanh(a / 2) + 1), 1.0),
         "tanh of a": (lambda a: 0.5 * (torch.tanh(a) + 1), 2.0), "exp": (lambda a: 1 / (1 + torch.exp(-a)), 1.0),
         "hardsigmoid": (F.hardsigmoid, 1.0), "2 sigmoid": (lambda a: 2 * torch.sigmoid(a), 1.0),
         "declared": (lambda a: seqxai.gate(torch.sigmoid(a)), 1.0)}  # fmt: skip
SIGNALS = {"tanh": torch.tanh, "relu": torch.relu, "itself": lambda s: s}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("gate", GATES)
def test_shares_come_from_pre_activations(gate: str, signal: str, rule: str) -> None:
    """Of 1 - σ(a), which is σ(-a), the pre-activation is -a: for a = 1 and s = 0.5 the signal's share is -1, not 0.33."""
    function, sign = GATES[gate]
    attribution = seqxai.LRP(one_product(function, SIGNALS[signal]), "lrp-0", product=RULES[rule], ledger=True).attribute(PAIR, target=0)
    to_gate, to_signal = SHARES[rule](sign * 1.0, 0.5)
    expected = float(attribution.explained) * torch.tensor([[to_gate, to_signal]], dtype=torch.float64)
    assert_close(attribution.relevance, expected, 1e-12)
    assert attribution.ledger.closed()
    if rule == "proportional" and gate == "1 - sigmoid":
        assert to_signal == pytest.approx(0.5 / -0.7)


def test_a_gate_times_a_constant_state_gives_the_gate_its_share() -> None:
    state = random(1, 1, seed=320).expand(1, 1) * 0 + 0.5
    state = torch.cat([state, state], 1)
    attribution = seqxai.LRP(lambda x: torch.sigmoid(2.0 * x) * state, "lrp-0", product="half", ledger=True).attribute(PAIR, target=0)
    expected = torch.zeros_like(PAIR)
    expected[0, 0] = attribution.explained[0] / 2
    assert_close(attribution.relevance, expected, 1e-12)
    assert float(attribution.ledger.total()["constant"]) == pytest.approx(float(attribution.explained) / 2)


def test_a_softmax_has_no_pre_activation_to_share_with() -> None:
    with pytest.raises(UnsupportedOperation, match="softmax"):
        seqxai.LRP(lambda x: torch.softmax(x, 1) * torch.tanh(x), product="half").attribute(PAIR, target=0)


def test_mixtures_by_two_gates_are_refused_by_rules_that_share() -> None:
    def model(x: Tensor) -> Tensor:
        y, a, b = torch.tanh(3 * x), torch.sigmoid(x), torch.sigmoid(2 * x)
        return y + a * (x - y) + b * y

    check_explanation(model, random(2, 3, seed=321), "lrp-0", target=0)
    with pytest.raises(UnsupportedOperation, match=r"more than one gate.*\(1 - z\) \* a \+ z \* b"):
        seqxai.LRP(model, product="half").attribute(random(2, 3, seed=321), target=0)


def test_contractions_take_all_or_half() -> None:
    def attention(x: Tensor) -> Tensor:
        out: Tensor = torch.sigmoid(x @ x.new_ones(3, 3)) @ torch.tanh(x.mT)
        return out.flatten(1)

    x = random(2, 3, 3, seed=322)
    check_explanation(attention, x, "lrp-0", target=0)
    with pytest.raises(UnsupportedOperation, match="SignalTakesAll or Half"):
        seqxai.LRP(attention, product="absolute").attribute(x, target=0)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: rules.Proportional(-1.0), "finite number >= 0, got -1.0"),
        (lambda: rules.Absolute(float("nan")), "finite number >= 0"),
        (lambda: seqxai.LRP(torch.tanh, product="most"), r"signal-takes-all, half, proportional, absolute.*got 'most'"),
        (lambda: rules.Proportional(rules.Stabilizer(0.1, "relative")).shares(PAIR, PAIR), "is signed, got the kind 'relative'"),
    ],
)
def test_bad_rules(build: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build()


def test_the_name_of_a_product_rule_is_kept_with_the_result() -> None:
    model = one_product(torch.sigmoid, torch.tanh)
    for product, name in (("half", "half"), (rules.Proportional(), "proportional"), (rules.Absolute(0.5), "Absolute(epsilon=0.5)")):
        assert seqxai.LRP(model, product=product).attribute(PAIR, target=0).settings["product"] == name
