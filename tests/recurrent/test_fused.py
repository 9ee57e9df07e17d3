"""Fused kernels: the published numbers, slow twins, and the same layers step by step; every option, layout and product rule."""

import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import seqxai
from seqxai import rules
from seqxai.composites import Composite, path
from seqxai.lrp import propagate
from seqxai.rules.structure import Structure
from seqxai.targets import ensure
from tests import recurrent_twins as twins
from tests.contracts import assert_close, assert_closed, check_explanation, random, seeded
from tests.recurrent.models import FEATURES, LAYERS, LENGTHS, UNITS, Cells, Last, Reader, X, kernel, reader

PRODUCTS: dict[str, Any] = {
    "signal-takes-all": rules.SignalTakesAll(), "half": rules.Half(), "proportional": rules.Proportional(),
    "absolute": rules.Absolute(), "proportional, no stabilizer": rules.Proportional(0.0),
}  # fmt: skip


def everywhere(rule: rules.base.Rule) -> Composite:
    return Composite([("layer", rule), ("sum", rule)])


# ---- numbers from outside -----------------------------------------------------------------------------------------------

REFERENCE = Path(__file__).parents[1] / "references" / "bilstm_lrp.npz"


class Published(nn.Module):
    """The bidirectional LSTM of the reference file in torch's gate order; one linear layer on both final states."""

    def __init__(self, arrays: Any) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 6, bidirectional=True, batch_first=True).double()
        with torch.no_grad():
            for side, suffix in (("Left", ""), ("Right", "_reverse")):
                for theirs, ours in (("Wxh", "weight_ih"), ("Whh", "weight_hh"), ("bxh", "bias_ih"), ("bhh", "bias_hh")):
                    i, g, f, o = torch.as_tensor(arrays[f"weights/{theirs}_{side}"]).chunk(4)
                    getattr(self.lstm, f"{ours}_l0{suffix}").copy_(torch.cat([i, f, g, o]))
        self.read_out = torch.cat([torch.as_tensor(arrays[f"weights/Why_{side}"]) for side in ("Left", "Right")], 1)

    def forward(self, x: Tensor) -> Tensor:
        _, (h, _) = self.lstm(x)
        return F.linear(torch.cat([h[0], h[1]], 1), self.read_out)


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("epsilon", ["0.001", "0.1"])
def test_the_published_numbers_of_a_bidirectional_lstm(epsilon: str, unroll: bool) -> None:
    arrays = np.load(REFERENCE)
    model, composite = Published(arrays), seqxai.composites.Epsilon(float(epsilon))
    for case in range(4):
        x = torch.as_tensor(arrays[f"case{case}/x"])[None]
        expected = torch.as_tensor(arrays[f"case{case}/R_eps{epsilon}"])
        trace = seqxai.capture(model, x, unroll=unroll)
        assert_close(trace.output, torch.as_tensor(arrays[f"case{case}/scores"])[None], 1e-12)
        for target in range(5):
            found = propagate(trace, composite, ensure(target).seed(trace, trace.outputs[0])).relevance[0]
            assert_close(found, expected[target][None], 1e-10, f"case {case}, class {target}")


def fused_twin(kind: str) -> nn.Module:
    layer, rows = (nn.LSTM, 4) if kind == "lstm" else (nn.GRU, 3)
    found = Last(layer(twins.FEATURES, twins.UNITS, batch_first=True).double())
    with torch.no_grad():
        found.kernel.weight_ih_l0.copy_(twins.W[: rows * twins.UNITS])
        found.kernel.weight_hh_l0.copy_(twins.U[: rows * twins.UNITS])
        found.kernel.bias_ih_l0.copy_(twins.B[: rows * twins.UNITS])
        found.kernel.bias_hh_l0.copy_(twins.BH[: rows * twins.UNITS] if kind == "gru" else torch.zeros(rows * twins.UNITS))
    read = nn.Linear(twins.UNITS, 2).double()
    with torch.no_grad():
        read.weight.copy_(twins.READOUT)
        read.bias.copy_(twins.READOUT_BIAS)
    return nn.Sequential(found, read)


STEPS = random(2, 5, twins.FEATURES, seed=78)


