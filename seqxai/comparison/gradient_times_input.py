"""The first-order contribution of every input element."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seqxai.comparison.base import Answer, Comparison, Question, check_model
from seqxai.comparison.derivative import derivatives


class GradientTimesInput(Comparison):
    """``R_i = x_i ∂f/∂x_i`` (Shrikumar et al. 2016; Arras et al. 2019, sec. 11.5.1).

    In a network of linear layers and ReLUs without biases it is LRP-0 and sums to the score.  Through a gate it is not: both
    factors of a product receive the whole of it.  For token ids it is ``Σ_d e_d ∂f/∂e_d`` of the looked-up row e.

    Args:
        model: an ``nn.Module`` or a callable; not changed in any way.
    """

    def __init__(self, model: Any) -> None:
        self.model = check_model(model, "GradientTimesInput")

    @property
    def method(self) -> str:
        """The name in results."""
        return "gradient-times-input"

    @property
    def settings(self) -> Mapping[str, str]:
        """The parameters in results."""
        return {}

    def _answers(self, question: Question) -> list[Answer]:
        return derivatives(question, lambda tensor, gradient, place: tensor * gradient)
