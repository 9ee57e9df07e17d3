"""Composites: which rule for which node."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from seqxai.errors import CompositeError, InputError
from seqxai.rules import affine
from seqxai.rules.base import Rule, Stabilizer
from seqxai.rules.boxes import default_box
from seqxai.rules.pooling import WinnerTakesAll
from seqxai.rules.product import ProductRule, Proportional
from seqxai.rules.structure import Structure
from seqxai.trace.graph import Node, Trace
from seqxai.trace.operations import Operation

Selector = Callable[[Any, Structure], bool]
KINDS = ("layer", "linear", "convolution", "recurrent", "sum", "product", "average-pool", "normalisation", "max")
MAXIMUM = WinnerTakesAll()


class Part:
    """One kind of computation inside a fused recurrent node, as selectors see it: its layers, its sums, or its gates' products."""

    def __init__(self, node: Node, kind: str) -> None:
        self.whole = node
        self.operation = PARTS[kind]
        self.inputs = node.inputs[:1]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)


PARTS = {kind: Operation("recurrent", kind) for kind in ("linear", "add", "mul")}


KINDS_OF_PARTS = {
    "linear": frozenset({"recurrent", "layer", "linear"}),
    "add": frozenset({"recurrent", "sum"}),
    "mul": frozenset({"recurrent", "product"}),
}


KINDS_OF = {
    "recurrent": frozenset({"recurrent", "layer", "linear", "sum", "product"}),
    "linear": frozenset({"linear", "layer"}),
    "convolution": frozenset({"convolution", "layer"}),
    "mul": frozenset({"product", "sum"}),
    "normalisation": frozenset({"normalisation", "sum"}),
    "max": frozenset({"max"}),
    "max-pool": frozenset({"max"}),
}
SUM, AVERAGE, CONTRACTION = frozenset({"sum"}), frozenset({"average-pool", "sum"}), frozenset({"linear", "layer", "product"})


def kinds_of(node: Node | Part) -> frozenset[str]:
    """The words a selector may use for a node."""
    kind = node.operation.kind
    if isinstance(node, Part):
        return KINDS_OF_PARTS[kind]
    if kind == "linear" and len(node.inputs) > 1:
        return CONTRACTION
    if kind == "mean" and "avg_pool" in node.name:
        return AVERAGE
    return KINDS_OF.get(kind, SUM)


def kind(*names: str) -> Selector:
    """Select by kind of operation.

    Args:
        names: "linear", "convolution", "layer" (both), "recurrent" (everything in a fused LSTM, GRU or RNN), "sum" (additions, means,
            pools, norms), "product" (for product rules), "average-pool", "normalisation", "max".

    Raises:
        CompositeError: for an unknown kind.
    """
    for name in names:
        if name not in KINDS:
            raise CompositeError(
                f"Expected a kind among {', '.join(KINDS)}, got {name!r}; module paths are selected with path(...)."
            )
    wanted = frozenset(names)
    return lambda node, structure: bool(wanted & kinds_of(node))


@dataclass(frozen=True)
class Path:
    """Select by module path; see :func:`path`."""

    patterns: tuple[str, ...]

    def __call__(self, node: Node | Part, structure: Structure) -> bool:
        """Whether one of the patterns matches the node's module."""
        return any(self._match(p, node.path) for p in self.patterns)

    @staticmethod
    def _match(pattern: str, where: str) -> bool:
        return where == pattern or where.startswith(pattern + ".") or fnmatch.fnmatchcase(where, pattern)

    def unmatched(self, trace: Trace) -> list[str]:
        """The patterns that select nothing in a trace."""
        paths = {node.path for node in trace.nodes}
        return [p for p in self.patterns if not any(self._match(p, where) for where in paths)]


@dataclass(frozen=True)
class Both:
    """Select what all of several selectors select; see :func:`both`."""

    parts: tuple[Selector, ...]

    def __call__(self, node: Node | Part, structure: Structure) -> bool:
        """Whether all of them match."""
        return all(part(node, structure) for part in self.parts)


def path(*patterns: str) -> Selector:
    """Select by module path: exact, a parent, or with wildcards ("features.*", "encoder.layer?").

    A pattern that matches nothing in a model is an error when the model is explained, never silently ignored.

    Raises:
        CompositeError: if a pattern is not a string.
    """
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise CompositeError(f"A module path is a string such as 'features.0', got {pattern!r}.")
    return Path(tuple(patterns))


def first() -> Selector:
    """Select the layers that see the input before any other layer."""
    return lambda node, structure: structure.is_first(node)


def last() -> Selector:
    """Select the layers that no other layer follows."""
    return lambda node, structure: structure.is_last(node)


def both(*selectors: Selector | str) -> Selector:
    """Select what all of the selectors select."""
    return Both(tuple(_selector(s) for s in selectors))


