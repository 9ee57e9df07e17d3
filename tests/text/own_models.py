"""A user's own module, as `--model package.module:factory` finds it."""

import torch
from torch import nn


class OwnClassifier(nn.Module):
    """Word indices (B, T) to scores (B, 3), without lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.gru, self.head = nn.Embedding(6, 4), nn.GRU(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, ids):
        return self.head(self.gru(self.embed(ids))[0][:, -1])


class WithLengths(OwnClassifier):
    """The mean over the words that are there."""

    def forward(self, ids, lengths):
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).unsqueeze(-1)
        return self.head((self.gru(self.embed(ids))[0] * mask).sum(1) / lengths[:, None])


def make() -> nn.Module:
    torch.manual_seed(3)
    return OwnClassifier()


def make_with_lengths() -> nn.Module:
    torch.manual_seed(4)
    return WithLengths()


def letters(text: str) -> tuple[list[str], list[int]]:
    """Every letter is a word."""
    return list(text), [ord(letter) % 6 for letter in text]


def indices_only(text: str) -> torch.Tensor:
    return torch.tensor([len(word) % 6 for word in text.split()])


def fails() -> nn.Module:
    raise RuntimeError("no such thing")


def returns_a_number() -> int:
    return 3


wrong = 7
