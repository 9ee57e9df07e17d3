"""Cost as a contract, free of timing noise: convolutions and matrix products, counted and compared with a gradient."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

import seqxai
from seqxai import rules
from seqxai.composites import Composite
from seqxai.lrp import propagate
from seqxai.targets import ensure
from tests.contracts import random, seeded

aten = torch.ops.aten
PRODUCTS = {aten.convolution, aten.convolution_backward, aten.mm, aten.addmm, aten.bmm, aten.baddbmm}


class Count(TorchDispatchMode):
    """Counts convolutions and matrix products, their multiplications, and tensors built in the shape of a weight."""

    def __init__(self, weights: set[tuple[int, ...]] | None = None) -> None:
        super().__init__()
        self.calls, self.multiplications, self.built = 0, 0, 0
        self.weights = weights or set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        if packet in PRODUCTS:
            self.calls += 1
            self.multiplications += flop_registry[packet](*args, **(kwargs or {}), out_val=out)
        elif isinstance(out, Tensor) and tuple(out.shape) in self.weights and not func.is_view:
            self.built += 1
        return out


def nature(bias: bool = True) -> nn.Sequential:
    """The Nature network on 84 × 84 with fewer channels; the input is in [0, 1] because of the clamp."""
    layers = nn.Sequential(
        nn.Conv2d(4, 16, 8, stride=4, bias=bias), nn.ReLU(), nn.Conv2d(16, 32, 4, stride=2, bias=bias), nn.ReLU(),
        nn.Conv2d(32, 32, 3, bias=bias), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 49, 64, bias=bias), nn.ReLU(),
        nn.Linear(64, 5, bias=bias),
    )  # fmt: skip
    return seeded(lambda: layers, 1).float()


class Network(nn.Module):
    """Nature on bytes, as agents read them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nature()

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.float() / 255)


LAYERS = 5
OBSERVATIONS = torch.randint(0, 256, (2, 4, 84, 84), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)


