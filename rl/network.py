"""Q-networks: from what an agent observes to the value of each of its actions."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, UInt8
from torch import nn

PIXEL_MAX = 255.0

Pixels = UInt8[torch.Tensor, "batch 4 84 84"] | Float[torch.Tensor, "batch 4 84 84"]


class NatureNetwork(nn.Module):
    """The Q-network of Mnih et al. 2015 (Nature 518, 529-533; "Methods, Model architecture"), one value per action.

    Three convolutions without padding and two dense layers.  The input are the raw pixels: the division by 255 happens
    in here, so that nobody who loads the network can forget it or do it twice.

    Args:
        actions: number of actions, the width of the output; at least 1.
    """

    def __init__(self, actions: int) -> None:
        super().__init__()
        self.actions = actions
        self.conv1 = nn.Conv2d(4, 32, kernel_size=8, stride=4)  # (B, 32, 20, 20)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(32, 64, kernel_size=4, stride=2)  # (B, 64, 9, 9)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(64, 64, kernel_size=3, stride=1)  # (B, 64, 7, 7)
        self.relu3 = nn.ReLU()
        self.flatten = nn.Flatten()  # (B, 3136)
        self.hidden = nn.Linear(3136, 512)
        self.relu4 = nn.ReLU()
        self.values = nn.Linear(512, actions)

    def _layers(self) -> Iterator[nn.Module]:
        """The layers in the order they are applied, which is the order they were declared in."""
        return iter(self.children())

    def forward(self, observation: Pixels) -> Float[torch.Tensor, "batch actions"]:
        """The Q-value of every action.

        Args:
            observation: four grey planes in 0..255, newest last; floating point where a gradient is wanted.

        Returns:
            Expected discounted sum of clipped rewards for each action.
        """
        activation: torch.Tensor = observation / PIXEL_MAX
        for layer in self._layers():
            activation = layer(activation)
        return activation


NETWORKS: dict[str, type[NatureNetwork]] = {"nature": NatureNetwork}
"""The architectures a checkpoint can name."""
