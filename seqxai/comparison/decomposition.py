"""The walk of contextual decomposition: every value of a trace as β + γ, for several phrases at once.

Linear maps, routes and means act on both parts.  An element-wise function a shares its value by Shapley's formula between two
players, with what it is worth without either, a(0), in γ:

    β' = ½ [a(β) - a(0)] + ½ [a(β + γ) - a(γ)].
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from seqxai.comparison.lstm_parts import Parts, lstm_parts
from seqxai.errors import UnsupportedOperation
from seqxai.trace import Trace, Value
from seqxai.trace.graph import Node
from seqxai.trace.replay import run

LINEAR = frozenset({"route", "gate", "linear", "convolution", "add", "mul", "mean", "fill"})
MOVES_IDS = frozenset({"route", "gate", "activation"})
READS_IDS = frozenset({"embedding", "route", "mul"})  # rows of a table; or bytes that become numbers


class Mask(NamedTuple):
    """Where the token ids of the phrase are, (P, ...), 0 or 1 in the type of the ids."""

    inside: Tensor


class Decomposition:
    """The parts of the values that lead from one input to the goals.

    Args:
        trace: the recorded run.
        position: which input the phrases are steps of.
        dim: the input's dimension of steps.
        phrases: P steps, each a phrase.
        goals: the values whose parts are wanted.
        biases: whether the product of the biases of i and g at a phrase's step is the phrase's.

    Raises:
        UnsupportedOperation: if an operation on the way has no decomposition.
    """

    def __init__(self, trace: Trace, position: int, dim: int, phrases: range, goals: list[Value], *, biases: bool = True) -> None:
        self.trace = trace
        self.phrases = phrases
        self.biases = biases
        self.parts: dict[int, Parts] = {}
        self.masks: dict[int, Mask] = {}
        source = trace.inputs[position]
        self.steps = source.shape[dim]
        inside = self._inside(source.data, dim)
        if source.data.dtype.is_floating_point:
            self.parts[source.number] = Parts(source.data * inside, source.data * (1 - inside))
        else:
            self.masks[source.number] = Mask(inside.to(source.data.dtype).expand(-1, *source.shape))
        for node in self._ways_to(goals):
            self._node(node)

    def of(self, value: Value) -> Parts:
        """Both parts of a floating value, each (P, ...); all of it is γ where the phrases' input is not involved."""
        if value.number not in self.parts:
            data = self.trace.data(value).expand(len(self.phrases), *value.shape)
            return Parts(torch.zeros_like(data), data)
        return self.parts[value.number]

    def _inside(self, x: Tensor, dim: int) -> Tensor:
        """1 at the phrase's step, else 0, for every phrase; broadcasts over x with the phrases in front."""
        shape = [len(self.phrases)] + [1] * x.dim()
        shape[1 + dim % x.dim()] = self.steps
        dtype = x.dtype if x.dtype.is_floating_point else torch.float64
        chosen = torch.tensor(list(self.phrases), device=x.device)
        return torch.nn.functional.one_hot(chosen, self.steps).to(dtype).reshape(shape)

    def _ways_to(self, goals: list[Value]) -> list[Node]:
        """The nodes between the input and the goals; whatever else the model computes need not be decomposed."""
        wanted = {value.number for value in goals}
        behind = {*self.parts, *self.masks}
        for node in self.trace.nodes:
            if any(value.number in behind for value in node.inputs):
                behind |= {value.number for value in node.outputs}
        found = []
        for node in reversed(self.trace.nodes):
            if any(value.number in wanted and value.number in behind for value in node.outputs):
                wanted |= {value.number for value in node.inputs}
                found.append(node)
        return found[::-1]

    # ---- nodes -------------------------------------------------------------------------------------------------------------------

    def _node(self, node: Node) -> None:
        if any(not value.data.dtype.is_floating_point for value in node.inputs):
            self._ids(node)
        elif node.operation.kind == "activation" and len(node.inputs) == 1:
            self._activation(node)
        elif node.operation.kind == "recurrent" and node.name == "lstm":
            given, steps = [self.of(v) for v in node.inputs], self.steps if self.biases else None
            self.parts |= {value.number: parts for value, parts in lstm_parts(node, given, self.phrases, steps)}
        elif self._is_linear(node):
            self._linear(node)
        else:
            raise _no_decomposition(node)

    def _is_linear(self, node: Node) -> bool:
        kind, operation = node.operation.kind, node.operation
        if kind not in LINEAR or operation.how == "selection":
            return False
        if kind == "mul" and node.name == "div" and node.places[0] not in (0, "input"):
            return False
        return len(node.inputs) == 1 or kind not in ("linear", "convolution", "mul")

    def _each(self, node: Node, parts: list[Tensor]) -> dict[int, Tensor]:
        """The node's function on one part of its inputs, phrase by phrase: recorded shapes know nothing of phrases."""
        every = [run(node, list(one)) for one in zip(*parts, strict=True)]
        return {number: torch.stack([outputs[number] for outputs in every]) for number in every[0]}

    def _at_zero(self, node: Node) -> dict[int, Tensor]:
        return run(node, [torch.zeros_like(value.data) for value in node.inputs])

    def _linear(self, node: Node) -> None:
        """``β' = f(β) - f(0)``, ``γ' = f(γ)``: the constants of f, whatever they are, are in γ."""
        given = [self.of(value) for value in node.inputs]
        beta, gamma, zero = self._each(node, [p.beta for p in given]), self._each(node, [p.gamma for p in given]), self._at_zero(node)
        for value in node.outputs:
            if value.number in beta:
                self.parts[value.number] = Parts(beta[value.number] - zero[value.number], gamma[value.number])

    def _activation(self, node: Node) -> None:
        beta, gamma = self.of(node.inputs[0])
        number = node.output.number
        alone, others = self._each(node, [beta])[number], self._each(node, [gamma])[number]
        together, nothing = self._each(node, [beta + gamma])[number], self._at_zero(node)[number]
        if not bool(torch.isfinite(nothing).all()):
            raise _no_decomposition(node)
        found = ((alone - nothing) + (together - others)) / 2
        self.parts[number] = Parts(found, ((others - nothing) + (together - alone)) / 2 + nothing)

    def _ids(self, node: Node) -> None:
        """Token ids are moved as they are; a looked-up row belongs to the phrase if its id does."""
        masks = [self.masks.get(value.number) for value in node.inputs]
        kind, output = node.operation.kind, node.output.data
        known = MOVES_IDS if not output.dtype.is_floating_point else READS_IDS
        if len(node.inputs) > 1 or masks[0] is None or kind not in known:
            raise _no_decomposition(node)
        inside = masks[0].inside
        if not output.dtype.is_floating_point:
            if kind == "activation":  # shifted ids
                self.masks[node.output.number] = Mask(inside.expand(len(inside), *output.shape))
            else:
                moved, zero = self._each(node, [inside]), self._at_zero(node)
                self.masks |= {number: Mask(moved[number] - zero[number]) for number in moved}
        elif output.shape[: inside.dim() - 1] == inside.shape[1:]:
            rows = inside.reshape(*inside.shape, *[1] * (output.dim() - inside.dim() + 1)).to(output.dtype)
            self.parts[node.output.number] = Parts(output * rows, output * (1 - rows))
        else:
            raise _no_decomposition(node)


def _no_decomposition(node: Node) -> UnsupportedOperation:
    return UnsupportedOperation(
        f"{node.describe()} has no contextual decomposition; expected nn.LSTM, linear layers, routes, means and element-wise activations: "
        "explain with another method, such as seqxai.LRP or seqxai.comparison.Occlusion."
    )
