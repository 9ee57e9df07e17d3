"""Agents of other projects: told by content, their own values to 1e-5, explained with a ledger that closes."""

from __future__ import annotations

import gzip
import json
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import rl
import seqxai
from rl.checkpoints.foreign import FORMATS
from rl.layout import Convolution, Layout
from seqxai.errors import CheckpointError
from tests.rl import foreign_networks as nets
from tests.rl.foreign_networks import made, pictures

pytestmark = pytest.mark.atari

ARGUMENTS = {"env_id": "BreakoutNoFrameskip-v4", "total_timesteps": 10_000_000, "seed": 1, "track": False, "v_min": -10.0, "exp_name": None}
STATISTICS = {"loc": torch.full((4, 1, 1), 0.2), "scale": torch.full((4, 1, 1), 0.5)}


def mangled_gzip(network, path):
    torch.save({"estimator_state": network.state_dict(), "step": 5}, path)
    path.write_bytes(gzip.compress(path.read_bytes(), 1))


def old_format(network, path):
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=False)


def plain(network, path):
    torch.save(network.state_dict(), path)


def with_arguments(network, path):
    torch.save({"model_weights": network.state_dict(), "args": ARGUMENTS}, path)


def standardised(network, path):
    save_file(STATISTICS, path.with_name("pixels.safetensors"))
    plain(network, path)


CASES = {
    # name: (network, writer, source, what the network is given, choices)
    "CleanRL DQN": (nets.CleanDQN, plain, "CleanRL DQN", None, {}),
    "CleanRL DQN, old file": (nets.CleanDQN, old_format, "CleanRL DQN", None, {}),
    "CleanRL C51": (nets.CleanC51, with_arguments, "CleanRL C51", None, {}),
    "CleanRL Rainbow": (nets.CleanRainbow, plain, "CleanRL Rainbow", None, {}),
    "CleanRL PQN": (nets.CleanPQN, plain, "CleanRL PQN", None, {}),
    "CleanRL PPO": (nets.CleanPPO, plain, "CleanRL PPO", None, {}),
    "atari-agents DQN": (nets.AtariNet, mangled_gzip, "atari-agents DQN", None, {}),
    "atari-agents C51": (lambda: nets.AtariNet(True), mangled_gzip, "atari-agents C51", None, {}),
    "Kaixhin": (nets.KaixhinRainbow, plain, "Kaixhin Rainbow", None, {}),
    "Kaixhin, padded": (lambda: nets.KaixhinRainbow("old"), plain, "Kaixhin Rainbow", None, {}),
    "Kaixhin, data-efficient": (lambda: nets.KaixhinRainbow("data-efficient"), plain, "Kaixhin Rainbow", None, {}),
    "tianshou 0.3": (nets.OldTianshou, plain, "tianshou DQN", None, {}),
    "torchrl": (nets.TorchrlActor, standardised, "torchrl DQN", lambda x: (x / 255 - 0.2) / 0.5, {"statistics": "pixels.safetensors"}),
    "torchrl dueling": (
        lambda: nets.TorchrlActor(dueling=True), plain, "torchrl DQN", lambda x: x / 255, {"statistics": "none"},
    ),
}  # fmt: skip


def write(name, folder, file="agent.bin"):
    build, writer, source, prepare, choices = CASES[name]
    network, path = made(build), folder / file
    writer(network, path)
    choices = {key: value if value == "none" else folder / value for key, value in choices.items()}
    return network, path, source, prepare or (lambda x: x), choices


