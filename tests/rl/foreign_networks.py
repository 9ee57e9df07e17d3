"""The networks of other projects, written here from what their sources call the layers, so that files like theirs can be made.

Widths are smaller than theirs, for speed; names, order, kernels, strides and heads are the same.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

ACTIONS, ATOMS = 4, 11
WIDTHS, HIDDEN = (6, 8, 7), 20
FEATURES = WIDTHS[2] * 49


def convolutions(relu: bool = True, padding: int = 0) -> list[nn.Module]:
    a, b, c = WIDTHS
    layers = [nn.Conv2d(4, a, 8, 4, padding), nn.Conv2d(a, b, 4, 2), nn.Conv2d(b, c, 3, 1)]
    return [module for layer in layers for module in (layer, nn.ReLU())] if relu else layers


class NoisyLinear(nn.Module):
    """Fortunato et al. 2018 with the names of CleanRL and Kaixhin."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        reach = 1 / math.sqrt(inputs)
        self.weight_mu = nn.Parameter(torch.empty(outputs, inputs).uniform_(-reach, reach))
        self.weight_sigma = nn.Parameter(torch.full((outputs, inputs), 0.5 * reach))
        self.register_buffer("weight_epsilon", torch.randn(outputs, inputs))
        self.bias_mu = nn.Parameter(torch.empty(outputs).uniform_(-reach, reach))
        self.bias_sigma = nn.Parameter(torch.full((outputs,), 0.5 * reach))
        self.register_buffer("bias_epsilon", torch.randn(outputs))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return nn.functional.linear(
                x, self.weight_mu + self.weight_sigma * self.weight_epsilon, self.bias_mu + self.bias_sigma * self.bias_epsilon
            )
        return nn.functional.linear(x, self.weight_mu, self.bias_mu)


class CleanDQN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        head = [nn.Flatten(), nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, ACTIONS)]
        self.network = nn.Sequential(*convolutions(), *head)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x / 255.0)


class CleanC51(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("atoms", torch.linspace(-10, 10, ATOMS))
        head = [nn.Flatten(), nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, ACTIONS * ATOMS)]
        self.network = nn.Sequential(*convolutions(), *head)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.network(x / 255.0)
        return (torch.softmax(logits.view(len(x), ACTIONS, ATOMS), dim=2) * self.atoms).sum(2)


class CleanRainbow(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("support", torch.linspace(-10, 10, ATOMS))
        self.network = nn.Sequential(*convolutions(), nn.Flatten())
        self.value_head = nn.Sequential(NoisyLinear(FEATURES, HIDDEN), nn.ReLU(), NoisyLinear(HIDDEN, ATOMS))
        self.advantage_head = nn.Sequential(NoisyLinear(FEATURES, HIDDEN), nn.ReLU(), NoisyLinear(HIDDEN, ATOMS * ACTIONS))

    def forward(self, x: Tensor) -> Tensor:
        h = self.network(x / 255.0)
        value, advantage = self.value_head(h).view(-1, 1, ATOMS), self.advantage_head(h).view(-1, ACTIONS, ATOMS)
        return ((value + advantage - advantage.mean(1, keepdim=True)).softmax(2) * self.support).sum(2)


class CleanPQN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for conv, side in zip(convolutions(relu=False), (20, 9, 7), strict=True):
            layers += [conv, nn.LayerNorm([conv.out_channels, side, side]), nn.ReLU()]
        head = [nn.Flatten(), nn.Linear(FEATURES, HIDDEN), nn.LayerNorm(HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, ACTIONS)]
        self.network = nn.Sequential(*layers, *head)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x / 255.0)


class CleanPPO(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(*convolutions(), nn.Flatten(), nn.Linear(FEATURES, HIDDEN), nn.ReLU())
        self.actor, self.critic = nn.Linear(HIDDEN, ACTIONS), nn.Linear(HIDDEN, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.actor(self.network(x / 255.0))


class AtariNet(nn.Module):
    """atari-agents; Python mangles the names with two underscores."""

    def __init__(self, distributional: bool = False) -> None:
        super().__init__()
        outputs = ACTIONS
        self.distributional = distributional
        if distributional:
            self.__support = nn.Parameter(torch.linspace(-10, 10, ATOMS), requires_grad=False)
            outputs *= ATOMS
        self.__features = nn.Sequential(*convolutions())
        self.__head = nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, outputs))

    def forward(self, x: Tensor) -> Tensor:
        q = self.__head(self.__features(x.float().div(255)).flatten(1))
        if self.distributional:
            return torch.mul(q.view(len(x), ACTIONS, ATOMS).softmax(2), self.__support).sum(2)
        return q


