"""What theory says about the rules: gradient × input, modified gradients, root points, log-odds, one neuron by hand."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import seqxai
from seqxai import rules
from seqxai.composites import Composite, Uniform, path
from tests import references
from tests.contracts import assert_close, check_explanation, random, seeded

# ---- LRP-0 is gradient × input wherever everything is piecewise linear ---------------------------------------------


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.readout = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.first(x))
        return self.readout(F.relu(h + self.second(h)) + x)


RELU_NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (lambda: nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 4)), (6,)),
    "cnn": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3), nn.ReLU(), nn.AvgPool2d(2),
            nn.Flatten(), nn.Linear(5, 3),
        ),
        (2, 8, 8),
    ),
    "nature, small": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 8, stride=4), nn.ReLU(), nn.Conv2d(4, 6, 4, stride=2), nn.ReLU(), nn.Conv2d(6, 5, 3),
            nn.ReLU(), nn.Flatten(), nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, 3),
        ),
        (2, 44, 44),
    ),
    "conv1d": (
        lambda: nn.Sequential(nn.Conv1d(3, 4, 3), nn.LeakyReLU(), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(12, 2)),
        (3, 8),
    ),
    "transposed": (
        lambda: nn.Sequential(
            nn.ConvTranspose2d(2, 3, 3, stride=2), nn.ReLU(), nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(3, 2),
        ),
        (2, 4, 4),
    ),
    "residual": (Residual, (6,)),
}  # fmt: skip


@pytest.mark.parametrize("name", RELU_NETS)
def test_lrp_0_is_gradient_times_input(name: str) -> None:
    build, shape = RELU_NETS[name]
    model, x = seeded(build, 1), random(3, *shape, seed=2)
    relevance = check_explanation(model, x, "lrp-0", target=1)
    assert_close(relevance, references.gradient_times_input(lambda t: model(t)[:, 1], x), 1e-10, name)


# ---- the modified-gradient identities (A19) ------------------------------------------------------------------------


class Deep(nn.Module):
    """Three dense layers with one elementwise nonlinearity, which may be replaced."""

    def __init__(self, activation: Callable[[Tensor], Tensor], *, bias: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(5, 7, bias), nn.Linear(7, 6, bias), nn.Linear(6, 2, bias)])
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        first, second, last = self.layers
        return last(self.activation(second(self.activation(first(x)))))


ACTIVATIONS = [torch.tanh, F.softsign, F.elu, F.gelu, F.silu, F.relu, F.leaky_relu, F.hardtanh, F.mish, torch.atan]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("seed", [0, 1])
def test_lrp_0_is_a_gradient_with_f_of_z_over_z(activation: Callable[[Tensor], Tensor], seed: int) -> None:
    model, x = seeded(lambda: Deep(activation, bias=True), seed), random(3, 5, seed=seed + 1)
    relevance = check_explanation(model, x, "lrp-0", target=1)
    model.activation = lambda z: z * (activation(z) / z).detach()
    expected = references.gradient_times_input(lambda t: model(t)[:, 1], x)
    assert_close(relevance, expected, 1e-10)


@pytest.mark.parametrize("seed", [0, 1])
def test_epsilon_rule_is_gradient_times_input_for_a_tiny_epsilon_on_relu(seed: int) -> None:
    model, x = seeded(lambda: Deep(F.relu, bias=True), seed), random(3, 5, seed=seed + 1)
    relevance = check_explanation(model, x, Uniform(rules.Epsilon(epsilon=1e-13)), target=0)
    assert_close(relevance, references.gradient_times_input(lambda t: model(t)[:, 0], x), 1e-9)


def rescale(model: Deep, x: Tensor, reference: Tensor, target: int) -> Tensor:
    """DeepLIFT's Rescale rule for a `Deep` net: (z_ij − z̄_ij) / (Σ z_ij − Σ z̄_ij) handed down layer by layer."""
    activations, references_ = [x], [reference]
    for layer in list(model.layers)[:-1]:
        activations.append(model.activation(layer(activations[-1])))
        references_.append(model.activation(layer(references_[-1])))
    difference = [a - r for a, r in zip(activations, references_, strict=True)]
    weights = [layer.weight for layer in model.layers]
    relevance = torch.zeros(len(x), len(weights[-1]), dtype=x.dtype)
    relevance[:, target] = (difference[-1] @ weights[-1].T)[:, target]
    for d, w in zip(reversed(difference), reversed(weights), strict=True):
        parts = d[:, None, :] * w[None]  # (B, outputs, inputs)
        relevance = (parts / parts.sum(2, keepdim=True) * relevance[:, :, None]).sum(1)
    return relevance.detach()


