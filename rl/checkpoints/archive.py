"""What kind of file this is, by its content, and its tensors and plain data: zip, gzip, PyTorch's two formats, safetensors.

Sizes are checked before anything is unpacked, and unpacking stops at the size that was announced.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl.checkpoints.pickled import Damaged, Machine, Refused, StoredStorage, StoredTensor, refusal, tensors
from rl.checks import check_readable
from seqxai.errors import CheckpointError

if TYPE_CHECKING:
    import torch

FILE_BYTES_MAX = 2 * 2**30
MEMBER_BYTES_MAX = 512 * 2**20
"""The largest network here has 30 MB; with optimiser and target network a file holds a tenth of this."""

PICKLE_BYTES_MAX = 16 * 2**20
TEXT_BYTES_MAX = 64 * 2**20
MEMBERS_MAX = 20_000

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001

COPY = "copy or download the checkpoint again"
OTHER = (
    (b"\x89HDF", "an HDF5 file (Keras); export the weights as safetensors"),
    (b"\x93NUMPY", "a numpy array; save the network's whole state dict instead"),
    (b"BZh", "a bzip2 archive; unpack it first"),
    (b"\xfd7zXZ", "an xz archive; unpack it first"),
    (b"7z\xbc\xaf", "a 7-Zip archive; unpack it first"),
    (b"Rar!", "a RAR archive; unpack it first"),
    (b"%PDF", "a PDF document"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; fetch it with: git lfs pull"),
    (b"<!DOCTYPE", "a web page; the download went wrong"),
    (b"<html", "a web page; the download went wrong"),
)


@dataclass(frozen=True, eq=False)
class Content:
    """What a file holds, nothing of it run.

    Attributes:
        path: the file.
        container: in words, such as ``"PyTorch file in a gzip archive"``.
        members: names of the zip members; empty for other files.
        text: for Stable-Baselines3, what its JSON member says in plain values; for safetensors the metadata.
        tree: nested dictionaries of plain values.
        stored: every tensor's description, by its names joined with points.
        fetch: reads the bytes of a storage.
    """

    path: Path
    container: str
    members: tuple[str, ...] = ()
    text: dict[str, Any] = field(default_factory=dict)
    tree: Any = None
    stored: dict[str, StoredTensor] = field(default_factory=dict)
    fetch: Callable[[StoredStorage], bytes] | None = None

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor."""
        return self.stored[name].shape

    def tensor(self, name: str) -> torch.Tensor:
        """A tensor, a copy of its own.

        Raises:
            CheckpointError: it is missing, or its bytes are damaged.
        """
        import torch

        described = self.stored.get(name)
        if described is None:
            raise CheckpointError(f"{self.path} lacks the tensor {name!r}; save the network's whole state dict")
        if 0 in described.shape:
            return torch.zeros(described.shape)
        assert self.fetch is not None
        data = self.fetch(described.storage)
        if len(data) != described.storage.bytes:
            raise CheckpointError(
                f"{self.path}: tensor {name!r} should have {described.storage.bytes} bytes, the file has {len(data)}; {COPY}"
            )
        flat = torch.frombuffer(bytearray(data), dtype=getattr(torch, described.storage.dtype))
        return flat.as_strided(described.shape, described.stride, described.offset).clone(memory_format=torch.contiguous_format)


def read_content(path: Path) -> Content:
    """Look into a file that is no safetensors file.

    Raises:
        CheckpointError: missing, empty, too large, of an unknown kind, damaged, or asking for code to be run.
    """
    check_readable(path, "checkpoint", "", CheckpointError)
    try:
        size = path.stat().st_size
        if size > FILE_BYTES_MAX:
            raise CheckpointError(f"{path} has {size} bytes, more than the {FILE_BYTES_MAX} of any agent; give the agent's file")
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}; {COPY}") from error
    if not data:
        raise CheckpointError(f"{path} is empty; {COPY}")
    if data.startswith(b"\x1f\x8b"):
        return _opened(path, _gunzipped(path, data), " in a gzip archive")
    return _opened(path, data, "")


def _opened(path: Path, data: bytes, where: str) -> Content:
    if data.startswith(b"PK"):
        return _zip(path, data, where)
    if data.startswith(b"\x80"):
        return _legacy(path, data, where)
    kinds = [words for magic, words in OTHER if data.startswith(magic)] or _by_later_bytes(data)
    raise CheckpointError(
        f"{path} holds {kinds[0]}" if kinds else f"{path} is no checkpoint{where}: expected one saved by seqxai, Stable-Baselines3 or "
        f"PyTorch, and its first bytes are {data[:4].hex(' ')}; {COPY}"
    )


