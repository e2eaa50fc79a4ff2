"""Where the frames of an ND2 file lie, and how their bytes become voxels.

Source of the layout: the nd2 library, nd2/_parse/_chunk_decode.py: each chunk begins with a magic
number, the length of its name and of its data; a frame's data are 8 bytes of time and then rows of
interleaved components, in one zlib stream where they are compressed without loss.
"""

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import SourceError

_HEAD = struct.Struct("<IIQ")
_MAGIC = 0x0ABECEDA
# What a chunk's header is looked at for; names are shorter.
HEAD_BYTES = 64
_TIME_BYTES = 8
# Deflate makes no more of a byte.
_MOST_RATIO = 1040
_LONGEST_NAME = 1 << 16


@dataclass(frozen=True, slots=True)
class Pixels:
    """What one frame is made of.

    Parameters
    ----------
    height, width, channels, samples : int
        `samples` is 3 for colour pixels, else 1.
    dtype : numpy.dtype
        As stored.
    row : int
        Bytes from one row to the next.
    compressed : bool
    """

    height: int
    width: int
    channels: int
    samples: int
    dtype: np.dtype[Any]
    row: int
    compressed: bool

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Extents of c, y, x and s."""
        return self.channels, self.height, self.width, self.samples

    @property
    def row_used(self) -> int:
        """Bytes of voxels in a row."""
        return self.width * self.channels * self.samples * self.dtype.itemsize

    def span(self, rows: int) -> int:
        """Return how many bytes so many rows take, padding after the last one excluded."""
        return (rows - 1) * self.row + self.row_used

    def voxels(self, data: "bytes | memoryview", rows: int) -> NDArray[Any]:
        """Return rows as an array in c, y, x, s; red, green and blue are stored blue first."""
        size, count = self.dtype.itemsize, self.channels * self.samples
        found: NDArray[Any] = np.ndarray(
            (rows, self.width, self.channels, self.samples),
            self.dtype,
            data,
            strides=(self.row, count * size, self.samples * size, size),
        )
        turned = found.transpose(2, 0, 1, 3)
        return turned[..., ::-1] if self.samples > 1 else turned


@dataclass(frozen=True, slots=True)
class Payload:
    """The voxels of a frame in the file."""

    start: int
    size: int


def payload(path: str, number: int, offset: int, head: "bytes | memoryview") -> Payload:
    """Return where the voxels of a frame lie, from the beginning of its chunk.

    Raises
    ------
    SourceError
        Something else lies there: the file's map of its chunks is damaged.
    """
    magic, name, size = _HEAD.unpack_from(head)
    wanted = b"ImageDataSeq|%d!" % number
    if magic != _MAGIC or not bytes(head[_HEAD.size :]).startswith(wanted) or name > _LONGEST_NAME:
        raise SourceError(path, f"frame {number}: no such frame at byte {offset}: damaged")
    return Payload(offset + _HEAD.size + name + _TIME_BYTES, max(size - _TIME_BYTES, 0))


def check_size(path: str, number: int, found: Payload, pixels: Pixels) -> None:
    """Refuse a frame that cannot be whole."""
    needed = pixels.span(pixels.height)
    most = found.size * (_MOST_RATIO if pixels.compressed else 1)
    if needed > most:
        raise SourceError(
            path, f"frame {number}: {found.size} bytes cannot hold the {needed} of a frame"
        )


def inflate(data: memoryview, pixels: Pixels) -> bytes:
    """Return the rows of a compressed frame, never more than a frame has."""
    most = pixels.height * pixels.row
    inflater = zlib.decompressobj()
    rows = inflater.decompress(data, most)
    # The checksum behind the last byte is looked at only now.
    more = inflater.decompress(inflater.unconsumed_tail, 1)
    if more or not inflater.eof or len(rows) < pixels.span(pixels.height):
        raise ValueError(f"inflates to {len(rows) + len(more)} bytes: expected {most}")
    return rows


@dataclass(frozen=True, slots=True)
class Order:
    """Which frame is which: loops, the outermost first, and which of their turns are taken.

    Parameters
    ----------
    counts : tuple of int
        Of every loop.
    fixed : dict
        The one turn that is taken of a loop, by the loop's place.
    """

    counts: tuple[int, ...]
    fixed: Mapping[int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents of the loops that are not fixed."""
        return tuple(n for i, n in enumerate(self.counts) if i not in self.fixed)

    @property
    def size(self) -> int:
        """How many frames there are."""
        return prod(self.shape)

    def frame(self, index: Sequence[int]) -> int:
        """Return the number of a frame from its place in `shape`."""
        rest = iter(index)
        number = 0
        for i, count in enumerate(self.counts):
            number = number * count + (self.fixed[i] if i in self.fixed else next(rest))
        return number

    def nth(self, place: int) -> int:
        """Return the number of a frame from its place in C order of `shape`."""
        index: list[int] = []
        for count in reversed(self.shape):
            place, turn = divmod(place, count)
            index.append(turn)
        return self.frame(index[::-1])
