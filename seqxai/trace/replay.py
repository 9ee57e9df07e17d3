"""Running a trace again: the proof that nothing was missed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqxai.errors import CaptureError
from seqxai.trace.graph import Node, Trace, Value


def replay(trace: Trace, inputs: list[Tensor], until: Value | None = None) -> Any:
    """Run the recorded nodes on other inputs.

    Args:
        trace: a trace.
        inputs: tensors of the recorded inputs' shapes and types.
        until: a value of the trace; its content is returned as soon as it is known.

    Returns:
        The content of ``until``, or the list of the contents of ``trace.outputs``.
    """
    contents: dict[int, Tensor] = {}
    for value, tensor in zip(trace.inputs, inputs, strict=True):
        contents[value.number] = tensor.clone()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        for node in trace.nodes:
            if until is not None and until.number in contents:
                break
            given = [contents[v.number] if v.number in contents else v.data for v in node.inputs]
            contents |= run(node, given)
    if until is not None:
        return contents[until.number]
    return [contents[value.number] for value in trace.outputs]


def run(node: Node, given: list[Tensor]) -> dict[int, Tensor]:
    """Run one node on other contents of its inputs; nothing is written into.

    Args:
        node: a node of the trace.
        given: a tensor for each of ``node.inputs``.

    Returns:
        The outputs' contents by the values' numbers; outputs that a rule recomputed are not among them.
    """
    args, kwargs = node.arguments(given)
    if node.mutated is not None:
        # Values are immutable here: whoever writes, writes into a copy.
        written = args[node.mutated].clone()
        args = (*args[: node.mutated], written, *args[node.mutated + 1 :])
        result = node.function(*args, **kwargs)
        return {node.output.number: written if not node.operation.geometric else result}
    if "inplace" in kwargs:
        kwargs["inplace"] = False
    result = node.function(*args, **kwargs)
    results = (result,) if isinstance(result, Tensor) else result
    return {value.number: results[value.index] for value in node.outputs if value.index >= 0}


def perturbed(tensor: Tensor, scale: float) -> Tensor:
    """A nearby input: noise of ``scale`` times the content's spread; integers move by one unit in one element of eight."""
    generator = torch.Generator().manual_seed(tensor.numel())
    if tensor.dtype.is_floating_point:
        spread = float(tensor.detach().abs().max()) or 1.0
        noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        return tensor + (scale * spread * noise).to(tensor)
    if tensor.dtype == torch.bool or tensor.numel() < 2:
        return tensor.clone()
    # Other integers, but none that did not occur: token ids stay inside the vocabulary.
    order = torch.randperm(tensor.numel(), generator=generator)
    chosen = torch.rand(tensor.shape, generator=generator) < 0.125
    return torch.where(chosen, tensor.flatten()[order].reshape(tensor.shape), tensor)


def verify(trace: Trace, model: Any = None, *, scale: float = 1e-3, tolerance: float | None = None) -> float:
    """Replay the trace on a perturbed input and compare with the model on that input.

    Scripted functions, threads, numbers read out of tensors and numpy in the middle are invisible to the recording; their effect
    on the output is not, because the replay keeps what it did not see constant.

    Args:
        trace: what :func:`seqxai.capture` returned.
        model: the model; default is the one that was recorded.
        scale: size of the perturbation relative to the largest input.
        tolerance: largest relative difference taken for rounding; default 1e-9 in float64, 1e-4 in float32, 0.05 below.

    Returns:
        The largest difference, relative to the largest absolute output.

    Raises:
        CaptureError: if the difference exceeds the tolerance.
    """
    if tolerance is None:
        dtype = trace.outputs[0].data.dtype
        tolerance = {torch.float64: 1e-9, torch.float32: 1e-4}.get(dtype, 0.05)
    worst = _compare(trace, model, scale)
    if not worst <= tolerance and tolerance < 1e-8:
        # A mask computed from the input is a constant of the trace; the perturbation may have flipped some of its elements.  A much
        # smaller one flips none, and what was not recorded still differs in proportion to it, far above rounding: both runs execute the
        # very same operations.
        small = _compare(trace, model, 1e-4 * scale)
        worst = small if small <= 1e-3 * tolerance else worst
    if not worst <= tolerance:
        raise CaptureError(
            f"Replaying the trace on a perturbed input differs from the model by {worst:.1e} of its output (allowed {tolerance:.0e}): "
            "a part of the computation was not recorded (scripted code, another thread, numbers read with .item() or numpy), "
            "or the perturbation crossed a branch of the model; keep that part in torch operations."
        )
    return worst


def _compare(trace: Trace, model: Any, scale: float) -> float:
    """Largest difference between the replay and the model on a perturbed input, relative to the largest output."""
    from seqxai.trace.recording import capture

    assert trace.call is not None
    recorded, args, kwargs = trace.call
    model = recorded if model is None else model
    inputs = [perturbed(value.data, scale) for value in trace.inputs]
    replayed = replay(trace, inputs)
    state = torch.get_rng_state()
    try:
        torch.set_rng_state(trace.random_state)
        given = inputs[0] if len(inputs) == 1 else tuple(inputs)
        # Recording again keeps the model untouched; its output is the model's own.
        other = capture(model, given, args, kwargs)
    finally:
        torch.set_rng_state(state)
    if len(replayed) != len(other.outputs):
        return float("inf")
    return max(_difference(ours, value.data) for ours, value in zip(replayed, other.outputs, strict=True))


def _difference(ours: Tensor, theirs: Tensor) -> float:
    if ours.shape != theirs.shape:
        return float("inf")
    size = max(float(theirs.double().abs().max()), 1e-30) if theirs.numel() else 1.0
    finite = torch.isfinite(theirs)
    if not torch.equal(finite, torch.isfinite(ours)):
        return float("inf")
    gap = (ours.double() - theirs.double())[finite].abs()
    return float(gap.max()) / size if gap.numel() else 0.0
