"""Every rule against its slow twin, and against the numbers of another library."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import seqxai
from seqxai import rules
from seqxai.composites import Composite, Uniform, path
from tests import references
from tests.contracts import assert_close, assert_closed, check_explanation, random, seeded

# An even kernel with 'same' padding pads one side only, which is the point; torch says that it copies.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")

STABILIZER = 1e-9  # the library's default for every rule without an ε of its own
LOW, HIGH = -1.5, 1.25


class Rule(NamedTuple):
    """A rule of the library and its twin, called with (activation, weight, bias, relevance, connections)."""

    build: Callable[[], Any]
    twin: Callable[..., references.Shares]
    bias: bool = True  # whether bias="ignore" is an option


def _box(a: Any, w: Any, b: Any, r: Any, c: Any) -> references.Shares:
    return references.z_box_rule(a, w, b, r, np.full_like(a, LOW), np.full_like(a, HIGH), STABILIZER)


RULES: dict[str, Rule] = {
    "lrp-0": Rule(rules.LRPZero, lambda a, w, b, r, c: references.epsilon_rule(a, w, b, r)),
    "epsilon": Rule(rules.Epsilon, lambda a, w, b, r, c: references.epsilon_rule(a, w, b, r, 1e-6)),
    "epsilon-0.3": Rule(
        lambda **o: rules.Epsilon(epsilon=0.3, **o), lambda a, w, b, r, c: references.epsilon_rule(a, w, b, r, 0.3)
    ),
    "epsilon-0.25std": Rule(
        lambda **o: rules.Epsilon(epsilon=rules.Stabilizer(0.25, kind="relative"), **o),
        lambda a, w, b, r, c: references.epsilon_rule(a, w, b, r, 0.25, kind="relative"),
    ),
    "epsilon-absolute": Rule(
        lambda **o: rules.Epsilon(epsilon=rules.Stabilizer(0.3, kind="absolute"), **o),
        lambda a, w, b, r, c: references.epsilon_rule(a, w, b, r, 0.3, kind="absolute"),
    ),
    "gamma": Rule(rules.Gamma, lambda a, w, b, r, c: references.gamma_rule(a, w, b, r, 0.25, STABILIZER)),
    "gamma-10": Rule(
        lambda **o: rules.Gamma(gamma=10.0, **o),
        lambda a, w, b, r, c: references.gamma_rule(a, w, b, r, 10.0, STABILIZER),
    ),
    "alpha2-beta1": Rule(
        rules.AlphaBeta, lambda a, w, b, r, c: references.alpha_beta_rule(a, w, b, r, 2.0, 1.0, STABILIZER)
    ),
    "alpha1-beta0": Rule(
        lambda **o: rules.AlphaBeta(alpha=1.0, beta=0.0, **o),
        lambda a, w, b, r, c: references.alpha_beta_rule(a, w, b, r, 1.0, 0.0, STABILIZER),
    ),
    "alpha3-beta2": Rule(
        lambda **o: rules.AlphaBeta(alpha=3.0, beta=2.0, **o),
        lambda a, w, b, r, c: references.alpha_beta_rule(a, w, b, r, 3.0, 2.0, STABILIZER),
    ),
    "z-plus": Rule(rules.ZPlus, lambda a, w, b, r, c: references.z_plus_rule(a, w, b, r, STABILIZER)),
    "z-box": Rule(lambda: rules.ZBox(low=LOW, high=HIGH), _box, bias=False),
    "w-square": Rule(rules.WSquare, lambda a, w, b, r, c: references.w_square_rule(a, w, b, r, STABILIZER), bias=False),
    "flat": Rule(rules.Flat, lambda a, w, b, r, c: references.flat_rule(a, c, b, r, STABILIZER), bias=False),
}

LAYERS: dict[str, tuple[Callable[[bool], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda bias: nn.Linear(7, 6, bias=bias), (7,)),
    "linear on two axes": (lambda bias: nn.Linear(4, 3, bias=bias), (3, 4)),
    "conv1d": (lambda bias: nn.Conv1d(3, 4, 3, bias=bias), (3, 8)),
    "conv1d strided, padded, dilated": (
        lambda bias: nn.Conv1d(2, 4, 3, stride=2, padding=2, dilation=2, bias=bias),
        (2, 9),
    ),
    "conv1d 'same'": (lambda bias: nn.Conv1d(2, 3, 4, padding="same", bias=bias), (2, 7)),
    "conv2d": (lambda bias: nn.Conv2d(2, 3, 3, bias=bias), (2, 5, 6)),
    "conv2d stride 2, remainder": (lambda bias: nn.Conv2d(2, 3, (3, 2), stride=2, bias=bias), (2, 6, 7)),
    "conv2d stride above kernel": (lambda bias: nn.Conv2d(2, 3, 2, stride=3, padding=1, bias=bias), (2, 6, 6)),
    "conv2d 8x8 stride 4": (lambda bias: nn.Conv2d(2, 3, 8, stride=4, bias=bias), (2, 12, 16)),
    "conv2d groups, padding, dilation": (
        lambda bias: nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=(1, 2), dilation=(2, 1), groups=2, bias=bias),
        (4, 5, 4),
    ),
    "conv2d depthwise": (lambda bias: nn.Conv2d(3, 6, 3, padding=1, groups=3, bias=bias), (3, 4, 4)),
    "conv3d": (lambda bias: nn.Conv3d(2, 3, 2, bias=bias), (2, 3, 3, 4)),
    "conv3d strided, padded": (
        lambda bias: nn.Conv3d(2, 2, (2, 3, 2), stride=(1, 2, 2), padding=1, bias=bias),
        (2, 2, 4, 3),
    ),
    "transposed conv1d": (
        lambda bias: nn.ConvTranspose1d(3, 2, 3, stride=2, padding=1, output_padding=1, bias=bias),
        (3, 5),
    ),
    "transposed conv2d": (
        lambda bias: nn.ConvTranspose2d(2, 4, 3, stride=2, padding=1, dilation=2, groups=2, bias=bias),
        (2, 3, 4),
    ),
    "transposed conv3d": (lambda bias: nn.ConvTranspose3d(2, 2, 2, stride=(1, 2, 1), bias=bias), (2, 2, 2, 3)),
}


class Read(nn.Module):
    """A layer under a linear read-out without bias: output k of the layer starts with z_k times its weight."""

    def __init__(self, layer: nn.Module, shape: tuple[int, ...], seed: int) -> None:
        super().__init__()
        self.layer = layer
        with torch.no_grad():
            outputs = layer(torch.zeros(1, *shape, dtype=torch.float64)).numel()
        self.readout = nn.Linear(outputs, 2, bias=False).double()
        with torch.no_grad():
            self.readout.weight.copy_(random(2, outputs, seed=seed + 100))

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.layer(x).flatten(1))


def expected_shares(
    rule: Rule, layer: nn.Module, readout: Tensor, x: Tensor, bias: str = "include"
) -> list[references.Shares]:
    """The twin's shares for every sample of ``x``; target 1 of the read-out."""
    shape = tuple(x.shape[1:])
    weight, offset = references.as_matrix(layer, shape)
    connected = references.connections(layer, shape)
    shares = []
    for sample in x.flatten(1).numpy():
        wide = [array.astype(np.longdouble) for array in (sample, weight, offset, connected, readout[1].numpy())]
        a, w, b, c, v = wide
        used = b if bias == "include" else np.zeros_like(b)
        found = rule.twin(a, w, used, ((a[:, None] * w).sum(0) + b) * v, c)
        shares.append(references.Shares(*(field.astype(np.float64) for field in found)))
    return shares


