"""Targets in sequences: a step, every step, hidden and cell units; the same from batches, single samples and steps written by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import seqxai
from seqxai.errors import TargetError
from seqxai.targets import Contrast, EveryStep, LogOdds, State, Step
from tests.contracts import assert_close, random, seeded
from tests.recurrent.models import FEATURES, LENGTHS, UNITS, X, reader

CLASSES = 5


class Tagger(nn.Module):
    """A score for each class at every step."""

    def __init__(self, batch_first: bool = True) -> None:
        super().__init__()
        self.lstm = nn.LSTM(FEATURES, UNITS, 2, bidirectional=True, batch_first=batch_first)
        self.scores = nn.Linear(2 * UNITS, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.scores(self.lstm(x)[0])
        return out


def tagger(batch_first: bool = True) -> Any:
    return seeded(lambda: Tagger(batch_first), 401)


def at_step(step: Any, combine: Any) -> Tensor:
    """The relevance of a model that returns nothing but the combination at a step."""
    model = tagger()
    found: Tensor = seqxai.LRP(lambda x: combine(model(x)[torch.arange(len(x)), step]), "lrp-0").attribute(X, target=0).relevance
    return found


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("step", [-1, 0, 2, [3, 0, -1], torch.tensor([1, 1, 4])], ids=str)
def test_a_step_of_the_output(step: Any, batch_first: bool) -> None:
    x = X if batch_first else X.transpose(0, 1).contiguous()
    steps = step if isinstance(step, int) else torch.as_tensor(step)
    for target, combine in ((2, lambda s: s[:, 2:3]), (Contrast(1, 4), lambda s: s[:, 1:2] - s[:, 4:5])):
        found = seqxai.LRP(tagger(batch_first), "lrp-0", ledger=True).attribute(x, target=Step(step, target, batch_first))
        relevance = found.relevance if batch_first else found.relevance.transpose(0, 1)
        assert_close(relevance, at_step(steps, combine), 1e-10)
        assert found.explained.shape == (3,)
        assert found.ledger.closed()


def test_the_largest_class_of_a_step() -> None:
    model = tagger()
    with torch.no_grad():
        model.scores.bias.zero_()
        model.scores.weight.mul_(3)
    found = seqxai.LRP(model, "lrp-0").attribute(20 * X, target=Step(2))
    chosen = found.output[:, 2].argmax(1)
    assert len(set(chosen.tolist())) > 1
    assert torch.equal(found.explained, found.output[torch.arange(3), 2, chosen])
    assert "largest output at step 2" in found.target


def test_log_odds_at_a_step_close_with_their_residue() -> None:
    found = seqxai.LRP(tagger(), ledger=True).attribute(X, target=Step(-1, LogOdds(1)))
    assert found.ledger.closed()
    assert float(found.ledger.total()["target"].abs().min()) > 1e-3


@pytest.mark.parametrize("batch_first", [True, False])
def test_every_step_from_one_forward_pass(batch_first: bool) -> None:
    calls = []
    model = tagger(batch_first)
    model.register_forward_hook(lambda *_: calls.append(1))
    x = X if batch_first else X.transpose(0, 1).contiguous()
    found = seqxai.LRP(model, ledger=True).attribute(x, target=EveryStep(3, batch_first=batch_first))
    assert len(calls) == 1
    assert found.relevance.shape == (5, *x.shape)
    assert found.ledger.closed()
    for step in range(5):
        single = seqxai.LRP(model).attribute(x, target=Step(step, 3, batch_first))
        assert torch.equal(found.relevance[step], single.relevance)
        assert torch.equal(found.explained[step], single.explained)
    some = seqxai.LRP(model).attribute(x, target=EveryStep(3, steps=[4, -4], batch_first=batch_first))
    assert torch.equal(some.relevance, found.relevance[[4, 1]])


def test_a_forecaster_with_one_number_a_step() -> None:
    model = tagger()
    forecast = seqxai.LRP(lambda x: model(x)[..., 0]).attribute(X, target=EveryStep())
    expected = seqxai.LRP(model).attribute(X, target=EveryStep(0))
    assert_close(forecast.relevance, expected.relevance, 1e-12)


# ---- hidden and cell states -----------------------------------------------------------------------------------------------


def states_by_hand(x: Tensor, lstm: nn.LSTM) -> Tensor:
    """(B, T, 2, H): hidden and cell states of a one-layer LSTM, by its single steps."""
    h = c = torch.zeros(len(x), UNITS, dtype=x.dtype)
    found = []
    for step in x.unbind(1):
        pre = step @ lstm.weight_ih_l0.T + lstm.bias_ih_l0 + h @ lstm.weight_hh_l0.T + lstm.bias_hh_l0
        i, f, g, o = pre.chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        found.append(torch.stack([h, c], 1))
    return torch.stack(found, 1)


@pytest.mark.parametrize("product", ["signal-takes-all", "half"])
@pytest.mark.parametrize("of", ["hidden", "cell"])
@pytest.mark.parametrize("step", [-1, 0, 3])
@pytest.mark.parametrize("batch_first", [True, False])
def test_a_unit_of_a_state_at_any_step(step: int, of: str, batch_first: bool, product: str) -> None:
    lstm = seeded(lambda: nn.LSTM(FEATURES, UNITS, batch_first=batch_first), 402)
    assert isinstance(lstm, nn.LSTM)
    model = nn.Sequential(lstm)
    x = X if batch_first else X.transpose(0, 1).contiguous()
    explain = seqxai.LRP(model, "lrp-0", product=product, ledger=True)
    found = explain.attribute(x, target=State("0", 2, step, of))
    written = seqxai.LRP(lambda t: states_by_hand(t, lstm)[:, step, int(of == "cell")], "lrp-0", product=product)
    expected = written.attribute(X, target=2)
    assert_close(found.relevance if batch_first else found.relevance.transpose(0, 1), expected.relevance, 1e-10)
    assert_close(found.explained[:, None], expected.explained[:, None], 1e-12)
    assert found.ledger.closed()
    alone = explain.attribute(x[1:2] if batch_first else x[:, 1:2], target=State("0", 2, step, of)).relevance
    assert_close(alone if batch_first else alone.transpose(0, 1), expected.relevance[1:2], 1e-10)


def test_the_sum_of_all_units_is_the_sum_of_their_explanations() -> None:
    explain = seqxai.LRP(tagger())
    each = [explain.attribute(X, target=State("lstm", unit, 1, "cell", layer=0, direction=1)).relevance for unit in range(UNITS)]
    found = explain.attribute(X, target=State("lstm", None, 1, "cell", layer=0, direction=1)).relevance
    assert_close(found, torch.stack(each).sum(0), 1e-12)


def test_layers_and_directions_are_told_apart() -> None:
    """The backward direction at step 1 knows the future only, the forward one the past only; layer 1 knows everything."""
    explain = seqxai.LRP(tagger())
    past = explain.attribute(X, target=State("lstm", 0, 1, layer=0)).relevance
    future = explain.attribute(X, target=State("lstm", 0, 1, layer=0, direction=1)).relevance
    both = explain.attribute(X, target=State("lstm", 0, 1, layer=1)).relevance
    assert not past[:, 2:].any()
    assert past[:, :2].all()
    assert not future[:, :1].any()
    assert future[:, 1:].all()
    assert both.all()
    last = explain.attribute(X, target=State("lstm", 0, -1, layer=0, direction=1)).explained
    first = explain.attribute(X, target=State("lstm", 0, 0, layer=0, direction=1)).explained
    assert torch.equal(last, first)


@pytest.mark.parametrize("of", ["hidden", "cell"])
def test_the_last_state_of_packed_sequences_in_the_order_of_the_batch(of: str) -> None:
    found = seqxai.LRP(reader("lstm", packed=True), ledger=True).attribute(X, target=State("layer", 1, of=of))
    assert found.ledger.closed()
    for sample, length in enumerate(LENGTHS):
        alone = seqxai.LRP(reader("lstm")).attribute(X[sample : sample + 1, :length], target=State("layer", 1, of=of))
        assert_close(found.relevance[sample : sample + 1, :length], alone.relevance, 1e-12)
        assert_close(found.explained[sample : sample + 1, None], alone.explained[:, None], 1e-12)


@pytest.mark.parametrize("of", ["hidden", "cell"])
def test_the_states_of_a_cell_called_step_by_step(of: str) -> None:
    class Steps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.LSTMCell(FEATURES, UNITS)

        def forward(self, x: Tensor) -> Tensor:
            state = None
            for step in x.unbind(1):
                state = self.cell(step, state)
            assert state is not None
            h: Tensor = state[0]
            return h

    model = seeded(Steps, 403)
    whole = seeded(lambda: nn.LSTM(FEATURES, UNITS, batch_first=True), 404)
    with torch.no_grad():
        for name, parameter in model.cell.named_parameters():
            getattr(whole, f"{name}_l0").copy_(parameter)
    for step in (1, -1):
        found = seqxai.LRP(model).attribute(X, target=State("cell", 3, step, of))
        expected = seqxai.LRP(nn.Sequential(whole)).attribute(X, target=State("0", 3, step, of))
        assert_close(found.relevance, expected.relevance, 1e-12)


def test_relevance_at_a_layer_on_the_way() -> None:
    found = seqxai.LRP(tagger(), "lrp-0").attribute(X, target=Step(2, 1))
    output, hidden, cell = found.at("lstm")
    assert_close(output[:, 2].sum(1, keepdim=True), (found.explained - tagger().scores.bias[1])[:, None], 1e-10)
    assert not output[:, [0, 1, 3, 4]].any()
    assert not hidden.any()
    assert not cell.any()


BAD: dict[str, tuple[Any, str]] = {
    "step out of range": (Step(5, 1), r"5 is out of range: expected an index from 0 to 4"),
    "class out of range": (Step(1, 9), r"9 is out of range: expected an index from 0 to 4"),
    "steps of other samples": (Step([1, 2], 0), r"one step for each of 3 samples, got 2"),
    "several at a step": (Step(0, [Contrast(0, 1)]), r"one scalar at its step, got several"),
    "no steps": (EveryStep(0, steps=[]), r"at least one step"),
    "no such layer": (State("gru", 0), r"path of an nn.LSTM.*got 'gru'"),
    "unit out of range": (State("lstm", 99), r"99 is out of range: expected an index from 0 to 3"),
    "layer out of range": (State("lstm", 0, layer=2), r"2 is out of range"),
    "not a recurrent layer": (State("scores", 0), r"path of an nn.LSTM.*got 'scores'"),
    "inside several": ([Step(0, 1), EveryStep(1)], r"targets of one scalar each"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_targets(name: str) -> None:
    with pytest.raises(TargetError, match=BAD[name][1]):
        seqxai.LRP(tagger()).attribute(X, target=BAD[name][0])


@pytest.mark.parametrize(
    ("build", "message"),
    [(lambda: State("lstm", of="gate"), "'hidden' or 'cell', got 'gate'"), (lambda: State("lstm", direction=2), "0 .* or 1 .*got 2")],
)
def test_bad_states(build: Any, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        build()


def test_states_that_are_not_there() -> None:
    with pytest.raises(TargetError, match=r"Expected an LSTM for a cell state, but 'layer' is a gru"):
        seqxai.LRP(reader("gru")).attribute(X, target=State("layer", 0, of="cell"))
    with pytest.raises(TargetError, match="has one direction only"):
        seqxai.LRP(reader("lstm")).attribute(X, target=State("layer", 0, direction=1))
    with pytest.raises(TargetError, match=r"packed sequence.*expected step=-1.*got 2"):
        seqxai.LRP(reader("lstm", packed=True)).attribute(X, target=State("layer", 0, 2))
    with pytest.raises(TargetError, match=r"\(batch, steps, outputs\).*got \(2, 2, 3, 5\)"):
        seqxai.LRP(lambda x: torch.stack([tagger()(x)] * 2)).attribute(random(2, 3, FEATURES), target=Step(0, 1))
