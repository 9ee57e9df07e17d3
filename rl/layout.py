"""Q-networks put together from a description, for agents that other libraries trained.

The description is plain data, so it is kept in a checkpoint's metadata; no network is ever rebuilt from code in a file.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import nn

from rl.network import Pixels, QNetwork
from seqxai.errors import InputError

PLANES, SIDE = 4, 84
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU, "elu": nn.ELU, "tanh": nn.Tanh, "leaky_relu": nn.LeakyReLU, "silu": nn.SiLU, "gelu": nn.GELU,
}  # fmt: skip
HEADS = ("values", "dueling", "policy")
DISTRIBUTIONS = ("none", "categorical", "quantile")
WIDTH_MAX, DEPTH_MAX, ATOMS_MAX = 65_536, 16, 4096


@dataclass(frozen=True)
class Convolution:
    """One convolution: square kernels.

    Attributes:
        channels: of the output.
        kernel: rows and columns.
        stride: in both directions.
        padding: zeros on every side.
    """

    channels: int
    kernel: int
    stride: int = 1
    padding: int = 0


@dataclass(frozen=True)
class Layout:
    """What a network of a foreign agent looks like.

    Attributes:
        convolutions: in order, each followed by the activation.
        hidden: widths of the dense layers that every output shares.
        activation: after convolutions and shared layers: a key of `ACTIVATIONS`.
        layer_norm: whether each of them is normalised over all its units before its activation (as in PQN).
        head: ``"values"``: one stream; ``"dueling"``: V + A - mean A; ``"policy"``: logits, and the value of the state beside them.
        head_hidden: widths of the dense layers of the stream, or of each of both.
        critic_hidden: those of the critic, of a policy.
        head_activation: after these.
        own_critic_body: the critic of a policy has convolutions and shared layers of its own.
        distribution: ``"none"``; ``"categorical"``: a softmax over `atoms` values of the return (C51); ``"quantile"``: as many quantiles.
        atoms: how many, for each action.
        low: smallest value of a categorical distribution.
        high: largest.
        divisor: what the pixels are divided by before the first layer; 1 for nothing.
        standardised: whether each pixel's mean is subtracted and its deviation divided by after that (torchrl's VecNorm).
    """

    convolutions: tuple[Convolution, ...]
    hidden: tuple[int, ...] = ()
    activation: str = "relu"
    layer_norm: bool = False
    head: str = "values"
    head_hidden: tuple[int, ...] = ()
    critic_hidden: tuple[int, ...] = ()
    head_activation: str = "relu"
    own_critic_body: bool = False
    distribution: str = "none"
    atoms: int = 1
    low: float = -10.0
    high: float = 10.0
    divisor: float = 255.0
    standardised: bool = False

    def __post_init__(self) -> None:
        self._check()

    def _check(self) -> None:
        """Refuse what is no network.

        Raises:
            InputError: names the field.
        """
        widths = (*self.hidden, *self.head_hidden, *self.critic_hidden)
        known = {
            "activation": ACTIVATIONS, "head_activation": ACTIVATIONS, "head": HEADS, "distribution": DISTRIBUTIONS,
        }  # fmt: skip
        for name, possible in known.items():
            if getattr(self, name) not in possible:
                raise InputError(f"layout: {name} should be one of {', '.join(possible)}, got {getattr(self, name)!r}")
        sound = 0 < len(self.convolutions) <= DEPTH_MAX and len(widths) <= DEPTH_MAX and all(0 < w <= WIDTH_MAX for w in widths)
        if not sound or not 1 <= self.atoms <= ATOMS_MAX or not 0 < self.divisor < 1e6 or not self.low < self.high:
            raise InputError(f"layout: no network looks like {self.summary()}")
        if self.features < 1:
            raise InputError(f"layout: nothing of an {SIDE} x {SIDE} picture is left after {self.summary()}")

    @property
    def sides(self) -> tuple[int, ...]:
        """Rows (and columns) of the picture after each convolution."""
        side, found = SIDE, []
        for conv in self.convolutions:
            sound = 0 < conv.channels <= WIDTH_MAX and 0 < conv.kernel <= SIDE and 0 < conv.stride <= SIDE
            room = side + 2 * conv.padding - conv.kernel
            side = room // conv.stride + 1 if sound and 0 <= conv.padding <= conv.kernel and room >= 0 else 0
            found.append(side)
        return tuple(found)

    @property
    def features(self) -> int:
        """Numbers that the convolutions end in."""
        return self.convolutions[-1].channels * self.sides[-1] ** 2

    def summary(self) -> str:
        """The layers in words, from pixels to outputs."""
        padded = [f" pad {c.padding}" if c.padding else "" for c in self.convolutions]
        parts = [f"conv {c.channels} of {c.kernel}x{c.kernel}/{c.stride}{pad}" for c, pad in zip(self.convolutions, padded, strict=True)]
        parts += [f"dense {width}" for width in self.hidden]
        streams = {"values": "", "dueling": "two streams ", "policy": "actor "}[self.head]
        inner = f"{streams}{'-'.join(map(str, self.head_hidden))}".strip()
        parts += [inner] if inner else []
        parts += [f"critic {'-'.join(map(str, self.critic_hidden))}".strip()] if self.head == "policy" else []
        if self.distribution == "categorical":
            parts.append(f"{self.atoms} atoms {self.low:g} .. {self.high:g}")
        if self.distribution == "quantile":
            parts.append(f"{self.atoms} quantiles")
        kinds = [self.activation] + (["layer norm"] if self.layer_norm else [])
        return f"{', '.join(parts)} ({', '.join(kinds)})"

    def to_json(self) -> str:
        """For metadata."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Layout:
        """What :meth:`to_json` wrote.

        Raises:
            InputError: not that.
        """
        try:
            stored = json.loads(text)
            convolutions = tuple(Convolution(**{name: _whole(v) for name, v in conv.items()}) for conv in stored.pop("convolutions"))
            values = {name: _like(default, stored.pop(name)) for name, default in _defaults().items()}
            if stored:
                raise ValueError(f"unknown fields {sorted(map(str, stored))[:5]}")
            return cls(convolutions, **values)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise InputError(f"the layout of the network cannot be read ({' '.join(str(error).split())[:120]})") from error


