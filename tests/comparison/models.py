"""Sequence models for the comparison methods: x (B, T, 2), or token ids (B, T), to three scores."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from tests.contracts import random, seeded

STEPS = 5
X = random(4, STEPS, 2, seed=31, low=-2.0, high=2.0)
LENGTHS = torch.tensor([5, 2, 4, 1])
IDS = torch.tensor([[1, 4, 2, 6, 3], [5, 0, 1, 1, 2], [3, 6, 6, 4, 5], [2, 2, 0, 1, 4]])


class Last(nn.Module):
    """Scores from the last hidden state of an LSTM."""

    def __init__(self, **options: int | bool) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2, 3, batch_first=True, **options)
        width = int(options.get("proj_size", 0)) or 3
        self.head = nn.Linear(width * (2 if options.get("bidirectional") else 1), 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


class Packed(nn.Module):
    """Scores from the final states of an LSTM over sequences of given lengths."""

    def __init__(self, bidirectional: bool = False) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2, 3, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear(6 if bidirectional else 3, 3)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.head(self.lstm(packed)[1][0].transpose(0, 1).flatten(1))


class Words(nn.Module):
    """Scores of a sequence of token ids."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 2)
        self.last = Last()

    def forward(self, ids: Tensor) -> Tensor:
        return self.last(self.embedding(ids))


def last(**options: int | bool) -> nn.Module:
    return seeded(lambda: Last(**options), 4)


def packed(bidirectional: bool = False) -> nn.Module:
    return seeded(lambda: Packed(bidirectional), 4)


def words() -> nn.Module:
    return seeded(Words, 5)
