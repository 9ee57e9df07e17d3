"""Hostile and broken files of every format: nothing in them runs, and each gets one clear sentence."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import random
import re
import struct
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rl
from rl.checkpoints import archive, pickled
from rl.checkpoints.archive import read_content
from rl.checkpoints.foreign import find, network_of
from rl.checkpoints.inspection import inspected
from seqxai.errors import CheckpointError, SeqxaiError
from tests.rl import foreign_networks as nets
from tests.rl.foreign_networks import made

pytestmark = pytest.mark.atari


class Attack:
    """Unpickling this makes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def saved(what, **options) -> bytes:
    buffer = io.BytesIO()
    torch.save(what, buffer, **options)
    return buffer.getvalue()


def zipped(members: dict[str, bytes], **options) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def sb3_zip(policy: bytes, data: bytes = b"{}") -> bytes:
    return zipped({"data": data, "pytorch_variables.pth": b"", "policy.pth": policy, "_stable_baselines3_version": b"2.9.2"})


def weights():
    return made(nets.CleanDQN).state_dict()


def refused(content: bytes, tmp_path, text: str, name: str = "agent.zip") -> str:
    """Loading fails with one sentence that names the file and contains the text."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=re.escape(text)) as caught:
        rl.load(path, game="breakout")
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert len(message) < len(str(path)) + 420
    with pytest.raises(CheckpointError):
        inspected(path)
    return message


# ---- code ------------------------------------------------------------------------------------------------------------------------------


def attacks(trap):
    """Every format with a pickle that would make a folder when it is unpickled."""
    attack, good = Attack(trap), weights()
    disguised = dict(good) | {"network.0.weight": attack}
    for protocol in (2, 3, 4, 5):
        bare = pickle.dumps({"estimator_state": attack}, protocol=protocol)
        yield f"pickle {protocol}", bare
        yield f"gzip of pickle {protocol}", gzip.compress(bare)
    for modern in (True, False):
        options = {"_use_new_zipfile_serialization": modern}
        yield f"CleanRL {modern}", saved({"model_weights": good, "args": attack}, **options)
        yield f"weights {modern}", saved(disguised, **options)
        yield f"weights {modern}, protocol 4", saved(disguised, pickle_protocol=4, **options)
        yield f"atari-agents {modern}", gzip.compress(saved({"estimator_state": disguised}, **options))
        yield f"tianshou {modern}", saved({"model": good, "optim": [attack]}, **options)
        yield f"Stable-Baselines3 {modern}", sb3_zip(saved({"q_net.0.weight": attack}, **options))
    first = saved(good, _use_new_zipfile_serialization=False)
    yield "in place of the magic number", pickle.dumps(attack, protocol=2) + first
    yield "whole network", saved({"network": attack, "w": torch.nn.Linear(2, 2)})


def test_a_crafted_pickle_in_each_format_does_nothing(tmp_path):
    trap = tmp_path / "trap"
    tried = 0
    for name, content in attacks(trap):
        message = refused(content, tmp_path, "which only running code from the file could make, and seqxai never does", f"agent{tried}")
        assert "posix.mkdir" in message or "nt.mkdir" in message, name
        assert "save the weights alone: torch.save(network.state_dict(), 'weights.pt')" in message
        assert not trap.exists(), name
        tried += 1
    assert tried == 22
    torch.load(io.BytesIO(saved(Attack(trap))), weights_only=False)
    assert trap.is_dir(), "the attack itself works"


def test_what_stable_baselines3_serialises_is_not_even_decoded(tmp_path):
    trap = tmp_path / "trap"
    import base64

    attack = base64.b64encode(pickle.dumps(Attack(trap))).decode()
    data = json.dumps({"policy_class": {":type:": "<class 'abc.ABCMeta'>", ":serialized:": attack}, "num_timesteps": 77})
    names = {f"network.{i}": f"features_extractor.cnn.{i}" for i in (0, 2, 4)}
    names |= {"network.7": "features_extractor.linear.0", "network.9": "q_net.0"}
    policy = {f"q_net.{new}.{kind}": weights()[f"{old}.{kind}"] for old, new in names.items() for kind in ("weight", "bias")}
    path = tmp_path / "model.zip"
    path.write_bytes(sb3_zip(saved(policy), data.encode()))
    agent = rl.load(path, game="breakout")
    assert (agent.agent_steps, agent.source) == (77, "Stable-Baselines3 DQN")
    assert not trap.exists()


@pytest.mark.parametrize(
    ("what", "name"),
    [
        (np.zeros(3), "numpy"),
        ({"a": torch.nn.ReLU()}, "torch.nn.modules.activation.ReLU"),
        (slice(1, 2), "builtins.slice"),
        (complex(1, 2), "builtins.complex"),
        ({1, 2}, "the pickle instruction EMPTY_SET"),
        (bytearray(b"x" * 300), "bytearray"),
    ],
)
def test_what_is_refused_is_named(what, name, tmp_path):
    message = refused(saved({"x": what}, pickle_protocol=4), tmp_path, "which only running code from the file could make")
    assert name in message


def test_plain_values_of_all_kinds_are_read(tmp_path):
    plain = {
        "none": None, "truth": [True, False], "text": "ß" * 300, "bytes": b"\x00" * 300,
        "number": [0, -1, 255, 70_000, 2**40, -(2**70), 0.5], "tuple": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        "nested": {"a": [{"b": ({},)}]}, "shared": None, "size": (2, 3),
        "numpy": 0.25, "whole": 7, "device": "cpu",
    }  # fmt: skip
    plain["shared"] = plain["nested"]
    stored = plain | {"size": torch.Size([2, 3]), "numpy": np.float64(0.25), "whole": np.int32(7), "device": torch.device("cpu")}
    for protocol in (2, 3, 4, 5):
        for modern in (True, False):
            path = tmp_path / "x"
            path.write_bytes(saved(stored | {"w": torch.ones(2)}, pickle_protocol=protocol, _use_new_zipfile_serialization=modern))
            tree = read_content(path).tree
            assert {key: tree[key] for key in plain} == plain


def test_tensors_of_all_kinds_are_read(tmp_path):
    base = torch.arange(24.0)
    tensors = {
        "view": base[3:15:2], "transposed": base.view(4, 6).t(), "shared": base, "parameter": torch.nn.Parameter(torch.ones(2)),
        "half": torch.ones(3).half(), "bfloat": torch.ones(3).bfloat16(), "double": base.double(), "whole": torch.arange(5),
        "empty": torch.zeros(0, 3), "scalar": torch.tensor(2.5), "truth": torch.tensor([True, False]),
        "expanded": torch.ones(1).expand(3, 2), "byte": torch.arange(4, dtype=torch.uint8),
    }  # fmt: skip
    for modern in (True, False):
        path = tmp_path / "x"
        path.write_bytes(saved({"inner": tensors}, _use_new_zipfile_serialization=modern))
        content = read_content(path)
        for name, tensor in tensors.items():
            found = content.tensor(f"inner.{name}")
            assert torch.equal(found, tensor.detach()), name
            assert name == "empty" or found.dtype == tensor.dtype, name


# ---- sizes -----------------------------------------------------------------------------------------------------------------------------


def resized(content: bytes, size: int, announced: int) -> bytes:
    """A zip archive that announces another size of a member."""
    assert content.count(struct.pack("<I", size)) == 2
    return content.replace(struct.pack("<I", size), struct.pack("<I", announced))


def test_bombs(tmp_path, monkeypatch):
    zeros = bytes(17 * 2**20)
    bomb = zipped({"archive/data.pkl": zeros}, compression=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 20_000
    refused(bomb, tmp_path, "the member 'archive/data.pkl' unpacks to 17825792 bytes, more than the 16777216 allowed")
    bomb = resized(zipped({"policy.pth": bytes(10**6), "data": b"{}"}, compression=zipfile.ZIP_DEFLATED), 10**6, 4_000_000_000)
    refused(bomb, tmp_path, "the member 'policy.pth' unpacks to 4000000000 bytes, more than the 536870912 allowed")
    monkeypatch.setattr(archive, "MEMBER_BYTES_MAX", 10**6)
    refused(gzip.compress(zeros), tmp_path, "unpacks to more than 1000000 bytes, which no agent has")


def test_a_member_that_lies_about_its_size(tmp_path):
    content = resized(zipped({"policy.pth": bytes(10**6), "data": b"{}"}, compression=zipfile.ZIP_DEFLATED), 10**6, 1000)
    refused(content, tmp_path, "the member 'policy.pth' is damaged")


def test_pickles_that_would_eat_memory_or_the_stack(tmp_path, monkeypatch):
    monkeypatch.setattr(pickled, "INSTRUCTIONS_MAX", 3_000)  # instead of a million
    head = b"\x80\x02"
    for body, text in (
        (b"N" * 4_000 + b".", "more than 3000 instructions"),
        (b"}(" + b")" + b"\x85" * 100 + b"K\x01u.", "a dictionary whose keys are neither text nor numbers"),
        (b"\x8b\x20\x00\x00\x00" + b"\x7f" * 32 + b".", "an integer of more than 16 bytes"),
        (b"X\xff\xff\xff\x7fabc.", "in its pickle"),
        (b"]q\x00" + b"h\x00a" * 1000 + b".", "is a bare Python pickle"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x00))t R.", "in its pickle"),
    ):
        refused(head + body, tmp_path, text)


@pytest.mark.slow
def test_a_key_so_deep_that_hashing_it_would_end_the_program(tmp_path):
    refused(b"\x80\x02}(" + b")" + b"\x85" * 300_000 + b"K\x01u.", tmp_path, "a dictionary whose keys are neither text nor numbers")


def test_tensors_that_reach_beyond_their_storage(tmp_path):
    good = saved({"w": torch.ones(6)})
    data = zipfile.ZipFile(io.BytesIO(good)).read("archive/data.pkl")

    def changed(old: bytes, new: bytes) -> bytes:
        assert old in data
        members = zipfile.ZipFile(io.BytesIO(good))
        return zipped({name: (data.replace(old, new) if name.endswith("data.pkl") else members.read(name)) for name in members.namelist()})

    size = b"QK\x00K\x06\x85"
    assert size in data
    refused(changed(size, b"QK\x00K\x07\x85"), tmp_path, "a tensor that reaches beyond its storage")
    refused(changed(size, b"QK\x01K\x06\x85"), tmp_path, "a tensor that reaches beyond its storage")
    refused(changed(size, b"QJ\xff\xff\xff\xffK\x06\x85"), tmp_path, "a tensor without a sound shape")
    refused(changed(size + b"q\x08K\x01\x85", b"QK\x00J\xff\xff\xff\x7f\x85q\x08K\x00\x85"), tmp_path, "more than 268435456")
    content = changed(b"K\x06tq\x07Q", b"M\x00\x01tq\x07Q")  # 256 elements announced, 6 there
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(CheckpointError, match="should have 1024 bytes, the file has 24"):
        read_content(tmp_path / "x").tensor("w")


# ---- broken, renamed, mixed --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modern", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_truncated_at_every_place(modern, packed, tmp_path):
    content = saved(weights(), _use_new_zipfile_serialization=modern)
    content = gzip.compress(content, 1) if packed else content
    for share in (0.0002, 0.1, 0.5, 0.9, 0.9999):
        message = refused(content[: max(3, int(len(content) * share))], tmp_path, "; ")
        assert any(word in message for word in ("truncated", "damaged", "no checkpoint")), message


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is empty; copy or download the checkpoint again"),
        (b"PK\x03\x04", "is a damaged or truncated zip archive"),
        (b"\x1f\x8b", "is a truncated gzip archive"),
        (b"\x80", "is damaged or no checkpoint"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "holds an HDF5 file (Keras)"),
        (b"\x93NUMPY\x01\x00", "holds a numpy array"),
        (bytes(257) + b"ustar" + bytes(99), "holds a tar archive; unpack it first"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "holds a Git LFS pointer, not the file itself"),
        (b"<!DOCTYPE html><html>", "holds a web page; the download went wrong"),
        (b"no such thing", "expected one saved by seqxai, Stable-Baselines3 or PyTorch, and its first bytes are 6e 6f 20 73"),
        (zipped({"a.txt": b"x"}), "is a zip archive of something else: expected one of Stable-Baselines3"),
        (zipped({"a.npy": b"x"}), "is a zip archive of numpy arrays"),
        (zipped({"x/code/y.py": b"", "x/data.pkl": b"", "x/constants.pkl": b""}), "is a zip archive of TorchScript, which is code"),
        (zipped({"runs/dqn.zip": b"x"}), "is a zip archive of other files, such as runs/dqn.zip; unpack it and give one of them"),
        (zipped({"data": b"{}", "tensors.pth": b""}), "is a zip archive of an early Stable-Baselines"),
        (zipped({"data": b"{}", "policy.pth": b"PK"}), "is a damaged or truncated zip archive"),
        (zipped({"data": b"{}", "policy.pth": b"x"}), "the member 'policy.pth' is no PyTorch file"),
        (zipped({"data": b"[" * 10**5, "policy.pth": saved({"q": torch.ones(1)})}), "the member 'data' is not JSON"),
        (zipped({"data": b"[]", "policy.pth": saved({"q": torch.ones(1)})}), "the member 'data' is no JSON object"),
        (zipped({"a/data.pkl": pickle.dumps({}, 2), "a/byteorder": b"big"}), "was written on a big-endian machine"),
        (saved({}), "is a PyTorch file without any tensors; expected an agent's weights"),
        (saved({"a": torch.ones(2)}), "is a PyTorch file of an unknown agent (tensors a); known are Stable-Baselines3, CleanRL"),
        (pickle.dumps({"online_params": 1}), "is a bare Python pickle; seqxai reads weights saved by torch.save only (for Dopa"),
    ],
    ids=range(23),
)
def test_other_files(content, text, tmp_path):
    refused(content, tmp_path, text)


def test_two_members_of_one_name(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/data.pkl", b"a")
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("archive/data.pkl", b"b")
    refused(buffer.getvalue(), tmp_path, "has two members of one name, of which programs see different ones")


def shuffled(**changes):
    state = {**weights(), **changes}
    return saved({name: tensor for name, tensor in state.items() if tensor is not None})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"network.7.weight": None}, "'network.9' takes 20"),
        ({"network.7.bias": None}, "lacks the tensor 'network.7.bias'"),
        ({"network.7.weight": torch.zeros(nets.HIDDEN, 7744)}, "the convolutions end in 343 numbers, but 'network.7' takes 7744"),
        ({"network.0.weight": torch.zeros(6, 3, 8, 8)}, "takes 3 channels, expected the 4 grey planes of an Atari agent"),
        ({"network.2.weight": torch.zeros(8, 5, 4, 4)}, "'network.2.weight' takes 5 channels, expected 6 channels"),
        ({"network.2.weight": torch.zeros(8, 6, 4, 3)}, "has a kernel of 4 x 3, whose stride is not known"),
        ({"network.9.weight": torch.zeros(4, 31)}, "the tensor for 'values.weight' has shape (4, 31), expected (4, 20)"),
        ({"network.9.bias": torch.zeros(5)}, "the tensor for 'values.bias' has shape (5,), expected (4,)"),
        ({"network.9.bias": torch.full((4,), torch.nan)}, "the tensor for 'values.bias' contains NaN or infinity"),
        ({"network.9.bias": torch.zeros(4, dtype=torch.int64)}, "holds torch.int64, expected floating point"),
        ({"atoms": torch.tensor([0.0, 1.0, 5.0])}, "the values of the atoms in 'atoms' are not evenly spaced"),
        ({"atoms": torch.linspace(-1, 1, 3)}, "'network.9' has 4 outputs, no multiple of 3 atoms"),
        ({"network.0.weight": torch.zeros(6, 4)}, "expected"),
    ],
)
def test_tensors_that_do_not_fit(changes, text, tmp_path):
    refused(shuffled(**changes), tmp_path, text)


def test_agents_that_see_no_pictures(tmp_path):
    vector = {"q_net.q_net.0.weight": torch.ones(64, 4), "q_net.q_net.0.bias": torch.ones(64)}
    refused(sb3_zip(saved(vector)), tmp_path, "was not trained on pictures by Stable-Baselines3's CnnPolicy")
    recurrent = {"lstm_actor.weight_ih_l0": torch.ones(4, 4), "action_net.weight": torch.ones(4, 4)}
    refused(sb3_zip(saved(recurrent)), tmp_path, "is a recurrent policy; explain it in its environment with rl.ExplainedEnv")


# ---- 10,000 mutated files ----------------------------------------------------------------------------------------------------------------


def victims():
    """Small files of each kind: little weight, so that most of the bytes are structure."""
    shapes = {0: (1, 4, 8, 8), 2: (1, 1, 4, 4), 4: (1, 1, 3, 3), 7: (2, 49), 9: (4, 2)}
    tiny = {f"network.{place}.weight": torch.ones(shape) for place, shape in shapes.items()}
    tiny |= {f"network.{place}.bias": torch.ones(shape[0]) for place, shape in shapes.items()}
    plain = {"model_weights": tiny, "args": {"env_id": "Breakout-v4", "a": [1, 2.5, None, True], "n": np.float64(2.0)}}
    found = [saved(plain), saved(plain, pickle_protocol=4), saved(plain, _use_new_zipfile_serialization=False)]
    found.append(gzip.compress(found[2]))
    names = {place: f"features_extractor.cnn.{place}" for place in (0, 2, 4)} | {7: "features_extractor.linear.0", 9: "q_net.0"}
    policy = {f"q_net.{new}.{kind}": tiny[f"network.{old}.{kind}"] for old, new in names.items() for kind in ("weight", "bias")}
    found.append(sb3_zip(saved(policy), b'{"num_timesteps": 5, "policy_kwargs": {}}'))
    whole = zipfile.ZipFile(io.BytesIO(found[0]))
    found.append(zipped({name: whole.read(name) for name in whole.namelist()}, compression=zipfile.ZIP_DEFLATED))
    return found


VICTIMS = victims()


def survive(content: bytes, path) -> str | None:
    """Reading ends in a tree or in one of our errors; returns which."""
    path.write_bytes(content)
    message = None
    try:
        network_of(path, find(read_content(path), {}))
    except SeqxaiError as error:
        message = str(error)
    assert message is None or ("\n" not in message and len(message) < 700)
    return message


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Bytes changed, dropped, doubled, inserted, or parts of two files exchanged."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        place, kind = chance.randrange(len(data) or 1), chance.randrange(6)
        if kind <= 2 and data:
            data[place] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256), ord(chance.choice("RcbtuaQ\x85.(}]"))))
        elif kind == 3:
            del data[place : place + chance.choice((1, 4, 100))]
        elif kind == 4:
            data[place:place] = data[place : place + chance.choice((1, 8, 64))]
        else:
            other = chance.choice(VICTIMS)
            data[place : place + 40] = other[place : place + 40]
    return bytes(data)


def run_mutations(count: int, tmp_path) -> float:
    """The share that was refused."""
    assert [survive(victim, tmp_path / "x") for victim in VICTIMS] == [None] * len(VICTIMS)
    chance, failed = random.Random(1), 0
    for number in range(count):
        failed += survive(mutated(VICTIMS[number % len(VICTIMS)], chance), tmp_path / "x") is not None
    return failed / count


def test_some_mutated_files(tmp_path):
    assert 0.3 < run_mutations(60, tmp_path) < 1


@pytest.mark.slow
def test_ten_thousand_mutated_files(tmp_path):
    assert 0.3 < run_mutations(10_000, tmp_path) < 1


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(victim=st.integers(0, len(VICTIMS) - 1), place=st.floats(0, 1), patch=st.binary(min_size=1, max_size=12))
def test_patched_files(victim, place, patch, tmp_path):
    content = bytearray(VICTIMS[victim])
    at = int(place * (len(content) - 1))
    content[at : at + len(patch)] = patch
    survive(bytes(content), tmp_path / "x")


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(head=st.sampled_from([b"", b"PK\x03\x04", b"\x1f\x8b\x08", b"\x80\x02", b"\x80\x04"]), rest=st.binary(max_size=300))
def test_bytes_at_random(head, rest, tmp_path):
    assert survive(head + rest, tmp_path / "x") is not None
