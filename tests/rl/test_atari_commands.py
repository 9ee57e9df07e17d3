"""`seqxai atari video`: one command from an agent to a film."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

import rl
from rl.cli import app
from rl.environment import Environment
from rl.trajectory import Trajectory
from seqxai.errors import CheckpointError, InputError

RUNNER = CliRunner()


def run(*arguments):
    return RUNNER.invoke(app, ["video", *map(str, arguments)])


@pytest.mark.atari
def test_one_command_writes_a_video_and_reports_it(tmp_path):
    out, kept = tmp_path / "video.mp4", tmp_path / "played.npz"
    result = run("--seconds", 1, "--seed", 4, "--out", out, "--trajectory-out", kept, "--json", "--quiet")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert result.stderr == ""
    assert (report["frames"], report["game"], report["seed"]) == (15, "breakout", 4)
    assert report["bytes"] == out.stat().st_size > 10_000
    assert report["method"] == "lrp/epsilon-gamma-box"
    assert report["balance"] < 1e-4
    assert report["scale"] > 0.0
    assert sum(report["ledger"].values()) == pytest.approx(report["explained_mean"], abs=1e-4)
    played = Trajectory.load(kept)
    expected = rl.record(rl.load(rl.shipped_agent()), seed=4, decisions=15)
    np.testing.assert_array_equal(played.screens, expected.screens)


@pytest.mark.atari
def test_the_summary_for_people(tmp_path):
    out = tmp_path / "video.mp4"
    agent = rl.shipped_agent()
    result = run("--seconds", 0.4, "--out", out, "--agent", agent, "--composite", "epsilon", "--target", "LEFT")
    assert result.exit_code == 0, result.output
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert lines["video"] == f"{out}, {out.stat().st_size / 1e6:.1f} MB, 6 decisions"
    assert lines["played"] == "breakout, seed 0: 0 points, 1 game(s)"
    assert lines["explained"] == "lrp/epsilon, target LEFT"
    assert lines["balance"].startswith("sums are off by at most ")
    assert " per observed pixel, in the whole video" in lines["full"]
    assert "render" in result.stderr, "no progress bar"


@pytest.mark.atari
@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (("--out", "a.avi"), InputError, "expected a name ending in .mp4, .webm, .gif or .apng"),
        (("--out", "no/a.mp4"), InputError, "is missing; create it first"),
        (("--out", "a.mp4", "--trajectory-out", "b.txt"), InputError, "expected a name ending in .npz"),
        (("--out", "a.mp4", "--agent", "none.safetensors"), CheckpointError, "the file does not exist"),
        (("--out", "a.mp4", "--game", "brakeout"), InputError, "did you mean 'breakout'"),
        (("--out", "a.mp4", "--game", "pong"), InputError, "trained for breakout with the actions"),
        (("--out", "a.mp4", "--target", "UP"), InputError, "unknown target 'UP'"),
        (("--out", "a.mp4", "--composite", "epsilom"), InputError, "did you mean 'epsilon'"),
        (("--out", "a.mp4", "--agent", ""), InputError, "--agent is empty; give the path of a checkpoint"),
        (("--out", "a.mp4", "--game", ""), InputError, "--game is empty; give a name such as breakout"),
        (("--out", f"{__file__}/b/a.mp4"), InputError, "test_atari_commands.py' is a file, not a directory"),
    ],
)
def test_mistakes_end_in_one_sentence_before_anything_is_played(tmp_path, monkeypatch, arguments, error, text):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Environment, "step", None)
    result = run(*arguments)
    assert isinstance(result.exception, error)
    assert text in str(result.exception)
    assert list(tmp_path.iterdir()) == []
    assert result.stdout == ""


def test_help_shows_a_complete_example():
    result = RUNNER.invoke(app, ["video", "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert "seqxai atari video --game breakout --seconds 30" in result.stdout
    for option in ("--agent", "--game", "--seconds", "--seed", "--composite", "--target", "--out", "--trajectory-out"):
        assert option in result.stdout


def test_the_commands_are_imported_without_anything_heavy():
    heavy = {"torch", "ale_py", "av", "numpy", "PIL", "gymnasium"}
    code = f"import sys, rl.cli; print(sorted({heavy} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
