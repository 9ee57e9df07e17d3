"""What an agent makes of three fixed pictures: a fingerprint of weights and choices together, and a test of the choices.

The pictures are made by a formula, so they are the same everywhere: a screen with bricks, a paddle and a moving ball; stripes; noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import nn

from rl.checkpoints.agent import Agent
from rl.layout import PLANES, SIDE, LayoutNetwork

VALUE_MAX = 1000.0
"""Rewards clipped to -1 .. 1 and discounted by 0.99 sum to 100 at most; pictures that no game shows are worth some hundreds."""

DIM, BRIGHT = 1.0, 1000.0
"""What the pixels give the first layer is 9 to 115 times its bias all through the training of the Breakout agent here; read with the wrong
divisor it is 0.04 to 0.5, or 2,400 to 30,000 times (tests/rl/test_foreign_choices.py)."""

EDGE = 0.5
BIAS_MIN = 1e-4
"""A bias that was never trained says nothing."""


@cache
def canned_observations() -> UInt8[torch.Tensor, "3 4 84 84"]:
    """The three pictures, four planes each."""
    pictures = np.zeros((3, PLANES, SIDE, SIDE), np.uint8)
    game = pictures[0]
    for row in range(6):
        game[:, 22 + 3 * row : 24 + 3 * row, 4:80] = 90 + 20 * row
    game[:, :8], game[:, 76:78, 38:47] = 142, 200
    for plane in range(PLANES):
        game[plane, 50 + 4 * plane : 52 + 4 * plane, 30 + 3 * plane : 32 + 3 * plane] = 200
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for plane in range(PLANES):
        pictures[1, plane] = 255 * ((rows + 2 * columns + 5 * plane) // 12 % 2)
        pictures[2, plane] = (rows * 7919 + columns * 104_729 + plane * 1_299_709) * 2_654_435_761 // 65_536 % 256
    return torch.from_numpy(pictures)


def canned_values(agent: Agent) -> Float[torch.Tensor, "3 actions"]:
    """Values (or logits) of all actions for the three pictures."""
    return agent.q_values(canned_observations())


def warnings_about(agent: Agent) -> Iterator[str]:
    """What looks wrong about the choices made for an agent, each in a sentence with what to try."""
    network = agent.network
    values = canned_values(agent)
    if not torch.isfinite(values).all():
        yield "the values of fixed pictures are not finite; the training had diverged, or the choices are wrong"
        return
    if isinstance(network, LayoutNetwork):
        yield from _about_brightness(network, values)
        yield from _about_support(network)


def _about_brightness(network: LayoutNetwork, values: torch.Tensor) -> Iterator[str]:
    """Whether the pixels are divided as in training, from the first layer's weights, its bias and the size of the values."""
    ratio, divisor, largest = pixels_over_bias(network), network.layout.divisor, float(values.abs().max())
    if divisor == 1.0 and ratio > BRIGHT:
        yield (
            f"with divisor=1 the pixels outweigh the first layer's bias {ratio:.3g} to 1 and fixed pictures are worth up to {largest:.3g}: "
            "the agent was probably trained on pixels divided by 255; try divisor=255"
        )
    elif divisor > 1.0 and ratio < DIM:
        yield (
            f"with divisor={divisor:g} the pixels give the first layer only {ratio:.2g} of its bias: the agent was probably trained on "
            "undivided pixels; try divisor=1"
        )
    elif network.quantity == "Q" and largest > VALUE_MAX:
        yield f"fixed pictures are worth up to {largest:.3g}, more than clipped rewards can be; check divisor and how rewards were clipped"


@torch.no_grad()
def pixels_over_bias(network: LayoutNetwork) -> float:
    """Median over channels of what pixels contribute to the first convolution, relative to the median bias; usual where there is none."""
    first = network.get_submodule("conv1")
    assert isinstance(first, nn.Conv2d)
    prepared = network.prepared(canned_observations())
    contributed = nn.functional.conv2d(prepared, first.weight, None, first.stride, first.padding)
    deviation = contributed.square().mean(dim=(0, 2, 3)).sqrt().median()
    bias = first.bias.abs().median() if first.bias is not None else torch.zeros(())
    return float(deviation / bias) if bias > BIAS_MIN else 30.0


@torch.no_grad()
def _about_support(network: LayoutNetwork) -> Iterator[str]:
    """Whether the values of the atoms fit: a trained distribution does not stand at its ends for every picture."""
    if network.layout.distribution != "categorical":
        return
    kept: list[torch.Tensor] = []
    inner = network._mean

    def watched(outputs: torch.Tensor) -> torch.Tensor:
        kept.append(torch.softmax(outputs.view(-1, network.actions, network.layout.atoms), dim=2))
        return inner(outputs)

    network._mean = watched  # type: ignore[method-assign,unused-ignore]
    try:
        network(canned_observations())
    finally:
        del network._mean  # type: ignore[method-assign,unused-ignore]
    at_the_ends = (kept[0][..., 0] + kept[0][..., -1]).mean()
    if float(at_the_ends) > EDGE:
        yield (
            f"{float(at_the_ends):.0%} of the probability lies on the smallest and largest return, {network.layout.low:g} and "
            f"{network.layout.high:g}; check low, high and divisor"
        )
