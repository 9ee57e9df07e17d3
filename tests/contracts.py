"""What every explanation must satisfy, whatever was explained: called by the tests of rules, operations and models."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import seqxai

LEDGER_ENTRIES = {"input", "initial_state", "bias", "stabilizer", "constant", "target"}


class Wrapped(nn.Module):
    """A function as a model; the tensors it needs are given as buffers."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def random(*shape: int, seed: int = 0, low: float = -1.0, high: float = 1.0) -> Tensor:
    """Uniform float64 numbers that depend on nothing but the arguments."""
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)


def seeded(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """A float64 module in eval mode whose parameters are uniform in [-1, 1] / sqrt(fan in), biases included."""
    model = build().double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            fan_in = max(1, parameter[0].numel()) if parameter.dim() > 1 else 4
            parameter.uniform_(-1.0, 1.0, generator=generator).mul_(2.0 / fan_in**0.5)
    return model


def assert_close(actual: Tensor, expected: Tensor, tolerance: float, context: str = "") -> None:
    """Same shape, and no difference above ``tolerance`` times the largest expected magnitude of that sample."""
    assert actual.shape == expected.shape, f"{context}: shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    actual, expected = actual.detach().double(), expected.detach().double()
    if actual.numel() == 0:
        return
    difference = (actual - expected).abs().flatten(1).amax(1)
    scale = expected.abs().flatten(1).amax(1)
    assert bool((difference <= tolerance * scale).all()), (
        f"{context}: differs by {(difference / scale).tolist()} of the largest, allowed {tolerance:g}\n"
        f"actual   {actual.flatten(1)[0, :8].tolist()}\nexpected {expected.flatten(1)[0, :8].tolist()}"
    )


def assert_closed(attribution: seqxai.Attribution, nodes: int) -> None:
    """The ledger's entries sum to what is explained: |left − right| ≤ 1e-12 · Σ|entries| · √nodes, for every sample."""
    total = attribution.ledger.total()
    assert set(total) == LEDGER_ENTRIES
    assert all(entry.dtype == torch.float64 for entry in total.values())
    entries = torch.stack([total[name] for name in sorted(total)])
    moduli = entries.abs().sum(0) - total["input"].abs() + attribution.relevance.double().abs().flatten(1).sum(1)
    gap = (entries.sum(0) - attribution.explained.double()).abs()
    allowed = 1e-12 * moduli * nodes**0.5 if attribution.relevance.dtype == torch.float64 else 1e-5 * moduli
    assert torch.isfinite(gap).all(), f"the ledger is not finite: {total}"
    assert bool((gap <= allowed).all()), f"the ledger is open by {gap.tolist()}, allowed {allowed.tolist()}: {total}"
    arrived = attribution.relevance.double().flatten(1).sum(1)
    assert bool(((total["input"] - arrived).abs() <= allowed).all()), "'input' is not the sum of the relevance"


def check_explanation(
    model: nn.Module | Callable[..., Tensor],
    x: Tensor,
    composite: Any = "lrp-0",
    target: Any = 0,
    **options: Any,
) -> Tensor:
    """Explain ``x``, check everything that holds for every explanation, and return the relevance.

    Checked: the trace replays on another input; the ledger closes; the output is the model's; walking without booking
    gives the same; a sample alone has the relevance it has in the batch.
    """
    module = model if isinstance(model, nn.Module) else Wrapped(model)
    trace = seqxai.capture(module, x)
    trace.verify(module)
    explain = seqxai.LRP(module, composite=composite, ledger=True, **options)
    attribution = explain.attribute(x, target=target)
    assert attribution.relevance.shape == x.shape
    assert torch.isfinite(attribution.relevance).all()
    with torch.no_grad():
        assert_close(attribution.output, module(x.clone()), 1e-14, "output")
    assert_closed(attribution, len(trace.nodes))
    plain = seqxai.LRP(module, composite=composite, **options)
    assert_close(plain.attribute(x, target=target).relevance, attribution.relevance, 1e-13, "without booking")
    last = len(x) - 1
    alone = plain.attribute(x[last:], target=target).relevance
    assert_close(alone, attribution.relevance[last:], 1e-12, f"sample {last} alone")
    return attribution.relevance
