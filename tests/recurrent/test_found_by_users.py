"""What people found when they tried sequences: each stays right."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence

import seqxai
from seqxai import comparison, rules
from seqxai.attribution import Attribution
from seqxai.composites import Composite, Epsilon, both, path
from seqxai.errors import InputError, TargetError, UnsupportedOperation
from seqxai.targets import EveryStep, State, Step, Unit
from tests.contracts import assert_close, random, seeded
from tests.recurrent.models import FEATURES, UNITS, X, kernel, reader


class Scores(nn.Module):
    """Scores at every step, or of the last state; steps first or batch first."""

    def __init__(self, batch_first: bool = False, last: bool = False) -> None:
        super().__init__()
        self.lstm, self.out = nn.LSTM(FEATURES, UNITS, batch_first=batch_first), nn.Linear(UNITS, 2)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        out, (h, _) = self.lstm(x)
        found: Tensor = self.out(h[-1] if self.last else out)
        return found


def scores(**options: bool) -> Any:
    return seeded(lambda: Scores(**options), 501)


# ---- units of a recurrent layer ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [(-1, 2), (0, 2), None])
def test_a_unit_of_a_recurrent_layer_is_one_of_its_outputs(index: Any) -> None:
    found = seqxai.LRP(scores(batch_first=True), ledger=True).attribute(X, target=Unit("lstm", index))
    whole = seqxai.LRP(nn.Sequential(scores(batch_first=True).lstm, First()), ledger=True).attribute(X, target=Unit("1", index))
    assert_close(found.relevance, whole.relevance, 1e-12)
    assert found.explained.shape == (3,)


class First(nn.Module):
    def forward(self, found: Any) -> Tensor:
        out: Tensor = found[0]
        return out


def test_units_without_the_batch_in_front_are_refused() -> None:
    for model in (scores(), reader("lstm", packed=True)):
        with pytest.raises(TargetError, match=r"batch in front.*targets.State"):
            seqxai.LRP(model).attribute(X, target=Unit("lstm" if isinstance(model, Scores) else "layer", (0, 1)))


@pytest.mark.parametrize("inner", [Unit("lstm", 1), State("lstm", 1)], ids=str)
def test_a_step_of_something_else_than_the_output_is_refused(inner: Any) -> None:
    for target in (Step(0, inner), EveryStep(inner)):
        with pytest.raises(TargetError, match="explains the model's output at a step"):
            seqxai.LRP(scores(batch_first=True)).attribute(X, target=target)


# ---- steps first ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [3, 2, 5])
@pytest.mark.parametrize("last", [True, False])
def test_an_attribution_knows_where_its_batch_is(steps: int, last: bool, tmp_path: Any) -> None:
    """Three samples, as many steps or not: slices, sums, tables and files are those of the same model with the batch in front."""
    x = random(3, steps, FEATURES, seed=502)
    target: Any = 1 if last else Step(-1, 1, batch_first=False)
    found = seqxai.LRP(scores(last=last), ledger=True).attribute(x.transpose(0, 1).contiguous(), target=target)
    plain = seqxai.LRP(scores(last=last, batch_first=True), ledger=True).attribute(x, target=1 if last else Step(-1, 1))
    assert (found.batch, plain.batch) == (1, 0)
    found.save(tmp_path / "a.safetensors")
    for each in (found, Attribution.load(tmp_path / "a.safetensors")):
        assert_close(each.relevance.transpose(0, 1), plain.relevance, 1e-12)
        assert_close(each.sum()[:, None], plain.sum()[:, None], 1e-12)
        assert_close(each[2].relevance.transpose(0, 1), plain[2].relevance, 1e-12)
        assert_close(each[1:].inputs.transpose(0, 1), x[1:], 1e-14)
        assert len(each[:2]) == 2
        table, expected = each.to_arrays(), plain.to_arrays()
        assert all((table[name] == expected[name]).all() for name in ("sample", "index_1", "index_2", "value"))
        assert table["relevance"] == pytest.approx(expected["relevance"], rel=1e-9)
    assert found[1].output.shape == (plain[1].output.shape if last else (steps, 1, 2))
    assert found.plot(2) is not None


def test_every_step_of_a_model_with_steps_first_sums_per_sample() -> None:
    x = random(3, 3, FEATURES, seed=503)
    found = seqxai.LRP(scores()).attribute(x, target=EveryStep(1, batch_first=False))
    assert_close(found.sum(), found.relevance.sum((1, 3)), 1e-12)
    assert found[1].relevance.shape == (3, 3, 1, FEATURES)


def test_one_sample_with_steps_first() -> None:
    found = seqxai.LRP(scores(last=True)).attribute(random(4, 1, FEATURES), target=1)
    assert found.batch == 1
    assert found[0].relevance.shape == (4, 1, FEATURES)


@pytest.mark.parametrize("method", [comparison.Occlusion, comparison.ContextualDecomposition])
def test_methods_by_step_refuse_steps_first_whatever_the_shape(method: Any) -> None:
    with pytest.raises(InputError, match="Expected the batch in front"):
        method(scores(last=True)).attribute(random(3, 3, FEATURES), target=0)


def test_gradients_with_steps_first_know_their_batch() -> None:
    assert comparison.GradientTimesInput(scores(last=True)).attribute(random(3, 3, FEATURES), target=0).batch == 1


# ---- gates in more spellings ---------------------------------------------------------------------------------------------------

PAIR = torch.tensor([[0.5, 1 / 6]], dtype=torch.float64)
ONE = torch.tensor([[True]])
LOOKED_THROUGH: dict[str, Callable[[Tensor], Tensor]] = {
    "expand": lambda a: a.sigmoid().expand(-1, 1), "repeat": lambda a: a.sigmoid().repeat(1, 1), "flip": lambda a: a.sigmoid().flip(1),
    "index_select": lambda a: a.sigmoid().index_select(1, torch.tensor([0])), "pad": lambda a: F.pad(a.sigmoid(), (0, 1))[:, :1],
    "masked_fill": lambda a: a.sigmoid().masked_fill(~ONE, 0.0), "where": lambda a: torch.where(ONE, a.sigmoid(), 0.0),
    "copy_": lambda a: torch.empty(1, 1, dtype=a.dtype).copy_(a.sigmoid()), "clamp": lambda a: a.sigmoid().clamp(1e-6, 1 - 1e-6),
    "relu": lambda a: a.sigmoid().relu(), "maximum": lambda a: torch.maximum(a.sigmoid(), a.new_zeros(1)),
    "power": lambda a: a.sigmoid() ** 2, "exp of logsigmoid": lambda a: F.logsigmoid(a).exp(),
    "declared": lambda a: seqxai.gate(torch.where(ONE, a.sigmoid(), 0.0)),
}  # fmt: skip


def relevance_of_pair(gate: Callable[[Tensor], Tensor], product: Any, signal: Callable[[Tensor], Tensor] = torch.tanh) -> Tensor:
    found = seqxai.LRP(lambda x: gate(2 * x[:, :1]) * signal(3 * x[:, 1:]), "lrp-0", product=product, ledger=True).attribute(PAIR, target=0)
    assert found.ledger.closed()
    share: Tensor = found.relevance / found.explained
    return share


@pytest.mark.parametrize("product", ["proportional", "absolute", "half"])
@pytest.mark.parametrize("name", LOOKED_THROUGH)
def test_a_gate_is_seen_through_what_moves_or_clamps_it(name: str, product: str) -> None:
    assert_close(relevance_of_pair(LOOKED_THROUGH[name], product), relevance_of_pair(torch.sigmoid, product), 1e-9)


def test_a_signal_beside_a_state_keeps_its_pre_activation() -> None:
    found = relevance_of_pair(torch.sigmoid, "proportional", lambda s: torch.cat([torch.tanh(s), s], 1)[:, :1])
    assert_close(found, relevance_of_pair(torch.sigmoid, "proportional"), 1e-12)


def test_a_gate_whose_pre_activation_is_unknown_is_refused_by_rules_that_need_it() -> None:
    gate = lambda a: (a.sigmoid() + (-a).sigmoid()) / 3  # noqa: E731
    relevance_of_pair(gate, "half")
    for product in ("proportional", "absolute"):
        with pytest.raises(UnsupportedOperation, match=r"shares by pre-activations.*expected a sigmoid"):
            relevance_of_pair(gate, product)


@pytest.mark.parametrize("equation", ["bi,bi->bi", "bi,bi->b"])
def test_half_of_a_contraction_enters_a_complement_at_its_pre_activation(equation: str) -> None:
    def model(x: Tensor) -> Tensor:
        return torch.einsum(equation, 1 - torch.sigmoid(2 * x[:, :1]), torch.tanh(3 * x[:, 1:])).reshape(1, 1)

    found = seqxai.LRP(model, "lrp-0", product="half", ledger=True).attribute(PAIR, target=0)
    assert_close(found.relevance / found.explained, torch.full((1, 2), 0.5, dtype=torch.float64), 1e-12)


# ---- masks -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", [0, 2, 40])
@pytest.mark.parametrize("blend", ["m a + (1 - m) b", "where"])
def test_padding_by_a_mask_costs_no_relevance(blend: str, padding: int) -> None:
    """What a masked step keeps is not added to anything: three real steps are explained alike, however many follow."""
    cell = kernel(lambda: nn.LSTMCell(FEATURES, UNITS))
    x = torch.cat([random(1, 3, FEATURES, seed=504), torch.zeros(1, padding, FEATURES, dtype=torch.float64)], 1)
    mask = (torch.arange(3 + padding) < 3).double()

    def model(t: Tensor) -> Tensor:
        h = c = torch.zeros(1, UNITS, dtype=t.dtype)
        for step in range(t.shape[1]):
            a, b = cell(t[:, step], (h, c))
            m = mask[step].expand(1, UNITS)
            if blend == "where":
                h, c = torch.where(m > 0, a, h), torch.where(m > 0, b, c)
            else:
                h, c = m * a + (1 - m) * h, m * b + (1 - m) * c
        return h

    composite = Composite([("layer", rules.Epsilon(1e-2)), ("sum", rules.Epsilon(1e-2))])
    found = seqxai.LRP(model, composite, ledger=True).attribute(x, target=1)
    lstm = nn.LSTM(FEATURES, UNITS, batch_first=True).double()
    with torch.no_grad():
        for name, parameter in cell.named_parameters():
            getattr(lstm, f"{name}_l0").copy_(parameter)
    expected = seqxai.LRP(lambda t: lstm(t)[0][:, -1], composite).attribute(x[:, :3], target=1)
    assert_close(found.relevance[:, :3], expected.relevance, 1e-12)
    assert found.ledger.closed()


# ---- attention, dropout, messages ----------------------------------------------------------------------------------------------------


class Attention(nn.Module):
    """A bidirectional LSTM pooled by a softmax over its steps."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(FEATURES, UNITS, batch_first=True, bidirectional=True)
        self.weights, self.out = nn.Linear(2 * UNITS, 1), nn.Linear(2 * UNITS, 2)

    def forward(self, x: Tensor) -> Tensor:
        h, _ = self.lstm(x)
        found: Tensor = self.out((torch.softmax(self.weights(h), 1) * h).sum(1))
        return found


