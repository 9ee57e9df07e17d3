"""A training seen through its checkpoints: the right numbers, one scale for all, films, figures, and what can be wrong."""

from __future__ import annotations

import dataclasses
import json
import re
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import rl
from rl import drawing
from rl.checkpoints import Checkpoint, Run, Score
from rl.checkpoints.native import Description
from rl.cli import app
from rl.environment import Environment
from rl.evolution import Evolution, Moment, Sight, Tally, evolution_figure, evolve, key_moments, named_moments
from rl.evolution import figure as figures
from rl.evolution.film import frames, render_evolution, save_still
from rl.evolution.layout import Layout, best_layout
from rl.evolution.moments import BEGINNING, LIFE, REWARD, SPREAD, VALUE
from rl.evolution.panels import Scores, panels
from rl.network import NipsNetwork
from seqxai.errors import CheckpointError, InputError
from tests.rl.conftest import trajectory_of

ACTIONS = ("NOOP", "FIRE", "RIGHT", "LEFT")
STEPS = (0, 1_000, 20_000)
RUNNER = CliRunner()


def agent_of(strength: float, steps: int) -> rl.Agent:
    """A small random network whose values are so many times as large."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(steps)
        network = NipsNetwork(4).eval().requires_grad_(False)
        network.values.weight *= strength
        network.values.bias *= strength
    score = Score(float(steps) / 1000, 99.0, 16)
    return rl.Agent(network, "breakout", ACTIONS, agent_steps=steps, score=score, architecture="nips")


@dataclasses.dataclass(frozen=True)
class InMemory(Checkpoint):
    """A checkpoint that needs no file."""

    agent: rl.Agent = dataclasses.field(kw_only=True)

    def load(self):
        return self.agent


@pytest.fixture(scope="module")
def agents():
    return [agent_of(strength, steps) for strength, steps in zip((0.001, 1.0, 2.0), STEPS, strict=True)]


@pytest.fixture(scope="module")
def run(agents, tmp_path_factory):
    def facts(agent):
        return Description(
            agent.game, agent.actions, agent.preprocessing, agent.agent_steps, agent.score, agent.algorithm, agent.architecture
        )

    folder = tmp_path_factory.mktemp("run")
    return Run(folder, tuple(InMemory(folder / str(a.agent_steps), facts(a), agent=a) for a in agents))


@pytest.fixture(scope="module")
def states(agents):
    return trajectory_of(agents[-1], 40)


@pytest.fixture(scope="module")
def evolution(run, states):
    return evolve(run, states)


@pytest.fixture(scope="module")
def sights(evolution):
    return list(evolution.sights())


@pytest.mark.parametrize("target", ["largest", "chosen", "left"])
def test_every_checkpoint_is_explained_as_rl_explain_would(run, states, agents, target):
    seen = list(evolve(run, states, target=target).sights([3, 17, 30, 5]))
    assert [sight.decision for sight in seen] == [3, 17, 30, 5]
    for number, agent in enumerate(agents):
        alone = rl.explain(states.seen_by(agent), agent, target=target)
        for sight in seen:
            expected = alone.relevance[sight.decision].sum(axis=0)
            np.testing.assert_allclose(sight.relevance[number], expected, atol=1e-5 * np.abs(expected).max())
            np.testing.assert_allclose(sight.q_values[number], alone.q_values[sight.decision], rtol=1e-5)
            assert sight.explained[number] == pytest.approx(alone.explained[sight.decision], rel=1e-5)


def test_own_contrasts(run, states):
    for target, rival in (("contrast", lambda q: np.sort(q)[:, -2]), ("contrast-mean", lambda q: (q.sum(1) - q.max(1)) / 3)):
        for sight in evolve(run, states, target=target).sights([3, 30]):
            expected = sight.q_values.max(axis=1) - rival(sight.q_values)
            np.testing.assert_allclose(sight.explained, expected, rtol=1e-4, atol=1e-8)


def test_the_scale_is_that_of_the_strongest_checkpoint(evolution, sights):
    strength = np.abs([sight.relevance for sight in sights])  # 40 decisions: the sample is everything
    each = [np.quantile(strength[:, stage], 0.995) for stage in range(3)]
    assert evolution.limit == pytest.approx(max(each), rel=1e-5)
    assert each[0] < 0.01 * max(each)
    q_values = np.array([sight.q_values for sight in sights])
    assert evolution.q_range == pytest.approx((1.1 * min(0, q_values.min()), 1.1 * max(0, q_values.max())), rel=1e-5)


def test_a_weak_beginning_looks_weak(evolution, sights):
    """The first checkpoint's tile is the darkened game, nothing else; the strongest reaches the full colour."""
    layout = best_layout(3, 4)
    pictures = [frame.copy() for frame in frames(evolution, layout, range(0, 40, 3))]
    reach = []
    for stage in range(3):
        box = layout.screen(stage)
        tiles = np.stack([p[box.y : box.bottom, box.x : box.right] for p in pictures]).astype(int)
        reach.append((tiles.max(axis=-1) - tiles.min(axis=-1)).max())
    assert reach[0] <= 2, "tinted"
    assert max(reach) > 180


