"""Looking at single torch calls: their constants, names and the error for unknown ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import resolve_name

from seqxai.errors import UnsupportedOperation
from seqxai.trace.graph import Node, Place, Value, module_name
from seqxai.trace.operations import Operation

INTEGER = Operation("integer arithmetic", "activation", reads=False)
# Positions and numbers of elements: constants, whatever they were computed from.
COUNTS = {
    getattr(space, name)
    for name in "argmax argmin argsort bincount nonzero count_nonzero unique searchsorted bucketize sum".split()
    for space in (torch, Tensor)
    if hasattr(space, name)
}
KEEPS_INTEGERS = frozenset({"route", "gate", "activation", "max", "max-pool"})


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


def of_integers(operation: Operation, result: Any) -> Operation:
    """Token ids shifted or clamped are still token ids: what arrives at them belongs to them, element by element."""
    integer = isinstance(result, Tensor) and not result.dtype.is_floating_point and result.dtype != torch.bool
    return INTEGER if integer else operation


def is_active(tensor: Tensor, operation: Operation, inputs: list[Value]) -> bool:
    """Whether a result depends on the content of the explained input.

    Floating results do; integers only as copies of active integers (token ids, raw observations).

    Raises:
        UnsupportedOperation: if the result is complex, or computed from active integers by something that has no rule.
    """
    if tensor.dtype.is_floating_point:
        return True
    if tensor.dtype.is_complex:
        raise unsupported(f"{operation.name} with a complex result", "", [tuple(v.shape) for v in inputs])
    if tensor.dtype == torch.bool or all(v.data.dtype.is_floating_point for v in inputs):
        return False
    if operation.kind not in KEEPS_INTEGERS:
        raise unsupported(f"{operation.name} on integers", "", [tuple(v.shape) for v in inputs])
    if operation.how == "reshape" and inputs[0].data.dtype.is_floating_point:
        return False
    return operation.how != "selection" and any(not value.data.dtype.is_floating_point for value in inputs)


def has_constant(args: tuple[Any, ...], constants: dict[int, Tensor]) -> bool:
    """Whether one of the arguments, or an element of a list among them, is a known constant."""
    items = [item for a in args for item in (a if isinstance(a, (list, tuple)) else (a,))]
    return any(isinstance(item, Tensor) and id(item) in constants for item in items)


def written_tensor(operation: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """The tensor a call writes into, if it does."""
    out = kwargs.get("out")
    if out is not None:
        if not isinstance(out, Tensor):
            raise UnsupportedOperation(f"{operation.name} with several out= tensors has no rule; use its return value.")
        return out
    if operation.mutates is not None:
        return args[operation.mutates] if args else kwargs["input"]
    if operation.inplace is not None and (kwargs.get("inplace") or (len(args) > operation.inplace and args[operation.inplace])):
        return args[0] if args else kwargs["input"]
    return None


def without_memory(tensor: Tensor, path: str) -> UnsupportedOperation:
    """The error for a tensor that torch.vmap, torch.func or a sparse layout keeps without memory of its own."""
    kind = "a tensor batched by torch.vmap" if tensor.layout == torch.strided else f"a tensor of layout {tensor.layout}"
    return UnsupportedOperation(
        f"{kind} in {module_name(path)} has no memory of its own that could be followed; expected plain dense "
        "tensors: write the operation without torch.vmap, torch.func or sparse layouts."
    )
