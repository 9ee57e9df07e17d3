"""Raw relevance to an ``.npz`` file, part by part: as large as the film is long, with no more than a part in memory."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.lib import format as npy

from rl.caption import versions
from rl.explaining import Decisions, ExplainedPart
from seqxai.errors import InputError
from seqxai.files import written_whole

SUFFIX = ".npz"
FORMAT, FORMAT_VERSION = "seqxai-relevance", 1


class RelevanceFile:
    """An open file; made by :func:`open_relevance`."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._kept: dict[str, list[np.ndarray]] = {}

    def write(self, part: ExplainedPart) -> None:
        """Append the relevance of some decisions, in order.

        Raises:
            OSError: the disk is full; :func:`open_relevance` says so in a sentence.
        """
        self._file.write(np.ascontiguousarray(part.relevance, "<f4").tobytes())
        small = {"decisions": part.rows, "explained": part.explained, "q_values": part.q_values}
        for name, values in (small | {f"ledger_{name}": values for name, values in part.ledger.items()}).items():
            self._kept.setdefault(name, []).append(values)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything but the relevance, one row per decision written."""
        return {name: np.concatenate(parts) for name, parts in self._kept.items()}


@contextmanager
def open_relevance(path: str | os.PathLike[str], decisions: Decisions, count: int) -> Iterator[RelevanceFile]:
    """Open a file for the relevance of some decisions of a trajectory.

    It is read by ``numpy.load``: ``relevance`` (decisions, 4, 84, 84) in float32, ``decisions`` (their numbers), ``explained``,
    ``q_values``, ``ledger_input``, ``ledger_bias`` and so on, ``chosen``, and ``header``, a text in JSON.

    Args:
        path: file name ending in ``.npz``; it appears when the block ends well.
        decisions: what is explained.
        count: how many decisions will be written.

    Yields:
        The file; give each part to its method ``write``.

    Raises:
        InputError: a path that cannot be written, a full disk, or another number of decisions than announced.
    """
    with written_whole(path, (SUFFIX,)) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        with archive.open("relevance.npy", "w", force_zip64=True) as member:
            npy.write_array_header_2_0(member, {"descr": "<f4", "fortran_order": False, "shape": (count, 4, 84, 84)})
            file = RelevanceFile(member)
            yield file
        arrays = file.arrays()
        written = len(arrays.get("decisions", ()))
        if written != count:
            raise InputError(f"expected {count} decisions, got {written}; announce as many as are written")
        arrays["chosen"] = decisions.trajectory.chosen[arrays["decisions"]]
        arrays["header"] = np.array(json.dumps(_header(decisions)))
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                npy.write_array(member, np.ascontiguousarray(array) if array.ndim else array, allow_pickle=False)


def _header(decisions: Decisions) -> dict[str, Any]:
    """What the numbers are."""
    trajectory = decisions.trajectory
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "game": trajectory.game,
        "actions": trajectory.actions,
        "seed": trajectory.seed,
        "epsilon": trajectory.epsilon,
        "agent_fingerprint": trajectory.agent_fingerprint,
        "agent_steps": trajectory.agent_steps,
        "method": decisions.method,
        "rules": [{"layer": layer, "rule": rule} for layer, rule in decisions.rules],
        "target": decisions.target,
        "unit": "of the explained value, per pixel of each observed frame",
        "versions": versions(),
    }
