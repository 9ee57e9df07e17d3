"""Our checkpoint format: a safetensors file whose metadata says everything the weights do not.

Metadata, all strings: ``format`` and ``format_version``; ``network``; ``game``; ``actions`` (JSON list, in the order of
the outputs); ``preprocessing`` (JSON object, the fields of :class:`rl.preprocessing.Preprocessing`); ``agent_steps``;
``score`` (JSON object or null); ``algorithm``.  Tensors are named as in the network's state dict; half precision on
disk becomes float32 in memory.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from rl.checkpoints import sequential
from rl.checkpoints.agent import Agent, Score
from rl.checks import check_readable, real_number, shown, whole_number
from rl.games import game_actions, resolve_game
from rl.network import NETWORKS, QNetwork
from rl.preprocessing import Preprocessing, check_supported
from seqxai.errors import CheckpointError, InputError
from seqxai.files import written_whole

FORMAT = "seqxai-agent"
FORMAT_VERSION = "1"
SUFFIX = ".safetensors"
STEP_DIGITS_MAX = 18
WEIGHTS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
COPY = "copy or download the checkpoint again"
AGAIN = "save the agent again with rl.save_agent"
HEADER_BYTES_MAX = 100_000_000
"""The limit of the safetensors format itself; a longer header is not one."""

RUNS_CODE = "such a file can run code when it is opened, so seqxai never opens it; export the weights as safetensors"
FOREIGN = (
    (b"PK\x03\x04", f"a zip archive (PyTorch or stable-baselines3 save this way) which holds pickles: {RUNS_CODE}"),
    (b"\x80", f"a Python pickle: {RUNS_CODE}"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"\x89HDF", "an HDF5 file (Keras); export the weights as safetensors"),
)


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
    with written_whole(path, (SUFFIX,)) as partial:
        save_file(tensors, partial, metadata=metadata)


def _check_architecture(agent: Agent) -> None:
    """Refuse to write what :func:`load` would refuse to read."""
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


def load(path: str | os.PathLike[str]) -> Agent:
    """Read an agent from a file, checking everything that can be checked; nothing in the file is executed.

    Args:
        path: a file :func:`save_agent` wrote, or a plain ``Sequential`` (:mod:`rl.checkpoints.sequential`).

    Returns:
        The agent, its network in float32, in evaluation mode, without gradients.

    Raises:
        CheckpointError: the file is missing, damaged, of another kind, or disagrees with itself or with the game.
        DependencyError: the emulator, which knows the game's actions, is not installed.
    """
    path = Path(path)
    facts = describe(path)
    return Agent(network=_network(path, facts.architecture, _tensors(path, facts.architecture), len(facts.actions)), **vars(facts))


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


def describe(path: str | os.PathLike[str]) -> Description:
    """Read and check what a checkpoint says of its agent; the weights are not read.

    Args:
        path: as for :func:`load`.

    Raises:
        CheckpointError: as :func:`load`, but for what is wrong with weights.
        DependencyError: the emulator, which knows the game's actions, is not installed.
    """
    path = Path(path)
    check_is_safetensors(path)
    with _opened(path) as file:
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
    )


def check_is_safetensors(path: Path) -> None:
    """Look at a file's first bytes and its length, before any parser does.

    Raises:
        CheckpointError: missing, no regular file, empty, another format, or shorter than its header says.
    """
    check_readable(path, "checkpoint", SUFFIX, CheckpointError)
    try:
        with path.open("rb") as file:
            start = file.read(9)
            size = path.stat().st_size
            if not size:
                raise CheckpointError(f"{path} is empty; copy or download the checkpoint again")
            if start[8:9] != b"{" or not _header_bytes(start):
                raise CheckpointError(f"{path} is not a safetensors file{_what_it_is(start)}")
            _check_length(path, size, file.read(_header_bytes(start)), _header_bytes(start))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}; {COPY}") from error


def _header_bytes(start: bytes) -> int:
    """Bytes of the header that follow the first nine; 0 when the number cannot be one."""
    count = int.from_bytes(start[:8], "little") - 1
    return count if 0 < count < HEADER_BYTES_MAX else 0


def _what_it_is(start: bytes) -> str:
    """The second half of a sentence: what kind of file this is instead, and what to do."""
    kinds = [description for magic, description in FOREIGN if start.startswith(magic)]
    return f" but {kinds[0]}" if kinds else "; expected a checkpoint saved by seqxai, with rl.save_agent"


def _check_length(path: Path, size: int, rest: bytes, rest_bytes: int) -> None:
    """Compare a file's length with what its header announces (the header's first byte, ``{``, is not in ``rest``)."""
    header_end = 9 + rest_bytes
    try:
        header = json.loads(b"{" + rest) if size >= header_end else {}
        needed = header_end + max((t["data_offsets"][1] for n, t in header.items() if n != "__metadata__"), default=0)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} has a damaged header; copy or download the checkpoint again") from error
    if size < needed:
        raise CheckpointError(
            f"{path} is truncated: its header announces {needed} bytes, the file has {size}; "
            "copy or download the checkpoint again"
        )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A safetensors file open for reading."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except Exception as error:  # bytes at random: safetensors and torch each fail in ways of their own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(f"{path} is damaged ({reason[:200]}); {COPY}") from error


def _tensors(path: Path, architecture: str) -> dict[str, torch.Tensor]:
    """The weights, by the names they have in the network."""
    with _opened(path) as file:
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
    if metadata.get("network") not in NETWORKS:
        raise CheckpointError(
            f"{path} names the network {shown(metadata.get('network'))}; known networks: {', '.join(sorted(NETWORKS))}; "
            "use the seqxai that wrote it, or a newer one"
        )


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


def _network(path: Path, architecture: str, tensors: dict[str, torch.Tensor], actions: int) -> QNetwork:
    """The network with the file's weights, once every tensor fits."""
    with torch.device("meta"):
        network = NETWORKS[architecture](actions)
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
    names = {field.name for field in dataclasses.fields(Preprocessing)}
    if not isinstance(stored, dict) or set(stored) != names:
        raise CheckpointError(f"{path}: 'preprocessing' must have exactly the fields {', '.join(sorted(names))}; {AGAIN}")
    for name, default in dataclasses.asdict(Preprocessing()).items():
        if type(stored[name]) is not type(default):
            kind = type(default).__name__
            raise CheckpointError(f"{path}: preprocessing {name}={shown(stored[name])} should be a {kind}; {AGAIN}")
    preprocessing = Preprocessing(**stored)
    try:
        check_supported(preprocessing)
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
