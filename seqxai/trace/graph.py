"""The data of a recorded run: values, nodes, and the trace that holds them."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from seqxai.errors import CaptureError

if TYPE_CHECKING:
    import torch

    from seqxai.trace.lstm import Kept
    from seqxai.trace.operations import Operation

Place = int | str | tuple[int | str, int]


class Storage:
    """What is known of one piece of memory: how often it was written, and the value that describes all of it now."""

    __slots__ = ("geometry", "readers", "root", "tensor", "version")

    root: Value
    tensor: Tensor

    def __init__(self, root: Value, tensor: Tensor) -> None:
        self.version = 0
        self.root = root
        self.tensor = tensor
        self.geometry: tuple[torch.Size, tuple[int, ...], int] | None = None
        self.readers: list[Value] | None = None

    def close(self) -> None:
        """The recording is over; only the version is asked for from now on."""
        self.readers = None
        del self.root, self.tensor

    def add_reader(self, value: Value) -> None:
        """Remember a value whose content a rule will need: it is copied out before the memory is overwritten."""
        value.needed = True
        if self.readers is None:
            self.readers = [value]
        else:
            self.readers.append(value)

    def release_readers(self) -> None:
        """The memory is about to be overwritten."""
        for value in self.readers or ():
            value.keep()
        self.readers = None

    def root_geometry(self) -> tuple[torch.Size, tuple[int, ...], int]:
        """Size, stride and offset of the tensor that stands for the whole storage; taken before it can change."""
        if self.geometry is None:
            self.geometry = (self.tensor.size(), self.tensor.stride(), int(self.tensor.storage_offset()))
        return self.geometry


class Value:
    """One version of one tensor's content.

    ``data`` is the tensor itself while its memory still holds this version, or a copy made just before it was overwritten.
    ``node`` is the node that produced it, ``None`` for an explained input or a constant that became part of the trace.
    ``number`` counts the values of a trace, so that tables over them are lists.
    """

    # Nodes are referred to weakly: without cycles a trace frees its memory the moment it is dropped.
    __slots__ = ("constant", "data", "index", "needed", "number", "producer", "storage", "used_by", "version")

    def __init__(
        self,
        number: int,
        data: Tensor,
        producer: weakref.ref[Node] | None = None,
        index: int = 0,
        constant: bool = False,
    ) -> None:
        self.number = number
        self.data = data
        self.producer = producer
        self.index = index
        self.constant = constant
        self.used_by: list[weakref.ref[Node]] = []
        self.needed = False
        self.storage: Storage | None = None
        self.version = 0

    @property
    def shape(self) -> torch.Size:
        """The shape of the content."""
        return self.data.shape

    @property
    def node(self) -> Node | None:
        """The node that produced the value."""
        return self.producer() if self.producer is not None else None

    @property
    def consumers(self) -> list[Node]:
        """The nodes that read the value, in forward order."""
        return [node for ref in self.used_by if (node := ref()) is not None]

    @property
    def stale(self) -> bool:
        """Whether the memory behind ``data`` was overwritten without a copy being kept."""
        return self.storage is not None and self.storage.version != self.version

    def keep(self) -> None:
        """Copy the content out, because its memory is about to be overwritten."""
        if self.storage is not None and not self.stale:
            self.data = self.data.clone()
            self.storage = None

    def __repr__(self) -> str:
        origin = self.node.describe() if self.node is not None else ("constant" if self.constant else "input")
        return f"Value({tuple(self.shape)} from {origin})"


class Node:
    """One recorded operation.

    Attributes:
        operation: what it is, from the table of known operations.
        function: the torch function that ran.
        args, kwargs: its arguments; a recorded input stands at each of ``places``.
        inputs: the active values among the arguments, in the order of ``places``.
        outputs: the values it made; outputs that carry no relevance (integers) are not among them.
        path: path of the module it ran in, "" for the model itself.
        mutated: position of the argument it wrote into, or ``None``.
        index: position in the trace.
    """

    __slots__ = (
        "__weakref__", "args", "function", "index", "inputs", "kwargs", "mutated", "operation", "outputs", "path", "places", "ref",
    )  # fmt: skip

    def __init__(
        self,
        operation: Operation,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        inputs: list[Value],
        places: list[Place],
        path: str,
        mutated: int | None,
        index: int,
    ) -> None:
        self.operation = operation
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.inputs = inputs
        self.places = places
        self.outputs: list[Value] = []
        self.path = path
        self.mutated = mutated
        self.index = index
        self.ref = weakref.ref(self)

    @property
    def output(self) -> Value:
        """The only, or the first, output."""
        return self.outputs[0]

    @property
    def name(self) -> str:
        """Name of the operation, as in torch."""
        return self.operation.name

    def arguments(self, values: list[Tensor] | None = None) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The call's arguments with the recorded inputs, or other ``values`` of the same shapes, at their places."""
        args: list[Any] = list(self.args)
        kwargs = dict(self.kwargs)
        for position, place in enumerate(self.places):
            tensor = self.inputs[position].data if values is None else values[position]
            put(args, kwargs, place, tensor)
        return tuple(args), kwargs

    def replace(self, place: Place, tensor: Tensor) -> None:
        """Put another tensor at a place among the arguments (a constant copied before it was overwritten)."""
        args, kwargs = list(self.args), dict(self.kwargs)
        put(args, kwargs, place, tensor)
        self.args, self.kwargs = tuple(args), kwargs

    def describe(self) -> str:
        """The node in words, for messages."""
        shapes = ", ".join(str(tuple(value.shape)) for value in self.inputs)
        return f"{self.name}({shapes}) in {module_name(self.path)}"

    def __repr__(self) -> str:
        return f"Node({self.index}: {self.describe()})"