def test_the_table_by_hand(evolution):
    tally = Tally(evolution)
    q_values = np.float32([[0, 1, 0, 0], [0, 0, 0, -4], [2, 0, 0, 0]])
    relevance = np.zeros((3, 84, 84), np.float32)
    relevance[1, 3, 4:6] = 2.0, -1.0
    tally.add(Sight(0, relevance, q_values, np.array([1.0, 0.0, 2.0]), np.zeros(3)))
    tally.add(Sight(1, 0 * relevance, q_values[[0, 2, 2]], np.array([1.0, 2.0, 4.0]), np.zeros(3)))
    table = tally.table()
    assert [row["agent_steps"] for row in table] == list(STEPS)
    assert [row["score"] for row in table] == [0.0, 1.0, 20.0]
    assert [row["mean_absolute_q"] for row in table] == [0.25, 0.75, 0.5]
    assert [row["mean_relevance"] for row in table] == [0.0, 1.5, 0.0]
    assert [row["mean_explained"] for row in table] == [1.0, 1.0, 3.0]
    assert [row["agreement"] for row in table] == [0.0, 1.0, 1.0]


@pytest.mark.atari
def test_on_policy_each_checkpoint_plays_its_own_game(run, agents):
    told = []
    own = evolve(run, on_policy=True, decisions=12, seed=3, progress=told.append)
    assert told == list(range(1, 37))
    for stage, agent in zip(own.stages, agents, strict=True):
        np.testing.assert_array_equal(stage.trajectory.screens, rl.record(agent, seed=3, decisions=12).screens)
    sight = next(own.sights([9]))
    for number, agent in enumerate(agents):
        seen = torch.from_numpy(own.stages[number].trajectory.observations(np.array([9])))
        np.testing.assert_allclose(sight.q_values[number], agent.q_values(seen)[0], rtol=1e-5)
    layout = best_layout(3, 4)
    frame = next(frames(own, layout, [9]))
    assert frame.shape == (layout.height, layout.width, 3)
    tally = Tally(own)
    tally.add(sight)
    assert [row["agreement"] for row in tally.table()] == [None] * 3
    assert [row["points"] for row in tally.table()] == [stage.trajectory.rewards.sum() for stage in own.stages]


@pytest.mark.atari
def test_the_best_checkpoint_plays_the_states(run, agents):
    played = evolve(run, decisions=5, seed=2).trajectory
    assert (played.agent_steps, played.agent_fingerprint) == (20_000, agents[-1].fingerprint)
    np.testing.assert_array_equal(played.screens, rl.record(agents[-1], seed=2, decisions=5).screens)


@pytest.mark.parametrize("beside", [True, False])
def test_eighteen_q_values_have_room(evolution, beside):
    names = tuple(f"{v}{h}{f}" or "NOOP" for v in ("", "UP", "DOWN") for h in ("", "LEFT", "RIGHT") for f in ("", "FIRE"))
    stages = tuple(dataclasses.replace(s, agent=dataclasses.replace(s.agent, actions=names)) for s in evolution.stages)
    layout = Layout(3, 18, 2, 2, beside)
    for panel in panels(dataclasses.replace(evolution, stages=stages), layout)[-3:]:
        rows = panel._rows
        assert len(rows) == 18
        assert all(row.bottom <= panel.box.bottom and row.right <= panel.box.right for row in rows)
        widest = max(drawing.text_width(name, panel._size) for name in panel._names)
        assert widest + drawing.text_width("-0.00", panel._size) <= rows[0].width + 4


