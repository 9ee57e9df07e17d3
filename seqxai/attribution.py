"""Results: an attribution and its ledger."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from seqxai import tokens as texts
from seqxai.errors import DependencyError, InputError
from seqxai.files import written_whole
from seqxai.tokens import Tokens

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENTRIES = ("input", "initial_state", "bias", "stabilizer", "constant", "target")
FORMAT = "seqxai-attribution-1"


@dataclass(frozen=True, eq=False)
class Ledger:
    """Where the explained quantity went: ``explained = input + initial_state + bias + stabilizer + constant + target``.

    Every entry is computed from its own formula, never as the difference of the others.

    Attributes:
        explained: the scalars explained, (B,) or (targets, B).
        entries: entry -> relevance booked, like ``explained``, float64.
        nodes: (description of the node, its entries), in the order of the model.
        count: number of nodes walked; rounding grows with its square root.
    """

    explained: Tensor
    entries: Mapping[str, Tensor]
    nodes: tuple[tuple[str, Mapping[str, Tensor]], ...] = ()
    count: int = 1
    precision: float | None = None

    def total(self) -> dict[str, Tensor]:
        """All six entries, each (B,) or (targets, B), float64."""
        zero = torch.zeros_like(self.explained, dtype=torch.float64)
        return {name: self.entries.get(name, zero) for name in ENTRIES}

    def by_node(self) -> list[tuple[str, dict[str, Tensor]]]:
        """What was booked at each node that booked anything."""
        return [(name, dict(entries)) for name, entries in self.nodes]

    @property
    def gap(self) -> Tensor:
        """Explained minus the sum of the entries, (B,): rounding, or a defect."""
        return self.explained.double() - sum(self.total().values(), torch.zeros_like(self.explained, dtype=torch.float64))

    def tolerance(self, precision: float | None = None) -> Tensor:
        """What rounding may leave: precision · Σ|entries| · √nodes, with 1e-12 in float64, 1e-4 in float32, more below."""
        precision = self.precision if precision is None else precision
        if precision is None:
            precision = 1e-12 if self.explained.dtype == torch.float64 else 1e-4
        size = sum((e.abs() for e in self.total().values()), self.explained.abs().double())
        return precision * size * self.count**0.5

    def closed(self, precision: float | None = None) -> bool:
        """Whether the balance closes for every sample."""
        return bool((self.gap.abs() <= self.tolerance(precision)).all())

    def __str__(self) -> str:
        rows = [("explained", self.explained), *self.total().items(), ("gap", self.gap)]
        lines = ["ledger (mean over samples)" if self.explained.numel() > 1 else "ledger"]
        lines += [f"  {name:<14}{float(value.double().mean()): .6g}" for name, value in rows]
        return "\n".join([*lines, f"  {'closed' if self.closed() else 'NOT CLOSED'}"])


@dataclass(frozen=True, eq=False)
class Attribution:
    """An explanation: how much each element of the input contributed to what is explained.

    Attributes:
        relevance: the input's shape, floating; a tuple for several inputs; with several targets a leading dimension.
        output: what the model returned.
        explained: (B,) the scalar explained per sample; (targets, B) for several targets.
        target: what was explained, in words.
        method: how, for example "lrp/epsilon".
        inputs: the explained input (a tuple for several).
        settings: further parameters, all strings; saved with the result.
        output_batch: which dimension of the output is the batch.
        tokens: the text of each step for each sample, if :meth:`with_tokens` told them.
    """

    relevance: Any
    output: Any
    explained: Tensor
    target: str
    method: str
    inputs: Any = None
    settings: Mapping[str, str] = field(default_factory=dict)
    output_batch: int = 0
    tokens: Tokens | None = None
    _find_batch: Callable[[], int] | None = field(default=None, repr=False)
    _ledger: Ledger | None = field(default=None, repr=False)
    _walk: Callable[..., Any] | None = field(default=None, repr=False)
    _cache: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def batch(self) -> int:
        """Which dimension of the input is the batch, 0 unless the model reads its steps first; looked for when first asked for."""
        if "batch" not in self._cache:
            self._cache["batch"] = self._find_batch() if self._find_batch is not None else 0
        found: int = self._cache["batch"]
        return found

    @property
    def ledger(self) -> Ledger:
        """The balance; computed when first asked for, by walking the trace again.

        Raises:
            InputError: if the trace is gone (a loaded or released attribution) and the ledger was not computed before.
        """
        if self._ledger is not None:
            return self._ledger
        if "ledger" not in self._cache:
            self._cache["ledger"] = self._again("the ledger")(booking=True).ledger
        ledger: Ledger = self._cache["ledger"]
        return ledger

    def at(self, path: str) -> Any:
        """Relevance at a module's output on the way.

        Args:
            path: the module's path in the model, or "#n" for node n of the trace.

        Returns:
            A tensor of the output's shape; a tuple of them if the module was called several times or returned several tensors.
        """
        return self._again(f"the relevance at {path!r}")(at=path)

    def _again(self, what: str) -> Callable[..., Any]:
        if self._walk is None:
            if not self.method.startswith("lrp/"):
                raise InputError(
                    f"{what} belongs to layer-wise relevance propagation, and {self.method or 'this method'} has none; explain with "
                    "seqxai.LRP."
                )
            raise InputError(
                f"{what} needs the recorded run, which a loaded or released attribution no longer has; explain again."
            )
        return self._walk

    def release(self) -> Attribution:
        """The same result without the recorded run, whose memory is then free."""
        ledger = self._ledger or self._cache.get("ledger")
        return replace(self, _walk=None, _find_batch=None, _ledger=ledger, _cache={"batch": self.batch})

    # ---- slicing and summing ------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return int(self.explained.shape[-1])

    def __getitem__(self, index: int | slice | Tensor) -> Attribution:
        """The attribution of one sample (the batch dimension stays) or of several."""
        if hasattr(index, "__index__") and not isinstance(index, Tensor):
            index = int(index.__index__())
        if isinstance(index, int):
            if not -len(self) <= index < len(self):
                raise InputError(f"Expected a sample from 0 to {len(self) - 1}, got {index}.")
            index = slice(index % len(self), index % len(self) + 1)
        several, size = self.explained.dim() > 1, len(self)
        place = (slice(None), index) if several else index
        part = (slice(None),) * (several + self.batch) + (index,)
        ledger = self._ledger or self._cache.get("ledger")
        if ledger is not None:
            ledger = Ledger(
                ledger.explained[place], {k: v[place] for k, v in ledger.entries.items()}, (), ledger.count, ledger.precision
            )
        return replace(
            self,
            relevance=_picked(self.relevance, part),
            explained=self.explained[place],
            output=_rows(self.output, index, size, self.output_batch),
            inputs=_rows(self.inputs, index, size, self.batch),
            tokens=self.tokens and tuple(self.tokens[i] for i in torch.arange(size)[index].tolist()),
            _ledger=ledger,
            _walk=None,
            _find_batch=None,
            _cache={"batch": self.batch},
        )

    def sum(self, *dims: int) -> Tensor:
        """Relevance summed over dimensions of the input, over all but the batch by default: (B,)."""
        relevance = self.relevance
        start = self.explained.dim()
        if isinstance(relevance, tuple):
            if dims:
                raise InputError("With several inputs sum() adds everything up; sum one of them with relevance[i].sum(...).")
            return torch.stack([part.movedim(start - 1 + self.batch, start - 1).flatten(start).sum(start) for part in relevance]).sum(0)
        dims = dims or tuple(d for d in range(start - 1, relevance.dim()) if d != start - 1 + self.batch)
        found: Tensor = relevance.sum(dims) if dims else relevance
        return found

    # ---- tokens ------------------------------------------------------------------------------------------------------------------

    def with_tokens(self, tokens: Iterable[Any]) -> Attribution:
        """The same result, whose steps have texts.

        Args:
            tokens: for each sample the texts of its steps, as they went into the model; the steps behind them are padding.  Of a single
                sample also the tokens alone.

        Raises:
            InputError: if they do not fit the relevance.
        """
        return replace(self, tokens=texts.check(tokens, len(self), self.by_token().shape[1]))

    def by_token(self) -> Float[Tensor, "samples steps"]:
        """Relevance of each step, (B, T): summed over whatever an input has beyond batch and time (an embedding's components)."""
        if self.explained.dim() > 1:
            raise InputError("Tokens are told for one target; this result has several, so explain one of them alone.")
        texts.check_tensor_like(self.relevance)
        relevance: Tensor = self.relevance.movedim(self.batch, 0)
        return relevance.flatten(2).sum(2) if relevance.dim() > 2 else relevance

    def words(self, subwords: str = "none") -> list[list[tuple[str, float]]]:
        """(text, relevance) of every token, sample by sample, padding left out.

        Args:
            subwords: "auto", or a convention of :meth:`sum_subwords`, sums tokens to words first.

        Raises:
            InputError: if there are no tokens.
        """
        summed = self.sum_subwords(subwords) if subwords != "none" else self
        rows = summed.by_token().tolist()
        return [list(zip(tokens, row, strict=False)) for tokens, row in zip(summed._texts(), rows, strict=True)]

    def sum_subwords(self, convention: str = "auto") -> Attribution:
        """The same result for whole words: the relevance of subwords added up, one step for each word.

        Args:
            convention: "wordpiece" ("##ing" continues), "sentencepiece" ("▁the" begins), "byte-level" ("Ġthe" begins), "continued"
                ("go@@" goes on), "end-of-word" ("ing</w>" ends), or "auto", which looks for these marks.

        Returns:
            Relevance (B, W); output, target and ledger as they are.
        """
        tokens = self._texts()
        name = texts.named_convention(convention, tokens)
        return self._summed([texts.subwords(row, name) for row in tokens])

    def sum_over(self, spans: Iterable[Any]) -> Attribution:
        """The same result for phrases: each span of tokens becomes one step, tokens outside the spans stay by themselves.

        Args:
            spans: for each sample its pairs (start, stop) of token numbers; of a single sample also the pairs alone.

        Returns:
            Relevance (B, W); output, target and ledger as they are.

        Raises:
            InputError: if there are no tokens, or spans overlap, are empty or leave them.
        """
        rows = texts.by_sample(spans, len(self))
        return self._summed([texts.phrases(t, row, i) for i, (t, row) in enumerate(zip(self._texts(), rows, strict=True))])

    def _summed(self, groups: list[tuple[list[texts.Span], list[str]]]) -> Attribution:
        sums = texts.totals(self.by_token(), [spans for spans, _ in groups])
        tokens = tuple(tuple(names) for _, names in groups)
        return replace(self, relevance=sums, inputs=None, tokens=tokens, _find_batch=None, _cache={**self._cache, "batch": 0})

    def _texts(self) -> Tokens:
        if self.tokens is None:
            raise InputError("This attribution does not know its tokens; tell them with attribution.with_tokens(tokens).")
        return self.tokens

    # ---- drawing, tables, files --------------------------------------------------------------------------------------------------

    def plot(self, sample: int | Sequence[int] = 0, **options: Any) -> Figure:
        """A figure of one sample's relevance with a signed colour scale; of tokens, the text itself; of numbers over time, the series.

        Args:
            sample: which one; of numeric sequences (B, T, C) with few channels also a list.
            options: see :func:`seqxai.visualisation.plot`, :func:`seqxai.visualisation.text_figure` for tokens, and
                :func:`seqxai.visualisation.plot_series` for numeric sequences.
        """
        from seqxai.visualisation import plot, text_figure
        from seqxai.visualisation.series import is_series, plot_attribution

        if self.tokens is not None:
            return text_figure(self[sample if isinstance(sample, int) else torch.tensor(list(sample))], **options)
        if is_series(self):
            return plot_attribution(self, sample, **options)
        if isinstance(self.relevance, tuple) or self.explained.dim() > 1:
            raise InputError("plot draws one input and one target; slice the relevance and call seqxai.visualisation.plot.")
        if not isinstance(sample, int):
            raise InputError(f"Expected one sample to draw, got {sample!r}; only tokens and series of few channels share a figure.")
        inputs = self.inputs.movedim(self.batch, 0).detach().cpu().numpy() if isinstance(self.inputs, Tensor) else None
        return plot(
            self.relevance.movedim(self.batch, 0).detach().cpu().numpy(), inputs=inputs, explained=self.explained.detach().cpu().numpy(),
            method=self.method, sample=sample, **options,
        )  # fmt: skip

    def _repr_html_(self) -> str | None:
        """What a notebook shows: the coloured words, if there are tokens."""
        from seqxai.visualisation import text_html

        return text_html(self) if self.tokens is not None and self.explained.dim() == 1 else None

    def to_arrays(self) -> dict[str, Any]:
        """Columns of equal length, one row per element of the input.

        They are sample, one index per dimension, value, token (if tokens are known; "" is padding), relevance and explained.
        ``pandas.DataFrame(attribution.to_arrays())`` is a table; so is any other library's.
        """
        import numpy as np

        if isinstance(self.relevance, tuple) or self.explained.dim() > 1:
            raise InputError("to_arrays needs one input and one target; slice the attribution first.")
        relevance = self.relevance.movedim(self.batch, 0).detach().cpu().numpy()
        places = np.indices(relevance.shape).reshape(relevance.ndim, -1)
        explained = self.explained.detach().cpu().numpy()
        columns: dict[str, Any] = {"sample": places[0] if relevance.ndim else np.zeros(1, int)}
        columns |= {f"index_{d}": places[d] for d in range(1, relevance.ndim)}
        if isinstance(self.inputs, Tensor):
            columns["value"] = self.inputs.movedim(self.batch, 0).detach().cpu().numpy().reshape(-1)
        if self.tokens is not None:
            by_place = [(*row, *[""] * (relevance.shape[1] - len(row))) for row in self.tokens]
            columns["token"] = np.array([by_place[i][t] for i, t in zip(places[0], places[1], strict=True)], dtype=object)
        columns["relevance"] = relevance.reshape(-1)
        columns["explained"] = explained[columns["sample"]] if len(explained) > 1 else np.repeat(explained, relevance.size)
        return columns

    def to_dataframe(self) -> Any:
        """:meth:`to_arrays` as a ``pandas.DataFrame``.

        Raises:
            DependencyError: if pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise DependencyError(
                "to_dataframe needs pandas, which is not installed; run `pip install pandas`, or use to_arrays()."
            ) from error
        return pandas.DataFrame(self.to_arrays())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write relevance, output, explained, inputs and a computed ledger to a safetensors file, with the settings as metadata.

        Raises:
            InputError: if the file cannot be written; nothing is left half-written under its name.
        """
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        tensors: dict[str, Tensor] = {"explained": self.explained}
        for name in ("relevance", "output", "inputs"):
            tensors |= _flat(name, getattr(self, name))
        ledger = self._ledger or self._cache.get("ledger")
        count = ""
        if ledger is not None:
            tensors |= {f"ledger/{k}": v for k, v in ledger.entries.items()}
            count = str(ledger.count)
        # Each tensor gets its own memory: safetensors refuses shared storage.
        tensors = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
        metadata = {"format": FORMAT, "target": self.target, "method": self.method, "ledger": count,
                    "settings": json.dumps(dict(self.settings)), "tokens": json.dumps(self.tokens),
                    "batch": f"{self.batch} {self.output_batch}"}  # fmt: skip
        with written_whole(path) as partial:
            try:
                save_file(tensors, str(partial), metadata)
            except SafetensorError as error:
                raise InputError(f"Cannot write {str(path)!r}: {error}; choose a place that can be written.") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Attribution:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: if the file is missing, damaged or of another kind.
        """
        from safetensors import safe_open

        final = Path(path)
        if not _is_file(final):
            raise InputError(f"Expected an attribution file, but {final} is not a file; attribution.save(path) writes one.")
        try:
            with safe_open(str(final), "pt") as file:
                metadata = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}
        except Exception as error:
            raise InputError(f"{final} is not a readable safetensors file ({error}); save the attribution again.") from error
        if metadata.get("format") != FORMAT:
            raise InputError(
                f"Expected an attribution file of format {FORMAT}, but {final} says {metadata.get('format')!r}; is it a checkpoint?"
            )
        if "explained" not in tensors or "relevance" not in {k.split("/")[0] for k in tensors}:
            raise InputError(f"{final} lacks the tensors 'explained' and 'relevance' of an attribution; save it again.")
        try:
            settings = json.loads(metadata["settings"])
            tokens = json.loads(metadata.get("tokens", "null"))
            tokens = tokens and texts.check(tokens, len(tokens), max(map(len, tokens)))
        except (KeyError, ValueError, TypeError, InputError) as error:
            raise InputError(f"The metadata of {final} are damaged ({error}); save the attribution again.") from error
        ledger = None
        if metadata.get("ledger"):
            entries = {k.removeprefix("ledger/"): v for k, v in tensors.items() if k.startswith("ledger/")}
            ledger = Ledger(tensors["explained"], entries, (), int(metadata["ledger"]))
        parts = {name: _gather(name, tensors) for name in ("relevance", "output", "inputs")}
        batch, output_batch = (int(d) if d.isdigit() else 0 for d in metadata.get("batch", "0 0").split(" ", 1))
        return cls(
            explained=tensors["explained"], target=metadata.get("target", ""), method=metadata.get("method", ""),
            settings=settings, output_batch=output_batch, tokens=tokens, _cache={"batch": batch}, _ledger=ledger, **parts,
        )  # fmt: skip


def _picked(item: Any, place: Any) -> Any:
    return tuple(_picked(t, place) for t in item) if isinstance(item, tuple) else item[place]


def _rows(item: Any, rows: Any, size: int, batch: int = 0) -> Any:
    """The samples of what has one each along a dimension; anything else as it is."""
    if isinstance(item, tuple):
        return tuple(_rows(t, rows, size, batch) for t in item)
    there = isinstance(item, Tensor) and item.dim() > batch and item.shape[batch] == size
    return item[(slice(None),) * batch + (rows,)] if there else item


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _flat(name: str, item: Any) -> dict[str, Tensor]:
    if isinstance(item, Tensor):
        return {name: item}
    if isinstance(item, (tuple, list)):
        return {f"{name}/{i}": t for i, t in enumerate(item) if isinstance(t, Tensor)}
    if isinstance(item, Mapping):
        return {f"{name}/{k}": t for k, t in item.items() if isinstance(t, Tensor)}
    return {}


def _gather(name: str, tensors: dict[str, Tensor]) -> Any:
    if name in tensors:
        return tensors[name]
    parts = {k.removeprefix(name + "/"): v for k, v in tensors.items() if k.startswith(name + "/")}
    if not parts:
        return None
    return tuple(parts[k] for k in sorted(parts, key=int)) if all(k.isdigit() for k in parts) else parts


class Attributor(ABC):
    """A way to explain: LRP, and every comparison method.  Samples of a batch are treated independently."""

    @abstractmethod
    def attribute(
        self, inputs: Any, target: Any = None, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Attribution:
        """Explain a target for a batch of inputs."""
