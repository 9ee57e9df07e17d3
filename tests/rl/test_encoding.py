"""Film files: what was drawn comes back from every format, several at once, whole or not at all."""

from __future__ import annotations

import inspect
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from rl.encoding import FORMATS, open_film
from seqxai.errors import DependencyError, InputError

av = pytest.importorskip("av")

WIDTH, HEIGHT, FRAMES = 64, 48, 8


def pictures():
    """A red bar that grows over a grey ground: flat, so that every format can hold it."""
    for number in range(FRAMES):
        picture = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
        picture[8:40, : 8 * (number + 1)] = (200, 60, 50)
        yield picture


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def decoded(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        facts = (context.name, context.pix_fmt, float(stream.average_rate or 0), context.colorspace)
        return facts, [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def write(paths, fps=15.0, size=(WIDTH, HEIGHT), **options):
    with open_film(paths, *size, fps, **options) as film:
        for picture in pictures():
            film.write(picture)
    return film


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "error"),
    [("mp4", "h264", "yuv420p", 6.0), ("webm", "vp9", "yuv420p", 6.0), ("gif", "gif", "bgra", 0.01), ("apng", "apng", "rgb24", 0.0)],
)
def test_every_format_holds_what_was_drawn(tmp_path, name, codec, pixels, error):
    path = tmp_path / f"film{FORMATS[name].suffix}"
    assert write(path).frames == FRAMES
    facts, shown = decoded(path)
    assert facts[:2] == (codec, pixels)
    assert facts[2] == pytest.approx(15.0, rel=0.12)  # GIF counts in hundredths of a second
    assert len(shown) == FRAMES
    for picture, original in zip(shown, pictures(), strict=True):
        assert np.abs(picture.astype(int) - original.astype(int)).mean() <= error
    if name in ("mp4", "webm"):
        assert facts[3] == 1  # BT.709, as players assume
    assert names(tmp_path) == [path.name]


