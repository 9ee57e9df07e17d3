"""A trained text classifier, in memory and on disk."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64

from seqxai.errors import CheckpointError, InputError
from seqxai.text import storage
from seqxai.text.classifier import Settings, TextClassifier
from seqxai.text.tokens import normalise, tokenise
from seqxai.text.vocabulary import Vocabulary

FORMAT = "seqxai-text-model"
LAYERS_MAX = 100
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
        probabilities = self.network.output.weight.new_empty(len(encoded.words), len(self.labels))
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
        storage.write(path, FORMAT, {name: tensor.to(dtype) for name, tensor in self.network.state_dict().items()}, self._facts())

    def _facts(self) -> dict[str, Any]:
        """What the file says beside the weights."""
        return {
            "settings": dataclasses.asdict(self.settings),
            "labels": self.labels,
            "vocabulary": self.vocabulary.words,
            "report": self.report,
        }

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
    path = SHIPPED if path is None else path
    tensors, facts = storage.read(path, FORMAT, ("settings", "labels", "vocabulary", "report"))
    settings, vocabulary, labels = _settings(path, facts["settings"]), _vocabulary(path, facts["vocabulary"]), facts["labels"]
    if not _texts(labels) or len(labels) < 2 or len(set(labels)) != len(labels):
        raise CheckpointError(f"{path}: the labels should be at least two different texts, got {str(labels)[:60]}; train it again")
    if not isinstance(facts["report"], dict):
        raise CheckpointError(f"{path}: the report should be an object, got {str(facts['report'])[:60]}; train it again")
    _check_sizes(path, settings, len(vocabulary), tensors)
    with torch.random.fork_rng(devices=[]):  # on the device "meta" the layers would import half of torch's compiler: 3 s
        network = TextClassifier(settings, len(vocabulary), len(labels))
    storage.check_tensors(path, tensors, network.state_dict())
    network.load_state_dict({name: tensor.to(torch.float32) for name, tensor in tensors.items()}, assign=True)
    return TextModel(network.eval().requires_grad_(False), vocabulary, tuple(labels), settings, facts["report"])


def _check_sizes(path: str | os.PathLike[str], settings: Settings, words: int, tensors: dict[str, torch.Tensor]) -> None:
    """Refuse sizes that the file's own tensors contradict, before memory is taken for them."""
    hidden = settings.hidden_size
    expected = {
        "embedding.weight": (words, settings.embedding_size),
        "recurrent.weight_hh_l0": ({"lstm": 4, "gru": 3}[settings.cell] * hidden, hidden),
    }
    for name, shape in expected.items():
        found = tuple(tensors[name].shape) if name in tensors else "none"
        if found != shape:
            raise CheckpointError(f"{path}: the tensor {name!r} should have shape {shape}, got {found}; train it again")
    if settings.layers > LAYERS_MAX:
        raise CheckpointError(f"{path}: the settings ask for {settings.layers} layers; copy or download the file again")


def _settings(path: str | os.PathLike[str], stored: Any) -> Settings:
    """The settings of a file; every field must be there, since a default would be a guess."""
    fields = dataclasses.fields(Settings)
    if not isinstance(stored, dict) or set(stored) != {field.name for field in fields}:
        raise CheckpointError(f"{path}: the settings should have exactly the fields {', '.join(f.name for f in fields)}; train it again")
    for field in fields:
        if type(stored[field.name]) is not type(field.default):
            kind, value = type(field.default).__name__, stored[field.name]
            raise CheckpointError(f"{path}: the setting {field.name} should be a {kind}, got {str(value)[:60]!r}; train it again")
    try:
        return Settings(**stored)
    except InputError as error:
        raise CheckpointError(f"{path}: {error}; train it again") from error


def _vocabulary(path: str | os.PathLike[str], stored: Any) -> Vocabulary:
    if not _texts(stored):
        raise CheckpointError(f"{path}: the vocabulary should be a list of words, got {str(stored)[:60]}; train it again")
    try:
        return Vocabulary(tuple(stored))
    except InputError as error:
        raise CheckpointError(f"{path}: {error}; train it again") from error


def _texts(stored: Any) -> bool:
    return isinstance(stored, list) and all(isinstance(text, str) for text in stored)
