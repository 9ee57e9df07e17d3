"""The LSTM that predicts the verb's number, and its training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from sentences import VOCABULARY, Sentence, encode
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from seqxai.files import written_whole


class NumberPredictor(nn.Module):
    """Embedding, one LSTM, and two scores from its last state: singular, plural."""

    def __init__(self, width: int = 64, hidden: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(VOCABULARY), width, padding_idx=0)
        self.lstm = nn.LSTM(width, hidden, batch_first=True)
        self.output = nn.Linear(hidden, 2)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Scores (B, 2) of ids (B, T) with lengths (B,)."""
        packed = pack_padded_sequence(self.embedding(ids), lengths, batch_first=True, enforce_sorted=False)
        return self.output(self.lstm(packed)[1][0][0])


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Args:
        steps: updates.
        batch: sentences of each.
        rate: Adam's learning rate, which falls to zero along half a cosine.
    """

    steps: int = 400
    batch: int = 64
    rate: float = 5e-3


def train(sentences: list[Sentence], recipe: Recipe, seed: int, path: Path, report: Callable[[int, float], None]) -> NumberPredictor:
    """A trained model; read from the file if one of the same settings is there.

    Args:
        sentences: at least ``steps * batch``; each is used once.
        recipe: see there.
        seed: decides the initial weights.
        path: a safetensors file.
        report: told the step and the loss of the batch.
    """
    torch.manual_seed(seed)
    model = NumberPredictor()
    about = f"{recipe} seed {seed}"
    if (weights := _read(path, about)) is not None:
        model.load_state_dict(weights)
        return model.eval()
    optimiser = torch.optim.Adam(model.parameters(), recipe.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.steps)
    for step in range(recipe.steps):
        ids, lengths, numbers = encode(sentences[step * recipe.batch : (step + 1) * recipe.batch])
        loss = nn.functional.cross_entropy(model(ids, lengths), numbers)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        report(step + 1, loss.item())
    with written_whole(path) as partial:
        save_file(model.state_dict(), partial, {"about": about})
    return model.eval()


def _read(path: Path, about: str) -> dict[str, Tensor] | None:
    from safetensors import safe_open

    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("about") != about:
                return None
        return load_file(path)
    except SafetensorError:  # damaged: train again
        return None
