"""``ExplainedEnv``: what users found, one test each."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

import rl
from seqxai.errors import InputError
from tests.rl.tiny import vector_network


def _decided(network, **options):
    env = rl.ExplainedEnv(gym.make("CartPole-v1"), network, **options)
    env.reset(seed=0)
    return env.step(1)[-1]["explanation"]


def test_a_lazy_explanation_refuses_writes_through_data_and_another_mode():
    network = vector_network()
    late = _decided(network, lazy=True)
    for parameter in network.parameters():
        parameter.data.mul_(3.0)  # as averaged target networks do; PyTorch does not count it
    with pytest.raises(InputError, match="changed after this decision"):
        _ = late.relevance
    dropping = nn.Sequential(vector_network(), nn.Dropout(0.5)).eval()
    late = _decided(dropping, lazy=True)
    dropping.train()
    with pytest.raises(InputError, match="changed after this decision"):
        _ = late.relevance


def test_weights_in_bfloat16_are_explained():
    network = vector_network().to(torch.bfloat16)
    explanation = _decided(network)
    expected = network(torch.from_numpy(explanation.observation)[None].to(torch.bfloat16))[0, 1]
    assert explanation.q_values.dtype == np.float32
    assert explanation.explained == pytest.approx(expected.item(), rel=1e-2)
    assert explanation.relevance.sum() == pytest.approx(explanation.ledger["input"], rel=0.05, abs=1e-3)


def test_a_module_named_value_with_many_outputs_is_no_state_value():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.value, self.out = nn.Linear(4, 16), nn.Linear(16, 2)

        def forward(self, x):
            return self.out(torch.relu(self.value(x)))

    with pytest.raises(InputError, match="needs a dueling network with a module named 'value'"):
        _decided(Attention(), target="state-value")


def test_a_wrong_rate_is_told_before_the_game(tmp_path):
    with pytest.raises(InputError, match=r"fps should be .* got 0"):
        rl.ExplainedEnv(gym.make("CartPole-v1"), vector_network(), video_folder=tmp_path, fps=0)


def test_an_environment_may_return_one_dictionary_again_and_again():
    class OneInfo(gym.Wrapper):
        def __init__(self, env):
            super().__init__(env)
            self.info = {}

        def step(self, action):
            *rest, _ = self.env.step(action)
            return (*rest, self.info)

    env = rl.ExplainedEnv(OneInfo(gym.make("CartPole-v1")), vector_network())
    env.reset(seed=0)
    first_one = env.step(0)[-1]["explanation"]
    assert env.step(1)[-1]["explanation"] is not first_one
