"""Reading the data in a pickle without unpickling it.

A pickle is a program for a small stack machine, and two of its instructions import and call whatever they name.  The machine here
has no such instructions: it builds numbers, text, lists, dictionaries and descriptions of tensors, and refuses, by name,
everything else.  Nothing is imported, nothing is called, so nothing in a file can run; what is read is bounded by the file's length.

``torch.load(weights_only=True)`` is close to this.  It still admits whatever any imported library has added to a list that the
whole process shares, allocates what a file asks for, and reports damage in dozens of ways.
"""

from __future__ import annotations

import io
import pickletools
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from seqxai.errors import CheckpointError

DTYPES = {
    "FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8",
    "BoolStorage": "bool",
}  # fmt: skip
"""torch's names of storages, and the names of their element types."""

ITEMSIZE = {"float64": 8, "int64": 8, "float32": 4, "int32": 4, "float16": 2, "bfloat16": 2, "int16": 2}
SCALARS = {"f8": "<d", "f4": "<f", "f2": "<e", "i8": "<q", "i4": "<i", "i2": "<h", "u1": "<B", "b1": "<?"}
"""numpy's types of single numbers, as :mod:`struct` reads them."""

ELEMENTS_MAX, DIMENSIONS_MAX, INTEGER_BYTES_MAX, ENCODED_MAX = 2**28, 8, 16, 1024
INSTRUCTIONS_MAX = 1_000_000
"""A checkpoint with its optimiser takes some ten thousand; a million take three seconds."""


class Refused(Exception):
    """What a pickle asks for and does not get; the message is a noun phrase with its name."""


class Damaged(Exception):
    """The bytes are no sound pickle."""


@dataclass(frozen=True)
class Name:
    """Something of a Python module that a pickle names; only ever compared, never imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(frozen=True)
class StoredStorage:
    """A piece of memory that stands elsewhere in the file."""

    key: str
    dtype: str
    elements: int

    @property
    def bytes(self) -> int:
        """Its length."""
        return self.elements * ITEMSIZE.get(self.dtype, 1)


@dataclass(frozen=True)
class StoredTensor:
    """A view of a storage, checked to lie inside it.

    Attributes:
        storage: where its numbers are.
        offset: of the first, in elements.
        shape: sizes.
        stride: in elements.
    """

    storage: StoredStorage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def _natural(*values: Any) -> bool:
    return all(type(value) is int and 0 <= value < 2**62 for value in values)


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_ignored: Any) -> StoredTensor:
    """A tensor's description, once it is clear that it stays within its storage."""
    sound = isinstance(storage, StoredStorage) and isinstance(shape, tuple) and isinstance(stride, tuple)
    if not sound or len(shape) != len(stride) or len(shape) > DIMENSIONS_MAX or not _natural(offset, *shape, *stride):
        raise Damaged("a tensor without a sound shape")
    count, last = 1, offset
    for size, step in zip(shape, stride, strict=True):
        count, last = count * size, last + max(0, size - 1) * step
    if count > ELEMENTS_MAX:
        raise Damaged(f"a tensor of {count} elements, more than {ELEMENTS_MAX}")
    if count and last >= storage.elements:
        raise Damaged("a tensor that reaches beyond its storage")
    return StoredTensor(storage, offset, shape, stride)


def _parameter(data: Any, *_ignored: Any) -> Any:
    if not isinstance(data, StoredTensor):
        raise Damaged("a parameter without a tensor")
    return data


def _dictionary() -> dict[Any, Any]:
    return {}


def _sizes(items: Any = ()) -> tuple[Any, ...]:
    if not isinstance(items, tuple):
        raise Damaged("sizes that are no tuple")
    return items


@dataclass
class NumberType:
    """A numpy type, by its code such as ``f8``."""

    code: str


def _number_type(code: Any, *_ignored: Any) -> NumberType:
    if not isinstance(code, str) or code.lstrip("<|") not in SCALARS:
        raise Refused("a numpy type other than plain numbers")
    return NumberType(code.lstrip("<|"))


def _number(kind: Any, content: Any = b"") -> Any:
    layout = SCALARS[kind.code] if isinstance(kind, NumberType) else ""
    if not layout or not isinstance(content, bytes) or len(content) != struct.calcsize(layout):
        raise Damaged("a numpy number without its bytes")
    return struct.unpack(layout, content)[0]


