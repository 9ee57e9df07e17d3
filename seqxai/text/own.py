"""One's own PyTorch text classifier, with its own tokens, as something that can be explained."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqxai.errors import CheckpointError, InputError
from seqxai.text.lines import numbered, place
from seqxai.text.model import Encoded

UNKNOWN = ("<unk>", "[UNK]", "<UNK>", "UNK", "unk")
PARALLEL = "module."  # what nn.DataParallel writes before every name
PADDING = ("<pad>", "[PAD]", "<PAD>", "PAD", "pad")


@dataclass(frozen=True, eq=False)
class WordList:
    """A tokenizer from a list of words: a text is split at white space, each word is looked up.

    Attributes:
        indices: word to index.
        source: where it comes from, for messages.
    """

    indices: dict[str, int]
    source: str = "the vocabulary"

    @property
    def unknown(self) -> int | None:
        """The index of "<unk>" or its like; ``None`` if there is none."""
        return next((self.indices[word] for word in UNKNOWN if word in self.indices), None)

    @property
    def size(self) -> int:
        """How many rows an embedding needs for it."""
        return max(self.indices.values(), default=-1) + 1

    @property
    def padding(self) -> int:
        """The index of "<pad>" or its like, 0 by default."""
        return next((self.indices[word] for word in PADDING if word in self.indices), 0)

    def __call__(self, text: str) -> tuple[list[str], list[int]]:
        """Words and indices.

        Raises:
            InputError: for a word that is not there, if nothing stands for unknown ones.
        """
        words = text.split()
        found = [self.indices.get(word, self.unknown) for word in words]
        for word, index in zip(words, found, strict=True):
            if index is None:
                raise InputError(
                    f"The word {word!r} is not in {self.source}, which has no entry for unknown words; add one, such as {UNKNOWN[0]}."
                )
        return words, [index for index in found if index is not None]

    @classmethod
    def read(cls, path: Path) -> WordList:
        """From a file: one word a line, whose number, counted from 0, is its index; or a JSON object of words and indices.

        Raises:
            InputError: for a file that is neither, with the line.
        """
        if path.suffix.lower() == ".json":
            text = "".join(line for _, line in numbered(path))
            try:
                given = json.loads(text)
            except ValueError as error:
                raise InputError(f"{path.name} is not JSON ({error}); expected an object of words and their indices.") from error
            if not isinstance(given, dict) or not all(type(index) is int and index >= 0 for index in given.values()):
                raise InputError(
                    f"{path.name} should be one JSON object, a whole number from 0 for each word; list the words in a .txt instead."
                )
            return cls(given, path.name)
        found: dict[str, int] = {}
        for line, content in numbered(path):
            word = content.rstrip("\r\n")
            if not word.strip():
                raise InputError(
                    f"{place(path, line)}: the line is empty; expected one word a line, in the order of the embedding's rows."
                )
            if word in found:
                raise InputError(
                    f"{place(path, line)}: the word {word!r} was there before, in line {found[word] + 1}; remove one of them."
                )
            found[word] = len(found)
        if not found:
            raise InputError(f"{path.name} is empty; expected one word a line, in the order of the embedding's rows.")
        return cls(found, path.name)


@dataclass(frozen=True, eq=False)
class OwnModel:
    """A network of one's own, explained like ours.

    Args:
        network: token indices (B, T), int64, to scores before the softmax (B, C); it may take lengths (B,) as a second argument.  Set to
            evaluation mode.  Without lengths only texts of equal length are computed together, so that nothing is padded.
        tokenizer: a text to (words, indices), two lists of equal length; or to indices alone, which then are shown as "#17".
        labels: names of the scores; "output 0" and so on without.
        padding: index that fills a batch of unequal lengths.
        unknown: index of unknown words, marked where they are shown.

    Raises:
        InputError: for what cannot be called, and for two labels of one name.
    """

    network: Any
    tokenizer: Any
    labels: tuple[str, ...] = ()
    padding: int | None = None
    unknown: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.network, nn.Module):
            raise InputError(f"Expected a torch.nn.Module that maps token indices to scores, got {type(self.network).__name__}.")
        if not callable(self.tokenizer):
            raise InputError(f"Expected a function from a text to (words, indices), got {type(self.tokenizer).__name__}.")
        twice = sorted({label for label in self.labels if self.labels.count(label) > 1})
        if twice:
            raise InputError(f"Expected a label of its own for each score, got {twice[0]!r} more than once; rename all but one.")
        self.network.eval()

    @property
    def takes_lengths(self) -> bool:
        """Whether ``forward`` has a second argument that must be given, or is called lengths."""
        given = [
            p
            for p in inspect.signature(self.network.forward).parameters.values()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        return len(given) > 1 and (given[1].default is inspect.Parameter.empty or "len" in given[1].name)

    def tokenise(self, text: str) -> Tokenised:
        """The words of a text, which carry their indices."""
        found = self.tokenizer(text)
        words, indices = found if isinstance(found, tuple) and len(found) == 2 else (None, found)
        indices = indices.flatten().tolist() if isinstance(indices, Tensor) else list(indices)
        if not all(type(index) is int or hasattr(index, "__index__") for index in indices):
            raise InputError(
                f"Expected (words, indices) from the tokenizer, or whole numbers, got {found!r:.80} for {text!r:.40}."
            )
        names = [f"#{int(index)}" for index in indices] if words is None else [str(word) for word in words]
        if len(names) != len(indices):
            raise InputError(
                f"Expected as many words as indices from the tokenizer, got {len(names)} and {len(indices)} for {text!r:.40}."
            )
        return Tokenised(names, [int(index) for index in indices])

    def encode(self, texts: Sequence[str | Sequence[str]]) -> Encoded:
        """Texts, or what :meth:`tokenise` made of them, as the network reads them.

        Raises:
            InputError: for words without indices, which this tokenizer cannot look up.
        """
        rows = [self.tokenise(text) if isinstance(text, str) else text for text in texts]
        if not all(isinstance(row, Tokenised) for row in rows):
            raise InputError("Words alone cannot be looked up by a tokenizer of one's own; give the text as one string.")
        indices = [torch.tensor(row.indices, dtype=torch.long) for row in rows if isinstance(row, Tokenised)]
        padding = self.padding if self.padding is not None else getattr(self.tokenizer, "padding", 0)
        tokens = torch.nn.utils.rnn.pad_sequence(indices, batch_first=True, padding_value=padding)
        return Encoded(tokens, torch.tensor([len(row) for row in indices]), [list(row) for row in rows])

    @property
    def unknown_index(self) -> int | None:
        """The index that stands for unknown words, if it is known."""
        return self.unknown if self.unknown is not None else getattr(self.tokenizer, "unknown", None)


class Tokenised(list[str]):
    """Words with their indices."""

    def __init__(self, words: Sequence[str], indices: Sequence[int]) -> None:
        super().__init__(words)
        self.indices = list(indices)


# ---- from the command line ---------------------------------------------------------------------------------------------------------


def is_reference(text: str) -> bool:
    """Whether a text looks like ``package.module:name`` rather than a file."""
    module, colon, name = text.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), *name.split("."))) and not Path(text).exists()


def load_reference(text: str, option: str) -> Any:
    """What ``package.module:name`` names; modules in the current directory are found, too.

    Raises:
        InputError: if it cannot be imported or has no such name.
    """
    module_name, _, name = text.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # whatever somebody's module does when it is imported
        raise InputError(
            f"{option} {text}: cannot import {module_name} ({type(error).__name__}: {error}); run from its directory."
        ) from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise InputError(f"{option} {text}: {module_name} has no {name}; check the name behind the colon.")
        found = getattr(found, part)
    return found


def load_own(model: str, weights: Path | None, tokenizer: str, labels: Sequence[str]) -> OwnModel:
    """A network and its tokenizer by name.

    Args:
        model: ``package.module:factory``; called without arguments it returns the network, an ``nn.Module``.
        weights: its state: .safetensors, or what ``torch.save(network.state_dict(), path)`` wrote, read without running code.
        tokenizer: ``package.module:function``, see :class:`OwnModel`, or a file for :meth:`WordList.read`.
        labels: names of the scores.

    Raises:
        InputError: for whatever of it cannot be used.
    """
    factory = load_reference(model, "--model")
    if not callable(factory):
        raise InputError(
            f"--model {model} names a {type(factory).__name__}; expected a function without arguments that returns the network."
        )
    try:
        network = factory()
    except Exception as error:  # somebody's code
        raise InputError(f"--model {model}: calling it without arguments failed ({type(error).__name__}: {error}).") from error
    if not isinstance(network, nn.Module):
        raise InputError(
            f"--model {model} returned a {type(network).__name__}; expected a torch.nn.Module that maps token indices to scores."
        )
    if weights is not None:
        load_weights(network, weights)
    reader = load_reference(tokenizer, "--tokenizer") if is_reference(tokenizer) else WordList.read(Path(tokenizer))
    _check_rows(network, reader)
    return OwnModel(network.requires_grad_(False), reader, tuple(labels))


def _rows(network: nn.Module) -> int | None:
    """The rows of the network's embedding; ``None`` without one, and for several, of which any may be that of the words."""
    found = [module.num_embeddings for module in network.modules() if isinstance(module, nn.Embedding)]
    return found[0] if len(found) == 1 else None


