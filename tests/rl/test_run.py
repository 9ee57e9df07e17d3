"""A training as a folder: order from content, what does not belong, and which checkpoints are meant; plain Sequentials."""

from __future__ import annotations

import dataclasses
import re
import shutil

import pytest
import torch
from safetensors.torch import save_file

import rl
from rl.checkpoints import Score
from rl.checkpoints.sequential import OBSERVATION, PREPROCESSING
from rl.network import NatureNetwork, NipsNetwork
from rl.preprocessing import Preprocessing
from seqxai.errors import CheckpointError, InputError

pytestmark = pytest.mark.atari

LAYERS = {"conv1": 0, "conv2": 2, "hidden": 5, "values": 7}
WORDS = next(iter(PREPROCESSING))


@pytest.fixture(scope="module")
def small():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = NipsNetwork(4).eval().requires_grad_(False)
    return rl.Agent(network, "breakout", ("NOOP", "FIRE", "RIGHT", "LEFT"), architecture="nips")


@pytest.fixture
def folder(small, tmp_path):
    """Names sort against the agent steps."""
    for name, steps, mean in (("a", 800_768, 8.0), ("b", 100_352, 9.5), ("c", 0, 0.5), ("d", 401_408, None)):
        score = None if mean is None else Score(mean, 2 * mean, 16)
        agent = dataclasses.replace(small, agent_steps=steps, score=score)
        rl.save_agent(agent, tmp_path / f"{name}.safetensors", half=True)
    return tmp_path


def steps_of(run):
    return [checkpoint.agent_steps for checkpoint in run]


def test_order_comes_from_what_the_files_say(folder, small):
    run = rl.load_run(folder)
    assert steps_of(run) == [0, 100_352, 401_408, 800_768]
    assert [checkpoint.mean_score for checkpoint in run] == [0.5, 9.5, None, 8.0]
    assert run.best.agent_steps == 100_352
    assert run.ignored == {}
    agent = run[-1].load()
    assert (agent.agent_steps, agent.architecture) == (800_768, "nips")
    torch.testing.assert_close(agent.network.values.weight, small.network.values.weight, rtol=1e-3, atol=1e-4)


def test_without_scores_the_last_is_best(folder, small):
    for path in folder.iterdir():
        path.unlink()
    for steps in (5, 30, 20):
        rl.save_agent(dataclasses.replace(small, agent_steps=steps), folder / f"{steps}.safetensors")
    assert rl.load_run(folder).best.agent_steps == 30


def test_a_training_keeps_its_checkpoints_in_a_folder_of_their_own(folder, tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    shutil.copy(folder / "a.safetensors", tmp_path / "run" / "checkpoints" / "a.safetensors")
    (tmp_path / "run" / "log.csv").write_text("steps,score\n")
    assert steps_of(rl.load_run(tmp_path / "run")) == steps_of(rl.load_run(tmp_path / "run" / "checkpoints")) == [800_768]


def test_what_does_not_belong_is_named(folder):
    shutil.copy(folder / "b.safetensors", folder / "best.safetensors")
    (folder / "replay.safetensors").write_bytes(b"no such thing")
    (folder / ".a.part.safetensors").write_bytes(b"half a checkpoint")
    (folder / "notes.txt").write_text("notes")
    run = rl.load_run(folder)
    assert steps_of(run) == [0, 100_352, 401_408, 800_768]
    assert run.ignored["best.safetensors"] == "as many agent steps as b.safetensors"
    assert "is no checkpoint" in run.ignored["replay.safetensors"]
    assert set(run.ignored) == {"best.safetensors", "replay.safetensors"}


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (2, [0, 800_768]),
        (3, [0, 100_352, 800_768]),
        (4, [0, 100_352, 401_408, 800_768]),
        (9, [0, 100_352, 401_408, 800_768]),
    ],
)
def test_the_spread_is_by_factors(folder, count, expected):
    assert steps_of(rl.load_run(folder).spread(count)) == expected


def test_the_spread_of_many(folder, small, tmp_path):
    run = rl.load_run(folder)
    facts = run[0].facts
    many = dataclasses.replace(
        run,
        checkpoints=tuple(
            dataclasses.replace(run[0], facts=dataclasses.replace(facts, agent_steps=250_000 * epoch)) for epoch in range(201)
        ),
    )
    epochs = [steps // 250_000 for steps in steps_of(many.spread(6))]
    assert epochs == [0, 1, 4, 14, 53, 200]  # 200 ** (0, 1/4, 2/4, 3/4, 1)
    for count in range(2, 13):
        assert len(set(steps_of(many.spread(count)))) == count


@pytest.mark.parametrize("steps", [["0", "400k", "0.8M"], [0, 401_408, "800_768"], ["800k", "0.4M", "0", "0"]])
def test_named_steps(folder, steps):
    assert steps_of(rl.load_run(folder).at(steps)) == [0, 401_408, 800_768]


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        (["0", "2M"], "is at 2M agent steps; there are 0, 100352, 401408, 800768"),
        (["0", "410k"], "is at 410k agent steps; there are"),
        (["0", "many"], "agent steps should be numbers such as 401408, 400k or 3.1M, got 'many'; there are 0"),
        (["0"], "expected the agent steps of at least 2 checkpoints to compare, got 1"),
        (["400k", "401408"], "expected the agent steps of at least 2 checkpoints to compare, got 1"),
    ],
)
def test_steps_that_are_not_there(folder, steps, text):
    with pytest.raises(InputError, match=re.escape(text)):
        rl.load_run(folder).at(steps)


