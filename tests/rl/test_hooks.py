"""``ExplainedEnv``: what is explained, that play stays as it was, and one sentence for everything that does not fit."""

from __future__ import annotations

import copy

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from torch import nn

import rl
import seqxai
from rl.hooks import ExplainedVectorEnv, Explainer
from seqxai.errors import InputError
from tests.rl.tiny import Blinker, Recurrent, picture_network, play, vector_network


def first(observation):
    return int(np.asarray(observation).reshape(-1)[0] > 0)


# ---- what is explained -------------------------------------------------------------------------------------------------------


def test_each_action_is_explained_on_the_observation_it_was_chosen_for():
    network = picture_network()
    env = rl.ExplainedEnv(Blinker(), network, preprocess=lambda x: x / 255)
    composite = seqxai.composites.EpsilonGammaBox(0.0, 1.0)
    for seen, action, _, info in play(env, lambda o: int(o.sum()) % 3, 8):
        explanation = info["explanation"]
        batch = torch.from_numpy(seen)[None].float() / 255
        expected = seqxai.LRP(network, composite=composite).attribute(batch, target=action)
        np.testing.assert_array_equal(explanation.observation, seen)
        np.testing.assert_allclose(explanation.relevance, expected.relevance[0].numpy(), rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(explanation.q_values, network(batch)[0].detach().numpy(), rtol=1e-5)
        assert explanation.explained == pytest.approx(float(explanation.q_values[action]), rel=1e-6)
        assert explanation.relevance.sum() == pytest.approx(explanation.ledger["input"], rel=1e-4)
        assert explanation.balance < 1e-6
        assert (explanation.action, explanation.action_name) == (action, ("WAIT", "LEFT", "RIGHT")[action])
        assert explanation.target == f"Q({explanation.action_name})"
        assert explanation.method == "lrp/epsilon-gamma-box"


def test_an_atari_agent_gets_what_explain_gives(made_up, untrained):
    expected = rl.explain(made_up, untrained)
    space = gym.spaces.Box(0, 255, (4, 84, 84), np.uint8)
    explainer = Explainer(untrained.network, space, gym.spaces.Discrete(4), action_names=untrained.actions)
    found = explainer.pending(made_up.observations(), tuple(made_up.chosen.tolist()))
    scale = np.abs(expected.relevance).max()
    for decision, explanation in enumerate(found):
        np.testing.assert_allclose(explanation.relevance, expected.relevance[decision], atol=1e-5 * scale)
        assert explanation.explained == pytest.approx(expected.explained[decision], rel=1e-5)
        assert explanation.target == expected.label(decision)


@pytest.mark.parametrize(
    ("target", "weights", "label"),
    [
        ("chosen", (0, 1, 0), "Q(LEFT)"),
        ("largest", (0, 0, 1), "Q(RIGHT)"),
        ("contrast", (0, 1, -1), "Q(LEFT) - Q(RIGHT)"),
        ("contrast-mean", (-0.5, 1, -0.5), "Q(LEFT) - mean of the others"),
        ("wait", (1, 0, 0), "Q(WAIT)"),
        (seqxai.targets.Contrast(2, 0), (-1, 0, 1), "output 2 against 0"),
    ],
)
def test_targets(target, weights, label):
    network = vector_network(3, 3)
    space = gym.spaces.Box(-1, 1, (3,), np.float32)
    with torch.no_grad():
        network[2].bias.copy_(torch.tensor([0.0, 1.0, 2.0]))  # RIGHT is the largest by far
    explainer = Explainer(network, space, gym.spaces.Discrete(3), target=target, action_names=("WAIT", "LEFT", "RIGHT"))
    explanation = explainer.explain(np.float32([0.1, -0.2, 0.3]), 1)
    assert explanation.explained == pytest.approx(float(explanation.q_values @ np.array(weights)), rel=1e-5)
    assert explanation.ledger["input"] == pytest.approx(float(explanation.relevance.sum()), abs=1e-6)
    assert explanation.balance < 1e-6
    assert explanation.target == label


def test_the_state_value_of_a_dueling_network():
    network = rl.network.DuelingNetwork(2)
    space = gym.spaces.Box(0, 255, (4, 84, 84), np.uint8)
    observation = np.random.default_rng(0).integers(0, 256, (4, 84, 84), dtype=np.uint8)
    explanation = Explainer(network, space, gym.spaces.Discrete(2), target="state-value").explain(observation, 0)
    features = network.body(torch.from_numpy(observation)[None])
    value = network.value(network.value_relu(network.value_hidden(features)))
    assert explanation.explained == pytest.approx(float(value.detach()), rel=1e-4)
    assert explanation.target == "V(state)"


def test_an_image_with_channels_last_gets_relevance_with_channels_last():
    network = picture_network((3, 12, 12))
    env = rl.ExplainedEnv(Blinker((12, 12, 3)), network, preprocess=lambda x: x.permute(0, 3, 1, 2) / 255)
    seen, action, _, info = play(env, lambda o: 1, 1)[0]
    planes = torch.from_numpy(seen).permute(2, 0, 1)[None].float() / 255
    expected = seqxai.LRP(network, composite="epsilon-gamma-box").attribute(planes, target=action).relevance[0].permute(1, 2, 0)
    np.testing.assert_allclose(info["explanation"].relevance, expected.numpy(), rtol=1e-4, atol=1e-7)


def test_vectors_are_explained_by_epsilon_and_single_observations_need_no_batch():
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).double()
    plain = rl.ExplainedEnv(gym.make("CartPole-v1"), network)
    single = rl.ExplainedEnv(gym.make("CartPole-v1"), network, add_batch=False)
    for one, other in zip(play(plain, first, 5), play(single, first, 5), strict=True):
        a, b = one[3]["explanation"], other[3]["explanation"]
        assert a.method == b.method == "lrp/epsilon"
        assert a.relevance.dtype == np.float64
        np.testing.assert_allclose(a.relevance, b.relevance, rtol=1e-10)
        assert a.action_name in ("LEFT", "RIGHT")


