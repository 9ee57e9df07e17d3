"""The network: embedding, recurrent layers, one linear layer over the last hidden state of each direction."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from seqxai.errors import InputError

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}


@dataclass(frozen=True)
class Settings:
    """What it takes to build a network and to write texts as it was taught to read them.

    Attributes:
        cell: ``"lstm"`` or ``"gru"``.
        embedding_size: numbers per word.
        hidden_size: units per layer and direction.
        layers: recurrent layers on top of each other.
        bidirectional: read the sentence from both ends.
        lowercase: words are lower-cased before they are looked up.
        dropout: share of the numbers that are set to 0 before and after the recurrent layers, in training only.

    Raises:
        InputError: a value out of its range.
    """

    cell: str = "lstm"
    embedding_size: int = 60
    hidden_size: int = 60
    layers: int = 1
    bidirectional: bool = False
    lowercase: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise InputError(f"cell should be one of {', '.join(CELLS)}, got {self.cell!r}")
        for name in ("embedding_size", "hidden_size", "layers"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} should be at least 1, got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout should be a share from 0 to below 1, got {self.dropout}")


class TextClassifier(nn.Module):
    """Word indices to class scores.

    A sentence gives the same scores alone and in a padded batch: the sequences are packed, so that the padding is never
    read.  Explained by ``seqxai.LRP(network).attribute(tokens, target=..., args=(lengths,))``.

    Args:
        settings: sizes and cell.
        words: rows of the embedding; row 0 is the padding and stays zero.
        classes: number of scores.
    """

    def __init__(self, settings: Settings, words: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, settings.embedding_size, padding_idx=0)
        self.recurrent = CELLS[settings.cell](
            settings.embedding_size,
            settings.hidden_size,
            num_layers=settings.layers,
            batch_first=True,
            bidirectional=settings.bidirectional,
            dropout=settings.dropout if settings.layers > 1 else 0.0,
        )
        self.dropout = nn.Dropout(settings.dropout)
        self.output = nn.Linear(settings.hidden_size * (2 if settings.bidirectional else 1), classes)

    def forward(
        self, tokens: Int64[torch.Tensor, "batch steps"], lengths: Int64[torch.Tensor, " batch"]
    ) -> Float[torch.Tensor, "batch classes"]:
        """Class scores before the softmax.

        Args:
            tokens: word indices, padded with 0.
            lengths: words of each sentence, at least 1.
        """
        packed = pack_padded_sequence(
            self.dropout(self.embedding(tokens)), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        state = self.recurrent(packed)[1]
        hidden = state[0] if isinstance(state, tuple) else state  # (layers * directions, batch, hidden)
        directions = 2 if self.recurrent.bidirectional else 1
        return self.output(self.dropout(torch.cat([hidden[i] for i in range(-directions, 0)], dim=-1)))
