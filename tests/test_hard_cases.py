"""Cases that once went wrong: each was a wrong number, a silent hole or a quadratic run time."""

import gc
import subprocess
import sys
import time
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import seqxai
from tests.contracts import assert_close, check_explanation, random, seeded
from tests.references import gradient_times_input


def test_relevance_is_the_same_under_inference_mode() -> None:
    model = seeded(lambda: nn.Sequential(nn.Conv1d(2, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool1d(2), nn.Flatten(), nn.Linear(6, 2)))
    x = random(2, 2, 7)
    expected = seqxai.LRP(model, "lrp-0").attribute(x, 1).relevance
    with torch.inference_mode():
        found = seqxai.LRP(model, "lrp-0").attribute(x.clone(), 1)
        assert found.ledger.closed()
    assert torch.equal(found.relevance, expected)


def test_a_forward_under_inference_mode_is_explained() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.head = nn.LayerNorm(4), nn.Linear(4, 2)

        @torch.inference_mode()
        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.stack([self.norm(x), x.relu()], 1).mean(1))

    check_explanation(seeded(Model), random(3, 4), "epsilon", target=1)


def test_a_batch_permuted_and_put_back_keeps_its_ledger() -> None:
    order = torch.tensor([2, 0, 3, 1])
    weight = random(3, 6, seed=1)

    def model(x: Tensor) -> Tensor:
        return F.linear(F.linear(x[order], torch.eye(6, dtype=x.dtype)).relu()[torch.argsort(order)], weight)

    attribution = seqxai.LRP(model).attribute(random(4, 6), 1)
    assert attribution.ledger.closed()
    assert torch.allclose(attribution.ledger.total()["input"], attribution.sum(), rtol=1e-12)


@pytest.mark.parametrize("composite", ["epsilon", "lrp-0"])
def test_self_attention_has_a_ledger_for_every_sample(composite: str) -> None:
    layer = seeded(lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True))
    attribution = seqxai.LRP(lambda x: layer(x).mean(1), composite, ledger=True).attribute(random(3, 5, 8), 1)
    assert attribution.ledger.closed()
    assert float(attribution.relevance.abs().max()) > 1e-3


def test_shifted_token_ids_stay_linked() -> None:
    table, weight = random(20, 4), random(2, 4, seed=1)
    ids = torch.randint(0, 9, (2, 5), generator=torch.Generator().manual_seed(0))

    def model(ids: Tensor) -> Tensor:
        return F.linear(F.embedding(ids, table) + F.embedding(ids + 5, table), weight).mean(1)

    attribution = seqxai.LRP(model, "lrp-0").attribute(ids, 1)
    expected = ((F.embedding(ids, table) + F.embedding(ids + 5, table)) @ weight[1]) / 5
    assert_close(attribution.relevance, expected, 1e-12)


@pytest.mark.parametrize("operation", [lambda i: F.one_hot(i, 9), lambda i: i % 7])
def test_integer_arithmetic_without_a_rule_is_refused_by_name(operation: object) -> None:
    table = random(20, 4)

    def model(ids: Tensor) -> Tensor:
        return F.embedding(ids, table).sum((1, 2))[:, None] + operation(ids).double().flatten(1)[:, :1]  # type: ignore[operator]

    with pytest.raises(seqxai.UnsupportedOperation, match="on integers"):
        seqxai.LRP(model).attribute(torch.randint(0, 9, (2, 5)), 0)


def test_complex_results_are_refused_by_name() -> None:
    with pytest.raises(seqxai.UnsupportedOperation, match="fft"):
        seqxai.LRP(lambda x: x + torch.fft.fft(x).real).attribute(random(2, 4), 0)


def test_nan_weights_behind_a_mask_are_named() -> None:
    layer = nn.Linear(4, 4)
    layer.weight.data[0, 0] = float("nan")
    model = nn.Sequential(layer, nn.Linear(4, 2))
    with pytest.raises(seqxai.errors.InputError, match=r"finite weights.*linear"):
        seqxai.LRP(lambda x: model[1](torch.nan_to_num(model[0](x)))).attribute(torch.randn(2, 4), 0)


@pytest.mark.parametrize("turn", [lambda y: y.t(), lambda y: torch.cat([y, y])])
def test_an_output_without_the_batch_in_front_is_refused(turn: object) -> None:
    weight = random(3, 5)
    with pytest.raises(seqxai.errors.TargetError, match="first dimension is the batch"):
        seqxai.LRP(lambda x: turn(F.linear(x, weight))).attribute(random(4, 5), 0)  # type: ignore[operator]


def test_a_rounded_quotient_is_refused() -> None:
    with pytest.raises(seqxai.UnsupportedOperation, match="rounding_mode"):
        seqxai.LRP(lambda x: torch.div(x * 3, 0.5, rounding_mode="floor")).attribute(random(2, 4), 0)


