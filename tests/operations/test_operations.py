"""Every spelling of every operation: one relevance, equal to its oracle, a closed ledger, a trace that replays."""

import copy
from itertools import chain

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import seqxai
from tests.contracts import Wrapped, assert_close, assert_closed, check_explanation, random, seeded
from tests.operations import elementwise_table, routing_table, table
from tests.operations.table import Group, Spelling
from tests.references import gradient_times_input

# An even kernel with 'same' padding pads one side only, which is the point; torch says that it copies.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")

TABLES = [
    table.LINEAR,
    table.CONVOLUTIONS,
    table.POOLS,
    table.NORMS,
    elementwise_table.ACTIVATIONS,
    elementwise_table.GATES,
    elementwise_table.SUMS,
    elementwise_table.WRITTEN_OUT,
    routing_table.JOINS,
    routing_table.SELECTIONS,
    routing_table.WRITES,
    routing_table.SHAPES,
    routing_table.RESAMPLING,
]
GROUPS: dict[str, Group] = dict(chain.from_iterable(entries.items() for entries in TABLES))
SPELLINGS = [(name, number) for name, group in GROUPS.items() for number in range(len(group.spellings))]
BATCH = 2


class Around(nn.Module):
    """h (and k) are affine in the input; the operation; a fixed linear read-out of everything it returns."""

    def __init__(self, group: Group, operation: Spelling) -> None:
        super().__init__()
        self.scales, self.shifts = random(2, *group.shape, seed=31), random(2, *group.shape, seed=32)
        self.operation = copy.deepcopy(operation) if isinstance(operation, nn.Module) else operation
        self.operands = group.operands
        self.weight = random(3, 1024, seed=33)

    def forward(self, x: Tensor) -> Tensor:
        operands = [x * s + t for s, t in zip(self.scales[: self.operands], self.shifts, strict=False)]
        y = self.operation(*operands).flatten(1) if self.operands == 2 else self.operation(operands[0])
        y = y.reshape(len(x), -1)
        return F.linear(y, self.weight[:, : y.shape[1]])


def inputs(group: Group) -> Tensor:
    return random(BATCH, *group.shape, seed=34)


def test_names_are_unique() -> None:
    assert len(GROUPS) == sum(map(len, TABLES))


@pytest.mark.parametrize(("name", "number"), SPELLINGS, ids=lambda value: str(value))
def test_spelling_computes_what_the_first_one_does(name: str, number: int) -> None:
    group = GROUPS[name]
    x = inputs(group)
    with torch.no_grad():
        first, this = (Around(group, group.spellings[i])(x) for i in (0, number))
        assert_close(this, first, 1e-13)
        if group.oracle is not None:
            assert_close(Around(group, group.oracle)(x), first, 1e-12)


@pytest.mark.parametrize(("name", "number"), SPELLINGS, ids=lambda value: str(value))
def test_lrp_0_equals_the_oracle(name: str, number: int) -> None:
    group = GROUPS[name]
    x = inputs(group)
    relevance = check_explanation(Around(group, group.spellings[number]), x, "lrp-0", target=1)
    clean = Around(group, group.oracle or group.spellings[0])
    expected = gradient_times_input(lambda t: clean(t)[:, 1], x)
    assert float(expected.abs().max()) > 1e-3
    assert_close(relevance, expected, 1e-10, f"{name} {number}")


@pytest.mark.parametrize("name", GROUPS)
def test_the_ledger_closes_under_epsilon(name: str) -> None:
    group = GROUPS[name]
    check_explanation(Around(group, group.spellings[0]), inputs(group), "epsilon", target=2)


@pytest.mark.parametrize("composite", ["epsilon-plus", "alpha2-beta1"])
@pytest.mark.parametrize("name", [*table.CONVOLUTIONS, *table.POOLS, "conv, batch_norm", "residual sum"])
def test_the_ledger_closes_under_other_composites(name: str, composite: str) -> None:
    group = GROUPS[name]
    check_explanation(Around(group, group.spellings[0]), inputs(group), composite, target=2)


