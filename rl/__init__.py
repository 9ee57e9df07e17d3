"""Explained Atari agents: load one, let it play, explain every decision, render a video.

The names below are imported when first used, so that ``import rl.cli`` answers a ``--help`` without loading torch, the
emulator or the encoder.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rl.agents import shipped_agent as shipped_agent
    from rl.checkpoints import Agent as Agent
    from rl.checkpoints import load as load
    from rl.checkpoints import load_run as load_run
    from rl.checkpoints import save_agent as save_agent
    from rl.evolution import evolution_figure as evolution_figure
    from rl.evolution import evolve as evolve
    from rl.evolution import render_evolution as render_evolution
    from rl.explaining import Explained as Explained
    from rl.explaining import ExplainedStream as ExplainedStream
    from rl.explaining import explain as explain
    from rl.explaining import explain_stream as explain_stream
    from rl.hooks import ExplainedEnv as ExplainedEnv
    from rl.hooks import Explanation as Explanation
    from rl.still import render_still as render_still
    from rl.trajectory import Trajectory as Trajectory
    from rl.trajectory import record as record
    from rl.video import render as render

__all__ = [
    "Agent",
    "Explained",
    "ExplainedEnv",
    "ExplainedStream",
    "Explanation",
    "Trajectory",
    "evolution_figure",
    "evolve",
    "explain",
    "explain_stream",
    "load",
    "load_run",
    "record",
    "render",
    "render_evolution",
    "render_still",
    "save_agent",
    "shipped_agent",
]

_HOMES = {
    "Agent": "rl.checkpoints",
    "Explained": "rl.explaining",
    "ExplainedEnv": "rl.hooks",
    "ExplainedStream": "rl.explaining",
    "Explanation": "rl.hooks",
    "Trajectory": "rl.trajectory",
    "evolution_figure": "rl.evolution",
    "evolve": "rl.evolution",
    "explain": "rl.explaining",
    "explain_stream": "rl.explaining",
    "load": "rl.checkpoints",
    "load_run": "rl.checkpoints",
    "record": "rl.trajectory",
    "render": "rl.video",
    "render_evolution": "rl.evolution",
    "render_still": "rl.still",
    "save_agent": "rl.checkpoints",
    "shipped_agent": "rl.agents",
}


def __getattr__(name: str) -> object:
    """Import a public name from its home on first use (PEP 562).

    Raises:
        AttributeError: the name is not public.
    """
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'rl' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
