"""Product rules: how relevance is shared between the two factors of a gate's product."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from seqxai.errors import InputError
from seqxai.rules.base import Rule, Stabilizer

if TYPE_CHECKING:
    from seqxai.rules.flow import Flow
    from seqxai.trace.graph import Node

Part = float | Tensor


class Shares(NamedTuple):
    """Fractions of a product's relevance: to the gate, to the signal, and into the rule's own stabilizer; they sum to one."""

    gate: Part
    signal: Part
    absorbed: Part = 0.0


class ProductRule(Rule):
    """How the relevance of ``gate * signal`` is shared (Arras et al. 2019, Table 11.1).

    Shares depend on *pre-activations*: the argument of the gate's sigmoid and of the signal's tanh; of a plain state the state itself;
    of ``1 - σ(a)``, which is ``σ(-a)``, it is -a.  What the gate receives goes on through the gate's own weights.
    """

    @abstractmethod
    def shares(self, gate: Tensor, signal: Tensor) -> Shares:
        """The fractions for pre-activations z_g and z_s, broadcastable to each other."""

    @property
    def takes_all(self) -> bool:
        """Whether the gate never receives anything, so that it can be held fixed inside a sum."""
        return False

    def __call__(self, node: Node, flow: Flow) -> None:
        """Share the relevance of a product node."""
        from seqxai.rules.gates import multiply

        multiply(node, flow)


@dataclass(frozen=True)
class SignalTakesAll(ProductRule):
    """LRP-all: ``R_s = R, R_g = 0`` (Arras et al. 2017); the gate acts as a weight.  The default, for standard LSTM and GRU cells."""

    def shares(self, gate: Tensor, signal: Tensor) -> Shares:
        """Everything to the signal."""
        return Shares(0.0, 1.0)

    @property
    def takes_all(self) -> bool:
        """See :class:`ProductRule`."""
        return True


@dataclass(frozen=True)
class Half(ProductRule):
    """LRP-half: ``R_s = R_g = R / 2`` (Arjona-Medina et al. 2019): for cells made for it, such as the Markov LSTM."""

    def shares(self, gate: Tensor, signal: Tensor) -> Shares:
        """Equal halves."""
        return Shares(0.5, 0.5)


@dataclass(frozen=True)
class Proportional(ProductRule):
    """LRP-prop: ``R_g = z_g / n R, R_s = z_s / n R, n = z_g + z_s + ε sign(z_g + z_s)`` (Ding et al. 2017; Arras et al. 2019).

    The two pre-activations often cancel, and then shares explode: 0.2 was the smallest ε that Arras et al. found stable, hundreds of times
    that of the other rules.  On a maximum the same name means: every element of the pool in proportion to its activation.

    Args:
        epsilon: size of the signed stabilizer of n; default 0.2 for products, 1e-9 for pools.
    """

    epsilon: float | Stabilizer | None = None

    def __post_init__(self) -> None:
        Stabilizer.ensure(0.2 if self.epsilon is None else self.epsilon)

    def shares(self, gate: Tensor, signal: Tensor) -> Shares:
        """See the class."""
        return _fractions(gate, signal, _size(self.epsilon, 0.2))

    def __call__(self, node: Node, flow: Flow) -> None:
        """A product, or a maximum."""
        if node.operation.kind in ("max", "max-pool"):
            from seqxai.rules.pooling import in_proportion

            in_proportion(node, flow, Stabilizer.ensure(1e-9 if self.epsilon is None else self.epsilon))
        else:
            super().__call__(node, flow)


@dataclass(frozen=True)
class Absolute(ProductRule):
    """LRP-abs: ``R_g = |z_g| / n R, R_s = |z_s| / n R, n = |z_g| + |z_s| + ε`` (Arras et al. 2019): shares in [0, 1].

    Args:
        epsilon: stabilizer of n, >= 0; 0.001 as in the published experiments.
    """

    epsilon: float = 1e-3

    def __post_init__(self) -> None:
        Stabilizer.ensure(self.epsilon)

    def shares(self, gate: Tensor, signal: Tensor) -> Shares:
        """See the class."""
        return _fractions(gate.abs(), signal.abs(), _size(self.epsilon, 1e-3))


def _size(epsilon: float | Stabilizer | None, default: float) -> float:
    """The size of a signed stabilizer.

    Raises:
        InputError: for other kinds, which need a layer to look at.
    """
    found = Stabilizer.ensure(default if epsilon is None else epsilon)
    if found.kind != "signed":
        raise InputError(f"A product rule's stabilizer is signed, got the kind {found.kind!r}; give epsilon as a number.")
    return found.epsilon


def _fractions(gate: Tensor, signal: Tensor, epsilon: float) -> Shares:
    total = gate + signal + 0.0  # a sum that cancels may be -0.0, whose sign counts as +1
    offset = torch.copysign(total.new_tensor(epsilon), total)
    inverse = 1.0 / (total + offset)
    if epsilon == 0:
        dead = ~torch.isfinite(inverse)
        inverse = inverse.masked_fill(dead, 0.0)
        return Shares(gate * inverse, signal * inverse, dead.to(total.dtype))
    return Shares(gate * inverse, signal * inverse, offset * inverse)


NAMES: dict[str, type[ProductRule]] = {
    "signal-takes-all": SignalTakesAll, "half": Half, "proportional": Proportional, "absolute": Absolute,
}  # fmt: skip


def ensure(product: str | ProductRule) -> ProductRule:
    """A product rule by name or as it is.

    Raises:
        InputError: for an unknown name.
    """
    if isinstance(product, ProductRule):
        return product
    if isinstance(product, str) and product in NAMES:
        return NAMES[product]()
    raise InputError(f"product must be one of {', '.join(NAMES)}, or a product rule of seqxai.rules, got {product!r}.")


def name(rule: ProductRule) -> str:
    """A rule's name with the parameters that are not its defaults, for files."""
    for known, kind in NAMES.items():
        if rule == kind():
            return known
    return repr(rule)
