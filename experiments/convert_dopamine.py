"""Dopamine's JAX checkpoints (Castro et al. 2018) as plain weights that seqxai reads.

This is not part of the package, and for a reason:

    *** A Dopamine checkpoint is a Python pickle.  Opening one runs whatever code it holds. ***

Run this only on files that you made yourself or have from somebody you trust, if need be in a container without network:

    python experiments/convert_dopamine.py ckpt.199 weights.safetensors --game breakout --i-trust-this-file
    seqxai atari inspect weights.safetensors --game breakout

It needs numpy, torch and seqxai, and what the pickle itself imports (flax or jax arrays).  Layers are ``params/Conv_0`` .. ``Conv_2`` with
kernels (rows, columns, in, out), and ``Dense_0``, ``Dense_1``.  Dopamine pads its convolutions as TensorFlow does, so that 84 rows become
21, 11 and 11: two rows of zeros on either side of the first, one before and two after the second, one on either side of the third.  The
second is not symmetric, which is written here as a kernel with a row and a column of zeros more, so that the network stays one of plain
convolutions.
"""

from __future__ import annotations

import argparse
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

import rl
from rl.games import game_actions, resolve_game
from rl.layout import Convolution, Layout, LayoutNetwork
from rl.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(sticky_probability=0.25, start_frames=0, fire_at_reset=False, fire_after_life=False)
"""Dopamine pools on the emulator's grey levels and shrinks by area interpolation; the stack begins black."""

SHAPES = ((8, 4, 2), (5, 2, 2), (3, 1, 1))
"""Kernel, stride and padding of the convolutions, the second with its row of zeros."""


def parameters_of(bundle: dict[str, Any]) -> dict[str, Any]:
    """The online network's layers, by name."""
    found = bundle["online_params"]
    return found["params"] if "params" in found else found


def convolution(kernel: np.ndarray, before: int = 0) -> torch.Tensor:
    """(rows, columns, in, out) to (out, in, rows, columns), with rows and columns of zeros before it."""
    weight = torch.from_numpy(np.array(kernel, np.float32)).permute(3, 2, 0, 1).contiguous()
    return torch.nn.functional.pad(weight, (before, 0, before, 0))


def weights(layers: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Our tensors: convolutions transposed, the first dense layer's inputs from (rows, columns, channels) to (channels, rows, columns)."""
    found = {}
    for number in range(3):
        found[f"conv{number + 1}.weight"] = convolution(layers[f"Conv_{number}"]["kernel"], before=1 if number == 1 else 0)
        found[f"conv{number + 1}.bias"] = torch.from_numpy(np.array(layers[f"Conv_{number}"]["bias"], np.float32))
    hidden = torch.from_numpy(np.array(layers["Dense_0"]["kernel"], np.float32)).T  # (512, 7744)
    found["hidden1.weight"] = hidden.reshape(len(hidden), 11, 11, -1).permute(0, 3, 1, 2).reshape(len(hidden), -1).contiguous()
    found["hidden1.bias"] = torch.from_numpy(np.array(layers["Dense_0"]["bias"], np.float32))
    found["values.weight"] = torch.from_numpy(np.array(layers["Dense_1"]["kernel"], np.float32)).T.contiguous()
    found["values.bias"] = torch.from_numpy(np.array(layers["Dense_1"]["bias"], np.float32))
    return found


def agent_of(bundle: dict[str, Any], game: str) -> rl.Agent:
    """The DQN in a checkpoint.

    Args:
        bundle: what the pickle holds: ``online_params``, ``training_steps`` and more.
        game: any spelling.
    """
    game = resolve_game(game)
    tensors, actions = weights(parameters_of(bundle)), game_actions(game)
    if len(tensors["values.bias"]) != len(actions):
        raise SystemExit(f"the checkpoint has {len(tensors['values.bias'])} actions, {game} has {len(actions)}; name its game")
    convolutions = tuple(Convolution(len(tensors[f"conv{i}.bias"]), *shape) for i, shape in enumerate(SHAPES, 1))
    network = LayoutNetwork(Layout(convolutions, (len(tensors["hidden1.bias"]),)), len(actions))
    network.load_state_dict(tensors)
    return rl.Agent(
        network.eval().requires_grad_(False), game, actions, PREPROCESSING, int(bundle.get("training_steps", 0)), None, "DQN", "layout",
        source="Dopamine DQN",
    )  # fmt: skip


def main() -> None:
    """Convert one checkpoint."""
    parser = argparse.ArgumentParser(description="A Dopamine JAX DQN checkpoint as a seqxai agent. UNPICKLING RUNS CODE FROM THE FILE.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path, help="ending in .safetensors")
    parser.add_argument("--game", required=True)
    parser.add_argument("--i-trust-this-file", action="store_true", help="without it nothing is opened")
    options = parser.parse_args()
    if not options.i_trust_this_file:
        sys.exit(f"{options.checkpoint} is a pickle, and opening it runs whatever code it holds; if you trust it say --i-trust-this-file")
    with options.checkpoint.open("rb") as file:
        bundle = pickle.load(file)
    agent = agent_of(bundle, options.game)
    rl.save_agent(agent, options.out)
    print(f"{options.out}: {agent.game}, {agent.agent_steps:,} agent steps, weights {agent.fingerprint}")


if __name__ == "__main__":
    main()
