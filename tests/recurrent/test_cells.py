"""The cells built to be explained: their equations, their memory, and closed forms of their relevance."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import seqxai
from seqxai.errors import InputError
from tests.contracts import assert_close, check_explanation, random, seeded

CELLS = ("NonDecreasingLSTM", "MarkovLSTM", "GatelessLSTM")
X = random(3, 6, 2, seed=11, low=-2.0, high=2.0)
PRODUCTS = ("signal-takes-all", "half", "proportional", "absolute")


def cell(name: str, features: int = 2, cells: int = 3, **options: float) -> nn.Module:
    """A random one; biases included."""
    build = getattr(seqxai.recurrent, name)
    return seeded(lambda: build(features, cells, batch_first=True, **options), 3)


class Read(nn.Module):
    """A linear read-out of the last output, or of the last memory."""

    def __init__(self, inner: nn.Module, memory: bool = False, outputs: int = 2) -> None:
        super().__init__()
        self.cell, self.memory = inner, memory
        self.readout = seeded(lambda: nn.Linear(inner.hidden_size, outputs, bias=False), 5)

    def forward(self, x: Tensor) -> Tensor:
        output, (_, c) = self.cell(x)
        return self.readout(c[0] if self.memory else output[:, -1])


# ---- the equations ---------------------------------------------------------------------------------------------------


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


def twin(module: nn.Module, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outputs and memories of one sequence, number by number."""
    p = {name: value.detach().numpy() for name, value in module.named_parameters()}
    cells = module.hidden_size
    y, c, outputs, memories = np.zeros(cells), np.zeros(cells), [], []
    for step in x:
        before, y = y, np.zeros(cells)
        for k in range(cells):
            z = module.g_scale * sigmoid(p["weight_z"][k] @ step + p["bias_z"][k])
            i = o = 1.0
            if "input_gate.bias" in p:
                i = sigmoid(p["input_gate.weight"][k] @ before + p["input_gate.bias"][k])
            if "output_gate.bias" in p:
                o = sigmoid(p["output_gate.weight"][k] @ before + p["output_gate.bias"][k])
            c[k] += i * z
            y[k] = o * module.h_scale * np.tanh(c[k])
        outputs.append(y)
        memories.append(c.copy())
    return np.stack(outputs), np.stack(memories)


@pytest.mark.parametrize("name", CELLS)
def test_the_cells_are_their_equations(name: str) -> None:
    module = cell(name, g_scale=3.0, h_scale=2.0)
    output, (h_n, c_n) = module(X)
    assert output.shape == (3, 6, 3)
    assert h_n.shape == c_n.shape == (1, 3, 3)
    found = [twin(module, x) for x in X.numpy()]
    assert_close(output, torch.as_tensor(np.stack([y for y, _ in found])), 1e-12)
    assert_close(h_n[0], output[:, -1], 0.0)
    assert_close(c_n[0], torch.as_tensor(np.stack([c[-1] for _, c in found])), 1e-12)


@pytest.mark.parametrize("name", CELLS)
def test_layouts_follow_nn_lstm(name: str) -> None:
    module = cell(name)
    output, (h_n, c_n) = module(X)
    alone, (h_1, c_1) = module(X[1])
    assert h_1.shape == c_1.shape == (1, 3)
    assert_close(alone, output[1], 1e-14)
    assert_close(c_1, c_n[:, 1], 1e-14)
    module.batch_first = False
    time_major, (h_t, _) = module(X.transpose(0, 1))
    assert_close(time_major.transpose(0, 1), output, 1e-14)
    assert_close(h_t, h_n, 1e-14)


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("name", CELLS)
def test_a_run_goes_on_from_a_state(name: str, batched: bool) -> None:
    module, x = cell(name), X if batched else X[0]
    steps = 1 if batched else 0
    whole, state = module(x)
    first, middle = module(x.narrow(steps, 0, 4))
    rest, end = module(x.narrow(steps, 4, 2), middle)
    assert_close(torch.cat([first, rest], steps), whole, 1e-14)
    for found, expected in zip(end, state, strict=True):
        assert_close(found, expected, 1e-14)
    zeros = torch.zeros(1, 3, 3) if batched else torch.zeros(1, 3)
    assert_close(module(x, (zeros.double(), zeros.double()))[0], whole, 1e-14)  # A9


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("name", CELLS)
def test_a_given_state_takes_its_share(name: str, product: str) -> None:
    """The memory there was before is a constant of the explanation; read from c, signal takes all, it has what c_0 contributed."""
    model = Read(cell(name), memory=True)
    h, c = (part.detach() for part in model.cell(random(1, 4, 2, seed=12))[1])

    def run(x: Tensor) -> Tensor:
        return model.readout(model.cell(x, (h.expand(-1, len(x), -1), c.expand(-1, len(x), -1)))[1][1][0])

    check_explanation(run, X, "lrp-0", target=1, product=product)
    total = seqxai.LRP(run, composite="lrp-0", product=product, ledger=True).attribute(X, target=1).ledger.total()
    booked = total["constant"] + total["initial_state"]
    if product == "signal-takes-all" or name == "GatelessLSTM":
        assert_close(booked[:, None], (model.readout.weight[1] @ c[0, 0]).expand(3, 1), 1e-12)
    else:
        assert float(booked.abs().min()) > 0  # and what h_0 gave the first gates