def test_the_film_is_what_was_drawn(evolution, tmp_path):
    av = pytest.importorskip("av")
    told = []
    film = render_evolution(evolution, tmp_path / "a.mp4", fps=7.5, decisions=range(5, 15), progress=told.append)
    assert told == list(range(1, 11))
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert float(container.streams.video[0].average_rate) == 7.5
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert (len(decoded), film.frames) == (10, 10)
    assert decoded[0].shape == (film.height, film.width, 3)
    layout = best_layout(3, 4)
    box = layout.values(2)
    for picture, drawn in zip(decoded, frames(evolution, layout, range(5, 15)), strict=True):
        area = np.s_[box.y : box.bottom, box.x : box.right]
        assert np.abs(picture[area].astype(int) - drawn[area]).mean() < 4.0
    tally = Tally(evolution)
    for sight in evolution.sights(range(5, 15)):
        tally.add(sight)
    assert film.table == tally.table()


def test_the_scores_stand_beside_each_other(evolution):
    canvas = np.zeros((300, 300, 3), np.uint8)
    Scores(evolution, drawing.Box(0, 0, 300, 160)).background(canvas)
    heights = [int((canvas[:, 100 * n + 5] == drawing.BAR).all(axis=1).sum()) for n in range(3)]
    assert heights == [2, round(92 * 1 / 20), 92]  # scores 0, 1, 20; 160 less the caption, the numbers and the steps
    canvas[:] = 0
    Scores(evolution, drawing.Box(0, 0, 300, 100)).background(canvas)
    assert not canvas.any(), "no room"


def test_every_frame_shows_its_decision(evolution):
    layout = best_layout(3, 4)
    pictures = [frame.copy() for frame in frames(evolution, layout, [4, 5])]
    for box in (layout.game, layout.facts, layout.values(1), layout.screen(1)):
        area = np.s_[box.y : box.bottom, box.x : box.right]
        assert (pictures[0][area] != pictures[1][area]).any()
    game = pictures[0][layout.game.y : layout.game.bottom : 2, layout.game.x : layout.game.right : 2]
    np.testing.assert_array_equal(game, evolution.trajectory.screens[4])


def test_a_still_is_the_frame_of_the_film(evolution, tmp_path):
    save_still(evolution, tmp_path / "a.png", 9)
    *_, frame = frames(evolution, best_layout(3, 4), range(10))
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image), frame)


