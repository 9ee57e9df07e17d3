"""What the readers of foreign formats share: reading a network's form off its tensors, and naming them as ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rl.checkpoints.agent import Guess
from rl.checkpoints.archive import Content
from rl.layout import PLANES, SIDE, Convolution, Layout
from rl.preprocessing import Preprocessing
from seqxai.errors import CheckpointError

STRIDES = {8: 4, 5: 5, 4: 2, 3: 1}
"""By kernel: no weight shows the stride; these are those of Mnih et al. 2013 and 2015, and of data-efficient Rainbow."""

Weights = Callable[[], dict[str, Tensor]]


@dataclass
class Found:
    """What a reader makes of a file.

    Attributes:
        source: the format, in words.
        layout: of the network.
        actions: number of outputs.
        weights: reads the tensors, under the names in :class:`rl.layout.LayoutNetwork`.
        preprocessing: how agents of this format see.
        algorithm: how it was trained.
        game: if the file says it.
        agent_steps: if the file says it.
        guesses: what it does not say.
        warnings: what looks wrong.
    """

    source: str
    layout: Layout
    actions: int
    weights: Weights
    preprocessing: Preprocessing
    algorithm: str
    game: str | None = None
    agent_steps: int | None = None
    guesses: list[Guess] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def shape(content: Content, name: str, dimensions: int) -> tuple[int, ...]:
    """The shape of a tensor that must be there.

    Raises:
        CheckpointError: missing, of another number of dimensions, or empty.
    """
    if name not in content.stored:
        raise CheckpointError(f"{content.path} lacks the tensor {name!r}; save the network's whole state dict")
    found = content.shape(name)
    if len(found) != dimensions or 0 in found:
        raise CheckpointError(f"{content.path}: tensor {name!r} has shape {found}, expected {dimensions} sizes; give an Atari agent")
    return found


def convolutions(content: Content, prefixes: Sequence[str], padding: int = 0) -> tuple[Convolution, ...]:
    """The convolutions of a network, from the shapes of their weights.

    Args:
        content: the file.
        prefixes: their names, in order.
        padding: of the first.

    Raises:
        CheckpointError: the first does not see four planes, kernels are not square, or of a size whose stride is not known.
    """
    found, planes = [], PLANES
    for number, prefix in enumerate(prefixes):
        out, inputs, rows, columns = shape(content, f"{prefix}.weight", 4)
        if inputs != planes:
            expected = f"the {PLANES} grey planes of an Atari agent" if not number else f"{planes} channels"
            raise CheckpointError(
                f"{content.path}: tensor '{prefix}.weight' takes {inputs} channels, expected {expected}; give such an agent"
            )
        if rows != columns or rows not in STRIDES:
            raise CheckpointError(
                f"{content.path}: the convolution '{prefix}' has a kernel of {rows} x {columns}, whose stride is not known; build the "
                "network in Python and explain it with rl.ExplainedEnv"
            )
        found.append(Convolution(out, rows, STRIDES[rows], padding if not number else 0))
        planes = out
    return tuple(found)


def widths(content: Content, prefixes: Iterable[str], weight: str = "weight") -> tuple[int, ...]:
    """The widths of dense layers."""
    return tuple(shape(content, f"{prefix}.{weight}", 2)[0] for prefix in prefixes)


def check_features(content: Content, layout: Layout, prefix: str, weight: str = "weight") -> None:
    """Refuse a network whose convolutions do not end in what its first dense layer takes.

    Raises:
        CheckpointError: with both numbers.
    """
    takes = shape(content, f"{prefix}.{weight}", 2)[1]
    if takes != layout.features:
        raise CheckpointError(
            f"{content.path}: on {SIDE} x {SIDE} pixels the convolutions end in {layout.features} numbers, but '{prefix}' takes {takes}; "
            "the agent sees pictures of another size or pads them otherwise; explain it with rl.ExplainedEnv"
        )


def per_action(content: Content, prefix: str, atoms: int, weight: str = "weight") -> int:
    """How many actions a last layer with so many outputs for each has.

    Raises:
        CheckpointError: not a whole number.
    """
    outputs = shape(content, f"{prefix}.{weight}", 2)[0]
    if outputs % atoms:
        raise CheckpointError(f"{content.path}: '{prefix}' has {outputs} outputs, no multiple of {atoms} atoms; check the file")
    return outputs // atoms


def dense(content: Content, names: Mapping[str, str]) -> Weights:
    """Reads plain layers: our prefix to theirs, weights and biases."""

    def read() -> dict[str, Tensor]:
        return {
            f"{ours}.{kind}": content.tensor(f"{theirs}.{kind}") for ours, theirs in names.items() for kind in ("weight", "bias")
        }

    return read


@dataclass(frozen=True)
class NoisyNames:
    """What a library calls the parts of a noisy layer (Fortunato et al. 2018): means, deviations and the noise drawn last."""

    weight: str
    bias: str
    weight_deviation: str
    bias_deviation: str
    noise: Callable[[Content, str], tuple[Tensor, Tensor]]


def _whole_noise(content: Content, prefix: str) -> tuple[Tensor, Tensor]:
    return content.tensor(f"{prefix}.weight_epsilon"), content.tensor(f"{prefix}.bias_epsilon")


def _factors(content: Content, prefix: str) -> tuple[Tensor, Tensor]:
    inputs, outputs = content.tensor(f"{prefix}.eps_p"), content.tensor(f"{prefix}.eps_q")
    return torch.outer(outputs, inputs), outputs


FORTUNATO = NoisyNames("weight_mu", "bias_mu", "weight_sigma", "bias_sigma", _whole_noise)
TIANSHOU = NoisyNames("mu_W", "mu_bias", "sigma_W", "sigma_bias", _factors)


def noisy(content: Content, names: Mapping[str, str], parts: NoisyNames, noise: str) -> Weights:
    """Reads noisy layers as plain ones: their means, or what they were with the noise in the file."""

    def read() -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for ours, theirs in names.items():
            weight, bias = content.tensor(f"{theirs}.{parts.weight}"), content.tensor(f"{theirs}.{parts.bias}")
            if noise == "stored":
                on_weight, on_bias = parts.noise(content, theirs)
                weight = weight + content.tensor(f"{theirs}.{parts.weight_deviation}") * on_weight
                bias = bias + content.tensor(f"{theirs}.{parts.bias_deviation}") * on_bias
            found |= {f"{ours}.weight": weight, f"{ours}.bias": bias}
        return found

    return read


def together(*readers: Weights) -> Weights:
    """Reads everything that several readers do."""
    return lambda: {name: tensor for read in readers for name, tensor in read().items()}


def numbered(content: Content, prefix: str, kind: str = "weight") -> list[int]:
    """The places of the layers of a Sequential, in order: ``prefix.0.weight``, ``prefix.2.weight``, ..."""
    found = {name[len(prefix) :].split(".")[0] for name in content.stored if name.startswith(prefix) and name.endswith(f".{kind}")}
    return sorted(int(place) for place in found if place.isdecimal() and len(place) < 4)


def support(content: Content, name: str, choices: Mapping[str, Any]) -> tuple[int, float, float, list[Guess]]:
    """Atoms of a categorical distribution: how many, the smallest and the largest value.

    Raises:
        CheckpointError: they are not evenly spaced.
    """
    (atoms,) = shape(content, name, 1)
    values = content.tensor(name).double()
    low, high = float(values[0]), float(values[-1])
    if atoms < 2 or not torch.allclose(values, torch.linspace(low, high, atoms, dtype=torch.float64), atol=1e-4 * max(1.0, abs(high))):
        raise CheckpointError(f"{content.path}: the values of the atoms in {name!r} are not evenly spaced; expected a categorical agent's")
    return atoms, float(choices.get("low", low)), float(choices.get("high", high)), []
