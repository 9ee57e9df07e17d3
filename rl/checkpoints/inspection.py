"""What is in a checkpoint, as plain values: for looking before playing."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from rl.checkpoints import native
from rl.checkpoints.agent import Agent
from rl.checkpoints.choices import checked
from rl.checkpoints.fingerprint import canned_values
from rl.checkpoints.foreign import load_foreign, open_content
from rl.checkpoints.reading import load
from rl.checkpoints.safe import begins_like_safetensors
from rl.layout import LayoutNetwork
from rl.preprocessing import sight_in_words, start_in_words


def inspected(path: str | os.PathLike[str], game: str | None = None, choices: dict[str, Any] | None = None) -> dict[str, Any]:
    """Everything that can be said about a checkpoint; JSON can hold it.

    Args:
        path: as for :func:`rl.load`.
        game: as there; unlike there nobody needs to say it.
        choices: as there.

    Raises:
        CheckpointError: as there.
    """
    path, choices = Path(path), choices or {}
    if begins_like_safetensors(path) and native.recognised(path):
        agent, container = load(path, game=game, **choices), "safetensors file"
    else:
        agent, container = load_foreign(path, game, checked(choices), nameless=True), open_content(path).container
    return {
        "path": str(path),
        "format": agent.source,
        "container": container,
        "bytes": path.stat().st_size,
        "algorithm": agent.algorithm,
        "game": agent.game or None,
        "outputs": len(agent.actions),
        "actions": list(agent.actions) if agent.game else None,
        "quantity": agent.network.quantity,
        "agent_steps": agent.agent_steps,
        "score": dataclasses.asdict(agent.score) if agent.score else None,
        "network": agent.network.layout.summary() if isinstance(agent.network, LayoutNetwork) else agent.architecture,
        "parameters": sum(p.numel() for p in agent.network.parameters()),
        "layers": layers_of(agent),
        "preprocessing": dataclasses.asdict(agent.preprocessing),
        "sees": sight_in_words(agent.preprocessing),
        "starts": start_in_words(agent.preprocessing),
        "fingerprint": agent.fingerprint,
        "values_of_fixed_pictures": [[round(value, 5) for value in row] for row in canned_values(agent).tolist()],
        "assumed": [{"name": guess.name, "value": guess.value, "reason": guess.reason} for guess in agent.guesses],
        "warnings": list(agent.warnings),
    }


def layers_of(agent: Agent) -> list[dict[str, Any]]:
    """The layers with weights: name, kind, shape of the weights, number of parameters."""
    return [
        {
            "name": name,
            "kind": type(layer).__name__,
            "weight": list(layer.weight.shape),
            "parameters": sum(p.numel() for p in layer.parameters(recurse=False)),
        }
        for name, layer in agent.network.named_modules()
        if hasattr(layer, "weight") and layer.weight is not None
    ]