def _defaults() -> dict[str, Any]:
    return {f.name: f.default for f in dataclasses.fields(Layout) if f.name != "convolutions"}


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise ValueError("sizes should be whole numbers")
    return value


def _like(default: Any, value: Any) -> Any:
    """A value of the same type as the default."""
    if isinstance(default, tuple):
        return tuple(_whole(item) for item in value)
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if type(value) is not type(default):
        raise ValueError(f"expected {type(default).__name__}, got {type(value).__name__}")
    return value


NATURE = (Convolution(32, 8, 4), Convolution(64, 4, 2), Convolution(64, 3, 1))
"""The convolutions of Mnih et al. 2015."""


@dataclass
class Stack:
    """Layers in a row, gathered with the names they will have."""

    layout: Layout
    prefix: str = ""
    layers: list[tuple[str, nn.Module]] = field(default_factory=list)

    def body(self) -> int:
        """Convolutions and shared layers; returns how many numbers they end in."""
        layout, planes = self.layout, PLANES
        for number, (conv, side) in enumerate(zip(layout.convolutions, layout.sides, strict=True), 1):
            self._add(f"conv{number}", nn.Conv2d(planes, conv.channels, conv.kernel, conv.stride, conv.padding))
            if layout.layer_norm:
                self._add(f"conv_norm{number}", nn.LayerNorm([conv.channels, side, side]))
            self._add(f"conv_act{number}", ACTIVATIONS[layout.activation]())
            planes = conv.channels
        self._add("flatten", nn.Flatten())
        return self.dense("hidden", layout.features, layout.hidden, layout.activation, layout.layer_norm)

    def dense(self, name: str, width: int, widths: tuple[int, ...], activation: str, norm: bool = False) -> int:
        """Dense layers; returns the width of the last."""
        for number, wider in enumerate(widths, 1):
            self._add(f"{name}{number}", nn.Linear(width, wider))
            if norm:
                self._add(f"{name}_norm{number}", nn.LayerNorm(wider))
            self._add(f"{name}_act{number}", ACTIVATIONS[activation]())
            width = wider
        return width

    def _add(self, name: str, layer: nn.Module) -> None:
        self.layers.append((self.prefix + name, layer))