def test_actions_may_start_anywhere():
    env = rl.ExplainedEnv(Blinker(actions=gym.spaces.Discrete(3, start=1)), picture_network(), action_names=["a", "b", "c"])
    _, _, _, info = play(env, lambda o: np.int64(3), 1)[0]
    assert info["explanation"].action == 2


# ---- play stays as it was ----------------------------------------------------------------------------------------------------


class Noisy(nn.Module):
    """Dropout, batch statistics and a counter: everything a run could leave a trace on."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 2))

    def forward(self, x):
        return self.layers(x)


def learn_while_playing(explained):
    """A training loop with exploration from two random generators, and gradients kept over the step.

    (Python's own generator is left out: beartype, which checks types in tests, draws from it.)
    """
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    network = Noisy()
    network.layers[1].eval()  # one observation has no batch statistics
    env = gym.make("CartPole-v1")
    env = rl.ExplainedEnv(env, network, **explained) if explained is not None else env
    env.action_space.seed(3)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01)
    observation, _ = env.reset(seed=3)
    record = []
    for _ in range(40):
        values = network(torch.as_tensor(observation)[None])  # its graph lives on over the step
        draw = np.random.random() + float(torch.rand(()))  # noqa: NPY002
        action = int(env.action_space.sample()) if draw < 1.0 else int(values.argmax())
        observation, reward, terminated, truncated, _ = env.step(action)
        optimiser.zero_grad()
        (values[0, action] - reward).square().backward()
        optimiser.step()
        record.append((observation.copy(), action, float(values[0, action].detach())))
        if terminated or truncated:
            observation, _ = env.reset()
    return record, copy.deepcopy(network.state_dict()), [m.training for m in network.modules()]


@pytest.mark.filterwarnings("ignore:Two runs of the network")
@pytest.mark.parametrize("explained", [{}, {"every": 7}, {"target": "contrast", "composite": "lrp-0"}])
def test_explaining_changes_nothing(explained):
    plain, weights, modes = learn_while_playing(None)
    watched, same_weights, same_modes = learn_while_playing(explained)
    for (o1, a1, v1), (o2, a2, v2) in zip(plain, watched, strict=True):
        np.testing.assert_array_equal(o1, o2)
        assert (a1, v1) == (a2, v2)
    assert modes == same_modes
    for name, tensor in weights.items():
        assert torch.equal(tensor, same_weights[name]), name


def test_gradients_and_hooks_are_as_before():
    network = vector_network()
    network(torch.ones(1, 4)).sum().backward()
    kept = [p.grad.clone() for p in network.parameters()]
    play(rl.ExplainedEnv(gym.make("CartPole-v1"), network), first, 5)
    for parameter, gradient in zip(network.parameters(), kept, strict=True):
        assert torch.equal(parameter.grad, gradient)
        assert parameter.requires_grad
    assert not network._forward_hooks
    assert not network[0]._forward_hooks


# ---- when --------------------------------------------------------------------------------------------------------------------


def test_every_explains_every_so_many_decisions():
    infos = [info for *_, info in play(rl.ExplainedEnv(Blinker(), picture_network(), every=3), lambda o: 0, 7)]
    # An episode ends after 5 decisions; nobody decides on its last observation.
    assert ["explanation" in info for info in infos] == [True, False, False, True, False, False, True]


def test_lazy_explanations_are_computed_when_looked_at_and_refuse_other_weights():
    network = picture_network()
    eager = play(rl.ExplainedEnv(Blinker(), network), lambda o: 2, 3)
    lazy = play(rl.ExplainedEnv(Blinker(), network, lazy=True), lambda o: 2, 3)
    later = lazy[1][3]["explanation"]
    assert not later.computed
    np.testing.assert_array_equal(later.relevance, eager[1][3]["explanation"].relevance)
    assert later.computed
    with torch.no_grad():
        network[0].weight.mul_(2.0)
    with pytest.raises(InputError, match="weights changed after this decision"):
        _ = lazy[2][3]["explanation"].relevance
    assert later.explained == eager[1][3]["explanation"].explained


def test_a_callback_is_told_each_explanation():
    told = []
    env = rl.ExplainedEnv(Blinker(), picture_network(), callback=told.append, key="why")
    assert [info["why"] for *_, info in play(env, lambda o: 1, 4)] == told


# ---- many environments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_many_environments_are_explained_in_one_pass(mode):
    network = picture_network()
    lengths = (2, 4)
    vector = SyncVectorEnv([lambda n=n: Blinker(length=n) for n in lengths], autoreset_mode=mode)
    env = rl.ExplainedEnv(vector, network, target="contrast")
    assert isinstance(env, ExplainedVectorEnv)
    observations, _ = env.reset(seed=5)
    explainer = Explainer(network, env.single_observation_space, env.single_action_space, target="contrast")
    ended = np.zeros(2, bool)
    for step in range(6):
        seen, actions = observations.copy(), np.array([step % 3, (step + 1) % 3])
        observations, _, terminated, truncated, info = env.step(actions)
        resets = ended if mode == AutoresetMode.NEXT_STEP else np.zeros(2, bool)
        np.testing.assert_array_equal(info["_explanation"], ~resets)
        for index in range(2):
            explanation = info["explanation"][index]
            if resets[index]:
                assert explanation is None
                continue
            alone = explainer.explain(seen[index], actions[index])
            np.testing.assert_array_equal(explanation.observation, seen[index])
            np.testing.assert_allclose(explanation.relevance, alone.relevance, rtol=1e-4, atol=1e-6)
        ended = terminated | truncated
    env.close()


def test_processes_and_masked_resets():
    network = vector_network()
    env = rl.ExplainedEnv(AsyncVectorEnv([lambda: gym.make("CartPole-v1")] * 2), network)
    observations, _ = env.reset(seed=0)
    *_, info = env.step(np.array([0, 1]))
    expected = network(torch.from_numpy(observations)).detach().numpy()
    for index in range(2):
        np.testing.assert_allclose(info["explanation"][index].q_values, expected[index], rtol=1e-5)
    env.close()


# ---- memory ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [3, "episode"])
def test_relevance_reaches_past_observations_through_the_state(window):
    network = Recurrent().double()
    env = rl.ExplainedEnv(gym.make("CartPole-v1"), network, recurrent=window)
    observation, _ = env.reset(seed=0)
    state, seen = None, []
    for step in range(6):
        seen.append(observation)
        with torch.no_grad():
            values, state = network(torch.from_numpy(observation)[None, None].double(), state)
        action = int(values[0, 0].argmax())
        observation, *_, info = env.step(action)
        explanation = info["explanation"]
        length = step + 1 if window == "episode" else min(step + 1, window)
        np.testing.assert_array_equal(explanation.observation, np.stack(seen[-length:]))
        assert explanation.relevance.shape == (length, 4)
        np.testing.assert_allclose(explanation.q_values, values[0, 0].numpy(), rtol=1e-10)
        assert explanation.explained == pytest.approx(float(values[0, 0, action]), rel=1e-10)
        assert explanation.balance < 1e-12
        assert (abs(explanation.ledger["initial_state"]) > 1e-6) == (step >= length)
    whole = torch.from_numpy(np.stack(seen))[None].double()
    full = seqxai.LRP(lambda x: network(x)[0]).attribute(whole, target=seqxai.targets.Step(-1, action))
    np.testing.assert_allclose(explanation.relevance, full.relevance[0, -length:].numpy(), rtol=1e-9, atol=1e-14)
    assert float(np.abs(explanation.relevance[:-1]).sum()) > 0.01 * float(np.abs(explanation.relevance).sum())


@pytest.mark.filterwarnings("ignore:Two runs of the network")
def test_carrying_a_state_on_leaves_no_trace():
    class Restless(Recurrent):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout(0.5)
            self.register_buffer("mean", torch.zeros(4))

        def forward(self, observations, state=None):
            self.mean.lerp_(observations.detach().mean((0, 1)), 0.1)
            return super().forward(self.drop(observations), state)

    network = Restless()
    env = rl.ExplainedEnv(gym.make("CartPole-v1"), network, recurrent=2, every=10**6)
    kept, generator = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    play(env, first, 4)
    assert torch.equal(generator, torch.get_rng_state())
    for name, tensor in kept.items():
        assert torch.equal(tensor, network.state_dict()[name]), name


def test_memories_of_many_environments_are_their_own():
    network = Recurrent()
    vector = SyncVectorEnv([lambda: gym.make("CartPole-v1", max_episode_steps=3), lambda: gym.make("CartPole-v1")])
    env = rl.ExplainedEnv(vector, network, recurrent="episode")
    env.reset(seed=0)
    lengths = []
    for _ in range(6):
        *_, info = env.step(np.array([0, 1]))
        lengths.append([len(e.relevance) if e is not None else 0 for e in info["explanation"]])
    assert lengths == [[1, 1], [2, 2], [3, 3], [0, 4], [1, 5], [2, 6]]


def test_an_environment_that_resets_itself_begins_a_new_memory():
    inner = gym.wrappers.Autoreset(gym.make("CartPole-v1", max_episode_steps=3))
    env = rl.ExplainedEnv(inner, Recurrent(), recurrent="episode")
    env.reset(seed=0)
    lengths = []
    for _ in range(7):
        *_, info = env.step(0)
        lengths.append(len(info["explanation"].relevance) if "explanation" in info else 0)
    assert lengths == [1, 2, 3, 0, 1, 2, 3]


@pytest.mark.filterwarnings("ignore::UserWarning")  # that it is a wrapper
def test_gymnasium_finds_nothing_wrong_with_it():
    from gymnasium.utils.env_checker import check_env

    check_env(rl.ExplainedEnv(gym.make("CartPole-v1"), vector_network()), skip_render_check=True)


@pytest.mark.gpu
def test_networks_elsewhere():
    network = picture_network().cuda()
    on_gpu = play(rl.ExplainedEnv(Blinker(), network), lambda o: 1, 2)[0][3]["explanation"]
    on_cpu = play(rl.ExplainedEnv(Blinker(), network.cpu()), lambda o: 1, 2)[0][3]["explanation"]
    np.testing.assert_allclose(on_gpu.relevance, on_cpu.relevance, rtol=1e-3, atol=1e-5)


# ---- what does not fit -------------------------------------------------------------------------------------------------------


class Returns(nn.Module):
    def __init__(self, convert):
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.convert = convert

    def forward(self, x):
        return self.convert(self.layer(x))


BAD_NETWORKS = {
    "a tuple": (Returns(lambda v: (v, None)), r"got a tuple of \(Tensor \(1, 2\), NoneType\).*output=lambda returned: returned\[0\]"),
    "a dictionary": (Returns(lambda v: {"v": v[:, :1], "q": v}), r"dictionary with the keys 'v', 'q'.*returned\['q'\]"),
    "a distribution": (
        Returns(lambda v: torch.distributions.Categorical(logits=v)), r"distribution Categorical.*pass the module that computes the scores"
    ),
    "quantiles": (Returns(lambda v: v[:, None].expand(-1, 5, -1)), r"got \(1, 5, 2\).*quantiles.mean\(1\)"),
    "too many outputs": (nn.Linear(4, 3), "3 outputs, but the environment has 2 actions"),
    "another shape": (nn.Linear(5, 2), r"does not take the environment's observations.*\(1, 4\).*preprocess"),
    "lazy layers": (nn.LazyLinear(2), "lazy layers without weights"),
    "no network": (3, "Expected a network"),
}


@pytest.mark.parametrize(("network", "message"), BAD_NETWORKS.values(), ids=BAD_NETWORKS)
def test_a_network_that_does_not_fit(network, message):
    with pytest.raises(InputError, match=message):
        rl.ExplainedEnv(gym.make("CartPole-v1"), network)


def test_what_the_message_says_to_pass_works():
    layer = nn.Linear(4, 2)
    for convert, output in [
        (lambda v: (v, None), lambda returned: returned[0]),
        (lambda v: {"q": v}, lambda returned: returned["q"]),
        (lambda v: v[:, None].expand(-1, 5, -1), lambda quantiles: quantiles.mean(1)),
    ]:
        network = Returns(convert)
        network.layer = layer
        env = rl.ExplainedEnv(gym.make("CartPole-v1"), network, output=output)
        seen, _, _, info = play(env, first, 1)[0]
        np.testing.assert_allclose(info["explanation"].q_values, layer(torch.from_numpy(seen)).detach().numpy(), rtol=1e-5)


BAD_OPTIONS = {
    "target": ({"target": "jump"}, "Unknown target 'jump': expected one of chosen, .*, LEFT, RIGHT"),
    "value": ({"target": "state-value"}, "needs a dueling network with a module named 'value'"),
    "composite": ({"composite": "epsilom"}, "did you mean 'epsilon'"),
    "box": ({"composite": "epsilon-gamma-box"}, "needs the bounds of the observation"),
    "every": ({"every": 0}, "every should be at least 1"),
    "callback": ({"callback": 5}, "Expected a callback"),
    "recurrent": ({"recurrent": 0}, "window of at least 1"),
    "names": ({"action_names": ["left"]}, "Expected 2 action names"),
    "no state": ({"recurrent": 4}, r"recurrent network is called with \(observations, state\).*takes 2 positional arguments"),
    "numpy": ({"preprocess": lambda x: x.numpy()}, "Expected preprocess to return a torch tensor, got ndarray"),
    "size": ({"video_folder": "v", "video_size": (961, 480)}, "even number from 640 to 7680, got 961; try 962"),
    "height": ({"video_folder": "v", "video_size": (960, 100)}, "even number from 360 to 4320, got 100; try 360"),
    "features": ({"video_folder": "v", "feature_names": ["x"]}, "Expected 4 feature names"),
    "scale": ({"video_folder": "v", "scale": 0.0}, "scale should be above 0"),
    "length": ({"video_folder": "v", "video_length": -1}, "video_length should be 0 or more"),
    "trigger": ({"video_folder": "v", "step_trigger": 3}, "Expected step_trigger to be a function"),
    "palette": ({"video_folder": "v", "palette": "rainbow"}, "Unknown palette 'rainbow'; expected one of red-blue, orange-purple"),
    "folder": ({"video_folder": "file/v"}, "Cannot make the folder"),
}


@pytest.mark.filterwarnings("ignore:Numbers that depend")
@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS.values(), ids=BAD_OPTIONS)
def test_an_option_that_does_not_fit(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=message):
        rl.ExplainedEnv(gym.make("CartPole-v1"), Returns(lambda v: v), **options)


def test_an_environment_that_does_not_fit():
    network = vector_network()
    with pytest.raises(InputError, match="discrete actions, whose values a network compares, got continuous actions"):
        rl.ExplainedEnv(gym.make("Pendulum-v1"), network)
    with pytest.raises(InputError, match=r"got Discrete; put gymnasium\.wrappers\.FlattenObservation around"):
        rl.ExplainedEnv(gym.make("CliffWalking-v1"), network)
    with pytest.raises(InputError, match="Expected a Gymnasium environment"):
        rl.ExplainedEnv("CartPole-v1", network)
    with pytest.raises(InputError, match="Unknown option 'evry'"):
        rl.ExplainedEnv(SyncVectorEnv([lambda: gym.make("CartPole-v1")]), network, evry=2)


def test_a_render_mode_without_pictures(tmp_path):
    env = Blinker(render_mode="human")
    with pytest.raises(InputError, match="render_mode is 'human'; make it with render_mode='rgb_array'"):
        rl.ExplainedEnv(env, picture_network(), video_folder=tmp_path)


def test_a_key_that_is_taken_and_observations_from_elsewhere():
    env = rl.ExplainedEnv(Blinker(), picture_network(), key="time")
    env.reset(seed=0)
    with pytest.raises(InputError, match=r"already has the key 'time'.*key='time_2'"):
        env.step(0)
    twice = rl.ExplainedEnv(rl.ExplainedEnv(Blinker(), picture_network()), picture_network(), key="other")
    assert {"explanation", "other"} <= set(play(twice, lambda o: 0, 1)[0][3])
    inner = Blinker()
    wrong = rl.ExplainedEnv(inner, picture_network())
    inner.buffer = np.zeros((3, 12, 12), np.uint8)
    with pytest.raises(InputError, match=r"Expected an observation of shape \(2, 12, 12\).*got \(3, 12, 12\)"):
        wrong.reset(seed=0)


@pytest.mark.atari
def test_the_emulators_own_vector_of_games(shipped):
    from ale_py import AtariVectorEnv

    def frames(env):
        observations, _ = env.reset(seed=0)
        seen = []
        for _ in range(12):
            with torch.no_grad():
                actions = shipped.network(torch.as_tensor(observations)).argmax(1).numpy()
            observations, *_, info = env.step(actions)
            seen.append(observations.copy())
        env.close()
        return seen, info

    plain, _ = frames(AtariVectorEnv("breakout", num_envs=2))
    watched, info = frames(rl.ExplainedEnv(AtariVectorEnv("breakout", num_envs=2), shipped.network))
    np.testing.assert_array_equal(plain, watched)
    for explanation in info["explanation"]:
        expected = shipped.q_values(torch.from_numpy(explanation.observation)[None])[0].numpy()
        np.testing.assert_allclose(explanation.q_values, expected, rtol=1e-4)
        assert explanation.action_name in shipped.actions
        assert explanation.method == "lrp/epsilon-gamma-box"
