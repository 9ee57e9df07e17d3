"""The gradient, averaged over the way from a reference to the input."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from seqxai.comparison.base import Answer, Comparison, Question, check_model, content, scalar, whole
from seqxai.comparison.derivative import derivatives
from seqxai.errors import InputError


class IntegratedGradients(Comparison):
    """``R_i = (x_i - x'_i) · (1/m) Σ_k ∂f/∂x_i`` at ``x' + (k - 1/2)/m · (x - x')``, ``k = 1 … m`` (Sundararajan et al. 2017).

    Sums to ``f(x) - f(x')`` as m grows.  Kratzert et al. 2019, eq. 19.6, take the derivative at the end of every part of the way
    (``k/m``); in the middle the error falls with m² rather than m.  For token ids the way leads from a row of zeros to the looked-up
    row, and the relevance is summed over it.  The largest output is chosen once, at the input.

    Args:
        model: an ``nn.Module`` or a callable; not changed in any way.
        points: m, how many times the model runs.
        reference: x', a number or a tensor that fits the input; 0 by default.  Of token ids it is the row of zeros.

    Raises:
        InputError: for an unusable option, or a reference that does not fit the input.
    """

    def __init__(self, model: Any, *, points: int = 100, reference: float | Tensor = 0.0) -> None:
        self.model = check_model(model, "IntegratedGradients")
        self.points = whole(points, "points", least=1)
        number = isinstance(reference, (int, float)) and not isinstance(reference, bool) and math.isfinite(reference)
        if not number and not (isinstance(reference, Tensor) and bool(torch.isfinite(reference).all())):
            raise InputError(f"reference must be a finite number or a tensor of finite numbers, got {reference!r}.")
        self.reference = reference

    @property
    def method(self) -> str:
        """The name in results."""
        return "integrated-gradients"

    @property
    def settings(self) -> Mapping[str, str]:
        """The parameters in results."""
        reference = f"a tensor of shape {tuple(self.reference.shape)}" if isinstance(self.reference, Tensor) else str(self.reference)
        return {"points": str(self.points), "reference": reference}

    def _answers(self, question: Question) -> list[Answer]:
        references = [self._fitting(value.data) for value in question.trace.inputs]
        totals: list[list[Tensor]] = []
        for k in range(self.points):
            for position, answer in enumerate(self._at((k + 0.5) / self.points, references, question)):
                if not k:
                    totals.append([torch.zeros_like(part) for part in answer.relevance])
                for total, part in zip(totals[position], answer.relevance, strict=True):
                    total += part / self.points
        explained = [scalar(target, scores)(scores) for target in question.targets for _, scores in [content(question, target)]]
        return [Answer(e, tuple(r)) for e, r in zip(explained, totals, strict=True)]

    @staticmethod
    def _at(fraction: float, references: list[Tensor], question: Question) -> list[Answer]:
        """The derivatives at one place of the way, times the whole way; looked-up rows come without a position."""

        def along(tensor: Tensor, position: int | None) -> Tensor:
            start = torch.zeros_like(tensor) if position is None else references[position]
            return start + fraction * (tensor - start)

        def whole_way(tensor: Tensor, gradient: Tensor, position: int | None) -> Tensor:
            start = torch.zeros_like(tensor) if position is None else references[position]
            return (tensor - start) / fraction * gradient

        return derivatives(question, whole_way, along)

    def _fitting(self, x: Tensor) -> Tensor:
        if not x.dtype.is_floating_point:
            return torch.zeros_like(x, dtype=torch.float64)
        reference = torch.as_tensor(self.reference, dtype=x.dtype, device=x.device)
        try:
            return reference.expand(x.shape)
        except RuntimeError as error:
            raise InputError(
                f"Expected a reference that fits an input of shape {tuple(x.shape)}, got {tuple(reference.shape)}; give a number, or one "
                "value for each element."
            ) from error