# ---- operations that read token ids --------------------------------------------------------------------------------


class Embeds(nn.Module):
    """Token ids (B, T) through an embedding written in one way; (B, 3)."""

    def __init__(self, spelling: str) -> None:
        super().__init__()
        self.table, self.spelling = nn.Embedding(11, 4), spelling
        self.readout = nn.Linear(20, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        if self.spelling == "module":
            vectors = self.table(tokens)
        elif self.spelling == "functional":
            vectors = F.embedding(tokens, self.table.weight)
        elif self.spelling == "torch":
            vectors = torch.embedding(self.table.weight, tokens)
        elif self.spelling == "index":
            vectors = self.table.weight[tokens]
        else:
            vectors = self.table(torch.cat([tokens[:, :2], tokens[:, 2:]], 1).view(len(tokens), 5))
        return self.readout(torch.tanh(vectors).flatten(1))


@pytest.mark.parametrize("spelling", ["module", "functional", "torch", "index", "routed ids"])
def test_an_embedding_gives_one_score_per_token(spelling: str) -> None:
    model = seeded(lambda: Embeds(spelling), 7)
    tokens = torch.tensor([[1, 4, 4, 0, 10], [3, 2, 1, 5, 9]])
    trace = seqxai.capture(model, tokens)
    trace.verify(model)
    attribution = seqxai.LRP(model, composite="lrp-0").attribute(tokens, target=1)
    assert attribution.relevance.shape == tokens.shape
    assert attribution.relevance.is_floating_point()
    assert_closed(attribution, len(trace.nodes))
    vectors = model.table(tokens).detach()
    through = table_free(model)
    expected = gradient_times_input(lambda v: through(v)[:, 1], vectors).sum(2)
    assert_close(attribution.relevance, expected, 1e-12)
    alone = seqxai.LRP(model, composite="lrp-0").attribute(tokens[1:], target=1).relevance
    assert_close(alone, attribution.relevance[1:], 1e-12)


def table_free(model: Embeds) -> Spelling:
    """The model behind its embedding, tanh passed through."""
    tanh = table.activation(torch.tanh)
    return lambda vectors: model.readout(tanh(vectors).flatten(1))


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_an_embedding_bag_gives_one_score_per_token(mode: str) -> None:
    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bag, self.readout = nn.EmbeddingBag(9, 4, mode=mode), nn.Linear(4, 2)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.readout(self.bag(tokens))

    model, tokens = seeded(Bag, 3), torch.tensor([[1, 4, 4], [8, 0, 2]])
    seqxai.capture(model, tokens).verify(model)
    attribution = seqxai.LRP(model, composite="lrp-0").attribute(tokens, target=0)
    expected = (model.bag.weight[tokens] * model.readout.weight[0]).sum(2) / (3 if mode == "mean" else 1)
    assert_close(attribution.relevance, expected.detach(), 1e-12)
    assert_closed(attribution, 4)


# ---- integer and half-precision inputs -----------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["float, /", "/", "div", "* 1/255", "to, -mean /std"])
def test_a_byte_image_stays_active(spelling: str) -> None:
    layer = seeded(lambda: nn.Conv2d(1, 3, 2), 1).float()

    def scaled(x: Tensor) -> Tensor:
        if spelling == "float, /":
            return x.float() / 255
        if spelling == "/":
            return x / 255
        if spelling == "div":
            return torch.div(x, 255.0)
        if spelling == "* 1/255":
            return x.to(torch.float32) * (1 / 255)
        return (x.to(torch.float32) - 100.0) / 50.0

    model = seeded(lambda: nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)), 2).float()
    x = torch.randint(0, 256, (2, 1, 3, 3), generator=torch.Generator().manual_seed(4), dtype=torch.uint8)
    both = nn.Sequential(layer, model)
    wrapped = Wrapped(lambda t: both(scaled(t)))
    seqxai.capture(wrapped, x).verify(wrapped)
    attribution = seqxai.LRP(wrapped, composite="lrp-0").attribute(x, target=1)
    assert attribution.relevance.is_floating_point()
    assert_close(attribution.relevance, gradient_times_input(lambda t: both(scaled(t))[:, 1], x.float()), 1e-5)


