"""tianshou: DQN, C51, QR-DQN and Rainbow, from ``policy.state_dict()`` or ``{"model": algorithm.state_dict()}``.

Names, after ``policy.`` in an algorithm and ``module.`` where the observations are scaled: ``model.net.0.{0,2,4}``
convolutions, ``model.net.1`` and ``model.net.3`` dense (versions below 0.4.4: ``model.net.{0,2,4,7,9}``); Rainbow
``model.net.{0,2,4}``, streams ``model.Q.{0,2}`` and ``model.V.{0,2}``, noisy (``mu_W``, ``sigma_W``, ``mu_bias``,
``sigma_bias``, ``eps_p``, ``eps_q``) or plain; ``support`` for categorical ones.  Without scaled observations nothing
divides by 255.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from rl.checkpoints.agent import Guess
from rl.checkpoints.archive import Content
from rl.checkpoints.parts import (
    TIANSHOU,
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

SOURCE = "tianshou"
PREPROCESSING = Preprocessing(colour="rgb-pooled", stack_padding="first")
ROOTS = ("policy.model.", "model.")


def matches(content: Content) -> bool:
    """Whether the first layer's name is one of this library's."""
    return _root(content) is not None


def _root(content: Content) -> str | None:
    """What stands before the layers' names: of the policy, never of the target network."""
    for name in content.stored:
        for first in ("net.0.0.weight", "net.0.weight"):
            if name.endswith(first) and "old" not in name and "net." not in (root := name.removesuffix(first)):
                inner = root.removesuffix("module.")
                if any(inner == known or inner.endswith(f".{known}") for known in ROOTS):
                    return root
    return None


def read(content: Content, choices: Mapping[str, Any]) -> Found:
    """The agent.

    Raises:
        CheckpointError: no agent of this library.
    """
    root = _root(content)
    assert root is not None
    scaled = root.endswith(".module.")
    divisor = choices.get("divisor", 255.0 if scaled else 1.0)
    rainbow = any(f"{root}Q.0.{weight}" in content.stored for weight in ("mu_W", "weight"))
    found = (_rainbow if rainbow else _plain)(content, root, divisor, choices)
    if "divisor" not in choices:
        why = "a wrapper of the network scales the observations" if scaled else "no wrapper scales the observations; the default is not to"
        found.guesses.append(Guess("divisor", divisor, why))
    reason = "as its examples do; the file does not say how the agent saw"
    found.guesses.append(Guess("preprocessing", "its Atari wrappers, 4 frames", reason))
    return found


def _policy(root: str) -> str:
    """What stands before the policy's own entries."""
    return root.removesuffix("module.").removesuffix("model.")


def _plain(content: Content, root: str, divisor: float, choices: Mapping[str, Any]) -> Found:
    """DQN, C51 and QR-DQN: one stream."""
    nested = f"{root}net.0.0.weight" in content.stored
    seeing = [f"{root}net.0.{p}" for p in numbered(content, f"{root}net.0.")] if nested else []
    layers = [f"{root}net.{place}" for place in numbered(content, f"{root}net.")]
    if not nested:
        seeing = [layer for layer in layers if len(content.shape(f"{layer}.weight")) == 4]
    others = [layer for layer in layers if layer not in seeing and f"{layer}.weight" in content.stored]
    if not seeing or not others:
        raise CheckpointError(f"{content.path} has no convolutions or no outputs under '{root}net'; expected an Atari agent of tianshou")
    *hidden, last = others
    fields: dict[str, Any] = {"activation": choices.get("activation", "relu"), "divisor": divisor}
    atoms, algorithm = 1, "DQN"
    if f"{_policy(root)}support" in content.stored:
        atoms, low, high, _ = support(content, f"{_policy(root)}support", choices)
        fields |= {"distribution": "categorical", "atoms": atoms, "low": low, "high": high}
        algorithm = "C51"
    layout = Layout(convolutions(content, seeing, choices.get("padding", 0)), widths(content, hidden), **fields)
    check_features(content, layout, others[0])
    names = {f"conv{i}": layer for i, layer in enumerate(seeing, 1)} | {f"hidden{i}": layer for i, layer in enumerate(hidden, 1)}
    actions = per_action(content, last, atoms)
    return Found(f"{SOURCE} {algorithm}", layout, actions, dense(content, names | {"values": last}), PREPROCESSING, algorithm)


def _rainbow(content: Content, root: str, divisor: float, choices: Mapping[str, Any]) -> Found:
    """Rainbow: categorical; dueling and noisy unless it was made without."""
    kind = "mu_W" if f"{root}Q.0.mu_W" in content.stored else "weight"
    atoms, low, high, guesses = _support(content, root, kind, choices)
    dueling = f"{root}V.0.{kind}" in content.stored
    ours = {"Q": "advantage", "V": "value"} if dueling else {"Q": "values"}
    streams = {f"{our}{part}": f"{root}{their}.{place}" for their, our in ours.items() for part, place in (("_hidden1", 0), ("", 2))}
    convs = {f"conv{i}": f"{root}net.{place}" for i, place in enumerate(numbered(content, f"{root}net."), 1)}
    layout = Layout(
        convolutions(content, list(convs.values()), choices.get("padding", 0)), head="dueling" if dueling else "values",
        head_hidden=widths(content, [f"{root}Q.0"], kind), distribution="categorical", atoms=atoms, low=low, high=high,
        activation=choices.get("activation", "relu"), divisor=divisor,
    )  # fmt: skip
    check_features(content, layout, f"{root}Q.0", kind)
    noise = choices.get("noise", "means")
    heads = noisy(content, streams, TIANSHOU, noise) if kind == "mu_W" else dense(content, streams)
    preprocessing = dataclasses.replace(PREPROCESSING, noise=noise)
    actions = per_action(content, f"{root}Q.2", atoms, kind)
    return Found(f"{SOURCE} Rainbow", layout, actions, together(dense(content, convs), heads), preprocessing, "Rainbow", guesses=guesses)


def _support(content: Content, root: str, kind: str, choices: Mapping[str, Any]) -> tuple[int, float, float, list[Guess]]:
    """The atoms; a network saved without its policy does not say them."""
    if f"{_policy(root)}support" in content.stored:
        return support(content, f"{_policy(root)}support", choices)
    atoms = shape(content, f"{root}V.2.{kind}", 2)[0]
    guesses = [Guess(name, value, "the library's default; the file does not say it") for name, value in (("low", -10.0), ("high", 10.0))]
    return atoms, choices.get("low", -10.0), choices.get("high", 10.0), guesses
