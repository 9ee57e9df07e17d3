"""What a foreign file does not say: how the game reaches the agent, how it is overridden, and what looks wrong."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import rl
from rl.checkpoints.choices import KNOWN, NETWORK, PLAY, parsed
from rl.checkpoints.fingerprint import canned_observations, pixels_over_bias
from rl.checkpoints.torchrl import read_statistics
from rl.cli import app
from rl.environment import Environment
from rl.preprocessing import Preprocessing, area_resize, grey_of, linear_taps, resize
from seqxai.errors import CheckpointError, InputError
from tests.rl import foreign_networks as nets
from tests.rl.foreign_networks import made, pictures

pytestmark = pytest.mark.atari

PLACES = {"conv1": 0, "conv2": 2, "conv3": 4, "hidden": 7, "values": 9}


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


# ---- overriding --------------------------------------------------------------------------------------------------------------------------


def test_choices_are_checked():
    assert parsed(["interpolation=linear", "divisor=1", "fire-at-reset=no", "padding=1"]) == {
        "interpolation": "linear", "divisor": 1.0, "fire_at_reset": False, "padding": 1,
    }  # fmt: skip
    for texts, message in (
        (["linear"], "--set should be name=value, such as interpolation=linear, got 'linear'"),
        (["interpolaton=linear"], "unknown choice 'interpolaton'; did you mean 'interpolation'?"),
        (["interpolation=cubic"], "interpolation should be one of area, linear, linear-antialias, got 'cubic'"),
        (["padding=one"], "padding should be a whole number, got 'one'"),
        (["divisor=much"], "divisor should be a finite number, got 'much'"),
        (["fire_at_reset=perhaps"], "fire_at_reset should be true or false, got 'perhaps'"),
        (["padding=1", "padding=0"], "--set padding is given twice"),
    ):
        with pytest.raises(InputError, match=message.replace("?", r"\?")):
            parsed(texts)
    assert set(PLAY) | set(NETWORK) < set(KNOWN)


def test_a_user_s_word_counts_more_than_a_format_s_habit(tmp_path):
    torch.save(made(nets.KaixhinRainbow).state_dict(), tmp_path / "x")
    usual = rl.load(tmp_path / "x", game="breakout")
    assert usual.preprocessing == Preprocessing(
        interpolation="linear", pool_after_resize=True, fire_at_reset=False, fire_after_life=False
    )
    other = rl.load(tmp_path / "x", game="breakout", interpolation="area", fire_at_reset="true", low=-1, high=1, divisor=128, agent_steps=9)
    assert (other.preprocessing.interpolation, other.preprocessing.fire_at_reset, other.preprocessing.divisor) == ("area", True, 128.0)
    assert (other.network.layout.low, other.agent_steps) == (-1.0, 9)
    assert "interpolation" not in {guess.name for guess in other.guesses}
    for wrong, message in (
        ({"frame_skip": 0}, "frame_skip is 0"),
        ({"sticky_probability": 1.5}, "sticky_probability should be 0.0 .. 0.99"),
    ):
        with pytest.raises(CheckpointError, match=message):
            rl.load(tmp_path / "x", game="breakout", **wrong)


def test_our_own_files_take_choices_about_play_only(untrained, tmp_path):
    path = tmp_path / "ours.safetensors"
    rl.save_agent(untrained, path)
    assert rl.load(path, sticky_probability=0.25).preprocessing.sticky_probability == 0.25
    with pytest.raises(InputError, match="the checkpoint says itself what its network looks like, divisor included"):
        rl.load(path, divisor=1)


def test_torchrl_s_statistics(tmp_path):
    torch.save(made(nets.TorchrlActor).state_dict(), tmp_path / "x")
    with pytest.raises(CheckpointError, match="without those statistics it sees nothing; give them with statistics=FILE"):
        rl.load(tmp_path / "x", game="breakout")
    chance = torch.Generator().manual_seed(0)
    pixels = torch.rand(50, 4, 84, 84, generator=chance)
    torch.save({"pixels_sum": pixels.sum(0), "pixels_ssq": pixels.square().sum(0), "pixels_count": torch.tensor([50.0])}, tmp_path / "norm")
    found = read_statistics(tmp_path / "norm")
    torch.testing.assert_close(found["pixel_mean"], pixels.mean(0), rtol=0, atol=1e-6)
    torch.testing.assert_close(found["pixel_deviation"], pixels.std(0, correction=0), rtol=1e-3, atol=1e-5)
    agent = rl.load(tmp_path / "x", game="breakout", statistics=tmp_path / "norm")
    expected = made(nets.TorchrlActor)((pictures() / 255 - pixels.mean(0)) / pixels.std(0, correction=0))
    torch.testing.assert_close(agent.q_values(pictures()), expected, rtol=0, atol=1e-4)
    for wrong, message in (
        ({"loc": torch.zeros(4, 1, 1), "scale": torch.zeros(4, 1, 1)}, "should be positive and finite"),
        ({"loc": torch.zeros(3, 1, 1), "scale": torch.ones(3, 1, 1)}, "do not fit 4 planes of 84 x 84 pixels"),
        ({"mean": torch.zeros(1)}, "holds no statistics of pixels; expected loc and scale"),
    ):
        torch.save(wrong, tmp_path / "wrong")
        with pytest.raises(CheckpointError, match=message):
            rl.load(tmp_path / "x", game="breakout", statistics=tmp_path / "wrong")


def test_the_page_about_foreign_agents_runs_and_names_every_choice(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(made(nets.CleanDQN).state_dict(), "dqn.zip")
    page = (Path(__file__).parents[2] / "docs" / "foreign_agents.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names = {}
    exec(compile(block.replace("decisions=100", "decisions=3"), "foreign_agents.md", "exec"), names)
    assert names["explained"].balance.max() < 1e-5
    assert [name for name in KNOWN if name != "agent_steps" and f"`{name}`" not in page] == []


# ---- what looks wrong --------------------------------------------------------------------------------------------------------------------


def test_a_wrong_divisor_is_noticed_and_a_right_one_is_not(shipped, tmp_path):
    """The trained agent's weights as CleanRL has them, and as an agent would have them that saw undivided pixels."""
    tensors = {f"{PLACES[name.split('.')[0]]}.{name.split('.')[1]}": t for name, t in shipped.network.state_dict().items()}
    divided = {f"network.{name}": tensor for name, tensor in tensors.items()}
    raw = {f"model.net.{name}": tensor / (255 if name == "0.weight" else 1) for name, tensor in tensors.items()}
    torch.save(divided, tmp_path / "divided")
    torch.save(raw, tmp_path / "raw")
    usual = {name: rl.load(tmp_path / name, game="breakout") for name in ("divided", "raw")}
    assert [agent.warnings for agent in usual.values()] == [(), ()]
    torch.testing.assert_close(usual["raw"].q_values(pictures()), usual["divided"].q_values(pictures()), rtol=1e-4, atol=1e-4)
    (bright,) = rl.load(tmp_path / "divided", game="breakout", divisor=1).warnings
    (dim,) = rl.load(tmp_path / "raw", game="breakout", divisor=255).warnings
    assert "probably trained on pixels divided by 255; try divisor=255" in bright
    assert "probably trained on undivided pixels; try divisor=1" in dim
    assert 30 < pixels_over_bias(usual["divided"].network) < 300