@pytest.mark.parametrize("activation", [torch.tanh, F.elu, F.gelu, F.relu], ids=lambda f: f.__name__)
def test_lrp_0_is_deeplift_from_zero_without_biases(activation: Callable[[Tensor], Tensor]) -> None:
    model, x = seeded(lambda: Deep(activation, bias=False), 4), random(3, 5, seed=5)
    relevance = check_explanation(model, x, "lrp-0", target=1)
    assert_close(relevance, rescale(model, x, torch.zeros_like(x), 1), 1e-10)


def test_lrp_0_is_not_deeplift_with_biases() -> None:
    model, x = seeded(lambda: Deep(torch.tanh, bias=True), 4), random(3, 5, seed=5)
    relevance = check_explanation(model, x, "lrp-0", target=1)
    assert float((relevance - rescale(model, x, torch.zeros_like(x), 1)).abs().max()) > 1e-3


# ---- deep Taylor decomposition: every rule is a root point (A10) ---------------------------------------------------

numbers = st.lists(
    st.tuples(st.floats(0.0, 1.0), st.floats(0.05, 1.0), st.booleans()), min_size=2, max_size=6
)  # activation, |weight|, sign of the weight


class Neuron(nn.Module):
    """max(0, w · a) · c: one neuron of a ReLU layer and what it is worth above."""

    def __init__(self, weight: Tensor, c: float = 1.0) -> None:
        super().__init__()
        self.layer, self.c = nn.Linear(len(weight), 1, bias=False).double(), c
        with torch.no_grad():
            self.layer.weight.copy_(weight[None])

    def forward(self, a: Tensor) -> Tensor:
        return self.c * F.relu(self.layer(a))


def explained_neuron(
    drawn: list[tuple[float, float, bool]], rule: object
) -> tuple[Tensor, Tensor, Tensor, float, Tensor]:
    """The activations, weights, pre-activation and the root point that the rule's relevance implies: a − R / (w c)."""
    a = torch.tensor([d[0] for d in drawn], dtype=torch.float64)
    w = torch.tensor([d[1] if d[2] else -d[1] for d in drawn], dtype=torch.float64)
    z = float(a @ w)
    assume(z > 0.05)
    relevance = seqxai.LRP(Neuron(w, 1.5), composite=Uniform(rule)).attribute(a[None], target=0).relevance[0]
    return a, w, relevance, z, a - relevance / (w * 1.5)


@given(numbers)
def test_the_root_of_lrp_0_is_the_origin(drawn: list[tuple[float, float, bool]]) -> None:
    *_, root = explained_neuron(drawn, rules.LRPZero())
    assert float(root.abs().max()) < 1e-12


@given(numbers, st.floats(0.01, 2.0))
def test_the_root_of_epsilon_is_a_fraction_of_the_input(drawn: list[tuple[float, float, bool]], epsilon: float) -> None:
    a, _, _, z, root = explained_neuron(drawn, rules.Epsilon(epsilon=epsilon))
    assert torch.allclose(root, epsilon / (z + epsilon) * a, rtol=0, atol=1e-12)
    assert float(root.min()) >= -1e-12
    assert float((a - root).norm()) <= float(a.norm()) + 1e-12  # nearer than LRP-0's


@given(numbers, st.floats(0.0, 5.0))
def test_the_root_of_gamma_lies_on_the_hinge(drawn: list[tuple[float, float, bool]], gamma: float) -> None:
    a, w, relevance, z, root = explained_neuron(drawn, rules.Gamma(gamma=gamma))
    assert abs(float(root @ w)) < 1e-7  # the neuron is exactly off there (the stabilizer is 1e-9)
    step = z / float(a @ (w + gamma * w.clamp(min=0)))
    assert torch.allclose(root, a - step * a * (1 + gamma * (w >= 0)), rtol=0, atol=1e-7)
    assert float(root.min()) >= -1e-7
    assert float((a - root).norm()) <= float(a.norm()) + 1e-7
    assert abs(float(relevance.sum()) - 1.5 * z) < 1e-7


@given(numbers)
def test_the_root_of_z_plus_moves_the_excitatory_inputs_only(drawn: list[tuple[float, float, bool]]) -> None:
    a, w, relevance, z, root = explained_neuron(drawn, rules.ZPlus())
    assert abs(float(root @ w)) < 1e-7
    step = z / float(a @ w.clamp(min=0))
    assert torch.allclose(root, a - step * a * (w > 0), rtol=0, atol=1e-7)
    assert float(root.min()) >= -1e-7
    assert float(relevance.min()) >= 0.0