class KaixhinRainbow(nn.Module):
    def __init__(self, kind: str = "canonical") -> None:
        super().__init__()
        features = FEATURES
        if kind == "old":
            self.conv1, self.conv2, self.conv3 = convolutions(relu=False, padding=1)
        elif kind == "data-efficient":
            self.convs = nn.Sequential(nn.Conv2d(4, 6, 5, 5), nn.ReLU(), nn.Conv2d(6, 8, 5, 5), nn.ReLU())
            features = 8 * 9
        else:
            self.convs = nn.Sequential(*convolutions())
        self.old = kind == "old"
        self.fc_h_v, self.fc_h_a = NoisyLinear(features, HIDDEN), NoisyLinear(features, HIDDEN)
        self.fc_z_v, self.fc_z_a = NoisyLinear(HIDDEN, ATOMS), NoisyLinear(HIDDEN, ACTIONS * ATOMS)

    def forward(self, x: Tensor) -> Tensor:
        x = x / 255
        if self.old:
            x = self.conv3(self.conv2(self.conv1(x).relu()).relu()).relu()
        else:
            x = self.convs(x)
        v, a = (z(h(x.flatten(1)).relu()) for h, z in ((self.fc_h_v, self.fc_z_v), (self.fc_h_a, self.fc_z_a)))
        v, a = v.view(-1, 1, ATOMS), a.view(-1, ACTIONS, ATOMS)
        return ((v + a - a.mean(1, keepdim=True)).softmax(2) * torch.linspace(-10, 10, ATOMS)).sum(2)


class OldTianshou(nn.Module):
    """The DQN of tianshou 0.3, as a policy holds it."""

    def __init__(self) -> None:
        super().__init__()
        self.model, self.model_old = nn.Module(), nn.Module()
        head = [nn.Flatten(), nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, ACTIONS)]
        self.model.net = nn.Sequential(*convolutions(), *head)
        self.model_old.net = nn.Sequential(*convolutions(), *head)

    def forward(self, x: Tensor) -> Tensor:
        return self.model.net(x.float())


class TorchrlActor(nn.Module):
    """ConvNet and MLP of torchrl inside a QValueActor, whose names are those of nested modules."""

    def __init__(self, dueling: bool = False) -> None:
        super().__init__()
        self.dueling = dueling
        if dueling:
            elus = [module for conv in convolutions(relu=False) for module in (conv, nn.ELU())]
            self.features = nn.Sequential(*elus, nn.Flatten())
            self.advantage = nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.ELU(), nn.Linear(HIDDEN, ACTIONS))
            self.value = nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.ELU(), nn.Linear(HIDDEN, 1))
            return
        body = nn.Sequential(*convolutions(), nn.Flatten())
        head = nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, ACTIONS))
        inner = nn.Module()
        inner.module = nn.Sequential(OrderedDict([("0", body), ("1", head)]))
        self.module = nn.ModuleList([inner])

    def forward(self, x: Tensor) -> Tensor:
        if self.dueling:
            h = self.features(x)
            a = self.advantage(h)
            return self.value(h) + a - a.mean(-1, keepdim=True)
        return self.module[0].module(x)


def made(build: Any, seed: int = 0) -> nn.Module:
    """A network with weights large enough that its values differ, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build().eval().requires_grad_(False)
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.mul_(1.6)
    return network


def pictures(count: int = 3, seed: int = 0) -> Tensor:
    """Random observations, a third of them black."""
    generator = torch.Generator().manual_seed(seed)
    seen = torch.randint(0, 256, (count, 4, 84, 84), dtype=torch.uint8, generator=generator)
    seen[:, :, :28] = 0
    return seen