class LayoutNetwork(QNetwork):
    """A Q-network, or the two heads of an actor-critic, as a :class:`Layout` says.

    Modules are named ``conv1``, ``hidden1``, ``values`` (or ``advantage`` and ``value``, or ``logits`` and ``value``).  Noisy layers are
    dense layers with the mean weights; a distribution is reduced to its mean inside, so that the outputs are the values the agent
    compares.

    Args:
        layout: what it looks like.
        actions: how many.
    """

    support: torch.Tensor
    pixel_mean: torch.Tensor
    pixel_deviation: torch.Tensor

    def __init__(self, layout: Layout, actions: int) -> None:
        super().__init__(actions)
        self.layout = layout
        stack = Stack(layout)
        width = stack.body()
        self._body_names = self._register(stack)
        self._critic_names: list[str] = []
        outputs = actions * layout.atoms
        if layout.head == "dueling":
            self._value_names = self._stream("value", width, layout.head_hidden, layout.atoms)
            self._advantage_names = self._stream("advantage", width, layout.head_hidden, outputs)
            self.outputs = ("advantage",)
            self.state_value = "value" if layout.distribution == "none" else None
        elif layout.head == "policy":
            self._values_names = self._stream("logits", width, layout.head_hidden, outputs)
            if layout.own_critic_body:
                critic = Stack(layout, "critic_")
                critic.body()
                self._critic_names = self._register(critic)
            self._value_names = self._stream("value", width, layout.critic_hidden, 1)
            self.outputs, self.state_value, self.quantity = ("logits",), "value", "logit"
        else:
            self._values_names = self._stream("values", width, layout.head_hidden, outputs)
        self._buffers_for(layout)

    def _buffers_for(self, layout: Layout) -> None:
        """What is constant in the network: the values of the atoms, and the statistics of the pixels."""
        if layout.distribution == "categorical":
            support = torch.zeros(layout.atoms)
            if not support.is_meta:  # on the meta device linspace imports the whole of sympy
                support.copy_(torch.linspace(layout.low, layout.high, layout.atoms))
            self.register_buffer("support", support)
        if layout.standardised:
            self.register_buffer("pixel_mean", torch.zeros(PLANES, SIDE, SIDE))
            self.register_buffer("pixel_deviation", torch.ones(PLANES, SIDE, SIDE))

    def _register(self, stack: Stack) -> list[str]:
        for name, layer in stack.layers:
            self.add_module(name, layer)
        return [name for name, _ in stack.layers]

    def _stream(self, name: str, width: int, widths: tuple[int, ...], outputs: int) -> list[str]:
        """A stream of dense layers whose last has the stream's own name."""
        stack = Stack(self.layout)
        last = stack.dense(f"{name}_hidden", width, widths, self.layout.head_activation)
        stack.layers.append((name, nn.Linear(last, outputs)))
        return self._register(stack)

    def _run(self, names: list[str], activation: torch.Tensor) -> torch.Tensor:
        for name in names:
            activation = self.get_submodule(name)(activation)
        return activation

    def _body_layers(self) -> Iterator[nn.Module]:
        return (self.get_submodule(name) for name in self._body_names)

    def prepared(self, observation: Pixels) -> Float[torch.Tensor, "batch 4 84 84"]:
        """Pixels as the first layer takes them."""
        kind = next(self.parameters()).dtype
        pixels = observation if observation.is_floating_point() else observation.to(kind)
        if self.layout.divisor != 1.0:
            pixels = pixels / self.layout.divisor
        return (pixels - self.pixel_mean) / self.pixel_deviation if self.layout.standardised else pixels

    def body(self, observation: Pixels) -> Float[torch.Tensor, "batch features"]:
        """See :class:`rl.network.QNetwork`."""
        return self._run(self._body_names, self.prepared(observation))

    def head(self, features: Float[torch.Tensor, "batch features"]) -> Float[torch.Tensor, "batch actions"]:
        """The values of the actions, or the logits of a policy."""
        if self.layout.head != "dueling":
            return self._mean(self._run(self._values_names, features))
        value = self._run(self._value_names, features)  # (B, atoms)
        advantage = self._run(self._advantage_names, features)  # (B, actions * atoms)
        if self.layout.distribution == "none":
            return value + (advantage - advantage.mean(dim=1, keepdim=True))
        rows = advantage.view(-1, self.actions, self.layout.atoms)
        return self._mean(value.unsqueeze(1) + (rows - rows.mean(dim=1, keepdim=True)))

    def _mean(self, outputs: torch.Tensor) -> Float[torch.Tensor, "batch actions"]:
        """The expectation of every action's distribution."""
        if self.layout.distribution == "none":
            return outputs
        rows = outputs.view(-1, self.actions, self.layout.atoms)
        return rows.mean(dim=2) if self.layout.distribution == "quantile" else torch.softmax(rows, dim=2) @ self.support

    def forward(self, observation: Pixels) -> Float[torch.Tensor, "batch actions"]:
        """The values of the actions, or the logits of a policy; a policy's critic runs along, so that it can be explained.

        Args:
            observation: four grey planes in 0..255, newest last.
        """
        features = self.body(observation)
        if self.layout.head == "policy":
            self._run(self._value_names, self._run(self._critic_names, self.prepared(observation)) if self._critic_names else features)
        return self.head(features)

    @torch.no_grad()
    def value_of_state(self, observation: Pixels) -> Float[torch.Tensor, "batch 1"]:
        """The critic's value, of a policy."""
        if self.layout.head != "policy":
            raise InputError("only the network of a policy has a critic; ask for the Q-values instead")
        features = self._run(self._critic_names, self.prepared(observation)) if self._critic_names else self.body(observation)
        return self._run(self._value_names, features)