def _by_later_bytes(data: bytes) -> list[str]:
    return ["a tar archive; unpack it first"] if data[257:262] == b"ustar" else []


def _gunzipped(path: Path, data: bytes) -> bytes:
    """The content of a gzip archive, no more than is allowed."""
    inflater = zlib.decompressobj(wbits=31)
    try:
        content = inflater.decompress(data, MEMBER_BYTES_MAX + 1)
    except zlib.error as error:
        raise CheckpointError(f"{path} is a damaged gzip archive ({error}); {COPY}") from error
    if len(content) > MEMBER_BYTES_MAX:
        raise CheckpointError(f"{path} unpacks to more than {MEMBER_BYTES_MAX} bytes, which no agent has; give the agent's file")
    if not inflater.eof:
        raise CheckpointError(f"{path} is a truncated gzip archive; {COPY}")
    return content


# ---- zip -------------------------------------------------------------------------------------------------------------------------------


class Members:
    """The members of a zip archive, each read once and only up to a limit.

    Args:
        path: for messages.
        data: the archive.
        where: how it was packed, for messages.
    """

    def __init__(self, path: Path, data: bytes, where: str = "") -> None:
        self.path, self.where = path, where
        try:
            self.archive = zipfile.ZipFile(io.BytesIO(data))
        except Exception as error:  # bytes at random: zipfile fails in many ways
            raise CheckpointError(f"{path} is a damaged or truncated zip archive ({_reason(error)}); {COPY}") from error
        listed = self.archive.infolist()
        if len(listed) > MEMBERS_MAX:
            raise CheckpointError(f"{path} has {len(listed)} members, more than any agent; give the agent's file")
        self.infos = {info.filename: info for info in listed}
        if len(self.infos) != len(listed):
            raise CheckpointError(f"{path} has two members of one name, of which programs see different ones; {COPY}")

    def read(self, name: str, limit: int = MEMBER_BYTES_MAX) -> bytes:
        """One member's content.

        Raises:
            CheckpointError: missing, larger than ``limit``, or damaged.
        """
        info = self.infos.get(name)
        if info is None:
            raise CheckpointError(f"{self.path} lacks the member {name!r}; {COPY}")
        if info.file_size > limit:
            raise CheckpointError(
                f"{self.path}: the member {name[:60]!r} unpacks to {info.file_size} bytes, more than the {limit} allowed; "
                "give the agent's own file"
            )
        try:
            with self.archive.open(info) as member:
                return member.read(limit + 1)
        except Exception as error:  # bytes at random: zlib, zipfile and the cipher each fail in ways of their own
            raise CheckpointError(f"{self.path}: the member {name[:60]!r} is damaged ({_reason(error)}); {COPY}") from error


def _reason(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:120]


def _zip(path: Path, data: bytes, where: str) -> Content:
    members = Members(path, data, where)
    names = set(members.infos)
    if "policy.pth" in names and "data" in names:
        return _stable_baselines3(members)
    pickles = [name for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) == 1:
        return _torch_zip(members, pickles[0])
    raise CheckpointError(f"{path} is a zip archive of {_something_else(names)}")


def _something_else(names: set[str]) -> str:
    """What a zip archive holds instead of an agent, and what to do."""
    if any(name.endswith("constants.pkl") for name in names):
        return "TorchScript, which is code; save the network's state dict instead: torch.save(network.state_dict(), 'weights.pt')"
    if names and all(name.endswith(".npy") for name in names):
        return "numpy arrays; save the network's state dict with torch.save or as safetensors instead"
    if "tensors.pth" in names or "params.pth" in names or "parameters" in names:
        return "an early Stable-Baselines; load it there and save it again with version 1.0 or later"
    nested = sorted(name for name in names if name.endswith((".zip", ".pt", ".pth", ".gz", ".cleanrl_model", ".safetensors")))
    if nested:
        return f"other files, such as {nested[0][:60]}; unpack it and give one of them"
    return "something else: expected one of Stable-Baselines3 (member policy.pth) or PyTorch (member data.pkl); give the agent's own file"


