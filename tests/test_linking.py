"""Values are linked by storage and version: nasty models, code a trace cannot see, and a model left as it was found."""

import contextlib
import gc
import threading
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import seqxai
from seqxai.errors import CaptureError, SeqxaiError, UnsupportedOperation
from tests.contracts import Wrapped, assert_close, check_explanation, random, seeded
from tests.nasty_models import NASTY
from tests.nasty_parts import hidden, readout
from tests.references import gradient_times_input


@pytest.mark.parametrize("name", NASTY)
def test_the_clean_rewriting_is_the_same_function(name: str) -> None:
    x = random(3, 4, seed=21)
    with torch.no_grad():
        assert torch.allclose(NASTY[name].forward(x.clone()), NASTY[name].clean(x), rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", NASTY)
def test_a_nasty_model_is_explained_like_its_clean_rewriting(name: str) -> None:
    x = random(3, 4, seed=21)
    before = x.clone()
    relevance = check_explanation(NASTY[name].forward, x, "lrp-0", target=1)
    assert torch.equal(x, before), "the caller's input changed"
    expected = gradient_times_input(lambda t: NASTY[name].clean(t)[:, 1], x)
    assert float(expected.abs().max()) > 0.1
    assert_close(relevance, expected, 1e-12, name)


@pytest.mark.parametrize("name", NASTY)
def test_a_nasty_model_closes_its_ledger_under_epsilon(name: str) -> None:
    check_explanation(NASTY[name].forward, random(2, 4, seed=22), "epsilon", target=2)


# ---- what a function mode cannot see is refused by name or caught by verify ----------------------------------------


class Scripted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4).double()

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.linear(x))


def _script(item: object) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(item)


def _trace(item: nn.Module) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(item, torch.zeros(2, 4, dtype=torch.float64))


def _tanh(x: Tensor) -> Tensor:
    return torch.tanh(x) * 2.0


def _in_a_thread(x: Tensor) -> Tensor:
    results: list[Tensor] = []
    thread = threading.Thread(target=lambda: results.append(torch.tanh(hidden(x))))
    thread.start()
    thread.join()
    return readout(results[0], x)


def invisible_models() -> dict[str, nn.Module]:
    function, module, traced = _script(_tanh), _script(Scripted()), _trace(Scripted())

    class Holds(nn.Module):
        def __init__(self, inner: object) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            return readout(x, self.inner(hidden(x)))  # type: ignore[operator]

    return {
        "scripted function": Wrapped(lambda x: readout(x, function(hidden(x)))),  # type: ignore[operator]
        "scripted function, nothing else": Wrapped(lambda x: readout(function(x))),  # type: ignore[operator]
        "scripted module": Holds(module),
        "traced module": Holds(traced),
        "numpy round trip": Wrapped(lambda x: readout(x, torch.from_numpy(np.tanh(hidden(x).numpy())))),
        "from_numpy on the same memory": Wrapped(lambda x: readout(x, torch.from_numpy(hidden(x).numpy()))),
        "numpy function of a tensor": Wrapped(lambda x: readout(x, torch.as_tensor(np.sin(hidden(x))))),
        "thread": Wrapped(_in_a_thread),
        "float(x.max())": Wrapped(lambda x: readout(x * float(hidden(x).max()))),
        "item()": Wrapped(lambda x: readout(x, x * 0 + hidden(x)[0, 0].item())),
        "tolist": Wrapped(lambda x: readout(x, torch.tensor(hidden(x).tolist(), dtype=torch.float64))),
        "a branch on the values": Wrapped(lambda x: readout(x) if bool(x.sum() > 1e3) else readout(x * float(x.sum()))),
    }


INVISIBLE = [
    "scripted function", "scripted function, nothing else", "scripted module", "traced module", "numpy round trip",
    "from_numpy on the same memory", "numpy function of a tensor", "thread", "float(x.max())", "item()", "tolist",
    "a branch on the values",
]  # fmt: skip


@pytest.mark.parametrize("name", INVISIBLE)
@pytest.mark.filterwarnings("ignore")
def test_what_the_mode_cannot_see_is_refused_or_caught(name: str) -> None:
    model, x = invisible_models()[name], random(2, 4, seed=23)
    with pytest.raises(SeqxaiError):
        seqxai.capture(model, x).verify(model)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("scripted module", r"(?i)script"),
        ("traced module", r"(?i)script|traced"),
        ("numpy function of a tensor", r"(?i)numpy"),
    ],
)
def test_what_is_recognised_is_refused_by_name(name: str, words: str) -> None:
    with pytest.raises(SeqxaiError, match=words):
        seqxai.capture(invisible_models()[name], random(2, 4, seed=23))


