"""The methods of Arras et al. 2019, sec. 11.5.1, by name, with the settings of that section."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from seqxai.attribution import Attributor
from seqxai.comparison.contextual_decomposition import ContextualDecomposition
from seqxai.comparison.gradient import Gradient
from seqxai.comparison.gradient_times_input import GradientTimesInput
from seqxai.comparison.occlusion import Occlusion
from seqxai.composites import Epsilon
from seqxai.errors import InputError
from seqxai.lrp import LRP
from seqxai.rules import Absolute, Half, Proportional, SignalTakesAll

EPSILON = 1e-3
PROPORTIONAL_EPSILON = 0.2  # the section takes it for sums and shares alike: the shares divide by a sum that may cancel


def _lrp(product: Callable[[float], Any]) -> Callable[[Any, float, float], Attributor]:
    return lambda model, epsilon, reference: LRP(model, Epsilon(epsilon), product=product(epsilon))


def _proportional(model: Any, epsilon: float, reference: float) -> Attributor:
    return LRP(model, Epsilon(PROPORTIONAL_EPSILON), product=Proportional(epsilon=PROPORTIONAL_EPSILON))


BY_NAME: dict[str, Callable[[Any, float, float], Attributor]] = {
    "lrp-all": _lrp(lambda epsilon: SignalTakesAll()),
    "lrp-half": _lrp(lambda epsilon: Half()),
    "lrp-prop": _proportional,
    "lrp-abs": _lrp(lambda epsilon: Absolute(epsilon=epsilon)),
    "gradient": lambda model, epsilon, reference: Gradient(model),
    "gradient-times-input": lambda model, epsilon, reference: GradientTimesInput(model),
    "occlusion": lambda model, epsilon, reference: Occlusion(model, "score", reference=reference),
    "occlusion-probability": lambda model, epsilon, reference: Occlusion(model, "probability", reference=reference),
    "contextual-decomposition": lambda model, epsilon, reference: ContextualDecomposition(model),
}
"""Name -> from a model, ε and the id of an occluded token to an attributor."""


def by_name(name: str, model: Any, *, epsilon: float = EPSILON, reference: float = 0) -> Attributor:
    """An attributor by the name it has in tables: LRP with one of four product rules, or a comparison method.

    The settings are those of Arras et al. 2019, sec. 11.5.1: ε in sums and shares, always 0.2 for ``lrp-prop``; the squared gradient;
    occluded steps set to zero, or to the id ``reference`` (the padding, whose embedding is zero).

    Args:
        name: a key of ``BY_NAME``.
        model: an ``nn.Module`` or a callable.
        epsilon: of LRP.
        reference: what an occluded step is set to.

    Raises:
        InputError: for another name.
    """
    if name not in BY_NAME:
        raise InputError(f"The method must be one of {', '.join(BY_NAME)}. Got {name!r} instead.")
    return BY_NAME[name](model, epsilon, reference)
