"""Normalisation by a value's own statistics: the deviation is held fixed, the mean is part of the sum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqxai.rules.layers import vjp
from seqxai.rules.merge import sum_rule
from seqxai.trace.graph import Node

if TYPE_CHECKING:
    from collections.abc import Callable

    from seqxai.rules.flow import Flow


def normalise(node: Node, flow: Flow) -> None:
    """Normalise with the deviation held fixed.

    ``y = γ (x - mean x)/σ + β`` is then linear in x: ``R = x (t - mean t)``, ``t = γ s / σ``, ``s = R/(y + ε sign y)``.

    Without a mean and a bias (RMS norm, ``F.normalize``, local response normalisation) it is a scale: relevance passes unchanged.
    """
    relevance = flow.take_relevance(node)
    if relevance is None:
        return
    value = node.inputs[0]
    linear, bias = fixed_deviation(node)
    if linear is None:
        flow.give(value, relevance)
        return
    ((_, s),) = sum_rule(node, flow).coefficients(node, relevance, flow)
    flow.give(value, vjp(linear, value.data, s) * value.data)
    if flow.booking and bias is not None:
        flow.book("bias", node, bias * s)


def fixed_deviation(node: Node) -> tuple[Callable[[Tensor], Tensor] | None, Tensor | None]:
    """The normalisation as a linear function with this sample's deviation, and its bias; ``None`` for a plain scale."""
    args, kwargs = node.arguments()
    reader = {"layer_norm": _layer, "group_norm": _group}.get(node.name)
    return reader(*args, **kwargs) if reader is not None else (None, None)


def _layer(
    input: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> tuple[Callable[[Tensor], Tensor], Tensor | None]:
    dims = tuple(range(-len(tuple(normalized_shape)), 0))
    factor = torch.rsqrt(input.var(dims, correction=0, keepdim=True) + eps)
    factor = factor if weight is None else factor * weight
    return lambda x: (x - x.mean(dims, keepdim=True)) * factor, bias


def _group(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> tuple[Callable[[Tensor], Tensor], Tensor | None]:
    batch, channels = input.shape[:2]
    grouped = (batch, num_groups, -1)
    shape = [1, channels] + [1] * (input.dim() - 2)
    deviation = torch.rsqrt(input.reshape(grouped).var(-1, correction=0, keepdim=True) + eps)

    def linear(x: Tensor) -> Tensor:
        rows = x.reshape(grouped)
        found = ((rows - rows.mean(-1, keepdim=True)) * deviation).reshape(x.shape)
        return found if weight is None else found * weight.reshape(shape)

    return linear, None if bias is None else bias.reshape(shape)


def looked_up(node: Node, flow: Flow) -> None:
    """Embeddings: a token receives what its vector received; a bag's tokens share in proportion to what they contribute."""
    relevance = flow.take_relevance(node)
    if relevance is None:
        return
    if node.name == "embedding":
        flow.give(node.inputs[0], relevance.sum(-1))
        return
    args, kwargs = node.arguments()
    _bag(node, relevance, flow, *args, **kwargs)


def _bag(
    node: Node,
    relevance: Tensor,
    flow: Flow,
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> None:
    ids = input.reshape(-1)
    vectors = F.embedding(ids, weight)  # (tokens, D)
    if input.dim() == 2:
        bags = torch.arange(input.shape[0]).repeat_interleave(input.shape[1])
    else:
        assert offsets is not None
        starts = offsets[:-1] if include_last_offset else offsets
        bags = torch.searchsorted(starts.contiguous(), torch.arange(ids.numel()), right=True) - 1
    if mode == "max":
        flow.give(node.inputs[0], _bag_max(vectors, bags, relevance).reshape(input.shape))
        return
    share = torch.ones(ids.numel(), dtype=weight.dtype) if per_sample_weights is None else per_sample_weights.reshape(-1)
    if padding_idx is not None:
        share = share * (ids != padding_idx)
    if mode == "mean":
        share = (
            share / torch.zeros(relevance.shape[0], dtype=weight.dtype).index_add_(0, bags, (share != 0).to(weight.dtype))[bags]
        )
    ((_, s),) = sum_rule(node, flow).coefficients(node, relevance, flow)
    flow.give(node.inputs[0], ((vectors * s[bags]).sum(-1) * share).reshape(input.shape))


def _bag_max(vectors: Tensor, bags: Tensor, relevance: Tensor) -> Tensor:
    found = torch.zeros(vectors.shape[0], dtype=relevance.dtype)
    for bag in range(relevance.shape[0]):
        members = (bags == bag).nonzero().reshape(-1)
        if members.numel():
            winners = members[vectors[members].argmax(0)]
            found.index_add_(0, winners, relevance[bag])
    return found
