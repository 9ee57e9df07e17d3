"""Every operation the core must know, in every spelling: one line each.

An entry is a `Group` of spellings of one function.  Each reads ``h`` (B, *shape), and ``k`` of the same shape where
``operands=2``, both affine in the input, and returns (B, ...).  ``oracle`` is a function whose gradient × input is
what LRP-0 must give: by default the first spelling itself (piecewise linear); with gates, deviations and f(z)/z
detached where a rule holds them fixed.
"""

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.contracts import random, seeded

Spelling = Callable[..., Tensor]


class Group(NamedTuple):
    """Spellings that must be explained identically."""

    shape: tuple[int, ...]
    spellings: list[Spelling]
    oracle: Spelling | None = None
    operands: int = 1


def const(*shape: int, seed: int = 41) -> Tensor:
    """A constant that is the same at every call."""
    return random(*shape, seed=seed)


def module(build: Callable[[], nn.Module], seed: int = 42) -> nn.Module:
    """A seeded module in eval mode with batch-norm statistics that are not trivial."""
    built = seeded(build, seed)
    for part in built.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            part.running_mean.copy_(const(part.num_features, seed=1))
            part.running_var.copy_(0.5 + const(part.num_features, seed=2).abs())
    return built


def activation(function: Callable[[Tensor], Tensor]) -> Spelling:
    """Relevance passes f unchanged: that is the gradient of z · [f(z) / z] with the bracket held fixed."""
    return lambda h: h * (function(h) / h).detach()


def inplace(change: Callable[[Tensor], Any]) -> Spelling:
    """Write into a copy and return the copy."""

    def spelling(h: Tensor) -> Tensor:
        y = h * 1.0
        change(y)
        return y

    return spelling


def assign(key: Any, value: Callable[[Tensor], Any]) -> Spelling:
    """``y[key] = value(h)`` on a copy."""

    def spelling(h: Tensor) -> Tensor:
        y = h + 0.0
        y[key] = value(h)
        return y

    return spelling


W, B = const(5, 4), const(5, seed=43)
MASK = torch.tensor([True, False, False, True])
INDEX = torch.tensor([2, 0, 0])
COLUMNS = torch.tensor([[3, 1, 1]])

LINEAR = {
    "linear": Group(
        (4,),
        [
            lambda h: F.linear(h, W, B),
            lambda h: torch._C._nn.linear(h, W, bias=B),
            lambda h: h @ W.T + B,
            lambda h: torch.matmul(h, W.t()) + B,
            lambda h: B + h.matmul(W.mT),
            lambda h: torch.mm(h, W.T).add(B),
            lambda h: torch.addmm(B, h, W.T),
            lambda h: B.addmm(h, W.T),
            lambda h: torch.addmm(2 * B, h, W.T, beta=0.5, alpha=1.0),
            lambda h: torch.einsum("bi,oi->bo", h, W) + B,
            lambda h: torch.einsum("oi,bi->bo", W, h).add_(B),
            lambda h: torch.inner(h, W) + B,
            lambda h: torch.tensordot(h, W, dims=([1], [1])) + B,
            lambda h: operator.matmul(h, W.T) + B,
            lambda h: (W @ h.T).T + B,
            lambda h: (W @ h[:, :, None])[..., 0] + B,
            lambda h: torch.functional.einsum("...i,oi->...o", h, W) + B,
        ],
    ),
    "linear, module": Group(
        (4,),
        [m := module(lambda: nn.Linear(4, 5)), lambda h, m=m: F.linear(h, m.weight, m.bias)],
    ),
    "batched matmul": Group(
        (3, 4),
        [
            lambda h: h @ W.T,
            lambda h: torch.matmul(h, W.T),
            lambda h: torch.bmm(h, W.T.expand(len(h), 4, 5)),
            lambda h: h.bmm(W.T.repeat(len(h), 1, 1)),
            lambda h: F.linear(h, W),
            lambda h: torch.einsum("bti,oi->bto", h, W),
            lambda h: torch.baddbmm(torch.zeros(len(h), 3, 5, dtype=h.dtype), h, W.T.expand(len(h), 4, 5)),
            lambda h: (h.reshape(-1, 4) @ W.T).view(len(h), 3, 5),
        ],
    ),
    "matmul from the left": Group(
        (4, 3),
        [
            lambda h: W @ h,
            lambda h: torch.matmul(W, h),
            lambda h: torch.bmm(W.expand(len(h), 5, 4), h),
            lambda h: torch.einsum("oi,bit->bot", W, h),
            lambda h: (h.mT @ W.T).mT,
        ],
    ),
    "vector product": Group(
        (4,), [lambda h: h @ W[0], lambda h: torch.mv(h, W[0]), lambda h: (h * W[0]).sum(1), lambda h: h.matmul(W[0])]
    ),
    "embedding weights as a product": Group((4,), [lambda h: h.unsqueeze(1).matmul(W.T).squeeze(1), lambda h: h @ W.T]),
}

