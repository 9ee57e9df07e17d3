"""Looking at single torch calls: their constants, names and the error for unknown ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.overrides import resolve_name

from seqxai.errors import UnsupportedOperation
from seqxai.trace.graph import Node, Place, module_name


def constants_of(node: Node) -> list[tuple[Place, Tensor]]:
    """The inactive tensors among a node's arguments, with their places."""
    found: list[tuple[Place, Tensor]] = []
    items: list[tuple[int | str, Any]] = [*enumerate(node.args), *node.kwargs.items()]
    for key, argument in items:
        if isinstance(argument, Tensor):
            found.append((key, argument))
        elif isinstance(argument, (list, tuple)):
            found += [((key, i), item) for i, item in enumerate(argument) if isinstance(item, Tensor)]
    return [(place, tensor) for place, tensor in found if place not in node.places]


def version_of(tensor: Tensor) -> int:
    """A tensor's version counter; inference tensors have none."""
    return -1 if tensor.is_inference() else tensor._version


def function_name(func: Callable[..., Any]) -> str:
    """A torch function's name for messages."""
    name = resolve_name(func) if callable(func) else None
    return name or getattr(func, "__qualname__", None) or str(func)


def unsupported(name: str, path: str, shapes: list[tuple[int, ...]]) -> UnsupportedOperation:
    """The error for an operation that has no rule."""
    listed = ", ".join(str(shape) for shape in shapes)
    return UnsupportedOperation(
        f"{name} in {module_name(path)} mixes values that depend on the explained input (shapes {listed}) and has no rule; "
        "rewrite it with operations that have one, or register a rule with seqxai.register(function, rule)."
    )
