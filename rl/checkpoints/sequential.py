"""Agents written as a plain ``Sequential``: tensors named by position, ``0.weight``, ``2.weight``, and short metadata.

Such a file is translated, names and metadata, into what our own format says, and then checked like any other.  Metadata:
``game``; ``actions`` separated by spaces; ``agent_steps``; ``network``; ``observation`` and ``preprocessing`` in words that
must be known here, since a guess would show the agent something it was not trained on; ``score_mean_<games>_games`` and
``score_max``; ``algorithm``.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Collection
from pathlib import Path

from rl.checks import shown
from rl.network import NETWORKS
from rl.preprocessing import Preprocessing
from seqxai.errors import CheckpointError

PLACE = re.compile(r"(\d+)\.(weight|bias)")
MEAN = re.compile(r"score_mean_(\d+)_games")
OBSERVATION = "uint8 4x84x84, newest plane last, divide by 255"
PREPROCESSING = {
    "frame skip 4, maximum of the last two frames, grey, 84x84 area interpolation; no sticky actions; up to 30 no-ops; "
    "FIRE at reset and after a lost life": Preprocessing(),
}
INSTEAD = "build the network and its Preprocessing in Python and save it with rl.save_agent"


def recognised(metadata: dict[str, str], names: Collection[str]) -> bool:
    """Whether a file without our format's mark has tensors named by position."""
    return "format" not in metadata and bool(names) and all(PLACE.fullmatch(name) for name in names)


def translated_metadata(path: Path, metadata: dict[str, str]) -> dict[str, str]:
    """The metadata entries of our own format, but for its mark.

    Raises:
        CheckpointError: an entry is missing, or describes how the agent saw in words that are not known.
    """
    wanted = ("game", "actions", "agent_steps", "network", "observation", "preprocessing")
    missing = [name for name in wanted if name not in metadata]
    if missing:
        raise CheckpointError(f"{path} is a plain Sequential without the metadata {', '.join(missing)}; {INSTEAD}")
    if metadata["observation"] != OBSERVATION or metadata["preprocessing"] not in PREPROCESSING:
        told = metadata["preprocessing" if metadata["observation"] == OBSERVATION else "observation"]
        raise CheckpointError(f"{path} describes how its agent sees in unknown words, {shown(told)}; {INSTEAD}")
    return {
        "network": metadata["network"],
        "game": metadata["game"],
        "actions": json.dumps(metadata["actions"].split()),
        "preprocessing": json.dumps(dataclasses.asdict(PREPROCESSING[metadata["preprocessing"]])),
        "agent_steps": metadata["agent_steps"],
        "score": json.dumps(_score(path, metadata)),
        "algorithm": metadata.get("algorithm", "unknown"),
    }


def _score(path: Path, metadata: dict[str, str]) -> dict[str, float] | None:
    """The score as our format has it; None where none was measured."""
    means = [match for match in map(MEAN.fullmatch, metadata) if match]
    if not means:
        return None
    numbers = metadata[means[0].group()], metadata.get("score_max", "nothing")
    try:
        mean, largest = map(float, numbers)
    except ValueError as error:
        raise CheckpointError(f"{path}: the score should be two numbers, got {shown(numbers)}; {INSTEAD}") from error
    return {"mean": mean, "max": largest, "games": int(means[0].group(1))}


def own_names(network: str, names: Collection[str]) -> dict[str, str]:
    """For each tensor's name by position its name in the network; of what has no place there, its name as it is.

    Args:
        network: architecture, a key of `NETWORKS`.
        names: of the tensors in the file.
    """
    modules = [name for name, _ in NETWORKS[network](1).named_children()]
    translation = {}
    for name in names:
        place, _, kind = name.partition(".")
        known = len(place) < 4 and int(place) < len(modules)
        translation[name] = f"{modules[int(place)]}.{kind}" if known else name
    return translation
