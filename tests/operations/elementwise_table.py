"""The table's elementwise part: activations, gates, sums, scales and shifts (see `table`)."""

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.operations.table import Group, Spelling, activation, const, inplace

C, D = const(4, seed=61), const(4, seed=62)


def _act(first: Callable[[Tensor], Tensor], *spellings: Spelling) -> Group:
    return Group((4,), [first, *spellings], oracle=activation(first))


ACTIVATIONS = {
    "relu": _act(
        F.relu,
        torch.relu,
        Tensor.relu,
        nn.ReLU(),
        nn.ReLU(inplace=True),
        inplace(Tensor.relu_),
        inplace(torch.relu_),
        inplace(F.relu_),
        lambda h: F.relu(h + 0.0, inplace=True),
        lambda h: h.clamp(min=0),
        lambda h: torch.clamp_min(h, 0),
        lambda h: torch.clip(h, 0, None),
        inplace(lambda y: y.clamp_(min=0.0)),
        lambda h: F.threshold(h, 0.0, 0.0),
        nn.Threshold(0.0, 0.0),
        lambda h: torch.maximum(h, torch.zeros(4, dtype=h.dtype)),
        lambda h: F.leaky_relu(h, 0.0),
    ),
    "relu6": _act(F.relu6, nn.ReLU6(), lambda h: F.hardtanh(h, 0.0, 6.0), nn.ReLU6(inplace=True)),
    "leaky_relu": _act(
        F.leaky_relu, nn.LeakyReLU(), inplace(F.leaky_relu_), lambda h: F.leaky_relu(h, 0.01, inplace=False)
    ),
    "prelu": _act(
        lambda h: F.prelu(h, const(1).abs()),
        lambda h: torch.prelu(h, const(1).abs()),
        lambda h: h.prelu(const(1).abs()),
    ),
    "prelu, module": _act(nn.PReLU(4).double()),
    "rrelu in eval": _act(F.rrelu, nn.RReLU().eval(), lambda h: torch.rrelu(h)),
    "elu": _act(F.elu, nn.ELU(), inplace(F.elu_), nn.ELU(inplace=True)),
    "selu": _act(F.selu, torch.selu, nn.SELU(), inplace(torch.selu_)),
    "celu": _act(lambda h: F.celu(h, 0.7), nn.CELU(0.7), lambda h: torch.celu(h, 0.7)),
    "gelu": _act(F.gelu, nn.GELU()),
    "gelu, tanh": _act(lambda h: F.gelu(h, approximate="tanh"), nn.GELU("tanh")),
    "silu": _act(F.silu, nn.SiLU(), nn.SiLU(inplace=True), lambda h: h * torch.sigmoid(h)),
    "mish": _act(F.mish, nn.Mish()),
    "softplus": _act(F.softplus, nn.Softplus()),
    "softsign": _act(F.softsign, nn.Softsign()),
    "tanh": _act(torch.tanh, F.tanh, Tensor.tanh, nn.Tanh(), inplace(Tensor.tanh_), inplace(torch.tanh_)),
    "sigmoid": _act(
        torch.sigmoid, F.sigmoid, Tensor.sigmoid, nn.Sigmoid(), torch.special.expit, inplace(Tensor.sigmoid_)
    ),
    "logsigmoid": _act(F.logsigmoid, nn.LogSigmoid()),
    "hardtanh": _act(
        lambda h: F.hardtanh(h, -0.4, 0.3),
        nn.Hardtanh(-0.4, 0.3),
        lambda h: h.clamp(-0.4, 0.3),
        lambda h: torch.clip(h, min=-0.4, max=0.3),
        inplace(lambda y: y.clamp_(-0.4, 0.3)),
    ),
    "hardsigmoid": _act(F.hardsigmoid, nn.Hardsigmoid()),
    "hardswish": _act(F.hardswish, nn.Hardswish()),
    "hardshrink": _act(lambda h: F.hardshrink(h, 0.2), nn.Hardshrink(0.2)),
    "softshrink": _act(lambda h: F.softshrink(h, 0.2), nn.Softshrink(0.2)),
    "tanhshrink": _act(F.tanhshrink, nn.Tanhshrink()),
    "threshold": _act(lambda h: F.threshold(h, 0.2, 0.0), nn.Threshold(0.2, 0.0)),
    "abs": _act(torch.abs, Tensor.abs, abs, inplace(Tensor.abs_)),
    "exp": _act(torch.exp, Tensor.exp),
}