@given(numbers)
def test_the_root_of_z_box_lies_on_the_hinge_inside_the_box(drawn: list[tuple[float, float, bool]]) -> None:
    a, w, relevance, z, root = explained_neuron(drawn, rules.ZBox(low=-0.5, high=1.25))
    assert abs(float(root @ w)) < 1e-7
    direction = torch.where(w > 0, a + 0.5, a - 1.25)
    assert torch.allclose(root, a - z / float(direction @ w) * direction, rtol=0, atol=1e-7)
    assert float(relevance.min()) >= 0.0


@given(numbers)
def test_the_root_of_w_square_follows_the_weights(drawn: list[tuple[float, float, bool]]) -> None:
    a, w, _, z, root = explained_neuron(drawn, rules.WSquare())
    assert abs(float(root @ w)) < 1e-6
    assert torch.allclose(root, a - z / float(w @ w) * w, rtol=0, atol=1e-6)


# ---- the neuron of the papers (A5), and the signs of α and β (T1, T2) ----------------------------------------------


def neuron_relevance(a: list[float], w: list[float], rule: object, relevance: float = 1.0) -> list[float]:
    """The rule's shares when a linear neuron without bias hands out ``relevance``."""
    activation, weight = torch.tensor([a], dtype=torch.float64), torch.tensor(w, dtype=torch.float64)
    model = nn.Sequential(nn.Linear(len(w), 1, bias=False), nn.Linear(1, 1, bias=False)).double()
    with torch.no_grad():
        model[0].weight.copy_(weight[None])
        model[1].weight.fill_(relevance / float(activation[0] @ weight))
    composite = Composite([(path("0"), rule), (path("1"), rules.LRPZero())])
    return seqxai.LRP(model, composite=composite).attribute(activation, target=0).relevance[0].tolist()


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (rules.AlphaBeta(alpha=2.0, beta=1.0), [4 / 3, -1.0, 2 / 3]),
        (rules.AlphaBeta(alpha=1.0, beta=0.0), [2 / 3, 0.0, 1 / 3]),
        (rules.ZPlus(), [2 / 3, 0.0, 1 / 3]),
        (rules.LRPZero(), [1.0, -0.5, 0.5]),
        (rules.Epsilon(epsilon=2.0), [0.5, -0.25, 0.25]),
        (rules.Gamma(gamma=1.0), [0.8, -0.2, 0.4]),
        (rules.WSquare(), [4 / 5.25, 0.25 / 5.25, 1 / 5.25]),
        (rules.Flat(), [1 / 3, 1 / 3, 1 / 3]),
        (rules.ZBox(low=0.0, high=3.0), [2 / 3.5, 0.5 / 3.5, 1 / 3.5]),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, list) else "",
)
def test_the_neuron_of_the_papers(rule: object, expected: list[float]) -> None:
    assert neuron_relevance([1.0, 2.0, 1.0], [2.0, -0.5, 1.0], rule) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("alpha", [1.0, 2.0, 3.0])
def test_a_neuron_without_negative_part_keeps_its_relevance(alpha: float) -> None:
    rule = rules.AlphaBeta(alpha=alpha, beta=alpha - 1.0)
    assert neuron_relevance([1.0, 2.0], [3.0, 0.5], rule) == pytest.approx([0.75, 0.25], abs=1e-8)
    assert neuron_relevance([1.0, 2.0], [-3.0, -0.5], rule) == pytest.approx([0.75, 0.25], abs=1e-8)


@pytest.mark.parametrize("spelling", ["plus zero", "minus zero"])
@pytest.mark.parametrize(
    ("rule", "expected", "kept"),
    [
        (rules.LRPZero(), [0.0, 0.0], 1.0),
        (rules.Epsilon(epsilon=0.5), [2.0, -2.0], 1.0),
        (rules.Epsilon(epsilon=rules.Stabilizer(0.5, "absolute")), [2.0, -2.0], 1.0),
        (rules.Epsilon(epsilon=rules.Stabilizer(0.0, "absolute")), [0.0, 0.0], 1.0),
    ],
    ids=["lrp-0", "epsilon", "absolute", "absolute zero"],
)
def test_a_sum_of_zero(rule: object, expected: list[float], kept: float, spelling: str) -> None:
    """z = 1 − 1 = 0 with relevance 1 from above: 0/0 = 0, sign(0) = +1; the stabilizer keeps what remains."""
    turn = 1.0 if spelling == "plus zero" else -1.0
    layer, readout = torch.tensor([[1.0, 1.0]], dtype=torch.float64), torch.tensor([[1.0]], dtype=torch.float64)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.readout = nn.Linear(1, 1).double()
            with torch.no_grad():
                self.readout.weight.copy_(readout)
                self.readout.bias.fill_(1.0)

        def forward(self, x: Tensor) -> Tensor:
            return self.readout(F.linear(x, layer) if turn > 0 else -F.linear(x, -layer))

    composite = Composite([(path("readout"), rules.Flat(epsilon=0.0)), ("layer", rule), ("sum", rule)])
    x = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    found = seqxai.LRP(Model(), composite=composite).attribute(x, target=0)
    assert found.relevance[0].tolist() == pytest.approx(expected, abs=1e-12)
    assert float(found.ledger.total()["stabilizer"]) == pytest.approx(kept, abs=1e-12)


