"""Linking values: which tensor holds which version of which content, told by storage and version, never by object."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from seqxai.trace import calls
from seqxai.trace.alias import alias_of
from seqxai.trace.calls import constants_of
from seqxai.trace.graph import Node, Place, Storage, Trace, Value
from seqxai.trace.operations import Operation

ALIAS = Operation("alias", "route", "alias", reads=False)


class LinkingMode(TorchFunctionMode):
    """What is known of every tensor of a run; the nodes are made here, too, for reading stale memory makes one.

    Args:
        trace: where the nodes go.
        unroll: whether recurrent kernels are recorded step by step.
    """

    def __init__(self, trace: Trace, unroll: bool = False) -> None:
        super().__init__()
        self.trace = trace
        self.unroll = unroll
        self.nodes = trace.nodes
        self.count = 0
        self.path = ""
        self.failed: tuple[Any, str, Any] | None = None  # the innermost module that raised, its path and its arguments
        self.bound: dict[int, tuple[Tensor, Value, Storage | None, int]] = {}
        # By memory: the one value that lives there, until a second one or a write makes a Storage necessary.
        self.storages: dict[int, Storage | Value] = {}
        # Tensors known to be constant, and for each of their storages the first node that may have read it.
        self.constants: dict[int, Tensor] = {}
        self.read_since: dict[int, int] = {}
        self.protected: dict[int, list[Tensor]] | None = None  # by memory, looked up at the first write into a constant
        self.belongings: Callable[[], Iterable[Tensor]] = tuple
        self.restored: list[tuple[Tensor, Tensor]] = []

    def add_input(self, tensor: Tensor) -> Value:
        """Make a tensor an explained input."""
        value = self._value(tensor)
        storage = self.storages[tensor.untyped_storage()._cdata] = Storage(value, tensor)
        value.storage = storage
        self.bound[id(tensor)] = (tensor, value, storage, storage.version)
        storage.add_reader(value)  # models write into their input (x /= 255): its content is kept
        return value

    def _value(self, tensor: Tensor, node: Node | None = None, index: int = 0, constant: bool = False) -> Value:
        value = Value(self.count, tensor, node.ref if node is not None else None, index, constant)
        self.count += 1
        return value

    def close(self) -> None:
        """The run is over: keep what the trace needs, and no reference that would keep memory in a cycle."""
        self.trace.count = self.count
        for storage in self.storages.values():
            if type(storage) is Storage:
                storage.close()

    def read(self, tensor: Tensor) -> Value | None:
        """The value a tensor holds now, or ``None`` if it does not depend on an explained input."""
        entry = self.bound.get(id(tensor))
        if entry is not None and (entry[2] is None or entry[2].version == entry[3]):
            return entry[1]
        if id(tensor) in self.constants:
            return None
        return self._read_by_storage(tensor)

    def _storage_key(self, tensor: Tensor) -> int:
        try:
            return tensor.untyped_storage()._cdata
        except (NotImplementedError, RuntimeError) as error:
            raise calls.without_memory(tensor, self.path) from error

    def _read_by_storage(self, tensor: Tensor) -> Value | None:
        key = self._storage_key(tensor)
        storage = self._storage(key)
        if storage is None:
            self.constants[id(tensor)] = tensor
            self.read_since.setdefault(key, len(self.nodes))
            return None
        geometry = (tensor.size(), tensor.stride(), tensor.storage_offset())
        if geometry == storage.root_geometry():
            self.bound[id(tensor)] = (tensor, storage.root, storage, storage.version)
            return storage.root
        return self._alias(tensor, storage, geometry)

    def _alias(self, tensor: Tensor, storage: Storage, geometry: tuple[Any, ...]) -> Value:
        args = (storage.root.data, storage.root_geometry(), geometry)
        node = self._node(ALIAS, alias_of, args, {}, [storage.root], [0], None)
        value = self._value(tensor, node)
        node.outputs.append(value)
        value.storage, value.version = storage, storage.version
        self.bound[id(tensor)] = (tensor, value, storage, storage.version)
        return value

    def _node(
        self,
        operation: Operation,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        inputs: list[Value],
        places: list[Place],
        mutated: int | None,
    ) -> Node:
        nodes = self.nodes
        node = Node(operation, func, args, kwargs, inputs, places, self.path, mutated, len(nodes))
        nodes.append(node)
        ref = node.ref
        if operation.reads:
            for value in inputs:
                value.used_by.append(ref)
                if not value.needed:
                    value.needed = True
                    if value.storage is not None:
                        value.storage.add_reader(value)
        else:
            for value in inputs:
                value.used_by.append(ref)
        return node

    def _share(self, key: int, tensor: Tensor, value: Value) -> None:
        """Link a new value to its memory, which other values may share."""
        storage = self._storage(key)
        if storage is None:
            self.storages[key] = value
            self.bound[id(tensor)] = (tensor, value, None, 0)
            return
        value.storage, value.version = storage, storage.version
        self.bound[id(tensor)] = (tensor, value, storage, storage.version)
        if value.needed:
            storage.add_reader(value)

    def _storage(self, key: int) -> Storage | None:
        """What is known of a piece of memory; from here on it is kept track of."""
        found = self.storages.get(key)
        if not isinstance(found, Value):
            return found
        storage = self.storages[key] = Storage(found, found.data)
        found.storage, found.version = storage, 0
        self.bound[id(found.data)] = (found.data, found, storage, 0)
        if found.needed:
            storage.add_reader(found)
        return storage

    def _keep_constants(self, key: int) -> None:
        """A constant's memory is about to be overwritten: nodes that read it get a copy."""
        start = self.read_since.pop(key, None)
        for node in self.nodes[start:] if start is not None else ():
            for place, tensor in constants_of(node):
                if tensor.layout == torch.strided and self._storage_key(tensor) == key:
                    node.replace(place, tensor.clone())