def _selector(selector: Selector | str) -> Selector:
    if isinstance(selector, str):
        return {"first": first, "last": last}[selector]() if selector in ("first", "last") else kind(selector)
    if not callable(selector):
        raise CompositeError(f"A selector is a kind's name or a function of (node, structure), got {selector!r}.")
    return selector


@dataclass(frozen=True, init=False)
class Composite:
    """An ordered list of ``(selector, rule)``; for each node the first selector that matches decides.

    Routing and activations need no rule, and maxima default to winner-takes-all.  Product rules are looked for at products of gates
    only, and other rules everywhere else, so that a path may be given both; products without a match have the rule of
    ``LRP(product=...)``.  Layers and sums without a match are an error.

    Args:
        pairs: selectors are names of kinds, "first", "last", or what :func:`kind`, :func:`path`, :func:`first`,
            :func:`last` return.
        name: for messages and files.
        refuse_negative: refuse to explain a negative output (deep Taylor decomposition is undefined there).

    Raises:
        CompositeError: if a pair is not a selector and a rule.
    """

    pairs: tuple[tuple[Selector, Rule], ...]
    name: str = "custom"
    refuse_negative: bool = False

    def __init__(self, pairs: Iterable[tuple[Selector | str, Rule]], name: str = "custom", refuse_negative: bool = False) -> None:
        checked = []
        for pair in pairs:
            if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not isinstance(pair[1], Rule):
                raise CompositeError(f"A composite is a list of (selector, rule) pairs, got the element {pair!r}.")
            checked.append((_selector(pair[0]), pair[1]))
        object.__setattr__(self, "pairs", tuple(checked))
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "refuse_negative", refuse_negative)

    def rule(self, node: Node | Part, structure: Structure) -> Rule:
        """The rule of a node.

        Raises:
            CompositeError: if no selector matches.
        """
        for selector, rule in self.pairs:
            if isinstance(rule, ProductRule) and not (isinstance(rule, Proportional) and node.operation.kind in ("max", "max-pool")):
                continue
            if selector(node, structure):
                return rule
        kinds = kinds_of(node)
        if "max" in kinds:
            return MAXIMUM
        raise CompositeError(
            f"The composite {self.name!r} has no rule for {node.describe()} (kind {' or '.join(sorted(kinds))}); "
            f"add a pair such as ({sorted(kinds)[0]!r}, seqxai.rules.Epsilon())."
        )

    def product(self, node: Node | Part, structure: Structure) -> ProductRule | None:
        """The product rule for a gate's product, ``None`` if no selector with a product rule matches."""
        for selector, rule in self.pairs:
            if isinstance(rule, ProductRule) and selector(node, structure):
                return rule
        return None

    def check_paths(self, trace: Trace) -> None:
        """Refuse a module path that selects nothing.

        Raises:
            CompositeError: naming the path and the paths there are.
        """
        selectors = [selector for selector, _ in self.pairs]
        for selector in selectors:
            parts = selector.parts if isinstance(selector, Both) else (selector,)
            for part in parts:
                missing = part.unmatched(trace) if isinstance(part, Path) else []
                if missing:
                    known = sorted({node.path for node in trace.nodes if node.path})
                    raise CompositeError(
                        f"The composite {self.name!r} selects the module path {missing[0]!r}, where nothing ran; "
                        f"expected one of {', '.join(known[:20]) or 'none: the model has no submodules'}."
                    )


def assigned(composite: Composite, trace: Trace, structure: Structure) -> list[tuple[str, str]]:
    """Which rule a composite gives to which layer, pool and norm, in the order of the run.

    Returns:
        (where, rule): the module's path, or ``"#n name"`` for a call in the model's own code, and the rule with its parameters; the
        box of z^B as it is used.  A fused recurrent layer appears with its layers, its sums and its gates.
    """
    found = []
    for node in trace.nodes:
        where = node.path or f"#{node.index} {node.name}"
        if node.operation.kind == "recurrent":
            layer, total = (composite.rule(Part(node, kind), structure) for kind in ("linear", "add"))
            gates = composite.product(Part(node, "mul"), structure) or structure.product
            found += [(f"{where}: layers", str(layer)), (f"{where}: sums", str(total)), (f"{where}: gates", str(gates))]
        elif node.operation.kind in RULED:
            found.append((where, str(_with_box(composite.rule(node, structure), trace))))
    return found


RULED = frozenset({"linear", "convolution", "max", "max-pool", "mean", "normalisation"})


def _with_box(rule: Rule, trace: Trace) -> Rule:
    """The rule, with the box it takes where none was given."""
    if not isinstance(rule, affine.ZBox) or rule.low is not None:
        return rule
    low, high = default_box(trace.inputs[0].data.dtype)
    return replace(rule, low=low, high=high)