def put(args: list[Any], kwargs: dict[str, Any], place: Place, tensor: Tensor) -> None:
    """Write ``tensor`` at ``place`` among ``args`` and ``kwargs``; nested lists are copied, never changed."""
    holder: Any = args
    if isinstance(place, tuple):
        key, inner = place
        holder = kwargs if isinstance(key, str) else args
        items = list(holder[key])
        items[inner] = tensor
        holder[key] = items if isinstance(holder[key], list) else tuple(items)
        return
    holder = kwargs if isinstance(place, str) else args
    holder[place] = tensor


def module_name(path: str) -> str:
    """A module path for messages; the model itself has the empty path."""
    return f"module {path!r}" if path else "the model's own forward"


class Trace:
    """A recorded run: the nodes in forward order, the explained inputs and what the model returned.

    Attributes:
        nodes: every operation that touched an explained input's content.
        inputs: the explained inputs' values.
        output: what the model returned, unchanged.
        outputs: the active tensors among what it returned, as values, in order.
        notes: (function, module path) of everything that read numbers out of torch, such as ``.item()``.
        modules: module path -> the values its calls returned, in the order of the calls.
        kept: index of an LSTM's node -> the gates of its run.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.inputs: list[Value] = []
        self.input_tensors: list[Tensor] = []
        self.output: Any = None
        self.outputs: list[Value] = []
        self.notes: list[tuple[str, str]] = []
        self.modules: dict[str, list[Value]] = {}
        self.bound: dict[int, tuple[Any, Value, Any, int]] = {}
        self.call: tuple[Any, tuple[Any, ...], dict[str, Any]] | None = None
        self.random_state: Any = None
        self.kept: dict[int, Kept] = {}
        self.count = 0

    def producer(self, tensor: Tensor) -> Node | None:
        """The node that produced a tensor of the run, ``None`` for an explained input.

        Raises:
            CaptureError: if the tensor is not part of the trace.
        """
        entry = self.bound.get(id(tensor))
        if entry is None or entry[0] is not tensor:
            raise CaptureError(
                "Expected a tensor that depends on the explained input and was seen while recording, got an unknown "
                f"tensor of shape {tuple(tensor.shape)}; look at trace.nodes for what was recorded."
            )
        return entry[1].node

    def at(self, path: str) -> list[Value]:
        """The values returned by the calls of a module, or the output of node ``"#index"``.

        Raises:
            CaptureError: if the path names nothing in this trace.
        """
        if not isinstance(path, str):
            raise CaptureError(f"Expected a module's path or '#' and a node's index, got {path!r}.")
        if path.startswith("#") and path[1:].isdigit() and int(path[1:]) < len(self.nodes):
            return [self.nodes[int(path[1:])].output]
        if path in self.modules:
            return self.modules[path]
        raise CaptureError(
            f"Expected the path of a module that ran, or '#' and a node's index, got {path!r}; "
            f"recorded modules: {', '.join(sorted(p for p in self.modules if p)) or 'none'}."
        )

    def data(self, value: Value) -> Tensor:
        """The content of a value, recomputed from the input where its memory was overwritten since."""
        if value.stale:
            from seqxai.trace.replay import replay

            value.data = replay(self, [v.data for v in self.inputs], until=value)
            value.storage = None
        return value.data

    def verify(self, model: Any = None, *, scale: float = 1e-3, tolerance: float | None = None) -> float:
        """Prove that nothing was missed: replay the trace on a perturbed input and compare with the model itself.

        See :func:`seqxai.trace.replay.verify`; returns the largest difference relative to the largest output.
        """
        from seqxai.trace.replay import verify

        return verify(self, model, scale=scale, tolerance=tolerance)

    def __repr__(self) -> str:
        lines = [f"Trace of {len(self.nodes)} nodes"]
        lines += [f"  {node.index:4d}  {node.describe()}" for node in self.nodes[:40]]
        if len(self.nodes) > 40:
            lines.append(f"  ... and {len(self.nodes) - 40} more")
        return "\n".join(lines)