def test_mp4_starts_before_it_is_read_to_the_end(tmp_path):
    write(tmp_path / "film.mp4")
    content = (tmp_path / "film.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    write(tmp_path / "film.webm")
    content = (tmp_path / "film.webm").read_bytes()
    assert content.index(b"\x1c\x53\xbb\x6b") < content.index(b"\x1f\x43\xb6\x75"), "the index comes before the pictures"


def test_several_files_at_once_are_the_files_one_by_one(tmp_path):
    together = [tmp_path / f"together{film.suffix}" for film in FORMATS.values()]
    write(together)
    for path in together:
        alone = tmp_path / f"alone{path.suffix}"
        write(alone)
        assert path.read_bytes() == alone.read_bytes() or path.suffix == ".webm"  # WebM holds a random identity
    _, first = decoded(together[1])
    _, second = decoded(tmp_path / "alone.webm")
    np.testing.assert_array_equal(first, second)


def test_a_picture_may_be_drawn_over_at_once(tmp_path):
    canvas = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    with open_film(tmp_path / "film.apng", WIDTH, HEIGHT) as film:
        for picture in pictures():
            canvas[:] = picture
            film.write(canvas)
            canvas[:] = 0
    np.testing.assert_array_equal(decoded(tmp_path / "film.apng")[1], list(pictures()))


def test_a_format_by_name_overrules_the_ending(tmp_path):
    write(tmp_path / "film.png", format="apng")
    assert decoded(tmp_path / "film.png")[0][0] == "apng"


@pytest.mark.parametrize("fps", [0.5, 7.5, 60.0])
def test_speed(tmp_path, fps):
    write(tmp_path / "film.mp4", fps=fps)
    assert decoded(tmp_path / "film.mp4")[0][2] == pytest.approx(fps)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_film_leaves_nothing_and_keeps_the_old_one(tmp_path, stop):
    old = tmp_path / "film.mp4"
    old.write_bytes(b"the old one")
    before = threading.active_count()

    def interrupted():
        with open_film([old, tmp_path / "film.webm"], WIDTH, HEIGHT) as film:
            for picture in pictures():
                film.write(picture)
            raise stop

    with pytest.raises(stop):
        interrupted()
    assert old.read_bytes() == b"the old one"
    assert names(tmp_path) == ["film.mp4"]
    assert threading.active_count() == before


def child(tmp_path, code):
    """Run code that writes films in another process, which may be limited or killed."""
    head = f"import sys; sys.path.insert(0, {str(Path.cwd())!r})\nimport numpy as np\nfrom rl.encoding import open_film\n"
    return subprocess.Popen([sys.executable, "-c", head + code], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_killed_process_leaves_no_film(tmp_path):
    code = (
        "with open_film(['film.mp4', 'film.webm'], 64, 48) as film:\n"
        "    for n in range(10**9):\n"
        "        film.write(np.zeros((48, 64, 3), np.uint8))\n"
        "        if n == 5: print('going', flush=True)\n"
    )
    process = child(tmp_path, code)
    assert process.stdout.readline() == "going\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert [name for name in names(tmp_path) if not name.startswith(".")] == []


@pytest.mark.parametrize("suffix", list(FORMATS))
def test_a_full_disk_is_said_in_one_sentence(tmp_path, suffix):
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"  # as a full disk: the write fails
        "chance = np.random.default_rng(0)\n"
        f"try:\n    with open_film('film.{suffix}', 128, 128) as film:\n"
        "        for n in range(60): film.write(chance.integers(0, 256, (128, 128, 3), dtype=np.uint8))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    out, err = child(tmp_path, code).communicate()
    assert out == f"InputError Cannot write 'film.{suffix}': File too large; make room or choose another place.\n", err
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("path", "options", "text"),
    [
        ("film.avi", {}, "expected a name ending in .mp4, .webm, .gif or .apng, got .avi; rename it."),
        ("film", {}, "got no ending"),
        ("film.mp4", {"size": (63, 48)}, ".mp4 stores colour for 2 x 2 pixels at a time and needs an even width and height, got 63 x 48"),
        ("film.webm", {"size": (64, 47)}, "needs an even width and height, got 64 x 47; add a row or column, or write .gif or .apng"),
        ("film.gif", {"size": (8, 48)}, "16 .. 8192 pixels wide and high, got 8 x 48"),
        ("film.gif", {"fps": 0.01}, "fps should be 0.1 .. 240 pictures per second, got 0.01"),
        ("film.gif", {"format": "mov"}, "unknown film format 'mov': expected one of mp4, webm, gif, apng"),
        ("no/film.gif", {}, "is missing; create it first"),
        (["a.gif", "b.gif", "a.gif"], {}, "a film is named twice: a.gif, b.gif, a.gif"),
        ([], {}, "no film to write: give at least one file name"),
    ],
)
def test_what_cannot_be_written(tmp_path, monkeypatch, path, options, text):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=re.escape(text)):
        write(path, **options)
    assert names(tmp_path) == []


def test_odd_sizes_fit_where_colour_is_whole(tmp_path):
    with open_film([tmp_path / "film.gif", tmp_path / "film.apng"], 33, 21) as film:
        film.write(np.full((21, 33, 3), 90, np.uint8))
    for name in ("film.gif", "film.apng"):
        np.testing.assert_array_equal(decoded(tmp_path / name)[1], np.full((1, 21, 33, 3), 90))


def test_pictures_of_another_size_and_no_picture_at_all(tmp_path):
    def of_another_size():
        with open_film(tmp_path / "film.mp4", WIDTH, HEIGHT) as film:
            inspect.unwrap(type(film).write)(film, np.zeros((48, 62, 3), np.uint8))

    def empty():
        with open_film(tmp_path / "film.mp4", WIDTH, HEIGHT):
            pass

    with pytest.raises(InputError, match=r"expected pictures of uint8 \(48, 64, 3\), got uint8 \(48, 62, 3\)"):
        of_another_size()
    with pytest.raises(InputError, match="the film has no picture; write at least one"):
        empty()
    assert names(tmp_path) == []


def test_a_missing_encoder_names_what_there_is(tmp_path, monkeypatch):
    monkeypatch.setattr(av, "codecs_available", {"libx264", "gif"})
    with pytest.raises(DependencyError, match=r"no libvpx-vp9 encoder, which .webm needs; .* or choose .mp4 or .gif"):
        write([tmp_path / "film.mp4", tmp_path / "film.webm"])
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DependencyError, match=r"videos need the package av.*pip install 'seqxai\[rl\]'"):
        write(tmp_path / "film.mp4")