def test_values_that_leave_torch_are_noted_with_their_module() -> None:
    """A model that only logs is explained; the user is told once where a value was read."""

    class Logs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(4, 4), _Peek(), nn.Linear(4, 2))

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x)

    class _Peek(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert x.max().item() < 1e9
            return F.relu(x)

    model, x = seeded(Logs), random(2, 4, seed=3)
    with pytest.warns(UserWarning, match=r"item.*inner\.1|inner\.1.*item"):
        seqxai.capture(model, x).verify(model)
    with pytest.warns(UserWarning, match="item"):
        relevance = seqxai.LRP(model, composite="lrp-0").attribute(x, target=0).relevance
    assert_close(relevance, gradient_times_input(lambda t: model(t)[:, 0], x), 1e-12)


def test_an_output_that_does_not_depend_on_the_input_is_refused() -> None:
    with pytest.raises(CaptureError, match=r"(?i)output.*depend|not linked|does not depend"):
        seqxai.capture(Wrapped(lambda x: torch.ones(len(x), 3, dtype=x.dtype)), random(2, 4))


def test_batch_norm_in_training_mode_is_refused() -> None:
    model = seeded(lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))).train()
    with pytest.raises(SeqxaiError, match=r"(?i)training"):
        seqxai.LRP(model, composite="lrp-0").attribute(random(3, 4), target=0)
    assert int(model[1].num_batches_tracked) == 0
    assert torch.equal(model[1].running_mean, torch.zeros(4, dtype=torch.float64))


def test_vmap_is_refused_by_name() -> None:
    model = Wrapped(lambda x: torch.vmap(lambda row: F.linear(row, torch.eye(4, dtype=torch.float64)))(x))
    with pytest.raises(SeqxaiError, match=r"(?i)vmap|batched"):
        seqxai.capture(model, random(2, 4))


@pytest.mark.filterwarnings("ignore")
def test_a_quantised_layer_is_refused_by_name() -> None:
    model = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)))
    with pytest.raises(SeqxaiError, match=r"(?i)quanti"):
        seqxai.LRP(model, composite="lrp-0").attribute(random(2, 4).float(), target=0)


def test_autocast_that_mixes_precisions_is_refused_by_name() -> None:
    layer = nn.Linear(4, 4)

    def forward(x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return layer(x).float()

    with pytest.raises(SeqxaiError, match=r"(?i)autocast|bfloat16|precision"):
        seqxai.LRP(Wrapped(forward), composite="lrp-0").attribute(random(2, 4).float(), target=0)


def test_an_unknown_operation_names_itself_its_place_and_the_shapes() -> None:
    class Inner(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.linalg.inv(x.reshape(-1, 2, 2)).flatten(1)

    model = nn.Sequential(nn.Linear(4, 4), Inner(), nn.Linear(4, 2)).double()
    with pytest.raises(UnsupportedOperation, match=r"(?s)inv.*") as error:
        seqxai.LRP(model, composite="lrp-0").attribute(random(2, 4), target=0)
    message = str(error.value)
    assert "inv" in message
    assert "1" in message
    assert "2, 2, 2" in message.replace("×", ", ").replace(" x ", ", "), message


# ---- compiled, checkpointed, under other modes ---------------------------------------------------------------------


def test_a_compiled_model_is_captured_eagerly() -> None:
    model, x = seeded(lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))), random(2, 4, seed=5)
    expected = seqxai.LRP(model, composite="lrp-0").attribute(x, target=0).relevance
    compiled = torch.compile(model, backend="eager")
    assert_close(seqxai.LRP(compiled, composite="lrp-0").attribute(x, target=0).relevance, expected, 1e-14)


def test_a_checkpointed_block_is_seen_through() -> None:
    from torch.utils.checkpoint import checkpoint

    block = seeded(lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)))
    x = random(2, 4, seed=5)
    relevance = check_explanation(lambda t: checkpoint(block, t, use_reentrant=False), x, "lrp-0")
    assert_close(relevance, gradient_times_input(lambda t: block(t)[:, 0], x), 1e-12)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_gradient_modes_around_and_inside_change_nothing(context: Callable[[], object]) -> None:
    block = seeded(lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)))
    x = random(2, 4, seed=5)
    expected = gradient_times_input(lambda t: block(t)[:, 0], x)

    def inside(t: Tensor) -> Tensor:
        h = F.relu(t @ torch.eye(4, dtype=t.dtype)) - F.relu(-t)
        with context():  # type: ignore[attr-defined]
            y = block(h)
            y = y + 0.0 * y
        return y * 1.0

    assert_close(seqxai.LRP(Wrapped(inside), composite="lrp-0").attribute(x, target=0).relevance, expected, 1e-12)
    with context():  # type: ignore[attr-defined]
        relevance = seqxai.LRP(block, composite="lrp-0").attribute(x, target=0).relevance
    assert_close(relevance, expected, 1e-12)


def test_an_input_that_requires_grad_is_explained_without_a_graph() -> None:
    block, x = seeded(lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))), random(2, 4, seed=5)
    leaf = x.clone().requires_grad_(True)
    attribution = seqxai.LRP(block, composite="lrp-0").attribute(leaf, target=0)
    assert not attribution.relevance.requires_grad
    assert not attribution.output.requires_grad
    assert leaf.grad is None
    assert all(parameter.grad is None for parameter in block.parameters())


# ---- the model is left as it was found -----------------------------------------------------------------------------

GLOBAL_HOOKS = ["_global_forward_hooks", "_global_forward_pre_hooks", "_global_backward_hooks"]


