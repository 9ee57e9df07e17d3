"""The environment against ale-py's own vector environment, with which the agents were trained."""

from __future__ import annotations

import numpy as np
import pytest

from rl.environment import Environment
from rl.games import display_name, game_actions, known_games, resolve_game
from rl.preprocessing import Preprocessing, area_matrix, area_resize, area_taps, to_screen
from seqxai.errors import DependencyError, InputError

pytestmark = pytest.mark.atari


@pytest.mark.parametrize("game", ["breakout", "ms_pacman", "space_invaders", "pong"])
def test_observations_rewards_and_lives_are_those_of_the_vector_environment(game):
    import ale_py

    theirs = ale_py.AtariVectorEnv(game, 1, reward_clipping=False, num_threads=1)
    expected, info = theirs.reset(seed=3)
    ours = Environment(game, Preprocessing(), seed=0)
    ours.reset(start_frames=int(info["episode_frame_number"][0]))
    np.testing.assert_array_equal(ours.observation, expected[0])
    assert not ours.observation[:3].any()
    assert ours.observation[3].any()
    chance, points = np.random.default_rng(0), 0.0
    for step in range(220):
        action = int(chance.integers(len(ours.actions)))
        if "FIRE" in ours.actions and step % 25 == 0:
            action = ours.actions.index("FIRE")  # otherwise Breakout stands still after a lost life
        expected, reward, over, _, info = theirs.step(np.array([action]))
        outcome = ours.step(action)
        points += outcome.reward
        assert (outcome.reward, outcome.game_over) == (reward[0], bool(over[0]))
        if outcome.game_over:
            break
        assert ours.lives == info["lives"][0]
        np.testing.assert_array_equal(ours.observation, expected[0], err_msg=f"{game}, step {step}")
    assert step > 100
    assert points != 0.0
    theirs.close()


def test_start_is_random_within_thirty_frames_and_decided_by_the_seed():
    def first_planes(seed):
        environment = Environment("breakout", Preprocessing(), seed)
        planes = []
        for _ in range(4):
            environment.reset()
            planes.append(environment.plane)
            assert environment._emulator.getEpisodeFrameNumber() <= 30
        return np.stack(planes)

    np.testing.assert_array_equal(first_planes(5), first_planes(5))
    assert (first_planes(5) != first_planes(6)).any()


def test_nothing_of_the_last_game_is_left_after_a_reset():
    environment = Environment("breakout", Preprocessing(), seed=0)
    environment.reset()
    for action in (2, 2, 2, 2, 2, 2):
        environment.step(action)
    environment.reset()
    now = environment._emulator.getScreenGrayscale()
    np.testing.assert_array_equal(environment.plane, area_resize(now, 84, 84))
    assert not environment.observation[:3].any()


def test_fire_is_required_after_a_lost_life_and_only_then():
    environment = Environment("breakout", Preprocessing(), seed=0)
    environment.reset()
    for _ in range(400):
        lost = environment.step(environment.actions.index("NOOP")).life_lost
        if lost:
            break
        assert environment.required_action is None
    assert lost
    assert environment.lives == 4
    assert environment.actions[environment.required_action] == "FIRE"
    environment.step(environment.required_action)
    assert environment.required_action is None
    moving = [environment.ram[101] for _ in range(20) if environment.step(0)]
    assert len(set(moving)) > 5, "the ball does not move: FIRE did not serve"


def test_screen_and_memory_belong_to_the_newest_frame():
    environment = Environment("breakout", Preprocessing(), seed=0)
    environment.reset()
    for action in (2, 2, 2, 3, 0, 2):
        environment.step(action)
        paddle = environment.ram[72] - 47  # RAM 72 holds the paddle's position
        row = environment.screen[190, 8:152].astype(int) @ [1, 1, 1]
        assert row[paddle - 8 + 2] > 200
        assert environment.screen.shape == (210, 160, 3)


@pytest.mark.parametrize(
    ("spelling", "game"),
    [
        ("breakout", "breakout"),
        ("Breakout", "breakout"),
        ("ALE/Breakout-v5", "breakout"),
        ("BreakoutNoFrameskip-v4", "breakout"),
        ("BreakoutDeterministic-v0", "breakout"),
        ("Pong-ram-v5", "pong"),
        ("MsPacman", "ms_pacman"),
        ("ms pacman", "ms_pacman"),
    ],
)
def test_spellings_of_a_game(spelling, game):
    assert resolve_game(spelling) == game


