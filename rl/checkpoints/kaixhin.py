"""Kaixhin/Rainbow, from ``torch.save(network.state_dict())``.

Convolutions ``convs.{0,2,4}`` (until 2019 ``conv1``, ``conv2``, ``conv3``, the first padded by one pixel, which no weight
shows), noisy streams ``fc_h_v``, ``fc_z_v``, ``fc_h_a`` and ``fc_z_a``, each ``weight_mu``, ``weight_sigma``,
``weight_epsilon`` and likewise for the bias.  The environment divides by 255 and shrinks each frame by linear interpolation
before two are pooled.
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
    together,
    widths,
)
from rl.layout import Layout
from rl.preprocessing import Preprocessing

SOURCE = "Kaixhin Rainbow"
PREPROCESSING = Preprocessing(interpolation="linear", pool_after_resize=True, fire_at_reset=False, fire_after_life=False)
STREAMS = {"value_hidden1": "fc_h_v", "value": "fc_z_v", "advantage_hidden1": "fc_h_a", "advantage": "fc_z_a"}


def matches(content: Content) -> bool:
    """Whether there are four noisy layers of these names."""
    return all(f"{name}.weight_mu" in content.stored for name in STREAMS.values())


def read(content: Content, choices: Mapping[str, Any]) -> Found:
    """The agent.

    Raises:
        CheckpointError: its layers do not fit together.
    """
    places, guesses = numbered(content, "convs."), []
    convs = [f"convs.{place}" for place in places] or ["conv1", "conv2", "conv3"]
    padding = choices.get("padding", 0 if places else 1)
    if "padding" not in choices:
        why = "as since 2019" if places else "the names conv1, conv2, conv3 are those of versions that padded the first convolution"
        guesses.append(Guess("padding", padding, f"{why}; no weight shows it"))
    atoms = shape(content, "fc_z_v.weight_mu", 2)[0]
    low, high = choices.get("low", -10.0), choices.get("high", 10.0)
    guesses += [
        Guess(name, value, "its default; the file does not say it") for name, value in (("low", low), ("high", high)) if name not in choices
    ]
    layout = Layout(
        convolutions(content, convs, padding), head="dueling", head_hidden=widths(content, ["fc_h_v"], "weight_mu"),
        distribution="categorical", atoms=atoms, low=low, high=high, activation=choices.get("activation", "relu"),
        divisor=choices.get("divisor", 255.0),
    )  # fmt: skip
    check_features(content, layout, "fc_h_v", "weight_mu")
    noise = choices.get("noise", "means")
    names = {f"conv{i}": theirs for i, theirs in enumerate(convs, 1)}
    weights = together(dense(content, names), noisy(content, STREAMS, FORTUNATO, noise))
    guesses.append(Guess("interpolation", "linear", "as its environment does"))
    actions = per_action(content, "fc_z_a", atoms, "weight_mu")
    preprocessing = dataclasses.replace(PREPROCESSING, noise=noise)
    return Found(SOURCE, layout, actions, weights, preprocessing, "Rainbow", guesses=guesses)