@pytest.mark.slow
@pytest.mark.shared
def test_the_pixels_scale_shows_all_through_a_training(shared, tmp_path):
    """The numbers of docs/foreign_agents.md and of the thresholds."""
    ratios = {"right": [], "bright": [], "dim": []}
    for path in sorted((shared / "agents" / "breakout").glob("*.safetensors")):
        state = rl.load(path).network.state_dict()
        tensors = {f"{PLACES[name.split('.')[0]]}.{name.split('.')[1]}": tensor for name, tensor in state.items()}
        torch.save({f"network.{name}": tensor for name, tensor in tensors.items()}, tmp_path / "divided")
        tensors["0.weight"] = tensors["0.weight"] / 255
        torch.save({f"model.net.{name}": tensor for name, tensor in tensors.items()}, tmp_path / "raw")
        for kind, name, divisor in (("right", "divided", 255), ("right", "raw", 1), ("bright", "divided", 1), ("dim", "raw", 255)):
            agent = rl.load(tmp_path / name, game="breakout", divisor=divisor)
            assert len(agent.warnings) == (kind != "right"), (path, kind)
            ratios[kind].append(pixels_over_bias(agent.network))
    assert {kind: (f"{min(found):.2g}", f"{max(found):.2g}") for kind, found in ratios.items()} == {
        "right": ("9.2", "1.1e+02"), "bright": ("2.4e+03", "2.9e+04"), "dim": ("0.036", "0.45"),
    }  # fmt: skip