@pytest.mark.parametrize("epsilon", [0.0, 1e-2, 0.2])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_kernel_equals_its_slow_twin(kind: str, epsilon: float) -> None:
    found = check_explanation(fused_twin(kind), STEPS, everywhere(rules.Epsilon(epsilon)), target=1)
    each = [twins.lstm_twin(x, 1, epsilon, False) if kind == "lstm" else twins.gru_twin(x, 1, epsilon) for x in STEPS.numpy()]
    assert_close(found, torch.as_tensor(np.stack(each)), 1e-12)


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_every_spelling_of_a_cell_equals_the_kernel_under_every_product_rule(kind: str, product: str) -> None:
    composite = everywhere(rules.Epsilon(1e-2))
    expected = seqxai.LRP(fused_twin(kind), composite, product=PRODUCTS[product]).attribute(STEPS, target=1).relevance
    for name, cell in (twins.LSTMS if kind == "lstm" else twins.GRUS).items():
        found = seqxai.LRP(cell, composite, product=PRODUCTS[product], ledger=True).attribute(STEPS, target=1)
        assert_close(found.relevance, expected, 1e-12, name)
        assert found.ledger.closed(), name


def test_a_gru_sends_z_times_h_to_the_past_and_not_z_times_n() -> None:
    """One unit, no weights from the state: R_h(t-1) = z h(t-1) / h(t) R, in closed form."""
    model = Last(seeded(lambda: nn.GRU(1, 1, batch_first=True), 3))
    with torch.no_grad():
        model.kernel.weight_hh_l0.zero_()
        model.kernel.bias_hh_l0.zero_()
        model.kernel.bias_ih_l0.zero_()
    x = torch.tensor([[[0.7], [-0.4]]], dtype=torch.float64)
    _, z, n = (F.linear(x[0], w) for w in model.kernel.weight_ih_l0.chunk(3))
    z, n = torch.sigmoid(z), torch.tanh(n)
    first = (1 - z[0]) * n[0]
    expected = torch.stack([z[1] * first, (1 - z[1]) * n[1]])
    found = seqxai.LRP(model, "lrp-0").attribute(x, target=0)
    assert_close(found.relevance, expected[None], 1e-12)


# ---- every option and layout, against the same layers step by step ---------------------------------------------------------


def both_ways(model: nn.Module, x: Tensor, product: Any, epsilon: float) -> list[Any]:
    composite = Composite([("layer", rules.Epsilon(epsilon)), ("sum", rules.Epsilon(epsilon / 3))])
    found = []
    for unroll in (False, True):
        torch.manual_seed(5)
        trace = seqxai.capture(model, x, unroll=unroll)
        assert any(n.operation.kind == "recurrent" for n in trace.nodes) != unroll
        seed = ensure(1).seed(trace, trace.outputs[0])
        walk = propagate(trace, composite, seed, structure=Structure(trace, product=product), booking=True)
        assert walk.ledger is not None
        assert walk.ledger.closed()
        found.append(walk)
    return found


# Every product rule in two layouts, one rule in each of the others.
LAYOUTS = [
    *itertools.product(("batch first", "packed, given states"), PRODUCTS),
    *zip(("time first", "packed", "packed, time first", "given states"), PRODUCTS, strict=False),
]


