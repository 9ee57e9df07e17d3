"""The games: one spelling for each, and the actions it knows."""

from __future__ import annotations

import contextlib
import difflib
import io
import re
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from rl.checks import shown
from seqxai.errors import DependencyError, InputError


def emulator_module() -> ModuleType:
    """The emulator's Python package, with its banner silenced.

    Raises:
        DependencyError: the extra ``rl`` is not installed.
    """
    try:
        import ale_py
        import ale_py.roms
    except ImportError as error:
        raise DependencyError(
            f"playing Atari games needs the emulator ale-py, which cannot be imported ({error}); "
            "install it with: pip install 'seqxai[rl]'"
        ) from error
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    return ale_py


FOR_SEVERAL = frozenset({"combat", "joust", "maze_craze", "warlords"})
"""Cartridges for two and more players: asked to load one, the emulator ends the whole program."""


@cache
def known_games() -> tuple[str, ...]:
    """Every game for one player that the emulator brings, by its own spelling (``ms_pacman``), sorted."""
    return tuple(sorted(set(emulator_module().roms.get_all_rom_ids()) - FOR_SEVERAL))


def squeezed(name: str) -> str:
    """A game's name without namespace, version, variant and separators: ``ALE/MsPacman-v5`` becomes ``mspacman``."""
    bare = re.sub(r"-(ram|v\d+)", "", name.strip().rsplit("/", maxsplit=1)[-1])
    bare = re.sub(r"(NoFrameskip|Deterministic)$", "", bare)
    return re.sub(r"[^a-z0-9]", "", bare.lower())


def resolve_game(name: str) -> str:
    """The emulator's spelling of a game.

    Args:
        name: ``"breakout"``, ``"Breakout"``, ``"ALE/Breakout-v5"``, ``"BreakoutNoFrameskip-v4"`` all mean ``breakout``.

    Raises:
        InputError: no such game; the nearest name is suggested.
    """
    by_squeezed = {squeezed(game): game for game in known_games()}
    bare = squeezed(name) if isinstance(name, str) else ""
    if bare in by_squeezed:
        return by_squeezed[bare]
    near = difflib.get_close_matches(bare, by_squeezed, n=1, cutoff=0.0) if bare else []
    hint = f"did you mean {by_squeezed[near[0]]!r}?" if near else "name one, such as 'breakout'"
    raise InputError(
        f"unknown game {shown(name)}: expected one of the {len(by_squeezed)} Atari games of the emulator; {hint}"
    )


def rom_path(game: str) -> Path:
    """The cartridge image of a game, checked against its known checksum.

    Raises:
        InputError: the file is missing or damaged (possible only where ``ALE_ROMS_DIR`` redirects the emulator).
    """
    roms = emulator_module().roms
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it announces a redirected folder on stdout, where --json goes
            return Path(roms.get_rom_path(game))
    except OSError as error:
        raise InputError(f"the cartridge of {game!r} cannot be used: {error}") from error


def minimal_actions(emulator: Any) -> tuple[str, ...]:
    """The actions that do something in a loaded game, in the emulator's order."""
    return tuple(action.name for action in emulator.getMinimalActionSet())


@cache
def game_actions(game: str) -> tuple[str, ...]:
    """The actions that do something in a game, by name, in the emulator's order.

    Args:
        game: the emulator's spelling, see :func:`resolve_game`.
    """
    emulator = emulator_module().ALEInterface()
    emulator.loadROM(rom_path(game))
    return minimal_actions(emulator)


def display_name(game: str) -> str:
    """A game's name as people write it: ``ms_pacman`` becomes ``Ms Pacman``."""
    return game.replace("_", " ").title()