def gradient_cost(model: Network) -> Count:
    """One forward pass and one backward pass to the input, parameters without gradient."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with Count() as count:
        x = (OBSERVATIONS.float() / 255).requires_grad_(True)
        torch.autograd.grad(model.layers(x)[:, 0].sum(), x)
    assert count.calls == 2 * LAYERS
    return count


def uniform(rule: Any) -> Composite:
    return Composite([("layer", rule), ("sum", rules.Epsilon())])


COMPOSITES: dict[str, tuple[Callable[[], Any], float]] = {
    "lrp-0": (lambda: "lrp-0", 2.0 * LAYERS),
    "epsilon": (lambda: "epsilon", 2.0 * LAYERS),
    "w-square first": (lambda: _first(rules.WSquare()), 2.0 * LAYERS),
    "flat first": (lambda: _first(rules.Flat()), 2.0 * LAYERS),
    "w-square everywhere": (lambda: uniform(rules.WSquare()), 2.0 * LAYERS),
    "flat everywhere": (lambda: uniform(rules.Flat()), 2.0 * LAYERS),
    "z-plus": (lambda: uniform(rules.ZPlus()), 3.0 * LAYERS),
    "gamma": (lambda: Composite([("last", rules.Epsilon()), ("layer", rules.Gamma())]), 3.0 * LAYERS - 1),
    "z-box first": (lambda: _first(rules.ZBox()), 2.0 * LAYERS + 1),
    "z-box first, by channel": (
        lambda: _first(rules.ZBox(low=torch.zeros(4, 1, 1), high=torch.full((4, 1, 1), 255.0))),
        2.0 * LAYERS + 1,
    ),
    "epsilon-gamma-box": (lambda: "epsilon-gamma-box", 3.0 * 3 + 2.0 * 2),
    "epsilon-plus": (lambda: "epsilon-plus", 3.0 * 3 + 2.0 * 2),
    "alpha-beta": (lambda: uniform(rules.AlphaBeta(2.0, 1.0)), 4.0 * LAYERS),
}


def _first(rule: Any) -> Composite:
    return Composite([("first", rule), ("layer", rules.Epsilon()), ("sum", rules.Epsilon())])


@pytest.mark.parametrize("name", COMPOSITES)
def test_a_rule_costs_what_it_promises(name: str) -> None:
    model = Network().eval()
    baseline = gradient_cost(model)
    build, allowed = COMPOSITES[name]
    explain = seqxai.LRP(model, composite=build())
    explain.attribute(OBSERVATIONS, target=0)  # modified weights are built once, at the first call
    with Count({tuple(p.shape) for p in model.parameters() if p.dim() > 1}) as count:
        explain.attribute(OBSERVATIONS, target=0)
    assert count.calls <= allowed, f"{count.calls} products, a gradient needs {baseline.calls}"
    ratio = count.multiplications / baseline.multiplications
    assert ratio <= 1.25 * allowed / baseline.calls, f"{ratio:.3f} × the multiplications of a gradient"
    assert count.built == 0, "modified weights were built again"


@pytest.mark.parametrize("name", ["lrp-0", "epsilon"])
def test_the_ledger_in_the_same_pass_needs_no_further_product(name: str) -> None:
    model = Network().eval()
    explain = seqxai.LRP(model, composite=name, ledger=True)
    explain.attribute(OBSERVATIONS, target=0)
    with Count() as count:
        explain.attribute(OBSERVATIONS, target=0).ledger.total()
    assert count.calls <= 2 * LAYERS


# ---- the cache of modified weights ---------------------------------------------------------------------------------


def small() -> nn.Sequential:
    return seeded(lambda: nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)), 3)


CHANGES: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "data.copy_": lambda w, other: w.data.copy_(other),
    "data.mul_": lambda w, other: w.data.mul_(-1.0),
    "copy_ under no_grad": lambda w, other: w.copy_(other),
    "data assigned": lambda w, other: setattr(w, "data", other.clone()),
    "one element": lambda w, other: w.data.view(-1)[0].add_(0.5),
    "two elements of one row exchanged": lambda w, other: w.data.copy_(_exchange(w, 1)),
    "rows exchanged": lambda w, other: w.data.copy_(w.flip(0)),
    "columns reversed": lambda w, other: w.data.copy_(w.flip(1)),
    "sign of two elements": lambda w, other: w.data.view(-1)[:2].neg_(),
}


def _exchange(weight: Tensor, distance: int) -> Tensor:
    flat = weight.clone().view(-1)
    flat[0], flat[distance] = flat[distance].clone(), flat[0].clone()
    return flat.view(weight.shape)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    "rule", [rules.ZPlus(), rules.Gamma(), rules.WSquare(), rules.AlphaBeta()], ids=lambda r: type(r).__name__
)
def test_a_changed_weight_is_noticed(rule: Any, change: str) -> None:
    model, x = small(), random(2, 2, 6, seed=4)
    explain = seqxai.LRP(model, composite=uniform(rule))
    before = explain.attribute(x, target=1).relevance
    with torch.no_grad():
        for number in (0, 3):
            weight = model[number].weight
            CHANGES[change](weight, random(*weight.shape, seed=5))
    after = explain.attribute(x, target=1).relevance
    fresh = seqxai.LRP(model, composite=uniform(rule)).attribute(x, target=1).relevance
    assert torch.equal(after, fresh)
    assert not torch.allclose(before, after)


def test_a_weight_that_comes_back_gives_the_first_explanation() -> None:
    model, x = small(), random(2, 2, 6, seed=4)
    explain = seqxai.LRP(model, composite=uniform(rules.ZPlus()))
    first = explain.attribute(x, target=1).relevance
    kept = model[3].weight.detach().clone()
    model[3].weight.data.neg_()
    explain.attribute(x, target=1)
    model[3].weight.data.copy_(kept)
    assert torch.equal(explain.attribute(x, target=1).relevance, first)


def test_two_layers_that_share_a_weight_and_views_of_it_are_told_apart() -> None:
    """The cache must not answer with the weight of another layer: tied, transposed and sliced weights."""
    weight = nn.Parameter(random(4, 4, seed=6))

    def model(x: Tensor) -> Tensor:
        h = torch.relu(nn.functional.linear(x, weight))
        h = torch.relu(nn.functional.linear(h, weight.T))
        return nn.functional.linear(h, weight[:2]) + nn.functional.linear(h, weight[2:])

    x, rule = random(2, 4, seed=7), rules.ZPlus()
    explain = seqxai.LRP(model, composite=uniform(rule))
    first = explain.attribute(x, target=0).relevance
    copies = [weight.detach().clone() for _ in range(4)]

    def untied(x: Tensor) -> Tensor:
        h = torch.relu(nn.functional.linear(x, copies[0]))
        h = torch.relu(nn.functional.linear(h, copies[1].T.contiguous()))
        return nn.functional.linear(h, copies[2][:2].clone()) + nn.functional.linear(h, copies[3][2:].clone())

    expected = seqxai.LRP(untied, composite=uniform(rule)).attribute(x, target=0).relevance
    assert torch.allclose(first, expected, rtol=0, atol=1e-13)
    assert torch.equal(explain.attribute(x, target=0).relevance, first)


# ---- slices --------------------------------------------------------------------------------------------------------


def _numbers_written(steps: int) -> int:
    """Elements of all tensors that explaining ``x[:, t]`` for every t produces."""

    class Elements(TorchDispatchMode):
        total = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            if isinstance(out, Tensor) and not func.is_view and not func.__name__.split(".")[0].endswith("_"):
                self.total += out.numel()
            return out

    x = random(1, steps, 3, seed=8)
    with Elements() as elements:
        seqxai.LRP(lambda t: sum((t[:, i] * 0.5).relu() for i in range(t.shape[1])), "epsilon").attribute(x, target=0)
    return elements.total


def test_relevance_is_added_into_slices_so_that_steps_are_linear() -> None:
    few, many = _numbers_written(50), _numbers_written(200)
    assert many <= 4.4 * few, f"{many / few:.1f} × the numbers for 4 × the steps"


@pytest.mark.parametrize("bidirectional", [False, True])
def test_only_the_candidates_weights_multiply_on_the_way_back_through_an_lstm(bidirectional: bool) -> None:
    """A quarter of what backpropagation through time multiplies: one H × H product a step, and one H × F product for all steps."""
    batch, steps, features, units, sides = 32, 10, 16, 48, 1 + bidirectional
    layer = nn.LSTM(features, units, batch_first=True, bidirectional=bidirectional)
    trace = seqxai.capture(lambda x: layer(x)[0].sum(1), torch.randn(batch, steps, features))
    seed = ensure(0).seed(trace, trace.outputs[0])
    with Count() as count:
        propagate(trace, seqxai.composites.Epsilon(), seed)
    assert count.multiplications == 2 * sides * steps * batch * units * (units + features)
    assert count.calls == steps + 1