@pytest.mark.parametrize(("layout", "product"), LAYOUTS)
@pytest.mark.parametrize("name", LAYERS)
def test_a_kernel_equals_its_steps(name: str, layout: str, product: str) -> None:
    options = {"batch_first": "time first" not in layout, "packed": "packed" in layout, "initial": "given" in layout}
    fused, steps = both_ways(reader(name, **options), X, PRODUCTS[product], 1e-2)
    assert_close(fused.relevance[0], steps.relevance[0], 1e-12)
    ours, theirs = fused.ledger.total(), steps.ledger.total()
    # Written by hand, W h0 + b is one constant: what the kernel books as initial state and bias, the steps book as constants.
    rest = ["initial_state", "bias", "constant"]
    if name.startswith("gru") and product != "signal-takes-all":
        rest.append("stabilizer")  # the kernel divides U h0 + b', which a gate multiplies, by itself; a constant is not divided
    for entry in ("input", "stabilizer") if "stabilizer" not in rest else ("input",):
        assert_close(ours[entry][:, None], theirs[entry][:, None], 1e-9, entry)
    assert_close(sum(ours[e][:, None] for e in rest), sum(theirs[e][:, None] for e in rest), 1e-9)
    assert bool((ours["initial_state"] != 0).any()) == ("given" in layout)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_what_holds_for_every_explanation_holds_for_kernels(name: str, packed: bool) -> None:
    check_explanation(reader(name, packed=packed), X[:1] if packed else X, "epsilon", target=1)


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
def test_a_sequence_alone_has_the_relevance_it_has_in_a_packed_batch(name: str) -> None:
    model = reader(name, packed=True)
    whole = seqxai.LRP(model, "lrp-0", ledger=True).attribute(X, target=1)
    assert whole.ledger.closed()
    for sample, length in enumerate(LENGTHS):
        single = reader(name)
        alone = seqxai.LRP(single, "lrp-0").attribute(X[sample : sample + 1, :length], target=1).relevance
        # The read-out's bias counts once a step of the padded batch, so its padded steps change the score, not the relevance.
        assert_close(whole.relevance[sample : sample + 1, :length], alone, 1e-9, f"sample {sample}")
        assert not whole.relevance[sample, length:].any()


def test_dropout_between_layers_is_replayed_in_training_mode() -> None:
    model = seeded(lambda: Reader(nn.LSTM, num_layers=3, dropout=0.5), 206).train()
    fused, steps = both_ways(model, X, "half", 1e-2)
    assert_close(fused.relevance[0], steps.relevance[0], 1e-12)
    torch.manual_seed(5)
    expected = model(X)
    torch.manual_seed(5)
    assert torch.equal(seqxai.LRP(model).attribute(X, target=0).output, expected)
    torch.manual_seed(6)
    assert not torch.equal(model(X), expected)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("product", PRODUCTS)
def test_a_cell_called_step_by_step_equals_the_kernel(kind: type[nn.RNNBase], product: str) -> None:
    whole = Last(kernel(lambda: kind(FEATURES, UNITS, batch_first=True)))
    composite = everywhere(rules.Epsilon(1e-2))
    expected = seqxai.LRP(whole, composite, product=PRODUCTS[product], ledger=True).attribute(X, target=2)
    found = seqxai.LRP(Cells(whole.kernel), composite, product=PRODUCTS[product], ledger=True).attribute(X, target=2)
    assert_close(found.relevance, expected.relevance, 1e-12)
    assert_closed(found, 20)
    check_explanation(Cells(whole.kernel), X, composite, target=2, product=PRODUCTS[product])


def test_an_unbatched_sequence() -> None:
    model = Reader(nn.LSTM, bidirectional=True).double()
    batched = seqxai.LRP(lambda x: model.layer(x)[0][:, -1]).attribute(X[:1], target=3).relevance
    alone = seqxai.LRP(lambda x: model.layer(x)[0][-1]).attribute(X[0], target=3)
    assert_close(alone.relevance[None], batched, 1e-12)
    assert alone.ledger.closed()


class Decoder(nn.Module):
    """Relevance reaches an encoder through the initial state of a decoder that reads constants."""

    def __init__(self, layer: type[nn.RNNBase]) -> None:
        super().__init__()
        self.encoder, self.decoder = layer(FEATURES, UNITS, batch_first=True), layer(2, UNITS, batch_first=True)
        self.start = nn.Parameter(random(1, 3, 2, seed=207))

    def forward(self, x: Tensor) -> Tensor:
        _, state = self.encoder(x)
        out: Tensor = self.decoder(self.start.expand(len(x), 3, 2), state)[0]
        return out[:, -1]


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("product", ["signal-takes-all", "absolute"])
def test_relevance_reaches_the_past_through_an_initial_state(layer: type[nn.RNNBase], product: str) -> None:
    model = seeded(lambda: Decoder(layer), 208)
    fused, steps = both_ways(model, X, PRODUCTS[product], 1e-2)
    assert_close(fused.relevance[0], steps.relevance[0], 1e-12)
    assert float(fused.relevance[0].abs().min()) > 0
    check_explanation(model, X, "epsilon", target=1, product=PRODUCTS[product])


