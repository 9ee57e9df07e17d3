"""One sitting at a training: settings checked, folder opened, algorithm made or brought back, loop run."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rl.checks import shown
from rl.games import resolve_game
from rl.network import NETWORKS
from rl.preprocessing import Preprocessing
from rl.training.common import Algorithm, Setup
from rl.training.dqn import DQN, DQNSettings
from rl.training.folder import SETTINGS, RunFolder
from rl.training.loop import Report, train
from rl.training.pqn import PQN, PQNSettings
from seqxai.errors import InputError

ALGORITHMS: dict[str, tuple[Any, Any]] = {"pqn": (PQN, PQNSettings), "dqn": (DQN, DQNSettings)}
"""Name: the algorithm and its numbers.  A new one is a file beside `pqn.py` and a line here."""

DEFAULTS = {"game": "breakout", "algorithm": "pqn", "network": "nature", "seed": 0}


@dataclass(frozen=True)
class Session:
    """A training ready to run.

    Attributes:
        folder: the run on disk.
        setup: what all algorithms share.
        algorithm: with a saved state in it, where the run goes on.
        name: of the algorithm.
        threads: of the network.
    """

    folder: RunFolder
    setup: Setup
    algorithm: Algorithm
    name: str
    threads: int

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        game: str | None = None,
        algorithm: str | None = None,
        network: str | None = None,
        seed: int | None = None,
        device: str = "auto",
        threads: int = 2,
        numbers: Any = None,
        memory: int | None = None,
        *,
        resume: bool = False,
    ) -> Session:
        """Check everything, then open or continue the run.

        What is None is as in the run that goes on, or as in `DEFAULTS`.

        Args:
            path: the run's folder.
            game: any spelling of an Atari game.
            algorithm: a key of `ALGORITHMS`.
            network: a key of :data:`rl.network.NETWORKS`.
            seed: decides all chance.
            device: ``"auto"`` takes a GPU where there is one.
            threads: of the network, and of the emulators.
            numbers: the algorithm's settings.
            memory: decisions its replay memory holds, instead of what the settings say.
            resume: go on with the run that is there.

        Raises:
            InputError: an unknown name, a device that is not there, too little room for the memory, a folder with another run or
                with none to resume.
        """
        place = find_device(device)
        _check_folder(path, resume)
        folder = RunFolder(path)
        kept = folder.read_settings() if resume else {}
        given = {"game": game, "algorithm": algorithm, "network": network, "seed": seed}
        wanted: dict[str, Any] = {name: kept.get(name, DEFAULTS[name]) if value is None else value for name, value in given.items()}
        wanted["game"] = resolve_game(wanted["game"])
        for what, known in (("algorithm", ALGORITHMS), ("network", NETWORKS)):
            if wanted[what] not in known:
                raise InputError(f"unknown {what} {shown(wanted[what])}: expected one of {', '.join(sorted(known))}")
        make, defaults = ALGORITHMS[wanted["algorithm"]]
        if numbers is None:
            numbers = defaults(**{f.name: kept[f.name] for f in dataclasses.fields(defaults) if f.name in kept})
        numbers = _with_memory(wanted["algorithm"], numbers, memory)
        settings = wanted | dataclasses.asdict(numbers)
        if resume:
            folder.check_settings(settings)
        setup = Setup(
            wanted["game"], wanted["network"], wanted["seed"], place, supports_bfloat16(place), threads, True, Preprocessing()
        )
        made = make(setup, numbers, folder.path, folder.agent_steps() if folder.resumable else 0)
        if folder.resumable:
            folder.read_state(made)
        folder.write_settings(settings)
        return cls(folder, setup, made, wanted["algorithm"], threads)

    @property
    def game(self) -> str:
        """The emulator's spelling."""
        return self.setup.game

    @property
    def agent_steps(self) -> int:
        """Learnt so far."""
        return self.algorithm.agent_steps

    def run(
        self, agent_steps: int | None = None, seconds: float | None = None, report: Callable[[Report], None] | None = None, games: int = 10
    ) -> Report | None:
        """Train; see :func:`rl.training.loop.train`."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            return train(self.folder, self.setup, self.algorithm, self.name, agent_steps, seconds, games, report)
        finally:
            torch.set_num_threads(before)
            self.algorithm.close()


def _with_memory(algorithm: str, numbers: Any, memory: int | None) -> Any:
    """The settings with another size of the replay memory.

    Raises:
        InputError: the algorithm has none.
    """
    if memory is None:
        return numbers
    if not hasattr(numbers, "memory"):
        raise InputError(f"{algorithm} has no replay memory; leave --memory out, or choose --algorithm dqn")
    return dataclasses.replace(numbers, memory=memory)


def _check_folder(path: str | os.PathLike[str], resume: bool) -> None:
    """Refuse a folder that is not as the user thinks it is."""
    begun = (Path(path) / SETTINGS).exists()
    if resume and not begun:
        raise InputError(f"there is no run in {path} to resume; leave out --resume to start one there")
    if begun and not resume:
        raise InputError(f"{path} holds a run already; continue it with --resume, or choose another folder")


def find_device(name: str) -> torch.device:
    """The device of that name, if it is there.

    Raises:
        InputError: not a device's name, or a device this machine or this PyTorch does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"unknown device {shown(name)}: expected auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"the device {shown(name)} is not supported: expected auto, cpu, cuda or cuda:N")
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        raise InputError(f"the device {name} is not there: PyTorch sees {count} CUDA device(s); choose cpu or auto")
    return device


def supports_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 there: on GPUs, and on CPUs with instructions of their own for it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
