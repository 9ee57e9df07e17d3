"""The recurrence of one or two short rows: each step as one matrix.

With a single sentence the arithmetic is nothing and every call of torch counts.  Then the four operations of a step are put into a matrix
for many steps at once, and a step is one product.
"""

from __future__ import annotations

import torch
from torch import Tensor

ROWS, UNITS, CHUNK = 2, 128, 64


def worthwhile(shape: torch.Size) -> bool:
    """Whether arrays (D, T, B, H) are small enough."""
    return shape[0] * shape[2] <= ROWS and shape[3] <= UNITS


def relevance_of_states(
    start: Tensor, u: Tensor, before: Tensor, keep: Tensor, enter: Tensor, arrived: Tensor | None
) -> Tensor:
    """``q(t-1) = a(t-1) + keep(t) q(t) + before(t) Uᵀ(enter(t) q(t))``, from the last step to the first.

    Args:
        start: what the last step has from its final states, (D, B, H).
        u: (D, H, H).
        before, keep, enter: factors of each step, (D, T, B, H).
        arrived: a, what arrived at each step, (D, T, B, H), or ``None``.

    Returns:
        q, (D, T, B, H).
    """
    directions, steps, batch, units = before.shape
    rows = directions * batch
    before, keep, enter = (a.transpose(0, 1).reshape(steps, rows, units) for a in (before, keep, enter))
    weights = u if batch == 1 else u.repeat_interleave(batch, 0)
    added = [None] * steps if arrived is None else [*arrived.transpose(0, 1).reshape(steps, rows, 1, units).unbind(0)]
    q = start.reshape(rows, 1, units) if added[-1] is None else start.reshape(rows, 1, units) + added[-1]
    found = [q]
    for stop in range(steps, 1, -CHUNK):
        first = max(stop - CHUNK, 1)
        matrices = (enter[first:stop, :, :, None] * weights).mul_(before[first:stop, :, None, :])
        matrices.diagonal(dim1=-2, dim2=-1).add_(keep[first:stop])
        for matrix, more in zip(reversed(matrices.unbind(0)), reversed(added[first - 1 : stop - 1]), strict=True):
            q = torch.bmm(q, matrix) if more is None else torch.baddbmm(more, q, matrix)
            found.append(q)
    return torch.stack(found[::-1]).view(steps, directions, batch, units).transpose(0, 1)