def _gate(oracle: Spelling, *spellings: Spelling, shape: tuple[int, ...] = (4,), operands: int = 2) -> Group:
    return Group(shape, [*spellings], oracle=oracle, operands=operands)


GATES = {
    "signal times gate": _gate(
        lambda h, k: _frozen(h) * activation(torch.tanh)(k),
        lambda h, k: torch.sigmoid(h) * torch.tanh(k),
        lambda h, k: torch.tanh(k) * F.sigmoid(h),
        lambda h, k: torch.mul(torch.special.expit(h), k.tanh()),
        lambda h, k: k.tanh().mul_(h.sigmoid()),
        lambda h, k: operator.mul(h.sigmoid(), k.tanh()),
        lambda h, k: torch.tanh(k) * (0.5 * (torch.tanh(h / 2) + 1)),
        lambda h, k: torch.tanh(k) * (1 / (1 + torch.exp(-h))),
        lambda h, k: torch.tanh(k) * (1 - torch.sigmoid(-h)),
        lambda h, k: torch.einsum("bi,bi->bi", h.sigmoid(), k.tanh()),
    ),
    "glu": _gate(
        lambda h: h[:, :2] * torch.sigmoid(h[:, 2:]).detach(),
        lambda h: F.glu(h, 1),
        nn.GLU(1),
        lambda h: torch._C._nn.glu(h, -1),
        lambda h: h[:, :2] * torch.sigmoid(h[:, 2:]),
        lambda h: (lambda a, b: a * b.sigmoid())(*h.chunk(2, 1)),
        operands=1,
    ),
    "lerp by a gate": _gate(
        lambda h, k: _frozen(h) * k + (1 - _frozen(h)) * h,
        lambda h, k: torch.lerp(h, k, torch.sigmoid(h)),
        lambda h, k: h.lerp(k, h.sigmoid()),
        lambda h, k: (h * 1.0).lerp_(k, h.sigmoid()),
        lambda h, k: (1 - h.sigmoid()) * h + h.sigmoid() * k,
        lambda h, k: h + h.sigmoid() * (k - h),
        lambda h, k: torch.addcmul(h, h.sigmoid(), k - h),
        lambda h, k: h.sigmoid() * k + h - h.sigmoid() * h,
    ),
    "addcmul with a gate": _gate(
        lambda h, k: h + 2.0 * _frozen(k) * k,
        lambda h, k: torch.addcmul(h, k, k.sigmoid(), value=2.0),
        lambda h, k: h.addcmul(k.sigmoid(), k, value=2.0),
        lambda h, k: (h * 1.0).addcmul_(k, k.sigmoid(), value=2.0),
        lambda h, k: h + 2.0 * k * k.sigmoid(),
    ),
    "softmax attention over steps": _gate(
        lambda h, k: (torch.softmax(h.sum(2), 1).detach()[:, :, None] * k).sum(1),
        lambda h, k: (torch.softmax(h.sum(2), 1)[:, :, None] * k).sum(1),
        lambda h, k: torch.einsum("bt,btf->bf", F.softmax(h.sum(2), dim=1), k),
        lambda h, k: torch.bmm(h.sum(2).softmax(1)[:, None], k)[:, 0],
        lambda h, k: (h.sum(2).softmax(1)[:, None] @ k).squeeze(1),
        lambda h, k: torch.matmul(k.mT, torch.softmax(h.sum(2), -1)[:, :, None])[:, :, 0],
        shape=(3, 4),
    ),
    "squeeze and excitation": _gate(
        lambda h: h * torch.sigmoid(h.mean(2, keepdim=True)).detach(),
        lambda h: h * torch.sigmoid(h.mean(2, keepdim=True)),
        lambda h: h * F.adaptive_avg_pool1d(h, 1).sigmoid(),
        shape=(3, 4),
        operands=1,
    ),
    "hard gates": _gate(
        lambda h, k: k * F.hardsigmoid(h).detach(),
        lambda h, k: k * F.hardsigmoid(h),
        lambda h, k: k * (F.relu6(h + 3) / 6),
        lambda h, k: k * torch.clamp(h / 6 + 0.5, 0, 1),
        lambda h, k: k * F.hardtanh(h / 6 + 0.5, 0.0, 1.0),
    ),
}