def test_a_wrong_support_is_noticed(tmp_path):
    network = made(nets.CleanC51)
    network.network[9].bias.view(nets.ACTIONS, nets.ATOMS)[:, -1] += 50
    torch.save(network.state_dict(), tmp_path / "x")
    (warning,) = rl.load(tmp_path / "x", game="breakout").warnings
    assert warning.startswith("100% of the probability lies on the smallest and largest return, -10 and 10")


def test_the_fixed_pictures_are_fixed():
    seen = canned_observations()
    assert seen.shape == (3, 4, 84, 84)
    assert [int(picture.long().sum()) for picture in seen] == [910_016, 3_598_560, 3_597_881]


# ---- how the game reaches the agent ------------------------------------------------------------------------------------------------------


def test_grey_is_the_emulator_s():
    environment = Environment("breakout", Preprocessing(), seed=0)
    for game in ("breakout", "pong", "ms_pacman"):
        environment = Environment(game, Preprocessing(), seed=0)
        environment.reset()
        np.testing.assert_array_equal(grey_of(environment.screen), environment._emulator.getScreenGrayscale())


def test_linear_interpolation_looks_at_four_pixels():
    taps = linear_taps(5, 2)  # centres at 0.75 and 3.25
    np.testing.assert_array_equal(taps.index, [[0, 1], [3, 4]])
    np.testing.assert_allclose(taps.weights, [[0.25, 0.75], [0.75, 0.25]])
    wide = linear_taps(5, 2, antialias=True)
    np.testing.assert_allclose(wide.weights.sum(axis=1), 1.0, rtol=1e-6)
    assert (wide.weights > 0).sum() >= 6
    screen = np.random.default_rng(0).integers(0, 256, (210, 160), dtype=np.uint8)
    for how in ("area", "linear", "linear-antialias"):
        assert (resize(np.full((210, 160), 77, np.uint8), 84, 84, how) == 77).all()
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(screen)[None, None].double(), (84, 84), mode="bilinear", antialias=how == "linear-antialias"
        )[0, 0].numpy()
        if how == "area":
            np.testing.assert_array_equal(resize(screen, 84, 84), area_resize(screen, 84, 84))
        else:
            assert np.abs(resize(screen, 84, 84, how) - expected).max() <= 0.51


def played(**changes):
    environment = Environment("breakout", Preprocessing(start_frames=1, **changes), seed=3)
    environment.reset()
    for action in (1, 2, 2, 3, 0, 2):
        environment.step(action)
    return environment


def test_orders_of_pooling_shrinking_and_greying():
    planes = {
        order: played(**changes).plane.astype(int)
        for order, changes in {
            "usual": {},
            "small first": {"pool_after_resize": True},
            "pooled in colour": {"colour": "rgb-pooled"},
            "small in colour": {"colour": "rgb-resized"},
            "linear": {"interpolation": "linear"},
            "one frame": {"pooled_frames": 1},
        }.items()
    }
    assert (planes["small first"] <= planes["usual"]).all(), "the mean of maxima is at least the maximum of means"
    assert (planes["small first"] < planes["usual"]).any()
    assert np.abs(planes["small in colour"] - planes["pooled in colour"]).max() <= 1
    assert np.abs(planes["linear"] - planes["usual"]).max() > 50
    assert (planes["one frame"] <= planes["usual"]).all()