def _check_rows(network: nn.Module, reader: Any) -> None:
    rows = _rows(network)
    if isinstance(reader, WordList) and rows is not None and reader.size > rows:
        raise InputError(
            f"{reader.source} has {reader.size} words and the network's embedding {rows} rows, one for each word; give the list "
            "of words that the network was trained with."
        )


def rows_unused(model: OwnModel) -> list[str]:
    """A sentence if the list of words is shorter than the embedding, which often is the list of another network."""
    rows, reader = _rows(model.network), model.tokenizer
    if not isinstance(reader, WordList) or rows is None or reader.size >= rows:
        return []
    return [f"{reader.source} has {reader.size} words and the network's embedding {rows} rows: is it the list of this network?"]


def beyond_embedding(model: OwnModel, tokens: Tensor) -> str:
    """A sentence for indices that no embedding of the network has, "" if there are none."""
    found = [(module.num_embeddings, name) for name, module in model.network.named_modules() if isinstance(module, nn.Embedding)]
    rows, name = max(found, default=(0, ""))
    low, high = int(tokens.min()), int(tokens.max())
    if not found or 0 <= low <= high < rows:
        return ""
    reader = getattr(model.tokenizer, "source", None) or getattr(model.tokenizer, "__name__", type(model.tokenizer).__name__)
    return (
        f"the tokenizer {reader} gives the index {high if high >= rows else low}, and the network's embedding {name!r} has {rows} "
        f"rows, 0 to {rows - 1}; give the tokenizer that the network was trained with"
    )


