"""Our checkpoint format: a safetensors file whose metadata says everything the weights do not.

Metadata, all strings: ``format`` and ``format_version``; ``network``; ``game``; ``actions`` (JSON list, in the order of
the outputs); ``preprocessing`` (JSON object, the fields of :class:`rl.preprocessing.Preprocessing`); ``agent_steps``;
``score`` (JSON object or null); ``algorithm``; of agents that came from other libraries ``source``, ``layout``
(:mod:`rl.layout`) and ``canned_values``, the values of three fixed pictures when it was converted
(:mod:`rl.checkpoints.fingerprint`).  Tensors are named as in the network's state dict; half precision on disk becomes
float32 in memory.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from rl.checkpoints import sequential
from rl.checkpoints.agent import Agent, Score
from rl.checkpoints.fingerprint import canned_values
from rl.checkpoints.safe import SUFFIX as SUFFIX
from rl.checkpoints.safe import begins_like_safetensors, opened
from rl.checks import real_number, shown, whole_number
from rl.games import game_actions, resolve_game
from rl.layout import Layout, LayoutNetwork
from rl.network import NETWORKS, QNetwork
from rl.preprocessing import ADDED, Preprocessing, check_supported
from seqxai.errors import CheckpointError, InputError
from seqxai.files import written_whole

FORMAT = "seqxai-agent"
FORMAT_VERSION = "1"
LAYOUT = "layout"
"""The network of agents of other libraries: its metadata entry ``layout`` says what it looks like, see :mod:`rl.layout`."""

STEP_DIGITS_MAX = 18
WEIGHTS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
OUR_DIVISOR = 255.0
CANNED_TOLERANCE = 1e-2
"""Half precision on disk moves values by some thousandths."""

AGAIN = "save the agent again with rl.save_agent"


def save_agent(agent: Agent, path: str | os.PathLike[str], *, half: bool = False) -> None:
    """Write an agent to a file.

    Args:
        agent: what to save.
        path: file name ending in ``.safetensors``.
        half: store the weights in half precision, at half the size.

    Raises:
        InputError: the path cannot be written, or the network is not what ``agent.architecture`` says, so that nobody could
            read the file.
    """
    _check_architecture(agent)
    dtype = torch.float16 if half else torch.float32
    tensors = {name: tensor.to(dtype).contiguous() for name, tensor in agent.network.state_dict().items()}
    metadata = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "network": agent.architecture,
        "game": agent.game,
        "actions": json.dumps(agent.actions),
        "preprocessing": json.dumps(dataclasses.asdict(agent.preprocessing)),
        "agent_steps": str(agent.agent_steps),
        "score": json.dumps(dataclasses.asdict(agent.score) if agent.score else None),
        "algorithm": agent.algorithm,
    }
    if isinstance(agent.network, LayoutNetwork):
        values = [[round(value, 6) for value in row] for row in canned_values(agent).tolist()]
        metadata |= {"layout": agent.network.layout.to_json(), "source": agent.source, "canned_values": json.dumps(values)}
    with written_whole(path, (SUFFIX,)) as partial:
        save_file(tensors, partial, metadata=metadata)


def _check_architecture(agent: Agent) -> None:
    """Refuse to write what :func:`load` would refuse to read; a network that carries its layout describes itself."""
    if isinstance(agent.network, LayoutNetwork):
        return
    if agent.architecture not in NETWORKS:
        raise InputError(f"unknown network {shown(agent.architecture)}: expected architecture={' or '.join(map(repr, sorted(NETWORKS)))}")
    with torch.device("meta"):
        expected = NETWORKS[agent.architecture](len(agent.actions)).state_dict()
    given = agent.network.state_dict()
    for name in sorted(set(expected) | set(given)):
        shapes = [tuple(weights[name].shape) if name in weights else "none" for weights in (expected, given)]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"the network is not the {agent.architecture!r} network for {len(agent.actions)} actions: expected {name!r} of shape "
                f"{shapes[0]}, got {shapes[1]}; give Agent(architecture=...) the name of its network"
            )


def load_native(path: Path) -> Agent:
    """Read an agent from a safetensors file, checking everything that can be checked; nothing in the file is executed.

    Args:
        path: a file :func:`save_agent` wrote, or a plain ``Sequential`` (:mod:`rl.checkpoints.sequential`).

    Returns:
        The agent, its network in float32, in evaluation mode, without gradients.

    Raises:
        CheckpointError: the file is missing, damaged, of another kind, or disagrees with itself or with the game.
        DependencyError: the emulator, which knows the game's actions, is not installed.
    """
    facts = describe(path)
    network = _network(path, facts, _tensors(path, facts.architecture))
    known = {field.name: getattr(facts, field.name) for field in dataclasses.fields(facts) if field.name not in ("layout", "canned_values")}
    agent = Agent(network=network, **known)
    return dataclasses.replace(agent, warnings=_as_when_converted(agent, facts.canned_values))


def _as_when_converted(agent: Agent, stored: str) -> tuple[str, ...]:
    """A warning where the network does not give the values it gave when it was converted."""
    if not stored or not isinstance(agent.network, LayoutNetwork):
        return ()
    values = canned_values(agent)
    try:
        expected = torch.tensor(json.loads(stored), dtype=torch.float32)
        apart = float((values - expected).abs().max() / expected.abs().max().clamp(min=1.0))
    except (ValueError, TypeError, RuntimeError, RecursionError):
        return ("the values of fixed pictures that were stored with it cannot be read",)
    return (f"fixed pictures are worth other values than when it was converted, by {apart:.1e}",) if not apart <= CANNED_TOLERANCE else ()


@dataclasses.dataclass(frozen=True)
class Description:
    """What a checkpoint says of its agent, its weights unread: the fields of :class:`Agent` but for the network."""

    game: str
    actions: tuple[str, ...]
    preprocessing: Preprocessing
    agent_steps: int
    score: Score | None
    algorithm: str
    architecture: str
    source: str = "seqxai"
    layout: Layout | None = None
    canned_values: str = ""


def recognised(path: Path) -> bool:
    """Whether a safetensors file is ours or a plain ``Sequential``, rather than the weights of another library.

    Raises:
        CheckpointError: it is damaged.
    """
    with opened(path) as file:
        metadata, names = dict(file.metadata() or {}), list(file.keys())
    return metadata.get("format") is not None or sequential.recognised(metadata, names) or not foreign_names(names)


def foreign_names(names: list[str]) -> bool:
    """Whether tensors are named as in some other library: by modules within modules."""
    return sum(name.count(".") > 1 for name in names) >= 4


def describe(path: str | os.PathLike[str]) -> Description:
    """Read and check what a checkpoint says of its agent; the weights are not read.

    Args:
        path: as for :func:`load`.

    Raises:
        CheckpointError: as :func:`load`, but for what is wrong with weights.
        DependencyError: the emulator, which knows the game's actions, is not installed.
    """
    path = Path(path)
    if not begins_like_safetensors(path):
        raise CheckpointError(f"{path} is not a safetensors file; save agents with rl.save_agent")
    with opened(path) as file:
        metadata, names = dict(file.metadata() or {}), list(file.keys())
    if sequential.recognised(metadata, names):
        metadata = sequential.translated_metadata(path, metadata)
    else:
        _check_format(path, metadata)
    _check_network(path, metadata)
    game, actions = _game_and_actions(path, metadata)
    return Description(
        game=game,
        actions=actions,
        preprocessing=_preprocessing(path, metadata),
        agent_steps=_agent_steps(path, metadata),
        score=_score(path, metadata),
        algorithm=metadata.get("algorithm", "unknown"),
        architecture=metadata["network"],
        source=metadata.get("source", "seqxai"),
        layout=_layout(path, metadata),
        canned_values=metadata.get("canned_values", ""),
    )


def _tensors(path: Path, architecture: str) -> dict[str, torch.Tensor]:
    """The weights, by the names they have in the network."""
    with opened(path) as file:
        metadata, names = dict(file.metadata() or {}), list(file.keys())
        own = sequential.own_names(architecture, names) if sequential.recognised(metadata, names) else {}
        return {own.get(name, name): file.get_tensor(name) for name in names}


def _check_format(path: Path, metadata: dict[str, str]) -> None:
    """Refuse files of other programs and of later versions."""
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} does not say what it is: expected the metadata format={FORMAT!r}, got {shown(metadata.get('format'))}; "
            "save agents with rl.save_agent"
        )
    if metadata.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {shown(metadata.get('format_version'))}, this seqxai reads {FORMAT_VERSION!r}; "
            "use the seqxai that wrote it, or a newer one"
        )


def _check_network(path: Path, metadata: dict[str, str]) -> None:
    """Refuse a network nobody here knows."""
    if metadata.get("network") not in (*NETWORKS, LAYOUT):
        raise CheckpointError(
            f"{path} names the network {shown(metadata.get('network'))}; known networks: {', '.join(sorted(NETWORKS))}; "
            "use the seqxai that wrote it, or a newer one"
        )


def _layout(path: Path, metadata: dict[str, str]) -> Layout | None:
    """What the network looks like, where it is one of another library."""
    if metadata["network"] != LAYOUT:
        return None
    try:
        layout = Layout.from_json(metadata.get("layout", ""))
    except InputError as error:
        raise CheckpointError(f"{path}: {error}; {AGAIN}") from error
    return layout


def _json(path: Path, metadata: dict[str, str], name: str) -> Any:
    """One metadata entry, parsed."""
    try:
        return json.loads(metadata[name])
    except KeyError as error:
        raise CheckpointError(f"{path} lacks the metadata entry {name!r}; {AGAIN}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} has a metadata entry {name!r} that is not JSON: {shown(metadata[name])}; {AGAIN}"
        ) from error


def _game_and_actions(path: Path, metadata: dict[str, str]) -> tuple[str, tuple[str, ...]]:
    """The game, and its actions in the order of the outputs."""
    try:
        game = resolve_game(metadata.get("game", ""))
    except InputError as error:
        raise CheckpointError(f"{path}: {error}") from error
    actions = _json(path, metadata, "actions")
    possible = game_actions(game)
    if not isinstance(actions, list) or not all(isinstance(a, str) for a in actions) or sorted(actions) != sorted(possible):
        given = " ".join(map(str, actions[:18])) if isinstance(actions, list) else shown(actions)
        raise CheckpointError(
            f"{path}: the actions do not fit the game; {game} has {len(possible)} ({' '.join(possible)}), "
            f"the checkpoint names {given}; {AGAIN}"
        )
    return game, tuple(actions)


def _network(path: Path, facts: Description, tensors: dict[str, torch.Tensor]) -> QNetwork:
    """The network with the file's weights, once every tensor fits."""
    actions, architecture = len(facts.actions), facts.architecture
    with torch.device("meta"):
        network = NETWORKS[architecture](actions) if facts.layout is None else LayoutNetwork(facts.layout, actions)
    expected = network.state_dict()
    missing, extra = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    if missing or extra:
        raise CheckpointError(
            f"{path} is not a {architecture!r} network: "
            f"missing tensors {missing or 'none'}, unexpected tensors {extra[:10] or 'none'}; {AGAIN}"
        )
    for name, tensor in tensors.items():
        _check_tensor(path, name, tensor, expected[name], actions if name.rsplit(".", 1)[0] in network.outputs else None)
    network.load_state_dict({name: tensor.to(torch.float32) for name, tensor in tensors.items()}, assign=True)
    return network.eval().requires_grad_(False)


