"""Layer-wise relevance propagation: record, then walk back."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seqxai import composites, targets
from seqxai.attribution import Attribution, Attributor, Ledger
from seqxai.composites import Composite
from seqxai.errors import CaptureError, CompositeError, InputError, TargetError
from seqxai.rules import product as products
from seqxai.rules.dispatch import step
from seqxai.rules.flow import Flow
from seqxai.rules.product import ProductRule
from seqxai.rules.recurrent import needs_steps
from seqxai.rules.samples import Samples, SamplesLost, batch_dimension
from seqxai.rules.structure import Structure
from seqxai.rules.weights import WeightCache
from seqxai.targets import Seed, Target
from seqxai.trace import Trace, Value, capture
from seqxai.trace.calls import constants_of
from seqxai.trace.graph import module_name
from seqxai.trace.recording import TraceWarning


@dataclass(frozen=True, eq=False)
class Walk:
    """The outcome of one walk back: relevance of the inputs, of watched values, and the ledger if it was kept."""

    relevance: tuple[Tensor, ...]
    seen: dict[int, Tensor]
    ledger: Ledger | None


def propagate(
    trace: Trace,
    composite: Composite,
    seed: Seed,
    *,
    structure: Structure | None = None,
    cache: WeightCache | None = None,
    booking: bool = False,
    watched: list[Value] | None = None,
) -> Walk:
    """Walk a trace back from a seed: every node that received relevance hands it to its inputs by its rule.

    Args:
        trace: the recorded run.
        composite: a rule for every node.
        seed: starting relevance, see :class:`seqxai.targets.Seed`.
        structure: facts about the trace, shared between walks.
        cache: modified weights, shared between explanations.
        booking: keep the ledger.
        watched: values whose relevance is wanted.
    """
    structure = structure or Structure(trace, composite=composite)
    cache = cache or WeightCache()
    count = int(seed.explained.numel())
    samples = Samples(trace, seed.value, count, booking, dimension=seed.dimension)
    if booking and not samples.known:
        return _one_by_one(trace, composite, seed, structure, cache, watched)
    try:
        flow = _flow(trace, composite, seed, structure, samples, cache, booking, watched)
        ledger = _ledger(trace, flow, seed, seed.explained) if booking else None
    except SamplesLost:
        if not booking:
            raise
        return _one_by_one(trace, composite, seed, structure, cache, watched)
    return Walk(_at_inputs(trace, flow), flow.seen, ledger)


def _flow(
    trace: Trace,
    composite: Composite,
    seed: Seed,
    structure: Structure,
    samples: Samples,
    cache: WeightCache,
    booking: bool,
    watched: list[Value] | None,
) -> Flow:
    flow = Flow(trace, composite, structure, samples, cache, booking, watched)
    flow.give(seed.value, seed.relevance.clone())
    flow.run(step)
    for value in watched or ():
        if value.node is None:
            flow.watch(value, dict(flow.slots[value.number] or {}))
    return flow


def _at_inputs(trace: Trace, flow: Flow) -> tuple[Tensor, ...]:
    found = []
    for value in trace.inputs:
        slot = flow.slots[value.number] or {}
        relevance = slot.get(None)
        if relevance is None:
            relevance = torch.zeros(value.shape, dtype=flow.dtype(value), device=value.data.device)
        found.append(relevance)
    return tuple(found)


def _ledger(trace: Trace, flow: Flow, seed: Seed, explained: Tensor) -> Ledger:
    for value, relevance in zip(trace.inputs, _at_inputs(trace, flow), strict=True):
        flow.book("input", None, relevance, value)
    _book_constants(flow)
    started = flow.samples.sum(seed.value, seed.relevance)
    entries = dict(flow.entries)
    entries["target"] = explained.double() - started
    nodes = tuple((f"#{i} {trace.nodes[i].describe()}", flow.nodes[i]) for i in sorted(flow.nodes))
    return Ledger(explained, entries, nodes, max(len(trace.nodes), 1), _precision(trace))


def _precision(trace: Trace) -> float:
    """What rounding may leave of the balance: by the coarsest type anything was computed in."""
    eps = max(torch.finfo(v.data.dtype).eps for n in trace.nodes for v in n.outputs if v.data.dtype.is_floating_point)
    return 1e-12 if eps < 1e-15 else 1e-4 if eps < 1e-6 else 20 * eps


def _book_constants(flow: Flow) -> None:
    """Relevance that ended in a constant buffer the model wrote into."""
    for node in flow.trace.nodes:
        for value in node.inputs:
            if value.node is not None or not value.constant:
                continue
            slot = flow.slots[value.number]
            flow.slots[value.number] = None
            if slot is not None and None in slot:
                like = node.output if node.output.shape == value.shape else value
                flow.book("constant", node, slot[None], like)


def _one_by_one(
    trace: Trace,
    composite: Composite,
    seed: Seed,
    structure: Structure,
    cache: WeightCache,
    watched: list[Value] | None,
) -> Walk:
    """A ledger per sample where the batch cannot be followed.

    Relevance is linear in its start, so it starts from one sample at a time.
    """
    total = seed.relevance
    relevances: list[Tensor] | None = None
    seen: dict[int, Tensor] = {}
    ledgers = []
    count = seed.explained.numel()
    # A vector or a scalar is one sample without a dimension for the batch.
    batched = total.dim() > seed.dimension and total.shape[seed.dimension] == count
    for index in range(count):
        part = torch.zeros_like(total)
        rows, given = (part.movedim(seed.dimension, 0), total.movedim(seed.dimension, 0)) if batched else (part[None], total[None])
        rows[index] = given[index]
        single = Seed(seed.value, part, seed.explained[index : index + 1], seed.dimension)
        samples = Samples(trace, seed.value, 1, True, mixed=True)
        flow = _flow(trace, composite, single, structure, samples, cache, True, watched)
        ledgers.append(_ledger(trace, flow, single, single.explained))
        found = _at_inputs(trace, flow)
        relevances = list(found) if relevances is None else [a + b for a, b in zip(relevances, found, strict=True)]
        seen = {k: seen[k] + v if k in seen else v for k, v in flow.seen.items()}
    names = {name for ledger in ledgers for name in ledger.entries}
    zero = torch.zeros(1, dtype=torch.float64)
    entries = {name: torch.cat([ledger.entries.get(name, zero) for ledger in ledgers]) for name in names}
    return Walk(tuple(relevances or ()), seen, Ledger(seed.explained, entries, (), ledgers[0].count, ledgers[0].precision))


class LRP(Attributor):
    """Layer-wise relevance propagation (Bach et al. 2015) for any PyTorch model, unmodified.

    Args:
        model: an ``nn.Module`` or a callable; not changed in any way.
        composite: rules by name or as an object, see :mod:`seqxai.composites`.
        product: how a gate's product is shared where the composite says nothing else: "signal-takes-all" (the gate receives nothing),
            "half", "proportional", "absolute", or a rule of :mod:`seqxai.rules.product` with its parameters.
        bilinear: "half" to share a product without a gate equally; by default it is refused.
        ledger: keep the ledger in the same pass instead of walking again when it is asked for.

    Raises:
        InputError: for an unknown composite or option.
    """

    def __init__(
        self,
        model: Any,
        composite: str | Composite = "epsilon",
        *,
        product: str | ProductRule = "signal-takes-all",
        bilinear: str | None = None,
        ledger: bool = False,
    ) -> None:
        if not callable(model):
            raise InputError(f"LRP explains an nn.Module or a callable, got {type(model).__name__}.")
        if bilinear not in (None, "half"):
            raise InputError(f"bilinear must be None or 'half', got {bilinear!r}.")
        self.model = model
        self.composite = composites.ensure(composite)
        self.product = products.ensure(product)
        self.bilinear = bilinear
        self.keeps_ledger = ledger
        self.cache = WeightCache()

    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Any = None,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Attribution:
        """Explain ``model(*inputs, *args, **kwargs)``.

        Args:
            inputs: the tensor to explain, (B, ...), or a tuple of several.
            target: what to explain, see :func:`seqxai.targets.ensure`; the largest output by default.
            args, kwargs: further arguments, constants of the call.

        Returns:
            Relevance of the inputs' shapes; the unit is that of the explained output.

        Raises:
            SeqxaiError: every failure, with what was expected, what came, and what to do.
        """
        with torch.inference_mode(False):
            return self._attribute(inputs, targets.ensure(target), args, kwargs)

    def _attribute(
        self, inputs: Tensor | tuple[Tensor, ...], wanted: Target, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None
    ) -> Attribution:
        trace = capture(self.model, inputs, args, kwargs)
        refuse_nan(trace, tuple(v.data for v in trace.outputs))
        structure = self._structure(trace)
        if needs_steps(trace, self.composite, structure):
            trace = capture(self.model, inputs, args, kwargs, unroll=True)
            structure = self._structure(trace)
        output = peel_softmax(trace)
        several = wanted.many
        seeds = [self._seed(one, trace, output) for one in wanted.each(trace, output)]
        if several and len({s.explained.shape for s in seeds}) > 1:
            raise TargetError("Several targets must explain the same number of samples.")

        run = _Run(trace, structure, seeds, several, self.composite, self.cache, _versions(trace))
        self.composite.check_paths(trace)
        found = run.walk(self.keeps_ledger)
        refuse_nan(trace, found.relevance)
        single = not isinstance(inputs, (tuple, list))
        explained = torch.stack([s.explained for s in seeds]) if several else seeds[0].explained
        return Attribution(
            relevance=found.relevance[0] if single else found.relevance,
            output=trace.output,
            explained=explained,
            target=str(wanted),
            method=f"lrp/{self.composite.name}",
            inputs=trace.inputs[0].data if single else tuple(v.data for v in trace.inputs),
            settings={"product": products.name(self.product), "bilinear": str(self.bilinear), "composite": self.composite.name},
            _find_batch=lambda: batch_dimension(trace, seeds[0].value, seeds[0].explained.numel(), seeds[0].dimension),
            output_batch=seeds[0].dimension if seeds[0].value is output else 0,
            _ledger=found.ledger,
            _walk=run.again,
        )

    def rules(
        self, inputs: Tensor | tuple[Tensor, ...], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> list[tuple[str, str]]:
        """Which rule explains which layer of this model, for a caption or to check a composite.

        Args:
            inputs: as for :meth:`attribute`; one sample is enough.
            args, kwargs: likewise.

        Returns:
            (where, rule) in the order of the run, such as ``("conv1", "ZBox(low=0.0, high=255.0, epsilon=1e-09)")``.
        """
        trace = capture(self.model, inputs, args, kwargs)
        self.composite.check_paths(trace)
        return composites.assigned(self.composite, trace, self._structure(trace))

    def _structure(self, trace: Trace) -> Structure:
        return Structure(trace, bilinear=self.bilinear, product=self.product, composite=self.composite)

    def _seed(self, target: Target, trace: Trace, output: Value) -> Seed:
        with torch.no_grad():
            seed = target.seed(trace, output)
        if self.composite.refuse_negative and bool((seed.explained < 0).any()):
            raise CompositeError(
                f"{self.composite.name} decomposes positive quantities only, but the explained output is "
                f"{float(seed.explained.min()):.4g} for some sample; explain another target, or use the composite 'epsilon'."
            )
        return seed


@dataclass(frozen=True, eq=False)
class _Run:
    """A recorded run that can be walked again: for the ledger, or for relevance on the way."""

    trace: Trace
    structure: Structure
    seeds: list[Seed]
    several: bool
    composite: Composite
    cache: WeightCache
    versions: list[int]

    def again(self, booking: bool = False, at: str | None = None) -> Any:
        """Walk once more, if the weights are what they were."""
        if _versions(self.trace) != self.versions:
            raise InputError(
                "The model's weights changed since this was explained, so its run cannot be walked again; ask for the ledger and for "
                "at(...) before the next update, or explain again."
            )
        with torch.inference_mode(False):
            return self.walk(booking, at)

    def walk(self, booking: bool, at: str | None = None) -> Any:
        """Relevance of the inputs, or at a module on the way."""
        self.cache.begin()
        watched = self.trace.at(at) if at is not None else None
        walks = [
            propagate(
                self.trace, self.composite, seed, structure=self.structure, cache=self.cache, booking=booking, watched=watched
            )
            for seed in self.seeds
        ]
        return _joined(walks, self.several) if watched is None else _seen(walks, watched, self.several)


def _versions(trace: Trace) -> list[int]:
    """Version counters of the parameters a trace used: an optimiser's step changes them."""
    found = []
    for node in trace.nodes:
        if node.operation.kind in ("linear", "convolution", "embedding", "recurrent"):
            found += [t._version for _, t in constants_of(node) if isinstance(t, torch.nn.Parameter) and not t.is_inference()]
    return found