def compare(name: str, layer_name: str, bias: bool, signs: str, seed: int) -> None:
    build, shape = LAYERS[layer_name]
    layer = seeded(lambda: build(bias), seed)
    x = random(3, *shape, seed=seed + 1, low=0.0 if signs == "non-negative" else LOW, high=HIGH)
    x[0].flatten()[::3] = 0.0
    model = Read(layer, shape, seed)
    rule = RULES[name]
    composite = Composite([(path("layer"), rule.build()), (path("readout"), rules.LRPZero())])
    attribution = seqxai.LRP(model, composite=composite, ledger=True).attribute(x, target=1)
    assert_closed(attribution, 3)
    shares = expected_shares(rule, layer, model.readout.weight.detach(), x)
    expected = torch.stack([torch.as_tensor(share.inputs) for share in shares]).reshape(x.shape)
    assert_close(attribution.relevance, expected, 1e-12, f"{name} on {layer_name}")
    total, scale = attribution.ledger.total(), float(expected.abs().sum())
    for entry in ("bias", "stabilizer"):
        booked = torch.as_tensor(np.array([getattr(share, entry).sum() for share in shares]))
        assert float((total[entry] - booked).abs().max()) <= 1e-12 * scale, (entry, total[entry], booked)


@pytest.mark.parametrize("layer_name", ["linear", "conv1d strided, padded, dilated", "conv2d", "transposed conv2d"])
@pytest.mark.parametrize("name", RULES)
def test_every_rule_keeps_the_contract(name: str, layer_name: str) -> None:
    build, shape = LAYERS[layer_name]
    model = Read(seeded(lambda: build(True), 6), shape, 6)
    composite = Composite([(path("layer"), RULES[name].build()), (path("readout"), rules.LRPZero())])
    check_explanation(model, random(2, *shape, seed=7, low=LOW, high=HIGH), composite, target=0)


