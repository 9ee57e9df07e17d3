"""Many pictures in little memory: a film kept in compressed pieces and read like an array.

Two pictures of a game that follow each other differ in a few pixels, and an Atari screen has at most 128 colours.  So 64
pictures at a time are turned into one byte per pixel, each into its difference to the one before (exclusive or), and
compressed with zlib: some hundred bytes instead of 100,800 for a screen, without loss.

A piece is a byte that says how pixels are written, then:

- 0: the zlib stream of the pixels' own bytes;
- 1: the number of colours less one, three bytes for each colour, the zlib stream of one byte per pixel, its colour's number.

In both, picture 0 of a piece stands as it is, every other as the exclusive or of its bytes with those of the one before.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8
from numpy.lib.mixins import NDArrayOperatorsMixin

from seqxai.errors import InputError

PIECE = 64
"""Pictures that are compressed together: more save a twentieth of the bytes, and cost as much more to read one of them."""

LEVEL = 6
"""Of zlib: half to a quarter of the bytes of level 3, for a tenth of a millisecond per picture."""

KEPT_OPEN = 4
"""Pieces kept unpacked after reading: the present one, the one before, and as many for a second reader."""

COLOURS_MAX = 256
AS_BYTES, AS_COLOURS = 0, 1


class PackedFrames(NDArrayOperatorsMixin):
    """Pictures of one shape, read like a numpy array of ``uint8`` by row: ``frames[3]``, ``frames[10:20]``, ``frames[rows]``.

    What comes out is an ordinary array of its own; arithmetic and comparisons unpack everything.  Readers in several threads
    do not disturb each other.

    Args:
        pieces: the compressed pieces, each of `PIECE` pictures but the last.
        count: number of pictures.
        picture: shape of one.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, pieces: Sequence[bytes], count: int, picture: tuple[int, ...]) -> None:
        self.pieces = tuple(pieces)
        self.shape = (count, *picture)
        self._open: OrderedDict[int, tuple[np.ndarray, np.ndarray | None]] = OrderedDict()
        self._lock = Lock()

    @property
    def ndim(self) -> int:
        """Number of axes, the first counts the pictures."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Size of all pieces as they are kept."""
        return sum(map(len, self.pieces))

    def __len__(self) -> int:
        """Number of pictures."""
        return self.shape[0]

    def __repr__(self) -> str:
        """Shape and size."""
        return f"PackedFrames{self.shape}, {self.nbytes} bytes"

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "*picture"]]:
        """One picture after the other."""
        return (self[row] for row in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All pictures, unpacked."""
        return self[:].astype(dtype or self.dtype, copy=False)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """Calculate with all pictures, unpacked."""
        arrays = [value[:] if isinstance(value, PackedFrames) else value for value in inputs]
        return getattr(ufunc, method)(*arrays, **options)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """The pictures of a whole number, a slice, or an array of whole numbers or of truth values.

        Raises:
            IndexError: no such row, or an index of another kind.
            InputError: the pieces are damaged.
        """
        index = np.arange(len(self))[rows]  # numpy's own reading of an index, and its own complaints
        if np.ndim(index) == 0:
            return self._unpack(np.atleast_1d(index))[0]
        return self._unpack(index.ravel()).reshape(*index.shape, *self.shape[1:])

    def _unpack(self, rows: Int64[np.ndarray, " rows"]) -> UInt8[np.ndarray, "rows ..."]:
        """The pictures of some rows, opening each piece once."""
        pictures = np.empty((len(rows), *self.shape[1:]), np.uint8)
        for piece in np.unique(rows // PIECE):
            inside = np.flatnonzero(rows // PIECE == piece)
            pixels, colours = self._opened(int(piece))
            wanted = pixels[rows[inside] - piece * PIECE]
            pictures[inside] = wanted if colours is None else _colour(wanted, colours)
        return pictures

    def _opened(self, piece: int) -> tuple[np.ndarray, np.ndarray | None]:
        """A piece's pixels, and the colours they are numbers of."""
        with self._lock:
            if piece in self._open:
                self._open.move_to_end(piece)
                return self._open[piece]
        opened = _open_piece(self.pieces[piece], min(PIECE, len(self) - piece * PIECE), self.shape[1:])
        with self._lock:
            self._open[piece] = opened
            while len(self._open) > KEPT_OPEN:
                self._open.popitem(last=False)
        return opened


class FramePacker:
    """Takes pictures one after the other and packs them as they come: at most `PIECE` are held unpacked.

    Args:
        picture: shape of one; three axes, the last of length 3, are colours.
    """

    def __init__(self, picture: tuple[int, ...]) -> None:
        self._picture = picture
        self._waiting = np.empty((PIECE, *picture), np.uint8)
        self._count = 0
        self._pieces: list[bytes] = []
        self._palette = _Palette() if len(picture) == 3 and picture[-1] == 3 else None

    def __len__(self) -> int:
        """Number of pictures so far."""
        return self._count

    def append(self, picture: UInt8[np.ndarray, "*picture"]) -> None:
        """Take one more picture; it is copied."""
        self._waiting[self._count % PIECE] = picture
        if (self._count + 1) % PIECE == 0:
            self._pieces.append(_pack(self._waiting, self._palette))
        self._count += 1  # last, so that a picture counts when it is safe

    def packed(self, count: int | None = None) -> PackedFrames:
        """Everything so far, or all but the last picture when ``count`` says so."""
        count = self._count if count is None else count
        rest = self._waiting[: count % PIECE]
        pieces = self._pieces[: count // PIECE] + ([_pack(rest, self._palette)] if len(rest) else [])
        return PackedFrames(pieces, count, self._picture)


def pack(pictures: UInt8[np.ndarray, "count ..."] | PackedFrames) -> PackedFrames:
    """Pack an array of pictures; what is packed already is returned as it is."""
    if isinstance(pictures, PackedFrames):
        return pictures
    packer = FramePacker(pictures.shape[1:])
    for picture in pictures:
        packer.append(picture)
    return packer.packed()


class _Palette:
    """The colours met so far, numbered; the table over all 2**24 colours costs memory only where it is written."""

    def __init__(self) -> None:
        self._numbers = np.zeros(1 << 24, np.int16)  # number of a colour plus one, 0 for a new colour
        self._codes = np.zeros(0, np.uint32)

    def number(self, pictures: UInt8[np.ndarray, "count height width 3"]) -> UInt8[np.ndarray, "count height width"] | None:
        """Each pixel as the number of its colour; None where these pictures have too many colours."""
        codes = np.zeros((pictures.size // 3, 4), np.uint8)
        for channel, values in enumerate(pictures.reshape(-1, 3).T):  # much faster than all three at once
            codes[:, channel] = values
        flat = codes.view("<u4").reshape(pictures.shape[:3])
        numbers = self._numbers[flat]
        if not numbers.all():
            new = np.unique(flat[numbers == 0])
            if len(self._codes) + len(new) > COLOURS_MAX:  # start again with the colours of these pictures alone
                self._numbers[self._codes] = 0
                self._codes, new = np.zeros(0, np.uint32), np.unique(flat)
            if len(new) > COLOURS_MAX:
                return None
            self._numbers[new] = np.arange(len(self._codes), len(self._codes) + len(new)) + 1
            self._codes = np.concatenate([self._codes, new])
            numbers = self._numbers[flat]
        return (numbers - 1).astype(np.uint8)

    @property
    def colours(self) -> bytes:
        """Red, green, blue of every colour."""
        return self._codes.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()


def _pack(pictures: UInt8[np.ndarray, "count ..."], palette: _Palette | None) -> bytes:
    """One piece."""
    numbers = None if palette is None else palette.number(pictures)
    pixels = pictures if numbers is None else numbers
    changes = pixels.copy()
    changes[1:] ^= pixels[:-1]
    body = zlib.compress(changes.tobytes(), LEVEL)
    if palette is None or numbers is None:
        return bytes([AS_BYTES]) + body
    colours = palette.colours
    return bytes([AS_COLOURS, len(colours) // 3 - 1]) + colours + body


def _colour(
    numbers: UInt8[np.ndarray, "count height width"], colours: UInt8[np.ndarray, "colours 4"]
) -> UInt8[np.ndarray, "count height width 3"]:
    """Colours from their numbers: four bytes at a time, and then three of them."""
    found = colours.view(np.uint32)[:, 0].take(numbers.reshape(-1)).view(np.uint8).reshape(-1, 4)
    pictures = np.empty((numbers.size, 3), np.uint8)
    for channel in range(3):
        pictures[:, channel] = found[:, channel]
    return pictures.reshape(*numbers.shape, 3)


def _open_piece(piece: bytes, count: int, picture: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray | None]:
    """Pixels of one piece, and the colours they are numbers of, padded to four bytes; None where they are written as they are."""
    try:
        if piece[0] == AS_BYTES:
            return _restore(piece[1:], (count, *picture)), None
        if piece[0] != AS_COLOURS:
            raise ValueError(f"unknown way of writing pixels, {piece[0]}")
        end = 2 + 3 * (piece[1] + 1)
        colours = np.zeros((piece[1] + 1, 4), np.uint8)
        colours[:, :3] = np.frombuffer(piece[2:end], np.uint8).reshape(-1, 3)
        pixels = _restore(piece[end:], (count, *picture[:-1]))
        if pixels.max() >= len(colours):
            raise ValueError("a pixel of no colour")
        return pixels, colours
    except (ValueError, IndexError, zlib.error) as error:
        raise InputError(f"the pictures are damaged ({error}); record the trajectory again") from error


def _restore(body: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Undo compression and differences; never more bytes than are wanted, whatever the stream says."""
    wanted = int(np.prod(shape))
    stream = zlib.decompressobj()
    pixels = np.frombuffer(stream.decompress(body, wanted), np.uint8)
    if len(pixels) != wanted or stream.decompress(stream.unconsumed_tail, 1):
        raise ValueError(f"expected {wanted} bytes of pixels")
    return np.bitwise_xor.accumulate(pixels.reshape(shape), axis=0)
