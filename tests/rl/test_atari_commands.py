"""`seqxai atari video`: one command from an agent to a film."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import rl
from rl.cli import app
from rl.environment import Environment
from rl.trajectory import Trajectory
from seqxai.errors import CheckpointError, InputError

av = pytest.importorskip("av")

RUNNER = CliRunner()


def run(*arguments):
    return RUNNER.invoke(app, ["video", *map(str, arguments)])


@pytest.mark.atari
def test_one_command_writes_a_video_and_reports_it(tmp_path):
    out, kept = tmp_path / "video.mp4", tmp_path / "played.npz"
    relevance, still = tmp_path / "relevance.npz", tmp_path / "still.png"
    result = run(
        "--seconds", 1, "--seed", 4, "--out", out, "--webm", "--trajectory-out", kept, "--relevance", relevance,
        "--still", 15, "--still-out", still, "--caption", tmp_path / "caption.json", "--json", "--quiet",
    )  # fmt: skip
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
    assert {path.name for path in tmp_path.iterdir()} == {
        "video.mp4", "video.webm", "played.npz", "relevance.npz", "still.png", "caption.json",
    }  # fmt: skip
    whole = rl.explain(played, rl.load(rl.shipped_agent()))
    with np.load(relevance) as file:
        np.testing.assert_allclose(file["relevance"], whole.relevance, atol=1e-5 * np.abs(whole.relevance).max())
        np.testing.assert_allclose(file["explained"], whole.explained, atol=1e-5)
        np.testing.assert_allclose(file["ledger_bias"], whole.ledger["bias"], atol=1e-5)
        np.testing.assert_array_equal(file["chosen"], played.chosen)
        header = json.loads(str(file["header"]))
        assert header["method"] == "lrp/epsilon-gamma-box"
        assert header["rules"][1] == {"layer": "conv2", "rule": "Gamma(gamma=0.25, epsilon=1e-09, bias='include')"}
        assert header["versions"]["torch"].startswith("2.")
    caption = json.loads((tmp_path / "caption.json").read_text())
    assert caption["scale"]["full_colour"] == report["scale"]
    assert caption["files"] == ["video.mp4", "video.webm"]
    assert caption["versions"]["torch"].startswith("2.")
    box, *between, values = caption["rules"]
    assert box == {"layer": "conv1", "rule": "ZBox(low=0.0, high=255.0, epsilon=1e-09)"}
    assert values == {"layer": "values", "rule": "Epsilon(epsilon=1e-06, bias='include')"}
    assert [one["rule"].split("(")[0] for one in between] == ["Gamma", "Gamma", "Epsilon"]
    assert caption["conservation"]["mean_explained"] == pytest.approx(report["explained_mean"])
    assert sum(caption["share_of_frames_percent"].values()) == pytest.approx(100, abs=0.3)
    with av.open(str(out)) as container:
        *_, last = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    picture = np.asarray(Image.open(still)).astype(int)
    assert np.abs(picture - last).mean() < 4.0, "the still is the frame"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    path = tmp_path_factory.mktemp("recorded") / "played.npz"
    rl.record(rl.load(rl.shipped_agent()), seed=2, decisions=45, save_to=path)
    return path


@pytest.mark.atari
def test_a_recorded_trajectory_in_part_and_slowly(recorded, tmp_path, monkeypatch):
    monkeypatch.setattr(Environment, "step", None)  # nothing is played
    out = tmp_path / "a.gif"
    result = run("--trajectory", recorded, "--start", 1, "--end", 1.4, "--slow", 3, "--layout", "compact", "--out", out, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["frames"], report["fps"], report["width"], report["height"]) == (6, 5.0, 640, 580)
    caption = (tmp_path / "a.caption.txt").read_text()
    assert "Breakout, decisions 16 to 21, 5 a second (15 is the game's own speed), seed 2." in caption
    assert f"Full colour at ±{report['scale']:.3g} per observed pixel, the 99.5 % quantile" in caption
    assert "; lrp/epsilon-gamma-box, that is conv1: ZBox(low=0.0, high=255.0, epsilon=1e-09); conv2: Gamma(" in caption
    assert "sums are off by at most" in caption


@pytest.mark.atari
def test_a_figure_without_a_video_has_vector_text(recorded, tmp_path):
    figures = [tmp_path / name for name in ("figure.svg", "figure.pdf")]
    places = [part for path in figures for part in ("--still-out", path)]
    result = run("--trajectory", recorded, "--still", "1.4s", *places, "--target", "contrast", "--palette", "orange-purple")
    assert result.exit_code == 0, result.output
    svg = figures[0].read_text()
    for text in ("Breakout, decision 22 (0:01.4)", "Q-value of each action", "NOOP", "relevance of the action taken against"):
        assert text in svg
    assert figures[1].read_bytes().startswith(b"%PDF")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure.pdf", "figure.svg"]


@pytest.mark.atari
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "nothing to write: give --out for a video, or --still and --still-out"),
        (("--webm",), "--webm writes beside the first --out"),
        (("--relevance", "r.npz", "--still", "1", "--still-out", "a.png"), "--relevance is written with the video; give --out"),
        (("--out", "a.mp4", "--still-out", "a.png"), "give --still, such as --still 8.5s"),
        (("--still", "8"), "--still says which moment, but not where"),
        (("--out", "a.mp4", "--still", "x", "--trajectory", "R"), "--still should be seconds, such as 8.5s, or the number"),
        (("--out", "a.mp4", "--still", "7s", "--trajectory", "R"), "--still 7s is not shown: expected 0.0s .. 2.9s, or a decision 1 .. 45"),
        (("--out", "a.mp4", "--start", "9", "--trajectory", "R"), "--start 9 is after the end of the trajectory, which is 3.0 seconds"),
        (("--out", "a.mp4", "--start", "9", "--end", "3"), "--end 3 is not after --start 9"),
        (("--out", "a.mp4", "--trajectory", "R", "--game", "breakout"), "--trajectory shows what was recorded, and --game is for playing"),
        (("--out", "a.mp4", "--trajectory", "none.npz"), "no trajectory at none.npz"),
        (("--out", "a.mp4", "--size", "big"), "--size should be width x height in pixels, such as 1920x1080, got 'big'"),
        (("--out", "a.mp4", "--size", "64x64"), "'full' should be at least 960x540 pixels"),
        (("--out", "a.mp4", "--scale", "0"), "scale should be above 0, video pixels per game pixel, got 0.0; 2 is usual"),
        (("--out", "a.mp4", "--scale", "nan"), "scale should be a finite number, got nan"),
        (("--out", "a.mp4", "--trajectory", "R", "--seed", "3"), "--trajectory shows what was recorded, and --seed is for playing"),
        (("--out", "a.mp4", "--layout", "wide"), "unknown layout 'wide'"),
        (("--out", "a.mp4", "--palette", "grey"), "unknown palette 'grey'"),
        (("--out", "a.mp4", "--out", "a.mp4"), "a film is named twice"),
        (("--out", "a.mp4", "--caption", "a.doc"), "expected a name ending in .txt or .json"),
        (("--out", "a.mp4", "--target", "state-value"), "'state-value' needs a dueling network"),
    ],
)
def test_options_that_do_not_fit_are_said_before_anything_is_played(recorded, tmp_path, monkeypatch, arguments, text):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Environment, "step", None)
    result = run(*(recorded if part == "R" else part for part in arguments))
    assert isinstance(result.exception, InputError), result.output
    assert text in str(result.exception)
    assert list(tmp_path.iterdir()) == []


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
    options = "agent game seconds seed composite target out trajectory-out webm start end slow layout size scale palette still"
    for option in (f"--{name}" for name in (*options.split(), "still-out", "caption", "relevance", "trajectory")):
        assert option in result.stdout


def test_the_commands_are_imported_without_anything_heavy():
    heavy = {"torch", "ale_py", "av", "numpy", "PIL", "gymnasium"}
    code = f"import sys, rl.cli; print(sorted({heavy} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