@pytest.mark.parametrize("signs", ["non-negative", "any sign"])
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", RULES)
def test_rule_equals_the_paper(name: str, layer: str, signs: str) -> None:
    compare(name, layer, bias=True, signs=signs, seed=3)


@pytest.mark.parametrize("layer", ["linear", "conv1d", "conv2d", "conv3d", "transposed conv2d"])
@pytest.mark.parametrize("name", RULES)
def test_rule_equals_the_paper_without_bias(name: str, layer: str) -> None:
    compare(name, layer, bias=False, signs="any sign", seed=4)


@pytest.mark.slow
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", RULES)
def test_rule_equals_the_paper_more_seeds(name: str, layer: str) -> None:
    for seed, bias, signs in itertools.product(range(5, 15), [True, False], ["non-negative", "any sign"]):
        compare(name, layer, bias, signs, seed)


@pytest.mark.parametrize("layer_name", ["linear", "conv2d", "transposed conv1d"])
@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if rule.bias])
def test_an_ignored_bias_is_no_bias(name: str, layer_name: str) -> None:
    build, shape = LAYERS[layer_name]
    layer, x = seeded(lambda: build(True), 2), random(2, *shape, seed=5)
    model, rule = Read(layer, shape, 2), RULES[name]
    composite = Composite([(path("layer"), rule.build(bias="ignore")), (path("readout"), rules.LRPZero())])
    relevance = seqxai.LRP(model, composite=composite).attribute(x, target=1).relevance
    shares = expected_shares(rule, layer, model.readout.weight.detach(), x, bias="ignore")
    expected = torch.stack([torch.as_tensor(share.inputs) for share in shares]).reshape(x.shape)
    assert_close(relevance, expected, 1e-12, name)
    included = Composite([(path("layer"), rule.build()), (path("readout"), rules.LRPZero())])
    assert not torch.allclose(relevance, seqxai.LRP(model, composite=included).attribute(x, target=1).relevance)


@pytest.mark.parametrize("layer", ["linear", "conv1d", "conv2d", "conv3d"])
def test_plain_gamma_is_the_generalised_one_below_a_relu(layer: str) -> None:
    build, shape = LAYERS[layer]
    module, x = seeded(lambda: build(True), 8), random(2, *shape, seed=9, low=0.0)
    model = Read(nn.Sequential(module, nn.ReLU()), shape, 8)
    composite = Composite([(path("layer.0"), rules.Gamma(gamma=0.25)), (path("readout"), rules.LRPZero())])
    relevance = check_explanation(model, x, composite, target=1)
    weight, bias = references.as_matrix(module, shape)
    for sample, r in zip(x.flatten(1).numpy(), relevance, strict=True):
        start = np.maximum(sample @ weight + bias, 0) * model.readout.weight[1].detach().numpy()
        plain = references.gamma_rule_plain(sample, weight, bias, start, 0.25, STABILIZER).inputs
        assert_close(r.flatten()[None], torch.as_tensor(plain)[None], 1e-12)


