"""The parts an evolution is drawn from: places, names, colours, and the thread that computes ahead."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from rl import drawing
from rl.background import ahead
from rl.evolution.heat import HeatPainter
from rl.evolution.layout import best_layout
from rl.evolution.panels import short_action, short_steps


@pytest.mark.parametrize("scale", [None, 2, 3, 4])
@pytest.mark.parametrize("actions", [1, 4, 9, 18])
def test_nothing_overlaps_in_any_layout(actions, scale):
    for stages in range(1, 13):
        layout = best_layout(stages, actions, scale)
        assert layout.width % 2 == layout.height % 2 == 0
        boxes = [layout.left, *(layout.tile(n) for n in range(stages))]
        for number, box in enumerate(boxes):
            assert min(box.x, box.y, layout.width - box.right, layout.height - box.bottom) >= 0
            for other in boxes[number + 1 :]:
                assert box.right <= other.x or other.right <= box.x or box.bottom <= other.y or other.bottom <= box.y
        for stage in range(stages):
            tile, screen, values = layout.tile(stage), layout.screen(stage), layout.values(stage)
            assert max(values.right - tile.right, values.bottom - tile.bottom) <= 0
            assert values.x >= screen.right or values.y >= screen.bottom
        assert layout.facts.bottom <= layout.legend.y


def test_names_that_fit():
    shown = [short_action(name) for name in ("NOOP", "FIRE", "UP", "LEFT", "DOWNRIGHT", "UPFIRE", "DOWNLEFTFIRE")]
    assert shown == ["NOOP", "FIRE", "UP", "LEFT", "DR", "U+FIRE", "DL+FIRE"]
    steps = [short_steps(n) for n in (0, 999, 100_352, 999_499, 999_500, 3_080_192, 200_000_000)]
    assert steps == ["0", "999", "100 k", "999 k", "1.00 M", "3.08 M", "200 M"]


def test_the_painter_paints_on_the_scale():
    relevance = np.zeros((84, 84), np.float32)
    relevance[:, 42:], relevance[:40, :20] = 0.7, -1.4
    black = np.zeros((210, 160, 3), np.uint8)
    for palette in drawing.PALETTES.values():
        for in_colour in (False, True):
            picture = HeatPainter(1.4, palette, in_colour).paint(relevance, black)
            np.testing.assert_allclose(picture[50:90, 3:30], np.broadcast_to(palette.negative, (40, 27, 3)), atol=1)
            np.testing.assert_allclose(picture[120:, 90:], np.broadcast_to(np.array(palette.positive) / 2, (90, 70, 3)), atol=1)
            assert not picture[120:, 50:70].any()
    red = np.full((210, 160, 3), (200, 0, 0), np.uint8)
    plain, coloured = (HeatPainter(1.4, drawing.RED_BLUE, c).paint(0 * relevance, red)[5, 5] for c in (False, True))
    assert np.ptp(plain) == 0
    assert coloured[0] > 2 * coloured[1]


def test_few_things_lie_ready_and_errors_come_through():
    made = []

    def source():
        for number in range(100):
            made.append(number)
            yield number
        raise ZeroDivisionError

    taken = ahead(source(), 3)
    assert next(taken) == 0
    threading.Event().wait(0.1)
    assert len(made) <= 6
    rest = []
    with pytest.raises(ZeroDivisionError):
        rest.extend(taken)
    assert made == list(range(100))
    stopped = ahead(iter(range(10**9)), 3)
    assert next(stopped) == 0
    stopped.close()
    assert "explain" not in [thread.name for thread in threading.enumerate()]
