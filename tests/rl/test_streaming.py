"""A video of any length in the same memory: what is explained is drawn, encoded and forgotten."""

from __future__ import annotations

import dataclasses
import threading
import tracemalloc

import numpy as np
import pytest

import rl
from rl.background import ahead
from rl.explaining import Decisions, ExplainedPart
from rl.frames import PackedFrames
from rl.relevance_file import open_relevance
from rl.video import render
from seqxai.errors import InputError

pytest.importorskip("av")

RELEVANCE_BYTES = 4 * 84 * 84 * 4


class Repeated(Decisions):
    """A short explained game again and again, so that a long one costs neither play nor explaining."""

    def __init__(self, explained, times):
        self.explained, self.times = explained, times
        self.method, self.composite, self.target = explained.method, explained.composite, explained.target
        self.rules, self.quantity = explained.rules, explained.quantity
        short = explained.trajectory
        arrays = {
            name: np.concatenate([getattr(short, name)] * times)
            for name in ("starts", "ram", "chosen", "chosen_by", "rewards", "q_values", "lives")
        }
        self.trajectory = dataclasses.replace(short, screens=Rows(short.screens, times), planes=Rows(short.planes, times), **arrays)
        self.subjects = np.concatenate([explained.subjects] * times)

    def part(self, rows):
        short = self.explained.part(rows % len(self.explained))
        return ExplainedPart(rows, short.relevance, short.explained, short.q_values, short.ledger)


class Rows(PackedFrames):
    """Pictures that repeat: read by row, as those of a packed trajectory, and held once."""

    def __init__(self, pictures, times):
        self.pictures, self.shape = pictures, (len(pictures) * times, *pictures.shape[1:])

    def __getitem__(self, rows):
        return self.pictures[np.asarray(rows) % len(self.pictures)]


def peak(decisions, path):
    """Most bytes that Python and numpy held at once while a video was made."""
    tracemalloc.start()
    try:
        video = render(decisions, path, layout="overlay", scale=2.25)
        return video, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_length(coloured, tmp_path, monkeypatch):
    monkeypatch.setattr("rl.scale.SAMPLES", 8)
    monkeypatch.setattr("rl.video.BATCH", 4)
    short, few = peak(Repeated(coloured, 2), tmp_path / "short.mp4")
    long, many = peak(Repeated(coloured, 8), tmp_path / "long.mp4")
    assert (short.frames, long.frames) == (20, 80)
    held = 60 * RELEVANCE_BYTES  # what the longer one would hold more, if it kept its relevance
    assert many - few < 0.15 * held, f"{few / 1e6:.1f} MB for 20 decisions, {many / 1e6:.1f} MB for 80"


def test_raw_relevance_is_written_part_by_part(made_up, untrained, tmp_path):
    whole, stream = rl.explain(made_up, untrained), rl.explain_stream(made_up, untrained)
    with open_relevance(tmp_path / "raw.npz", stream, 7) as file:
        for part in stream.parts(2, 9, size=3):
            file.write(part)
    with np.load(tmp_path / "raw.npz") as raw:
        np.testing.assert_allclose(raw["relevance"], whole.relevance[2:9], atol=1e-5 * np.abs(whole.relevance).max())
        assert raw["decisions"].tolist() == list(range(2, 9))
        total = sum(raw[name] for name in raw.files if name.startswith("ledger_"))
        np.testing.assert_allclose(total, raw["explained"], atol=1e-5)


def test_raw_relevance_of_another_length_is_refused(made_up, untrained, tmp_path):
    stream = rl.explain_stream(made_up, untrained)

    def too_few():
        with open_relevance(tmp_path / "raw.npz", stream, 7) as file:
            file.write(stream.part(np.arange(3)))

    with pytest.raises(InputError, match="expected 7 decisions, got 3; announce as many as are written"):
        too_few()
    assert list(tmp_path.iterdir()) == []


def test_work_ahead_comes_in_order_and_no_further_than_asked():
    made, names = [], set()

    def items():
        for number in range(20):
            made.append(number)
            names.add(threading.current_thread().name)
            yield number

    taken = []
    for number in ahead(items(), waiting=2):
        taken.append(number)
        assert len(made) <= number + 5  # two wait, one is on its way, one is being made
    assert taken == list(range(20))
    assert names == {"ahead"}


def test_an_error_ahead_is_raised_where_its_item_was_due():
    def items():
        yield 1
        raise InputError("the third is missing")

    taken = []
    with pytest.raises(InputError, match="the third is missing"):
        taken.extend(ahead(items()))
    before = threading.active_count()
    for number in ahead(iter(range(10**9))):
        if number == 3:
            break
    assert threading.active_count() <= before
