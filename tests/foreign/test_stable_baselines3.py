"""Zips that Stable-Baselines3 and sb3-contrib write themselves: their own values to 1e-5.  Runs where both are there (extra foreign)."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

import rl
import seqxai
from rl.checkpoints.inspection import inspected
from tests.rl.foreign_networks import pictures

pytestmark = pytest.mark.atari

contrib = pytest.importorskip("sb3_contrib", reason="sb3-contrib is not installed (extra foreign)")
sb3 = pytest.importorskip("stable_baselines3", reason="stable-baselines3 is not installed (extra foreign)")


class Pictures(gym.Env):
    """What VecTransposeImage leaves of four stacked planes."""

    observation_space = gym.spaces.Box(0, 255, (4, 84, 84), np.uint8)
    action_space = gym.spaces.Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.integers(0, 256, (4, 84, 84), np.uint8), {}

    def step(self, action):
        return self.np_random.integers(0, 256, (4, 84, 84), np.uint8), 1.0, False, False, {}


def model_of(kind, **policy):
    options = {"buffer_size": 20, "learning_starts": 5, "batch_size": 4} if kind.endswith("DQN") else {"n_steps": 4}
    options |= {"batch_size": 4, "n_epochs": 1} if kind == "PPO" else {}
    library = contrib if kind == "QRDQN" else sb3
    model = getattr(library, kind)("CnnPolicy", Pictures(), device="cpu", seed=0, policy_kwargs=policy or None, **options)
    model.learn(12)
    return model


CASES = {
    "DQN": ("DQN", {}),
    "DQN, net_arch": ("DQN", {"net_arch": [48, 24]}),
    "DQN, another activation": ("DQN", {"net_arch": [48], "activation_fn": nn.ELU}),
    "DQN, pixels not divided": ("DQN", {"normalize_images": False}),
    "QR-DQN": ("QRDQN", {}),
    "QR-DQN, quantiles": ("QRDQN", {"n_quantiles": 25, "net_arch": [32]}),
    "PPO": ("PPO", {}),
    "PPO, net_arch": ("PPO", {"net_arch": {"pi": [32], "vf": [24, 12]}}),
    "PPO, activation": ("PPO", {"net_arch": {"pi": [32], "vf": [24]}, "activation_fn": nn.ReLU}),
    "A2C": ("A2C", {}),
    "A2C, two bodies": ("A2C", {"share_features_extractor": False}),
}


@pytest.fixture(scope="module", params=CASES)
def written(request, tmp_path_factory):
    """A trained model and its zip."""
    kind, policy = CASES[request.param]
    model, path = model_of(kind, **policy), tmp_path_factory.mktemp("zip") / "model.anything"
    model.save(path.with_suffix(".zip"))
    path.with_suffix(".zip").rename(path)
    return kind, model, path


def own_values(kind, model, seen):
    """What the library itself computes: Q-values, or logits and the value of the state."""
    with torch.no_grad():
        if kind == "DQN":
            return model.policy.q_net(seen), None
        if kind == "QRDQN":
            return model.policy.quantile_net(seen).mean(1), None
        distribution = model.policy.get_distribution(seen)
        return distribution.distribution.logits, model.policy.predict_values(seen)


def test_values_are_the_library_s_own(written):
    kind, model, path = written
    agent, seen = rl.load(path, game="breakout"), pictures(5)
    expected, value = own_values(kind, model, seen)
    found = agent.q_values(seen)
    if value is not None:
        found = torch.log_softmax(found, 1)  # the library gives them normalised
        torch.testing.assert_close(agent.network.value_of_state(seen), value, rtol=0, atol=1e-5)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    actions, _ = model.predict(seen.numpy(), deterministic=True)
    assert found.argmax(1).tolist() == actions.tolist()
    assert agent.agent_steps == model.num_timesteps == 12
    assert agent.source.startswith("Stable-Baselines3")
    assert agent.algorithm == {"QRDQN": "QR-DQN"}.get(kind, kind)


def test_the_ledger_closes(written):
    _, _, path = written
    agent, seen = rl.load(path, game="breakout"), pictures(3)
    for target in (torch.tensor([1, 2, 0]), *([seqxai.targets.Unit("value", 0)] if agent.network.state_value else [])):
        found = seqxai.LRP(agent.network, composite="epsilon-gamma-box", ledger=True).attribute(seen, target=target)
        total = found.ledger.total()
        off = (found.explained - sum(total.values())).abs().max()
        assert float(off) < 2e-5 * float(sum(abs(part) for part in total.values()).max())


def test_inspected_without_a_game(written):
    _, model, path = written
    report = inspected(path)
    assert report["game"] is None
    assert report["outputs"] == 4
    assert report["agent_steps"] == 12
    shared = sum(p.numel() for name, p in model.policy.named_parameters() if "target" not in name)
    assert report["parameters"] == shared, "every weight of the library, and no other"


def test_weights_alone(written, tmp_path):
    kind, model, path = written
    torch.save(model.policy.state_dict(), tmp_path / "policy.pth")
    whole = rl.load(path, game="breakout")
    choices = {"quantiles": whole.network.layout.atoms} if kind == "QRDQN" else {}
    agent = rl.load(tmp_path / "policy.pth", game="breakout", **choices)
    if agent.network.layout == whole.network.layout:  # activations and divisor are in the zip only
        torch.testing.assert_close(agent.q_values(pictures()), whole.q_values(pictures()), rtol=0, atol=1e-6)
    else:
        assert agent.network.layout.summary().split(" (")[0] == whole.network.layout.summary().split(" (")[0]
