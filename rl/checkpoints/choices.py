"""What a user may say about a foreign checkpoint that the file does not: by keyword, or as ``--set name=value``."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from rl.checks import real_number, shown, whole_number
from rl.preprocessing import SUPPORTED
from seqxai.errors import InputError

TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _truth(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    found = TRUTHS.get(str(value).lower())
    if found is None:
        raise InputError(f"{name} should be true or false, got {shown(value)}")
    return found


def _whole(name: str, value: Any) -> int:
    return whole_number(name, int(value) if isinstance(value, str) and value.strip().isdecimal() else value)


def _real(name: str, value: Any) -> float:
    try:
        return real_number(name, float(value) if isinstance(value, str) else value)
    except ValueError as error:
        raise InputError(f"{name} should be a finite number, got {shown(value)}") from error


def _one_of(*possible: str) -> Callable[[str, Any], str]:
    def read(name: str, value: Any) -> str:
        if value not in possible:
            raise InputError(f"{name} should be one of {', '.join(possible)}, got {shown(value)}")
        return str(value)

    return read


def _path(name: str, value: Any) -> Path:
    return Path(value)


PLAY: dict[str, Callable[[str, Any], Any]] = {
    "frame_skip": _whole,
    "pooled_frames": _whole,
    "colour": _one_of(*SUPPORTED["colour"]),
    "interpolation": _one_of(*SUPPORTED["interpolation"]),
    "pool_after_resize": _truth,
    "stack_padding": _one_of(*SUPPORTED["stack_padding"]),
    "sticky_probability": _real,
    "start_frames": _whole,
    "fire_at_reset": _truth,
    "fire_after_life": _truth,
}
"""Fields of :class:`rl.preprocessing.Preprocessing`: how the game reaches the agent."""

NETWORK: dict[str, Callable[[str, Any], Any]] = {
    "divisor": _real,
    "noise": _one_of(*SUPPORTED["noise"]),
    "padding": _whole,
    "activation": _one_of("relu", "elu", "tanh", "leaky_relu", "silu", "gelu"),
    "head_activation": _one_of("relu", "elu", "tanh", "leaky_relu", "silu", "gelu"),
    "low": _real,
    "high": _real,
    "quantiles": _whole,
    "statistics": _path,
}
"""What the weights do not show: the division, noisy layers, padding of the first convolution, activations, the support of a categorical
distribution, how many quantiles, and a file with the statistics of the pixels."""

FACTS: dict[str, Callable[[str, Any], Any]] = {"agent_steps": _whole}
KNOWN = PLAY | NETWORK | FACTS


def checked(choices: Mapping[str, Any]) -> dict[str, Any]:
    """The choices with values of their types.

    Raises:
        InputError: an unknown name, or a value it cannot have.
    """
    found = {}
    for name, value in choices.items():
        if name not in KNOWN:
            near = difflib.get_close_matches(name, KNOWN, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(KNOWN)}"
            raise InputError(f"unknown choice {shown(name)}; {hint}")
        found[name] = KNOWN[name](name, value)
    return found


def parsed(texts: Iterable[str]) -> dict[str, Any]:
    """Choices from ``name=value``.

    Raises:
        InputError: no equals sign, one name twice, or what :func:`checked` refuses.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            raise InputError(f"--set should be name=value, such as interpolation=linear, got {shown(text)}")
        if name in found:
            raise InputError(f"--set {name} is given twice")
        found[name] = value.strip()
    return checked(found)
