"""Sums, shifts, scales, averages: additions and multiplications by constants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seqxai.errors import CompositeError
from seqxai.rules.affine import AffineRule, Coefficients, Epsilon, LRPZero, constant_share, merge
from seqxai.rules.base import SUM, Share
from seqxai.rules.boxes import scale_of
from seqxai.rules.layers import vjp
from seqxai.rules.ranges import addends, constants
from seqxai.rules.regions import factor_of, never_negative, region_rule
from seqxai.trace.graph import Node, Value

if TYPE_CHECKING:
    from seqxai.rules.flow import Flow


def sum_to(tensor: Tensor, shape: torch.Size) -> Tensor:
    """Undo broadcasting: sum over the dimensions that were expanded."""
    return tensor if tensor.shape == shape else tensor.sum_to_size(shape)


def send(node: Node, value: Value, share: Share, s: Tensor, flow: Flow, shared: bool = False) -> None:
    """Hand a coefficient to a term: on as a coefficient if the term is part of the sum, as relevance ``x s`` if it ends here."""
    if share.kind != SUM.kind:
        flow.give(value, s, share, shared)
    elif flow.structure.merges(node, value):
        flow.give(value, s, SUM, shared)
    else:
        flow.give(value, flow.trace.data(value) * s)


def add(node: Node, flow: Flow) -> None:
    """Additions: divide once at the top, then pass the coefficient to every term.

    A sum of layers has their rule.  Any other sum shares in proportion to its terms' signed values, ``R_i = x_i s`` with
    ``s = R / (z + ε sign z)``, under every rule: a skip connection takes part with what it contributes.
    """
    slot = flow.take(node.output)
    relevance = slot.pop(None, None)
    arrived: Coefficients = [(share, s) for share, s in slot.items() if share is not None]
    if relevance is not None:
        if preparation(node, flow):
            flow.give(node.inputs[0], sum_to(relevance, node.inputs[0].shape))
        else:
            arrived = merge(arrived, _divide(node, relevance, flow))
    for share, s in arrived:
        _share_out(node, share, s, flow)


def preparation(node: Node, flow: Flow) -> bool:
    """Whether a shift prepares the input for a first layer whose rule looks at the input's box or not at the input at all.

    Its relevance belongs to the raw input: (x - μ) - (l - μ) = x - l.
    """
    return len(node.inputs) == 1 and flow.input_rule and flow.structure.before_layers(node)


def _divide(node: Node, relevance: Tensor, flow: Flow) -> Coefficients:
    if flow.structure.weighted(node.output):
        rule = region_rule(node, flow)
        if not isinstance(rule, AffineRule):
            raise CompositeError(f"A sum of layers needs a rule for layers, but the composite gives {rule} to {node.describe()}.")
        return rule.coefficients(node, relevance, flow)
    rule = sum_rule(node, flow)
    alone = _alone(node)
    if alone is None:
        return [(SUM, s) for _, s in rule.coefficients(node, relevance, flow)]
    # Where a mask leaves one term nothing is added, so nothing is stabilised: a padded step must not cost relevance.
    ((_, s),) = rule.coefficients(node, relevance.masked_fill(alone, 0.0), flow)
    ((_, kept),) = LRPZero().coefficients(node, relevance.masked_fill(~alone, 0.0), flow)
    return [(SUM, s + kept)]


def _alone(node: Node) -> Tensor | None:
    """Where a mask leaves one term of ``m a + (1 - m) b``; ``None`` if the terms are not all multiplied by constants, one of them a mask.

    At the first step of a loop b is a constant, too, and only there by value.
    """
    terms = [value.node for value in node.inputs]
    if any(term is None or not _is_scaled(term) for term in terms):
        return None
    factors = [scale_of(term) for term in terms if term is not None]
    if not any(isinstance(f, Tensor) and bool(((f == 0) | (f == 1)).all()) for f in factors):
        return None
    if len(terms) == 1:
        others = [item for _, item in addends(node) if isinstance(item, Tensor) and not isinstance(item, torch.nn.Parameter)]
        if not others:
            return None
        factors += others
    shape, device = node.output.shape, node.output.data.device
    present = sum((torch.as_tensor(f, device=device) != 0).to(torch.int8).expand(shape) for f in factors)
    return torch.as_tensor(present) == 1


def _is_scaled(node: Node) -> bool:
    """Whether a node multiplies one active value by a constant."""
    if node.operation.kind != "mul" or len(node.inputs) > 1 or node.name == "neg":
        return False
    return node.name == "mul" or node.places[0] in (0, "input")


def sum_rule(node: Node, flow: Flow) -> Epsilon:
    """The composite's rule for an ordinary sum.

    Raises:
        CompositeError: if it is not one that divides by the sum itself.
    """
    rule = flow.composite.rule(node, flow.structure)
    if not isinstance(rule, Epsilon):
        raise CompositeError(
            f"Sums share in proportion to their terms, by the rule Epsilon or LRPZero; got {rule} for {node.describe()}."
        )
    return rule


def _share_out(node: Node, share: Share, s: Tensor, flow: Flow) -> None:
    if share.kind == SUM.kind and not flow.structure.gates_fixed:
        from seqxai.rules import mixtures

        mixed = mixtures.mixture(node, flow.structure)
        if mixed is not None:
            mixtures.share_out(node, mixed, s, flow)
            return
    parts = addends(node)
    active = [part for part in parts if isinstance(part[1], Value)]
    for factor, item in parts:
        if isinstance(item, Value) and not flow.structure.inert(item):
            direct = factor == 1 and s.shape == item.shape
            scaled = s if direct else sum_to(s if factor == 1 else s * _power(factor, share), item.shape)
            send(node, item, share if factor >= 0 else share.swapped(), scaled, flow, shared=direct and len(active) > 1)
        elif flow.booking and share.kind in ("signal", "sum") and share.bias:
            content = flow.trace.data(item) if isinstance(item, Value) else item
            constant = torch.as_tensor(content, dtype=s.dtype, device=s.device)
            entry = "bias" if isinstance(item, torch.nn.Parameter) else "constant"
            turned = share if factor >= 0 else share.swapped()
            flow.book(entry, node, constant_share(constant, turned, s * factor))


def _power(factor: Any, share: Share) -> Any:
    if share.kind == "square":
        return factor**2
    if share.kind == "flat":
        return (factor != 0).to(factor.dtype) if isinstance(factor, Tensor) else float(factor != 0)
    return factor


def scale(node: Node, flow: Flow) -> None:
    """Multiplications by a constant, or by a gate: relevance passes to the signal, coefficients are multiplied."""
    slot = flow.take(node.output)
    position, factor = factor_of(node, flow)
    value = node.inputs[position]
    relevance = slot.pop(None, None)
    arrived: list[tuple[Share | None, Tensor]] = [(share, s) for share, s in slot.items() if share is not None]
    if relevance is not None and len(node.inputs) == 1 and flow.structure.weighted(node.output):
        # A layer scaled by a constant is the layer with scaled weights: k W, whose positive part is not k W⁺ for k < 0.
        arrived = list(merge([(share, s) for share, s in arrived if share], _divide(node, relevance, flow)))
    elif relevance is not None:
        arrived.append((None, relevance))
    for share, s in arrived:
        if share is None:
            _pass(node, value, factor, s, flow)
        elif share.plain or share.kind in ("square", "flat") or never_negative(node, factor, flow):
            send(node, value, share, sum_to(s * _power(factor, share), value.shape), flow)
        elif not isinstance(factor, Tensor):
            send(node, value, share.swapped(), s * factor, flow)
        else:
            send(node, value, share, sum_to(s * factor.clamp(min=0), value.shape), flow)
            send(node, value, share.swapped(), sum_to(s * factor.clamp(max=0), value.shape), flow)


def _pass(node: Node, value: Value, factor: Any, relevance: Tensor, flow: Flow) -> None:
    """Relevance passes a factor unchanged; where a constant factor is 0 the product is the constant's doing."""
    if isinstance(factor, Tensor) and len(node.inputs) == 1 and bool((factor == 0).any()):
        silent = (factor == 0).expand(relevance.shape)
        if flow.booking:
            flow.book("constant", node, relevance * silent)
        relevance = relevance.masked_fill(silent, 0.0)
    elif not isinstance(factor, Tensor) and factor == 0:
        if flow.booking:
            flow.book("constant", node, relevance)
        return
    flow.give(value, sum_to(relevance, value.shape))