def _frozen(h: Tensor) -> Tensor:
    return torch.sigmoid(h).detach()


def _two(*spellings: Spelling, shape: tuple[int, ...] = (4,)) -> Group:
    return Group(shape, list(spellings), operands=2)


def _one(*spellings: Spelling, shape: tuple[int, ...] = (4,)) -> Group:
    return Group(shape, list(spellings))


def _iadd(h: Tensor, k: Any) -> Tensor:
    y = h * 1.0
    y += k
    return y


def _isub(h: Tensor, k: Any) -> Tensor:
    y = h * 1.0
    y -= k
    return y


def _imul(h: Tensor, k: Any) -> Tensor:
    y = h * 1.0
    y *= k
    return y


def _itruediv(h: Tensor, k: Any) -> Tensor:
    y = h * 1.0
    y /= k
    return y


SUMS = {
    "add": _two(
        operator.add,
        torch.add,
        Tensor.add,
        _iadd,
        lambda h, k: (h * 1.0).add_(k),
        lambda h, k: sum([h, k]),
        lambda h, k: torch.stack([h, k]).sum(0),
        lambda h, k: torch.sum(torch.stack([h, k], 1), 1),
        lambda h, k: h - (-k),
        lambda h, k: torch.einsum("bi->bi", h) + k,
        lambda h, k: torch.add(h, other=k),
        lambda h, k: operator.iadd(h * 1.0, k),
    ),
    "add, alpha": _two(
        lambda h, k: torch.add(h, k, alpha=3),
        lambda h, k: h.add(k, alpha=3.0),
        lambda h, k: (h * 1.0).add_(k, alpha=3),
        lambda h, k: h + 3 * k,
    ),
    "sub": _two(
        operator.sub,
        torch.sub,
        torch.subtract,
        Tensor.sub,
        Tensor.subtract,
        _isub,
        lambda h, k: (h * 1.0).sub_(k),
        lambda h, k: torch.rsub(k, h),
        lambda h, k: h + k.neg(),
    ),
    "add, broadcast": _two(
        lambda h, k: h + k[:, :1],
        lambda h, k: k[:, :1] + h,
        lambda h, k: h + k[:, :1].expand_as(h),
        lambda h, k: _iadd(h, k[:, :1]),
        shape=(3, 4),
    ),
    "shift": _one(
        lambda h: h + 1,
        lambda h: 1 + h,
        lambda h: h.add(1.0),
        lambda h: _iadd(h, 1),
        lambda h: torch.add(h, 1),
        lambda h: h - (-1),
        lambda h: h + torch.ones(4, dtype=h.dtype),
        lambda h: h + torch.tensor(1.0),
        inplace(lambda y: y.add_(1)),
    ),
    "shift by a vector": _one(
        lambda h: h + C, lambda h: C + h, lambda h: torch.add(C, h), lambda h: h - (-C), lambda h: h.sub(-C)
    ),
    "constant minus": _one(
        lambda h: 1 - h,
        lambda h: torch.rsub(h, 1),
        lambda h: 1.0 - h,
        lambda h: -(h - 1),
        lambda h: torch.sub(torch.ones(4), h),
        lambda h: (-h).add_(1),
    ),
    "negate": _one(
        operator.neg,
        torch.neg,
        torch.negative,
        Tensor.neg,
        inplace(Tensor.neg_),
        lambda h: 0 - h,
        lambda h: -1 * h,
        lambda h: h * -1.0,
    ),
    "scale": _one(
        lambda h: h * 2,
        lambda h: 2 * h,
        lambda h: torch.mul(h, 2.0),
        lambda h: h.multiply(2),
        lambda h: _imul(h, 2),
        lambda h: h / 0.5,
        lambda h: h.div(0.5),
        lambda h: torch.true_divide(h, 0.5),
        lambda h: torch.divide(h, 0.5),
        lambda h: _itruediv(h, 0.5),
        lambda h: h * torch.tensor(2.0),
        lambda h: h + h,
        lambda h: torch.mul(2.0 * torch.ones(4), h),
        inplace(lambda y: y.mul_(2)),
        inplace(lambda y: y.div_(0.5)),
        lambda h: h.true_divide(torch.tensor(0.5)),
    ),
    "scale by a vector": _one(
        lambda h: h * C,
        lambda h: C * h,
        lambda h: torch.mul(C, h),
        lambda h: h / (1 / C),
        lambda h: _imul(h, C),
        lambda h: h * C.expand(len(h), 4),
        lambda h: torch.einsum("bi,i->bi", h, C),
    ),
    "lerp by constants": _two(
        lambda h, k: torch.lerp(h, k, 0.3),
        lambda h, k: h.lerp(k, 0.3),
        lambda h, k: 0.7 * h + 0.3 * k,
        lambda h, k: torch.lerp(h, k, torch.full((4,), 0.3, dtype=h.dtype)),
        lambda h, k: (h * 1.0).lerp_(k, 0.3),
    ),
    "lerp to a constant": _one(lambda h: torch.lerp(h, C, 0.3), lambda h: 0.7 * h + 0.3 * C, lambda h: C.lerp(h, 0.7)),
    "addcmul with constants": _two(
        lambda h, k: torch.addcmul(h, k, C, value=0.5),
        lambda h, k: torch.addcmul(h, C, k, value=0.5),
        lambda h, k: (h * 1.0).addcmul_(k, C, value=0.5),
        lambda h, k: h + 0.5 * C * k,
    ),
    "addcdiv by constants": _two(
        lambda h, k: torch.addcdiv(h, k, 2 + C),
        lambda h, k: h + k / (2 + C),
        lambda h, k: h.addcdiv(k, 2 + C),
    ),
    "residual sum": _two(lambda h, k: h + F.relu(k), lambda h, k: F.relu(k) + h, lambda h, k: F.relu(k).add_(h)),
    "sum": _one(
        lambda h: h.sum(1),
        lambda h: torch.sum(h, 1),
        lambda h: h.sum(dim=1),
        lambda h: h.sum(-2),
        lambda h: torch.sum(h, (1,)),
        lambda h: sum(h.unbind(1)),
        lambda h: h.sum(1, keepdim=True)[:, 0],
        lambda h: h.mean(1) * 3,
        lambda h: torch.einsum("btf->bf", h),
        shape=(3, 4),
    ),
    "sum over everything": _one(
        lambda h: h.sum((1, 2)),
        lambda h: h.flatten(1).sum(1),
        lambda h: h.sum(2).sum(1),
        lambda h: h.mean((1, 2)) * 12,
        shape=(3, 4),
    ),
    "mean": _one(
        lambda h: h.mean(1),
        lambda h: torch.mean(h, 1),
        lambda h: h.mean(dim=(1,)),
        lambda h: h.sum(1) / 3,
        lambda h: torch.mean(h, dim=-2, keepdim=True).squeeze(1),
        shape=(3, 4),
    ),
    "max over a dimension": _one(
        lambda h: h.max(1).values,
        lambda h: torch.max(h, 1)[0],
        lambda h: h.amax(1),
        lambda h: torch.amax(h, dim=1),
        lambda h: torch.max(h, dim=1, keepdim=True).values.squeeze(1),
        lambda h: F.max_pool1d(h.mT, 3)[..., 0],
        lambda h: h.gather(1, h.argmax(1, keepdim=True))[:, 0],
        shape=(3, 4),
    ),
    "min over a dimension": _one(
        lambda h: h.min(1).values,
        lambda h: torch.min(h, 1)[0],
        lambda h: h.amin(1),
        lambda h: -((-h).max(1)[0]),
        shape=(3, 4),
    ),
    "maximum": _two(torch.maximum, torch.max, Tensor.maximum, Tensor.max, lambda h, k: torch.where(h >= k, h, k)),
    "minimum": _two(torch.minimum, torch.min, Tensor.minimum, lambda h, k: -torch.maximum(-h, -k)),
}


# piecewise linear functions written out with the operations above
WRITTEN_OUT = {
    "log-scaled": _one(lambda h: h * math.pi, lambda h: math.pi * h, lambda h: h / (1 / math.pi)),
    "standardised": _one(lambda h: (h - D) / 0.3, lambda h: h / 0.3 - D / 0.3, lambda h: (h + (-D)) * (1 / 0.3)),
}