def Uniform(rule: Rule, epsilon: float = 1e-6) -> Composite:
    """One rule on all layers; sums that are not layers share with ε."""
    return Composite([("layer", rule), ("sum", affine.Epsilon(epsilon))], name=f"uniform {type(rule).__name__}")


def LRPZero() -> Composite:
    """LRP-0 everywhere, 0/0 = 0."""
    return Composite([("layer", affine.LRPZero()), ("sum", affine.LRPZero())], name="lrp-0")


def Epsilon(epsilon: float | Stabilizer = 1e-6) -> Composite:
    """LRP-ε everywhere."""
    return Composite([("layer", affine.Epsilon(epsilon)), ("sum", affine.Epsilon(epsilon))], name="epsilon")


def EpsilonPlus(epsilon: float = 1e-6) -> Composite:
    """z⁺ on convolutions, ε on dense layers (Kohlbrenner et al. 2020: LRP-composite)."""
    return Composite(
        [("convolution", affine.ZPlus()), ("linear", affine.Epsilon(epsilon)), ("sum", affine.Epsilon(epsilon))],
        name="epsilon-plus",
    )


def EpsilonGammaBox(
    low: float | Tensor | None = None, high: float | Tensor | None = None, gamma: float = 0.25, epsilon: float = 1e-6
) -> Composite:
    """z^B on the first layer, γ on the other convolutions, ε on dense layers.

    Args:
        low, high: the box of the explained input, in its own units; see :class:`seqxai.rules.ZBox`.
        gamma: see :class:`seqxai.rules.Gamma`.
        epsilon: see :class:`seqxai.rules.Epsilon`.
    """
    return Composite(
        [
            (first(), affine.ZBox(low, high)),
            ("convolution", affine.Gamma(gamma)),
            ("linear", affine.Epsilon(epsilon)),
            ("sum", affine.Epsilon(epsilon)),
        ],
        name="epsilon-gamma-box",
    )


def Alpha2Beta1(epsilon: float = 1e-6) -> Composite:
    """αβ(2, 1) on convolutions, ε on dense layers."""
    return Composite(
        [("convolution", affine.AlphaBeta(2.0, 1.0)), ("linear", affine.Epsilon(epsilon)), ("sum", affine.Epsilon(epsilon))],
        name="alpha2-beta1",
    )


def DeepTaylor(low: float | Tensor | None = None, high: float | Tensor | None = None) -> Composite:
    """Deep Taylor decomposition (Montavon et al. 2017): z^B on the first layer, z⁺ on the others; refuses negative outputs."""
    return Composite(
        [(first(), affine.ZBox(low, high)), ("layer", affine.ZPlus()), ("sum", affine.Epsilon(1e-6))],
        name="deep-taylor",
        refuse_negative=True,
    )


def _listed(paths: str | Sequence[str]) -> Sequence[str]:
    return [paths] if isinstance(paths, str) else paths


def Montavon2019(
    gamma: str | Sequence[str] = (),
    epsilon: str | Sequence[str] = (),
    low: float | Tensor | None = None,
    high: float | Tensor | None = None,
) -> Composite:
    """The book's recipe by module path: z^B first, γ = 0.25, ε = 0.25 standard deviations, LRP-0 on the rest.

    Args:
        gamma: paths of the lower layers (blocks 1-3 of a VGG-16).
        epsilon: paths of the middle layers (blocks 4-5).
        low, high: the input's box.
    """
    return Composite(
        [
            (first(), affine.ZBox(low, high)),
            (both("layer", path(*_listed(gamma))), affine.Gamma(0.25)),
            (both("layer", path(*_listed(epsilon))), affine.Epsilon(Stabilizer(0.25, "relative"))),
            ("layer", affine.LRPZero()),
            ("sum", affine.Epsilon(1e-6)),
        ],
        name="montavon-2019",
    )


PRESETS: dict[str, Callable[[], Composite]] = {
    "epsilon": Epsilon, "lrp-0": LRPZero, "epsilon-plus": EpsilonPlus, "epsilon-gamma-box": EpsilonGammaBox,
    "alpha2-beta1": Alpha2Beta1, "deep-taylor": DeepTaylor,
}  # fmt: skip


def ensure(composite: str | Composite) -> Composite:
    """A composite by name or as it is.

    Raises:
        InputError: for an unknown name.
    """
    if isinstance(composite, Composite):
        return composite
    if isinstance(composite, str) and composite in PRESETS:
        return PRESETS[composite]()
    raise InputError(_unknown(composite))


def _unknown(composite: Any) -> str:
    import difflib

    close = difflib.get_close_matches(str(composite), PRESETS, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    return f"Expected a composite object or one of {', '.join(PRESETS)}, got {composite!r}{hint}"