@pytest.mark.parametrize("name", CASES)
def test_values_are_the_network_s_own_and_the_ledger_closes(name, tmp_path):
    network, path, source, prepare, choices = write(name, tmp_path, "nothing.txt")
    agent = rl.load(path, game="breakout", **choices)
    assert agent.source == source
    assert agent.actions == ("NOOP", "FIRE", "RIGHT", "LEFT")
    assert not agent.network.training
    seen = pictures()
    expected = network(prepare(seen))
    torch.testing.assert_close(agent.q_values(seen), expected, rtol=0, atol=1e-5)
    assert float(expected.std()) > 0.01, "too much alike to tell"
    for target in (torch.tensor([1, 2, 0]), *([seqxai.targets.Unit("value", 0)] if agent.network.state_value else [])):
        found = seqxai.LRP(agent.network, composite="epsilon-gamma-box", ledger=True).attribute(seen, target=target)
        total = found.ledger.total()
        off = (found.explained - sum(total.values())).abs().max()
        assert float(off) < 2e-5 * float(sum(abs(part) for part in total.values()).max())
        assert float(total["input"].abs().max()) > 1e-3
        assert float(found.relevance[:, :, :28].abs().sum()) > 0, "black pixels have their share under z^B"


def test_the_critic_of_a_policy_is_its_own(tmp_path):
    network, path, *_ = write("CleanRL PPO", tmp_path)
    agent = rl.load(path, game="breakout")
    seen = pictures()
    value = network.critic(network.network(seen / 255.0))
    torch.testing.assert_close(agent.network.value_of_state(seen), value, rtol=0, atol=1e-6)
    explained = seqxai.LRP(agent.network).attribute(seen, target=seqxai.targets.Unit("value", 0)).explained
    torch.testing.assert_close(explained, value[:, 0], rtol=0, atol=1e-6)
    assert agent.network.quantity == "logit"


def test_noisy_layers_are_their_means_or_what_was_stored(tmp_path):
    network, path, *_ = write("CleanRL Rainbow", tmp_path)
    seen = pictures()
    means, stored = (rl.load(path, game="breakout", **choice).q_values(seen) for choice in ({}, {"noise": "stored"}))
    torch.testing.assert_close(means, network(seen), rtol=0, atol=1e-5)
    torch.testing.assert_close(stored, network.train()(seen), rtol=0, atol=1e-5)
    assert float((means - stored).abs().max()) > 0.01
    assert rl.load(path, game="breakout", noise="stored").preprocessing.noise == "stored"


def test_what_the_file_says_and_what_is_guessed(tmp_path):
    _, path, *_ = write("CleanRL C51", tmp_path)
    agent = rl.load(path)
    assert (agent.game, agent.agent_steps, agent.algorithm) == ("breakout", 10_000_000, "C51")
    assert [guess.name for guess in agent.guesses] == ["preprocessing"]
    assert (agent.network.layout.atoms, agent.network.layout.low, agent.network.layout.high) == (nets.ATOMS, -10.0, 10.0)
    _, path, *_ = write("Kaixhin, padded", tmp_path)
    guesses = {guess.name: guess.value for guess in rl.load(path, game="breakout").guesses}
    assert guesses == {"agent_steps": 0, "padding": 1, "low": -10.0, "high": 10.0, "interpolation": "linear"}
    unpadded = rl.load(path, game="breakout", padding=0)
    assert "padding" not in {guess.name for guess in unpadded.guesses}
    assert unpadded.network.layout.convolutions[0] == Convolution(6, 8, 4, 0)
    assert float((unpadded.q_values(pictures()) - rl.load(path, game="breakout").q_values(pictures())).abs().max()) > 1e-3


def test_the_game_by_the_names_of_file_and_folders(tmp_path):
    folder = tmp_path / "DQN_classic_adam" / "Breakout" / "1"
    folder.mkdir(parents=True)
    write("atari-agents DQN", folder, "model_50000000.gz")
    agent = rl.load(folder / "model_50000000.gz")
    assert (agent.game, agent.agent_steps) == ("breakout", 50_000_000)
    assert (agent.preprocessing.sticky_probability, agent.preprocessing.start_frames) == (0.0, 30)
    assert {guess.name: guess.reason for guess in agent.guesses}["game"] == "by the names of the file and its folders"
    shutil.move(tmp_path / "DQN_classic_adam", tmp_path / "DQN_modern")
    assert rl.load(tmp_path / "DQN_modern" / "Breakout" / "1" / "model_50000000.gz").preprocessing.sticky_probability == 0.25


