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
from rl.training.common import Setup
from rl.training.folder import RunFolder
from rl.training.loop import Report, train
from rl.training.pqn import PQN, PQNSettings
from seqxai.errors import InputError

ALGORITHMS = {"pqn": (PQN, PQNSettings)}
"""Name: the algorithm and its numbers.  A new one is a file beside `pqn.py` and a line here."""


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
    algorithm: PQN
    name: str
    threads: int

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        game: str,
        algorithm: str = "pqn",
        network: str = "nature",
        seed: int = 0,
        device: str = "auto",
        threads: int = 2,
        numbers: Any = None,
        *,
        resume: bool = False,
    ) -> Session:
        """Check everything, then open or continue the run.

        Args:
            path: the run's folder.
            game: any spelling of an Atari game.
            algorithm: a key of `ALGORITHMS`.
            network: a key of :data:`rl.network.NETWORKS`.
            seed: decides all chance.
            device: ``"auto"`` takes a GPU where there is one.
            threads: of the network, and of the emulators.
            numbers: the algorithm's settings; its own by default.
            resume: go on with the run that is there.

        Raises:
            InputError: an unknown name, a device that is not there, a folder with another run or with none to resume.
        """
        game = resolve_game(game)
        for what, value, known in (("algorithm", algorithm, ALGORITHMS), ("network", network, NETWORKS)):
            if value not in known:
                raise InputError(f"unknown {what} {shown(value)}: expected one of {', '.join(sorted(known))}")
        place = find_device(device)
        make, defaults = ALGORITHMS[algorithm]
        numbers = defaults() if numbers is None else numbers
        setup = Setup(game, network, seed, place, supports_bfloat16(place), threads, True, Preprocessing())
        folder = _open_folder(path, resume)
        settings = {"algorithm": algorithm, "game": game, "network": network, "seed": seed, **dataclasses.asdict(numbers)}
        if folder.begun:
            folder.check_settings(settings)
        else:
            folder.write_settings(settings)
        made = make(setup, numbers, folder.agent_steps() if folder.resumable else 0)
        if folder.resumable:
            folder.read_state(made)
        return cls(folder, setup, made, algorithm, threads)

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


def _open_folder(path: str | os.PathLike[str], resume: bool) -> RunFolder:
    """The folder, if it is as the user thinks it is."""
    begun = (Path(path) / "settings.json").exists()
    if resume and not begun:
        raise InputError(f"there is no run in {path} to resume; leave out --resume to start one there")
    if begun and not resume:
        raise InputError(f"{path} holds a run already; continue it with --resume, or choose another folder")
    return RunFolder(path)


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
