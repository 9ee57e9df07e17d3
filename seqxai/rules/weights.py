"""Modified weights (W⁺, W + γW⁺, W², …), built once per content of a parameter."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_RAMPS: dict[tuple[int, torch.dtype, torch.device], Tensor] = {}


def fingerprint(weight: Tensor) -> Tensor:
    """A vector that changes with the content: each row's product with a fixed irregular vector.

    A version counter is not enough: ``parameter.data.copy_()``, the usual way to update a target network, leaves it alone.
    """
    rows = weight.detach().reshape(weight.shape[0], -1) if weight.dim() > 1 else weight.detach().reshape(1, -1)
    key = (rows.shape[1], rows.dtype, rows.device)
    ramp = _RAMPS.get(key)
    if ramp is None:
        positions = torch.arange(1, rows.shape[1] + 1, dtype=torch.float64)
        ramp = _RAMPS[key] = (0.5 + torch.frac(positions * 0.6180339887498949)).to(rows)
    return rows @ ramp


def _version(weight: Tensor) -> int:
    return -1 if weight.is_inference() else weight._version


@dataclass
class _Entry:
    weight: Tensor
    version: int
    content: Tensor
    modified: Tensor


class WeightCache:
    """Least-recently-used store of modified weights.

    Args:
        capacity: number of tensors kept.
    """

    def __init__(self, capacity: int = 256) -> None:
        self.capacity = capacity
        self.built = 0
        self._entries: OrderedDict[tuple[int, object], _Entry] = OrderedDict()
        self._checked: dict[int, Tensor] = {}

    def begin(self) -> None:
        """A new explanation: contents may have changed since the last one, and are looked at once each."""
        self._checked = {}

    def get(self, weight: Tensor, key: object, build: Callable[[Tensor], Tensor]) -> Tensor:
        """``build(weight)``, remembered under ``key`` while the weight's content stays the same."""
        if not isinstance(weight, torch.nn.Parameter):
            self.built += 1
            return build(weight)
        content = self._checked.get(id(weight))
        if content is None:
            content = self._checked[id(weight)] = fingerprint(weight)
        place = (id(weight), key)
        entry = self._entries.get(place)
        if entry is not None and entry.weight is weight and entry.version == _version(weight):
            if torch.equal(entry.content, content):
                self._entries.move_to_end(place)
                return entry.modified
        self.built += 1
        modified = build(weight.detach())
        self._entries[place] = _Entry(weight, _version(weight), content, modified)
        if len(self._entries) > self.capacity:
            self._entries.popitem(last=False)
        return modified