def test_a_game_nobody_names_or_of_other_actions(tmp_path):
    _, path, *_ = write("CleanRL DQN", tmp_path)
    with pytest.raises(CheckpointError, match=r"does not say which game its 4 actions belong to; say it with game="):
        rl.load(path)
    with pytest.raises(CheckpointError, match=r"the network has 4 outputs, but pong has 6 actions .*say the right game"):
        rl.load(path, game="pong")


def test_safetensors_with_the_names_of_another_library(tmp_path):
    network = made(nets.KaixhinRainbow)
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, tmp_path / "kai.safetensors")
    agent = rl.load(tmp_path / "kai.safetensors", game="breakout")
    torch.testing.assert_close(agent.q_values(pictures()), network(pictures()), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["CleanRL PQN", "CleanRL Rainbow", "torchrl", "Kaixhin, padded", "CleanRL PPO"])
def test_converted_agents_say_everything_and_stay_the_same(name, tmp_path):
    _, path, source, _, choices = write(name, tmp_path)
    agent, out = rl.load(path, game="breakout", sticky_probability=0.25, **choices), tmp_path / "ours.safetensors"
    rl.save_agent(agent, out)
    again = rl.load(out)
    assert (again.source, again.preprocessing, again.network.layout) == (source, agent.preprocessing, agent.network.layout)
    assert again.preprocessing.sticky_probability == 0.25
    assert (again.fingerprint, again.guesses, again.warnings) == (agent.fingerprint, (), ())
    assert torch.equal(again.q_values(pictures()), agent.q_values(pictures()))
    with safe_open(out, framework="pt") as file:
        metadata, tensors = dict(file.metadata()), {key: file.get_tensor(key) for key in file.keys()}
    save_file(tensors, out, metadata | {"canned_values": json.dumps([[9.0] * 4] * 3)})
    assert "fixed pictures are worth other values than when it was converted" in rl.load(out).warnings[0]
    save_file(tensors, out, metadata | {"layout": "{}"})
    with pytest.raises(CheckpointError, match="the layout of the network cannot be read"):
        rl.load(out)


def test_a_folder_is_a_run_sorted_by_step(tmp_path):
    for steps in (400, 30, 1000):
        network = made(nets.CleanDQN, seed=steps)
        torch.save(network.state_dict(), tmp_path / f"model_{steps}.pth")
    (tmp_path / "vecnormalize.pkl").write_bytes(b"\x80\x04cposix\nsystem\n.")
    (tmp_path / "log.txt").write_text("a log")
    run = rl.load_run(tmp_path, game="breakout", divisor=255.0)
    assert [checkpoint.agent_steps for checkpoint in run] == [30, 400, 1000]
    torch.testing.assert_close(run[2].load().q_values(pictures()), network(pictures()), rtol=0, atol=1e-5)
    assert set(run.ignored) == {"vecnormalize.pkl"}
    assert "posix.system" in run.ignored["vecnormalize.pkl"]


def test_layouts_that_are_no_networks():
    first = Convolution(8, 8, 4)
    for wrong in ({"head": "magic"}, {"atoms": 0}, {"low": 1.0, "high": 1.0}, {"activation": "softmax"}, {"divisor": 0.0}):
        with pytest.raises(seqxai.errors.InputError, match="layout"):
            Layout((first,), **wrong)
    for convolutions in ((), (Convolution(8, 90, 1),), (Convolution(8, 8, 4), Convolution(8, 80, 1)), (Convolution(0, 8, 4),)):
        with pytest.raises(seqxai.errors.InputError, match="layout"):
            Layout(convolutions)
    for text in ("", "[]", "{", '{"convolutions": 3}', json.dumps({"convolutions": [{"channels": "8", "kernel": 8}]})):
        with pytest.raises(seqxai.errors.InputError, match="layout of the network cannot be read"):
            Layout.from_json(text)


def test_every_format_has_a_case():
    assert {source.removesuffix(f" {source.split()[-1]}") for _, _, source, *_ in CASES.values()} | {"Stable-Baselines3"} >= {
        name.removesuffix(" Rainbow") for name in FORMATS
    }
