"""Agents of other libraries: whose format a file has, by its content, and the agent in it.

Readers are one module per format, with ``matches(content)`` and ``read(content, choices) -> Found``; a new format is such a module and an
entry in `FORMATS`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from rl.checkpoints import atari_agents, cleanrl, kaixhin, stable_baselines3, tianshou, torchrl
from rl.checkpoints.agent import Agent, Guess
from rl.checkpoints.archive import Content, read_content
from rl.checkpoints.choices import PLAY
from rl.checkpoints.fingerprint import warnings_about
from rl.checkpoints.parts import Found
from rl.checkpoints.pickled import StoredStorage, StoredTensor
from rl.checkpoints.safe import begins_like_safetensors, opened
from rl.games import game_actions, known_games, resolve_game, squeezed
from rl.layout import LayoutNetwork
from rl.preprocessing import check_supported
from seqxai.errors import CheckpointError, InputError

FORMATS: dict[str, ModuleType] = {
    "Stable-Baselines3": stable_baselines3,
    "CleanRL": cleanrl,
    "atari-agents": atari_agents,
    "Kaixhin Rainbow": kaixhin,
    "tianshou": tianshou,
    "torchrl": torchrl,
}
"""By name; the first that matches reads the file."""

WEIGHTS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
STEPS = re.compile(
    r"(?:^|[_-])(?:model|checkpoint|ckpt|step|iter|epoch)s?[_-]?(\d{1,15})(?=$|[_.-])|(?:^|[_-])(\d{1,15})[_-]steps?(?=$|[_.-])"
)
ARCHITECTURE = "layout"


def open_content(path: Path) -> Content:
    """The tensors and plain data of any file that can be read here, safetensors included.

    Raises:
        CheckpointError: see :func:`rl.checkpoints.archive.read_content`.
    """
    if not begins_like_safetensors(path):
        return read_content(path)
    with opened(path) as file:
        names = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
        metadata = dict(file.metadata() or {})
    return SafetensorsContent(path, "safetensors file", (), metadata, {}, {name: _described(shape) for name, shape in names.items()})


def _described(shape: tuple[int, ...]) -> StoredTensor:
    """A tensor of which only the shape is looked at; its content comes from the file itself."""
    return StoredTensor(StoredStorage("", "float32", 0), 0, shape, (0,) * len(shape))


@dataclasses.dataclass(frozen=True, eq=False)
class SafetensorsContent(Content):
    """Weights of another library that somebody saved as safetensors."""

    def tensor(self, name: str) -> Tensor:
        """See :class:`Content`."""
        if name not in self.stored:
            raise CheckpointError(f"{self.path} lacks the tensor {name!r}; save the network's whole state dict")
        with opened(self.path) as file:
            found: Tensor = file.get_tensor(name)
        return found


def find(content: Content, choices: Mapping[str, Any]) -> Found:
    """Whose agent it is, and what its reader makes of it; its weights are not read yet.

    Raises:
        CheckpointError: nobody's, or not one that can be explained here.
    """
    try:
        for module in FORMATS.values():
            if module.matches(content):
                found: Found = module.read(content, choices)
                return _chosen(found, choices)
    except CheckpointError:
        raise
    except InputError as error:
        raise CheckpointError(f"{content.path}: {error}") from error
    raise CheckpointError(_nobodys(content))


def _nobodys(content: Content) -> str:
    """One sentence about a file whose names nobody knows."""
    names = list(content.stored)
    if not names:
        return f"{content.path} is a {content.container} without any tensors; expected an agent's weights"
    shown = ", ".join(name[:40] for name in names[:3])
    return (
        f"{content.path} is a {content.container} of an unknown agent (tensors {shown}{', ...' if len(names) > 3 else ''}); known are "
        f"{', '.join(FORMATS)}; build the network in Python and explain it with rl.ExplainedEnv"
    )


def _chosen(found: Found, choices: Mapping[str, Any]) -> Found:
    """The user's word instead of the format's habits."""
    play = {name: value for name, value in choices.items() if name in PLAY}
    found.preprocessing = dataclasses.replace(found.preprocessing, divisor=found.layout.divisor, **play)
    check_supported(found.preprocessing)
    found.guesses = [guess for guess in found.guesses if guess.name not in choices]
    return found


def game_of(path: Path, found: Found, game: str | None) -> tuple[str, Guess | None]:
    """The game: as the user says, as the file says, or by the names of the file and its folders.

    Raises:
        CheckpointError: nobody says it.
        InputError: the user's is unknown.
    """
    if game is not None:
        return resolve_game(game), None
    if found.game is not None:
        try:
            return resolve_game(found.game), None
        except InputError as error:
            told = f"the file says env_id={found.game[:60]!r}"
            raise CheckpointError(f"{path}: {told}; {error}; say which game with game=... (--game)") from error
    named = _by_names(path, found.actions)
    if named is None:
        raise CheckpointError(
            f"{path} does not say which game its {found.actions} actions belong to; say it with game=... (--game breakout)"
        )
    return named, Guess("game", named, "by the names of the file and its folders")


def _by_names(path: Path, actions: int) -> str | None:
    """The game that the nearest name with one contains; the longest, if it has as many actions."""
    for part in reversed(path.absolute().parts[-5:]):
        plain = squeezed(part.removesuffix(path.suffix)) + " " + re.sub(r"[^a-z0-9]", "", part.lower())
        inside = [game for game in known_games() if len(game) > 3 and squeezed(game) in plain]
        if inside:
            best = max(inside, key=len)
            return best if len(game_actions(best)) == actions else None
    return None


def steps_of(path: Path, found: Found, choices: Mapping[str, Any]) -> tuple[int, Guess | None]:
    """Training length: as the user says, the file, or its name (``model_50000000.gz``, ``rl_model_100000_steps.zip``)."""
    if "agent_steps" in choices:
        return int(choices["agent_steps"]), None
    if found.agent_steps is not None:
        return found.agent_steps, None
    match = STEPS.search(path.name.split(".")[0])
    if match is None:
        return 0, Guess("agent_steps", 0, "neither the file nor its name says it")
    steps = int(match[1] or match[2])
    return steps, Guess("agent_steps", steps, "by the file's name")


def actions_of(path: Path, game: str, count: int) -> tuple[str, ...]:
    """The names of the outputs: the game's own actions, in the emulator's order.

    Raises:
        CheckpointError: the game has another number of them.
    """
    possible = game_actions(game)
    if len(possible) != count:
        all_actions = " (all of the console's; agents trained on all 18 cannot be played here)" if count == 18 else ""
        raise CheckpointError(
            f"{path}: the network has {count} outputs{all_actions}, but {game} has {len(possible)} actions ({' '.join(possible)}); "
            "say the right game with game=... (--game)"
        )
    return possible


def network_of(path: Path, found: Found) -> LayoutNetwork:
    """The network with the file's weights, once every tensor fits.

    Raises:
        CheckpointError: one is missing, of another shape or type, or not finite.
    """
    with torch.device("meta"):
        network = LayoutNetwork(found.layout, found.actions)
    expected = network.state_dict()
    tensors = found.weights()
    if found.layout.distribution == "categorical":
        tensors["support"] = torch.linspace(found.layout.low, found.layout.high, found.layout.atoms)
    missing, extra = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    if missing or extra:
        raise CheckpointError(f"{path}: missing {missing[:4] or 'nothing'}, too many {extra[:4] or 'none'}; save the whole state dict")
    for name, tensor in tensors.items():
        check_tensor(path, name, tensor, tuple(expected[name].shape))
    network.load_state_dict({name: tensor.to(torch.float32) for name, tensor in tensors.items()}, assign=True)
    network.eval().requires_grad_(False)
    return network


def check_tensor(path: Path, name: str, tensor: Tensor, wanted: tuple[int, ...]) -> None:
    """Shape, type and finiteness of one tensor.

    Raises:
        CheckpointError: names it.
    """
    if tuple(tensor.shape) != wanted:
        shape = tuple(tensor.shape)
        raise CheckpointError(f"{path}: the tensor for {name!r} has shape {shape}, expected {wanted}; give the agent's own file")
    if tensor.dtype not in WEIGHTS:
        raise CheckpointError(f"{path}: the tensor for {name!r} holds {tensor.dtype}, expected floating point; save the weights again")
    if not torch.isfinite(tensor.to(torch.float32)).all():
        raise CheckpointError(
            f"{path}: the tensor for {name!r} contains NaN or infinity; the training had diverged, use an earlier checkpoint"
        )


def facts(path: Path, game: str | None, choices: Mapping[str, Any], *, nameless: bool = False) -> tuple[Found, dict[str, Any]]:
    """Everything about a foreign agent but its weights: what its reader found, and the fields of :class:`Agent`.

    Args:
        path: the file.
        game: as the user says.
        choices: likewise.
        nameless: where nobody says the game it may be ``""``, and the actions numbers, instead of an error.

    Raises:
        CheckpointError: not an agent that can be explained here.
        DependencyError: the emulator, which knows the game's actions, is not installed.
    """
    found = find(open_content(path), choices)
    try:
        game, by_name = game_of(path, found, game)
    except CheckpointError:
        if not nameless:
            raise
        game, by_name = "", None
    steps, by_file_name = steps_of(path, found, choices)
    guesses = [guess for guess in (by_name, by_file_name) if guess is not None] + found.guesses
    return found, {
        "game": game,
        "actions": actions_of(path, game, found.actions) if game else tuple(map(str, range(found.actions))),
        "preprocessing": found.preprocessing,
        "agent_steps": steps,
        "score": None,
        "algorithm": found.algorithm,
        "architecture": ARCHITECTURE,
        "source": found.source,
        "guesses": tuple(guesses),
    }


def load_foreign(path: Path, game: str | None, choices: Mapping[str, Any], *, nameless: bool = False) -> Agent:
    """The agent in a foreign file; see :func:`facts`.

    Raises:
        CheckpointError: as there; or a tensor does not fit.
        DependencyError: as there.
    """
    found, known = facts(path, game, choices, nameless=nameless)
    agent = Agent(network=network_of(path, found), **known)
    return dataclasses.replace(agent, warnings=(*found.warnings, *warnings_about(agent)))


