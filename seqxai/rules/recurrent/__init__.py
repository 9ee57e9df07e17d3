"""Fused recurrent kernels: one node for each layer of an LSTM, GRU or RNN, or for one step of a cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from seqxai.errors import CompositeError
from seqxai.rules.affine import Epsilon
from seqxai.rules.base import Rule, Stabilizer
from seqxai.rules.product import ProductRule, SignalTakesAll
from seqxai.rules.recurrent.cell import Arrived, Cell, Left, Rules
from seqxai.rules.recurrent.gru import GRU
from seqxai.rules.recurrent.layout import Layout
from seqxai.rules.recurrent.lstm import LSTM
from seqxai.rules.recurrent.rnn import RNN
from seqxai.trace.graph import Node, Place, Trace, Value
from seqxai.trace.recurrent import Call, parse

if TYPE_CHECKING:
    from seqxai.composites import Composite
    from seqxai.rules.flow import Flow
    from seqxai.rules.structure import Structure

CELLS: dict[str, type[Cell]] = {"lstm": LSTM, "gru": GRU, "rnn_tanh": RNN, "rnn_relu": RNN}
CELL_STATES = -1  # index of the value that stands for the cell states of all steps, which a kernel does not return


def recurrent(node: Node, flow: Flow) -> None:
    """Hand the relevance of a layer's outputs to its input and its initial states."""
    call = call_of(node)
    layout = Layout(call, flow.trace.data(_output(node)))
    cell = CELLS[call.cell](call, layout, _rules(node, flow), flow.trace.kept.get(node.index))
    left = cell.walk(_arrived(node, layout, flow), flow.booking)
    _give(node, call, layout, left, flow)


def call_of(node: Node) -> Call:
    """The call a recurrent node recorded."""
    args, kwargs = node.arguments()
    return parse(node.name, args, kwargs, node.path)


def needs_steps(trace: Trace, composite: Composite, structure: Structure) -> bool:
    """Whether a composite gives a recurrent node rules that look at single steps, so that it must be recorded step by step."""
    nodes = [node for node in trace.nodes if node.operation.kind == "recurrent"]
    return any(not _plain(rule) for node in nodes for rule in _chosen(node, composite, structure)[:2])


def _plain(rule: Rule | ProductRule) -> bool:
    if not isinstance(rule, Epsilon):
        return False
    return rule.bias == "include" and Stabilizer.ensure(rule.epsilon).kind != "relative"


def _chosen(node: Node, composite: Composite, structure: Structure) -> tuple[Rule, Rule, ProductRule]:
    found: tuple[Rule, Rule, ProductRule] | None = structure.inside.get((node.index, id(composite)))
    if found is None:
        from seqxai.composites import Part

        layer, total = (composite.rule(Part(node, kind), structure) for kind in ("linear", "add"))
        product = composite.product(Part(node, "mul"), structure) or structure.product
        found = structure.inside[node.index, id(composite)] = (layer, total, product)
    return found


def _rules(node: Node, flow: Flow) -> Rules:
    layer, total, product = _chosen(node, flow.composite, flow.structure)
    for rule in (layer, total):
        if not isinstance(rule, Epsilon) or not _plain(rule):
            raise CompositeError(
                f"{rule} looks at the single steps of {node.describe()}; record them with seqxai.capture(..., unroll=True)."
            )
    assert isinstance(layer, Epsilon)
    assert isinstance(total, Epsilon)
    return Rules(Stabilizer.ensure(layer.epsilon), Stabilizer.ensure(total.epsilon), product)


def _output(node: Node) -> Value:
    return next(value for value in node.outputs if value.index == 0)


def _arrived(node: Node, layout: Layout, flow: Flow) -> Arrived:
    """What reached the outputs, in the layout of the walk."""
    found: dict[int, Tensor] = {}
    for value in node.outputs:
        slot = flow.take(value)
        relevance = slot.pop(None, None)
        assert not slot, f"a coefficient reached {node}, which is not part of a sum"
        if relevance is not None:
            found[value.index] = relevance
    call = layout.call
    cells = found.pop(CELL_STATES, None)
    cells = None if cells is None else layout.apart(layout.time_major(cells))
    if call.single:
        hidden = None if 0 not in found else layout.states(found[0])
        return Arrived(None, hidden, None if 1 not in found else layout.states(found[1]), cells)
    output = None if 0 not in found else layout.apart(layout.time_major(found[0]))
    hidden, cell = (None if i not in found else layout.states(found[i]) for i in (1, 2))
    return Arrived(output, hidden, cell, cells)


def _give(node: Node, call: Call, layout: Layout, left: Left, flow: Flow) -> None:
    states = _state_places(node, call)
    for position, value in zip(node.places, node.inputs, strict=True):
        if position == 0:
            flow.give(value, layout.to_input(left.coefficients, left.weights).reshape(value.shape))
        else:
            flow.give(value, left.states[states.index(position)].reshape(value.shape))
    if not flow.booking:
        return
    if 0 not in node.places:
        flow.book_rows("constant", node, layout.at_input(left.coefficients, left.weights).sum((0, 2), dtype=torch.float64))
    for position, state in zip(states, left.states, strict=True):
        if position not in node.places:
            flow.book_rows("initial_state", node, state.sum((0, 2), dtype=torch.float64))
    for entry, amounts in left.booked.items():
        for amount in amounts:
            flow.book_rows(entry, node, amount.sum((0, 1, 3), dtype=torch.float64))


def _state_places(node: Node, call: Call) -> list[Place]:
    """Where the initial states stand among the arguments."""
    position = 2 if call.batch_sizes is not None else 1
    return [(position, 0), (position, 1)] if call.cell == "lstm" else [position]


def cell_states(trace: Trace, node: Node) -> Value:
    """The cell states of all steps of an LSTM node, as a value that relevance can start from.

    The kernel returns the last one only; the others are recomputed from the recorded hidden states.

    Returns:
        A value laid out as the node's output, with H instead of P features a direction; the same one at every call.
    """
    for value in node.outputs:
        if value.index == CELL_STATES:
            return value
    call = call_of(node)
    layout = Layout(call, trace.data(_output(node)))
    cell = LSTM(call, layout, Rules(Stabilizer(0.0), Stabilizer(0.0), SignalTakesAll()), trace.kept.get(node.index))
    data = layout.own(layout.together(cell.cells[:, 1:]))
    value = Value(trace.count, data, node.ref, CELL_STATES)
    trace.count += 1
    node.outputs.append(value)
    return value
