"""One function, one explanation: sums and branches by hand, batch norm folded by hand, one network in three spellings."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import seqxai
from seqxai import rules
from seqxai.composites import Composite, Uniform, path
from tests.contracts import Wrapped, assert_close, check_explanation, random, seeded
from tests.references import gradient_times_input

EPSILON = 0.5


def everywhere(rule: rules.base.Rule) -> Composite:
    """The rule on layers and on sums."""
    return Composite([("layer", rule), ("sum", rule)])


def relevance_of(model: Callable[[Tensor], Tensor] | nn.Module, x: list[list[float]], rule: rules.base.Rule) -> Tensor:
    return check_explanation(model, torch.tensor(x, dtype=torch.float64), everywhere(rule), target=0)


def matrix(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


# ---- by hand: sums, branches, joins, repeated modules --------------------------------------------------------------


def test_a_residual_sum_has_its_own_denominator() -> None:
    """x = 2, f(x) = 3x, y = 8: the sum gets 8·8/8.5, the skip 2/8.5 of that, the branch 6/8.5 and then 6/6.5."""
    weight, one = matrix([3.0]), matrix([1.0])
    found = relevance_of(lambda x: F.linear(x + F.linear(x, weight), one), [[2.0]], rules.Epsilon(EPSILON))
    at_sum = 8.0 * 8.0 / 8.5
    assert float(found) == pytest.approx(at_sum * (2.0 / 8.5 + 6.0 / 8.5 * 6.0 / 6.5), rel=1e-12)


def test_a_residual_sum_through_relu_and_with_a_bias() -> None:
    """x = 2, f(x) = relu(−x + 5) = 3, y = 5: the bias keeps its share of the branch."""
    weight, bias, one = matrix([-1.0]), torch.tensor([5.0], dtype=torch.float64), matrix([1.0])
    found = relevance_of(
        lambda x: F.linear(x + F.relu(F.linear(x, weight, bias)), one), [[2.0]], rules.Epsilon(EPSILON)
    )
    at_sum = 5.0 * 5.0 / 5.5
    assert float(found) == pytest.approx(at_sum * (2.0 / 5.5 + 3.0 / 5.5 * -2.0 / 3.5), rel=1e-12)


@pytest.mark.parametrize(
    "rule", [rules.ZPlus(), rules.Gamma(gamma=0.25), rules.AlphaBeta(2.0, 1.0)], ids=lambda rule: type(rule).__name__
)
def test_a_residual_sum_splits_in_proportion_to_the_signed_values(rule: rules.base.Rule) -> None:
    """x = 1 plus a layer of +3 − 3.5: the skip receives 2 R and the layer −R, whatever the rule of the layer is."""
    weight, one = matrix([0.0, 1.0, -1.0]), matrix([1.0])
    composite = Composite([("layer", rule), ("sum", rules.LRPZero())])
    x = torch.tensor([[1.0, 3.0, 3.5]], dtype=torch.float64)
    found = check_explanation(lambda t: F.linear(t[:, :1] + F.linear(t, weight), one), x, composite, target=0)
    # 0.5 = 1 + (3 − 3.5) is explained: R = 0.5 at the sum, R (1 / 0.5) at the skip
    assert float(found[0, 0]) == pytest.approx(0.5 * 2.0, rel=1e-7)
    assert float(found[0, 1:].sum()) == pytest.approx(0.5 * -1.0, rel=1e-7)


def test_parallel_linear_branches_are_one_sum() -> None:
    """2x + 3x has the one denominator of 5x."""
    two, three, one = matrix([2.0]), matrix([3.0]), matrix([1.0])
    found = relevance_of(
        lambda x: F.linear(F.linear(x, two) + F.linear(x, three), one), [[2.0]], rules.Epsilon(EPSILON)
    )
    assert float(found) == pytest.approx(10.0 * 10.0 / 10.5 * 10.0 / 10.5, rel=1e-12)


def test_parallel_branches_through_relu() -> None:
    """relu(2x) + relu(3x): the sum divides by 10.5, each layer by its own 4.5 and 6.5."""
    two, three, one = matrix([2.0]), matrix([3.0]), matrix([1.0])
    found = relevance_of(
        lambda x: F.linear(F.relu(F.linear(x, two)) + F.relu(F.linear(x, three)), one), [[2.0]], rules.Epsilon(EPSILON)
    )
    at_sum = 10.0 * 10.0 / 10.5
    assert float(found) == pytest.approx(at_sum * (4.0 / 10.5 * 4.0 / 4.5 + 6.0 / 10.5 * 6.0 / 6.5), rel=1e-12)


def test_a_concatenation_hands_back_the_parts() -> None:
    """cat(2x, −x) read by (1, 2): the output is 4 − 4 + bias 1."""
    two, minus = matrix([2.0]), matrix([-1.0])
    readout, bias = matrix([1.0, 2.0]), torch.tensor([1.0], dtype=torch.float64)
    found = relevance_of(
        lambda x: F.linear(torch.cat([F.linear(x, two), F.linear(x, minus)], 1), readout, bias),
        [[2.0]],
        rules.Epsilon(EPSILON),
    )
    # relevance 1 at the output: 4/1.5 to the first, −4/1.5 to the second; then 4/4.5 and −2/−2.5 of it
    assert float(found) == pytest.approx(4.0 / 1.5 * 4.0 / 4.5 + -4.0 / 1.5 * 2.0 / 2.5, rel=1e-12)


def test_a_module_called_twice_in_a_row() -> None:
    """f(f(x)) with f(x) = 2x + 1 at x = 1: 3, then 7; the bias keeps 1/7.5 and 1/3.5."""
    layer = nn.Linear(1, 1).double()
    with torch.no_grad():
        layer.weight.fill_(2.0)
        layer.bias.fill_(1.0)
    found = relevance_of(nn.Sequential(layer, layer), [[1.0]], rules.Epsilon(EPSILON))
    assert float(found) == pytest.approx(7.0 * 6.0 / 7.5 * 2.0 / 3.5, rel=1e-12)


def test_a_module_called_on_two_parts() -> None:
    """relu(f(a)) + relu(f(b)) with a shared f(x) = 2x + 1 at a = 1, b = 2: 3 and 5."""
    layer = nn.Linear(1, 1).double()
    with torch.no_grad():
        layer.weight.fill_(2.0)
        layer.bias.fill_(1.0)
    model = Wrapped(lambda x: F.relu(layer(x[:, :1])) + F.relu(layer(x[:, 1:])))
    found = relevance_of(model, [[1.0, 2.0]], rules.Epsilon(EPSILON))
    expected = [8.0 * 3.0 / 8.5 * 2.0 / 3.5, 8.0 * 5.0 / 8.5 * 4.0 / 5.5]
    assert found[0].tolist() == pytest.approx(expected, rel=1e-12)


def test_relevance_does_not_leak_through_a_dead_branch() -> None:
    weight = random(3, 4)

    def model(x: Tensor) -> Tensor:
        _ = F.relu(x).sum()
        unused = x.clone()
        unused[:, 0] = 5.0
        return F.linear(x, weight)

    x = random(2, 4)
    assert_close(check_explanation(model, x, "lrp-0"), gradient_times_input(lambda t: model(t)[:, 0], x), 1e-13)


# ---- functional, module and in-place spellings of one network ------------------------------------------------------


class Cnn(nn.Module):
    """A small network with everything usual, in one of three spellings."""

    def __init__(self, spelling: str) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.Conv2d(4, 4, 2)
        self.norm, self.dense, self.readout = nn.BatchNorm2d(4), nn.Linear(36, 6), nn.Linear(6, 3)
        inplace = spelling == "in place"
        self.relu, self.pool, self.drop = nn.ReLU(inplace=inplace), nn.MaxPool2d(2, 1), nn.Dropout(inplace=inplace)
        self.flatten, self.spelling = nn.Flatten(), spelling

    def forward(self, x: Tensor) -> Tensor:
        if self.spelling == "functional":
            h = F.relu(F.conv2d(x, self.first.weight, self.first.bias, 2, 1))
            h = F.conv2d(h, self.second.weight, self.second.bias)
            norm = self.norm
            h = F.batch_norm(h, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
            h = torch.flatten(F.max_pool2d(torch.clamp(h, min=0), 2, 1), 1)
            h = torch.relu(h @ self.dense.weight.T + self.dense.bias)
            return torch.addmm(self.readout.bias, F.dropout(h, 0.5, training=False), self.readout.weight.T)
        h = self.relu(self.first(x))
        h = self.flatten(self.pool(self.relu(self.norm(self.second(h)))))
        return self.readout(self.drop(self.relu(self.dense(h))))


@pytest.mark.parametrize("spelling", ["functional", "in place"])
@pytest.mark.parametrize(
    "composite",
    ["lrp-0", "epsilon", "epsilon-plus", "alpha2-beta1", "gamma box", "w-square", "flat"],
)
def test_spellings_of_one_network_have_one_explanation(composite: str, spelling: str) -> None:
    found = {
        "gamma box": seqxai.composites.EpsilonGammaBox(low=-1.0, high=1.0),
        "w-square": Composite([("first", rules.WSquare()), ("layer", rules.ZPlus()), ("sum", rules.Epsilon())]),
        "flat": Composite([("first", rules.Flat()), ("layer", rules.Gamma()), ("sum", rules.Epsilon())]),
    }.get(composite, composite)
    x = random(2, 2, 9, 9, seed=3)
    both = [network(name) for name in ("module", spelling)]
    results = [check_explanation(model, x, found, target=2) for model in both]
    assert_close(results[1], results[0], 1e-13, composite)


def network(spelling: str) -> nn.Module:
    """The network of that spelling; the same parameters and statistics for all."""
    model = seeded(lambda: Cnn(spelling), 8)
    with torch.no_grad():
        model.norm.running_mean.copy_(random(4, seed=1))
        model.norm.running_var.copy_(0.5 + random(4, seed=2).abs())
    return model


# ---- batch norm ----------------------------------------------------------------------------------------------------

RULES = {
    "epsilon 0.01": rules.Epsilon(0.01),
    "gamma": rules.Gamma(0.25),
    "z-plus": rules.ZPlus(),
    "alpha2-beta1": rules.AlphaBeta(2.0, 1.0),
    "z-box": rules.ZBox(low=-1.0, high=1.0),
    "w-square": rules.WSquare(),
    "0.25 std": rules.Epsilon(rules.Stabilizer(0.25, "relative")),
}


class ConvNorm(nn.Module):
    """A convolution and its batch norm with scales of both signs, perhaps with something harmless in between."""

    def __init__(self, between: nn.Module | None = None) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)
        self.between = between or nn.Identity()
        self.readout = nn.Linear(36, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(F.relu(self.norm(self.between(self.conv(x)))).flatten(1))


def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """The convolution that does what ``norm(conv(x))`` does."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    folded = nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size).double()
    with torch.no_grad():
        folded.weight.copy_(conv.weight * scale[:, None, None, None])
        folded.bias.copy_((conv.bias - norm.running_mean) * scale + norm.bias)
    return folded