@pytest.mark.parametrize("name", CELLS)
def test_the_memory_is_not_negative_and_never_decreases(name: str) -> None:
    module = cell(name)
    memories = torch.stack([module(X[:, : t + 1])[1][1][0].detach() for t in range(6)])
    assert float(memories.min()) > 0
    assert float(memories.diff(dim=0).min()) > 0


@pytest.mark.parametrize("name", CELLS)
def test_every_parameter_can_be_trained(name: str) -> None:
    module = Read(cell(name))
    module(X).square().sum().backward()
    for parameter in module.parameters():
        assert parameter.grad is not None
        assert bool((parameter.grad != 0).any(-1).all())
    x = X[:1, :3].clone().requires_grad_(True)
    assert torch.autograd.gradcheck(module, x)  # through the gates to the steps before, too


def test_the_initial_biases_are_those_of_the_assumptions() -> None:
    module = seqxai.recurrent.NonDecreasingLSTM(2, 5, bias_o=-0.5)
    assert module.g_scale == 4
    assert module.h_scale == 1
    for parameter, value in ((module.bias_z, -3.0), (module.input_gate.bias, -3.0), (module.output_gate.bias, -0.5)):
        assert torch.equal(parameter, torch.full((5,), value))


# ---- explained -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("name", CELLS)
def test_every_product_rule_explains_them(name: str, product: str) -> None:
    relevance = check_explanation(Read(cell(name)), X, "epsilon", target=1, product=product)
    assert bool((relevance.abs().sum(2) > 0).all())


@pytest.mark.parametrize("product", PRODUCTS[1:])
def test_relevance_passes_through_gates_only_where_the_rule_lets_it(product: str) -> None:
    """Event 0 is stored by cell 0, which is not read out; it opens the gate of cell 1, which counts event 1."""
    module = cell("MarkovLSTM", cells=2)
    with torch.no_grad():
        module.weight_z.copy_(torch.tensor([[6.0, 0.0], [0.0, 6.0]]))
        module.input_gate.weight.copy_(torch.tensor([[0.0, 0.0], [4.0, 0.0]]))
        module.bias_z.fill_(-3.0)
        module.input_gate.bias.copy_(torch.tensor([1.0, -2.0]))
    model = Read(module)
    model.readout.weight.data[:, 0] = 0.0
    x = torch.zeros(1, 6, 2, dtype=torch.float64)
    x[0, 1, 0] = x[0, 3, 1] = x[0, 4, 1] = 1.0
    blocked = seqxai.LRP(model, composite="epsilon").attribute(x, target=0).relevance
    through = seqxai.LRP(model, composite="epsilon", product=product).attribute(x, target=0).relevance
    assert float(blocked[0, 1].abs().sum()) == 0.0
    assert float(through[0, 1, 0].abs()) > 0.05 * float(through.abs().sum())


@pytest.mark.parametrize("given", [False, True])
def test_the_gate_of_the_first_step_takes_its_share(given: bool) -> None:
    """One step, half: half of the score reaches z, the other half stays with the gate's bias and with what h_0 gave it."""
    model = Read(cell("MarkovLSTM"), memory=True)
    state = (random(1, 1, 3, seed=8), torch.zeros(1, 1, 3).double()) if given else None

    def run(x: Tensor) -> Tensor:
        start = state and tuple(part.expand(-1, len(x), -1) for part in state)
        return model.readout(model.cell(x, start)[1][1][0])

    x = X[:, :1]
    check_explanation(run, x, "lrp-0", target=1, product="half")
    attribution = seqxai.LRP(run, composite="lrp-0", product="half", ledger=True).attribute(x, target=1)
    total = attribution.ledger.total()
    a = torch.nn.functional.linear(x[:, 0], model.cell.weight_z)
    scores = model.readout.weight[1] * model.cell(x, state and tuple(p.expand(-1, 3, -1) for p in state))[1][1][0]
    reached = (scores / 2 * a / (a + model.cell.bias_z)).sum(1)
    assert_close(attribution.relevance.sum((1, 2))[:, None], reached[:, None], 1e-12)
    gate = model.cell.input_gate
    heard = state[0][0] @ gate.weight.T if given else torch.zeros(1, 3).double()
    assert_close(total["constant"][:, None], (scores / 2 * heard / (heard + gate.bias)).sum(1)[:, None], 1e-12)


