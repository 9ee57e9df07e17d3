"""Random programs of registered operations: a closed ledger and a trace that replays, or a refusal; nothing else."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

import seqxai
from seqxai.errors import SeqxaiError
from tests.contracts import Wrapped, assert_close, assert_closed, random
from tests.references import gradient_times_input

WIDTH = 4
W = [random(WIDTH, WIDTH, seed=s) for s in range(4)]
V = [random(WIDTH, seed=10 + s) for s in range(4)]
KERNEL = random(1, 1, 3, seed=20)
MASK = torch.tensor([True, False, True, False])
ORDER = torch.tensor([2, 0, 3, 3])


def _assign(h: Tensor, k: Tensor) -> Tensor:
    h[:, 1:3] = k[:, :2] * 1.0  # a copy: h may be k, and torch does not define overlapping writes
    return h


def _into_buffer(h: Tensor, k: Tensor) -> Tensor:
    out = torch.zeros(2, len(h), WIDTH, dtype=h.dtype)
    out[0] = h
    out[1] = k
    return out.sum(0)


def _add_in_place(h: Tensor, k: Tensor) -> Tensor:
    h += k
    return h


def _scale_slice(h: Tensor, k: Tensor) -> Tensor:
    h[:, ::2] *= 1.5
    return k + h


# Piecewise linear: LRP-0 is gradient × input. Every one maps two (B, 4) to one (B, 4).
LINEAR: list[Callable[[Tensor, Tensor], Tensor]] = [
    lambda h, k: F.linear(h, W[0], V[0]),
    lambda h, k: h @ W[1] + V[1],
    lambda h, k: F.linear(h, W[2]) + F.linear(k, W[3], V[2]),
    lambda h, k: F.relu(h),
    lambda h, k: F.leaky_relu(h, 0.2),
    lambda h, k: h + k,
    lambda h, k: h - 0.5 * k,
    lambda h, k: torch.add(h, k, alpha=2),
    lambda h, k: h * V[3] + V[0],
    lambda h, k: (1 - h) / 3.0,
    lambda h, k: torch.cat([h[:, :2], k[:, 1:3]], 1),
    lambda h, k: torch.stack([h, k], 1).mean(1),
    lambda h, k: h.flip(1),
    lambda h, k: h[:, ORDER],
    lambda h, k: h.roll(1, 1),
    lambda h, k: torch.maximum(h, k),
    lambda h, k: torch.where(MASK, h, k),
    lambda h, k: torch.where(h > 0, h, k),
    lambda h, k: h.masked_fill(MASK, 0.5),
    lambda h, k: F.pad(h, (1, 0))[:, :WIDTH],
    lambda h, k: F.conv1d(h[:, None], KERNEL, padding=1)[:, 0],
    lambda h, k: F.max_pool1d(h[:, None], 3, 1, 1)[:, 0] + k,
    lambda h, k: F.avg_pool1d(h[:, None], 3, 1, 1)[:, 0],
    lambda h, k: h.mean(1, keepdim=True).expand(-1, WIDTH) + k,
    lambda h, k: h.view(-1, 2, 2).permute(0, 2, 1).reshape(-1, WIDTH),
    lambda h, k: torch.lerp(h, k, 0.3),
    lambda h, k: F.batch_norm(h, V[0], V[1].abs() + 0.5, V[2], V[3]),
    lambda h, k: h.unfold(1, 2, 2).flatten(1),
    lambda h, k: sum(h.split(1, 1)).expand(-1, WIDTH) - k,  # type: ignore[union-attr]
    lambda h, k: h.clone(),
]
CHANGING: list[Callable[[Tensor, Tensor], Tensor]] = [
    lambda h, k: h.relu_(),
    lambda h, k: h.mul_(0.7).add_(0.1),
    _add_in_place,
    _assign,
    _into_buffer,
    _scale_slice,
    lambda h, k: h.masked_fill_(MASK, 0.25),
    lambda h, k: h.copy_(k * 1.0) + 1.0,
    lambda h, k: h.view(-1, 2, 2).select(1, 0).clamp_(min=0.0).repeat(1, 2) + k,
]
CURVED: list[Callable[[Tensor, Tensor], Tensor]] = [
    lambda h, k: torch.tanh(h),
    lambda h, k: F.gelu(h),
    lambda h, k: torch.sigmoid(h) * k.tanh(),
    lambda h, k: torch.sigmoid(h) * h + (1 - torch.sigmoid(h)) * k,
    lambda h, k: torch.lerp(h, k, torch.sigmoid(k)),
    lambda h, k: F.glu(torch.cat([h, k], 1), 1),
    lambda h, k: F.layer_norm(h, (WIDTH,), V[0], V[1]),
    lambda h, k: F.softmax(h, 1) * k,
    lambda h, k: seqxai.gate(torch.exp(-h.abs())) * k,
    lambda h, k: h * k,
]
OPERATIONS = [*LINEAR, *CHANGING, *CURVED]

step = st.tuples(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 10_000))


class Program:
    """Steps (operation, first operand, second operand); operands are earlier values, recent ones preferred."""

    def __init__(self, steps: list[tuple[int, int, int]], operations: list[Any]) -> None:
        self.steps = [(operations[o % len(operations)], a, b) for o, a, b in steps]

    def __call__(self, x: Tensor) -> Tensor:
        values = [x * 1.0, x @ W[0]]
        for operation, a, b in self.steps:
            h, k = values[-1 - a % min(3, len(values))], values[b % len(values)]
            values.append(operation(h, k))
        everything = torch.cat([values[-1], values[len(values) // 2]], 1)
        return F.linear(everything, random(2, 2 * WIDTH, seed=30), random(2, seed=31))


def check(steps: list[tuple[int, int, int]], operations: list[Any], composite: str) -> None:
    program, x = Program(steps, operations), random(2, WIDTH, seed=32)
    model = Wrapped(program)
    try:
        attribution = seqxai.LRP(model, composite=composite, ledger=True).attribute(x, target=1)
    except SeqxaiError as refusal:
        event(f"refused: {type(refusal).__name__}")
        return
    trace = seqxai.capture(model, x)
    trace.verify(model)
    assert_closed(attribution, len(trace.nodes))
    with torch.no_grad():
        assert_close(attribution.output, program(x), 1e-12, "output")
    event("closed")


@pytest.mark.parametrize("composite", ["lrp-0", "epsilon"])
@settings(max_examples=50)
@given(steps=st.lists(step, min_size=8, max_size=22))
def test_a_random_program_closes_its_ledger_or_is_refused(composite: str, steps: list[tuple[int, int, int]]) -> None:
    check(steps, OPERATIONS, composite)


@settings(max_examples=50)
@given(steps=st.lists(step, min_size=8, max_size=22))
def test_a_random_piecewise_linear_program_is_never_refused_and_is_gradient_times_input(
    steps: list[tuple[int, int, int]],
) -> None:
    program, x = Program(steps, LINEAR), random(2, WIDTH, seed=33)
    model = Wrapped(program)
    attribution = seqxai.LRP(model, composite="lrp-0", ledger=True).attribute(x, target=1)
    nodes = len(seqxai.capture(model, x).nodes)
    assert_closed(attribution, nodes)
    expected = gradient_times_input(lambda t: program(t)[:, 1], x)
    assert_close(attribution.relevance, expected, 1e-9)
    alone = seqxai.LRP(model, composite="lrp-0").attribute(x[1:], target=1).relevance
    assert_close(alone, attribution.relevance[1:], 1e-9, "alone")


@settings(max_examples=50)
@given(steps=st.lists(step, min_size=6, max_size=14))
def test_a_random_program_with_writes_equals_its_own_gradient(steps: list[tuple[int, int, int]]) -> None:
    """Aliases and in-place writes at random places; where autograd itself refuses them, only the ledger is checked."""
    program, x = Program(steps, [*LINEAR, *CHANGING, *CHANGING]), random(2, WIDTH, seed=34)
    model = Wrapped(program)
    try:
        attribution = seqxai.LRP(model, composite="lrp-0", ledger=True).attribute(x, target=0)
    except SeqxaiError as refusal:
        raise AssertionError("refused") from refusal
    trace = seqxai.capture(model, x)
    trace.verify(model)
    assert_closed(attribution, len(trace.nodes))
    try:
        expected = gradient_times_input(lambda t: program(t)[:, 0], x)
    except RuntimeError:
        event("autograd refuses")
        return
    assert_close(attribution.relevance, expected, 1e-9)
