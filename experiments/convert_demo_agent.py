"""Convert the checkpoint the demo agent comes from into our format, in half precision.

    python experiments/convert_demo_agent.py SOURCE.safetensors rl/agents/breakout.safetensors

The source is a plain `Sequential`: its keys are positions.  Its metadata names the game, the actions and the score.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors import safe_open

from rl.checkpoints import Agent, Score, load, save_agent
from rl.network import NatureNetwork

LAYERS = {"0": "conv1", "2": "conv2", "4": "conv3", "7": "hidden", "9": "values"}
SCORED_GAMES = 16


def convert(source: Path, destination: Path) -> Agent:
    """Read `source`, write `destination`, and return what a user will load from it."""
    with safe_open(source, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name).float() for name in file.keys()}
    actions = tuple(metadata["actions"].split())
    network = NatureNetwork(len(actions))
    network.load_state_dict(
        {f"{LAYERS[layer]}.{kind}": tensors[f"{layer}.{kind}"] for layer, kind in (name.split(".") for name in tensors)}
    )
    score = Score(float(metadata["score_mean_16_games"]), float(metadata["score_max"]), SCORED_GAMES)
    agent = Agent(
        network,
        metadata["game"],
        actions,
        agent_steps=int(metadata["agent_steps"]),
        score=score,
        algorithm=metadata["algorithm"],
    )
    save_agent(agent, destination, half=True)
    loaded = load(destination)
    for name, tensor in loaded.network.state_dict().items():
        if not torch.equal(tensor, network.state_dict()[name]):
            raise SystemExit(f"{name} changed: the source was not in half precision")
    return loaded


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    converted = convert(Path(sys.argv[1]), Path(sys.argv[2]))
    print(f"{sys.argv[2]}: {converted.game}, {converted.agent_steps} agent steps, {converted.score}")
