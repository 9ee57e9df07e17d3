"""Explained decisions as a film: composed panel by panel, encoded as it is drawn, never all in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from rl.checks import real_number, whole_number
from rl.drawing import Canvas
from rl.explaining import Explained
from rl.panels import Layout, colour_limit, empty_canvas, panels
from seqxai.errors import DependencyError, InputError
from seqxai.files import check_writable, written_whole

SUFFIX = ".mp4"
CODEC = "libx264"
ENCODER = {"crf": "20", "preset": "ultrafast", "x264-params": "cabac=1:deblock=1"}
"""As small as the preset "superfast", in two thirds of its time: flat areas need no search for motion."""

FPS = 15.0
"""Real time: 60 emulator frames a second, 4 per decision."""


@dataclass(frozen=True)
class Video:
    """What was rendered.

    Attributes:
        path: the file.
        frames: one per decision.
        width: in pixels.
        height: in pixels.
        limit: value of full colour, in units of the explained value per observed pixel.
        bytes: size of the file.
    """

    path: Path
    frames: int
    width: int
    height: int
    limit: float
    bytes: int


def render(
    explained: Explained,
    path: str | os.PathLike[str],
    fps: float = FPS,
    scale: int = 3,
    quantile: float = 0.995,
    progress: Callable[[int], None] | None = None,
) -> Video:
    """Write an H.264 video of explained decisions that every browser plays.

    Args:
        explained: what to show.
        path: file name ending in ``.mp4``.
        fps: decisions per second; 15 is the game's own speed.
        scale: video pixels per game pixel, 2 .. 8.
        quantile: share of pixels, over all frames, whose relevance stays below full colour: one scale for all frames.
        progress: told the number of frames written so far.

    Returns:
        Size, frames and colour scale of the file.

    Raises:
        InputError: the path cannot be written, nothing to show, or a number out of range.
        DependencyError: the encoder is not installed.
    """
    path = Path(path)
    fps, scale, quantile = _check_numbers(explained, fps, scale, quantile)
    av = encoder_module()
    check_writable(path, (SUFFIX,))
    limit = colour_limit(explained.relevance, quantile)
    layout = Layout(scale)
    with written_whole(path, (SUFFIX,)) as partial:
        try:
            _encode(av, partial, layout, fps, frames(explained, layout, limit, fps), progress)
        except av.error.FFmpegError as error:
            raise InputError(f"encoding {path} failed: {error}") from error
    return Video(path, len(explained), layout.width, layout.height, limit, path.stat().st_size)


def encoder_module() -> ModuleType:
    """PyAV, with an H.264 encoder in it.

    Raises:
        DependencyError: PyAV is missing, or was built without the encoder.
    """
    try:
        import av
    except ImportError as error:
        raise DependencyError(
            f"videos need the package av, which cannot be imported ({error}); install it with: pip install 'seqxai[rl]'"
        ) from error
    if CODEC not in av.codecs_available:
        raise DependencyError(
            f"the installed av {av.__version__} has no {CODEC} encoder; install its wheel: pip install --upgrade av"
        )
    return av


def _check_numbers(explained: Explained, fps: Any, scale: Any, quantile: Any) -> tuple[float, int, float]:
    """The numbers as Python's own; refuse an empty film, other things than numbers, and numbers out of range."""
    if not len(explained):
        raise InputError("the trajectory is empty: there is no frame to show")
    fps, scale, quantile = real_number("fps", fps), whole_number("scale", scale), real_number("quantile", quantile)
    if not 1.0 <= fps <= 240.0:
        raise InputError(f"fps should be 1 .. 240 decisions per second, got {fps}")
    if not 2 <= scale <= 8:
        raise InputError(f"scale should be 2 .. 8 video pixels per game pixel, got {scale}")
    if not 0.0 < quantile <= 1.0:
        raise InputError(f"quantile should be above 0 and at most 1, got {quantile}")
    return fps, scale, quantile


def frames(explained: Explained, layout: Layout, limit: float, fps: float = FPS) -> Iterator[Canvas]:
    """Draw the frames one after the other.

    Args:
        explained: what to show.
        layout: where.
        limit: value of full colour.
        fps: for the clock.

    Yields:
        One picture per decision, (height, width, 3); the array is used again for the next.
    """
    parts = panels(explained, layout, limit, fps)
    background = empty_canvas(layout)
    for panel in parts:
        panel.background(background)
    canvas = background.copy()
    for decision in range(len(explained)):
        np.copyto(canvas, background)
        for panel in parts:
            panel.draw(canvas, decision)
        yield canvas


def _encode(
    av: ModuleType,
    path: Path,
    layout: Layout,
    fps: float,
    pictures: Iterator[Canvas],
    progress: Callable[[int], None] | None,
) -> None:
    """Feed pictures to the encoder and close the file."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream(CODEC, rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = layout.width, layout.height, "yuv420p"
        stream.options = ENCODER
        stream.thread_count = 1  # the same file on every machine
        context = stream.codec_context  # players assume BT.709 for pictures of this size: say so, and convert so
        context.colorspace = context.color_primaries = context.color_trc = 1
        to_yuv = av.video.reformatter.VideoReformatter()  # one for all frames: setting it up costs as much as using it
        for number, picture in enumerate(pictures, start=1):
            frame = av.VideoFrame.from_numpy_buffer(picture, format="rgb24")  # shared, not copied
            container.mux(stream.encode(to_yuv.reformat(frame, format="yuv420p", dst_colorspace="ITU709")))
            if progress is not None:
                progress(number)
        container.mux(stream.encode())