def test_an_interrupted_film_leaves_nothing(evolution, tmp_path):
    pytest.importorskip("av")
    before = threading.active_count()

    def stop(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_evolution(evolution, tmp_path / "a.mp4", progress=stop)
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == before


@pytest.fixture
def eventful(states):
    """40 decisions, the second game from 20 on, with one of everything at a known place."""
    q_values = np.zeros((40, 4), np.float32)
    q_values[37], q_values[22] = [5, 4, 4, 4], [9, 9, 9, 9]  # 22: not all four frames are of this game
    lives = np.full(40, 5)
    rewards = np.zeros(40)
    rewards[[1, 18, 19]] = [7.0, 4.0, 4.0]  # 1 has no four frames either
    return dataclasses.replace(states, q_values=q_values, lives=lives, rewards=rewards)


def test_key_moments_by_hand(eventful):
    assert key_moments(eventful) == [Moment(BEGINNING, 3), Moment(REWARD, 18), Moment(VALUE, 37)]
    lives = np.where(np.arange(40) >= 30, 4, 5)
    lost = key_moments(dataclasses.replace(eventful, lives=lives, rewards=np.zeros(40)))
    assert lost == [Moment(BEGINNING, 3), Moment(LIFE, 24), Moment(VALUE, 39)]  # 29 loses it; 37 is too close to 24
    q_values = eventful.q_values.copy()
    q_values[18] = [0, 0, 0, -3]
    apart = key_moments(dataclasses.replace(eventful, q_values=q_values, rewards=np.zeros(40)))
    assert apart == [Moment(BEGINNING, 3), Moment(SPREAD, 18), Moment(VALUE, 37)]
    assert key_moments(eventful, 10, 30) == [Moment(BEGINNING, 23)]  # all else is less than a second away
    assert key_moments(eventful, 0, 3) == []
    assert named_moments([5, 39], 40) == [Moment("decision 6", 5), Moment("decision 40", 39)]


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_figure(evolution, tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(figures, "DOTS", 60)
    path = tmp_path / f"figure{suffix}"
    columns = evolution_figure(evolution, path, [Moment("early", 5), Moment("late", 30)])
    assert [column.decision for column in columns] == [5, 30]
    content = path.read_bytes()
    assert content.startswith({".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix])
    if suffix == ".png":
        with Image.open(path) as image:
            assert image.width == 60 * 3.75  # two pictures of 1.26 inches with their gaps, and the labels
            assert image.height > 60 * 4 * 2  # the game and three checkpoints
            assert (np.asarray(image.convert("RGB"))[:5] == 255).all()


def unwrapped(text):
    return " ".join(text.split())


def test_the_figure_says_what_it_shows(evolution, monkeypatch):
    words = []
    monkeypatch.setattr(figures._Figure, "_text", lambda self, x, y, text, size, *rest, **how: words.append(text))
    figures._Figure(evolution, [Moment("the late one", 30)], None, drawing.RED_BLUE).drawn()
    sight = next(evolution.sights([30]))
    for stage, steps in enumerate(("0", "1 k", "20 k")):
        choice = int(sight.q_values[stage].argmax())
        assert f"{ACTIONS[choice]}  {sight.q_values[stage, choice]:.2f}" in words
        assert steps in words
    assert "the late one\n0:02.0" in words
    assert f"+{evolution.limit:.2g}" in words
    assert any("the action each would take, per" in text and "epsilon-gamma-box" in text for text in map(unwrapped, words))


def test_games_without_a_moment_have_an_empty_place(evolution, monkeypatch, eventful, tmp_path):
    quiet = dataclasses.replace(eventful, rewards=np.zeros(40))
    games = (quiet, eventful, eventful)
    stages = tuple(dataclasses.replace(s, trajectory=game) for s, game in zip(evolution.stages, games, strict=True))
    own = dataclasses.replace(evolution, stages=stages, on_policy=True)
    monkeypatch.setattr(figures, "DOTS", 60)
    words = []
    keep = figures._Figure._text
    monkeypatch.setattr(
        figures._Figure, "_text", lambda self, x, y, text, *rest, **how: (words.append(text), keep(self, x, y, text, *rest, **how))
    )
    columns = evolution_figure(own, tmp_path / "a.png")
    assert [column.name for column in columns] == [BEGINNING, REWARD, VALUE]
    assert words.count("does not happen") == 1
    late = evolution_figure(own, tmp_path / "a.png", decisions=range(20, 40))
    assert late == key_moments(eventful, 20, 40)
    assert late[0].decision == 23, "the second game"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"quantile": 0.0}, "quantile should be above 0 and at most 1, got 0.0"),
        ({"target": "UP"}, "unknown target 'UP': expected one of chosen, largest"),
        ({"target": "state-value"}, "the target 'state-value' needs a dueling network"),
        ({"composite": "epsilom"}, "did you mean 'epsilon'"),
        ({"on_policy": True}, "with on_policy every checkpoint plays a game of its own; leave the trajectory out"),
    ],
)
def test_wrong_arguments(run, states, arguments, text):
    with pytest.raises(InputError, match=re.escape(text)):
        evolve(run, states, **arguments)


def test_the_balance_and_the_rules_are_those_of_the_agents(evolution, agents, states):
    worst = max(rl.explain(states.seen_by(agent), agent, target="largest").balance.max() for agent in agents)
    assert evolution.balance == pytest.approx(worst, rel=1e-6)
    assert evolution.rules == rl.explain_stream(states, agents[-1]).rules
    assert dict(evolution.rules)["values"] == "Epsilon(epsilon=1e-06, bias='include')"