def _torch_zip(members: Members, pickle: str) -> Content:
    """A file of ``torch.save``."""
    prefix = pickle.removesuffix("data.pkl")
    order = f"{prefix}byteorder"
    if order in members.infos and members.read(order, 64).strip() != b"little":
        raise CheckpointError(f"{members.path} was written on a big-endian machine; save it again on an ordinary one")
    if f"{prefix}constants.pkl" in members.infos:
        raise CheckpointError(f"{members.path} is a zip archive of {_something_else(set(members.infos))}")
    machine = Machine(memoryview(members.read(pickle, PICKLE_BYTES_MAX)))
    tree, _ = _run(members.path, machine)
    held: dict[str, bytes] = {}

    def fetch(storage: StoredStorage) -> bytes:
        if storage.key not in held:
            held[storage.key] = members.read(f"{prefix}data/{storage.key}")
        return held[storage.key]

    return Content(members.path, f"PyTorch file{members.where}", tuple(members.infos), {}, tree, dict(tensors(tree)), fetch)


def _run(path: Path, machine: Machine) -> tuple[Any, int]:
    """The data of a pickle, and where it ends."""
    try:
        return machine.run()
    except Refused as error:
        raise refusal(path, str(error)) from error
    except Damaged as error:
        raise CheckpointError(f"{path} is damaged or no checkpoint ({error}); {COPY}") from error


def _stable_baselines3(members: Members) -> Content:
    """A model of Stable-Baselines3: its weights are a PyTorch file inside; of the rest only what is plain text is read."""
    inner = _zip_inside(members, "policy.pth")
    said = _plain_json(members.path, members.read("data", TEXT_BYTES_MAX))
    if "_stable_baselines3_version" in members.infos:
        said["_stable_baselines3_version"] = members.read("_stable_baselines3_version", 64).decode("ascii", "replace").strip()
    return Content(
        members.path, f"Stable-Baselines3 zip{members.where}", tuple(members.infos), said, inner.tree, inner.stored, inner.fetch
    )


def _zip_inside(members: Members, name: str) -> Content:
    data = members.read(name)
    if data.startswith(b"PK"):
        inside = Members(members.path, data)
        pickles = [n for n in inside.infos if n.endswith("data.pkl")]
        if len(pickles) == 1:
            return _torch_zip(inside, pickles[0])
    elif data.startswith(b"\x80"):
        return _legacy(members.path, data, "")
    raise CheckpointError(f"{members.path}: the member {name!r} is no PyTorch file; {COPY}")


def _plain_json(path: Path, data: bytes) -> dict[str, Any]:
    """A JSON object without its entries ``:serialized:``, which are pickles."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: the member 'data' is not JSON; {COPY}") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: the member 'data' is no JSON object; {COPY}")
    for value in found.values():
        if isinstance(value, dict):
            value.pop(":serialized:", None)
    return found


# ---- PyTorch's format before 1.6 ---------------------------------------------------------------------------------------------------------


def _legacy(path: Path, data: bytes, where: str) -> Content:
    """Pickles one after another: a magic number, a version, the machine, the object, the storages' keys; then the storages."""
    view = memoryview(data)
    magic, place = _run(path, Machine(view))
    if magic != LEGACY_MAGIC:
        raise CheckpointError(
            f"{path} is a bare Python pickle{where}; seqxai reads weights saved by torch.save only (for Dopamine's checkpoints there is "
            "the script experiments/convert_dopamine.py)"
        )
    version, place = _run(path, Machine(view, place))
    if version != LEGACY_PROTOCOL:
        raise CheckpointError(f"{path} is in an unknown old format of PyTorch; load it there and save it again")
    machine_facts, place = _run(path, Machine(view, place))
    if isinstance(machine_facts, dict) and machine_facts.get("little_endian") is False:
        raise CheckpointError(f"{path} was written on a big-endian machine; save it again on an ordinary one")
    machine = Machine(view, place)
    tree, place = _run(path, machine)
    keys, place = _run(path, Machine(view, place))
    pieces = _legacy_storages(path, view, place, keys, machine.storages)
    return Content(path, f"old PyTorch file{where}", (), {}, tree, dict(tensors(tree)), lambda storage: bytes(pieces[storage.key]))


def _legacy_storages(
    path: Path, view: memoryview, place: int, keys: Any, known: dict[str, StoredStorage]
) -> dict[str, memoryview]:
    """The bytes of every storage: each begins with its number of elements."""
    pieces: dict[str, memoryview] = {}
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in known for key in keys) or set(keys) != set(known):
        raise CheckpointError(f"{path} is damaged or no checkpoint (its list of storages does not fit); {COPY}")
    for key in keys:
        elements = int.from_bytes(view[place : place + 8], "little")
        end = place + 8 + known[key].bytes
        if elements != known[key].elements or end > len(view):
            raise CheckpointError(f"{path} is truncated or damaged (storage {key[:20]!r} is not whole); {COPY}")
        pieces[key] = view[place + 8 : end]
        place = end
    return pieces
