"""Gates: told by their range, declared, or refused; LSTM and GRU in every spelling people use, against slow twins."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import seqxai
from seqxai import rules
from seqxai.composites import Composite, path
from seqxai.errors import SeqxaiError
from tests import recurrent_twins as twins
from tests.contracts import Wrapped, assert_close, check_explanation, random
from tests.references import gradient_times_input


def everywhere(rule: rules.base.Rule) -> Composite:
    """The rule on layers and on sums."""
    return Composite([("layer", rule), ("sum", rule)])


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


@pytest.mark.parametrize("scaled", ["batch norm", "vector"])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_bounded_activation_under_a_constant_scale_is_a_signal_at_every_batch_size(batch: int, scaled: str) -> None:
    """relu((1 − relu(x)) / 3) lies in [0, 1/3]; per-feature constants scale it, for a single sample, too."""
    weight, gain, shift = random(3, 4, seed=1), random(4, seed=2), random(4, seed=3)

    def model(x: Tensor) -> Tensor:
        h = F.relu((1 - F.relu(x)) / 3)
        if scaled == "batch norm":
            h = F.batch_norm(h, shift, gain.abs() + 0.5, gain, shift)
        else:
            h = h * gain + shift
        return F.linear(h, weight)

    x = random(2, 4, seed=4)[2 - batch :]
    relevance = check_explanation(model, x, "lrp-0", target=1)
    assert_close(relevance, gradient_times_input(lambda t: model(t)[:, 1], x), 1e-12)


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


LAYER_RULES = {"z-plus": rules.ZPlus(), "gamma": rules.Gamma(0.25), "alpha2-beta1": rules.AlphaBeta(2.0, 1.0)}


@pytest.mark.parametrize("name", LAYER_RULES)
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

    pairs = [(path("readout"), rules.LRPZero()), ("layer", LAYER_RULES[name]), ("sum", rules.LRPZero())]
    x, composite = random(2, 4, seed=90), Composite(pairs)
    relevance = check_explanation(Gated(), x, composite, target=0)
    for sample in range(2):
        r = torch.sigmoid(x[sample] @ W1)
        parts = nn.Sequential(nn.Linear(8, 4), readout).double()
        with torch.no_grad():  # both layers side by side: contributions of W and of r U are rectified separately
            parts[0].weight.copy_(torch.cat([w, r[:, None] * u], 1))
            parts[0].bias.copy_(r * b)
        doubled = torch.cat([x[sample], x[sample]])[None]
        rule = Composite([(path("1"), rules.LRPZero()), ("layer", LAYER_RULES[name])])
        expected = seqxai.LRP(parts, composite=rule).attribute(doubled, target=0).relevance.view(2, 4).sum(0)
        assert_close(relevance[sample][None], expected[None], 1e-12, name)
