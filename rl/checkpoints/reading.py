"""The one door to every checkpoint: whose it is, is told by its content."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rl.checkpoints import native
from rl.checkpoints.agent import Agent
from rl.checkpoints.choices import NETWORK, PLAY, checked
from rl.checkpoints.native import Description
from rl.checkpoints.safe import begins_like_safetensors
from rl.checks import shown
from rl.preprocessing import Preprocessing, check_supported
from seqxai.errors import InputError


def load(path: str | os.PathLike[str], *, game: str | None = None, **choices: Any) -> Agent:
    """Read an agent, ours or another library's; nothing in the file is executed.

    Args:
        path: a checkpoint of seqxai, a plain ``Sequential``, or of Stable-Baselines3, CleanRL, atari-agents, Kaixhin's Rainbow, tianshou or
            torchrl.
        game: the game the agent was trained on, where a foreign file does not say it, or says another.
        choices: what else the file does not say, or says otherwise: fields of :class:`rl.preprocessing.Preprocessing`, and ``padding`` of
            the first convolution, ``activation``, ``low`` and ``high`` of a support, ``noise``, ``statistics``, ``agent_steps``; see
            :mod:`rl.checkpoints.choices`.

    Returns:
        The agent, its network in float32, in evaluation mode, without gradients; `Agent.guesses` and `Agent.warnings` tell what was assumed
        and what looks wrong.

    Raises:
        CheckpointError: the file is missing, damaged, of another kind, asks for code to be run, or disagrees with itself or with the game.
        InputError: an unknown game or choice.
        DependencyError: the emulator, which knows the game's actions, is not installed.
    """
    path, known = _checked_path(path), checked(choices)
    if _is_native(path):
        agent = native.load_native(path)
        steps = known.get("agent_steps", agent.agent_steps)
        return dataclasses.replace(agent, preprocessing=_with(agent.preprocessing, known), agent_steps=steps)
    from rl.checkpoints.foreign import load_foreign

    return load_foreign(path, game, known)


def describe(path: str | os.PathLike[str], *, game: str | None = None, **choices: Any) -> Description:
    """What a checkpoint says of its agent; the weights are not read.

    Args:
        path: as for :func:`load`.
        game: as there.
        choices: as there.

    Raises:
        CheckpointError: as :func:`load`, but for what is wrong with weights.
        InputError: an unknown game or choice.
        DependencyError: the emulator, which knows the game's actions, is not installed.
    """
    path, known = _checked_path(path), checked(choices)
    if _is_native(path):
        facts = native.describe(path)
        steps = known.get("agent_steps", facts.agent_steps)
        return dataclasses.replace(facts, preprocessing=_with(facts.preprocessing, known), agent_steps=steps)
    from rl.checkpoints.foreign import facts as foreign_facts

    found, values = foreign_facts(path, game, known)
    values.pop("guesses")
    return Description(**values, layout=found.layout)


def _checked_path(path: str | os.PathLike[str]) -> Path:
    """The path, or one sentence where it is none.

    Raises:
        InputError: not a path.
    """
    try:
        return Path(path)
    except TypeError as error:
        raise InputError(f"expected the path of a checkpoint, got {shown(path)}") from error


def _is_native(path: Path) -> bool:
    return begins_like_safetensors(path) and native.recognised(path)


def _with(preprocessing: Preprocessing, choices: Mapping[str, Any]) -> Preprocessing:
    """What a user may change of an agent whose file says everything: how the game reaches it, not its network.

    Raises:
        InputError: for the network.
    """
    inside = [name for name in choices if name in NETWORK]
    if inside:
        raise InputError(f"the checkpoint says itself what its network looks like, {inside[0]} included; leave that choice out")
    changed = dataclasses.replace(preprocessing, **{name: value for name, value in choices.items() if name in PLAY})
    check_supported(changed)
    return changed
