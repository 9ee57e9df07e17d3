"""CleanRL: DQN, C51, Rainbow, PQN and PPO on Atari, from what ``--save-model`` or ``torch.save(network.state_dict())`` writes.

All divide by 255 inside.  The layers are numbered in one Sequential: ``network.{0,2,4}`` convolutions, ``network.7`` the
hidden layer and ``network.9`` the outputs (C51: times the number of atoms, whose values are the buffer ``atoms``); PQN has a
LayerNorm after each of ``network.{0,3,6,10}`` and its outputs in ``network.13``; Rainbow has noisy streams
``value_head.{0,2}`` and ``advantage_head.{0,2}`` and the buffer ``support``; PPO ``actor`` and ``critic``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from rl.checkpoints.agent import Guess
from rl.checkpoints.archive import Content
from rl.checkpoints.parts import (
    FORTUNATO,
    Found,
    check_features,
    convolutions,
    dense,
    noisy,
    numbered,
    per_action,
    shape,
    support,
    together,
    widths,
)
from rl.layout import Layout
from rl.preprocessing import Preprocessing
from seqxai.errors import CheckpointError

SOURCE = "CleanRL"
PREPROCESSING = Preprocessing(colour="rgb-resized", stack_padding="first")
"""That of its make_env: pooled and resized in colour, then grey; the stack begins with the first frame."""

ENVPOOL = Preprocessing(stack_padding="first")
"""That of envpool, with which PQN is trained."""


def matches(content: Content) -> bool:
    """Whether the first layer is called ``network.0``, in the root of the file or in its ``model_weights``."""
    return f"{_root(content)}network.0.weight" in content.stored


def _root(content: Content) -> str:
    """What stands before all names."""
    return "model_weights." if any(name.startswith("model_weights.") for name in content.stored) else ""


def read(content: Content, choices: Mapping[str, Any]) -> Found:
    """The agent.

    Raises:
        CheckpointError: no agent of this library.
    """
    root = _root(content)
    places = numbered(content, f"{root}network.")
    if f"{root}value_head.0.weight_mu" in content.stored:
        found = _rainbow(content, root, places, choices)
    elif f"{root}actor.weight" in content.stored:
        found = _ppo(content, root, places, choices)
    elif f"{root}network.1.weight" in content.stored:
        found = _pqn(content, root, choices)
    else:
        found = _dqn(content, root, places, choices)
    _say(content, found)
    return found


def _sequential(content: Content, root: str, places: list[int]) -> tuple[dict[str, str], list[str]]:
    """The convolutions by our names, and the dense layers."""
    layers = [f"{root}network.{place}" for place in places]
    seeing = [layer for layer in layers if len(content.shape(f"{layer}.weight")) == 4]
    return {f"conv{i}": layer for i, layer in enumerate(seeing, 1)}, [layer for layer in layers if layer not in seeing]


def _options(choices: Mapping[str, Any]) -> dict[str, Any]:
    return {"activation": choices.get("activation", "relu"), "divisor": choices.get("divisor", 255.0)}


def _dqn(content: Content, root: str, places: list[int], choices: Mapping[str, Any]) -> Found:
    """DQN and C51."""
    names, layers = _sequential(content, root, places)
    if not names or not layers:
        raise CheckpointError(f"{content.path} has no convolutions or no outputs under '{root}network'; expected an Atari agent of CleanRL")
    *hidden, last = layers
    fields, atoms = _options(choices), 1
    if f"{root}atoms" in content.stored:
        atoms, low, high, _ = support(content, f"{root}atoms", choices)
        fields |= {"distribution": "categorical", "atoms": atoms, "low": low, "high": high}
    layout = Layout(convolutions(content, list(names.values()), choices.get("padding", 0)), widths(content, hidden), **fields)
    check_features(content, layout, layers[0])
    names |= {f"hidden{i}": layer for i, layer in enumerate(hidden, 1)} | {"values": last}
    algorithm = "C51" if atoms > 1 else "DQN"
    return Found(f"{SOURCE} {algorithm}", layout, per_action(content, last, atoms), dense(content, names), PREPROCESSING, algorithm)


def _pqn(content: Content, root: str, choices: Mapping[str, Any]) -> Found:
    """PQN: layers and their norms."""
    layers = [f"{root}network.{place}" for place in numbered(content, f"{root}network.")]
    *pairs, last = layers
    working, norms = pairs[::2], pairs[1::2]
    seeing = [layer for layer in working if len(content.shape(f"{layer}.weight")) == 4]
    hidden = [layer for layer in working if layer not in seeing]
    if len(working) != len(norms) or not hidden:
        raise CheckpointError(
            f"{content.path}: expected a norm after each layer of a PQN, got {len(working)} layers and {len(norms)} norms"
        )
    layout = Layout(
        convolutions(content, seeing, choices.get("padding", 0)), widths(content, hidden), layer_norm=True, **_options(choices)
    )
    check_features(content, layout, hidden[0])
    names = {f"conv{i}": layer for i, layer in enumerate(seeing, 1)} | {f"hidden{i}": layer for i, layer in enumerate(hidden, 1)}
    ours = [f"conv_norm{i + 1}" for i in range(len(seeing))] + [f"hidden_norm{i + 1}" for i in range(len(hidden))]
    names |= dict(zip(ours, norms, strict=True)) | {"values": last}
    return Found(f"{SOURCE} PQN", layout, per_action(content, last, 1), dense(content, names), ENVPOOL, "PQN")


def _rainbow(content: Content, root: str, places: list[int], choices: Mapping[str, Any]) -> Found:
    """Rainbow: noisy, dueling and categorical."""
    names, _ = _sequential(content, root, places)
    atoms, low, high, guesses = _rainbow_support(content, root, choices)
    streams = {
        "value_hidden1": f"{root}value_head.0", "value": f"{root}value_head.2",
        "advantage_hidden1": f"{root}advantage_head.0", "advantage": f"{root}advantage_head.2",
    }  # fmt: skip
    layout = Layout(
        convolutions(content, list(names.values()), choices.get("padding", 0)), head="dueling",
        head_hidden=widths(content, [streams["value_hidden1"]], "weight_mu"), distribution="categorical", atoms=atoms, low=low, high=high,
        **_options(choices),
    )  # fmt: skip
    check_features(content, layout, streams["value_hidden1"], "weight_mu")
    noise = choices.get("noise", "means")
    weights = together(dense(content, names), noisy(content, streams, FORTUNATO, noise))
    preprocessing = dataclasses.replace(PREPROCESSING, noise=noise)
    actions = per_action(content, streams["advantage"], atoms, "weight_mu")
    return Found(f"{SOURCE} Rainbow", layout, actions, weights, preprocessing, "Rainbow", guesses=guesses)


def _rainbow_support(content: Content, root: str, choices: Mapping[str, Any]) -> tuple[int, float, float, list[Guess]]:
    if f"{root}support" in content.stored:
        return support(content, f"{root}support", choices)
    atoms = shape(content, f"{root}value_head.2.weight_mu", 2)[0]
    guesses = [Guess(name, value, "the script's default; the file does not say it") for name, value in (("low", -10.0), ("high", 10.0))]
    return atoms, choices.get("low", -10.0), choices.get("high", 10.0), guesses


def _ppo(content: Content, root: str, places: list[int], choices: Mapping[str, Any]) -> Found:
    """PPO: one body, an actor and a critic."""
    names, hidden = _sequential(content, root, places)
    layout = Layout(
        convolutions(content, list(names.values()), choices.get("padding", 0)), widths(content, hidden), head="policy", **_options(choices)
    )
    check_features(content, layout, hidden[0] if hidden else f"{root}actor")
    names |= {f"hidden{i}": layer for i, layer in enumerate(hidden, 1)} | {"logits": f"{root}actor", "value": f"{root}critic"}
    return Found(f"{SOURCE} PPO", layout, per_action(content, f"{root}actor", 1), dense(content, names), PREPROCESSING, "PPO")


def _say(content: Content, found: Found) -> None:
    """What the script's arguments say, where they were saved."""
    said = content.tree.get("args") if isinstance(content.tree, dict) else None
    if isinstance(said, dict):
        if isinstance(said.get("env_id"), str):
            found.game = said["env_id"]
        steps = said.get("total_timesteps")
        if type(steps) is int and 0 <= steps < 10**18:
            found.agent_steps = steps
    wrappers = "envpool" if found.algorithm == "PQN" else "the script's make_env"
    found.guesses.append(Guess("preprocessing", f"{wrappers}, 4 frames", "as the script does; the file does not say how the agent saw"))