def test_attention_beside_a_layer_whose_gates_take_shares() -> None:
    model = seeded(Attention, 505)
    with pytest.raises(UnsupportedOperation, match=r"softmax.*product rule gives it a share.*both\('product', path"):
        seqxai.LRP(model, product="half").attribute(X, target=0)
    pairs = [(both("product", path("lstm")), rules.Half()), ("layer", rules.Epsilon()), ("sum", rules.Epsilon())]
    found = seqxai.LRP(model, Composite(pairs), ledger=True).attribute(X, target=0)
    assert found.ledger.closed()
    assert float((found.relevance - seqxai.LRP(model, Epsilon()).attribute(X, target=0).relevance).abs().max()) > 1e-3


def test_occlusion_refuses_a_model_that_drops_units() -> None:
    for model in (nn.Sequential(nn.LSTM(FEATURES, UNITS, 2, dropout=0.5, batch_first=True).double(), First(), Last()),
                  nn.Sequential(nn.Flatten(), nn.Dropout(0.1))):  # fmt: skip
        with pytest.raises(InputError, match=r"draws other units.*model.eval\(\)"):
            comparison.Occlusion(model).attribute(X, target=0)
        comparison.Occlusion(model.eval()).attribute(X, target=0)


class Last(nn.Module):
    def forward(self, out: Tensor) -> Tensor:
        return out[:, -1]