class Spelled(nn.Module):
    """One affine map of the input, written in a given way, under a linear read-out."""

    def __init__(self, forward: Callable[["Spelled", Tensor], Tensor], seed: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(random(6, 8, seed=seed))
        self.bias = nn.Parameter(random(6, seed=seed + 1))
        self.scale = nn.Parameter(random(6, seed=seed + 2))
        self.readout = nn.Linear(6, 2, bias=False).double()
        with torch.no_grad():
            self.readout.weight.copy_(random(2, 6, seed=seed + 3))
        self.spelling = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.spelling(self, x))


SPELLINGS: dict[str, Callable[[Spelled, Tensor], Tensor]] = {
    "x @ W.T + b": lambda m, x: x @ m.weight.T + m.bias,
    "b + matmul": lambda m, x: m.bias + torch.matmul(x, m.weight.mT),
    "addmm": lambda m, x: torch.addmm(m.bias, x, m.weight.t()),
    "mm, add_": lambda m, x: x.mm(m.weight.T).add_(m.bias),
    "einsum": lambda m, x: torch.einsum("bi,oi->bo", x, m.weight) + m.bias,
    "linear - (-b)": lambda m, x: F.linear(x, m.weight) - (-m.bias),
    "two parts": lambda m, x: F.linear(x[:, :3], m.weight[:, :3], m.bias) + F.linear(x[:, 3:], m.weight[:, 3:]),
    "three parts": lambda m, x: (
        x[:, :3] @ m.weight[:, :3].T + (F.linear(x[:, 3:5], m.weight[:, 3:5]) + x[:, 5:] @ m.weight[:, 5:].T) + m.bias
    ),
    "bmm": lambda m, x: torch.bmm(x[:, None], m.weight.T.expand(len(x), -1, -1))[:, 0] + m.bias,
    "W @ x": lambda m, x: (m.weight @ x.T).T + m.bias,
    "scaled": lambda m, x: 2.0 * F.linear(x, 0.5 * m.weight, 0.25 * m.bias) + 0.5 * m.bias,
    "scaled per output": lambda m, x: m.scale * F.linear(x, m.weight / m.scale[:, None]) + m.bias,
    "negated": lambda m, x: -F.linear(x, -m.weight, -m.bias),
}


@pytest.mark.parametrize(
    "name", ["epsilon-0.3", "epsilon-0.25std", "gamma", "alpha2-beta1", "z-plus", "z-box", "w-square"]
)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_one_sum_has_one_denominator_however_it_is_written(spelling: str, name: str) -> None:
    model, x = Spelled(SPELLINGS[spelling]), random(3, 8, seed=7)
    rule = RULES[name].build()
    composite = Composite([(path("readout"), rules.LRPZero()), ("layer", rule), ("sum", rule)])
    relevance = check_explanation(model, x, composite, target=1)
    layer = nn.Linear(8, 6).double()
    with torch.no_grad():
        layer.weight.copy_(model.weight)
        layer.bias.copy_(model.bias)
    shares = expected_shares(RULES[name], layer, model.readout.weight.detach(), x)
    assert_close(relevance, torch.as_tensor(np.stack([share.inputs for share in shares])), 1e-12, spelling)


# ---- numbers of another library ------------------------------------------------------------------------------------

