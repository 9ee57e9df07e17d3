"""The recording itself: a torch function mode that sees every call and links values by storage and version."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

import seqxai.trace.opening  # noqa: F401  (enters the composite functions into the table)
from seqxai.errors import CaptureError, UnsupportedOperation
from seqxai.trace import calls, recurrent
from seqxai.trace.alias import alias_of, write_region
from seqxai.trace.calls import constants_of, function_name, is_active, unsupported
from seqxai.trace.graph import Node, Place, Storage, Trace, Value, module_name
from seqxai.trace.operations import IGNORED, NOTED, REFUSED, TABLE, Operation

ALIAS = Operation("alias", "route", "alias", reads=False)
WRITE = Operation("write_region", "route", "write", reads=False)
NO_KEYWORDS: dict[str, Any] = {}  # shared: nodes replace their keywords, they never change them
SUMMED = Operation("einsum", "mean")


class CaptureMode(TorchFunctionMode):
    """Records every torch call whose arguments depend on the explained input."""

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
        self.protected: dict[int, list[Tensor]] = {}
        self.restored: list[tuple[Tensor, Tensor]] = []

    # ---- linking -----------------------------------------------------------------------------------------------------------

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

    # ---- the call ----------------------------------------------------------------------------------------------------------

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one torch call and record it where it touches an explained input's content.

        This runs for every operation of a model; the common case is written out instead of split into functions.
        """
        operation = TABLE.get(func)
        if operation is IGNORED:
            return func(*args, **kwargs) if kwargs else func(*args)
        inputs: list[Value] = []
        places: list[Place] = []
        bound, known = self.bound, self.constants
        for place, argument in enumerate(args):
            if isinstance(argument, Tensor):
                key = id(argument)
                entry = bound.get(key)
                if entry is not None and (entry[2] is None or entry[2].version == entry[3]):
                    inputs.append(entry[1])
                    places.append(place)
                elif key not in known:
                    value = self.read(argument)
                    if value is not None:
                        inputs.append(value)
                        places.append(place)
            elif type(argument) is tuple:
                self._scan_list(argument, place, inputs, places)
            elif type(argument) is list:
                self._scan_list(argument, place, inputs, places)
                args = (*args[:place], list(argument), *args[place + 1 :])  # the caller may append to its list later
        if kwargs:
            self._scan_keywords(kwargs, inputs, places)
        else:
            kwargs = NO_KEYWORDS
        if operation is None or operation is NOTED:
            return self._unlisted(operation, func, args, kwargs, inputs)
        if not inputs or not operation.simple or "out" in kwargs:
            return self._special(operation, func, args, kwargs, inputs, places)
        result = func(*args, **kwargs)
        if type(result) is not Tensor or not result.dtype.is_floating_point or operation.how == "reshape":
            return self._record(operation, func, args, kwargs, inputs, places, result)
        # The rest is _record, _node and _output for one new floating tensor, the bulk of all calls.
        nodes = self.nodes
        node = Node(operation, func, args, kwargs, inputs, places, self.path, None, len(nodes))
        nodes.append(node)
        ref = node.ref
        fresh = Value(self.count, result, ref)
        self.count += 1
        node.outputs.append(fresh)
        memory = result.untyped_storage()._cdata
        fresh.needed = operation.reads
        if memory not in self.storages:
            self.storages[memory] = fresh
            bound[id(result)] = (result, fresh, None, 0)
        else:
            self._share(memory, result, fresh)
        reads = operation.reads
        for value in inputs:
            value.used_by.append(ref)
            if reads and not value.needed:
                value.needed = True
                if value.storage is not None:
                    value.storage.add_reader(value)
        return result

    def _special(
        self,
        operation: Operation,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        inputs: list[Value],
        places: list[Place],
    ) -> Any:
        """Calls on constants, opened composites, recurrent kernels, and calls that write or may write in place."""
        if operation.how == "pack":
            recurrent.check_packing(args, self.path)
        if operation.lends and inputs:
            inputs, places = ([inputs[0]], [0]) if places[0] == 0 else ([], [])
        if not inputs or operation.kind == "constant":
            self._protect(operation, func, args, kwargs)
            return func(*args, **kwargs)
        if operation.open is not None:
            return self._opened(operation, args, kwargs)
        if operation.kind == "recurrent":
            return self._recurrent(operation, func, args, kwargs, inputs, places)
        if operation.name == "div" and kwargs.get("rounding_mode") is not None:
            raise unsupported(
                f"torch.div with rounding_mode={kwargs['rounding_mode']!r}", self.path, [tuple(v.shape) for v in inputs]
            )
        if operation.name == "einsum" and len(inputs) == 1 and not calls.has_constant(args, self.constants):
            operation = SUMMED  # an einsum of one tensor adds and moves its elements
        target = calls.written_tensor(operation, args, kwargs)
        if target is not None:
            return self._record_write(operation, func, args, kwargs, inputs, places, target)
        return self._record(operation, func, args, kwargs, inputs, places, func(*args, **kwargs))

    def _scan_keywords(
        self,
        kwargs: dict[str, Any],
        inputs: list[Value],
        places: list[Place],
    ) -> None:
        for key, argument in kwargs.items():
            if isinstance(argument, Tensor):
                value = self.read(argument)
                if value is not None:
                    inputs.append(value)
                    places.append(key)
            elif isinstance(argument, (list, tuple)):
                self._scan_list(argument, key, inputs, places)

    def _scan_list(
        self,
        items: Iterable[Any],
        key: int | str,
        inputs: list[Value],
        places: list[Place],
    ) -> None:
        for position, item in enumerate(items):
            if isinstance(item, Tensor):
                value = self.read(item)
                if value is not None:
                    inputs.append(value)
                    places.append((key, position))
            elif isinstance(item, (list, tuple)):
                for inner in item:
                    if isinstance(inner, Tensor) and self.read(inner) is not None:
                        raise UnsupportedOperation(
                            f"An argument nested twice holds a tensor that depends on the explained input, in "
                            f"{module_name(self.path)}; expected lists of tensors at most."
                        )

    # ---- recording ---------------------------------------------------------------------------------------------------------

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

    def _record(
        self,
        operation: Operation,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        inputs: list[Value],
        places: list[Place],
        result: Any,
    ) -> Any:
        if operation.kind in ("add", "mul", "activation") and not inputs[0].data.dtype.is_floating_point and len(inputs) == 1:
            operation = calls.of_integers(operation, result)
        if isinstance(result, Tensor):
            for place in places:
                if type(place) is int and args[place] is result:
                    return result  # the very object came back: nothing happened
            results: Any = (result,)
        else:
            results = result
        node = None
        for index, tensor in enumerate(results):
            if not isinstance(tensor, Tensor) or (index and operation.how == "pack"):
                continue
            if not tensor.dtype.is_floating_point and not is_active(tensor, operation, inputs):
                continue
            if node is None:
                node = self._node(operation, func, args, kwargs, inputs, places, None)
            self._output(node, tensor, index)
        return result

    def _output(self, node: Node, tensor: Tensor, index: int) -> None:
        value = Value(self.count, tensor, node.ref, index)
        self.count += 1
        node.outputs.append(value)
        value.needed = node.operation.reads
        self._share(tensor.untyped_storage()._cdata, tensor, value)

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

    # ---- writing in place ----------------------------------------------------------------------------------------------------

    def _before_write(self, target: Tensor) -> Storage:
        """Let every earlier reader of the memory keep its copy; give a constant buffer a root first."""
        key = self._storage_key(target)
        self._keep_constants(key)
        storage = self._storage(key)
        if storage is None:
            self._save(target)
            storage = self.storages[key] = self._constant_root(target)
            self.constants.clear()
        storage.release_readers()
        storage.root_geometry()
        return storage

    def _constant_root(self, target: Tensor) -> Storage:
        whole = target
        if target.numel() * target.element_size() != target.untyped_storage().nbytes() or not target.is_contiguous():
            whole = torch.empty(0, dtype=target.dtype, device=target.device).set_(target.untyped_storage())
        root = self._value(whole.clone(), constant=True)
        return Storage(root, whole)

    def _record_write(
        self,
        operation: Operation,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        inputs: list[Value],
        places: list[Place],
        target: Tensor,
    ) -> Any:
        storage = self._before_write(target)
        mutated: int | None = None
        if "out" in kwargs:
            kept = {key: value for key, value in kwargs.items() if key != "out"}
            pairs = [(v, p) for v, p in zip(inputs, places, strict=True) if p != "out"]
            inputs, places = [v for v, _ in pairs], [p for _, p in pairs]
        else:
            kept = kwargs
            mutated = 0
            if 0 not in places and operation.kind != "route" and storage.root.constant:
                args = (target.clone(), *args[1:])  # what was there before is an ordinary constant operand
            elif 0 not in places and operation.how != "copy" and operation.kind != "fill":
                old = self._read_by_storage(target)
                if old is not None:
                    inputs, places = [old, *inputs], [0, *places]
        # The arguments are recorded before the call changes them; readers of this very call keep copies too.
        reads = operation.reads
        if operation.geometric:
            # The object changes its shape: what held it keeps a view of the old one.
            before = target.detach()
            for value in (*inputs, storage.root, *(v for n in self.nodes for v in n.outputs)):
                if value.data is target:
                    value.data = before
            if storage.tensor is target:
                storage.tensor = target.detach()
        node = self._node(operation, func, args, kept, inputs, places, mutated)
        if reads:
            for value in inputs:
                if value.storage is storage:
                    value.keep()
            storage.readers = None
        result = func(target, *args[1:], **kwargs) if mutated == 0 and args else func(*args, **kwargs)
        if operation.geometric:
            value = self._value(target, node)
            node.outputs.append(value)
            value.storage, value.version = storage, storage.version
            self.bound[id(target)] = (target, value, storage, storage.version)
            return result
        self._written(node, target, storage)
        return result

    def _written(self, node: Node, target: Tensor, storage: Storage) -> None:
        storage.version += 1
        value = self._value(target, node)
        node.outputs.append(value)
        value.storage, value.version = storage, storage.version
        self.bound[id(target)] = (target, value, storage, storage.version)
        if node.operation.reads:
            storage.add_reader(value)
        geometry = (target.size(), target.stride(), target.storage_offset())
        if geometry == storage.root_geometry():
            storage.root = value
            return
        args = (storage.root.data, target, storage.root_geometry(), geometry)
        write = self._node(WRITE, write_region, args, {}, [storage.root, value], [0, 1], None)
        root = self._value(storage.tensor, write)
        root.storage, root.version = storage, storage.version
        write.outputs.append(root)
        storage.root = root

    # ---- what is not in the table ---------------------------------------------------------------------------------------------

    def _opened(self, operation: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        assert operation.open is not None
        target = calls.written_tensor(operation, args, kwargs)
        kept = {key: value for key, value in kwargs.items() if key != "out"}
        with self:
            result = operation.open(*args, **kept)
            if target is None or result is target:
                return result
            return target.copy_(result)

    def _recurrent(
        self,
        operation: Operation,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        inputs: list[Value],
        places: list[Place],
    ) -> Any:
        """A fused recurrent kernel: a node for each of its layers, or its steps one by one."""
        call = recurrent.parse(operation.name, args, kwargs, self.path)
        recurrent.check(call, self.path)
        if any(self.read(weight) is not None for weight in call.weights):
            raise UnsupportedOperation(
                f"{operation.name} in {module_name(self.path)} has weights that depend on the explained input; expected constant weights."
            )
        if call.layers == 1 and not self.unroll:
            return self._record(operation, func, args, kwargs, inputs, places, func(*args))
        with self:
            return recurrent.unrolled(call) if call.layers == 1 else recurrent.layer_by_layer(call, func)

    def _unlisted(
        self,
        operation: Operation | None,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        inputs: list[Value],
    ) -> Any:
        name = function_name(func)
        if not inputs:
            if operation is None:
                self._protect(None, func, args, kwargs)
            return func(*args, **kwargs)
        if func in REFUSED:
            raise CaptureError(
                f"Expected torch operations only, but {REFUSED[func]}, in {module_name(self.path)}; "
                "write this step with torch functions."
            )
        if operation is NOTED:
            self.trace.notes.append((name, self.path))
            return func(*args, **kwargs)
        tensors = [t for t in (*args, *kwargs.values()) if isinstance(t, Tensor)]
        before = [calls.version_of(t) for t in tensors]
        result = func(*args, **kwargs)
        written = before != [calls.version_of(t) for t in tensors]
        outputs = result if isinstance(result, (list, tuple)) else (result,)
        if written or any(isinstance(t, Tensor) and (t.dtype.is_floating_point or t.dtype.is_complex) for t in outputs):
            raise unsupported(name, self.path, [tuple(v.shape) for v in inputs])
        integers = any(isinstance(t, Tensor) and t.dtype not in (torch.bool, torch.uint8) for t in outputs)
        if integers and func not in calls.COUNTS and any(not v.data.dtype.is_floating_point for v in inputs):
            raise unsupported(f"{name} on integers", self.path, [tuple(v.shape) for v in inputs])
        return result

    def _protect(
        self, operation: Operation | None, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Before a call on constants writes: copies for earlier readers, and the model's own buffers are put back later."""
        if operation is not None:
            if operation.name == "batch_norm" and operation.open is not None:
                if kwargs.get("training") or (len(args) > 5 and args[5]):
                    operation.open(*args, **kwargs)
                return
            target = calls.written_tensor(operation, args, kwargs)
        else:
            name = getattr(func, "__name__", "")
            writes = name.endswith("_") and not name.endswith("__")
            target = args[0] if writes and args else kwargs.get("out")
        if not isinstance(target, Tensor) or target.layout != torch.strided:
            return
        self._save(target)
        self._keep_constants(self._storage_key(target))
        self.constants.clear()

    def _save(self, target: Tensor) -> None:
        key = self._storage_key(target)
        for original in self.protected.pop(key, ()):
            self.restored.append((original, original.detach().clone()))
