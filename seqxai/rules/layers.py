"""The linear algebra of layers: forward with any weights, and the adjoint with any weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqxai.errors import CompositeError
from seqxai.rules.convolution import Geometry, adjoint, conv_geometry
from seqxai.rules.ranges import constants
from seqxai.trace.graph import Node


class Layer(ABC):
    """One active factor times constant weights.

    Attributes:
        node: the recorded call.
        weight: the constant factor, as it stands in the call.
        bias: constant added by the same call, of the layer's own shape, or ``None``.
    """

    batched = True  # dimension 0 of the input is a batch that broadcasts: one sample can stand for all

    def __init__(self, node: Node, weight: Tensor, bias: Tensor | None) -> None:
        self.node = node
        self.weight = weight
        self.bias = bias

    @property
    def x(self) -> Tensor:
        """The active factor's content."""
        return self.node.inputs[0].data

    @abstractmethod
    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """The layer without bias on another input, with other weights."""

    @abstractmethod
    def adjoint(self, s: Tensor, weight: Tensor) -> Tensor:
        """``Wᵀ s``: of the input's shape."""

    def adjoint_times(self, s: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """``x Wᵀ s``."""
        return self.adjoint(s, weight).mul_(x)

    def shaped_bias(self, output: Tensor) -> Tensor | None:
        """The bias, broadcastable to the output."""
        return self.bias

    def per_channel(self, bound: Tensor) -> Tensor | None:
        """A bound that is constant over each input channel, shaped to multiply the weight; ``None`` if it is not."""
        return None

    def signature(self) -> object:
        """What besides the weight decides the function; hashable."""
        return self.node.name


class Linear(Layer):
    """``x Wᵀ + b``."""

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """See :class:`Layer`."""
        return F.linear(x, weight)

    def adjoint(self, s: Tensor, weight: Tensor) -> Tensor:
        """See :class:`Layer`."""
        return s @ weight


class Convolution(Layer):
    """Convolution or transposed convolution in one to three dimensions, with or without a batch dimension."""

    def __init__(self, node: Node, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> None:
        super().__init__(node, weight, bias)
        self.geometry = geometry

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """See :class:`Layer`."""
        return self.geometry.forward(x, weight)

    def adjoint(self, s: Tensor, weight: Tensor) -> Tensor:
        """See :class:`Layer`."""
        return adjoint(s, weight, self.geometry, self.node.inputs[0].shape)

    def per_channel(self, bound: Tensor) -> Tensor | None:
        """See :class:`Layer`."""
        geometry, n = self.geometry, self.geometry.dimensions
        if bound.numel() == 1:
            return bound.reshape(())
        plain = not geometry.transposed and geometry.groups == 1
        shape = tuple(bound.shape)
        channels = self.weight.shape[1]
        if plain and bound.numel() == channels and len(shape) > n and shape[-n - 1 :] == (channels,) + (1,) * n:
            return bound.reshape(1, channels, *(1,) * n)
        return None

    def signature(self) -> object:
        """See :class:`Layer`."""
        return self.geometry

    def adjoint_times(self, s: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """See :class:`Layer`; the product is taken while the strided result is put in place."""
        return adjoint(s, weight, self.geometry, self.node.inputs[0].shape, times=x)

    def shaped_bias(self, output: Tensor) -> Tensor | None:
        """See :class:`Layer`."""
        if self.bias is None:
            return None
        return self.bias.reshape([-1] + [1] * self.geometry.dimensions)


class Product(Layer):
    """Any other function linear in its one active argument: matmul in all spellings, einsum, tensordot."""

    batched = False

    def _call(self, x: Tensor, weight: Tensor) -> Tensor:
        args, kwargs = self.node.arguments([x])
        placed = [self._put(weight, item, place) for place, item in enumerate(args)]
        result: Tensor = self.node.function(*placed, **{k: self._put(weight, item, k) for k, item in kwargs.items()})
        return result

    def _put(self, weight: Tensor, item: Any, place: Any) -> Any:
        """An argument with another weight in its place."""
        if isinstance(item, Tensor) and place not in self.node.places:
            return weight if item is self.weight else item
        if isinstance(item, (list, tuple)):
            return type(item)(self._put(weight, inner, (place, i)) for i, inner in enumerate(item))
        return item

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """See :class:`Layer`."""
        return self._call(x, weight)

    def adjoint(self, s: Tensor, weight: Tensor) -> Tensor:
        """See :class:`Layer`."""
        node = self.node
        if weight.dim() == 2 and node.places == [0] and node.name == "matmul" and s.dim() >= 2 and len(node.inputs[0].shape) >= 2:
            return s @ weight.T
        return vjp(lambda x: self._call(x, weight), self.x, s)


def vjp(function: Callable[[Tensor], Tensor], x: Tensor, s: Tensor) -> Tensor:
    """Adjoint of a function linear around ``x``, applied to ``s``, by running it under autograd."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        result = function(x)
        if not result.requires_grad:
            return torch.zeros_like(x)
        (gradient,) = torch.autograd.grad(result, x, s, materialize_grads=True)
    # Gradients of sums come back expanded, those of identities as s itself; callers write into what they get.
    return gradient.clone() if 0 in gradient.stride() or gradient.data_ptr() == s.data_ptr() else gradient


def _linear_arguments(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    return weight, bias


def layer_of(node: Node) -> Layer:
    """The layer a node is.

    Raises:
        CompositeError: if a layer's active argument is not its input (an active weight or bias).
    """
    args, kwargs = node.arguments()
    if node.operation.kind == "convolution" or node.name == "linear":
        if node.places not in ([0], ["input"]):
            raise CompositeError(
                f"{node.describe()} takes a weight or bias that depends on the explained input; expected constant weights."
            )
        if node.name == "linear":
            return Linear(node, *_linear_arguments(*args, **kwargs))
        geometry, weight, bias = conv_geometry(node.name, node.inputs[0].shape, *args, **kwargs)
        return Convolution(node, weight, bias, geometry)
    factors = constants(node)
    if not factors:
        raise CompositeError(f"{node.describe()} has no constant factor; expected one active and at least one constant tensor.")
    return Product(node, factors[0], None)


def require_one_factor(layer: Layer) -> None:
    """Rules that split weights by sign need to see the effective weight.

    Raises:
        CompositeError: if the weight is itself a product of several constants.
    """
    if isinstance(layer, Product) and len(constants(layer.node)) > 1:
        raise CompositeError(
            f"{layer.node.describe()} multiplies several constant factors, whose product has no sign of its own to split; "
            "multiply the constants first, or use the epsilon rule here."
        )
