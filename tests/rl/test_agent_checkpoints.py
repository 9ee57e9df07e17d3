"""Our checkpoint format: what comes back, and one clear sentence for everything that can be wrong with a file."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import rl
from rl.network import NatureNetwork, NipsNetwork
from rl.preprocessing import Preprocessing
from seqxai.errors import CheckpointError, InputError

pytestmark = pytest.mark.atari


@pytest.fixture
def saved(untrained, tmp_path):
    path = tmp_path / "agent.safetensors"
    rl.save_agent(untrained, path)
    return path


def rewrite(path, *, metadata=None, tensors=None):
    """Change a checkpoint: entries set to None are removed."""
    with safe_open(path, framework="pt") as file:
        new_metadata = {**file.metadata(), **(metadata or {})}
        new_tensors = {**{name: file.get_tensor(name) for name in file.keys()}, **(tensors or {})}
    save_file(
        {name: tensor for name, tensor in new_tensors.items() if tensor is not None},
        path,
        metadata={name: entry for name, entry in new_metadata.items() if entry is not None},
    )


def refused(path, text):
    """Loading fails with one sentence that names the file and contains the text."""
    with pytest.raises(CheckpointError, match=re.escape(text)) as caught:
        rl.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 400
    assert ";" in str(caught.value), "no word about what to do"


def test_what_is_saved_is_loaded(untrained, saved):
    loaded = rl.load(saved)
    for name, tensor in untrained.network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], tensor)
    for field in ("game", "actions", "preprocessing", "agent_steps", "score", "algorithm", "fingerprint"):
        assert getattr(loaded, field) == getattr(untrained, field)
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]
    assert saved.stat().st_mode & 0o444 == 0o444


def test_half_precision_comes_back_as_float32(untrained, tmp_path):
    path = tmp_path / "half.safetensors"
    rl.save_agent(untrained, path, half=True)
    assert path.stat().st_size < 3_400_000
    network = rl.load(path).network
    assert not network.training
    for name, tensor in network.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, untrained.network.state_dict()[name].half().float())
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_fingerprint_changes_with_any_weight(untrained):
    before = untrained.fingerprint
    with torch.no_grad():
        untrained.network.values.bias[2] += 1e-3
    assert untrained.fingerprint != before


def test_the_shipped_agent(shipped):
    assert (shipped.game, shipped.actions) == ("breakout", ("NOOP", "FIRE", "RIGHT", "LEFT"))
    assert (shipped.agent_steps, shipped.score.mean, shipped.score.games) == (3_080_192, 69.8125, 16)
    assert shipped.preprocessing == Preprocessing()
    assert sum(p.numel() for p in shipped.network.parameters()) == 1_686_180
    with pytest.raises(InputError, match=r"no agent for 'pong' is shipped, only for: breakout; give your own"):
        rl.shipped_agent("pong")


def test_the_network_divides_by_255_itself():
    network = NatureNetwork(3)
    seen = torch.randint(0, 256, (2, 4, 84, 84), dtype=torch.uint8)
    small = torch.relu(torch.conv2d(seen.float() / 255.0, network.conv1.weight, network.conv1.bias, stride=4))
    recorded = []
    with torch.no_grad():
        handle = network.conv2.register_forward_pre_hook(lambda module, inputs: recorded.append(inputs[0]))
        assert network(seen).shape == (2, 3)
    handle.remove()
    torch.testing.assert_close(recorded[0], small)


def test_missing_folder_and_empty(tmp_path):
    refused(tmp_path / "none.safetensors", "the file does not exist")
    refused(tmp_path, "is a folder; expected a checkpoint file ending in .safetensors")
    empty = tmp_path / "empty.safetensors"
    empty.touch()
    refused(empty, "is empty; copy or download the checkpoint again")


def test_pipes_and_devices_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    refused(tmp_path / "pipe.safetensors", "is a pipe or a device; expected a checkpoint file ending in .safetensors")
    refused(Path("/dev/zero"), "is a pipe or a device")
    refused(tmp_path / ("x" * 300), "cannot be read: File name too long")


@pytest.mark.parametrize("kept", [3, 8, 9, 400, 2000, -1])
def test_truncated(saved, kept):
    saved.write_bytes(saved.read_bytes()[:kept])
    text = "is no checkpoint: expected one saved by seqxai" if 0 < kept < 9 else "is truncated: its header announces"
    refused(saved, text)


def test_damaged_header(saved):
    content = bytearray(saved.read_bytes())
    content[8:12] = b"{:::"
    saved.write_bytes(content)
    refused(saved, "has a damaged header; copy or download the checkpoint again")


def test_pickles_are_named_and_never_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(pickle, "Unpickler", None)
    torch_file, plain, zipped = (tmp_path / name for name in ("a.pth", "b.pkl", "c.gz"))
    torch.save(NatureNetwork(4).state_dict(), torch_file)
    plain.write_bytes(pickle.dumps({"weights": [1.0]}))
    zipped.write_bytes(gzip.compress(b"weights"))
    refused(torch_file, "is a PyTorch file of an unknown agent (tensors conv1.weight, conv1.bias, conv2.weight, ...)")
    refused(plain, "is a bare Python pickle; seqxai reads weights saved by torch.save only")
    refused(zipped, "is no checkpoint in a gzip archive")


def test_a_header_that_begins_like_a_pickle_is_none(saved):
    for padding in range(0, 264, 8):  # the first byte is the low byte of the length of the header, in steps of 8
        rewrite(saved, metadata={"algorithm": "x" * padding})
        if saved.read_bytes().startswith(b"\x80"):
            break
    assert saved.read_bytes().startswith(b"\x80")
    assert rl.load(saved).algorithm == "x" * padding


def test_other_files(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("a text that is long enough to be read")
    refused(text, "is no checkpoint: expected one saved by seqxai, Stable-Baselines3 or PyTorch")
    keras = tmp_path / "model.h5"
    keras.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    refused(keras, "an HDF5 file (Keras)")


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ({"format": None}, "expected the metadata format='seqxai-agent', got None"),
        ({"format_version": "2"}, "has format version '2', this seqxai reads '1'"),
        ({"network": "rainbow"}, "names the network 'rainbow'; known networks: dueling, nature, nips"),
        ({"game": "brakeout"}, "unknown game 'brakeout'"),
        ({"game": None}, "unknown game ''"),
        ({"game": "pong"}, "the actions do not fit the game; pong has 6 (NOOP FIRE RIGHT LEFT RIGHTFIRE LEFTFIRE)"),
        ({"actions": '["NOOP", "FIRE"]'}, "breakout has 4 (NOOP FIRE RIGHT LEFT), the checkpoint names NOOP FIRE"),
        ({"actions": '["NOOP", "FIRE", "LEFT", "LEFT"]'}, "the checkpoint names NOOP FIRE LEFT LEFT"),
        ({"actions": "4"}, "the checkpoint names 4"),
        ({"actions": "NOOP FIRE"}, "has a metadata entry 'actions' that is not JSON: 'NOOP FIRE'"),
        ({"actions": None}, "lacks the metadata entry 'actions'"),
        ({"agent_steps": "many"}, "the metadata 'agent_steps' should be a number, got 'many'"),
        ({"score": '{"mean": 3}'}, "'score' needs the numbers mean, max and games"),
        ({"agent_steps": "9" * 5000}, "the metadata 'agent_steps' should be a number, got '999"),
        ({"agent_steps": "-3"}, "the metadata 'agent_steps' should be a number, got '-3'"),
        ({"score": '{"mean": 3, "max": 4, "games": Infinity}'}, "'score' needs the numbers mean, max and games"),
        ({"score": '{"mean": NaN, "max": 4, "games": 2}'}, "'score' needs the numbers mean, max and games"),
        ({"score": '{"mean": 3, "max": Infinity, "games": 2}'}, "'score' needs the numbers mean, max and games"),
        ({"score": '{"mean": 3, "max": 4, "games": 0}'}, "'score' needs at least one game"),
        ({"score": "[" * 100_000}, "has a metadata entry 'score' that is not JSON"),
        ({"score": "1" * 5000}, "has a metadata entry 'score' that is not JSON"),
        ({"actions": "[1, null]"}, "the checkpoint names 1 None; save the agent again"),
        ({"preprocessing": '{"frame_skip": 4}'}, "'preprocessing' must have exactly the fields colour, divisor"),
    ],
)
def test_wrong_metadata(saved, metadata, text):
    rewrite(saved, metadata=metadata)
    refused(saved, text)


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("interpolation", "cubic", "trained with interpolation='cubic'; only 'area' and 'linear' and 'linear-antialias' are supported"),
        ("divisor", 1.0, "the agent was trained with divisor=1.0; only 255.0 is supported"),
        ("stack", 1, "the agent was trained with stack=1; only 4 is supported"),
        ("frame_skip", "four", "preprocessing frame_skip='four' should be a int"),
        ("frame_skip", 1, "frame_skip is 1; pooling two frames needs at least 2"),
        ("frame_skip", -4, "frame_skip is -4; pooling two frames needs at least 2"),
        ("frame_skip", 10**9, "frame_skip should be 1 .. 60 emulator frames, got 1000000000"),
        ("start_frames", 10**12, "start_frames should be 0 .. 10000 emulator frames, got 1000000000000"),
        ("start_frames", -1, "start_frames should be 0 .. 10000 emulator frames, got -1"),
    ],
)
def test_wrong_preprocessing(saved, field, value, text):
    with safe_open(saved, framework="pt") as file:
        stored = json.loads(file.metadata()["preprocessing"])
    rewrite(saved, metadata={"preprocessing": json.dumps({**stored, field: value})})
    refused(saved, text)


@pytest.mark.parametrize(
    ("tensors", "text"),
    [
        ({"conv3.bias": None}, "is not a 'nature' network: missing tensors ['conv3.bias'], unexpected tensors none"),
        ({"lstm.weight": torch.zeros(2)}, "missing tensors none, unexpected tensors ['lstm.weight']"),
        ({"hidden.weight": torch.zeros(512, 7744)}, "'hidden.weight' has shape (512, 7744), expected (512, 3136)"),
        (
            {"values.weight": torch.zeros(6, 512), "values.bias": torch.zeros(6)},
            "the weights have 6 outputs, but 4 actions are named",
        ),
        ({"conv1.bias": torch.full((32,), torch.nan)}, "tensor 'conv1.bias' contains NaN or infinity"),
        ({"conv1.bias": torch.full((32,), -torch.inf)}, "tensor 'conv1.bias' contains NaN or infinity"),
        ({"conv1.bias": torch.zeros(32, dtype=torch.int32)}, "'conv1.bias' holds torch.int32, expected floating point"),
        ({"conv1.bias": torch.zeros(32).to(torch.float8_e4m3fn)}, "holds torch.float8_e4m3fn, expected floating point"),
        ({"conv1.bias": torch.full((32,), 1e300, dtype=torch.float64)}, "tensor 'conv1.bias' contains NaN or infinity"),
    ],
)
def test_wrong_tensors(saved, tensors, text):
    rewrite(saved, tensors=tensors)
    refused(saved, text)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("agent.pt", "expected a name ending in .safetensors, got .pt"),
        ("missing/agent.safetensors", "is missing; create it first"),
        ("folder.safetensors", "it is a directory"),
    ],
)
def test_unwritable_places(untrained, tmp_path, place, text):
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(InputError, match=text):
        rl.save_agent(untrained, tmp_path / place)
    assert [p.name for p in tmp_path.iterdir()] == ["folder.safetensors"]


def test_public_names_are_lazy():
    assert set(rl.__all__) == set(dir(rl))
    for name in rl.__all__:
        assert callable(getattr(rl, name))
    with pytest.raises(AttributeError, match="module 'rl' has no attribute 'nothing'"):
        _ = rl.nothing


def test_an_agent_that_nobody_could_read_again_is_not_written(tmp_path):
    actions = ("NOOP", "FIRE", "RIGHT", "LEFT")
    wrong = rl.Agent(NipsNetwork(4), "breakout", actions)
    with pytest.raises(InputError, match=r"not the 'nature' network for 4 actions: expected 'conv1.bias' of shape \(32,\), got \(16,\)"):
        rl.save_agent(wrong, tmp_path / "a.safetensors")
    unknown = rl.Agent(NipsNetwork(4), "breakout", actions, architecture="vgg")
    with pytest.raises(InputError, match="unknown network 'vgg': expected architecture='dueling' or 'nature' or 'nips'"):
        rl.save_agent(unknown, tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []
