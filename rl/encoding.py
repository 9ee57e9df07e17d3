"""Pictures to film files, streaming: any source that can draw one picture after the other, any number of formats at once.

    with open_film(["game.mp4", "game.webm"], width=1280, height=720, fps=15) as film:
        for picture in pictures:
            film.write(picture)

Each file is encoded by a thread of its own, so that drawing, H.264 and VP9 share the cores; a few pictures wait in
between, never a film.  Files appear under their names when the block ends well, all of them, and not at all otherwise.
"""

from __future__ import annotations

import errno
import os
import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import UInt8

from rl.checks import real_number, shown, whole_number
from seqxai.errors import DependencyError, InputError, SeqxaiError
from seqxai.files import check_writable, written_whole

Picture = UInt8[np.ndarray, "height width 3"]

FPS = 15.0
"""Real time: 60 emulator frames a second, 4 per decision."""

FPS_MIN, FPS_MAX = 0.1, 240.0
SIDE_MIN, SIDE_MAX = 16, 8192
WAITING = 6
"""Pictures that may wait for an encoder: enough to even out slow ones, 20 MB at most usual sizes."""
KEY_FRAME_SECONDS = 4.0
"""A player can jump to these at once."""
BT709 = 1
YUV = "yuv420p"


@dataclass(frozen=True)
class FilmFormat:
    """How one kind of file is written.

    Attributes:
        name: what a user calls it.
        suffix: the ending that asks for it.
        codec: the encoder's name in FFmpeg.
        container: the file format's name in FFmpeg.
        pixels: the encoder's pixel format; ``yuv420p`` halves the colour resolution and needs even sizes.
        options: of the encoder.
        container_options: of the file format.
        graph: filters between the picture and the encoder, in FFmpeg's names.
    """

    name: str
    suffix: str
    codec: str
    container: str
    pixels: str
    options: dict[str, str] = field(default_factory=dict)
    container_options: dict[str, str] = field(default_factory=dict)
    graph: bool = False

    @property
    def even(self) -> bool:
        """Whether width and height must be even."""
        return self.pixels == YUV


FORMATS = {
    film.name: film
    for film in (
        FilmFormat(
            "mp4", ".mp4", "libx264", "mp4", YUV,
            # Flat areas with sharp edges need no search for motion, and smoothing would blur the edges; arithmetic coding
            # would save a fifteenth of the bytes for a fifth more time.
            {"crf": "21", "preset": "ultrafast", "x264-params": "cabac=0:deblock=0"},
            {"movflags": "+faststart"},
        ),
        FilmFormat(
            "webm", ".webm", "libvpx-vp9", "webm", YUV,
            {"deadline": "realtime", "cpu-used": "8", "crf": "30", "b": "0", "lag-in-frames": "0"},
            {"cues_to_front": "1"},
        ),
        FilmFormat("gif", ".gif", "gif", "gif", "pal8", graph=True),
        FilmFormat("apng", ".apng", "apng", "apng", "rgb24", {"pred": "up"}, {"plays": "0"}),
    )
}  # fmt: skip
"""The formats by name.  ``.png`` is no film: a single picture has that ending here; ``format="apng"`` overrules it."""

SUFFIXES = tuple(film.suffix for film in FORMATS.values())


def film_format(path: str | os.PathLike[str], name: str | None = None) -> FilmFormat:
    """The format of a file, by name or else by its ending.

    Args:
        path: where the film shall be.
        name: one of `FORMATS`; the ending may then be any.

    Raises:
        InputError: unknown; the message lists what is known.
    """
    if name is not None:
        if name not in FORMATS:
            raise InputError(f"unknown film format {shown(name)}: expected one of {', '.join(FORMATS)}")
        return FORMATS[name]
    suffix = Path(path).suffix.lower()
    for film in FORMATS.values():
        if film.suffix == suffix:
            return film
    raise InputError(
        f"Cannot write {str(path)!r}: expected a name ending in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}, got "
        f"{suffix or 'no ending'}; rename it."
    )


def encoder_module(*formats: FilmFormat) -> ModuleType:
    """PyAV, with the encoders of these formats in it; H.264 when none is named.

    Raises:
        DependencyError: PyAV is missing, or was built without an encoder.
    """
    try:
        import av
    except ImportError as error:
        raise DependencyError(
            f"videos need the package av, which cannot be imported ({error}); install it with: pip install 'seqxai[rl]'"
        ) from error
    for film in formats or (FORMATS["mp4"],):
        if film.codec not in av.codecs_available:
            others = [other.suffix for other in FORMATS.values() if other.codec in av.codecs_available]
            remedy = f", or choose {' or '.join(others)}" if others else ""
            raise DependencyError(
                f"the installed av {av.__version__} has no {film.codec} encoder, which {film.suffix} needs; "
                f"install its wheel: pip install --upgrade av{remedy}"
            )
    return av