@pytest.mark.parametrize(("alpha", "beta"), [(2.0, -1.0), (0.5, 0.5), (2.0, 2.0), (1.0, 1.0), (0.5, -0.5)])
def test_alpha_minus_beta_must_be_one(alpha: float, beta: float) -> None:
    with pytest.raises(seqxai.errors.SeqxaiError, match=r"(?i)alpha|α"):
        rules.AlphaBeta(alpha=alpha, beta=beta)


# ---- log-odds (A17, T12) -------------------------------------------------------------------------------------------


def test_log_odds_of_the_printed_example() -> None:
    """z = (2, 0.5, 3): η = 0.2336 and the shares sum to 0.9137."""
    scores = np.array([3.0, 1.0, 2.5, 0.0])
    assert references.log_odds(scores, 0) == pytest.approx(0.2336, abs=5e-5)
    assert references.log_odds_shares(np.array([2.0, 0.5, 3.0])).sum() == pytest.approx(0.9137, abs=5e-5)
    model = nn.Linear(4, 4, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.eye(4))
    x = torch.as_tensor(scores)[None]
    attribution = seqxai.LRP(model, composite="lrp-0").attribute(x, target=seqxai.targets.LogOdds(0))
    assert float(attribution.explained) == pytest.approx(0.2336, abs=5e-5)
    assert float(attribution.relevance.sum()) == pytest.approx(0.9137, abs=5e-5)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("index", [0, 2])
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_log_odds_explain_the_log_odds_plus_the_entropy(scale: float, index: int, bias: bool) -> None:
    model, x = seeded(lambda: nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 4, bias)), 3), random(3, 5, seed=4)
    with torch.no_grad():
        model[2].weight.mul_(scale)
    target = seqxai.targets.LogOdds(index)
    relevance = check_explanation(model, x, "lrp-0", target=target)
    attribution = seqxai.LRP(model, composite="lrp-0").attribute(x, target=target)
    scores = model(x).detach().numpy()
    eta = torch.tensor([references.log_odds(s, index) for s in scores], dtype=torch.float64)
    entropy = torch.tensor([references.entropy(s, index) for s in scores], dtype=torch.float64)
    assert torch.allclose(attribution.explained, eta, rtol=1e-12, atol=1e-12)
    total = attribution.ledger.total()
    assert torch.allclose(total["target"], -entropy, rtol=1e-9, atol=1e-12)
    shares = sum(value for name, value in total.items() if name != "target")
    assert torch.allclose(shares, eta + entropy, rtol=1e-12, atol=1e-12)

    def frozen(t: Tensor) -> Tensor:
        y = model(t)
        difference = y[:, index, None] - torch.cat([y[:, :index], y[:, index + 1 :]], 1)
        return (difference * (-difference).softmax(1).detach()).sum(1)

    assert_close(relevance, references.gradient_times_input(frozen, x), 1e-10)


def test_a_dominant_competitor_makes_log_odds_a_contrast() -> None:
    """With one competitor far above the others, η_c is the difference of two scores (T12)."""
    model, x = seeded(lambda: nn.Linear(5, 3, bias=False), 1), random(2, 5, seed=2)
    offset = nn.Linear(5, 3).double()
    with torch.no_grad():
        offset.weight.copy_(model.weight)
        offset.bias.copy_(torch.tensor([0.0, 0.0, -200.0]))
    explain = seqxai.LRP(offset, composite="lrp-0")
    odds = explain.attribute(x, target=seqxai.targets.LogOdds(0))
    contrast = explain.attribute(x, target=seqxai.targets.Contrast(0, 1))
    assert_close(odds.relevance, contrast.relevance, 1e-12)
    assert torch.allclose(odds.explained, contrast.explained, rtol=1e-12)
