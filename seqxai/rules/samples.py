"""Which sample of the batch each element of a recorded tensor belongs to.

Models put the batch where they like (``(T, B, F)``, ``(B*T, F)``), and the ledger and the relative stabilizer speak of
single samples.  The
position is followed forward from the inputs: a table of sample numbers along one dimension.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqxai.errors import CaptureError
from seqxai.trace.graph import Node, Trace, Value

Table = tuple[int, Tensor] | None  # (dimension, sample number of each index along it); None: one sample, or nothing known


class SamplesLost(CaptureError):
    """It is not known which sample an element belongs to."""


def batch_dimension(trace: Trace, value: Value, count: int, dimension: int) -> int:
    """Which dimension of the explained inputs the samples are; 0 where it cannot be told.

    Args:
        trace: the recorded run.
        value: what is explained.
        count: the number of samples.
        dimension: where they are in ``value``.
    """
    shapes = [v.shape for v in trace.inputs]
    plain = all(shape and shape[0] == count and count not in shape[1:] for shape in shapes)
    if count <= 1 and not dimension and not any(n.operation.kind == "recurrent" for n in trace.nodes):
        return 0
    if plain and count > 1:
        return 0
    if count == 1:
        return _of_one(trace)
    samples = Samples(trace, value, count, dimension=dimension)
    tables = [samples.tables.get(v.number) for v in trace.inputs]
    return tables[0][0] if samples.known and tables and tables[0] is not None else 0


def _of_one(trace: Trace) -> int:
    """With one sample: its place in a recurrent layer that reads the input itself."""
    for node in trace.nodes:
        sequence = node.operation.kind == "recurrent" and not node.name.endswith("_cell")
        if sequence and node.inputs[0] is trace.inputs[0]:
            packed = isinstance(node.args[1], Tensor) and not node.args[1].dtype.is_floating_point
            return 0 if packed or node.args[8] else 1
    return 0


class Samples:
    """Sample numbers of the values of a trace.

    Args:
        trace: the recorded run.
        value: the value in which the samples are one dimension, in their order: what is explained.
        count: the number of samples.
        needed: whether sums per sample will be asked for; otherwise nothing is followed until a deviation is.
        mixed: one sample of several is looked at, by relevance that starts from it alone.
        dimension: which dimension of ``value`` the samples are.
    """

    def __init__(
        self, trace: Trace, value: Value, count: int, needed: bool = True, mixed: bool = False, dimension: int = 0
    ) -> None:
        self.trace = trace
        self.count = count
        self.mixed = mixed
        self.explained = value
        self.dimension = dimension
        self.tables: dict[int, Table] = {}
        self.known = count <= 1
        self.followed = self.known
        if needed:
            self._ensure()

    def _ensure(self) -> None:
        if not self.followed:
            self.followed = True
            self._follow(self.explained)

    # ---- what it is for ----------------------------------------------------------------------------------------------------

    def sum(self, value: Value, amount: Tensor) -> Tensor:
        """Sum per sample, (samples,) float64."""
        if self.count == 0:
            return torch.zeros(0, dtype=torch.float64)
        table = self._table(value)
        if table is None:
            return amount.sum(dtype=torch.float64).reshape(1).expand(self.count) if self.count == 1 else self._lost(value)
        dimension, numbers = table
        others = [d for d in range(amount.dim()) if d != dimension]
        rows = amount.sum(others, dtype=torch.float64) if others else amount.double()
        if self._in_order(numbers):
            return rows
        return torch.zeros(self.count, dtype=torch.float64, device=rows.device).index_add_(0, numbers, rows)

    def of_sequences(self, node: Node, rows: Tensor) -> Tensor:
        """Sums for each sequence of a recurrent call, (B,), as sums per sample, (samples,) float64."""
        if self.count <= 1:
            return rows.sum(dtype=torch.float64).reshape(1).expand(self.count)
        value = node.outputs[0]
        table = self._table(value)
        if table is None:
            return self._lost(value)
        numbers = table[1][: rows.numel()]  # a packed sequence begins with the first step of every sequence
        if self._in_order(numbers):
            return rows.double()
        return torch.zeros(self.count, dtype=torch.float64, device=rows.device).index_add_(0, numbers, rows.double())

    def dot(self, value: Value, factor: Tensor, amount: Tensor) -> Tensor:
        """Sum of ``factor * amount`` per sample, (samples,) float64; in one pass where the batch is the first dimension."""
        table = self._table(value) if self.count else None
        plain = table is not None and table[0] == 0 and self._in_order(table[1]) and amount.is_contiguous()
        if plain and factor.shape == amount.shape:
            return torch.linalg.vecdot(factor.reshape(self.count, -1), amount.reshape(self.count, -1)).double()
        if plain and factor.dim() == 1 and amount.dim() == 2:
            return (amount @ factor).double()
        if plain and amount.dim() > 2 and factor.shape == (amount.shape[1], *(1,) * (amount.dim() - 2)):
            return (amount.flatten(2).sum(2) @ factor.flatten()).double()
        return self.sum(value, (factor * amount).expand(value.shape))

    def deviation(self, value: Value, z: Tensor) -> Tensor:
        """Population standard deviation of a sample's elements, broadcastable to ``z``."""
        table = self._table(value)
        if table is None:
            return z.std(correction=0) if self.count == 1 and not self.mixed else self._lost(value)
        dimension, numbers = table
        shape = [1] * z.dim()
        shape[dimension] = -1
        rows = z.movedim(dimension, 0).flatten(1) if z.dim() > 1 else z[:, None]
        size = torch.zeros(self.count, dtype=z.dtype, device=z.device).index_add_(
            0, numbers, torch.full_like(rows[:, 0], rows.shape[1])
        )
        mean = torch.zeros_like(size).index_add_(0, numbers, rows.sum(1)) / size
        square = torch.zeros_like(size).index_add_(0, numbers, (rows - mean[numbers, None]).square().sum(1)) / size
        return square.sqrt()[numbers].reshape(shape)

    def _in_order(self, numbers: Tensor) -> bool:
        return numbers.numel() == self.count and bool((numbers == torch.arange(self.count, device=numbers.device)).all())

    def _lost(self, value: Value) -> Tensor:
        raise SamplesLost(
            f"Expected to know which sample each element of {value!r} belongs to, but the model mixes or rearranges the batch; "
            "explain one sample at a time."
        )

    def _table(self, value: Value) -> Table:
        if self.count == 1:
            return None
        self._ensure()
        return self.tables.get(value.number)

    # ---- following the batch forward ---------------------------------------------------------------------------------------

    def _follow(self, explained: Value) -> None:
        for candidates in self._candidates():
            self.tables = dict(candidates)
            for node in self.trace.nodes:
                self._step(node)
            found = self.tables.get(explained.number)
            if found is not None and found[0] == self.dimension and torch.equal(found[1].cpu(), torch.arange(self.count)):
                self.known = True
                return
        self.tables = {}

    def _candidates(self) -> list[dict[int, Table]]:
        """The samples lie along the first dimension of the right size, in every input the same one."""
        numbers = torch.arange(self.count)
        choices: list[dict[int, Table]] = []
        for dimension in range(max((len(v.shape) for v in self.trace.inputs), default=0)):
            fits = [v for v in self.trace.inputs if dimension < len(v.shape) and v.shape[dimension] == self.count]
            if len(fits) == len(self.trace.inputs):
                choices.append({v.number: (dimension, numbers.to(v.data.device)) for v in fits})
        return choices

    def _step(self, node: Node) -> None:
        tables = [self.tables.get(v.number) for v in node.inputs]
        if all(table is None for table in tables):
            return
        kind = node.operation.kind
        if kind == "recurrent":
            self._recurrent(node, tables)
            return
        for value in node.outputs:
            first = next(i for i, table in enumerate(tables) if table is not None)
            if kind in ("activation", "normalisation", "softmax", "gate", "add", "mul", "fill") or (
                kind == "max" and len(node.inputs) > 1
            ):
                found = self._aligned(node.inputs[first], tables[first], value)
            elif kind == "max-pool" and value.shape[: len(value.shape) - 1]:
                found = self._aligned(node.inputs[first], tables[first], value)
            elif kind in ("linear", "convolution"):
                found = self._layer(node, first, tables[first], value)
            elif kind == "embedding" or node.places[0] == 1:
                found = tables[first]
            else:
                found = self._replayed(node, tables, value)
            self.tables[value.number] = found

    def _recurrent(self, node: Node, tables: list[Table]) -> None:
        """The output is laid out as the input; states are (directions, sequences, units)."""
        numbers: Tensor | None = None
        by_place = dict(zip(node.places, tables, strict=True))
        table = by_place.get(0)
        single = node.name.endswith("_cell")
        packed = isinstance(node.args[1], Tensor) and not node.args[1].dtype.is_floating_point
        if table is not None:
            numbers = table[1][: int(node.args[1][0])] if packed else table[1]
        else:
            numbers = next(t[1] for t in tables if t is not None)
        dimension = 0 if single or packed or node.args[8] else 1
        if table is None and not packed:
            table = (dimension, numbers)
        if table is None or table[0] != dimension:
            return
        for value in node.outputs:
            self.tables[value.number] = table if value.index <= 0 or single else (1, numbers)

    @staticmethod
    def _aligned(source: Value, table: Table, target: Value) -> Table:
        """Broadcasting aligns the last dimensions."""
        assert table is not None
        dimension = table[0] + len(target.shape) - len(source.shape)
        return (dimension, table[1]) if target.shape[dimension] == table[1].numel() else None

    def _layer(self, node: Node, position: int, table: Table, target: Value) -> Table:
        assert table is not None
        source = node.inputs[position]
        if node.operation.name == "linear" or node.operation.kind == "convolution":
            return table if table[0] < len(source.shape) - 1 or len(source.shape) == 1 else None
        return self._replayed(node, [table if i == position else None for i in range(len(node.inputs))], target, ones=True)

    def _replayed(self, node: Node, tables: list[Table], target: Value, ones: bool = False) -> Table:
        """Run the operation on sample numbers, and on ones: the quotient tells where each sample went."""
        if node.operation.reads and node.operation.kind in ("max", "max-pool", "route"):
            return (
                self._aligned(node.inputs[0], tables[0], target)
                if len(target.shape) == len(node.inputs[0].shape)
                else (self._shifted(node, tables[0], target))
            )
        numbers: list[Tensor] = []
        marks: list[Tensor] = []
        nothing: list[Tensor] = []
        # A second active factor (softmax(...) @ v) stands aside as ones.
        aside = torch.full((), float(ones), dtype=torch.float64)
        for value, table in zip(node.inputs, tables, strict=True):
            probes = [aside, aside, aside]
            if table is not None:
                shape = [1] * len(value.shape)
                shape[table[0]] = -1
                probes = [
                    (table[1].double() + 1).reshape(shape),
                    torch.ones((), dtype=torch.float64),
                    torch.zeros((), dtype=torch.float64),
                ]
            for probe, tensors in zip(probes, (numbers, marks, nothing), strict=True):
                whole = probe.expand(value.shape)
                tensors.append(
                    whole.contiguous() if node.operation.how == "reshape" else whole
                )  # view() asks for memory in order
        try:
            # What is filled in from constants is the same in all three runs, and drops out.
            fill, total, count = (self._run(node, tensors, target, ones) for tensors in (nothing, numbers, marks))
        except (RuntimeError, IndexError):
            return None
        return self._reduce((total - fill).nan_to_num(0.0), (count - fill).nan_to_num(0.0))

    @staticmethod
    def _run(node: Node, tensors: list[Tensor], target: Value, ones: bool) -> Tensor:
        args, kwargs = node.arguments(tensors)
        places = set(node.places)

        def neutral(item: Any, place: Any) -> Any:
            if isinstance(item, Tensor) and place not in places and item.dtype.is_floating_point:
                return torch.ones_like(item, dtype=torch.float64) if ones else torch.zeros_like(item, dtype=torch.float64)
            if isinstance(item, (list, tuple)) and not isinstance(item, torch.Size):
                return type(item)(neutral(inner, (place, i)) for i, inner in enumerate(item))
            return item

        args = tuple(neutral(a, i) for i, a in enumerate(args))
        kwargs = {k: neutral(a, k) for k, a in kwargs.items()}
        if node.mutated is not None:
            written = args[node.mutated].contiguous().clone()
            result = node.function(*args[: node.mutated], written, *args[node.mutated + 1 :], **kwargs)
            return (result if node.operation.geometric else written).double()
        if node.operation.name == "pad":
            kwargs = {k: v for k, v in kwargs.items() if k != "value"}
            args = args[:3]
        if node.operation.how == "reshape" and node.operation.name in (
            "to",
            "float",
            "double",
            "half",
            "type",
            "type_as",
            "bfloat16",
        ):
            return tensors[0].double()
        result = node.function(*args, **kwargs)
        return (result if isinstance(result, Tensor) else result[target.index]).double()

    def _reduce(self, total: Tensor, count: Tensor) -> Table:
        """Find the one dimension along which the sample number changes."""
        filled = count != 0
        numbers = torch.where(filled, total / count, torch.full_like(total, float("nan")))
        for dimension in range(numbers.dim()):
            rows = numbers.movedim(dimension, 0).flatten(1) if numbers.dim() > 1 else numbers[:, None]
            low = rows.nan_to_num(nan=float("inf")).amin(1)
            high = rows.nan_to_num(nan=float("-inf")).amax(1)
            if bool((low == high).all()) and bool((low == low.round()).all()):
                return dimension, (low - 1).long()
        return None

    @staticmethod
    def _shifted(node: Node, table: Table, target: Value) -> Table:
        """A reduction over one dimension other than the batch: later dimensions move up."""
        if table is None or len(target.shape) != len(node.inputs[0].shape) - 1:
            return None
        source = node.inputs[0].shape
        reduced = [d for d in range(len(source)) if source[:d] + source[d + 1 :] == target.shape]
        if len(reduced) != 1:
            args, kwargs = node.arguments()
            dim = kwargs.get("dim", args[1] if len(args) > 1 and isinstance(args[1], int) else None)
            if not isinstance(dim, int):
                return None
            reduced = [dim % len(source)]
        dimension = table[0]
        if reduced[0] == dimension:
            return None
        return (dimension - (reduced[0] < dimension), table[1])