def test_one_checkpoint_is_no_comparison(folder):
    with pytest.raises(InputError, match="should be at least 2, got 1"):
        rl.load_run(folder).spread(1)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"game": "boxing"}, "the game of c.safetensors is breakout, of e.safetensors boxing"),
        ({"actions": ("FIRE", "NOOP", "RIGHT", "LEFT")}, "the actions of c.safetensors is NOOP FIRE RIGHT LEFT, of e.saf"),
        ({"preprocessing": Preprocessing(frame_skip=3)}, "c.safetensors is frame_skip=4, of e.safetensors frame_skip=3"),
        ({"architecture": "nature", "network": NatureNetwork(4).eval()}, "the network of c.safetensors is nips, of e.safetensors nature"),
    ],
)
def test_different_trainings_are_refused(folder, small, monkeypatch, change, text):
    if "game" in change:
        monkeypatch.setattr("rl.checkpoints.native.game_actions", lambda game: small.actions)
    rl.save_agent(dataclasses.replace(small, agent_steps=5, **change), folder / "e.safetensors")
    with pytest.raises(CheckpointError, match=re.escape(text)):
        rl.load_run(folder)


def test_folders_that_are_none(folder, tmp_path):
    with pytest.raises(InputError, match=r"no folder at .*none; give the folder of a training"):
        rl.load_run(tmp_path / "none")
    with pytest.raises(InputError, match=r"is a file; expected the folder of a training"):
        rl.load_run(folder / "a.safetensors")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"empty holds no checkpoint: expected files ending in .safetensors"):
        rl.load_run(tmp_path / "empty")
    (tmp_path / "empty" / "x.safetensors").write_bytes(b"something else")
    with pytest.raises(CheckpointError, match=r"holds no checkpoint: .*the first of 1 files .*is no checkpoint"):
        rl.load_run(tmp_path / "empty")


@pytest.fixture
def sequential(small, tmp_path):
    """Write the small network by position."""

    def write(name="plain.safetensors", tensors=None, **changes):
        named = {}
        for key, tensor in small.network.state_dict().items():
            layer, kind = key.split(".")
            named[f"{LAYERS[layer]}.{kind}"] = tensor.half()
        metadata = {
            "game": "breakout",
            "actions": "NOOP FIRE RIGHT LEFT",
            "agent_steps": "77",
            "network": "nips",
            "observation": OBSERVATION,
            "preprocessing": WORDS,
            "score_mean_16_games": "3.25",
            "score_max": "7.0",
            "algorithm": "by hand",
        } | changes
        path = tmp_path / name
        save_file({**named, **(tensors or {})}, path, metadata={k: v for k, v in metadata.items() if v is not None})
        return path

    return write


def test_a_plain_sequential_is_recognised_by_its_content(sequential, small):
    agent = rl.load(sequential())
    for name, tensor in small.network.state_dict().items():
        assert torch.equal(agent.network.state_dict()[name], tensor.half().float())
    assert (agent.game, agent.actions, agent.agent_steps) == ("breakout", small.actions, 77)
    assert (agent.score, agent.algorithm, agent.architecture) == (Score(3.25, 7.0, 16), "by hand", "nips")
    assert agent.preprocessing == Preprocessing()
    assert rl.load(sequential(score_mean_16_games=None)).score is None


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"game": None, "network": None}, "is a plain Sequential without the metadata game, network; build the network"),
        ({"preprocessing": "frame skip 5"}, "describes how its agent sees in unknown words, 'frame skip 5'"),
        ({"observation": "float32 4x84x84"}, "describes how its agent sees in unknown words, 'float32 4x84x84'"),
        ({"score_max": None}, "the score should be two numbers, got ('3.25', 'nothing')"),
        ({"actions": "NOOP FIRE"}, "the actions do not fit the game; breakout has 4"),
        ({"agent_steps": "late"}, "the metadata 'agent_steps' should be a number, got 'late'"),
        ({"network": "rainbow"}, "names the network 'rainbow'; known networks: dueling, nature, nips"),
        ({"network": "nature"}, "is not a 'nature' network: missing tensors"),
        ({"tensors": {"12.weight": torch.zeros(2)}}, "unexpected tensors ['12.weight']"),
        ({"tensors": {"5.bias": torch.full((256,), torch.nan)}}, "tensor 'hidden.bias' contains NaN or infinity"),
    ],
)
def test_a_sequential_that_is_not_complete(sequential, changes, text):
    with pytest.raises(CheckpointError, match=re.escape(text)):
        rl.load(sequential(**changes))


@pytest.mark.shared
def test_the_reference_series(shared, shipped):
    run = rl.load_run(shared / "agents" / "breakout")
    assert steps_of(run) == [0, 100_352, 401_408, 800_768, 1_200_128, 2_000_896, 3_080_192]
    assert [c.mean_score for c in run] == [0.625, 0.9375, 3.0625, 8.0625, 20.75, 40.75, 69.8125]
    assert steps_of(run.spread(6)) == [0, 100_352, 401_408, 800_768, 1_200_128, 3_080_192]
    assert run[-1].load().fingerprint == shipped.fingerprint
