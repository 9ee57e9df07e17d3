"""The file of a trajectory: what is in it, and everything that can be wrong with one.

An ``.npz`` archive, which ``numpy.load`` opens too, of arrays without pickles.  ``header`` is a JSON object: format,
version, and the entries of `SCALARS`.  The entries of `ARRAYS` have one row per decision.  The pictures (`FRAMES`) are kept in
pieces, see :mod:`rl.frames`: ``screens`` holds the bytes of all pieces, ``screens_ends`` where each ends.  Version 1 held
them as plain arrays, and is still read.
"""

from __future__ import annotations

import json
import math
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from rl.checks import check_readable, shown
from rl.frames import PIECE, PackedFrames, pack
from seqxai.errors import InputError
from seqxai.files import written_whole

SUFFIX = ".npz"
FORMAT = "seqxai-trajectory"
FORMAT_VERSION = 2
VERSIONS = (1, 2)
SEED_MAX = 2**32 - 1
CHOOSERS = 3
"""`AGENT`, `CHANCE` and `PROTOCOL` of :mod:`rl.trajectory` are the numbers below this."""

AGAIN = "record the trajectory again"

SCALARS = ("game", "actions", "seed", "epsilon", "agent_fingerprint", "agent_steps", "stack_padding")
ADDED = {"stack_padding": "zeros"}
"""Entries that files written before there was a choice do not have, and what was so then."""

ARRAYS = {  # name: type, shape after the decisions; None stands for the number of actions
    "starts": (np.bool_, ()),
    "ram": (np.uint8, (128,)),
    "chosen": (np.int64, ()),
    "chosen_by": (np.uint8, ()),
    "rewards": (np.float64, ()),
    "q_values": (np.float32, (None,)),
    "lives": (np.int64, ()),
}
FRAMES = {"screens": (210, 160, 3), "planes": (84, 84)}
"""The pictures: shape of one."""


def write(path: str | os.PathLike[str], scalars: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Write a file, whole or not at all.

    Args:
        path: ending in ``.npz``.
        scalars: the entries of `SCALARS`.
        arrays: the entries of `ARRAYS` and of `FRAMES`; pictures may be packed or not.

    Raises:
        InputError: the path cannot be written.
    """
    header = {"format": FORMAT, "format_version": FORMAT_VERSION} | scalars
    members = {name: arrays[name] for name in ARRAYS}
    for name in FRAMES:
        pieces = pack(arrays[name]).pieces
        members[name] = np.frombuffer(b"".join(pieces), np.uint8)
        members[f"{name}_ends"] = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
    with written_whole(path, (SUFFIX,)) as partial, partial.open("wb") as file:
        np.savez_compressed(file, header=np.array(json.dumps(header)), **members)


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read and check a file; nothing in it is executed.

    Returns:
        The fields of a :class:`rl.trajectory.Trajectory`, by name.

    Raises:
        InputError: missing, damaged, of another kind or version, or inconsistent.
    """
    path = check_readable(path, "trajectory", SUFFIX)
    header, arrays = _read_parts(path)
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise InputError(f"{path} is not a trajectory saved by seqxai; save one with Trajectory.save")
    header = {**ADDED, **header}
    version = header.get("format_version")
    if version not in VERSIONS:
        known = " and ".join(map(str, VERSIONS))
        raise InputError(f"{path} has format version {shown(version)}, this seqxai reads {known}; {AGAIN}")
    ends = [f"{name}_ends" for name in FRAMES] if version > 1 else []
    missing = [name for name in SCALARS if name not in header]
    missing += [name for name in (*ARRAYS, *FRAMES, *ends) if name not in arrays]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}; {AGAIN}")
    _check_scalars(path, header)
    _check_shapes(path, len(header["actions"]), arrays)
    _check_values(path, len(header["actions"]), arrays)
    decisions = len(arrays["chosen"])
    frames = {name: (_plain if version == 1 else _packed)(path, name, decisions, arrays) for name in FRAMES}
    own = {name: arrays[name] for name in ARRAYS}
    return {name: header[name] for name in SCALARS} | own | frames | {"actions": tuple(header["actions"])}