def test_runs_and_states_that_do_not_fit(run, states, evolution, tmp_path):
    with pytest.raises(InputError, match=r"expected 2 \.\. 12 checkpoints to compare, got 1"):
        evolve(dataclasses.replace(run, checkpoints=run.checkpoints[:1]), states)
    with pytest.raises(InputError, match=r"the trajectory is of pong \(NOOP FIRE RIGHT LEFT\), the training of breakout"):
        evolve(run, dataclasses.replace(states, game="pong"))
    for scale in (1, 5):
        with pytest.raises(InputError, match=rf"scale should be 2 \.\. 4 film pixels per game pixel, got {scale}"):
            render_evolution(evolution, tmp_path / "a.mp4", scale=scale)
    with pytest.raises(InputError, match="there is no decision to show"):
        render_evolution(evolution, tmp_path / "a.mp4", decisions=[])
    with pytest.raises(InputError, match=r"there is no decision at place 40 of this game: it has the places 0 \.\. 39"):
        named_moments([3, 40], 40)
    with pytest.raises(InputError, match="no key moment in this part of the game"):
        evolution_figure(evolution, tmp_path / "a.png", [])
    with pytest.raises(InputError, match=r"expected a name ending in \.png or \.svg or \.pdf, got \.jpg"):
        evolution_figure(evolution, tmp_path / "a.jpg")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def folder(agents, tmp_path_factory):
    place = tmp_path_factory.mktemp("training") / "checkpoints"
    place.mkdir()
    for agent, name in zip(agents, "cab", strict=True):
        rl.save_agent(agent, place / f"{name}.safetensors")
    return place.parent


def command(*arguments):
    return RUNNER.invoke(app, ["evolve", *map(str, arguments)])


@pytest.mark.atari
def test_one_command_writes_film_and_figure(folder, tmp_path):
    av = pytest.importorskip("av")
    film, figure, second, kept = tmp_path / "a.mp4", tmp_path / "a.png", tmp_path / "a.svg", tmp_path / "a.npz"
    options = ("--seconds", 2, "--seed", 4, "--end", 1.2, "--slow", 3, "--moments", "5,11,0.8s", "--trajectory-out", kept)
    result = command(folder, "--out", film, "--figure", figure, "--figure", second, *options, "--json", "--quiet")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert result.stderr == ""
    assert (report["frames"], report["decisions"], report["played_by"]) == (18, 30, 20_000)
    assert report["bytes"] == [film.stat().st_size]
    with av.open(str(film)) as container:
        assert float(container.streams.video[0].average_rate) == 5.0
    assert [row["agent_steps"] for row in report["checkpoints"]] == list(STEPS)
    assert report["checkpoints"][-1]["agreement"] == 1.0
    assert report["moments"] == {"decision 5": 5, "decision 11": 11, "decision 13": 13}
    assert report["figures"] == [str(figure), str(second)]
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert second.read_bytes().startswith(b"<?xml")
    assert 0 < report["balance"] < 1e-5
    caption = (tmp_path / "a.caption.txt").read_text()
    assert "all on the same states, played by the agent of 20,000 agent steps" in caption
    assert "conv1: ZBox(low=0.0, high=255.0" in caption
    assert f"Full colour at ±{report['scale']:.3g}" in caption
    again = command(folder, "--figure", tmp_path / "b.png", "--trajectory", kept, "--steps", "0,20k")
    assert again.exit_code == 0, again.output
    assert "full colour at ±" in again.stdout
    assert [line.split()[0] for line in again.stdout.splitlines()[-5:-2]] == ["agent", "0", "20000"]


@pytest.mark.atari
def test_the_page_on_evolutions_runs(folder, tmp_path, monkeypatch, capsys):
    pytest.importorskip("av")
    page = (Path(__file__).parents[2] / "docs" / "evolution.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "breakout").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    shorter = block.replace("decisions=900", "decisions=20").replace("[120, 300]", "[3, 9]")
    exec(compile(shorter, "evolution.md", "exec"), {})
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "evolution.mp4", "evolution.pdf"}
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["3", "9"]


