"""Composite functions, replaced while recording by an equivalent sequence of recorded calls.

torch runs these as one kernel, which hides sums and gates that relevance must see.  Each function here has the signature of
the one
it stands for and is executed with the recording mode switched on.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqxai.errors import UnsupportedOperation
from seqxai.trace.operations import TABLE, Operation, functions, register


def lerp(input: Tensor, end: Tensor, weight: Tensor | float) -> Tensor:
    """``input + weight (end - input)``: a gate between two signals."""
    return input + weight * (end - input)


def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """``input + value tensor1 tensor2``."""
    product = tensor1 * tensor2
    return input + (product if value == 1 else product * value)


def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """``input + value tensor1 / tensor2``."""
    quotient = tensor1 / tensor2
    return input + (quotient if value == 1 else quotient * value)


def _scaled_sum(input: Tensor, product: Tensor, beta: float, alpha: float) -> Tensor:
    product = product if alpha == 1 else product * alpha
    if beta == 0:
        return product
    return product + (input if beta == 1 else input * beta)


def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """``beta input + alpha mat1 mat2``."""
    return _scaled_sum(input, mat1 @ mat2, beta, alpha)


def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """``beta input + alpha mat vec``."""
    return _scaled_sum(input, mat @ vec, beta, alpha)


def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """``beta input + alpha vec1 vec2ᵀ``."""
    return _scaled_sum(input, vec1.unsqueeze(1) * vec2, beta, alpha)


def addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """``beta input + alpha Σ_b batch1_b batch2_b``."""
    return _scaled_sum(input, torch.bmm(batch1, batch2).sum(0), beta, alpha)


def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """``beta input_b + alpha batch1_b batch2_b``."""
    return _scaled_sum(input, torch.bmm(batch1, batch2), beta, alpha)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """``a σ(b)`` for the two halves of the input: the gated linear unit of Dauphin et al. 2017."""
    signal, gate = input.chunk(2, dim)
    return signal * torch.sigmoid(gate)


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """Outer product of two vectors."""
    return input.unsqueeze(1) * vec2


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Batch normalisation with stored statistics, as the scale and shift it is: ``k x + (β - k μ)``, ``k = γ / sqrt(σ² + eps)``.

    Raises:
        UnsupportedOperation: in training mode, where the samples of a batch mix.
    """
    if training or running_mean is None or running_var is None:
        raise UnsupportedOperation(
            "Batch normalisation in training mode mixes the samples of a batch, so no sample has an explanation of its own; "
            "expected stored statistics: call model.eval() before explaining."
        )
    factor = torch.rsqrt(running_var + eps)
    factor = factor if weight is None else weight * factor
    offset = -running_mean * factor if bias is None else bias - running_mean * factor
    # No dimension for the batch: a factor of the input's full shape would read as a state, not as a weight.
    shape = [-1] + [1] * (input.dim() - 2)
    # A parameter, because that is what it is in the folded layer: the ledger books it as bias.
    return input * factor.reshape(shape) + torch.nn.Parameter(offset.reshape(shape), requires_grad=False)


def torch_batch_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool = True,
) -> Tensor:
    """``torch.batch_norm`` has another order of arguments than ``F.batch_norm``."""
    return batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


def convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> Tensor:
    """``torch.convolution``: the function behind all convolutions."""
    dimensions = weight.dim() - 2
    if transposed:
        transpose = getattr(F, f"conv_transpose{dimensions}d")
        return transpose(input, weight, bias, stride, padding, output_padding, groups, dilation)
    return getattr(F, f"conv{dimensions}d")(input, weight, bias, stride, padding, dilation, groups)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Instance normalisation: group normalisation with one channel a group, or the scale and shift of stored statistics."""
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    return F.group_norm(input, input.shape[1], weight, bias, eps)


def _dropout(refuse: bool) -> Callable[..., Tensor]:
    def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        """In eval mode the input itself; in training mode a product with this run's mask."""
        if not training or p == 0:
            return input
        if refuse or input.device.type != "cpu":
            raise UnsupportedOperation(
                "Dropout in training mode can be explained for plain dropout on a CPU only, where its mask is known; "
                "call model.eval() before explaining."
            )
        # A parameter, so that a gate times a mask is scaled and not taken for a constant signal.
        return input * torch.nn.Parameter(F.dropout(torch.ones_like(input), p, True), requires_grad=False)

    return dropout


def _lp_pool(average: Callable[..., Tensor], dimensions: int) -> Callable[..., Tensor]:
    def lp_pool(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
        """Power-average pooling ``(Σ x^p)^(1/p)``."""
        size = kernel_size**dimensions if isinstance(kernel_size, int) else math.prod(kernel_size)
        mean = average(input.pow(norm_type), kernel_size, stride or kernel_size, 0, ceil_mode)
        return (mean * size).pow(1.0 / norm_type)

    return lp_pool


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x1ᵀ W_o x2 + b_o`` for each output o."""
    product = torch.einsum("...i,oij,...j->...o", input1, weight, input2)
    return product if bias is None else product + bias


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """``softmax(Q Kᵀ scale + mask) V``: the softmax is a gate, so relevance flows through the values."""
    if dropout_p or enable_gqa:
        raise UnsupportedOperation(
            "scaled_dot_product_attention with dropout or grouped queries has no rule; call model.eval(), or repeat the keys."
        )
    scores = query @ key.transpose(-2, -1) * (scale if scale is not None else query.shape[-1] ** -0.5)
    if is_causal:
        allowed = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).tril()
        scores = scores.masked_fill(~allowed, float("-inf"))
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, float("-inf"))
    elif attn_mask is not None:
        scores = scores + attn_mask
    return torch.softmax(scores, -1) @ value


def transparent(function: Callable[..., Any]) -> Callable[..., Any]:
    """A Python function of torch whose inner calls are recorded: its own check for overrides is answered with no."""

    def never(*args: Any) -> bool:
        return False

    scope = dict(function.__globals__)
    for name in ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic"):
        scope[name] = never
    copy = types.FunctionType(function.__code__, scope, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def _open(name: str, function: Callable[..., Any], inplace: int | None = None) -> None:
    register(Operation(name, "composite", inplace=inplace, open=function), name)


for _function in (
    lerp, addcmul, addcdiv, addmm, addmv, addr, addbmm, baddbmm, glu, outer, batch_norm, instance_norm, bilinear,
    scaled_dot_product_attention,
):  # fmt: skip
    _open(_function.__name__, _function)
_open("ger", outer)
TABLE[torch.batch_norm] = Operation("batch_norm", "composite", open=torch_batch_norm)
TABLE[torch.convolution] = Operation("convolution", "composite", open=convolution)
# Their arguments come in another order than those of torch.nn.functional, and nobody calls them.
for _unused in (torch.instance_norm, torch.embedding_bag):
    TABLE.pop(_unused, None)
_open("multi_head_attention_forward", transparent(F.multi_head_attention_forward))
for _size in (1, 2, 3):
    _open(f"lp_pool{_size}d", _lp_pool(getattr(F, f"avg_pool{_size}d"), _size))
_open("dropout", _dropout(refuse=False), inplace=3)
for _name in ("dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "feature_dropout"):
    _open(_name, _dropout(refuse=True), inplace=3)

# Functions with an out= argument only differ in where the result goes; those with a trailing underscore write into argument 0.
for _name in ("lerp", "addcmul", "addcdiv", "addmm", "addmv", "addr", "addbmm", "baddbmm"):
    for _inplace in functions(f"{_name}_"):
        TABLE[_inplace] = replace(TABLE[getattr(torch, _name)], mutates=0)