def _read_parts(path: Path) -> tuple[Any, dict[str, np.ndarray]]:
    """Header and arrays of a file."""
    if not zipfile.is_zipfile(path):  # a truncated archive has lost its table of contents, which is at the end
        raise InputError(f"{path} is truncated or not a trajectory; {AGAIN}")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            header = json.loads(str(file["header"])) if "header" in file else {}
            return header, {name: file[name] for name in file.files if name != "header"}
    except Exception as error:  # bytes at random: zlib, zipfile, json and numpy each fail in ways of their own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} is damaged ({reason[:200]}); {AGAIN}") from error


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _check_scalars(path: Path, header: dict[str, Any]) -> None:
    """Type and range of every number and name."""
    seed, epsilon, steps, actions = (header[name] for name in ("seed", "epsilon", "agent_steps", "actions"))
    names = isinstance(actions, list) and bool(actions) and all(map(_is_name, actions))
    right = {
        "game": (_is_name(header["game"]), "the name of a game"),
        "actions": (names and len(set(actions)) == len(actions), "a list of different names"),
        "seed": (type(seed) is int and 0 <= seed <= SEED_MAX, f"a whole number, 0 .. {SEED_MAX}"),
        "epsilon": (type(epsilon) in (int, float) and 0 <= epsilon <= 1, "a probability, 0 .. 1"),
        "agent_fingerprint": (_is_name(header["agent_fingerprint"]), "a name of weights"),
        "agent_steps": (type(steps) is int and steps >= 0, "a whole number, at least 0"),
        "stack_padding": (header["stack_padding"] in ("zeros", "first"), "zeros or first"),
    }
    for name, (fits, expected) in right.items():
        if not fits:
            raise InputError(f"{path}: {name} should be {expected}, is {shown(header[name])}; {AGAIN}")


def _check_shapes(path: Path, actions: int, arrays: dict[str, np.ndarray]) -> None:
    """Every array of its type, and all of one length."""
    decisions = next((arrays[name].shape[0] for name in ARRAYS if arrays[name].ndim), 0)
    for name, (dtype, shape) in ARRAYS.items():
        expected = (decisions, *(actions if size is None else size for size in shape))
        _check_shape(path, name, arrays[name], dtype, expected)


def _check_shape(path: Path, name: str, found: np.ndarray, dtype: Any, expected: tuple[int, ...]) -> None:
    """One array."""
    if found.dtype != dtype or found.shape != expected:
        raise InputError(
            f"{path}: {name} should be {np.dtype(dtype)} {expected}, is {found.dtype} {found.shape}; {AGAIN}"
        )


def _plain(path: Path, name: str, decisions: int, arrays: dict[str, np.ndarray]) -> PackedFrames:
    """Pictures of version 1."""
    _check_shape(path, name, arrays[name], np.uint8, (decisions, *FRAMES[name]))
    return pack(arrays[name])


def _packed(path: Path, name: str, decisions: int, arrays: dict[str, np.ndarray]) -> PackedFrames:
    """Pictures in pieces."""
    content, ends = arrays[name], arrays[f"{name}_ends"]
    _check_shape(path, f"{name}_ends", ends, np.int64, (-(-decisions // PIECE),))
    size = int(ends[-1]) if len(ends) else 0
    _check_shape(path, name, content, np.uint8, (size,))
    if (np.diff(ends, prepend=0) <= 0).any():
        raise InputError(f"{path}: {name}_ends should grow, is {shown(ends.tolist())}; {AGAIN}")
    data = content.tobytes()
    pieces = [data[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    return PackedFrames(pieces, decisions, FRAMES[name])


def _check_values(path: Path, actions: int, arrays: dict[str, np.ndarray]) -> None:
    """Every entry in its range, and the first decision the start of a game."""
    limits = {"chosen": (0, actions - 1), "chosen_by": (0, CHOOSERS - 1), "lives": (0, math.inf)}
    for name, (low, high) in limits.items():
        wrong = arrays[name][(arrays[name] < low) | (arrays[name] > high)]
        if wrong.size:
            expected = f"{low} .. {high}" if high < math.inf else f"at least {low}"
            raise InputError(f"{path}: {name} should be {expected}, has {wrong[0]}; {AGAIN}")
    for name in ("rewards", "q_values"):
        if not np.isfinite(arrays[name]).all():
            raise InputError(f"{path}: {name} contains NaN or infinity; {AGAIN}")
    if not arrays["starts"][:1].all():
        raise InputError(f"{path}: the first decision should be the start of a game, starts has False; {AGAIN}")
