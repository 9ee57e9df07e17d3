"""The partial derivatives of what is explained, by running the recorded trace again with autograd on.

Neither the model nor a parameter takes part: the nodes run on copies, and every constant is detached.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from seqxai import targets
from seqxai.comparison.base import Answer, Question, content, scalar
from seqxai.errors import UnsupportedOperation
from seqxai.trace import Trace, Value
from seqxai.trace.calls import INTEGER
from seqxai.trace.graph import Node
from seqxai.trace.lenient import UNKNOWN
from seqxai.trace.replay import run

Sensitivity = Callable[[Tensor, Tensor, int | None], Tensor]
"""From a tensor and the derivative of the score with respect to it to a relevance of the same shape; the last argument as in ``Place``."""

Place = Callable[[Tensor, int | None], Tensor]
"""From a recorded tensor to where the derivative is taken instead: of an input by its position, of looked-up rows (None)."""


@dataclass(eq=False)
class Run:
    """The contents of a trace's values, linked by autograd.

    Attributes:
        leaves: the explained inputs; integers as float64, whose fractions nobody uses.
        place: where the derivative is taken, at the input by default.
        lookups: (looked-up rows (..., D), the ids (...) they were looked up with), one for each embedding of active token ids.
        contents: content by the value's number.
    """

    leaves: list[Tensor]
    place: Place | None = None
    lookups: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    contents: dict[int, Tensor] = field(default_factory=dict)

    def of(self, value: Value) -> Tensor:
        """The content of a value; a buffer the model wrote into is a constant."""
        return self.contents[value.number] if value.number in self.contents else value.data


def derivatives(question: Question, sensitivity: Sensitivity, place: Place | None = None) -> list[Answer]:
    """Answer every target by the same function of the derivatives; one run forward, one backward for each target.

    Token ids have no derivative: theirs is taken with respect to the looked-up rows and summed over the rows' elements.

    Args:
        question: what is asked.
        sensitivity: relevance from a tensor and its derivative.
        place: takes the derivative elsewhere than at the input; what is explained is then that of the other place.
    """
    with torch.enable_grad(), _not_through_cudnn(question.trace), torch.random.fork_rng(devices=[]):
        found = _run(question.trace, place)
    answers = []
    for target in question.targets:
        value, scores = content(question, target)
        with torch.enable_grad():
            explained = scalar(target, scores)(targets.by_sample(found.of(value), question.trace))
        answers.append(Answer(explained.detach(), _relevance(found, explained, question.trace, sensitivity)))
    return answers


@contextlib.contextmanager
def _not_through_cudnn(trace: Trace) -> Iterator[None]:
    """Recurrent layers have a derivative in cuDNN's kernels in training mode only, in torch's own always."""
    if not any(node.operation.kind == "recurrent" for node in trace.nodes):
        yield
        return
    with torch.backends.cudnn.flags(enabled=False):
        yield


def _run(trace: Trace, place: Place | None = None) -> Run:
    moved = [place(v.data, i) if place and v.data.dtype.is_floating_point else _number(v) for i, v in enumerate(trace.inputs)]
    leaves = [leaf.detach().clone().requires_grad_() for leaf in moved]
    found = Run(leaves, place)
    for value, leaf in zip(trace.inputs, leaves, strict=True):
        found.contents[value.number] = leaf.clone()
    for node in trace.nodes:
        found.contents |= _node(node, found)
    return found


def _number(value: Value) -> Tensor:
    return value.data if value.data.dtype.is_floating_point else value.data.double()


def _node(node: Node, found: Run) -> dict[int, Tensor]:
    given = [found.of(value) for value in node.inputs]
    source = node.inputs[0]
    integers = not source.data.dtype.is_floating_point
    if node.operation is INTEGER:
        # Shifted token ids belong to the same places: the derivative is 1, whatever the shift or factor.
        return {node.output.number: node.output.data.double() + (given[0] - given[0].detach()).expand(node.output.shape)}
    if integers and _looks_up(node):
        return _look_up(node, given[0], found)
    if integers and node.operation.kind == UNKNOWN:
        raise UnsupportedOperation(
            f"{node.describe()} computes on integers, so nothing is known of its derivative; expected token ids that are looked up, or "
            "numbers: convert them before, or explain with seqxai.comparison.Occlusion."
        )
    with _constants_detached(node):
        results = run(node, given)
    for value in node.outputs:
        if value.number in results:
            results[value.number] = _linked(node, given[0], results[value.number], value)
    return results


def _looks_up(node: Node) -> bool:
    """An embedding, or a constant table indexed by token ids."""
    return node.operation.kind == "embedding" or (node.operation.kind == "route" and node.places[0] in (1, 2, "index"))


def _look_up(node: Node, ids: Tensor, found: Run) -> dict[int, Tensor]:
    recorded = node.output.data.detach()
    rows = (recorded if found.place is None else found.place(recorded, None)).clone().requires_grad_()
    if rows.shape[: ids.dim()] != ids.shape:
        raise UnsupportedOperation(
            f"{node.describe()} joins the rows of several token ids, whose derivatives are not kept apart; expected one row for each: "
            "look them up with nn.Embedding and add them up afterwards."
        )
    found.lookups.append((rows, ids))
    return {node.output.number: rows.clone()}


@contextlib.contextmanager
def _constants_detached(node: Node) -> Iterator[None]:
    """Nothing is kept for the derivative of a weight."""
    args, kwargs = node.args, node.kwargs
    node.args, node.kwargs = _detached(args), _detached(kwargs)
    try:
        yield
    finally:
        node.args, node.kwargs = args, kwargs


def _detached(item: Any) -> Any:
    if isinstance(item, Tensor):
        if item.is_inference():  # autograd refuses it
            return item.clone()
        return item.detach() if item.requires_grad else item
    if type(item) in (tuple, list):
        return type(item)(_detached(i) for i in item)
    return {key: _detached(i) for key, i in item.items()} if type(item) is dict else item


def _linked(node: Node, given: Tensor, result: Tensor, value: Value) -> Tensor:
    """A result of the recorded type; ``detach`` and ``data`` pass the derivative on, for the function they are part of does."""
    if value.data.dtype.is_floating_point and result.dtype != value.data.dtype:
        result = result.to(value.data.dtype)
    if node.operation.how == "reshape" and given.requires_grad and not result.requires_grad:
        result = given.reshape(result.shape)
        result = result.to(value.data.dtype) if value.data.dtype.is_floating_point else result
    return result


def _relevance(found: Run, explained: Tensor, trace: Trace, sensitivity: Sensitivity) -> tuple[Tensor, ...]:
    rows = [rows for rows, _ in found.lookups]
    every = [*found.leaves, *rows]
    gradients = _gradients(explained, every, torch.ones_like(explained))
    relevance = []
    for place, (value, leaf, gradient) in enumerate(zip(trace.inputs, found.leaves, gradients, strict=False)):
        part = sensitivity(leaf.detach(), gradient, place)
        relevance.append(part if value.data.dtype.is_floating_point else part.to(explained.dtype))
    for (looked_up, ids), gradient in zip(found.lookups, gradients[len(found.leaves) :], strict=True):
        by_id = sensitivity(looked_up.detach(), gradient, None).flatten(ids.dim()).sum(-1) if looked_up.dim() > ids.dim() else gradient
        for position, part in enumerate(_gradients(ids, found.leaves, by_id.to(ids.dtype))):
            relevance[position] = relevance[position] + part.to(relevance[position].dtype)
    return tuple(relevance)


def _gradients(output: Tensor, inputs: list[Tensor], start: Tensor) -> list[Tensor]:
    """Derivatives, zero where nothing depends on an input."""
    if not output.requires_grad:
        return [torch.zeros_like(tensor) for tensor in inputs]
    return list(torch.autograd.grad(output, inputs, start, retain_graph=True, materialize_grads=True))
