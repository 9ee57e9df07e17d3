"""Dictionaries of tianshou's own policies and algorithms: its values to 1e-5.  Runs where it is installed (extra foreign)."""

from __future__ import annotations

import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch

import rl
import seqxai
from tests.rl.foreign_networks import pictures

pytestmark = pytest.mark.atari

pytest.importorskip("tianshou", reason="tianshou is not installed (extra foreign)")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tianshou.algorithm.modelfree.c51 import C51Policy
    from tianshou.algorithm.modelfree.dqn import DQN, DiscreteQLearningPolicy
    from tianshou.algorithm.modelfree.rainbow import RainbowDQN
    from tianshou.algorithm.optim import AdamOptimizerFactory
    from tianshou.env.atari.atari_network import C51Net, DQNet, RainbowNet, ScaledObsInputActionReprNet

SPACES = {"action_space": gym.spaces.Discrete(4), "observation_space": gym.spaces.Box(0, 255, (4, 84, 84), np.uint8)}
SIZE = {"c": 4, "h": 84, "w": 84, "action_shape": [4]}
NETWORKS = {
    "DQN": lambda: DQNet(4, 84, 84, 4),
    "C51": lambda: C51Net(**SIZE),
    "Rainbow": lambda: RainbowNet(**SIZE),
    "Rainbow, plain layers": lambda: RainbowNet(**SIZE, is_noisy=False),
    "Rainbow, one stream": lambda: RainbowNet(**SIZE, is_dueling=False),
}


def policy_of(name, scaled):
    torch.manual_seed(0)
    network = NETWORKS[name]()
    if scaled:
        network = ScaledObsInputActionReprNet(network)
    kind = DiscreteQLearningPolicy if name == "DQN" else C51Policy
    algorithm = DQN if name == "DQN" else RainbowDQN
    policy = kind(model=network, **SPACES)
    return policy, algorithm(policy=policy, optim=AdamOptimizerFactory(), target_update_freq=10)


@pytest.mark.parametrize("scaled", [False, True], ids=["bytes", "scaled"])
@pytest.mark.parametrize("name", NETWORKS)
def test_policies_and_algorithms(name, scaled, tmp_path):
    policy, algorithm = policy_of(name, scaled)
    seen = pictures(4)
    torch.save(policy.state_dict(), tmp_path / "policy.pth")
    torch.save({"model": algorithm.state_dict()}, tmp_path / "checkpoint_7.pth")
    policy.eval()
    with torch.no_grad():
        returned = policy.model(seen.numpy())[0]
        expected = policy.compute_q_value(returned, None)
    for file in ("policy.pth", "checkpoint_7.pth"):
        agent = rl.load(tmp_path / file, game="breakout")
        assert agent.source == f"tianshou {name.split(',')[0]}"
        assert agent.network.layout.divisor == (255.0 if scaled else 1.0)
        torch.testing.assert_close(agent.q_values(seen), expected, rtol=1e-5, atol=1e-5)
    assert agent.agent_steps == 7
    found = seqxai.LRP(agent.network, composite="epsilon-gamma-box", ledger=True).attribute(seen[:2], target=torch.tensor([1, 2]))
    total = found.ledger.total()
    off = (found.explained - sum(total.values())).abs().max()
    assert float(off) < 2e-5 * float(sum(abs(part) for part in total.values()).max())
