"""Softmax that weighs constants: the expectation of a distribution over fixed values."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from seqxai.rules.gates import arrived
from seqxai.trace.graph import Node

if TYPE_CHECKING:
    from seqxai.rules.flow import Flow

NODES = 64
"""Of the quadrature; its error is booked."""


def expectation(node: Node, flow: Flow) -> None:
    """``E = sum_k c_k p_k`` with ``p = softmax(l)`` and constants c, as in the value of a categorical distribution (C51).

    With the constants fixed, E is a function of the logits alone.  Moving them from 0, where all p_k are equal, to l in a straight line
    writes it as a constant and a contrast of logits, exactly:

        E = mean(c) + sum_k w_k l_k,    w_k = ∫ p_k(t) (c_k - E(t)) dt from 0 to 1,    p(t) = softmax(t l),    sum_k w_k = 0

    (Aumann and Shapley's shares, the integrated gradient of Sundararajan et al. 2017, of this one operation).  So ``R_k = w_k l_k``, and
    mean(c), the value when nothing is known, is booked as ``constant``.  Since the w_k sum to zero, adding the same to all logits, which
    changes no probability, changes no relevance below.  The derivative at l alone would vanish for a distribution that is certain, and
    relevance ``c_k p_k`` at the logits themselves would change with that addition.

    The integral is taken by Gauss-Legendre quadrature in float64; its error, some 1e-12 of the largest c, is booked as ``stabilizer``.
    Where several values are drawn from one distribution, the c_k are those the relevance that arrives implies: ``c_k = R_k / p_k``.
    """
    relevance = arrived(node, flow)
    if relevance is None:
        return
    args, kwargs = node.arguments()
    dim = kwargs.get("dim", args[1] if len(args) > 1 else -1)
    logits, probabilities = node.inputs[0].data.double(), flow.trace.data(node.output).double()
    values = torch.where(probabilities > 0, relevance.double() / probabilities, 0.0)
    sign = -1.0 if node.name == "softmin" else 1.0
    found = path_weights(sign * logits, values, dim).mul_(sign * logits)
    flow.give(node.inputs[0], found.to(flow.dtype(node.inputs[0])))
    if flow.booking:
        uniform = values.mean(dim, keepdim=True)
        error = (values * probabilities).sum(dim, keepdim=True) - uniform - found.sum(dim, keepdim=True)
        share = torch.full_like(probabilities, 1.0 / probabilities.shape[dim])
        flow.book("constant", node, (uniform * share).to(relevance.dtype))
        flow.book("stabilizer", node, (error * share).to(relevance.dtype))


def path_weights(logits: Tensor, values: Tensor, dim: int) -> Tensor:
    """``w_k = ∫ p_k(t) (c_k - E(t)) dt`` for every distribution.

    Most happens where t times the spread of the logits is small, so the nodes are spread accordingly, for each distribution by itself.

    Args:
        logits: l, float64.
        values: c, of the same shape.
        dim: the dimension of the distributions.

    Returns:
        The weights, of the same shape; along ``dim`` they sum to 0.
    """
    spread = logits.amax(dim, keepdim=True) - logits.amin(dim, keepdim=True)
    rate = torch.log1p(spread / 8.0).clamp_(min=1e-6)
    weights = torch.zeros_like(logits)
    for place, weight in zip(*_quadrature(), strict=True):
        time = torch.expm1(rate * place) / torch.expm1(rate)
        speed = rate * torch.exp(rate * place) / torch.expm1(rate)
        shares = torch.softmax(time * logits, dim)
        weights += shares * (values - (shares * values).sum(dim, keepdim=True)) * (weight * speed)
    return weights


@cache
def _quadrature() -> tuple[list[float], list[float]]:
    """Nodes in 0..1 and their weights."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    return ((nodes + 1.0) / 2.0).tolist(), (weights / 2.0).tolist()
