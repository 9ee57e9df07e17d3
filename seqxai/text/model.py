"""A trained text classifier, in memory and on disk."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from safetensors.torch import save_file

from seqxai.errors import InputError
from seqxai.files import written_whole
from seqxai.text.classifier import Settings, TextClassifier
from seqxai.text.tokens import normalise, tokenise
from seqxai.text.vocabulary import Vocabulary

FORMAT = "seqxai-text-model"
FORMAT_VERSION = "1"
SUFFIX = ".safetensors"
SHIPPED = Path(__file__).parent / "models" / "sentiment.safetensors"


@dataclass(frozen=True, eq=False)
class Encoded:
    """Sentences as a network reads them.

    Attributes:
        tokens: word indices, padded with 0.
        lengths: words of each sentence.
        words: the words themselves, unknown ones included, as the text had them but for the model's lower-casing.
    """

    tokens: Int64[torch.Tensor, "batch steps"]
    lengths: Int64[torch.Tensor, " batch"]
    words: list[list[str]]


@dataclass(frozen=True, eq=False)
class TextModel:
    """A trained classifier with everything one must know to use it.

    Attributes:
        network: in float32, in evaluation mode, without gradients.
        vocabulary: its words.
        labels: names of the classes, in the order of the network's outputs.
        settings: sizes, cell, lower-casing.
        report: how it was trained and how well it did, as JSON can hold it; empty if unknown.
    """

    network: TextClassifier
    vocabulary: Vocabulary
    labels: tuple[str, ...]
    settings: Settings
    report: dict[str, object] = dataclasses.field(default_factory=dict)

    def tokenise(self, text: str) -> list[str]:
        """The words of a text as this model wants them (:func:`seqxai.text.tokens.tokenise`)."""
        return tokenise(text, lowercase=self.settings.lowercase)

    def encode(self, texts: Sequence[str | Sequence[str]]) -> Encoded:
        """Texts as the network reads them.

        Args:
            texts: each a string, or its words in a list or tuple when they are separated already.

        Raises:
            InputError: no text at all, a text without words, or one string in place of a list.
        """
        if isinstance(texts, str):
            raise InputError("encode takes a list of texts, got one string; write [text]")
        words = [
            self.tokenise(text) if isinstance(text, str) else normalise(text, lowercase=self.settings.lowercase) for text in texts
        ]
        if not words:
            raise InputError("encode takes at least one text, got none")
        for number, found in enumerate(words):
            if not found:
                raise InputError(f"text {number} (counted from 0) has no words, got {texts[number]!r}; leave it out")
        indices = [torch.tensor(self.vocabulary.indices(found)) for found in words]
        tokens = torch.nn.utils.rnn.pad_sequence(indices, batch_first=True, padding_value=self.vocabulary.padding)
        return Encoded(tokens, torch.tensor([len(found) for found in words]), words)

    @torch.no_grad()
    def predict(self, texts: Sequence[str | Sequence[str]], *, batch: int = 256) -> Float[torch.Tensor, "texts classes"]:
        """Probability of each class, texts of like length computed together.

        Args:
            texts: as for :meth:`encode`.
            batch: sentences at a time.
        """
        encoded = self.encode(texts)
        order = torch.argsort(encoded.lengths, stable=True)
        probabilities = torch.empty(len(encoded.words), len(self.labels))
        for part in order.split(batch):
            lengths = encoded.lengths[part]
            probabilities[part] = self.network(encoded.tokens[part, : int(lengths.max())], lengths).softmax(dim=-1)
        return probabilities

    def save(self, path: str | os.PathLike[str], *, half: bool = True) -> None:
        """Write the model to one file, which :func:`load` reads.

        Args:
            path: a name ending in ``.safetensors``.
            half: store the weights in half precision, at half the size.

        Raises:
            InputError: the path cannot be written.
        """
        dtype = torch.float16 if half else torch.float32
        tensors = {name: tensor.to(dtype).contiguous() for name, tensor in self.network.state_dict().items()}
        metadata = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "settings": json.dumps(dataclasses.asdict(self.settings)),
            "labels": json.dumps(self.labels, ensure_ascii=False),
            "vocabulary": json.dumps(self.vocabulary.words, ensure_ascii=False),
            "report": json.dumps(self.report, ensure_ascii=False),
        }
        with written_whole(path, (SUFFIX,)) as partial:
            save_file(tensors, partial, metadata=metadata)

    @cached_property
    def positions(self) -> dict[str, int]:
        """Label to output."""
        return {label: position for position, label in enumerate(self.labels)}


def load(path: str | os.PathLike[str] | None = None) -> TextModel:
    """Read a model from a file; nothing in the file is executed.

    Args:
        path: a file :meth:`TextModel.save` wrote; None for the shipped sentiment model.

    Raises:
        CheckpointError: the file is missing, damaged, of another kind, or disagrees with itself.
    """
    from safetensors import safe_open

    with safe_open(path or SHIPPED, framework="pt") as file:
        metadata = dict(file.metadata())
        tensors = {name: file.get_tensor(name).to(torch.float32) for name in file.keys()}  # noqa: SIM118
    settings = Settings(**json.loads(metadata["settings"]))
    vocabulary = Vocabulary(tuple(json.loads(metadata["vocabulary"])))
    labels = tuple(json.loads(metadata["labels"]))
    network = TextClassifier(settings, len(vocabulary), len(labels))
    network.load_state_dict(tensors)
    return TextModel(network.eval().requires_grad_(False), vocabulary, labels, settings, json.loads(metadata["report"]))