def test_stacks_begin_black_or_with_the_first_frame(shipped):
    first = Environment("breakout", Preprocessing(stack_padding="first"), seed=0)
    first.reset()
    assert all((plane == first.plane).all() for plane in first.observation)
    assert first.plane.any()
    agent = dataclasses.replace(shipped, preprocessing=Preprocessing(stack_padding="first"))
    trajectory = rl.record(agent, seed=0, decisions=6)
    seen = trajectory.observations()
    assert all((plane == seen[0, 3]).all() for plane in seen[0])
    np.testing.assert_array_equal(seen[2, 0], seen[0, 3])
    np.testing.assert_array_equal(seen[5], np.stack([trajectory.planes[t] for t in (2, 3, 4, 5)]))
    assert rl.explain(trajectory, agent).balance.max() < 1e-4, "the Q-values recorded are those of these observations"


def test_sticky_actions_change_play_and_not_its_repetition(shipped):
    agent = dataclasses.replace(shipped, preprocessing=Preprocessing(sticky_probability=0.25))
    one, again, without = (rl.record(a, seed=5, decisions=40) for a in (agent, agent, shipped))
    np.testing.assert_array_equal(one.planes[:], again.planes[:])
    assert (one.planes[:] != without.planes[:]).any()


# ---- commands ----------------------------------------------------------------------------------------------------------------------------


def test_inspect_and_convert(tmp_path):
    torch.save({"model_weights": made(nets.CleanC51).state_dict(), "args": {"env_id": "Breakout-v5"}}, tmp_path / "c51.cleanrl_model")
    done = run("inspect", tmp_path / "c51.cleanrl_model", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (report["format"], report["game"], report["actions"]) == ("CleanRL C51", "breakout", ["NOOP", "FIRE", "RIGHT", "LEFT"])
    assert report["layers"][0] == {"name": "conv1", "kind": "Conv2d", "weight": [6, 4, 8, 8], "parameters": 1542}
    assert report["parameters"] == sum(layer["parameters"] for layer in report["layers"])
    assert report["preprocessing"]["colour"] == "rgb-resized"
    assert (report["warnings"], [guess["name"] for guess in report["assumed"]]) == ([], ["agent_steps", "preprocessing"])
    text = run("inspect", tmp_path / "c51.cleanrl_model").stdout
    for part in ("CleanRL C51", "breakout", "11 atoms -10 .. 10", "divided by 255", "conv1", "say otherwise with --set NAME=VALUE"):
        assert part in text
    out = tmp_path / "c51.safetensors"
    done = run("convert", tmp_path / "c51.cleanrl_model", "--out", out, "--set", "sticky_probability=0.25", "--quiet")
    assert done.exit_code == 0, done.output
    again = json.loads(run("inspect", out, "--json").stdout)
    assert (again["fingerprint"], again["assumed"]) == (report["fingerprint"], [])
    assert again["preprocessing"]["sticky_probability"] == 0.25
    assert isinstance(run("convert", out, "--out", tmp_path / "x.pth").exception, InputError)


def test_convert_a_folder(tmp_path):
    (tmp_path / "run").mkdir()
    for steps in (100, 20):
        torch.save(made(nets.CleanDQN, seed=steps).state_dict(), tmp_path / "run" / f"model_{steps}.pth")
    done = run("convert", tmp_path / "run", "--out", tmp_path / "ours", "--game", "breakout", "-q")
    assert done.exit_code == 0, done.output
    assert [checkpoint.agent_steps for checkpoint in rl.load_run(tmp_path / "ours")] == [20, 100]
    done = run("convert", tmp_path / "run", "--out", tmp_path / "one.safetensors", "--game", "breakout")
    assert "so --out should name one, too" in str(done.exception)


def test_a_policy_s_film_says_logit(tmp_path):
    torch.save(made(nets.CleanPPO).state_dict(), tmp_path / "ppo.pt")
    out = tmp_path / "x.apng"
    done = run("video", "--agent", tmp_path / "ppo.pt", "--game", "breakout", "--seconds", "0.14", "--target", "LEFT", "--out", out, "-q")
    assert done.exit_code == 0, (done.output, done.exception)
    assert "relevance propagation of logit(LEFT)" in (tmp_path / "x.caption.txt").read_text()
    agent = rl.load(tmp_path / "ppo.pt", game="breakout")
    explained = rl.explain(rl.record(agent, decisions=3), agent, target="contrast")
    assert explained.label(0).startswith("logit(")
    assert explained.balance.max() < 1e-5
