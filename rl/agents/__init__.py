"""The trained agents that come with the package; README.md beside this file says where each is from."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from seqxai.errors import InputError


def shipped_agent(game: str = "breakout") -> Path:
    """The checkpoint of a shipped agent.

    Args:
        game: its game, in the emulator's spelling.

    Returns:
        A path for :func:`rl.load`.

    Raises:
        InputError: no agent is shipped for this game.
    """
    folder = Path(str(files(__name__)))
    path = folder / f"{game}.safetensors"
    if not path.is_file():
        shipped = ", ".join(sorted(p.stem for p in folder.glob("*.safetensors")))
        raise InputError(f"no agent for {game!r} is shipped, only for: {shipped}; give your own with --agent PATH")
    return path