FILE = Path(__file__).parents[1] / "references" / "innvestigate_layers.npz"
NOT_YET = {"Gradient", "InputTimesGradient", "Deconvnet", "GuidedBackprop"}  # not LRP: they come with the comparisons
ANALYZERS: dict[str, Any] = {
    "LRPZ": lambda: rules.LRPZero(),
    "LRPEpsilon": lambda: rules.Epsilon(epsilon=1e-7),
    "LRPZPlus": lambda: rules.ZPlus(),
    "LRPAlpha1Beta0": lambda: rules.AlphaBeta(alpha=1.0, beta=0.0),
    "LRPAlpha2Beta1": lambda: rules.AlphaBeta(alpha=2.0, beta=1.0),
    "LRPFlat": lambda: rules.Flat(),
    "LRPWSquare": lambda: rules.WSquare(),
    "LRPZ_boxed_input_layer_rule": lambda: rules.ZBox(low=-10.0, high=10.0),
}
REFERENCE_LAYERS = ["AveragePooling2D", "Conv2D", "Conv2D_relu", "Dense", "Dense_relu", "MaxPooling2D"]


class ReferenceLayer(nn.Module):
    """One layer of the reference file, reading (batch, height, width, channels) and returning a flat output."""

    def __init__(self, name: str, weights: list[Tensor]) -> None:
        super().__init__()
        self.name = name
        if name.startswith("Conv2D"):
            self.layer: nn.Module = nn.Conv2d(3, 5, 3).double()
            kernel = weights[0].permute(3, 2, 0, 1)
        elif name.startswith("Dense"):
            self.layer, kernel = nn.Linear(3, 5).double(), weights[0].T if weights else None
        else:
            self.layer = nn.MaxPool2d(2) if name.startswith("Max") else nn.AvgPool2d(2)
        if weights:
            with torch.no_grad():
                self.layer.weight.copy_(kernel)
                self.layer.bias.copy_(weights[1])

    def forward(self, x: Tensor) -> Tensor:
        if self.name.startswith("Dense"):
            y = self.layer(x)
        else:
            y = self.layer(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return (F.relu(y) if self.name.endswith("relu") else y).reshape(len(x), -1)


def read_reference(analyzer: str, layer: str) -> tuple[ReferenceLayer, Tensor, Tensor, Tensor]:
    """The layer, its input, output and relevance, as float64."""
    with np.load(FILE) as file:
        prefix = f"{analyzer}/{layer}/"
        arrays = {k[len(prefix) :]: torch.as_tensor(file[k]).double() for k in file.files if k.startswith(prefix)}
        x = torch.as_tensor(file[f"{analyzer}/input"]).double()
    weights = [arrays[key] for key in ("weight0", "weight1") if key in arrays]
    return ReferenceLayer(layer, weights), x, arrays["output"], arrays["relevance"]


def test_every_analyzer_of_the_file_is_accounted_for() -> None:
    with np.load(FILE) as file:
        names = {key.split("/")[0] for key in file.files}
    assert names == set(ANALYZERS) | NOT_YET


def without_negative_part(model: ReferenceLayer, x: Tensor) -> Tensor:
    """Which samples' largest unit has no negative contribution at all."""
    shape = tuple(x.shape[1:])
    weight, _ = references.as_matrix(model.layer, (3, 10, 10) if model.name.startswith("Conv") else shape)
    source = x.permute(0, 3, 1, 2) if model.name.startswith("Conv") else x
    z = model.layer(source).flatten(1)
    columns = torch.as_tensor(weight)[:, z.argmax(1)].T
    return ((source.flatten(1) * columns).clamp(max=0).sum(1) == 0).detach()


@pytest.mark.parametrize("layer", REFERENCE_LAYERS)
@pytest.mark.parametrize("analyzer", ANALYZERS)
def test_rule_equals_the_other_library(analyzer: str, layer: str) -> None:
    model, x, output, expected = read_reference(analyzer, layer)
    attribution = seqxai.LRP(model, composite=Uniform(ANALYZERS[analyzer](), epsilon=1e-7)).attribute(x)
    assert_close(attribution.output, output, 1e-6, "output")
    if analyzer == "LRPAlpha2Beta1" and "Pool" not in layer:
        lost = without_negative_part(model, x)  # there the reference hands out α = 2 of the relevance, and no β
        expected[lost] /= 2
    assert_close(attribution.relevance, expected, 1e-6, f"{analyzer} on {layer}")