# ---- rules that look at single steps, rules by path ------------------------------------------------------------------------


STEPWISE = {
    "alpha2-beta1": rules.AlphaBeta(2.0, 1.0), "gamma": rules.Gamma(0.25), "z-plus": rules.ZPlus(), "w-square": rules.WSquare(),
    "relative": rules.Epsilon(rules.Stabilizer(0.1, "relative")), "no bias": rules.Epsilon(0.01, bias="ignore"),
}  # fmt: skip


@pytest.mark.parametrize("rule", STEPWISE)
def test_rules_that_look_at_single_steps_see_them(rule: str) -> None:
    """They get the layer step by step, as if it were written by hand."""
    composite = Composite([("layer", STEPWISE[rule]), ("sum", rules.Epsilon(1e-2))])
    written = seqxai.LRP(twins.LSTMS["fused gates"], composite).attribute(STEPS, target=1)
    found = seqxai.LRP(fused_twin("lstm"), composite, ledger=True).attribute(STEPS, target=1)
    assert_close(found.relevance, written.relevance, 1e-12)
    assert found.ledger.closed()


def test_a_composite_gives_layers_their_product_rules_by_path() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.LSTM(FEATURES, UNITS, batch_first=True), nn.LSTM(UNITS, UNITS, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.second(self.first(x)[0])[0]
            return out[:, -1]

    model = seeded(Two, 209)
    plain = [("layer", rules.Epsilon(1e-2)), ("sum", rules.Epsilon(1e-2))]

    def explain(*pairs: Any, product: str = "signal-takes-all") -> Tensor:
        found = seqxai.LRP(model, Composite([*pairs, *plain]), product=product, ledger=True).attribute(X, target=0)
        assert found.ledger.closed()
        relevance: Tensor = found.relevance
        return relevance

    mixed = explain((path("first"), rules.Half()))
    assert_close(mixed, explain((path("second"), rules.SignalTakesAll()), product="half"), 1e-13)
    assert_close(explain(("product", rules.Half())), explain(product="half"), 1e-13)
    assert_close(explain(("recurrent", rules.Half())), explain(product="half"), 1e-13)
    for other in (explain(), explain(product="half")):
        assert float((mixed - other).abs().max()) > 1e-3


def test_layers_and_sums_of_a_kernel_have_their_own_stabilizers() -> None:
    model, cell = fused_twin("lstm"), twins.LSTMS["fused gates"]
    results = []
    for layer, total in itertools.product((1e-2, 0.3), repeat=2):
        composite = Composite([("layer", rules.Epsilon(layer)), ("sum", rules.Epsilon(total))])
        results.append(seqxai.LRP(model, composite).attribute(STEPS, target=1).relevance)
        assert_close(results[-1], seqxai.LRP(cell, composite).attribute(STEPS, target=1).relevance, 1e-12)
    assert all(float((a - b).abs().max()) > 1e-4 for a, b in itertools.combinations(results, 2))


# ---- size and speed ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bidirectional", [False, True])
def test_one_short_row_takes_another_way_and_gets_the_same(bidirectional: bool) -> None:
    """Single sequences go through matrices of whole steps, large batches through a loop that kept its gates; 150 steps are three chunks."""
    model = Last(kernel(lambda: nn.LSTM(FEATURES, 40, batch_first=True, bidirectional=bidirectional)))
    x = random(30, 150, FEATURES, seed=210)
    explain = seqxai.LRP(lambda t: model.kernel(t)[0][:, [3, -1]].sum(1), everywhere(rules.Epsilon(1e-2)))
    whole = explain.attribute(x, target=5)
    assert len(seqxai.capture(model, x).kept) == 1
    assert len(seqxai.capture(model, x[:1]).kept) == 0
    few = explain.attribute(x[:4], target=5)
    assert_close(few.relevance, whole.relevance[:4], 1e-12)
    for sample in (0, 29):
        assert_close(explain.attribute(x[sample : sample + 1], target=5).relevance, whole.relevance[sample : sample + 1], 1e-12)
    assert_close(whole.output, model.kernel(x)[0][:, [3, -1]].sum(1), 1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_loop_that_keeps_its_gates_returns_what_the_kernel_returns(dtype: torch.dtype) -> None:
    layer = nn.LSTM(5, 64, num_layers=2, bidirectional=True, batch_first=True).to(dtype)
    x = random(40, 7, 5, seed=211).to(dtype)
    trace = seqxai.capture(lambda t: layer(t)[0], x)
    assert len(trace.kept) == 2
    output, (h, c) = layer(x)
    ours = seqxai.capture(lambda t: torch.cat([layer(t)[1][0], layer(t)[1][1]]), x).output
    tolerance = 1e-6 if dtype == torch.float32 else 1e-14
    assert_close(trace.output, output, tolerance)
    assert_close(ours, torch.cat([h, c]), tolerance)


@pytest.mark.parametrize("product", ["signal-takes-all", "absolute"])
@pytest.mark.parametrize("name", ["lstm", "lstm, 3 layers, both directions", "lstm, no bias, both directions", "decoder"])
def test_kept_gates_are_those_of_the_steps(name: str, product: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small layers usually compute their gates again; here they keep them, with given and with active initial states."""
    monkeypatch.setattr("seqxai.trace.lstm.SMALL", 0)
    model = seeded(lambda: Decoder(nn.LSTM), 208) if name == "decoder" else reader(name, batch_first=False, initial=True)
    assert len(seqxai.capture(model, X).kept) == (2 if name == "decoder" else model.layer.num_layers)
    fused, steps = both_ways(model, X, PRODUCTS[product], 1e-2)
    assert_close(fused.relevance[0], steps.relevance[0], 1e-11)


def test_ten_thousand_steps_take_seconds_and_memory_in_proportion() -> None:
    model = Last(nn.LSTM(64, 64, batch_first=True))
    start = time.perf_counter()
    found = seqxai.LRP(model, ledger=True).attribute(torch.randn(1, 10_000, 64), target=0)
    assert found.ledger.closed()
    assert time.perf_counter() - start < 20


def test_two_thousand_steps_written_by_hand_take_seconds() -> None:
    cell = nn.LSTMCell(64, 64)

    def model(x: Tensor) -> Tensor:
        h = c = x.new_zeros(len(x), 64)
        for step in x.unbind(1):
            i, f, g, o = (F.linear(step, cell.weight_ih, cell.bias_ih) + F.linear(h, cell.weight_hh, cell.bias_hh)).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return h

    start = time.perf_counter()
    seqxai.LRP(model).attribute(torch.randn(1, 2_000, 64), target=0)
    assert time.perf_counter() - start < 30


def test_explaining_leaves_no_trace_on_the_layer() -> None:
    model = reader("lstm, 3 layers, both directions").train()
    before = {name: p.clone() for name, p in model.named_parameters()}
    state, hooks = torch.get_rng_state(), len(model.layer._forward_hooks)
    first = seqxai.LRP(model).attribute(X, target=0).relevance
    assert torch.equal(first, seqxai.LRP(model).attribute(X, target=0).relevance)
    assert torch.equal(state, torch.get_rng_state())
    assert hooks == len(model.layer._forward_hooks) == 0
    assert model.training
    assert all(torch.equal(p, before[name]) and p.grad is None for name, p in model.named_parameters())


@pytest.mark.gpu
@pytest.mark.parametrize("name", LAYERS)
def test_a_gpu_gives_the_same_in_eval_and_in_training_mode(name: str) -> None:
    model = reader(name)
    expected = seqxai.LRP(model).attribute(X, target=1).relevance
    for training in (False, True):
        model = reader(name).cuda().train(training)
        found = seqxai.LRP(model, ledger=True).attribute(X.cuda(), target=1)
        assert_close(found.relevance.cpu(), expected, 1e-9)
        assert found.ledger.closed()


@pytest.mark.gpu
def test_dropout_between_layers_is_refused_on_a_gpu() -> None:
    model = seeded(lambda: Reader(nn.LSTM, num_layers=2, dropout=0.5), 206).cuda().train()
    with pytest.raises(seqxai.UnsupportedOperation, match=r"mask is not known; call model.eval\(\)"):
        seqxai.LRP(model).attribute(X.cuda(), target=1)
