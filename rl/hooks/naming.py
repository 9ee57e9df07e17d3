"""Names of actions and features: asked of the environment, known for a few classics, numbers otherwise."""

from __future__ import annotations

from typing import Any

CLASSICS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "CartPole": (("LEFT", "RIGHT"), ("cart position", "cart velocity", "pole angle", "pole velocity")),
    "MountainCar": (("LEFT", "COAST", "RIGHT"), ("position", "velocity")),
    "Acrobot": (("-1", "0", "+1"), ("cos angle 1", "sin angle 1", "cos angle 2", "sin angle 2", "velocity 1", "velocity 2")),
    "LunarLander": (
        ("NOTHING", "LEFT ENGINE", "MAIN ENGINE", "RIGHT ENGINE"),
        ("x", "y", "x velocity", "y velocity", "angle", "angular velocity", "left leg", "right leg"),
    ),
}
"""Actions and features of Gymnasium's small environments, by the name of their id."""


def action_names(env: Any, count: int) -> tuple[str, ...] | None:
    """The environment's own names of its actions, if it has as many as ``count``."""
    inner = env.unwrapped
    inner = inner.envs[0].unwrapped if getattr(inner, "envs", None) else inner  # SyncVectorEnv
    if hasattr(inner, "get_action_meanings"):
        names = tuple(inner.get_action_meanings())
    elif hasattr(getattr(inner, "ale", None), "get_action_set"):  # AtariVectorEnv
        names = tuple(action.name for action in inner.ale.get_action_set())
    else:
        names = _classic(env)[0]
    return names if len(names) == count else None


def feature_names(env: Any, count: int) -> tuple[str, ...]:
    """Names of an observation's numbers."""
    names = _classic(env)[1]
    if names and count % len(names) == 0 and count > len(names):  # a stack of observations, newest last
        stacked = count // len(names)
        return tuple(f"{name}, {stacked - 1 - t} ago" for t in range(stacked) for name in names)
    return names if len(names) == count else tuple(f"x[{i}]" for i in range(count))


def _classic(env: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    try:
        name = str(env.spec.id)
    except AttributeError:
        return (), ()
    return CLASSICS.get(name.rsplit("/", 1)[-1].split("-")[0], ((), ()))
