"""Recording what has no rule as well, for methods that only run the model again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from seqxai.trace.calls import COUNTS, function_name, unsupported, version_of
from seqxai.trace.graph import Place, Value
from seqxai.trace.mode import CaptureMode
from seqxai.trace.operations import REFUSED, Operation

UNKNOWN = "unknown"
"""The kind of a recorded operation that nobody knows: it can be run again, and nothing more is known of it."""


class LenientMode(CaptureMode):
    """Records an operation that is not in the table as a node of the kind ``UNKNOWN`` instead of refusing it.

    What cannot be linked stays refused: unknown functions that write into an argument, and contents that leave torch.
    """

    def _unlisted(
        self,
        operation: Operation | None,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        inputs: list[Value],
    ) -> Any:
        if operation is not None or not inputs or func in REFUSED or func in COUNTS:
            return super()._unlisted(operation, func, args, kwargs, inputs)
        name = function_name(func).rsplit(".", 1)[-1]
        active, places = self._places(args, kwargs)
        tensors = [t for t in (*args, *kwargs.values()) if isinstance(t, Tensor)]
        before = [version_of(t) for t in tensors]
        result = func(*args, **kwargs)
        if before != [version_of(t) for t in tensors]:
            raise unsupported(name, self.path, [tuple(v.shape) for v in inputs])
        integers = any(not value.data.dtype.is_floating_point for value in active)
        node = None
        for index, tensor in enumerate(result if isinstance(result, (list, tuple)) else (result,)):
            if not isinstance(tensor, Tensor) or tensor.dtype == torch.bool:
                continue
            if not (tensor.dtype.is_floating_point or tensor.dtype.is_complex or integers):
                continue
            node = node or self._node(Operation(name, UNKNOWN), func, args, kwargs, active, places, None)
            self._output(node, tensor, index)
        return result

    def _places(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Value], list[Place]]:
        """The active tensors among the arguments, and where they stand."""
        active: list[Value] = []
        places: list[Place] = []
        for place, argument in enumerate(args):
            if isinstance(argument, Tensor):
                value = self.read(argument)
                if value is not None:
                    active.append(value)
                    places.append(place)
            elif isinstance(argument, (list, tuple)):
                self._scan_list(argument, place, active, places)
        self._scan_keywords(kwargs, active, places)
        return active, places
