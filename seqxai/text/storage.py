"""One safetensors file with everything in it: tensors, and what they mean as JSON in the metadata.

Reading executes nothing, and whatever is wrong with a file ends in one sentence.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from seqxai.errors import CheckpointError, InputError
from seqxai.files import written_whole

SUFFIX = ".safetensors"
VERSION = "1"
RUNS_CODE = "it can run code when it is opened, so seqxai never opens it; export the weights as safetensors"
FOREIGN = (
    (b"PK\x03\x04", f"a zip archive, as PyTorch saves, which holds pickles: {RUNS_CODE}"),
    (b"\x80", f"a Python pickle: {RUNS_CODE}"),
    (b"version https://git-lfs", "a Git LFS pointer; fetch the file itself with git lfs pull"),
    (b"", "no safetensors file"),
)


def write(path: str | os.PathLike[str], kind: str, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors and what they mean; an existing file is replaced once the new one is whole.

    Args:
        path: a name ending in ``.safetensors``.
        kind: what the file is, which :func:`read` asks for again.
        tensors: by name.
        facts: each anything JSON can hold.

    Raises:
        InputError: the path cannot be written.
    """
    metadata = {name: json.dumps(value, ensure_ascii=False) for name, value in facts.items()}
    metadata |= {"format": kind, "format_version": VERSION}
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with written_whole(path, (SUFFIX,)) as partial:
        try:
            save_file(own, partial, metadata=metadata)
        except SafetensorError as error:
            raise InputError(f"Cannot write {str(path)!r}: {error}; choose a place that can be written.") from error


def read(path: str | os.PathLike[str], kind: str, facts: tuple[str, ...]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read what :func:`write` wrote.

    Args:
        path: the file.
        kind: what it should be.
        facts: that it must have.

    Returns:
        The tensors and the facts.

    Raises:
        CheckpointError: missing, damaged, or something else.
    """
    path = Path(path)
    _check_start(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except Exception as error:  # bytes at random: safetensors and torch each fail in ways of their own
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(f"{path} is damaged or cut off ({reason}); copy or download it again") from error
    if metadata.get("format") != kind:
        found = str(metadata.get("format"))[:60]
        raise CheckpointError(f"{path} is no {kind}: its format is {found!r}; give a file that seqxai text train wrote")
    if metadata.get("format_version") != VERSION:
        raise CheckpointError(
            f"{path} has format version {metadata.get('format_version')!r}, this seqxai reads {VERSION!r}; "
            "use the seqxai that wrote it, or a newer one"
        )
    try:
        return tensors, {name: json.loads(metadata[name]) for name in facts}
    except KeyError as error:
        raise CheckpointError(f"{path} lacks the metadata entry {error.args[0]!r}; train it again") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} has metadata that are not JSON ({error}); copy or download it again") from error


def _check_start(path: Path) -> None:
    """Look at a file's first bytes, before any parser does."""
    try:
        if path.exists() and not path.is_file():
            what = "a folder" if path.is_dir() else "a pipe or a device"
            raise CheckpointError(f"{str(path)!r} is {what}; expected a file ending in {SUFFIX}")
        with path.open("rb") as file:
            start = file.read(24)
    except FileNotFoundError as error:
        raise CheckpointError(f"no model at {str(path)!r}; check the path, or make one with seqxai text train") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise CheckpointError(f"{str(path)!r} cannot be read: {getattr(error, 'strerror', None) or error}; check the path") from error
    if not start:
        raise CheckpointError(f"{path} is empty; copy or download it again")
    if start[8:9] != b"{":
        what = next(what for magic, what in FOREIGN if start.startswith(magic))
        raise CheckpointError(f"{path} is {what}; expected a file that seqxai text train wrote")


def check_tensors(path: str | os.PathLike[str], tensors: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    """Refuse tensors that do not fit a network, or are not finite.

    Args:
        path: for the message.
        tensors: what the file holds.
        expected: the network's state dict.

    Raises:
        CheckpointError: the first that is wrong.
    """
    missing, extra = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    if missing or extra:
        raise CheckpointError(
            f"{path} does not hold the network its settings describe: missing {', '.join(missing[:4]) or 'nothing'}, "
            f"unexpected {', '.join(extra[:4]) or 'nothing'}; train it again"
        )
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape or not tensor.is_floating_point():
            raise CheckpointError(
                f"{path}: the tensor {name!r} should have shape {tuple(expected[name].shape)} in floating point, got "
                f"{tuple(tensor.shape)} in {str(tensor.dtype).removeprefix('torch.')}; train it again"
            )
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: the tensor {name!r} holds numbers that are not finite; train it again")