def mean(node: Node, flow: Flow) -> None:
    """Functions linear in their inputs with fixed coefficients (sum, mean, average pools, interpolation, fold).

    ``R = x Jᵀ s`` with ``s = R / (y + ε sign y)``: in proportion to what each element contributes.
    """
    relevance = flow.take_relevance(node)
    if relevance is None:
        return
    coefficients = sum_rule(node, flow).coefficients(node, relevance, flow)
    (_, s) = coefficients[0]
    inactive = constants(node) if flow.booking else []
    for position, value in enumerate(node.inputs):
        gradient = adjoint_of(node, position, s)
        flow.give(value, gradient.mul_(flow.trace.data(value)))
    if inactive:
        flow.book("constant", node, _constant_content(node) * s)


def _constant_content(node: Node) -> Tensor:
    """What a linear function makes of its constants alone."""
    args, kwargs = node.arguments([torch.zeros(v.shape, dtype=v.data.dtype, device=v.data.device) for v in node.inputs])
    if node.mutated is not None:
        written = args[node.mutated].clone()
        node.function(*args[: node.mutated], written, *args[node.mutated + 1 :], **kwargs)
        return written
    result: Tensor = node.function(*args, **kwargs)
    return result


def adjoint_of(node: Node, position: int, s: Tensor) -> Tensor:
    """The adjoint of a node's function in one of its inputs, by running it under autograd."""
    tensors = [v.data for v in node.inputs]

    def call(x: Tensor) -> Tensor:
        args, kwargs = node.arguments([x if i == position else t for i, t in enumerate(tensors)])
        if node.mutated is not None:
            written = args[node.mutated].clone()
            node.function(*args[: node.mutated], written, *args[node.mutated + 1 :], **kwargs)
            return written
        result = node.function(*args, **kwargs)
        return result if isinstance(result, Tensor) else result[node.output.index]

    return vjp(call, tensors[position], s)