def conv_norm(between: nn.Module | None = None) -> ConvNorm:
    model = seeded(lambda: ConvNorm(between), 5)
    with torch.no_grad():
        model.norm.running_mean.copy_(random(4, seed=6))
        model.norm.running_var.copy_(0.5 + random(4, seed=7).abs())
    assert (model.norm.weight < 0).any()
    assert (model.norm.weight > 0).any()
    return model


def layer_and_readout(rule: rules.base.Rule) -> Composite:
    return Composite([(path("readout"), rules.LRPZero()), ("layer", rule), ("sum", rule)])


@pytest.mark.parametrize("between", [None, nn.Dropout(0.5)], ids=["directly", "through dropout"])
@pytest.mark.parametrize("name", RULES)
def test_batch_norm_is_folded_into_its_convolution(name: str, between: nn.Module | None) -> None:
    model, x = conv_norm(between), random(2, 2, 5, 5, seed=8)
    composite = layer_and_readout(RULES[name])
    relevance = check_explanation(model, x, composite, target=1)
    model.conv, model.norm = fold(model.conv, model.norm), nn.Identity()
    assert_close(relevance, check_explanation(model, x, composite, target=1), 1e-12, name)


@pytest.mark.parametrize("name", ["epsilon 0.01", "gamma", "z-plus", "alpha2-beta1"])
def test_a_convolution_with_two_consumers_is_two_convolutions(name: str) -> None:
    """relu(bn(conv)) and relu(conv) of one convolution: as a folded and an unfolded copy."""
    base, x, composite = conv_norm(), random(2, 2, 5, 5, seed=9), layer_and_readout(RULES[name])

    class Two(nn.Module):
        def __init__(self, first: nn.Module, second: nn.Module | None, norm: nn.Module) -> None:
            super().__init__()
            self.first, self.second, self.norm = first, second, norm
            self.readout = nn.Linear(72, 2, bias=False).double()
            with torch.no_grad():
                self.readout.weight.copy_(random(2, 72, seed=10))

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x)
            other = h if self.second is None else self.second(x)
            return self.readout(torch.cat([F.relu(self.norm(h)), F.relu(other)], 1).flatten(1))

    shared = Two(base.conv, None, base.norm).eval()
    copied = Two(fold(base.conv, base.norm), base.conv, nn.Identity()).eval()
    found, expected = (check_explanation(model, x, composite, target=0) for model in (shared, copied))
    assert_close(found, expected, 1e-12, name)


def test_uniform_is_one_rule_on_layers() -> None:
    """`Uniform(Epsilon(e))` and the preset `Epsilon(e)` differ in the sums only: on a net without sums they agree."""
    model, x = seeded(lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))), random(2, 4)
    one, two = (
        seqxai.LRP(model, composite=c).attribute(x, target=1).relevance
        for c in (Uniform(rules.Epsilon(0.3)), seqxai.composites.Epsilon(0.3))
    )
    assert torch.equal(one, two)