def check_film(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], format: str | None = None
) -> tuple[FilmFormat, ...]:
    """Refuse files that cannot be written, before a picture is drawn.

    Args:
        paths: one or several.
        format: overrules the ending, of all of them.

    Returns:
        The format of each.

    Raises:
        InputError: an unknown ending, the same name twice, or a place that cannot be written.
        DependencyError: an encoder is missing.
    """
    places = _places(paths)
    if not places:
        raise InputError("no film to write: give at least one file name")
    if len({place.resolve() for place in places}) < len(places):
        raise InputError(f"a film is named twice: {', '.join(map(str, places))}; give each file a name of its own")
    formats = tuple(film_format(place, format) for place in places)
    encoder_module(*formats)
    for place in places:
        check_writable(place)
    return formats


def _places(paths: Any) -> list[Path]:
    return [Path(paths)] if isinstance(paths, str | os.PathLike) else [Path(path) for path in paths]


@contextmanager
def open_film(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    width: int,
    height: int,
    fps: float = FPS,
    format: str | None = None,
) -> Iterator[Film]:
    """Open one film, or the same film in several files, to be written picture by picture.

    Args:
        paths: file names ending in ``.mp4`` (H.264), ``.webm`` (VP9), ``.gif`` or ``.apng``.
        width: of the pictures in pixels; even for mp4 and webm.
        height: likewise.
        fps: pictures per second.
        format: a name in `FORMATS` that overrules the endings.

    Yields:
        The film; give each picture to its method ``write``.  The files appear when the block ends well; after an
        error, Ctrl-C or a killed process no file stands under a final name, and a file that stood there before is as it was.

    Raises:
        InputError: a path that cannot be written, a size the format cannot hold, or a disk that filled up on the way.
        DependencyError: the encoder is not installed.
    """
    formats = check_film(paths, format)
    places, rate = _places(paths), _check_size(formats, width, height, fps)
    av = encoder_module(*formats)
    with ExitStack() as files:
        partials = [files.enter_context(written_whole(place)) for place in places]
        film = Film(
            width, height,
            [_Encoder(av, kind, partial, place, (width, height), rate)
             for kind, partial, place in zip(formats, partials, places, strict=True)],
        )  # fmt: skip
        try:
            yield film
            film.finish()
        finally:
            film.cancel()


def _check_size(formats: Sequence[FilmFormat], width: Any, height: Any, fps: Any) -> Fraction:
    """Refuse sizes and speeds no file can hold; give the speed as a fraction."""
    width, height, fps = whole_number("width", width), whole_number("height", height), real_number("fps", fps)
    if not (SIDE_MIN <= width <= SIDE_MAX and SIDE_MIN <= height <= SIDE_MAX):
        raise InputError(f"a film should be {SIDE_MIN} .. {SIDE_MAX} pixels wide and high, got {width} x {height}")
    for film in formats:
        if film.even and (width % 2 or height % 2):
            raise InputError(
                f"{film.suffix} stores colour for 2 x 2 pixels at a time and needs an even width and height, got "
                f"{width} x {height}; add a row or column, or write .gif or .apng"
            )
    check_rate(fps)
    return Fraction(fps).limit_denominator(1001)


def check_rate(fps: float) -> None:
    """Refuse what no film is shown at.

    Raises:
        InputError: names the limits.
    """
    if not FPS_MIN <= fps <= FPS_MAX:
        raise InputError(f"fps should be {FPS_MIN} .. {FPS_MAX:.0f} pictures per second, got {fps}")


class Film:
    """An open film; made by :func:`open_film`.

    Attributes:
        width: of the pictures.
        height: of the pictures.
        frames: pictures written so far.
    """

    def __init__(self, width: int, height: int, encoders: Sequence[_Encoder]) -> None:
        self.width, self.height, self.frames = width, height, 0
        self._encoders = list(encoders)
        for encoder in self._encoders:
            encoder.start()

    def write(self, picture: Picture) -> None:
        """Append a picture, which may be drawn over afterwards; waits while the encoders are behind.

        Args:
            picture: (height, width, 3), red, green, blue, 0..255.

        Raises:
            InputError: another size than the film's, or an encoder or the disk failed on an earlier picture.
        """
        if picture.shape != (self.height, self.width, 3) or picture.dtype != np.uint8:
            raise InputError(
                f"expected pictures of uint8 {(self.height, self.width, 3)}, got {picture.dtype} {picture.shape}; "
                "open the film with the size of its pictures"
            )
        kept = _Kept(self.frames, np.array(picture, order="C"))  # one copy for all encoders: they only read
        for encoder in self._encoders:
            encoder.put(kept)
        self.frames += 1

    def finish(self) -> None:
        """Encode what is waiting and close the files.

        Raises:
            InputError: nothing was written, or an encoder or the disk failed.
        """
        if not self.frames:
            raise InputError("the film has no picture; write at least one")
        for encoder in self._encoders:
            encoder.put(None)
        for encoder in self._encoders:
            encoder.join()

    def cancel(self) -> None:
        """Stop the encoders without a result; nothing happens after :meth:`finish`."""
        for encoder in self._encoders:
            encoder.cancel()


