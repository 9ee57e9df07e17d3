"""What the nasty models are made of: fixed weights, a layer, and a read-out in which every element matters."""

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.contracts import random

W = random(4, 4, seed=11)
V = random(4, 4, seed=12)
B = random(4, seed=13)
READOUT = random(3, 64, seed=14)


def readout(*values: Tensor) -> Tensor:
    """A fixed linear map of everything given: (B, ...) each -> (B, 3)."""
    flat = torch.cat([value.reshape(len(value), -1) for value in values], 1)
    return flat @ READOUT[:, : flat.shape[1]].T


def hidden(x: Tensor) -> Tensor:
    """A linear layer with bias: (B, 4) -> (B, 4)."""
    return F.linear(x, W, B)