def _check_tensor(path: Path, name: str, tensor: torch.Tensor, expected: torch.Tensor, actions: int | None) -> None:
    """Shape, type and finiteness of one tensor; ``actions`` is given where each action has an output."""
    shape, wanted = tuple(tensor.shape), tuple(expected.shape)
    if shape != wanted and actions is not None:
        outputs = shape[0] if shape else 0
        raise CheckpointError(f"{path}: the weights have {outputs} outputs, but {actions} actions are named; {AGAIN}")
    if shape != wanted:
        raise CheckpointError(f"{path}: tensor {name!r} has shape {shape}, expected {wanted}; {AGAIN}")
    if tensor.dtype not in WEIGHTS:
        names = ", ".join(str(dtype).removeprefix("torch.") for dtype in WEIGHTS)
        raise CheckpointError(
            f"{path}: tensor {name!r} holds {tensor.dtype}, expected floating point weights ({names}); {AGAIN}"
        )
    if not torch.isfinite(tensor.to(torch.float32)).all():
        raise CheckpointError(
            f"{path}: tensor {name!r} contains NaN or infinity; the training had diverged, use an earlier checkpoint"
        )


def _preprocessing(path: Path, metadata: dict[str, str]) -> Preprocessing:
    """How the agent saw the screen; every field must be there, since a default would be a guess."""
    stored = _json(path, metadata, "preprocessing")
    defaults = dataclasses.asdict(Preprocessing())
    if isinstance(stored, dict):
        stored = {name: defaults[name] for name in ADDED} | stored
    names = set(defaults)
    if not isinstance(stored, dict) or set(stored) != names:
        raise CheckpointError(f"{path}: 'preprocessing' must have exactly the fields {', '.join(sorted(names))}; {AGAIN}")
    for name, default in defaults.items():
        if type(stored[name]) is not type(default):
            kind = type(default).__name__
            raise CheckpointError(f"{path}: preprocessing {name}={shown(stored[name])} should be a {kind}; {AGAIN}")
    preprocessing = Preprocessing(**stored)
    try:
        check_supported(preprocessing)
        if metadata["network"] != LAYOUT and preprocessing.divisor != OUR_DIVISOR:
            raise InputError(
                f"the agent was trained with divisor={preprocessing.divisor}; only {OUR_DIVISOR} is supported for the network "
                f"{metadata['network']!r}; choose an agent that was trained so"
            )
    except InputError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return preprocessing


def _agent_steps(path: Path, metadata: dict[str, str]) -> int:
    """Training length."""
    steps = metadata.get("agent_steps", "")
    if not (steps.isascii() and steps.isdecimal() and len(steps) <= STEP_DIGITS_MAX):
        raise CheckpointError(f"{path}: the metadata 'agent_steps' should be a number, got {shown(steps)}; {AGAIN}")
    return int(steps)


def _score(path: Path, metadata: dict[str, str]) -> Score | None:
    """The measured score, if there is one."""
    stored = _json(path, metadata, "score")
    if stored is None:
        return None
    try:
        games = whole_number("games", stored["games"])
        score = Score(real_number("mean", stored["mean"]), real_number("max", stored["max"]), games)
    except (KeyError, TypeError, InputError) as error:
        raise CheckpointError(
            f"{path}: 'score' needs the numbers mean, max and games, got {shown(stored)}; {AGAIN}"
        ) from error
    if score.games < 1:
        raise CheckpointError(f"{path}: 'score' needs at least one game, got {shown(stored)}; {AGAIN}")
    return score