CONVOLUTIONS = {
    "conv1d": Group(
        (2, 9),
        [
            m := module(lambda: nn.Conv1d(2, 4, 3, stride=2, padding=1, dilation=2, groups=2)),
            lambda h, m=m: F.conv1d(h, m.weight, m.bias, 2, 1, 2, 2),
            lambda h, m=m: torch.conv1d(h, m.weight, bias=m.bias, stride=(2,), padding=1, dilation=2, groups=2),
            lambda h, m=m: F.conv1d(F.pad(h, (1, 1)), m.weight, m.bias, stride=2, dilation=2, groups=2),
        ],
    ),
    "conv1d 'same'": Group(
        (2, 6),
        [
            m := module(lambda: nn.Conv1d(2, 3, 4, padding="same")),
            lambda h, m=m: F.conv1d(h, m.weight, m.bias, padding="same"),
            lambda h, m=m: F.conv1d(F.pad(h, (1, 2)), m.weight, m.bias, padding="valid"),
        ],
    ),
    "conv2d": Group(
        (2, 5, 6),
        [
            m := module(lambda: nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0))),
            lambda h, m=m: F.conv2d(h, m.weight, m.bias, stride=(2, 1), padding=(1, 0)),
            lambda h, m=m: torch.conv2d(h, m.weight, m.bias, (2, 1), (1, 0)),
            lambda h, m=m: F.conv2d(h, m.weight, None, (2, 1), (1, 0)) + m.bias[:, None, None],
        ],
    ),
    "conv3d": Group(
        (2, 3, 3, 4),
        [
            m := module(lambda: nn.Conv3d(2, 3, 2, padding=1, stride=2)),
            lambda h, m=m: F.conv3d(h, m.weight, m.bias, padding=1, stride=2),
            lambda h, m=m: torch.conv3d(h, m.weight, m.bias, 2, 1),
        ],
    ),
    "conv_transpose1d": Group(
        (3, 5),
        [
            m := module(lambda: nn.ConvTranspose1d(3, 2, 3, stride=2, padding=1, output_padding=1)),
            lambda h, m=m: F.conv_transpose1d(h, m.weight, m.bias, 2, 1, 1),
            lambda h, m=m: torch.conv_transpose1d(h, m.weight, m.bias, stride=2, padding=1, output_padding=1),
        ],
    ),
    "conv_transpose2d": Group(
        (2, 3, 4),
        [
            m := module(lambda: nn.ConvTranspose2d(2, 4, 3, stride=(2, 1), groups=2, dilation=2)),
            lambda h, m=m: F.conv_transpose2d(h, m.weight, m.bias, stride=(2, 1), groups=2, dilation=2),
        ],
    ),
    "conv_transpose3d": Group(
        (2, 2, 2, 3),
        [
            m := module(lambda: nn.ConvTranspose3d(2, 2, 2, stride=2)),
            lambda h, m=m: F.conv_transpose3d(h, m.weight, m.bias, stride=2),
        ],
    ),
    "conv2d, padding modes": Group(
        (2, 4, 4),
        [
            m := module(lambda: nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect")),
            lambda h, m=m: F.conv2d(F.pad(h, (1, 1, 1, 1), mode="reflect"), m.weight, m.bias),
        ],
    ),
    "conv1d, circular": Group((2, 5), [module(lambda: nn.Conv1d(2, 2, 3, padding=1, padding_mode="circular"))]),
}

