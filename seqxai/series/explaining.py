"""From a series and a model to relevance: which output, at which step, by which method."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seqxai import comparison, composites
from seqxai.attribution import Attribution, Attributor
from seqxai.errors import InputError, TargetError
from seqxai.lrp import LRP
from seqxai.series.scale import Scale
from seqxai.series.table import NumericSeries
from seqxai.targets import Index, Several, Step, Target

METHODS: dict[str, Callable[..., Attributor]] = {
    "lrp": LRP,
    "gradient": comparison.Gradient,
    "gradient-times-input": comparison.GradientTimesInput,
    "integrated-gradients": comparison.IntegratedGradients,
    "occlusion": comparison.Occlusion,
    "contextual-decomposition": comparison.ContextualDecomposition,
}


@dataclass(frozen=True)
class Request:
    """What is asked about every series.

    Attributes:
        targets: outputs by number or by name; none for the only one, or the largest.
        output_names: names of the outputs.
        method: a name in ``METHODS``.
        composite, epsilon, product: of LRP; see :class:`seqxai.LRP`.
        time_major: the model reads (steps, batch, channels).
    """

    targets: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()
    method: str = "lrp"
    composite: str = "epsilon"
    epsilon: float | None = None
    product: str = "signal-takes-all"
    time_major: bool = False


@dataclass(frozen=True, eq=False)
class ExplainedSeries:
    """A series with its relevance.

    Attributes:
        series: the rows the model read.
        relevance: (targets, T, C).
        targets: names of what was explained.
        explained: (targets,).
        balance: entry -> (targets,), the ledger; empty for methods without one.
        closed: whether it closes.
        method: in words.
    """

    series: NumericSeries
    relevance: np.ndarray
    targets: tuple[str, ...]
    explained: np.ndarray
    balance: dict[str, np.ndarray]
    closed: bool
    method: str


def attributor(model: nn.Module, request: Request) -> tuple[Attributor, str]:
    """The method asked for, and its name in words.

    Raises:
        InputError: for an unknown name, or an option that belongs to another method.
    """
    if request.method not in METHODS:
        raise InputError(f"Expected a method among {', '.join(METHODS)}, got {request.method!r}.")
    if request.method != "lrp":
        given = [name for name in ("composite", "epsilon", "product") if getattr(request, name) != getattr(Request, name)]
        if given:
            raise InputError(f"--{given[0]} belongs to the method lrp, and the method is {request.method}; leave one of them out.")
        return METHODS[request.method](model), request.method.replace("-", " ")
    composite: Any = request.composite
    if request.epsilon is not None:
        make = composites.PRESETS.get(request.composite)
        if make is None or "epsilon" not in inspect.signature(make).parameters:
            composites.ensure(request.composite)  # an unknown name is told first
            raise InputError(f"The composite {request.composite} has no ε; leave --epsilon out, or take the composite epsilon.")
        composite = make(epsilon=request.epsilon)  # type: ignore[call-arg]
    gates = "" if request.product == Request.product else f", gates {request.product}"
    epsilon = "" if request.epsilon is None else f", ε = {request.epsilon:g}"
    return LRP(model, composite, product=request.product, ledger=True), f"LRP, composite {request.composite}{epsilon}{gates}"


def explain_series(model: nn.Module, series: NumericSeries, scale: Scale, request: Request) -> ExplainedSeries:
    """Explain one series by itself.

    Args:
        model: (1, T, C) to (1, K), (1,), (1, T, K) or (1, T); the last step's output is explained.
        series: without gaps.
        scale: applied before the model reads it.
        request: see there.

    Raises:
        SeqxaiError: gaps, a model that cannot read the series, an output that is not there.
    """
    series.check_complete()
    dtype = next((p.dtype for p in model.parameters() if p.dtype.is_floating_point), torch.get_default_dtype())
    x = torch.as_tensor(scale(series.values), dtype=dtype)[None]
    x = x.transpose(0, 1).contiguous() if request.time_major else x
    outputs, every_step = _outputs(model, x, request)
    indices = [_index(name, request.output_names, len(outputs)) for name in request.targets] or [int(outputs.argmax())]
    each: list[Target] = [Step(-1, i, batch_first=not request.time_major) if every_step else Index(i) for i in indices]
    explain, words = attributor(model, request)
    found = explain.attribute(x, target=Several(each))
    relevance = found.relevance.movedim(2, 1) if request.time_major else found.relevance
    balance, closed = _balance(found, request)
    names = tuple(_name(i, request.output_names, len(outputs)) for i in indices)
    return ExplainedSeries(
        series, relevance[:, 0].double().numpy(), names, found.explained[:, 0].double().numpy(), balance, closed, words
    )


def _balance(found: Attribution, request: Request) -> tuple[dict[str, np.ndarray], bool]:
    if request.method != "lrp":
        return {}, True
    entries = {name: value[:, 0].double().numpy() for name, value in found.ledger.total().items()}
    return entries, found.ledger.closed()


def _outputs(model: nn.Module, x: Tensor, request: Request) -> tuple[Tensor, bool]:
    """The outputs at the last step, (K,), and whether there are outputs at every step."""
    steps, channels = x.shape[0 if request.time_major else 1], x.shape[2]
    try:
        with torch.no_grad():
            found = model(x)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"The model cannot read a series of {steps} steps and {channels} channels, shape {tuple(x.shape)}: {reason}; choose the "
            "columns it was trained on with --columns."
        ) from error
    first = found[0] if isinstance(found, (tuple, list)) else found
    if not isinstance(first, Tensor):
        raise InputError(f"Expected a model that returns a tensor, got {type(first).__name__}; explain it in Python with seqxai.LRP.")
    shape, batch = tuple(first.shape), 1 if request.time_major and first.dim() == 3 else 0
    if first.dim() == 3 and shape[1 - batch] == steps and shape[batch] == 1:
        return first.movedim(batch, 0)[0, -1], True
    if not request.time_major and first.dim() == 2 and shape == (1, steps) and steps > 1 and len(request.output_names) != steps:
        return first[0, -1:], True
    if first.dim() in (1, 2) and shape[0] == 1:
        return first.reshape(-1), False
    hint = "it seems to read the steps first: give --time-major" if shape[0] == steps and not request.time_major else "see docs/series.md"
    raise InputError(f"Expected outputs (1, K) or (1, {steps}, K) for one series, got shape {shape}; {hint}.")


def _index(name: str, names: Sequence[str], count: int) -> int:
    if name in names:
        return list(names).index(name)
    if name.isdigit() and int(name) < count:
        return int(name)
    known = f", or a name among {', '.join(names)}" if names else ""
    raise TargetError(f"Expected an output from 0 to {count - 1}{known}, got {name!r}.")


def _name(index: int, names: Sequence[str], count: int) -> str:
    if names and len(names) != count:
        raise TargetError(f"Expected a name for each of the model's {count} outputs, got {len(names)}: {', '.join(names)}.")
    return names[index] if names else f"output {index}"
