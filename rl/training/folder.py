"""The folder of a training: its settings, its checkpoints, its log, and the state from which it goes on.

    settings.json                      what the training was started with; it goes on with the same
    checkpoints/<game>_<step>.safetensors   the agent at some steps, for playing and explaining
    state.safetensors                  everything needed to go on: weights, optimiser, counters; replaced every interval
    memory/                            the replay memory, where the algorithm has one
    log.jsonl                          a line per report
    tensorboard/                       the same as curves

Every file but the log is written under another name and renamed, so a training that is killed at any moment leaves its
last complete state.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from rl.checkpoints import Agent, save_agent
from rl.checks import shown
from rl.training.common import Algorithm
from seqxai.errors import CheckpointError, InputError
from seqxai.files import written_whole

FORMAT, FORMAT_VERSION = "seqxai-training", "1"
SETTINGS, STATE, CHECKPOINTS, LOG = "settings.json", "state.safetensors", "checkpoints", "log.jsonl"


class RunFolder:
    """One training on disk.

    Args:
        path: the folder; made where it is missing.

    Raises:
        InputError: it cannot be made or written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the folder {self.path}: {error.strerror or error}; choose another place") from error

    @property
    def checkpoints(self) -> Path:
        """Where the agents are."""
        return self.path / CHECKPOINTS

    @property
    def begun(self) -> bool:
        """Whether a training was started here."""
        return (self.path / SETTINGS).exists()

    @property
    def resumable(self) -> bool:
        """Whether there is a state to go on from."""
        return (self.path / STATE).exists()

    def write_settings(self, settings: dict[str, Any]) -> None:
        """Keep what the training was started with."""
        with written_whole(self.path / SETTINGS, (".json",)) as partial:
            partial.write_text(json.dumps(settings, indent=2) + "\n")

    def read_settings(self) -> dict[str, Any]:
        """What the training was started with.

        Raises:
            InputError: the file is damaged.
        """
        path = self.path / SETTINGS
        try:
            kept = json.loads(path.read_text())
            if not isinstance(kept, dict):
                raise ValueError("no settings in it")
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read ({error}); start a new run in another folder") from error
        return kept

    def check_settings(self, settings: dict[str, Any]) -> None:
        """Refuse to go on with other settings than the run began with.

        Raises:
            InputError: names the first difference, or the file cannot be read.
        """
        kept = self.read_settings()
        for name in sorted(set(kept) | set(settings)):
            if kept.get(name) != settings.get(name):
                raise InputError(
                    f"the run in {self.path} has {name}={shown(kept.get(name))}, asked for was {shown(settings.get(name))}; "
                    "resume it with its own settings, or start a new run in another folder"
                )

    def write_checkpoint(self, agent: Agent) -> Path:
        """Keep an agent in half precision."""
        path = self.checkpoints / f"{agent.game}_{agent.agent_steps:010d}.safetensors"
        save_agent(agent, path, half=True)
        return path

    def write_state(self, algorithm: Algorithm) -> None:
        """Replace the state from which the run goes on."""
        algorithm.flush()
        tensors = {
            f"{which}.{name}": tensor for which, network in algorithm.networks.items() for name, tensor in network.state_dict().items()
        }
        for place, entries in algorithm.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{place}.{name}": entry for name, entry in entries.items()}
        metadata = {"format": FORMAT, "format_version": FORMAT_VERSION, "agent_steps": str(algorithm.agent_steps)}
        with written_whole(self.path / STATE, (".safetensors",)) as partial:
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, partial, metadata=metadata)

    def agent_steps(self) -> int:
        """How far the saved state is.

        Raises:
            CheckpointError: the state is damaged or not ours.
        """
        return int(self._read_state()[0]["agent_steps"])

    def read_state(self, algorithm: Algorithm) -> None:
        """Put the saved weights and the optimiser's memory into an algorithm.

        Raises:
            CheckpointError: the state is damaged, or of another network.
        """
        _, tensors = self._read_state()
        memory: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, place, entry = name.split(".", 2)
                memory.setdefault(int(place), {})[entry] = tensor
        groups = algorithm.optimizer.state_dict()["param_groups"]
        try:
            for which, network in algorithm.networks.items():
                own = {name.removeprefix(f"{which}."): tensor for name, tensor in tensors.items() if name.startswith(f"{which}.")}
                network.load_state_dict(own)
            algorithm.optimizer.load_state_dict({"state": memory, "param_groups": groups})
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(f"{self.path / STATE} does not fit this network ({' '.join(str(error).split())[:200]})") from error

    def _read_state(self) -> tuple[dict[str, str], dict[str, Tensor]]:
        """Metadata and tensors of the saved state."""
        path = self.path / STATE
        try:
            with safe_open(path, framework="pt") as file:
                metadata = dict(file.metadata() or {})
                tensors = {name: file.get_tensor(name) for name in file.keys()}
        except Exception as error:  # bytes at random: safetensors and torch each fail in ways of their own
            raise CheckpointError(f"{path} is damaged ({' '.join(str(error).split())[:200]}); start a new run") from error
        if (metadata.get("format"), metadata.get("format_version")) != (FORMAT, FORMAT_VERSION):
            raise CheckpointError(f"{path} is not the state of a training of this seqxai; start a new run")
        return metadata, tensors

    def log(self, entry: dict[str, Any]) -> None:
        """Add a line to the log.

        Raises:
            InputError: the disk is full; the log ends with the last whole line.
        """
        path = self.path / LOG
        size = path.stat().st_size if path.exists() else 0
        try:
            with path.open("a") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            with suppress(OSError):
                os.truncate(path, size)
            raise InputError(
                f"cannot write {path}: {error.strerror or error}; make room there and go on with --resume from the last saved state"
            ) from error


def half_precision(network: torch.nn.Module) -> dict[str, Tensor]:
    """The weights as a checkpoint holds them: what is scored is what is saved."""
    return {name: tensor.detach().cpu().half().float() for name, tensor in network.state_dict().items()}