# ---- a final softmax -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "last",
    [
        nn.Softmax(1),
        nn.LogSoftmax(1),
        lambda y: F.softmax(y, -1),
        lambda y: y.log_softmax(1),
        lambda y: y.softmax(dim=1),
    ],
    ids=["Softmax", "LogSoftmax", "functional", "method log_softmax", "method"],
)
def test_a_final_softmax_is_peeled_with_a_warning(last: Spelling) -> None:
    base = seeded(lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)), 5)
    x = random(3, 4, seed=6)
    model = Wrapped(lambda t: last(base(t)))
    with pytest.warns(UserWarning, match="softmax"):
        attribution = seqxai.LRP(model, composite="lrp-0").attribute(x, target=2)
    assert_close(attribution.relevance, gradient_times_input(lambda t: base(t)[:, 2], x), 1e-12)
    assert torch.allclose(attribution.explained, base(x)[:, 2].detach(), rtol=1e-12)
    assert_closed(attribution, 4)


# ---- products that are no gates ------------------------------------------------------------------------------------

BILINEAR: dict[str, Spelling] = {
    "h * k": lambda h, k: h * k,
    "square": lambda h, k: h * h,
    "h / k": lambda h, k: h / (3 + k),
    "tanh * tanh": lambda h, k: h.tanh() * k.tanh(),
    "relu * relu": lambda h, k: F.relu(h) * F.relu(k),
    "bmm": lambda h, k: torch.bmm(h[:, :, None], k[:, None]).flatten(1),
    "einsum": lambda h, k: torch.einsum("bi,bj->bij", h, k).flatten(1),
    "matmul": lambda h, k: (h[:, None] @ k[:, :, None]).flatten(1),
    "linear with an active weight": lambda h, k: F.linear(h[:1], k).expand(len(h), -1),
    "sigmoid * sigmoid": lambda h, k: h.sigmoid() * k.sigmoid(),
    "addcmul": lambda h, k: torch.addcmul(h, h, k),
    "prod": lambda h, k: h.prod(1, keepdim=True),
}


@pytest.mark.parametrize("name", BILINEAR)
def test_a_product_of_two_signals_is_refused(name: str) -> None:
    group = Group((4,), [], operands=2)
    with pytest.raises(seqxai.errors.SeqxaiError):
        seqxai.LRP(Around(group, BILINEAR[name]), composite="lrp-0").attribute(inputs(group), target=0)


@pytest.mark.parametrize("power", [lambda h: h**2, torch.square, lambda h: h.pow(2), lambda h: torch.pow(h, 2)])
def test_a_power_is_one_value_s_function_and_passes_what_halves_would_give(power: Spelling) -> None:
    group = Group((4,), [], operands=2)
    x = inputs(group)
    passed = check_explanation(Around(group, lambda h, k: power(h) + k), x, "lrp-0", target=1)
    halved = check_explanation(Around(group, lambda h, k: h * h + k), x, "lrp-0", target=1, bilinear="half")
    assert_close(passed, halved, 1e-13)


@pytest.mark.parametrize("name", ["h * k", "tanh * tanh", "relu * relu", "bmm", "einsum", "matmul"])
def test_a_bilinear_product_halves_when_asked(name: str) -> None:
    group = Group((4,), [BILINEAR[name]], operands=2)
    x = inputs(group)
    relevance = check_explanation(Around(group, BILINEAR[name]), x, "lrp-0", target=1, bilinear="half")

    def halves(h: Tensor, k: Tensor) -> Tensor:
        if name == "tanh * tanh":
            h, k = table.activation(torch.tanh)(h), table.activation(torch.tanh)(k)
            return 0.5 * (h * k.detach() + h.detach() * k)
        return 0.5 * (BILINEAR[name](h, k.detach()) + BILINEAR[name](h.detach(), k))

    clean = Around(group, halves)
    assert_close(relevance, gradient_times_input(lambda t: clean(t)[:, 1], x), 1e-12)