def _encoded(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or len(text) > ENCODED_MAX or encoding not in ("latin1", "latin-1"):
        raise Refused("_codecs.encode of a long text")
    return text.encode("latin1")


def _words(text: Any = "", *_ignored: Any) -> str:
    return str(text) if isinstance(text, str) else ""


BUILT: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.Size": _sizes,
    "torch.device": _words,
    "collections.OrderedDict": _dictionary,
    "numpy.dtype": _number_type,
    "numpy.core.multiarray.scalar": _number,
    "numpy._core.multiarray.scalar": _number,
    "_codecs.encode": _encoded,
}
"""The calls that are understood, each by a function of this file that takes data and returns data."""

NUMBERS = {"BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"}
TEXTS = {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
OLD_TEXTS = {"BINSTRING", "SHORT_BINSTRING"}
CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict,
}  # fmt: skip
SMALL = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
CALLS = {"INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"}


@dataclass
class Machine:
    """The stack machine.

    Args:
        data: the bytes.
        start: where the pickle begins.

    Attributes:
        storages: those that were named, by key.
    """

    data: memoryview
    start: int = 0
    storages: dict[str, StoredStorage] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # what was on the stack before each mark
        self.memo: dict[int, Any] = {}

    def run(self) -> tuple[Any, int]:
        """The object, and the position after it.

        Raises:
            Refused: the pickle names something that only code could make.
            Damaged: it is no sound pickle.
        """
        stream = io.BytesIO(self.data[self.start :])
        try:
            for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
                if opcode.name == "STOP":
                    return self.stack.pop(), self.start + stream.tell()
                if count >= INSTRUCTIONS_MAX:
                    raise Damaged(f"a pickle of more than {INSTRUCTIONS_MAX} instructions")
                self._step(opcode.name, argument)
        except (Refused, Damaged):
            raise
        except Exception as error:  # bytes at random: a missing operand, an unhashable key, text that is not UTF-8, ...
            raise Damaged(f"{type(error).__name__} in its pickle") from error
        raise Damaged("a pickle without an end")

    def _step(self, name: str, argument: Any) -> None:
        if name in CONSTANTS:
            self.stack.append(CONSTANTS[name]())
        elif name in NUMBERS:
            if type(argument) is int and argument.bit_length() > 8 * INTEGER_BYTES_MAX:
                raise Damaged("an integer of more than 16 bytes")
            self.stack.append(argument)
        elif name in TEXTS or name in OLD_TEXTS:
            self.stack.append(argument)
        elif name in SMALL:
            self._fold(len(self.stack) - SMALL[name])
        elif name in CALLS:
            raise Refused(self._called(name, argument))
        elif name in ("PROTO", "FRAME"):
            pass
        else:
            handler = getattr(self, f"_{name.lower()}", None)
            if handler is None:
                raise Refused(f"the pickle instruction {name}")
            handler(argument)

    def _called(self, name: str, argument: Any) -> str:
        """What an instruction that makes an object would make, as far as it can be told."""
        if name == "INST":
            return str(argument).replace(" ", ".")
        names = [str(item) for item in self.stack if isinstance(item, Name)]
        return names[-1] if names and name != "EXT" else f"the pickle instruction {name}"

    def _fold(self, place: int) -> None:
        if place < 0:
            raise Damaged("a pickle that takes more than there is")
        self.stack[place:] = [tuple(self.stack[place:])]

    def _since_mark(self) -> list[Any]:
        """What was put on the stack since the last mark, which goes with it."""
        items, self.stack = self.stack, self.below.pop()
        return items

    # ---- the stack -------------------------------------------------------------------------------------------------------------------

    def _mark(self, argument: Any) -> None:
        self.below.append(self.stack)
        self.stack = []

    def _pop(self, argument: Any) -> None:
        self.stack.pop()

    def _pop_mark(self, argument: Any) -> None:
        self._since_mark()

    def _dup(self, argument: Any) -> None:
        self.stack.append(self.stack[-1])

    def _binput(self, argument: Any) -> None:
        self.memo[argument] = self.stack[-1]

    def _memoize(self, argument: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _binget(self, argument: Any) -> None:
        self.stack.append(self.memo[argument])

    _long_binput = _put = _binput
    _long_binget = _get = _binget

    # ---- lists and dictionaries ------------------------------------------------------------------------------------------------------

    def _tuple(self, argument: Any) -> None:
        items = self._since_mark()  # first: it exchanges the stack
        self.stack.append(tuple(items))

    def _list(self, argument: Any) -> None:
        items = self._since_mark()
        self.stack.append(items)

    def _dict(self, argument: Any) -> None:
        items = self._since_mark()
        self.stack.append(_pairs(items))

    def _append(self, argument: Any) -> None:
        self._extend([self.stack.pop()])

    def _appends(self, argument: Any) -> None:
        self._extend(self._since_mark())

    def _extend(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise Damaged("items for what is no list")
        self.stack[-1].extend(items)

    def _setitem(self, argument: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update(_pairs([key, value]))

    def _setitems(self, argument: Any) -> None:
        self._update(_pairs(self._since_mark()))

    def _update(self, items: dict[Any, Any]) -> None:
        if not isinstance(self.stack[-1], dict):
            raise Damaged("entries for what is no dictionary")
        self.stack[-1].update(items)

    # ---- what would import and call --------------------------------------------------------------------------------------------------

    def _global(self, argument: Any) -> None:
        self._named(Name(*argument.split(" ", 1)))

    def _stack_global(self, argument: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise Damaged("a name that is no text")
        self._named(Name(module, name))

    def _named(self, name: Name) -> None:
        storage = name.module == "torch" and name.name in DTYPES
        if str(name) not in BUILT and not storage and str(name) != "torch.storage.UntypedStorage":
            raise Refused(str(name))
        self.stack.append(name)

    def _reduce(self, argument: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Name) or str(function) not in BUILT or not isinstance(arguments, tuple):
            raise Damaged("a call of what cannot be called")
        self.stack.append(BUILT[str(function)](*arguments))

    def _build(self, argument: Any) -> None:
        """The state of a dictionary is its versions, of a numpy type its byte order: neither is needed."""
        state = self.stack.pop()
        if isinstance(self.stack[-1], NumberType) and isinstance(state, tuple) and ">" in state:
            raise Refused("numpy numbers in big-endian order")
        if not isinstance(self.stack[-1], dict | NumberType | StoredTensor):
            raise Damaged("a state for what has none")

    def _binpersid(self, argument: Any) -> None:
        reference = self.stack.pop()
        if not isinstance(reference, tuple) or len(reference) not in (5, 6) or reference[0] != "storage":
            raise Damaged("a reference to what is no storage")
        kind, key, elements = reference[1], reference[2], reference[4]
        if not isinstance(kind, Name) or kind.name not in DTYPES or not isinstance(key, str) or not _natural(elements):
            raise Damaged("a reference to what is no storage")
        if len(reference) == 6 and reference[5] is not None:
            raise Refused("a view of a storage, as PyTorch before 1.0 saved them")
        storage = StoredStorage(key, DTYPES[kind.name], elements)
        if self.storages.setdefault(key, storage) != storage:
            raise Damaged("two different storages of one name")
        self.stack.append(storage)


def _pairs(items: list[Any]) -> dict[Any, Any]:
    if not all(isinstance(key, str | int | float | None) for key in items[::2]):  # hashing a deep tuple overflows the stack
        raise Damaged("a dictionary whose keys are neither text nor numbers")
    return dict(zip(items[::2], items[1::2], strict=True))


def tensors(tree: Any, prefix: str = "", depth: int = 6) -> Iterator[tuple[str, StoredTensor]]:
    """The tensors in nested dictionaries, by their names joined with points."""
    if isinstance(tree, dict) and depth:
        for key, value in tree.items():
            if not isinstance(key, str):
                continue
            if isinstance(value, StoredTensor):
                yield prefix + key, value
            else:
                yield from tensors(value, f"{prefix}{key}.", depth - 1)


def refusal(path: Any, what: str) -> CheckpointError:
    """The error for something that only code could make."""
    return CheckpointError(
        f"{path} asks for {what[:80]}, which only running code from the file could make, and seqxai never does; load the agent "
        "where you trust it and save the weights alone: torch.save(network.state_dict(), 'weights.pt')"
    )
