"""Sensitivity analysis: the partial derivative."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from seqxai.comparison.base import Answer, Comparison, Question, check_model
from seqxai.comparison.derivative import derivatives
from seqxai.errors import InputError

FORMS: dict[str, Callable[[Tensor], Tensor]] = {"squared": torch.square, "signed": torch.clone, "absolute": torch.abs}


class Gradient(Comparison):
    """``R_i = (∂f/∂x_i)²``: how strongly the score reacts to an element of the input (Simonyan et al. 2014; Gevrey et al. 2003).

    The literature means four things by it: this square (Arras et al. 2019, sec. 11.5.1, where it is called Gradient), the absolute
    value, the derivative with its sign, and the largest absolute value over colour channels.  Sums and rankings differ; compare
    one form with itself.  For token ids the derivatives are those of the looked-up row, in the chosen form, summed over it.

    Args:
        model: an ``nn.Module`` or a callable; not changed in any way.
        form: "squared", "signed" or "absolute".

    Raises:
        InputError: for another form.
    """

    def __init__(self, model: Any, *, form: Literal["squared", "signed", "absolute"] = "squared") -> None:
        if form not in FORMS:
            raise InputError(f"form must be one of {', '.join(FORMS)}, got {form!r}.")
        self.model = check_model(model, "Gradient")
        self.form = form

    @property
    def method(self) -> str:
        """The name in results."""
        return "gradient"

    @property
    def settings(self) -> Mapping[str, str]:
        """The parameters in results."""
        return {"form": self.form}

    def _answers(self, question: Question) -> list[Answer]:
        form = FORMS[self.form]
        return derivatives(question, lambda tensor, gradient, place: form(gradient))