SENTENCES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "states of an LSTM in a GRU": (
        lambda: seqxai.LRP(lambda x: nn.GRU(FEATURES, UNITS).double()(x, (X, X))[0]).attribute(X, target=0),
        InputError, r"GRU\(3, 4\).*refuses",
    ),
    "lengths out of order": (
        lambda: seqxai.LRP(lambda x: pack_padded_sequence(x, torch.tensor([2, 5, 1]), True).data).attribute(X, target=0),
        InputError, r"longest sequence first, got lengths \[2, 5, 1\]; pass enforce_sorted=False",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SENTENCES)
def test_a_sentence_for(name: str) -> None:
    run, error, message = SENTENCES[name]
    with pytest.raises(error, match=message):
        run()


WRONG_TYPES = """
import torch, seqxai
from seqxai.targets import EveryStep, State
from torch import nn
lstm, x = nn.LSTM(3, 4, batch_first=True), torch.randn(3, 5, 3)
packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([5, 2, 1]), True)
for given, target in ((x, EveryStep(1, steps=3)), (x, State("0", 1, step=1.5)), (packed, 0)):
    try:
        seqxai.LRP(nn.Sequential(lstm)).attribute(given, target=target)
    except seqxai.SeqxaiError as error:
        print(error)
"""


def test_wrong_types_get_sentences_where_nobody_checks_them() -> None:
    """In a process of its own: the type checker of the tests would speak first."""
    said = subprocess.run([sys.executable, "-c", WRONG_TYPES], capture_output=True, text=True, check=True).stdout.splitlines()
    expected = ("takes a list of steps, got 3", "whole number, got 1.5", "got a PackedSequence; give the padded")
    for line, words in zip(said, expected, strict=True):
        assert words in line
