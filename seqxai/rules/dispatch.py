"""Which code handles which kind of node, and how a user adds an operation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from seqxai.errors import CompositeError, InputError, UnsupportedOperation
from seqxai.rules.base import Rule
from seqxai.rules.gates import contract, multiply
from seqxai.rules.merge import add, mean
from seqxai.rules.normalisation import looked_up, normalise
from seqxai.rules.pooling import WinnerTakesAll
from seqxai.rules.product import Proportional
from seqxai.rules.recurrent import recurrent
from seqxai.rules.routing import route
from seqxai.rules.softmax import expectation
from seqxai.trace.calls import function_name, unsupported
from seqxai.trace.graph import Node
from seqxai.trace.operations import TABLE, Operation

if TYPE_CHECKING:
    from seqxai.rules.flow import Flow

CustomRule = Callable[..., Any]
CUSTOM: dict[Any, CustomRule] = {}


@dataclass(frozen=True)
class Pass(Rule):
    """Relevance passes unchanged, element by element: activations, and layers that keep the shape."""

    def __call__(self, node: Node, flow: Flow) -> None:
        """Hand the output's relevance to the input."""
        relevance = flow.take_relevance(node)
        if relevance is None:
            return
        if len(node.inputs) != 1:
            raise unsupported(node.name, node.path, [tuple(v.shape) for v in node.inputs])
        value = node.inputs[0]
        if relevance.shape != value.shape:
            raise CompositeError(f"The rule Pass keeps shapes, but {node.describe()} returns {tuple(relevance.shape)}.")
        flow.give(value, relevance)


PASS = Pass()


def _layer(node: Node, flow: Flow) -> None:
    if len(node.inputs) > 1:
        contract(node, flow)
        return
    rule = flow.composite.rule(node, flow.structure)
    rule(node, flow)


def _max(node: Node, flow: Flow) -> None:
    rule = flow.composite.rule(node, flow.structure)
    if not isinstance(rule, (WinnerTakesAll, Proportional)):
        raise CompositeError(f"Maxima take the rules WinnerTakesAll or Proportional; got {rule} for {node.describe()}.")
    rule(node, flow)


def _fill(node: Node, flow: Flow) -> None:
    """Overwritten by a constant, or by an active scalar."""
    relevance = flow.take_relevance(node)
    if relevance is None:
        return
    for place, value in zip(node.places, node.inputs, strict=True):
        if place in (1, "value"):
            flow.give(value, relevance.sum().reshape(value.shape))
            return
    if flow.booking:
        flow.book("constant", node, relevance)


def _softmax(node: Node, flow: Flow) -> None:
    """A gate needs no relevance; what arrives comes from the constants it weighs."""
    if node.name == "log_softmax":
        _refuse(node, flow)
    if not flow.structure.gates_fixed:
        raise UnsupportedOperation(
            f"{node.describe()} (node #{node.index}) is a gate whose product rule gives it a share, but a softmax has no pre-activation "
            "to pass it to; give its products SignalTakesAll and others their rule, with a composite such as "
            "[(both('product', path('lstm')), rules.Half()), ('layer', ...), ('sum', ...)] instead of the argument product."
        )
    expectation(node, flow)


def _refuse(node: Node, flow: Flow) -> None:
    reasons = {"softmax": "is a logarithm of probabilities, whose parts no rule shares among the scores"}
    why = reasons.get(node.operation.kind, "has no rule")
    raise UnsupportedOperation(
        f"{node.describe()} (node #{node.index}) {why}; explain a value before it with targets.Unit, "
        "or register a rule with seqxai.register(function, rule)."
    )


def _custom(node: Node, flow: Flow) -> None:
    slots = [flow.take(value).get(None) for value in node.outputs]
    found = CUSTOM[node.function](node, *slots)
    results: tuple[Any, ...] = (found,) if isinstance(found, Tensor) else tuple(found)
    if len(results) != len(node.inputs) or any(r.shape != v.shape for r, v in zip(results, node.inputs, strict=False)):
        raise CompositeError(
            f"The rule registered for {node.name} must return one relevance for each of its {len(node.inputs)} active inputs, "
            f"of shapes {[tuple(v.shape) for v in node.inputs]}; got {[tuple(r.shape) for r in results]}."
        )
    for value, relevance in zip(node.inputs, results, strict=True):
        flow.give(value, relevance, shared=True)


STEPS: dict[str, Callable[[Node, Flow], None]] = {
    "route": route, "gate": route, "activation": PASS, "linear": _layer, "convolution": _layer, "add": add, "mul": multiply,
    "mean": mean, "max-pool": _max, "max": _max, "normalisation": normalise, "embedding": looked_up, "fill": _fill,
    "recurrent": recurrent, "custom": _custom, "softmax": _softmax,
}  # fmt: skip


def step(node: Node, flow: Flow) -> None:
    """Apply a node's rule."""
    STEPS.get(node.operation.kind, _refuse)(node, flow)


def register(function: Callable[..., Any], rule: CustomRule | str) -> None:
    """Teach seqxai a torch function, or one of your own that calls ``torch.overrides.handle_torch_function``.

    Args:
        function: the function object as the model calls it.
        rule: ``rule(node, *relevances) -> relevance(s)``: relevance of the outputs (``None`` where none arrived) to
            relevance of the active
            inputs ``node.inputs``, of their shapes; contents are ``node.inputs[i].data``.  Or "pass" for an element-wise
            function.

    Raises:
        InputError: if ``function`` is not callable or the rule neither callable nor "pass".

    Example:
        >>> import torch, seqxai
        >>> seqxai.register(torch.special.bessel_j0, "pass")
    """
    if not callable(function) or not (callable(rule) or rule == "pass"):
        raise InputError(f"register takes a function and a rule (a callable or 'pass'), got {function!r} and {rule!r}.")
    name = function_name(function)
    if rule == "pass":
        TABLE[function] = Operation(name, "activation", reads=False)
        return
    assert callable(rule)
    CUSTOM[function] = rule
    TABLE[function] = Operation(name, "custom")
