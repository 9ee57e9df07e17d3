"""Dopamine's weights, transposed and padded as TensorFlow pads: the same values as the network computed its way."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import rl
from experiments.convert_dopamine import agent_of, main
from tests.rl.foreign_networks import pictures

pytestmark = pytest.mark.atari


CHANNELS, HIDDEN, ACTIONS = (4, 6, 5), 24, 4  # Dopamine's: 32, 64, 64; 512


def bundle():
    chance = np.random.default_rng(0)
    layers, inputs = {}, 4

    def layer(*shape):
        scale = 1.5 / np.sqrt(np.prod(shape[:-1]))
        return {"kernel": scale * chance.standard_normal(shape), "bias": 0.1 * chance.standard_normal(shape[-1])}

    for number, (size, width) in enumerate(zip((8, 4, 3), CHANNELS, strict=True)):
        layers[f"Conv_{number}"] = layer(size, size, inputs, width)
        inputs = width
    layers["Dense_0"], layers["Dense_1"] = layer(11 * 11 * inputs, HIDDEN), layer(HIDDEN, ACTIONS)
    return {"online_params": {"params": layers}, "training_steps": 49_750_000}


def same_padding(x, kernel, stride):
    """A convolution as TensorFlow's SAME: rows / stride rounded up, the odd zero after."""
    rows, size = x.shape[1], kernel.shape[0]
    total = max((-(-rows // stride) - 1) * stride + size - rows, 0)
    before, after = total // 2, total - total // 2
    padded = F.pad(torch.as_tensor(x, dtype=torch.float64).permute(0, 3, 1, 2), (before, after, before, after))
    return F.conv2d(padded, torch.as_tensor(kernel).permute(3, 2, 0, 1), stride=stride).permute(0, 2, 3, 1)


def test_the_converted_network_computes_what_dopamine_does(tmp_path):
    content, seen = bundle(), pictures(2)
    layers = content["online_params"]["params"]
    x = seen.permute(0, 2, 3, 1).double() / 255
    for number, stride in enumerate((4, 2, 1)):
        layer = layers[f"Conv_{number}"]
        x = torch.relu(same_padding(x, layer["kernel"], stride) + torch.as_tensor(layer["bias"]))
    assert x.shape == (2, 11, 11, CHANNELS[-1])
    x = torch.relu(x.reshape(2, -1) @ torch.as_tensor(layers["Dense_0"]["kernel"]) + torch.as_tensor(layers["Dense_0"]["bias"]))
    expected = x @ torch.as_tensor(layers["Dense_1"]["kernel"]) + torch.as_tensor(layers["Dense_1"]["bias"])
    agent = agent_of(content, "ALE/Breakout-v5")
    torch.testing.assert_close(agent.q_values(seen).double(), expected, rtol=0, atol=1e-5)
    rl.save_agent(agent, tmp_path / "dopamine.safetensors")
    again = rl.load(tmp_path / "dopamine.safetensors")
    assert (again.source, again.agent_steps, again.preprocessing.sticky_probability) == ("Dopamine DQN", 49_750_000, 0.25)
    torch.testing.assert_close(again.q_values(seen), agent.q_values(seen))


def test_nothing_is_opened_without_the_user_s_word(tmp_path, monkeypatch, capsys):
    source, out = tmp_path / "ckpt.1", tmp_path / "x.safetensors"
    source.write_bytes(pickle.dumps(bundle()))
    monkeypatch.setattr(sys, "argv", ["convert_dopamine.py", str(source), str(out), "--game", "breakout"])
    with pytest.raises(SystemExit, match="opening it runs whatever code it holds"):
        main()
    assert not out.exists()
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--i-trust-this-file"])
    main()
    assert "breakout, 49,750,000 agent steps" in capsys.readouterr().out
    assert rl.load(out).source == "Dopamine DQN"