@pytest.mark.parametrize("memory", [True, False])
def test_a_cell_without_gates_shares_relevance_in_proportion_to_z(memory: bool) -> None:
    """LRP-0: cell k gives step t the part z_tk / c_k of what it contributed to the score."""
    model = Read(cell("GatelessLSTM", features=1), memory)
    model.cell.bias_z.data.zero_()  # all of z's relevance then arrives at its only input
    x = X[..., :1]
    relevance = check_explanation(model, x, "lrp-0", target=1)
    z = model.cell.g_scale * torch.sigmoid(x * model.cell.weight_z[:, 0])
    c = z.sum(1)
    contributed = model.readout.weight[1] * (c if memory else torch.tanh(c))
    assert_close(relevance[..., 0], (z * (contributed / c)[:, None]).sum(2), 1e-12)


def test_the_accumulation_rule_unrolled() -> None:
    """R_{p-T} = (Π forget gates) a_{p-T} c_k for a one-cell LSTM whose signal sees x only (Arras et al. 2019, Section 11.3.3)."""
    wire, gates, back, c_k = 1.3, random(2, 2, seed=1), random(2, seed=2), 0.7

    def run(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a = h = torch.zeros(len(x), dtype=x.dtype)
        forgets, added = [], []
        for step in x.unbind(1):
            i, f = torch.sigmoid(step @ gates.T + h[:, None] * back).unbind(1)
            a = f * a + i * torch.tanh(wire * step[:, 0])
            h = torch.tanh(a)
            forgets.append(f)
            added.append(i * torch.tanh(wire * step[:, 0]))
        return a, torch.stack(forgets, 1), torch.stack(added, 1)

    relevance = check_explanation(lambda x: (run(x)[0] * c_k)[:, None], X, "lrp-0", target=0)
    _, forget, added = run(X)
    kept = torch.stack([forget[:, t + 1 :].prod(1) for t in range(X.shape[1])], 1)
    assert_close(relevance[..., 0], kept * added * c_k, 1e-12)
    assert float(relevance[..., 1].abs().max()) == 0.0


# ---- refused ---------------------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[Callable[[], Tensor], str]] = {
    "rank": (
        lambda: torch.zeros(2),
        r"MarkovLSTM expected a batch \(B, T, F\) or one sequence \(T, F\), got 1 dimensions \(2,\)",
    ),
    "images": (lambda: torch.zeros(1, 2, 3, 2), r"got 4 dimensions \(1, 2, 3, 2\); add or flatten"),
    "features": (lambda: torch.zeros(1, 4, 5), r"expected 2 features in the last dimension, got 5 in \(1, 4, 5\)"),
    "integers": (lambda: torch.zeros(1, 4, 2, dtype=torch.int64), r"expected a floating input, got torch\.int64; convert it"),
    "no steps": (lambda: torch.zeros(3, 0, 2), r"expected at least one step, got none in \(3, 0, 2\)"),
    "no steps, unbatched": (lambda: torch.zeros(0, 2), r"expected at least one step, got none in \(0, 2\)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_inputs_are_named(name: str) -> None:
    make, message = WRONG[name]
    with pytest.raises(InputError, match=message):
        cell("MarkovLSTM").float()(make())


@pytest.mark.parametrize(
    ("x", "h", "c", "message"),
    [
        ((2, 4, 2), (1, 2, 3), (2, 3), r"shapes \(1, 2, 3\) and \(1, 2, 3\), got \(1, 2, 3\) and \(2, 3\); pass what"),
        ((2, 4, 2), (1, 4, 3), (1, 4, 3), r"got \(1, 4, 3\) and \(1, 4, 3\)"),
        ((4, 2), (1, 1, 3), (1, 1, 3), r"shapes \(1, 3\) and \(1, 3\), got \(1, 1, 3\)"),
    ],
)
def test_wrong_states_are_named(x: tuple[int, ...], h: tuple[int, ...], c: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        cell("MarkovLSTM").float()(torch.zeros(x), (torch.zeros(h), torch.zeros(c)))


def test_wrong_sizes_and_scales_are_named() -> None:
    with pytest.raises(InputError, match=r"at least 1, got 0 and 3"):
        seqxai.recurrent.GatelessLSTM(0, 3)
    with pytest.raises(InputError, match=r"must be positive, got -1 and 1"):
        seqxai.recurrent.GatelessLSTM(1, 3, g_scale=-1)
