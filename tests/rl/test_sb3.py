"""Stable-Baselines3: its own values to rounding, training as it would be without, numbers read back from TensorBoard."""

from __future__ import annotations

import importlib
import io
import sys
import warnings
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch
from PIL import Image

import rl
from seqxai.errors import DependencyError, InputError
from tests.rl.tiny import Blinker, play

sb3 = pytest.importorskip("stable_baselines3", reason="stable-baselines3 is not installed (extra foreign)")

hooks = pytest.importorskip("rl.sb3")


def pictures():
    return Blinker((40, 40, 3), length=20)


def states_of(env, count=3):
    return hooks.collect_states(env, count, apart=3, seed=1)


def model_of(kind, policy="MlpPolicy", env=None, **options):
    defaults = {
        "DQN": {"learning_starts": 20, "buffer_size": 200, "batch_size": 8, "train_freq": 4},
        "PPO": {"n_steps": 16, "batch_size": 16, "n_epochs": 1},
        "A2C": {},
    }
    return getattr(sb3, kind)(policy, env or gym.make("CartPole-v1"), device="cpu", seed=0, **defaults[kind], **options)


@pytest.mark.parametrize(
    ("kind", "policy"), [("DQN", "MlpPolicy"), ("DQN", "CnnPolicy"), ("PPO", "MlpPolicy"), ("PPO", "CnnPolicy"), ("A2C", "MlpPolicy")]
)
def test_what_is_explained_is_what_the_model_computes(kind, policy):
    env = pictures() if policy == "CnnPolicy" else gym.make("CartPole-v1")
    model = model_of(kind, policy, env)
    states = states_of(pictures() if policy == "CnnPolicy" else gym.make("CartPole-v1"))
    preprocess = (lambda x: x.permute(0, 3, 1, 2)) if policy == "CnnPolicy" else None
    wrapped = rl.ExplainedEnv(env, hooks.decision_network(model), preprocess=preprocess)
    seen, _ = model.policy.obs_to_tensor(states)
    with torch.no_grad():
        if kind == "DQN":
            expected = model.policy.q_net(seen)
        else:
            expected = model.policy.get_distribution(seen).distribution.logits  # normalised: compare after normalising
    actions, _ = model.predict(states, deterministic=True)
    for state, values, action in zip(states, expected, actions, strict=True):
        explanation = wrapped.explainer.explain(state)
        found = torch.from_numpy(explanation.q_values)
        found = found if kind == "DQN" else torch.log_softmax(found, 0)
        np.testing.assert_allclose(found.numpy(), values.numpy(), atol=1e-6)
        assert explanation.action == action
        assert explanation.relevance.shape == state.shape
        assert explanation.balance < 1e-5


def test_quantiles_become_their_mean():
    contrib = pytest.importorskip("sb3_contrib", reason="sb3-contrib is not installed")
    model = contrib.QRDQN("MlpPolicy", gym.make("CartPole-v1"), device="cpu", seed=0, buffer_size=100)
    states = states_of(gym.make("CartPole-v1"))
    explanation = rl.ExplainedEnv(gym.make("CartPole-v1"), hooks.decision_network(model)).explainer.explain(states[0])
    expected = model.policy.quantile_net(torch.from_numpy(states[:1])).mean(1)[0].detach().numpy()
    np.testing.assert_allclose(explanation.q_values, expected, atol=1e-6)


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """A short DQN training on CartPole, explained at four times, into TensorBoard and files."""
    folder = tmp_path_factory.mktemp("training")
    states = states_of(gym.make("CartPole-v1"))
    callback = hooks.ExplanationCallback(states, every=60, folder=folder / "png", target="contrast")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        model = model_of("DQN", tensorboard_log=str(folder))
        model.learn(200, callback=callback)
    return folder, callback, model, states


def test_the_same_states_are_explained_at_the_chosen_steps(training):
    _, callback, model, states = training
    assert [snapshot.step for snapshot in callback.history] == [0, 60, 120, 180, 200]
    for snapshot in callback.history:
        for state, explanation in zip(states, snapshot.explanations, strict=True):
            np.testing.assert_array_equal(explanation.observation, state)
            assert explanation.explained == pytest.approx(np.ptp(explanation.q_values), rel=1e-4)
    with torch.no_grad():
        last = model.q_net(torch.from_numpy(states)).numpy()
    np.testing.assert_allclose([e.q_values for e in callback.history[-1].explanations], last, atol=1e-6)
    assert np.abs(callback.history[0].explanations[0].q_values - last[0]).max() > 0.01, "it has learnt"
    assert callback.history[-1].explanations[0].target in ("Q(LEFT) - Q(RIGHT)", "Q(RIGHT) - Q(LEFT)")


