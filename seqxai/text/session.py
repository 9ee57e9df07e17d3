"""A training one can leave and come back to: after each epoch the whole state lies beside the model, until it is done.

``MODEL.safetensors`` is the best epoch so far, complete at any moment; ``MODEL.unfinished.safetensors`` is what
``--resume`` needs, and is removed at the end.  Both are replaced whole, so that a kill leaves the last complete epoch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from seqxai.errors import CheckpointError, InputError
from seqxai.files import check_writable
from seqxai.text import storage
from seqxai.text.classifier import Settings, TextClassifier
from seqxai.text.corpus import Corpus, Labelled
from seqxai.text.model import TextModel
from seqxai.text.training import Epoch, State, TrainingSettings, begin, epochs
from seqxai.text.vocabulary import Vocabulary

FORMAT = "seqxai-text-training"
FREE = ("epochs", "patience")
"""What may change between two sessions of one training."""


@dataclass(frozen=True, eq=False)
class Session:
    """One training: its data, its settings, its files.

    Attributes:
        out: where the model goes.
        settings: of the network.
        training: how it learns.
        vocabulary: words of the training sentences.
        labels: the classes.
        texts: to learn from.
        validation: to choose the best epoch by.
        half: write the weights in half precision.
    """

    out: Path
    settings: Settings
    training: TrainingSettings
    vocabulary: Vocabulary
    labels: tuple[str, ...]
    texts: Corpus
    validation: Corpus
    half: bool = True

    @classmethod
    def prepare(
        cls,
        out: Path,
        settings: Settings,
        training: TrainingSettings,
        texts: Sequence[Labelled],
        validation: Sequence[Labelled],
        labels: tuple[str, ...],
        *,
        vocabulary_size: int | None = None,
        occurrences: int = 1,
        half: bool = True,
    ) -> Session:
        """Collect the vocabulary from the whole sentences and turn the texts into numbers.

        Raises:
            InputError: the place of the model cannot be written.
        """
        check_writable(out, (storage.SUFFIX,))
        sentences = [example.words for example in texts if example.whole]
        vocabulary = Vocabulary.build(sentences, size=vocabulary_size, occurrences=occurrences)
        built = [Corpus.build(part, vocabulary, labels) for part in (texts, validation)]
        return cls(out, settings, training, vocabulary, labels, built[0], built[1], half)

    @property
    def unfinished(self) -> Path:
        """Where the state lies while the training is not done."""
        return self.out.with_name(f"{self.out.stem}.unfinished{storage.SUFFIX}")

    def open(self, *, resume: bool) -> State:
        """Begin, or go on where an earlier session stopped.

        Raises:
            InputError: nothing to resume, or something that would be lost, or another training.
        """
        if resume:
            return self._restored()
        if self.unfinished.exists():
            raise InputError(
                f"{self.unfinished.name} is there: a training of {self.out.name} was interrupted; go on with --resume, "
                "or delete that file to begin anew"
            )
        return begin(self.settings, self.training, len(self.vocabulary), len(self.labels))

    def run(self, state: State, progress: Callable[[int, float], None] = lambda texts, loss: None) -> Iterator[Epoch]:
        """Learn to the end; every epoch is on disk before it is told.

        Args:
            state: from :meth:`open`.
            progress: as for :func:`seqxai.text.training.epochs`.
        """
        for epoch in epochs(state, self.training, self.texts, self.validation, progress):
            if state.best_epoch is epoch:
                self.model(state).save(self.out, half=self.half)
            self._save(state)
            yield epoch

    def finish(self, model: TextModel) -> None:
        """Write the finished model, and remove the state that is needed no more."""
        model.save(self.out, half=self.half)
        self.unfinished.unlink(missing_ok=True)

    def model(self, state: State, report: dict[str, Any] | None = None) -> TextModel:
        """The best epoch so far, its weights rounded as the file will hold them."""
        network = TextClassifier(self.settings, len(self.vocabulary), len(self.labels))
        dtype = torch.float16 if self.half else torch.float32
        network.load_state_dict({name: tensor.to(dtype).to(torch.float32) for name, tensor in state.best.items()})
        facts = report or {"history": [dataclasses.asdict(epoch) for epoch in state.history]}
        return TextModel(network.eval().requires_grad_(False), self.vocabulary, self.labels, self.settings, facts)

    def _plan(self) -> dict[str, Any]:
        """Everything that must be the same when a training goes on."""
        training = {name: value for name, value in dataclasses.asdict(self.training).items() if name not in FREE}
        data = {"texts": self.texts.fingerprint(), "validation": self.validation.fingerprint(), "labels": list(self.labels)}
        return {**dataclasses.asdict(self.settings), **training, "words": len(self.vocabulary), **data}

    def _save(self, state: State) -> None:
        tensors = {f"network.{name}": tensor for name, tensor in state.network.state_dict().items()}
        tensors |= {f"average.{name}": tensor for name, tensor in state.average.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in state.best.items()}
        for number, moments in state.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{name}": tensor for name, tensor in moments.items()}
        facts = {"plan": self._plan(), "history": [dataclasses.asdict(epoch) for epoch in state.history]}
        storage.write(self.unfinished, FORMAT, tensors, facts)

    def _restored(self) -> State:
        if not self.unfinished.exists():
            raise InputError(f"there is nothing to resume: no {self.unfinished.name} beside {self.out.name}; leave --resume out")
        tensors, facts = storage.read(self.unfinished, FORMAT, ("plan", "history"))
        for name, value in self._plan().items():
            if facts["plan"].get(name) != value:
                raise InputError(
                    f"{self.unfinished.name} belongs to another training: its {name} is {facts['plan'].get(name)!r}, now it would "
                    f"be {value!r}; repeat the options and files of the first call"
                )
        state = begin(self.settings, self.training, len(self.vocabulary), len(self.labels))
        try:
            state.network.load_state_dict(_under("network.", tensors))
            state.average.load_state_dict(_under("average.", tensors))
            state.best = _under("best.", tensors)
            moments: dict[int, dict[str, torch.Tensor]] = {}
            for name, tensor in _under("optimiser.", tensors).items():
                moments.setdefault(int(name.split(".")[0]), {})[name.split(".")[1]] = tensor
            state.optimiser.load_state_dict({"state": moments, "param_groups": state.optimiser.state_dict()["param_groups"]})
            state.history = [Epoch(**epoch) for epoch in facts["history"]]
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(f"{self.unfinished} is damaged ({reason}); delete it and begin anew") from error
        return state


def _under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
