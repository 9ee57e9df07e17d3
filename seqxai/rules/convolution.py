"""Convolutions and their adjoints.

torch's input gradient of a strided convolution is slow on a CPU.  As a stride-1 convolution with the kernel's phases as
channels, whose
result is permuted into place, the first layer of a Nature network takes a third of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# The phase form may do this much more arithmetic than the plain one and still be the faster.
EXTRA_WORK = 1.15

FORWARD: list[Callable[..., Tensor]] = [F.conv1d, F.conv2d, F.conv3d]
TRANSPOSED: list[Callable[..., Tensor]] = [F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d]


@dataclass(frozen=True)
class Geometry:
    """Everything about a convolution but its numbers.

    Attributes:
        dimensions: 1, 2 or 3 spatial dimensions.
        transposed: whether it is a transposed convolution.
        stride, padding, dilation, output_padding: one number per spatial dimension.
        groups: number of groups.
        extra: padding added to the input first, in the order of ``F.pad`` (for "same" with an even kernel).
    """

    dimensions: int
    transposed: bool
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    output_padding: tuple[int, ...]
    groups: int
    extra: tuple[int, ...] = ()

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """The convolution without bias."""
        if self.extra:
            x = F.pad(x, self.extra)
        n = self.dimensions - 1
        if self.transposed:
            return TRANSPOSED[n](x, weight, None, self.stride, self.padding, self.output_padding, self.groups, self.dilation)
        return FORWARD[n](x, weight, None, self.stride, self.padding, self.dilation, self.groups)


def _each(value: Any, dimensions: int) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * dimensions
    value = tuple(value)
    return value * dimensions if len(value) == 1 else value


def conv_geometry(name: str, shape: torch.Size, *args: Any, **kwargs: Any) -> tuple[Geometry, Tensor, Tensor | None]:
    """Geometry, weight and bias of a recorded convolution call."""
    dimensions = int(name[-2])
    read = _transposed_arguments if "transpose" in name else _arguments
    weight, bias, stride, padding, dilation, output_padding, groups = read(*args, **kwargs)
    dilation = _each(dilation, dimensions)
    extra: tuple[int, ...] = ()
    if padding == "valid":
        padding = 0
    elif padding == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
        padding = tuple(t // 2 for t in totals)
        if any(t % 2 for t in totals):
            extra = tuple(side for t in reversed(totals) for side in (t // 2, t - t // 2))
            padding = 0
    geometry = Geometry(
        dimensions,
        "transpose" in name,
        _each(stride, dimensions),
        _each(padding, dimensions),
        dilation,
        _each(output_padding, dimensions),
        groups,
        extra,
    )
    return geometry, weight, bias


def _arguments(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> tuple[Any, ...]:
    return weight, bias, stride, padding, dilation, 0, groups


def _transposed_arguments(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> tuple[Any, ...]:
    return weight, bias, stride, padding, dilation, output_padding, groups


def adjoint(s: Tensor, weight: Tensor, geometry: Geometry, shape: torch.Size, times: Tensor | None = None) -> Tensor:
    """The input gradient of a convolution, of ``shape``, times ``times`` if given.

    Args:
        s: gradient at the output, (B, C_out, ...) or (C_out, ...).
        weight: as in the forward call.
        geometry: of the forward call.
        shape: the input's shape.
        times: a tensor of the input's shape.
    """
    if geometry.transposed:
        n = geometry.dimensions - 1
        # A tensor as long as the output has exactly one source per stride; what output_padding added has none.
        found = FORWARD[n](s, weight, None, geometry.stride, geometry.padding, geometry.dilation, geometry.groups)
    elif _phases_pay(weight, geometry, shape, s.shape):
        return _by_phases(s, weight, geometry, shape, times)
    else:
        found = _by_transposed(s, weight, geometry, shape)
    return found if times is None else found.mul_(times)


def _by_transposed(s: Tensor, weight: Tensor, geometry: Geometry, shape: torch.Size) -> Tensor:
    n = geometry.dimensions
    size = list(shape[-n:])
    if geometry.extra:
        size = [length + geometry.extra[2 * (n - 1 - i)] + geometry.extra[2 * (n - 1 - i) + 1] for i, length in enumerate(size)]
    rest = tuple(
        length - ((o - 1) * st - 2 * p + d * (k - 1) + 1)
        for length, o, st, p, d, k in zip(
            size, s.shape[-n:], geometry.stride, geometry.padding, geometry.dilation, weight.shape[2:], strict=True
        )
    )
    found = TRANSPOSED[n - 1](s, weight, None, geometry.stride, geometry.padding, rest, geometry.groups, geometry.dilation)
    for i, length in enumerate(shape[-n:]):
        if geometry.extra:
            found = found.narrow(found.dim() - n + i, geometry.extra[2 * (n - 1 - i)], length)
    return found.contiguous() if geometry.extra else found


def _phases_pay(weight: Tensor, geometry: Geometry, shape: torch.Size, output: torch.Size) -> bool:
    """Two-dimensional, strided, unpadded, and little extra work: the form for the first layers of Atari networks."""
    if geometry.dimensions != 2 or len(shape) != 4 or geometry.groups != 1 or geometry.extra:
        return False
    if max(geometry.stride) == 1 or max(geometry.dilation) > 1 or max(geometry.padding) > 0:
        return False
    plain = phased = 1.0
    for k, st, length, out in zip(weight.shape[2:], geometry.stride, shape[2:], output[2:], strict=True):
        taps = -(-k // st)
        rows = out + taps - 1
        if rows * st != length:
            return False
        plain *= out * k
        phased *= rows * taps * st
    return phased <= EXTRA_WORK * plain


def _by_phases(s: Tensor, weight: Tensor, geometry: Geometry, shape: torch.Size, times: Tensor | None) -> Tensor:
    batch, channels, height, width = shape
    (sh, sw), (kh, kw) = geometry.stride, weight.shape[2:]
    th, tw = -(-kh // sh), -(-kw // sw)
    kernel = weight
    if th * sh != kh or tw * sw != kw:
        kernel = F.pad(weight, (0, tw * sw - kw, 0, th * sh - kh))
    # (out, in, th, sh, tw, sw) -> (in, sh, sw, out, th, tw): each phase of the kernel becomes a channel.
    kernel = kernel.reshape(weight.shape[0], channels, th, sh, tw, sw).permute(1, 3, 5, 0, 2, 4).flip(4, 5)
    kernel = kernel.reshape(channels * sh * sw, weight.shape[0], th, tw)
    phased = F.conv2d(s, kernel, None, 1, (th - 1, tw - 1))
    rows, columns = height // sh, width // sw
    phased = phased.view(batch, channels, sh, sw, rows, columns).permute(0, 1, 4, 2, 5, 3)
    result = s.new_empty(shape)
    target = result.view(batch, channels, rows, sh, columns, sw)
    if times is None:
        target.copy_(phased)
    else:
        torch.mul(phased, times.reshape(target.shape), out=target)
    return result