@pytest.mark.atari
@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((), InputError, "nothing to write: give --out FILE.mp4, --figure FILE.pdf, or both"),
        (("--out", "a.avi"), InputError, "expected a name ending in .mp4, .webm, .gif or .apng, got .avi"),
        (("--figure", "a.bmp"), InputError, "expected a name ending in .png or .svg or .pdf, got .bmp"),
        (("--out", "no/a.mp4"), InputError, "is missing; create it first"),
        (("--out", "a.mp4", "--steps", "0,3M"), InputError, "is at 3M agent steps; there are 0, 1000, 20000"),
        (("--out", "a.mp4", "--target", "UP"), InputError, "unknown target 'UP'"),
        (("--out", "a.mp4", "--composite", "epsilom"), InputError, "did you mean 'epsilon'"),
        (("--out", "a.mp4", "--trajectory", "none.npz"), InputError, "no trajectory at none.npz"),
        (("--out", "a.mp4", "--on-policy", "--trajectory", "a.npz"), InputError, "leave --trajectory and --trajectory-out out"),
        (("--out", "a.mp4", "--trajectory", "a.npz", "--seed", 4), InputError, "--seed is for playing, and with --trajectory nothing is"),
        (("--out", "a.mp4", "--trajectory", "a.npz", "--seconds", 4), InputError, "--seconds is for playing, and with --trajectory"),
        (("--figure", "a.png", "--palette", "rainbow"), InputError, "unknown palette 'rainbow': expected one of red-blue, orange"),
        (("--still", "5"), InputError, "nothing to write: give --out FILE.mp4"),
        (("--still-out", "a.png"), InputError, "a still needs --still MOMENT and --still-out FILE.png; give both"),
        (("--still-out", "a.jpg", "--still", "5"), InputError, "expected a name ending in .png, got .jpg"),
        (("--still-out", "a.png", "--still", "901"), InputError, "expected 0.0s .. 59.9s, or a decision 1 .. 900"),
        (("--still-out", "a.png", "--still", "0"), InputError, "--still 0 is not shown"),
        (("--figure", "a.png", "--webm"), InputError, "--webm writes beside the first --out, and none is given"),
        (("--figure", "a.png", "--moments", "a,b"), InputError, "--moments should be seconds, such as 8.5s, or the number of a decision"),
    ],
)
def test_mistakes_end_in_one_sentence_before_anything_is_played(folder, tmp_path, monkeypatch, arguments, error, text):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Environment, "step", None)
    result = command(folder, *arguments)
    assert isinstance(result.exception, error), result.output
    assert text in str(result.exception)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.atari
def test_folders_that_are_no_training(agents, states, folder, tmp_path):
    (tmp_path / "empty").mkdir()
    result = command(tmp_path / "empty", "--out", tmp_path / "a.mp4")
    assert isinstance(result.exception, CheckpointError)
    assert "holds no checkpoint" in str(result.exception)
    rl.save_agent(agents[0], tmp_path / "empty" / "one.safetensors")
    result = command(tmp_path / "empty", "--out", tmp_path / "a.mp4")
    assert "holds one checkpoint only; an evolution needs at least 2 of one training" in str(result.exception)
    dataclasses.replace(states, game="pong").save(tmp_path / "pong.npz")
    result = command(folder, "--out", tmp_path / "a.mp4", "--trajectory", tmp_path / "pong.npz")
    assert "the trajectory is of pong" in str(result.exception)
    result = command(folder, "--figure", tmp_path / "a.png", "--seconds", 1, "--start", 5)
    assert "nothing to show between --start 5 and the end: the game lasts 1.0 s" in str(result.exception)


def test_help_shows_a_complete_example():
    result = RUNNER.invoke(app, ["evolve", "--help"])
    assert result.exit_code == 0
    assert "seqxai atari evolve runs/breakout --checkpoints 6 --out evolution.mp4" in " ".join(result.stdout.split())


def test_an_evolution_is_as_long_as_its_shortest_game(evolution, states):
    names = [f.name for f in dataclasses.fields(states) if isinstance(getattr(states, f.name), np.ndarray)]
    short = dataclasses.replace(states, **{name: getattr(states, name)[:7] for name in names})
    stages = (dataclasses.replace(evolution.stages[0], trajectory=short), *evolution.stages[1:])
    assert len(Evolution(stages, True, "epsilon", "largest", 1.0, 0.995, (0.0, 1.0), 0.0)) == 7
