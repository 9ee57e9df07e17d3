"""floringogianu/atari-agents: DQN, M-DQN and C51, from its ``model_<steps>.gz``.

A gzip of ``torch.save({"estimator_state": ...})`` whose names are mangled by Python: ``_AtariNet__features.{0,2,4}``,
``_AtariNet__head.{0,2}`` and, of C51, ``_AtariNet__support``.  Pixels are divided by 255 inside; each frame is resized
before two are pooled.  Trained either by the "modern" protocol (sticky actions) or the "classic" one (no-op starts), which
only the folder's name tells.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from rl.checkpoints.agent import Guess
from rl.checkpoints.archive import Content
from rl.checkpoints.parts import Found, check_features, convolutions, dense, numbered, per_action, support, widths
from rl.layout import Layout
from rl.preprocessing import Preprocessing

SOURCE = "atari-agents"
MODERN = Preprocessing(
    pool_after_resize=True, sticky_probability=0.25, start_frames=0, fire_at_reset=False, fire_after_life=False
)
CLASSIC = dataclasses.replace(MODERN, sticky_probability=0.0, start_frames=30)
MANGLED = "_AtariNet__"


def matches(content: Content) -> bool:
    """Whether the names are those of the class AtariNet, as Python mangles them."""
    return any(f"{MANGLED}features.0.weight" in name for name in content.stored)


def read(content: Content, choices: Mapping[str, Any]) -> Found:
    """The agent.

    Raises:
        CheckpointError: its layers do not fit together.
    """
    first = next(name for name in content.stored if f"{MANGLED}features.0.weight" in name)
    root = first[: first.index(MANGLED)] + MANGLED
    convs = [f"{root}features.{place}" for place in numbered(content, f"{root}features.")]
    *hidden, last = [f"{root}head.{place}" for place in numbered(content, f"{root}head.")] or [f"{root}head.0"]
    fields: dict[str, Any] = {"activation": choices.get("activation", "relu"), "divisor": choices.get("divisor", 255.0)}
    atoms = 1
    if f"{root}support" in content.stored:
        atoms, low, high, _ = support(content, f"{root}support", choices)
        fields |= {"distribution": "categorical", "atoms": atoms, "low": low, "high": high}
    layout = Layout(convolutions(content, convs, choices.get("padding", 0)), widths(content, hidden), **fields)
    check_features(content, layout, hidden[0] if hidden else last)
    names = {f"conv{i}": theirs for i, theirs in enumerate(convs, 1)} | {f"hidden{i}": theirs for i, theirs in enumerate(hidden, 1)}
    algorithm = "C51" if atoms > 1 else "DQN"
    preprocessing, guess = _protocol(content, algorithm)
    actions = per_action(content, last, atoms)
    weights = dense(content, names | {"values": last})
    return Found(f"{SOURCE} {algorithm}", layout, actions, weights, preprocessing, algorithm, guesses=[guess])


def _protocol(content: Content, algorithm: str) -> tuple[Preprocessing, Guess]:
    """Modern or classic: the folder's name tells, or the algorithm, since only DQN was trained by both."""
    folders = "/".join(content.path.parts[-4:]).lower()
    for name, found in (("classic", CLASSIC), ("modern", MODERN)):
        if name in folders:
            return found, Guess("sticky_probability", found.sticky_probability, f"the protocol {name!r}, by the folder's name")
    if algorithm == "C51":
        return CLASSIC, Guess("sticky_probability", 0.0, "its C51 agents were trained by the protocol 'classic'")
    return MODERN, Guess("sticky_probability", 0.25, "most of its DQN agents were trained by the protocol 'modern'")