POOLS = {
    "avg_pool1d": Group(
        (2, 7),
        [
            lambda h: F.avg_pool1d(h, 3, 2, 1),
            lambda h: torch.avg_pool1d(h, 3, stride=2, padding=1),
            nn.AvgPool1d(3, 2, 1),
        ],
    ),
    "avg_pool2d": Group((2, 5, 4), [lambda h: F.avg_pool2d(h, 2), nn.AvgPool2d(2), nn.AvgPool2d((2, 2), stride=2)]),
    "avg_pool2d, odd": Group(
        (2, 5, 5),
        [
            lambda h: F.avg_pool2d(h, 3, 2, 1, ceil_mode=True, count_include_pad=False),
            nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
        ],
    ),
    "avg_pool2d, divisor": Group((2, 4, 4), [lambda h: F.avg_pool2d(h, 2, divisor_override=3)]),
    "avg_pool3d": Group((2, 4, 2, 4), [lambda h: F.avg_pool3d(h, 2), nn.AvgPool3d(2)]),
    "max_pool1d": Group(
        (2, 7),
        [
            lambda h: F.max_pool1d(h, 3, 2),
            lambda h: torch.max_pool1d(h, 3, stride=2),
            nn.MaxPool1d(3, 2),
            lambda h: F.max_pool1d(h, 3, 2, return_indices=True)[0],
            lambda h: F.max_pool1d_with_indices(h, 3, 2)[0],
            lambda h: h.unfold(2, 3, 2).amax(-1),
        ],
    ),
    "max_pool2d": Group(
        (2, 5, 6),
        [
            lambda h: F.max_pool2d(h, 3, 2, 1),
            nn.MaxPool2d(3, 2, 1),
            lambda h: torch.max_pool2d(h, 3, stride=2, padding=1),
            lambda h: nn.MaxPool2d(3, 2, 1, return_indices=True)(h)[0],
        ],
    ),
    "max_pool2d, ceil, dilated": Group((2, 6, 6), [nn.MaxPool2d(2, 2, dilation=2, ceil_mode=True)]),
    "max_pool3d": Group((1, 4, 4, 2), [lambda h: F.max_pool3d(h, 2), nn.MaxPool3d(2)]),
    "adaptive_avg_pool1d": Group(
        (2, 7),
        [lambda h: F.adaptive_avg_pool1d(h, 3), nn.AdaptiveAvgPool1d(3), lambda h: torch.adaptive_avg_pool1d(h, 3)],
    ),
    "adaptive_avg_pool2d": Group((2, 5, 4), [lambda h: F.adaptive_avg_pool2d(h, (2, 3)), nn.AdaptiveAvgPool2d((2, 3))]),
    "adaptive_avg_pool2d to one": Group(
        (2, 3, 4), [nn.AdaptiveAvgPool2d(1), lambda h: h.mean((2, 3), keepdim=True), lambda h: F.avg_pool2d(h, (3, 4))]
    ),
    "adaptive_avg_pool3d": Group((1, 3, 4, 5), [lambda h: F.adaptive_avg_pool3d(h, 2), nn.AdaptiveAvgPool3d(2)]),
    "adaptive_max_pool1d": Group((2, 7), [lambda h: F.adaptive_max_pool1d(h, 3), nn.AdaptiveMaxPool1d(3)]),
    "adaptive_max_pool2d": Group(
        (2, 5, 4),
        [
            lambda h: F.adaptive_max_pool2d(h, (2, 3)),
            nn.AdaptiveMaxPool2d((2, 3)),
            lambda h: F.adaptive_max_pool2d(h, (2, 3), return_indices=True)[0],
        ],
    ),
    "adaptive_max_pool3d": Group((1, 3, 4, 5), [nn.AdaptiveMaxPool3d(2)]),
}


def _normalised(h: Tensor, dims: tuple[int, ...], *, centre: bool = True) -> Tensor:
    """(h − mean) / deviation over ``dims`` with the deviation held fixed."""
    centred = h - h.mean(dims, keepdim=True) if centre else h
    return centred * ((centred**2).mean(dims, keepdim=True) + 1e-5).rsqrt().detach()


def _grouped(h: Tensor, groups: int) -> Tensor:
    return _normalised(h.reshape(len(h), groups, -1), (2,)).reshape(h.shape)


G4, B4 = const(4, seed=51), const(4, seed=52)

NORMS = {
    "batch_norm": Group(
        (3, 4),
        [
            m := module(lambda: nn.BatchNorm1d(3)),
            lambda h, m=m: F.batch_norm(h, m.running_mean, m.running_var, m.weight, m.bias, eps=m.eps),
            lambda h, m=m: torch.batch_norm(
                h, m.weight, m.bias, m.running_mean, m.running_var, False, 0.1, m.eps, False
            ),
            lambda h, m=m: (
                (h - m.running_mean[:, None]) / (m.running_var[:, None] + m.eps).sqrt() * m.weight[:, None]
                + m.bias[:, None]
            ),
        ],
    ),
    "linear, batch_norm": Group((4,), [module(lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)))]),
    "conv, batch_norm": Group((2, 4, 4), [module(lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)))]),
    "conv3d, batch_norm without scale": Group(
        (2, 2, 3, 2), [module(lambda: nn.Sequential(nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3, affine=False)))]
    ),
    "layer_norm": Group(
        (3, 4),
        [
            lambda h: F.layer_norm(h, (4,), G4, B4),
            lambda h: torch.layer_norm(h, (4,), G4, B4),
            lambda h: F.layer_norm(h, (4,)) * G4 + B4,
        ],
        oracle=lambda h: _normalised(h, (2,)) * G4 + B4,
    ),
    "layer_norm, two axes": Group((3, 4), [nn.LayerNorm((3, 4)).double()], oracle=lambda h: _normalised(h, (1, 2))),
    "group_norm": Group(
        (4, 3),
        [
            lambda h: F.group_norm(h, 2, G4, B4),
            lambda h: torch.group_norm(h, 2, G4, B4),
            lambda h: F.group_norm(h, 2) * G4[:, None] + B4[:, None],
        ],
        oracle=lambda h: _grouped(h, 2) * G4[:, None] + B4[:, None],
    ),
    "group_norm, module": Group((4, 2, 2), [nn.GroupNorm(2, 4).double()], oracle=lambda h: _grouped(h, 2)),
    "rms_norm": Group(
        (3, 4),
        [lambda h: F.rms_norm(h, (4,), G4, eps=1e-5), lambda h: torch.rms_norm(h, (4,), G4, eps=1e-5)],
        oracle=lambda h: _normalised(h, (2,), centre=False) * G4,
    ),
    "rms_norm, module": Group(
        (3, 4), [nn.RMSNorm(4, eps=1e-5).double()], oracle=lambda h: _normalised(h, (2,), centre=False)
    ),
}