def snapshot(model: nn.Module, x: Tensor) -> dict[str, object]:
    """Everything an explanation could leave behind, in comparable form."""
    modules = list(model.modules())
    return {
        "state": {name: value.clone() for name, value in model.state_dict().items()},
        "versions": [parameter._version for parameter in model.parameters()],
        "identities": [id(parameter) for parameter in model.parameters()],
        "requires_grad": [parameter.requires_grad for parameter in model.parameters()],
        "grads": [parameter.grad is None for parameter in model.parameters()],
        "training": [module.training for module in modules],
        "hooks": [
            len(module._forward_hooks) + len(module._forward_pre_hooks) + len(module._backward_hooks)
            for module in modules
        ],
        "forwards": [("forward" in vars(module), sorted(vars(module))) for module in modules],
        "global hooks": [len(getattr(nn.modules.module, name)) for name in GLOBAL_HOOKS],
        "random state": torch.get_rng_state(),
        "numpy random": np.random.get_state()[1].tolist(),  # noqa: NPY002
        "input": x.clone(),
        "input version": x._version,
        "collector": gc.isenabled(),
        "modes": torch.overrides._get_current_function_mode_stack(),
        "grad mode": torch.is_grad_enabled(),
        "threads": torch.get_num_threads(),
        "default dtype": torch.get_default_dtype(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def assert_same(before: object, after: object, path: str = "") -> None:
    if isinstance(before, dict):
        assert isinstance(after, dict)
        assert before.keys() == after.keys(), path
        for key, value in before.items():
            assert_same(value, after[key], f"{path}/{key}")
    elif isinstance(before, Tensor):
        assert torch.equal(before, after), path  # type: ignore[arg-type]
    else:
        assert before == after, path


class Untouched(nn.Module):
    """Some of everything that has a state: dropout in training mode, batch norm in eval, a buffer it counts in."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(1, 3, 2), nn.BatchNorm1d(3)
        self.drop, self.readout = nn.Dropout(0.5), nn.Linear(9, 2)
        self.fails = False

    def forward(self, x: Tensor) -> Tensor:
        h = self.drop(F.relu(self.norm(self.conv(x[:, None]))))
        if self.fails:
            raise RuntimeError("the model's own failure")
        return self.readout(h.flatten(1))


@pytest.mark.parametrize("collector", [True, False])
@pytest.mark.parametrize("composite", ["epsilon", "epsilon-gamma-box", "alpha2-beta1"])
def test_explaining_leaves_everything_as_it_was(composite: str, collector: bool) -> None:
    model, x = seeded(Untouched), random(3, 4, seed=6)
    if composite == "epsilon-gamma-box":
        composite = seqxai.composites.EpsilonGammaBox(low=-1.0, high=1.0)
    was_enabled = gc.isenabled()
    (gc.enable if collector else gc.disable)()
    try:
        before = snapshot(model, x)
        explain = seqxai.LRP(model, composite=composite, ledger=True)
        explain.attribute(x, target=0)
        explain.attribute(x)
        seqxai.capture(model, x).verify(model)
        assert_same(before, snapshot(model, x))
    finally:
        (gc.enable if was_enabled else gc.disable)()


def test_a_failing_model_is_left_as_it_was_and_its_error_reaches_the_user() -> None:
    model, x = seeded(Untouched), random(3, 4, seed=6)
    model.fails = True
    before = snapshot(model, x)
    with pytest.raises(RuntimeError, match="the model's own failure"):
        seqxai.LRP(model, composite="lrp-0").attribute(x, target=0)
    assert_same(before, snapshot(model, x))


def test_dropout_in_training_mode_leaves_the_random_state() -> None:
    """Explained with the mask it drew or refused: both are sound, a consumed random number is not."""
    model, x = seeded(Untouched), random(3, 4, seed=6)
    model.drop.train()
    before = snapshot(model, x)
    with contextlib.suppress(SeqxaiError):
        seqxai.LRP(model, composite="lrp-0").attribute(x, target=0)
    assert_same(before, snapshot(model, x))


def test_a_refused_model_is_left_as_it_was() -> None:
    model, x = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)).double(), random(3, 4, seed=6)
    model[1].register_forward_hook(lambda module, args, out: torch.linalg.matrix_exp(out.reshape(-1, 2, 2)).flatten(1))
    before = snapshot(model, x)
    with pytest.raises(SeqxaiError):
        seqxai.LRP(model, composite="lrp-0").attribute(x, target=0)
    with pytest.raises(SeqxaiError):
        seqxai.LRP(model, composite="lrp-0").attribute(x, target=99)
    assert_same(before, snapshot(model, x))


def test_the_users_own_hooks_still_run() -> None:
    model, x = seeded(lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))), random(2, 4, seed=6)
    calls: list[str] = []
    model[1].register_forward_hook(lambda module, args, out: calls.append("post"))
    model[0].register_forward_hook(lambda module, args, out: 2 * out)
    relevance = seqxai.LRP(model, composite="lrp-0").attribute(x, target=1).relevance
    assert calls == ["post"]
    assert_close(relevance, gradient_times_input(lambda t: model(t)[:, 1], x), 1e-12)