def test_a_ledger_after_the_weights_changed_is_refused() -> None:
    model = nn.Linear(4, 2)
    attribution = seqxai.LRP(model).attribute(torch.randn(2, 4), 0)
    with torch.no_grad():
        model.weight.mul_(2)
    with pytest.raises(seqxai.errors.InputError, match="weights changed"):
        _ = attribution.ledger


def test_a_buffer_the_model_assigns_is_put_back() -> None:
    class Stateful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("state", torch.zeros(4))

        def forward(self, x: Tensor) -> Tensor:
            self.state = self.state + x.mean(0)
            return x * 2 + self.state

    model, x = Stateful(), torch.randn(2, 4)
    first = seqxai.LRP(model).attribute(x, 0).relevance
    assert torch.equal(model.state, torch.zeros(4))
    assert torch.equal(seqxai.LRP(model).attribute(x, 0).relevance, first)


def test_a_mask_from_the_input_does_not_fail_verification_and_a_hidden_number_does() -> None:
    weight = random(3, 6)
    x = random(50, 6, seed=2)
    seqxai.capture(lambda t: F.linear(torch.where(t > 0, t, 0.1 * t), weight), x).verify()
    with pytest.warns(UserWarning, match="item"), pytest.raises(seqxai.errors.CaptureError, match="not recorded"):
        seqxai.capture(lambda t: F.linear(t, weight) * t.max().item(), x).verify()


@pytest.mark.parametrize("join", ["stack", "unbind", "buffer"])
def test_many_steps_cost_what_they_are_many(join: str) -> None:
    """Four times the steps: linear is 4, quadratic 16; the bound leaves room for a busy machine."""
    weight = random(3, 4)

    def model(x: Tensor) -> Tensor:
        if join == "unbind":
            return F.linear(sum(x.unbind(1)), weight)  # type: ignore[arg-type]
        steps = [x[:, t].relu() for t in range(x.shape[1])]
        if join == "stack":
            return F.linear(torch.stack(steps, 1).mean(1), weight)
        buffer = torch.zeros_like(x)
        for t, step in enumerate(steps):
            buffer[:, t] = step
        return F.linear(buffer.sum(1), weight)

    def seconds(steps: int) -> float:
        x = random(1, steps, 4)
        best = float("inf")
        for _ in range(3):
            start = time.perf_counter()
            seqxai.LRP(model).attribute(x, 1)
            best = min(best, time.perf_counter() - start)
        return best

    assert seconds(2000) < 9 * seconds(500)


def test_dropping_an_attribution_frees_its_run() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    gc.disable()
    try:
        attribution = seqxai.LRP(model).attribute(torch.randn(2, 4), 0)
        held = weakref.ref(attribution._walk.__self__.trace)  # type: ignore[union-attr]
        part = attribution[0]
        del attribution
        assert held() is None
        assert len(part) == 1
    finally:
        gc.enable()


def test_relevance_of_a_relative_stabilizer_on_a_black_frame_is_zero() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 2, bias=False), nn.Flatten(), nn.Linear(18, 2, bias=True)).double()
    rule = seqxai.rules.Epsilon(seqxai.rules.Stabilizer(0.25, "relative"))
    attribution = seqxai.LRP(model, seqxai.composites.Uniform(rule)).attribute(torch.zeros(2, 1, 4, 4).double(), 0)
    assert float(attribution.relevance.abs().max()) == 0.0
    assert attribution.ledger.closed()


def test_gradient_times_input_holds_for_a_running_sum() -> None:
    weight = random(4, 4)

    def model(x: Tensor) -> Tensor:
        total = torch.zeros(x.shape[0], 4, dtype=x.dtype)
        for t in range(x.shape[1]):
            total = total + F.linear(x[:, t], weight).relu()
        return total

    x = random(2, 6, 4)
    found = check_explanation(model, x, "lrp-0", target=1)
    assert_close(found, gradient_times_input(lambda t: model(t)[:, 1], x), 1e-12)


def test_the_compiler_is_imported_only_by_who_compiles() -> None:
    """Importing it takes seconds; a model that compiles on its first call is explained as the Python it came from."""
    program = """
import sys, torch, seqxai
class Model(torch.nn.Module):
    def __init__(self, compiles):
        super().__init__()
        self.layer, self.compiles = torch.nn.Linear(3, 4), compiles
    def forward(self, x):
        run = torch.compile(torch.relu, backend="eager") if self.compiles else torch.relu
        return run(self.layer(x))
torch.manual_seed(0)
plain, x = Model(False), torch.ones(2, 3)
expected = seqxai.LRP(plain).attribute(x, target=1).relevance
assert "torch._dynamo" not in sys.modules
plain.compiles = True
assert torch.equal(seqxai.LRP(plain).attribute(x, target=1).relevance, expected)
assert "torch._dynamo" in sys.modules
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-800:]
