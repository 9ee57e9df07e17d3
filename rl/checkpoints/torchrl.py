"""torchrl: the Q-network of a ``QValueActor`` on pixels, and ``DuelingCnnDQNet``, from their state dicts.

Names: ``module.0.module.0.{0,2,4}`` (ConvNet) and ``module.0.module.1.{0,2}`` (MLP), whatever stands before; dueling
``features.{0,2,4}``, ``advantage.{0,2}`` and ``value.{0,2}``, with ELU by default.  The environment divides by 255 and then
standardises every pixel by running statistics (VecNorm, ObservationNorm), without which the weights mean nothing: they are
given by ``statistics=FILE``, any file readable here with ``loc`` and ``scale``, or VecNorm's ``sum``, ``ssq`` and ``count``.
``statistics=none`` is for agents that were trained without.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rl.checkpoints.agent import Guess
from rl.checkpoints.archive import Content
from rl.checkpoints.parts import Found, check_features, convolutions, dense, numbered, per_action, together, widths
from rl.layout import PLANES, SIDE, Layout
from rl.preprocessing import Preprocessing
from seqxai.errors import CheckpointError, InputError

SOURCE = "torchrl"
PREPROCESSING = Preprocessing(
    colour="rgb-resized", interpolation="linear-antialias", pooled_frames=1, stack_padding="first", fire_at_reset=False,
    fire_after_life=False,
)  # fmt: skip
FIRST = ("module.0.0.weight", "features.0.weight")
WITHOUT = "none"


def matches(content: Content) -> bool:
    """Whether the layers are named as in this library."""
    return _root(content) is not None


def _root(content: Content) -> tuple[str, bool] | None:
    """What stands before the layers' names, and whether the network is dueling."""
    for name in content.stored:
        if name.endswith(FIRST[0]) and f"{name.removesuffix(FIRST[0])}module.1.0.weight" in content.stored:
            return name.removesuffix(FIRST[0]), False
        if name.endswith(FIRST[1]) and f"{name.removesuffix(FIRST[1])}advantage.0.weight" in content.stored:
            return name.removesuffix(FIRST[1]), True
    return None


def read(content: Content, choices: Mapping[str, Any]) -> Found:
    """The agent.

    Raises:
        CheckpointError: no agent of this library, or without the statistics it needs.
    """
    found = _root(content)
    assert found is not None
    root, dueling = found
    statistics = _statistics(content, choices)
    parts = ("features.", "advantage.", "value.") if dueling else ("module.0.", "module.1.")
    convs = [f"{root}{parts[0]}{place}" for place in numbered(content, f"{root}{parts[0]}")]
    streams = [[f"{root}{part}{place}" for place in numbered(content, f"{root}{part}")] for part in parts[1:]]
    activation = choices.get("activation", "elu" if dueling else "relu")
    *inner, last = streams[0]
    layout = Layout(
        convolutions(content, convs, choices.get("padding", 0)), head="dueling" if dueling else "values",
        head_hidden=widths(content, inner), activation=activation, head_activation=choices.get("head_activation", activation),
        divisor=choices.get("divisor", 255.0), standardised=statistics is not None,
    )  # fmt: skip
    check_features(content, layout, streams[0][0])
    names = {f"conv{i}": theirs for i, theirs in enumerate(convs, 1)}
    for ours, stream in zip(("advantage", "value") if dueling else ("values",), streams, strict=True):
        names |= {f"{ours}_hidden{i}": theirs for i, theirs in enumerate(stream[:-1], 1)} | {ours: stream[-1]}
    weights = together(dense(content, names), lambda: dict(statistics or {}))
    result = Found(f"{SOURCE} DQN", layout, per_action(content, last, 1), weights, PREPROCESSING, "DQN")
    if "activation" not in choices:
        result.guesses.append(Guess("activation", activation, "the library's default; no weight shows it"))
    result.guesses.append(Guess("preprocessing", "pixels standardised, 4 frames", "as the library's example; the file does not say it"))
    return result


def _statistics(content: Content, choices: Mapping[str, Any]) -> dict[str, Tensor] | None:
    """Mean and deviation of every pixel, as the network's buffers; None for an agent without.

    Raises:
        CheckpointError: not given.
    """
    path = choices.get("statistics")
    if path is None:
        raise CheckpointError(
            f"{content.path} is a torchrl agent, whose pixels were standardised in its environment, and without those statistics it sees "
            "nothing; give them with statistics=FILE (--set statistics=FILE), or statistics=none if it was trained without"
        )
    return None if str(path) == WITHOUT else read_statistics(Path(path))


def read_statistics(path: Path) -> dict[str, Tensor]:
    """Mean and deviation of the pixels, each broadcast to four planes.

    Raises:
        InputError: they are not in the file, or of another shape, or not positive.
    """
    from rl.checkpoints.foreign import open_content

    file = open_content(path)
    last = {name.rsplit(".", 1)[-1].rsplit("_", 1)[-1]: name for name in file.stored}
    if {"sum", "ssq", "count"} <= set(last):
        total, squares, count = (file.tensor(last[name]).double() for name in ("sum", "ssq", "count"))
        mean = total / count
        deviation = (squares / count - mean**2).clamp(min=1e-4).sqrt()
    elif {"loc", "scale"} <= set(last):
        mean, deviation = file.tensor(last["loc"]).double(), file.tensor(last["scale"]).double()
    else:
        raise InputError(f"{path} holds no statistics of pixels; expected loc and scale, or VecNorm's sum, ssq and count")
    if not (torch.isfinite(mean).all() and torch.isfinite(deviation).all() and (deviation > 0).all()):
        raise InputError(f"{path}: the deviations of the pixels should be positive and finite")
    try:
        shapes = [part.float().expand(PLANES, SIDE, SIDE).contiguous() for part in (mean, deviation)]
    except RuntimeError as error:
        raise InputError(f"{path}: statistics of shape {tuple(mean.shape)} do not fit {PLANES} planes of {SIDE} x {SIDE} pixels") from error
    return dict(zip(("pixel_mean", "pixel_deviation"), shapes, strict=True))