def test_tensorboard_holds_the_numbers_and_the_pictures(training):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, callback, _, _ = training
    (run,) = folder.glob("DQN_*")
    events = EventAccumulator(str(run), size_guidance={"images": 0, "scalars": 0})  # 0: all of them
    events.Reload()
    for index in range(3):
        scalars = events.Scalars(f"explanation/explained_{index}")
        assert [s.step for s in scalars] == [0, 60, 120, 180, 200]
        np.testing.assert_allclose([s.value for s in scalars], [h.explanations[index].explained for h in callback.history], rtol=1e-5)
    shares = [
        sum(abs(e.relevance.sum()) for e in h.explanations) / sum(abs(e.explained) for e in h.explanations) for h in callback.history
    ]
    np.testing.assert_allclose([s.value for s in events.Scalars("explanation/input")], shares, rtol=1e-3)
    images = events.Images("explanation")
    assert [image.step for image in images] == [0, 60, 120, 180, 200]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(images[-1].encoded_image_string))), callback.picture())
    files = sorted((folder / "png").iterdir())
    assert [f.name for f in files] == [f"explanation-{step:09d}.png" for step in (0, 60, 120, 180, 200)]
    np.testing.assert_array_equal(np.asarray(Image.open(files[-1])), callback.picture())


def test_one_colour_scale_for_all_states_and_times(training):
    _, callback, _, _ = training
    everything = np.concatenate([e.relevance for h in callback.history for e in h.explanations])
    limit = callback._grid.limit(callback.history)
    assert limit == np.sort(np.abs(everything), axis=None)[int(0.995 * everything.size)]


def test_training_is_the_same_without(training):
    _, _, model, _ = training
    plain = model_of("DQN")
    plain.learn(200)
    for name, tensor in plain.policy.state_dict().items():
        assert torch.equal(tensor, model.policy.state_dict()[name]), name


def test_pictures_with_channels_last_and_steps_by_hand(tmp_path):
    model = model_of("DQN", "CnnPolicy", pictures())
    callback = hooks.ExplanationCallback(states_of(pictures(), 2), steps=[30, 41], folder=tmp_path)
    model.learn(50, callback=callback)
    assert [snapshot.step for snapshot in callback.history] == [30, 41]
    explanation = callback.history[0].explanations[0]
    assert explanation.relevance.shape == (3, 40, 40)
    assert explanation.method == "lrp/epsilon-gamma-box"
    assert explanation.action_name in ("WAIT", "LEFT", "RIGHT")


def test_what_does_not_fit(tmp_path):
    states = states_of(gym.make("CartPole-v1"))
    with pytest.raises(InputError, match=r"either every=\.\.\."):
        hooks.ExplanationCallback(states)
    with pytest.raises(InputError, match="every should be at least 1"):
        hooks.ExplanationCallback(states, every=0)
    with pytest.raises(InputError, match=r"Expected states of shape \(states, \.\.\.\)"):
        hooks.ExplanationCallback(states[0], every=5)
    with pytest.raises(InputError, match="nowhere to write to: make the model with tensorboard_log"):
        model_of("DQN").learn(5, callback=hooks.ExplanationCallback(states, every=5))
    with pytest.raises(InputError, match="Nothing was explained yet"):
        hooks.ExplanationCallback(states, every=5).picture()
    with pytest.raises(InputError, match=r"model DQN; pass rl\.sb3\.decision_network\(model\)"):
        rl.ExplainedEnv(gym.make("CartPole-v1"), model_of("DQN"))
    with pytest.raises(InputError, match="Expected a DQN, QR-DQN, PPO or A2C model with discrete actions, got SAC"):
        hooks.decision_network(sb3.SAC("MlpPolicy", gym.make("Pendulum-v1"), buffer_size=10))
    with pytest.raises(InputError, match="apart should be at least 1"):
        hooks.collect_states(gym.make("CartPole-v1"), 2, apart=0)


def test_a_model_explains_itself_in_its_own_loop():
    model = model_of("PPO")
    env = rl.ExplainedEnv(gym.make("CartPole-v1"), hooks.decision_network(model), quantity="logit")
    _, action, _, info = play(env, lambda o: int(model.predict(o, deterministic=True)[0]), 1)[0]
    assert info["explanation"].target == f"logit({('LEFT', 'RIGHT')[action]})"


def test_without_stable_baselines3_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "stable_baselines3.common.callbacks", None)
    monkeypatch.delitem(sys.modules, "rl.sb3")
    with pytest.raises(DependencyError, match=r"rl\.sb3 needs stable-baselines3.*pip install 'seqxai\[foreign\]'"):
        importlib.import_module("rl.sb3")
    monkeypatch.undo()


def test_quantiles_of_a_made_up_model():
    quantiles = torch.tensor([[[0.0, 3.0], [2.0, 5.0], [4.0, 1.0]]])
    policy = SimpleNamespace(quantile_net=lambda x: quantiles * x.sum())
    network = hooks.decision_network(SimpleNamespace(policy=policy, action_space=gym.spaces.Discrete(2)))
    np.testing.assert_allclose(network(torch.ones(1, 2)).numpy(), [[4.0, 6.0]])
