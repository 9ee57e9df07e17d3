"""Views of memory that was written through another name: reading and writing a region of a root tensor."""

from __future__ import annotations

import torch
from torch import Tensor

Geometry = tuple[torch.Size, tuple[int, ...], int]


def _laid_out(root: Tensor, geometry: Geometry) -> Tensor:
    base = torch.empty_strided(geometry[0], geometry[1], dtype=root.dtype, device=root.device)
    base.copy_(root)
    return base


def alias_of(root: Tensor, root_geometry: Geometry, geometry: Geometry) -> Tensor:
    """The content of ``root`` seen with another size, stride and offset of the same memory."""
    size, stride, offset = geometry
    return _laid_out(root, root_geometry).as_strided(size, stride, offset - root_geometry[2])


def write_region(root: Tensor, region: Tensor, root_geometry: Geometry, geometry: Geometry) -> Tensor:
    """``root`` with ``region`` written at its place in the memory."""
    size, stride, offset = geometry
    base = _laid_out(root, root_geometry)
    base.as_strided(size, stride, offset - root_geometry[2]).copy_(region)
    return base


def region_index(root_geometry: Geometry, geometry: Geometry) -> Tensor:
    """For each element of the region, its position among the root's elements in row-major order."""
    size, stride, offset = geometry
    count = torch.Size(root_geometry[0]).numel()
    base = torch.empty_strided(root_geometry[0], root_geometry[1], dtype=torch.long)
    base.copy_(torch.arange(count).reshape(root_geometry[0]))
    return base.as_strided(size, stride, offset - root_geometry[2]).reshape(-1)
