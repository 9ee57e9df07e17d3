"""Objects read from a game's memory, against the screen."""

from __future__ import annotations

import numpy as np
import pytest

import rl
from rl.annotations.breakout import COLUMNS, HEIGHT, LEFT, ROWS, TOP, WIDTH, bricks, tunnels
from rl.trajectory import decide


def seen(screen):
    """Which bricks a person sees: the middle of each place is not black."""
    rows = TOP + HEIGHT * np.arange(ROWS) + HEIGHT // 2
    columns = LEFT + WIDTH * np.arange(COLUMNS) + WIDTH // 2
    return screen[np.ix_(rows, columns)].any(axis=-1)


@pytest.mark.atari
def test_bricks_are_those_on_the_screen():
    agent = rl.load(rl.shipped_agent("breakout"))
    agree, fewest = [], 108
    for row in decide(agent, seed=6, decisions=450):
        standing = bricks(row["ram"])
        agree.append((standing == seen(row["screens"])).mean())
        fewest = min(fewest, int(standing.sum()))
    assert np.mean(agree) > 0.998  # the ball may be before a gap, and the memory is a frame ahead of the screen
    assert fewest <= 95, "nothing was hit, so nothing was compared"


def test_a_tunnel_is_an_open_column_in_a_standing_wall():
    wall = np.ones((3, ROWS, COLUMNS), bool)
    wall[1, :, 16] = False
    wall[2, :, 16] = False
    wall[2, :5, :8] = False  # 62 bricks stand
    found = tunnels(wall)
    assert [np.flatnonzero(columns).tolist() for columns in found] == [[], [16], [16]]
    wall[2, 5, :3] = False
    assert not tunnels(wall)[2].any(), "59 bricks stand"
    wall[1, 3, 16] = True
    assert not tunnels(wall)[1].any(), "a brick is in the way"
