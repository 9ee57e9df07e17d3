"""The curves of a training as TensorBoard shows them: ``tensorboard --logdir RUN``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqxai.errors import DependencyError, InputError

FOLDER = "tensorboard"


class Board:
    """Writes numbers by agent steps; what a run that goes on does anew replaces what was lost.

    Args:
        run: the run's folder.
        agent_steps: where the run goes on; curves beyond are dropped.

    Raises:
        DependencyError: TensorBoard is not installed.
    """

    def __init__(self, run: Path, agent_steps: int = 0) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise DependencyError(
                f"the curves of a training need TensorBoard, which cannot be imported ({error}); install it with: pip install 'seqxai[rl]'"
            ) from error
        self._path = run / FOLDER
        try:
            self._writer: Any = SummaryWriter(str(self._path), purge_step=agent_steps or None)
        except OSError as error:
            raise InputError(f"cannot write {self._path}: {error.strerror or error}; make room there, or choose another place") from error

    def add(self, agent_steps: int, values: Mapping[str, float | None]) -> None:
        """Some numbers at a step; what is not known (None, NaN) is left out."""
        for name, value in values.items():
            if value is not None and not math.isnan(value):
                self._writer.add_scalar(name, value, agent_steps)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()