def weights_alone(path: Path) -> bool:
    """Whether a file is a state of weights as PyTorch or safetensors write it, not a model of ``text train``."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError:  # said by whoever reads the model
        return False
    if start[8:9] == b"{" and path.suffix.lower() == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as opened:
                return "format_version" not in (opened.metadata() or {})
        except SafetensorError:
            return False
    return start[:4] == b"PK\x03\x04" or start[:1] == b"\x80"


def load_weights(network: nn.Module, path: Path) -> None:
    """Fill a network from a file; nothing in it is executed.

    Raises:
        CheckpointError: for a file that is missing, unsafe, damaged, or of another network.
    """
    if not path.is_file():
        raise CheckpointError(f"no file of weights at {str(path)!r}; check the path")
    state = _state(path)
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise CheckpointError(
            f"{path.name} holds a {type(state).__name__}; expected the network's state_dict, a tensor for each name"
        )
    expected = network.state_dict()
    wrapped = state and all(str(name).startswith(PARALLEL) for name in state)
    if wrapped and not any(name.startswith(PARALLEL) for name in expected):
        state = {name.removeprefix(PARALLEL): tensor for name, tensor in state.items()}
    try:
        network.load_state_dict(state)
    except Exception as error:  # a network's own hooks may fail in their own ways
        reason = _misfit(state, expected) or f"loading it fails with {type(error).__name__}"
        raise CheckpointError(
            f"{path.name} does not fit the network: {reason}; give the weights of this network, or the factory that made them"
        ) from error


def _misfit(state: dict[str, Tensor], expected: dict[str, Any]) -> str:
    """What is wrong with a state, in words: shapes first, for with them the network is the right one but for its size."""
    shapes = [
        f"{name} has shape {tuple(state[name].shape)} in the file and {tuple(tensor.shape)} in the network"
        for name, tensor in expected.items()
        if name in state and state[name].shape != getattr(tensor, "shape", None)
    ]
    missing, extra = [name for name in expected if name not in state], [name for name in state if name not in expected]
    parts = shapes[:2] + ([f"and {len(shapes) - 2} more shapes differ"] if len(shapes) > 2 else [])
    parts += [f"the file lacks {_some(missing)}"] if missing else []
    return ", ".join(parts + ([f"the network lacks {_some(extra)}"] if extra else []))


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(str, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _state(path: Path) -> Any:
    safe = path.suffix.lower() == ".safetensors"
    try:
        if safe:
            from safetensors.torch import load_file

            return load_file(str(path))
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickles, zip files and safetensors each fail in their own ways
        if not safe and "Unsupported global" in str(error):
            what = "holds a whole model or other objects"
        else:
            what = "is damaged, or no file of weights"
        raise CheckpointError(
            f"{path.name} cannot be read as weights without running its code: it {what}; save the network's state_dict "
            "with torch.save(network.state_dict(), path)"
        ) from error