def _joined(walks: list[Walk], several: bool) -> Walk:
    if not several:
        return walks[0]
    relevance = tuple(torch.stack(parts) for parts in zip(*(w.relevance for w in walks), strict=True))
    ledgers = [w.ledger for w in walks if w.ledger is not None]
    if not ledgers:
        return Walk(relevance, {}, None)
    names = {name for ledger in ledgers for name in ledger.entries}
    entries = {n: torch.stack([ledger.total()[n] for ledger in ledgers]) for n in names}
    explained = torch.stack([ledger.explained for ledger in ledgers])
    return Walk(relevance, {}, Ledger(explained, entries, (), ledgers[0].count, ledgers[0].precision))


def _seen(walks: list[Walk], watched: list[Value], several: bool) -> Any:
    found = []
    for value in watched:
        dtype = value.data.dtype if value.data.dtype.is_floating_point else torch.get_default_dtype()
        nothing = torch.zeros(value.shape, dtype=dtype, device=value.data.device)
        each = [w.seen.get(value.number, nothing) for w in walks]
        found.append(torch.stack(each) if several else each[0])
    return found[0] if len(found) == 1 else tuple(found)


def peel_softmax(trace: Trace) -> Value:
    """The value to explain: what the model returned first, before a final softmax or log_softmax.

    A probability can rise because other classes fall; its logit is what the network computed for the class.
    """
    value = trace.outputs[0]
    node = value.node
    if node is not None and node.operation.kind == "softmax":
        warnings.warn(
            f"The model ends in {node.name} ({module_name(node.path)}); its input, the scores, is explained instead of the probabilities.",
            TraceWarning,
            stacklevel=3,
        )
        value = node.inputs[0]
    return value


def refuse_nan(trace: Trace, tensors: tuple[Tensor, ...]) -> None:
    """Refuse outputs or relevance that are not finite, and say where NaN first appears.

    Raises:
        InputError: if weights or an operation's result are NaN or infinite.
        CaptureError: if only the given tensors are.
    """
    # NaN and infinities show in a sum, which costs next to nothing.
    if all(math.isfinite(t.sum()) or bool(torch.isfinite(t).all()) for t in tensors):
        return
    for node in trace.nodes:
        for place, tensor in constants_of(node):
            if node.operation.kind in ("linear", "convolution", "recurrent") and not bool(torch.isfinite(tensor).all()):
                raise InputError(
                    f"Expected finite weights, but argument {place} of {node.describe()} has NaN or infinite numbers; "
                    "load or train the model again."
                )
    for node in trace.nodes:
        for value in node.outputs:
            if not value.stale and value.data.dtype.is_floating_point and bool(torch.isnan(value.data).any()):
                raise InputError(
                    f"The model's output is not finite: NaN first appears in {node.describe()}; check that module's weights and input."
                )
    raise CaptureError("The output or its relevance is not finite; check the weights, the box and the input's scale.")
