"""One function, one explanation: sums by hand, batch norm folded by hand, and gates in every spelling people use."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import seqxai
from seqxai import rules
from seqxai.composites import Composite, Uniform, path
from seqxai.errors import SeqxaiError
from tests import recurrent_twins as twins
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


# ---- gates: LSTM and GRU in many spellings -------------------------------------------------------------------------

STEPS = random(2, 5, twins.FEATURES, seed=78)


def expected_of(twin: Callable[..., np.ndarray], *arguments: object) -> Tensor:
    return torch.as_tensor(np.stack([twin(sample, 1, *arguments) for sample in STEPS.numpy()]))


@pytest.mark.parametrize("epsilon", [0.0, 1e-2, 0.2])
@pytest.mark.parametrize("name", twins.LSTMS)
def test_a_hand_written_lstm_equals_its_twin(name: str, epsilon: float) -> None:
    relevance = check_explanation(twins.LSTMS[name], STEPS, everywhere(rules.Epsilon(epsilon)), target=1)
    assert_close(relevance, expected_of(twins.lstm_twin, epsilon, False), 1e-12, name)


@pytest.mark.parametrize("epsilon", [0.0, 1e-2])
def test_the_initial_state_of_a_hand_written_lstm_keeps_its_share(epsilon: float) -> None:
    composite = everywhere(rules.Epsilon(epsilon))
    relevance = check_explanation(twins.lstm_initial, STEPS, composite, target=1)
    assert_close(relevance, expected_of(twins.lstm_twin, epsilon, True), 1e-12)
    total = seqxai.LRP(twins.lstm_initial, composite=composite).attribute(STEPS, target=1).ledger.total()
    assert float((total["constant"] + total["initial_state"]).abs().min()) > 1e-4


@pytest.mark.parametrize("epsilon", [0.0, 1e-2, 0.2])
@pytest.mark.parametrize("name", twins.GRUS)
def test_a_hand_written_gru_equals_its_twin(name: str, epsilon: float) -> None:
    relevance = check_explanation(twins.GRUS[name], STEPS, everywhere(rules.Epsilon(epsilon)), target=1)
    assert_close(relevance, expected_of(twins.gru_twin, epsilon), 1e-12, name)


def test_the_first_step_of_a_gru_gives_its_reset_gate_nothing() -> None:
    """r ⊙ (U h0 + b): the constant is the signal, and its share is booked as constant, not sent into the gate."""
    x = STEPS[:, :1]
    relevance = check_explanation(twins.GRUS["lerp"], x, "lrp-0", target=1)
    expected = torch.as_tensor(np.stack([twins.gru_twin(sample, 1, 0.0) for sample in x.numpy()]))
    assert_close(relevance, expected, 1e-12)


@pytest.mark.parametrize("constant", ["full shape", "scalar", "broadcast"])
def test_a_gate_times_a_constant(constant: str) -> None:
    """A constant as large as the gate is a signal and takes all; a scalar or broadcast one merely scales the gate."""
    c = {"full shape": random(2, 4, seed=1), "scalar": torch.tensor(0.7), "broadcast": random(1, 4, seed=1)}[constant]
    weight = random(3, 4, seed=2)
    x = random(2, 4, seed=3)
    model = Wrapped(lambda t: F.linear(torch.sigmoid(t * 2.0) * c + t, weight))
    attribution = seqxai.LRP(model, composite="lrp-0").attribute(x, target=0)
    gate = torch.sigmoid(x * 2.0) * c * weight[0]
    skip = x * weight[0]
    expected = skip if constant == "full shape" else skip + gate
    assert_close(attribution.relevance, expected, 1e-12)
    booked = attribution.ledger.total()["constant"]
    assert float((booked - (gate.sum(1) if constant == "full shape" else 0.0)).abs().max()) < 1e-12


# ---- gates: what is told, what is ambiguous, what must be declared -------------------------------------------------

W1, W2 = random(4, 4, seed=91), random(4, 4, seed=92)


def product(gate: Callable[[Tensor], Tensor], signal: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: F.linear(gate(x @ W1) * signal(x @ W2), random(2, 4, seed=93))


TOLD: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "expit": torch.special.expit,
    "hardsigmoid": F.hardsigmoid,
    "softmax": lambda a: F.softmax(a, 1),
    "1 - sigmoid": lambda a: 1 - a.sigmoid(),
    "-(sigmoid - 1)": lambda a: -(a.sigmoid() - 1),
    "tanh to 0..1": lambda a: 0.5 * (torch.tanh(a / 2) + 1),
    "tanh / 2 + 0.5": lambda a: a.tanh() / 2 + 0.5,
    "1 / (1 + exp)": lambda a: 1 / (1 + torch.exp(-a)),
    "clamp": lambda a: torch.clamp(0.2 * a + 0.5, 0, 1),
    "relu6": lambda a: F.relu6(a + 3) / 6,
    "hardtanh": lambda a: F.hardtanh(0.2 * a + 0.5, 0.0, 1.0),
    "gate * gate": lambda a: a.sigmoid() * (2 * a).sigmoid(),
    "2 sigmoid": lambda a: 2 * torch.sigmoid(a),
    "mean of gates": lambda a: torch.stack([a.sigmoid(), (-a).sigmoid() ** 1]).mean(0),
    "cat of gates": lambda a: torch.cat([a[:, :2].sigmoid(), F.hardsigmoid(a[:, 2:])], 1),
    "views of a gate": lambda a: a.sigmoid().view(-1, 2, 2).permute(0, 2, 1).flatten(1).clone(),
    "split of a cat": lambda a: torch.cat([a.sigmoid(), a.tanh()], 1).chunk(2, 1)[0],
    "in place": lambda a: a.clone().sigmoid_(),
    "expanded": lambda a: a.mean(1, keepdim=True).sigmoid().expand(-1, 4),
    "declared exp": lambda a: seqxai.gate(torch.exp(a)),
    "declared linear": lambda a: seqxai.gate(a),
}


@pytest.mark.parametrize("name", TOLD)
def test_a_gate_is_told_by_its_range(name: str) -> None:
    x, model = random(2, 4, seed=94), product(TOLD[name], torch.tanh)
    relevance = check_explanation(model, x, "lrp-0", target=1)

    def frozen(t: Tensor) -> Tensor:
        a = t @ W2
        return F.linear(TOLD[name](t @ W1).detach() * (a * (a.tanh() / a).detach()), random(2, 4, seed=93))

    assert_close(relevance, gradient_times_input(lambda t: frozen(t)[:, 1], x), 1e-12, name)


AMBIGUOUS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "sigmoid * sigmoid": (torch.sigmoid, torch.sigmoid),
    "sigmoid * 2 sigmoid": (torch.sigmoid, lambda a: 2 * a.sigmoid()),
    "tanh * tanh": (torch.tanh, torch.tanh),
    "relu * relu": (F.relu, F.relu),
    "exp * tanh": (torch.exp, torch.tanh),
    "softplus * tanh": (F.softplus, torch.tanh),
    "linear * linear": (lambda a: a, lambda a: a),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_an_ambiguous_product_is_refused_until_the_gate_is_declared(name: str) -> None:
    gate, signal = AMBIGUOUS[name]
    x = random(2, 4, seed=95)
    with pytest.raises(SeqxaiError, match=r"gate"):
        seqxai.LRP(product(gate, signal), composite="lrp-0").attribute(x, target=0)
    relevance = check_explanation(product(lambda a: seqxai.gate(gate(a)), signal), x, "lrp-0", target=0)

    def frozen(t: Tensor) -> Tensor:
        a = t @ W2
        return F.linear(gate(t @ W1).detach() * (a * (signal(a) / a).detach()), random(2, 4, seed=93))

    assert_close(relevance, gradient_times_input(lambda t: frozen(t)[:, 0], x), 1e-12, name)


def test_the_gate_declaration_is_the_identity_elsewhere() -> None:
    x = random(3, 4)
    assert seqxai.gate(x) is x or torch.equal(seqxai.gate(x), x)
    leaf = x.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad((seqxai.gate(leaf) ** 2).sum(), leaf)
    assert torch.equal(gradient, 2 * x)


@pytest.mark.parametrize("name", ["fused gates", "gate by gate", "in place"])
def test_the_half_rule_sends_half_into_the_gates(name: str) -> None:
    """R/2 to both factors, both travel on: the gradient of the halved product, activations passed through."""

    def through(f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda z: z * (f(z) / z).detach()

    def halved(a: Tensor, b: Tensor) -> Tensor:
        return 0.5 * (a * b.detach() + a.detach() * b)

    def oracle(x: Tensor) -> Tensor:
        h = c = torch.zeros(len(x), twins.UNITS, dtype=x.dtype)
        sigmoid, tanh = through(torch.sigmoid), through(torch.tanh)
        for t, step in enumerate(x.unbind(1)):
            i, f, g, o = (F.linear(step, twins.W, twins.B) + F.linear(h, twins.U)).chunk(4, 1)
            c = halved(sigmoid(i), tanh(g)) + (halved(sigmoid(f), c) if t else 0.0)
            h = halved(sigmoid(o), tanh(c))
        return F.linear(h, twins.READOUT, twins.READOUT_BIAS)

    relevance = check_explanation(twins.LSTMS[name], STEPS, "lrp-0", target=1, product="half")
    assert_close(relevance, gradient_times_input(lambda t: oracle(t)[:, 1], STEPS), 1e-11)


@pytest.mark.parametrize("name", ["z-plus", "gamma", "alpha2-beta1"])
def test_a_gate_commutes_with_the_rule_of_the_layer_it_scales(name: str) -> None:
    """W x + r (U x + b) under z⁺, γ, αβ is the layer W + diag(r) U with bias r b, sample by sample."""
    u, w, b, one = random(4, 4, seed=96), random(4, 4, seed=97), random(4, seed=98), random(2, 4, seed=99)
    readout = nn.Linear(4, 2, bias=False).double()
    with torch.no_grad():
        readout.weight.copy_(one)

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.readout = readout

        def forward(self, x: Tensor) -> Tensor:
            r = torch.sigmoid(x @ W1)
            return self.readout(x @ w.T + r * F.linear(x, u, b))

    x, composite = random(2, 4, seed=90), layer_and_readout(RULES[name])
    relevance = check_explanation(Gated(), x, composite, target=0)
    for sample in range(2):
        r = torch.sigmoid(x[sample] @ W1)
        parts = nn.Sequential(nn.Linear(8, 4), readout).double()
        with torch.no_grad():  # both layers side by side: contributions of W and of r U are rectified separately
            parts[0].weight.copy_(torch.cat([w, r[:, None] * u], 1))
            parts[0].bias.copy_(r * b)
        doubled = torch.cat([x[sample], x[sample]])[None]
        rule = Composite([(path("1"), rules.LRPZero()), ("layer", RULES[name])])
        expected = seqxai.LRP(parts, composite=rule).attribute(doubled, target=0).relevance.view(2, 4).sum(0)
        assert_close(relevance[sample][None], expected[None], 1e-12, name)


def test_uniform_is_one_rule_on_layers() -> None:
    """`Uniform(Epsilon(e))` and the preset `Epsilon(e)` differ in the sums only: on a net without sums they agree."""
    model, x = seeded(lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))), random(2, 4)
    one, two = (
        seqxai.LRP(model, composite=c).attribute(x, target=1).relevance
        for c in (Uniform(rules.Epsilon(0.3)), seqxai.composites.Epsilon(0.3))
    )
    assert torch.equal(one, two)
