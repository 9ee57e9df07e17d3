"""What every rule is made of: stabilizers, shares, and the class itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from seqxai.errors import InputError

if TYPE_CHECKING:
    from seqxai.rules.flow import Flow
    from seqxai.trace.graph import Node, Value


class Share(NamedTuple):
    """What a coefficient on its way through a sum multiplies when it meets an input.

    A rule divides relevance once, at the top of a sum; what travels on below is a coefficient s.  At an input x with effective
    weight w the relevance is

    * ``signal``: ``s (plus (x w)⁺ + minus (x w)⁻)``; plus = minus = 1 is the plain adjoint, ``s x w``;
    * ``sum``: ``s x``, for sums whose terms are not layers; a layer that feeds one starts its own division;
    * ``box``: ``-s (low w⁺ + high w⁻)``, with low and high exchanged where plus = 1 (after a negative factor);
    * ``square``: ``s w²`` and ``flat``: ``s``, whatever x is.

    ``bias`` says whether constants of the sum take part.
    """

    kind: str = "signal"
    plus: float = 1.0
    minus: float = 1.0
    bias: bool = True

    @property
    def plain(self) -> bool:
        """Whether positive and negative contributions are treated alike."""
        return self.plus == self.minus

    def swapped(self) -> Share:
        """The share seen through a negative factor."""
        return self._replace(plus=self.minus, minus=self.plus)


PLAIN = Share()
SUM = Share("sum")


@lru_cache(maxsize=64)
def _number(number: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(number, dtype=dtype, device=device)


@dataclass(frozen=True)
class Stabilizer:
    """How a denominator z is kept away from zero; sign(0) = +1 throughout.

    Args:
        epsilon: size, >= 0.  With 0 a quotient whose denominator is 0 counts as 0.
        kind: "signed": ``z + ε sign(z)`` (Binder et al. 2016; the only safe form for signed z);
            "relative": ε times the population standard deviation of the layer's pre-activations, per sample, with the sign of z
            (Montavon et al. 2019 write "0.25 std" and do not say of what; this is our reading);
            "absolute": ``z + ε`` (the unsigned form of 2019, sound after ReLU only).

    Raises:
        InputError: if ε is negative or not finite, or the kind is unknown.
    """

    epsilon: float = 1e-6
    kind: str = "signed"

    def __post_init__(self) -> None:
        if not isinstance(self.epsilon, (int, float)) or not 0 <= self.epsilon < float("inf"):
            raise InputError(f"A stabilizer's epsilon must be a finite number >= 0, got {self.epsilon!r}.")
        if self.kind not in ("signed", "relative", "absolute"):
            raise InputError(f"A stabilizer's kind must be 'signed', 'relative' or 'absolute', got {self.kind!r}.")

    @staticmethod
    def ensure(epsilon: float | Stabilizer) -> Stabilizer:
        """A number means the signed stabilizer of that size."""
        return epsilon if isinstance(epsilon, Stabilizer) else Stabilizer(epsilon)

    def offset(self, z: Tensor, value: Value, flow: Flow) -> Tensor | None:
        """What is added to ``z``, same shape or broadcastable; ``None`` for nothing."""
        if self.epsilon == 0:
            return None
        if self.kind == "absolute":
            return z.new_tensor(self.epsilon)
        if self.kind == "relative":
            return torch.copysign(flow.samples.deviation(value, z) * self.epsilon, z + 0.0)
        node = value.node
        if node is None or node.operation.kind not in ("linear", "convolution"):
            # Copysign follows the sign bit of -0.0, but sign(0) = +1.  A negation can make one of a sum that cancels; a layer cannot.
            z = z + 0.0
        return torch.copysign(_number(self.epsilon, z.dtype, z.device), z)

    def divide(self, relevance: Tensor, z: Tensor, node: Node, flow: Flow) -> Tensor:
        """``relevance / (z + offset)``; what the offset and zero denominators swallow is booked as ``stabilizer``."""
        offset = self.offset(z, node.output, flow)
        if offset is None:
            quotient = (relevance / z).masked_fill_(z == 0, 0.0)
            if flow.booking:
                flow.book("stabilizer", node, relevance * (z == 0))
            return quotient
        if self.kind == "signed" and not flow.booking and offset.shape == z.shape == relevance.shape:
            # One buffer for offset, denominator and quotient: fresh memory costs more than the arithmetic.
            return torch.div(relevance, offset.add_(z), out=offset)
        denominator = offset + z
        quotient = relevance / denominator
        if self.kind != "signed":  # the deviation of a layer can be 0, too
            quotient = quotient.masked_fill_(denominator == 0, 0.0)
        if flow.booking:
            if self.kind != "signed":
                flow.book("stabilizer", node, torch.where(denominator == 0, relevance, offset * quotient))
            else:
                flow.book_product("stabilizer", node, offset, quotient)
        return quotient


class Rule(ABC):
    """How one kind of node hands the relevance of its outputs to its inputs.

    Rules are frozen dataclasses; their fields are their parameters.  A rule takes what arrived at the node's outputs out of the
    ``flow``, gives the inputs their part, and books what reached neither.
    """

    @abstractmethod
    def __call__(self, node: Node, flow: Flow) -> None:
        """Move the relevance of ``node.outputs`` to ``node.inputs``."""