class _Kept:
    """A picture that waits for its encoders, and what it becomes for those that want other colours: computed once."""

    def __init__(self, number: int, picture: np.ndarray) -> None:
        self.number, self.picture = number, picture
        self._lock = threading.Lock()
        self._frames: dict[str, Any] = {}

    def frame(self, av: ModuleType, pixels: str, rate: Fraction, to_format: Any) -> Any:
        """The picture as the encoder wants it; two encoders read the same."""
        with self._lock:
            if pixels not in self._frames:
                # Shared where it is converted at once; an encoder that keeps a picture needs a copy of its own.
                wrap = av.VideoFrame.from_numpy_buffer if pixels == YUV else av.VideoFrame.from_ndarray
                found = wrap(self.picture, format="rgb24")
                if pixels == YUV:
                    how = av.video.reformatter.Interpolation.POINT  # enlarged pixels have one colour: nothing to average
                    found = to_format.reformat(found, format=pixels, threads=1, dst_colorspace="ITU709", interpolation=how)
                found.pts, found.time_base = self.number, 1 / rate
                self._frames[pixels] = found
            return self._frames[pixels]


class _Encoder:
    """One file and the thread that writes it."""

    def __init__(
        self, av: ModuleType, kind: FilmFormat, partial: Path, final: Path, size: tuple[int, int], rate: Fraction
    ) -> None:
        self._av, self._kind, self._partial, self._final = av, kind, partial, final
        self._size, self._rate = size, rate
        self._queue: queue.Queue[_Kept | None] = queue.Queue(WAITING)
        self._error: BaseException | None = None
        self._ended = False
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"encode {kind.name}", daemon=True)

    def start(self) -> None:
        """Begin to wait for pictures."""
        self._thread.start()

    def put(self, item: _Kept | None) -> None:
        """Queue a picture, or None for the end."""
        self._raise()
        self._queue.put(item)

    def join(self) -> None:
        """Wait for the end of the file."""
        self._thread.join()
        self._raise()

    def cancel(self) -> None:
        """End the thread, whatever is waiting."""
        if self._thread.is_alive():
            self._cancelled.set()
            self._queue.put(None)
            self._thread.join()

    def _raise(self) -> None:
        """What went wrong in the thread, as one sentence."""
        error = self._error
        if error is None:
            return
        if isinstance(error, SeqxaiError) or not isinstance(error, (OSError, self._av.error.FFmpegError)):
            raise error
        number, reason = getattr(error, "errno", None), getattr(error, "strerror", None) or str(error)
        if number in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            raise InputError(f"Cannot write {str(self._final)!r}: {reason}; make room or choose another place.") from error
        raise InputError(f"encoding {self._final} failed: {error}") from error

    def _run(self) -> None:
        """Encode until the end is told; after an error only empty the queue, so that nobody waits for room in it."""
        try:
            self._encode()
        except BaseException as error:  # told in the thread that writes
            self._error = error
            while not self._ended:
                self._next()

    def _next(self) -> _Kept | None:
        """What was queued first; waits for it."""
        item = self._queue.get()
        self._ended = item is None
        return item

    def _pictures(self) -> Iterator[_Kept]:
        while (item := self._next()) is not None:
            if not self._cancelled.is_set():
                yield item

    def _encode(self) -> None:
        """The whole file."""
        kind, (width, height) = self._kind, self._size
        with self._av.open(str(self._partial), "w", format=kind.container, options=kind.container_options) as container:
            stream = container.add_stream(kind.codec, rate=self._rate)
            stream.width, stream.height, stream.pix_fmt = width, height, kind.pixels
            stream.options = {**kind.options, **self._key_frames()}
            stream.thread_count = 1  # the same file on every machine
            if kind.even:
                context = stream.codec_context  # players assume BT.709 for pictures of this size: say so, and convert so
                context.colorspace = context.color_primaries = context.color_trc = BT709
            to_format = self._av.video.reformatter.VideoReformatter()  # one for all: setting it up costs as much as using it
            convert = _palette_graph(self._av, width, height, self._rate) if kind.graph else lambda frame: frame
            read = "rgb24" if kind.graph else kind.pixels
            for kept in self._pictures():
                container.mux(stream.encode(convert(kept.frame(self._av, read, self._rate, to_format))))
            if not self._cancelled.is_set():
                container.mux(stream.encode())

    def _key_frames(self) -> dict[str, str]:
        """How often a picture is stored for itself, where films are stored as differences."""
        return {"g": str(max(1, round(self._rate * KEY_FRAME_SECONDS)))} if self._kind.even else {}


def _palette_graph(av: ModuleType, width: int, height: int, rate: Fraction) -> Any:
    """From red, green, blue to the 256 colours that suit each picture best."""
    graph = av.filter.Graph()
    source = graph.add_buffer(width=width, height=height, format=av.VideoFormat("rgb24"), time_base=1 / rate)
    split, palette = graph.add("split"), graph.add("palettegen", "stats_mode=single:reserve_transparent=0")
    use, sink = graph.add("paletteuse", "new=1:dither=none"), graph.add("buffersink")
    source.link_to(split)
    split.link_to(use, 0, 0)
    split.link_to(palette, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()

    def convert(frame: Any, graph: Any = graph) -> Any:  # its parts do not keep the graph alive
        """Push one picture and pull it back with its palette."""
        graph.push(frame)
        return graph.pull()

    return convert
