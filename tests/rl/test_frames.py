"""Pictures in compressed pieces: what comes out is what went in, by any index, and damage is said."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from rl import frames
from rl.frames import FramePacker, PackedFrames, pack
from seqxai.errors import InputError


def screens(count, colours, seed=0, size=(21, 16)):
    """Pictures of few colours in which little changes, as in a game."""
    chance = np.random.default_rng(seed)
    palette = chance.integers(0, 256, (colours, 3), dtype=np.uint8)
    numbers = np.empty((count, *size), np.int64)
    numbers[0] = chance.integers(0, colours, size)
    for t in range(1, count):
        numbers[t] = numbers[t - 1]
        numbers[t, chance.integers(0, size[0]), :] = chance.integers(0, colours)
    return palette[numbers]


@pytest.mark.parametrize("colours", [1, 2, 9, 128, 256, 257, 5000])
@pytest.mark.parametrize("count", [1, 63, 64, 65, 200])
def test_exact_round_trip(colours, count):
    pictures = screens(count, colours)
    packed = pack(pictures)
    assert (packed.shape, packed.dtype, packed.ndim, len(packed)) == (pictures.shape, np.uint8, 4, count)
    np.testing.assert_array_equal(packed, pictures)
    if colours <= 256:
        assert all(piece[0] == frames.AS_COLOURS for piece in packed.pieces)


def test_colours_that_come_and_go():
    pieces = [screens(64, colours, seed) for seed, colours in enumerate((200, 200, 3000, 5, 250))]
    pictures = np.concatenate(pieces)
    packed = pack(pictures)
    np.testing.assert_array_equal(packed, pictures)
    assert [piece[0] for piece in packed.pieces] == [1, 1, 0, 1, 1]


def test_grey_planes_are_written_as_they_are():
    planes = np.random.default_rng(0).integers(0, 256, (130, 84, 84), dtype=np.uint8)
    np.testing.assert_array_equal(pack(planes), planes)


@pytest.mark.parametrize(
    "rows",
    [
        0,
        np.int64(149),
        -1,
        slice(None),
        slice(60, 70),
        slice(149, 3, -17),
        slice(5, 5),
        np.array([149, 0, 64, 64, -2]),
        np.array([[1, 2, 3], [128, 63, 0]]),
        np.arange(150) % 7 == 0,
        [3, 100],
        np.array([], np.int64),
    ],
    ids=str,
)
def test_every_index_means_what_numpy_means(rows):
    pictures = screens(150, 9)
    chosen = pack(pictures)[rows]
    assert isinstance(chosen, np.ndarray)
    np.testing.assert_array_equal(chosen, pictures[rows])


@pytest.mark.parametrize("rows", [150, -151, np.array([0, 150]), "one", 1.5])
def test_rows_that_do_not_exist(rows):
    with pytest.raises(IndexError):
        pack(screens(150, 9))[rows]


def test_what_is_read_may_be_changed_and_the_packed_stays():
    pictures = screens(70, 5)
    packed = pack(pictures)
    packed[3][:] = 7
    packed[60:70][:] = 7
    np.testing.assert_array_equal(list(packed), pictures)
    assert (packed == pictures).all()
    assert not (packed != packed).any()
    np.testing.assert_array_equal(255 - packed, 255 - pictures)


def test_few_pieces_are_open_at_a_time_and_each_is_opened_once(monkeypatch):
    packed, opened = pack(screens(640, 9)), []
    monkeypatch.setattr(frames, "_restore", lambda body, shape, plain=frames._restore: opened.append(1) or plain(body, shape))
    for row in range(640):
        packed[row], packed[max(0, row - 3)]
    assert len(opened) == 10
    assert len(packed._open) == frames.KEPT_OPEN


def test_a_packer_can_leave_out_its_last_picture():
    pictures = screens(130, 9)
    packer = FramePacker(pictures.shape[1:])
    for count, picture in enumerate(pictures, 1):
        packer.append(picture)
        if count in (1, 2, 64, 65, 128, 129, 130):
            np.testing.assert_array_equal(packer.packed(count - 1), pictures[: count - 1])
            np.testing.assert_array_equal(packer.packed(), pictures[:count])


def test_a_game_takes_a_thousandth():
    pictures = screens(640, 9, size=(210, 160))
    assert pack(pictures).nbytes < pictures.nbytes / 300


PIXELS = zlib.compress(bytes(12))


@pytest.mark.parametrize(
    ("piece", "text"),
    [
        (b"", "index out of range"),
        (b"\x07" + PIXELS, "unknown way of writing pixels, 7"),
        (b"\x00" + PIXELS[:-6], "expected 36 bytes of pixels"),
        (b"\x00" + b"nothing", "incorrect header check"),
        (b"\x00" + zlib.compress(bytes(37)), "expected 36 bytes of pixels"),
        (b"\x01\x00\x01\x02\x03" + zlib.compress(bytes(11) + b"\x01"), "a pixel of no colour"),
    ],
)
def test_damage_is_said(piece, text):
    with pytest.raises(InputError, match=rf"the pictures are damaged \(.*{text}.*\); record the trajectory again"):
        PackedFrames([piece], 1, (3, 4, 3))[0]