def test_every_known_game_is_its_own_spelling():
    assert [resolve_game(game) for game in known_games()] == list(known_games())
    assert display_name("ms_pacman") == "Ms Pacman"


@pytest.mark.parametrize(("wrong", "near"), [("brakeout", "breakout"), ("ALE/Pongg-v5", "pong")])
def test_unknown_game_suggests_the_nearest(wrong, near):
    with pytest.raises(InputError, match=rf"unknown game '{wrong}': expected one of the \d+ .*did you mean '{near}"):
        resolve_game(wrong)


@pytest.mark.parametrize("wrong", ["", " ", "ALE/"])
def test_an_empty_game_suggests_none(wrong):
    with pytest.raises(InputError, match=rf"unknown game '{wrong}': .* name one, such as 'breakout'$"):
        resolve_game(wrong)


def test_actions_are_the_emulators_minimal_set():
    assert game_actions("breakout") == ("NOOP", "FIRE", "RIGHT", "LEFT")


def test_the_emulator_is_silent(capfd):
    Environment("breakout", Preprocessing(), seed=0).reset()
    assert capfd.readouterr() == ("", "")


def test_missing_emulator_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ale_py", None)
    with pytest.raises(DependencyError, match=r"needs the emulator ale-py.*pip install 'seqxai\[rl\]'"):
        Environment("breakout", Preprocessing(), seed=0)


def test_missing_cartridge(monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("ALE_ROMS_DIR", str(tmp_path))
    with pytest.raises(InputError, match="the cartridge of 'pong' cannot be used"):
        Environment("pong", Preprocessing(), seed=0)
    assert capfd.readouterr().out == ""


def test_a_preprocessing_nobody_performs_is_refused():
    with pytest.raises(InputError, match=r"trained with interpolation='cubic'; only 'area' and 'linear' and"):
        Environment("breakout", Preprocessing(interpolation="cubic"), seed=0)
    with pytest.raises(InputError, match="frame_skip is 1; pooling two frames needs at least 2"):
        Environment("breakout", Preprocessing(frame_skip=1), seed=0)


def test_area_weights_by_hand():
    taps = area_taps(5, 2)  # 2.5 old pixels in each new one
    matrix = area_matrix(5, 2)
    np.testing.assert_allclose(matrix, [[0.4, 0.4, 0.2, 0.0, 0.0], [0.0, 0.0, 0.2, 0.4, 0.4]], rtol=1e-7)
    assert taps.weights.sum(axis=1).tolist() == [1.0, 1.0]
    np.testing.assert_allclose(area_matrix(210, 84).sum(axis=0), 0.4, rtol=1e-6)
    np.testing.assert_allclose(area_matrix(160, 84).sum(axis=0), 0.525, rtol=1e-6)


def test_resize_is_the_box_mean_up_to_rounding():
    screen = np.random.default_rng(0).integers(0, 256, (210, 160), dtype=np.uint8)
    fine = screen.repeat(2, axis=0).repeat(21, axis=1).astype(np.float64)  # 420 x 3360: boxes of 5 x 40 whole pixels
    exact = fine.reshape(84, 5, 84, 40).mean(axis=(1, 3))
    resized = area_resize(screen, 84, 84)
    assert np.abs(resized - exact).max() <= 0.5 + 1e-4
    assert (area_resize(np.full((210, 160), 77, np.uint8), 84, 84) == 77).all()


def test_relevance_returns_to_the_pixels_it_came_from():
    plane = np.random.default_rng(0).standard_normal((84, 84))
    on_screen = to_screen(plane)
    assert on_screen.sum() == pytest.approx(plane.sum() * 210 * 160 / 84**2, rel=1e-5)
    one = np.zeros((84, 84))
    one[40, 40] = 1.0  # covers rows 100 .. 102.5 and columns 76.19 .. 78.10 of the screen
    rows, columns = np.nonzero(to_screen(one))
    assert (set(rows), set(columns)) == ({100, 101, 102}, {76, 77, 78})
    np.testing.assert_allclose(to_screen(np.ones((84, 84))), 1.0, rtol=1e-5)
