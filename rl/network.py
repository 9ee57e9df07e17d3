"""Q-networks: from what an agent observes to the value of each of its actions.

All take the raw pixels: the division by 255 happens in here, so that nobody who loads a network can forget it or do it
twice.  Layers are plain and separately named modules without normalisation, so that relevance has a simple way back.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, UInt8
from torch import nn

PIXEL_MAX = 255.0

Pixels = UInt8[torch.Tensor, "batch 4 84 84"] | Float[torch.Tensor, "batch 4 84 84"]


class QNetwork(nn.Module):
    """What all Q-networks share: a body that sees, and a head that values each action.

    Args:
        actions: number of actions, the width of the output; at least 1.
    """

    outputs = ("values",)
    """The layers with one output per action."""

    state_value: str | None = None
    """The layer whose one output is the value of the state, where the network has one."""

    quantity = "Q"
    """What the outputs are: ``"Q"``, or ``"logit"`` where a policy was trained."""

    def __init__(self, actions: int) -> None:
        super().__init__()
        self.actions = actions

    def _body_layers(self) -> Iterator[nn.Module]:
        """The layers before the head in the order they are applied, which is the order they were declared in."""
        return (layer for name, layer in self.named_children() if name != "values")

    def body(self, observation: Pixels) -> Float[torch.Tensor, "batch features"]:
        """What the head computes the values from."""
        activation: torch.Tensor = observation / PIXEL_MAX
        for layer in self._body_layers():
            activation = layer(activation)
        return activation

    def head(self, features: Float[torch.Tensor, "batch features"]) -> Float[torch.Tensor, "batch actions"]:
        """The value of every action."""
        return self.get_submodule("values")(features)

    def forward(self, observation: Pixels) -> Float[torch.Tensor, "batch actions"]:
        """The Q-value of every action.

        Args:
            observation: four grey planes in 0..255, newest last; floating point where a gradient is wanted.

        Returns:
            Expected discounted sum of clipped rewards for each action.
        """
        return self.head(self.body(observation))


class NatureNetwork(QNetwork):
    """The Q-network of Mnih et al. 2015 (Nature 518, 529-533; "Methods, Model architecture"), one value per action.

    Three convolutions without padding and two dense layers.

    Args:
        actions: number of actions, the width of the output; at least 1.
    """

    def __init__(self, actions: int) -> None:
        super().__init__(actions)
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


class NipsNetwork(QNetwork):
    """The smaller Q-network of Mnih et al. 2013 (arXiv 1312.5602, sec. 4.1): two convolutions, 256 hidden units.

    Args:
        actions: number of actions, the width of the output; at least 1.
    """

    def __init__(self, actions: int) -> None:
        super().__init__(actions)
        self.conv1 = nn.Conv2d(4, 16, kernel_size=8, stride=4)  # (B, 16, 20, 20)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(16, 32, kernel_size=4, stride=2)  # (B, 32, 9, 9)
        self.relu2 = nn.ReLU()
        self.flatten = nn.Flatten()  # (B, 2592)
        self.hidden = nn.Linear(2592, 256)
        self.relu3 = nn.ReLU()
        self.values = nn.Linear(256, actions)


class DuelingNetwork(QNetwork):
    """The dueling Q-network of Wang et al. 2016 (ICML, arXiv 1511.06581, eq. 9): one stream values the state.

    The convolutions of the Nature network, then two streams of 512 units: ``Q(s, a) = V(s) + A(s, a) - mean_b A(s, b)``.

    Args:
        actions: number of actions, the width of the output; at least 1.
    """

    outputs = ("advantage",)
    state_value = "value"

    def __init__(self, actions: int) -> None:
        super().__init__(actions)
        self.conv1 = nn.Conv2d(4, 32, kernel_size=8, stride=4)  # (B, 32, 20, 20)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(32, 64, kernel_size=4, stride=2)  # (B, 64, 9, 9)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(64, 64, kernel_size=3, stride=1)  # (B, 64, 7, 7)
        self.relu3 = nn.ReLU()
        self.flatten = nn.Flatten()  # (B, 3136)
        self.value_hidden = nn.Linear(3136, 512)
        self.value_relu = nn.ReLU()
        self.value = nn.Linear(512, 1)
        self.advantage_hidden = nn.Linear(3136, 512)
        self.advantage_relu = nn.ReLU()
        self.advantage = nn.Linear(512, actions)

    def _body_layers(self) -> Iterator[nn.Module]:
        """The convolutions; both streams are the head."""
        return (layer for name, layer in self.named_children() if not name.startswith(("value", "advantage")))

    def head(self, features: Float[torch.Tensor, "batch features"]) -> Float[torch.Tensor, "batch actions"]:
        """``V + A - mean A``."""
        value = self.value(self.value_relu(self.value_hidden(features)))  # (B, 1)
        advantage = self.advantage(self.advantage_relu(self.advantage_hidden(features)))  # (B, actions)
        return value + (advantage - advantage.mean(dim=1, keepdim=True))


NETWORKS: dict[str, type[QNetwork]] = {"nature": NatureNetwork, "nips": NipsNetwork, "dueling": DuelingNetwork}
"""The architectures a checkpoint can name."""
