"""A TIFF page as bytes in a file: where its segments lie, and how they become voxels.

TIFF 6.0: a page is cut into strips (section 3) or tiles (section 15), each of them compressed by
itself, and the samples of a pixel lie together or in planes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tifffile import TiffFrame, TiffPage

from microtome_core.errors import SourceError
from microtome_core.grid import Grid
from microtome_core.region import Region
from microtome_ingest.sources.raw import RawArray

# Sample planes, depth, rows, columns; contiguous samples come after.
_CELLS = "pzyx"
# The most that a codec can expand: deflate 1032, LZW's 12-bit codes to 2730 bytes for 1.5,
# PackBits 128 bytes for 2. Others encode flat tiles in next to nothing.
_MOST_RATIO = {1: 1, 8: 1100, 32946: 1100, 5: 2000, 32773: 64}
_OTHER_RATIO = 100_000
_HARMLESS = 64 << 20


@dataclass(frozen=True, eq=False, slots=True)
class PageCodec:
    """What all pages of one kind have in common.

    Parameters
    ----------
    shape : tuple of int
        Sample planes, depth, rows, columns, contiguous samples.
    dtype : numpy.dtype
        As stored, with the file's byte order.
    cell : tuple of int
        Extents of a segment: sample planes, depth, rows, columns.
    raw : bool
        Voxels lie in the file as they are in memory, but for byte order.
    compression : int
        TIFF's number of the codec.
    bits : int
        Stored for each sample.
    decode : callable
        tifffile's decoder of one segment, a pure function.
    tables : dict
        What the decoder needs beside the segment's bytes.
    """

    shape: tuple[int, int, int, int, int]
    dtype: np.dtype[Any]
    cell: tuple[int, int, int, int]
    raw: bool
    compression: int
    bits: int
    decode: Callable[..., Any]
    tables: dict[str, Any]

    @classmethod
    def of(cls, page: TiffPage) -> "PageCodec":
        """Read a page's tags; the file need not stay open."""
        if page.dtype is None or 0 in page.shaped:
            raise SourceError(
                page.parent.filehandle.path,
                f"page {page.index}: shape {page.shaped}, {page.bitspersample} bits: no image",
            )
        rows, columns = page.shaped[2:4]
        cell = (1, 1, min(page.rowsperstrip or rows, rows), columns)
        if page.is_tiled:
            cell = (1, page.tiledepth, page.tilelength, page.tilewidth)
        return cls(
            shape=page.shaped,
            dtype=page.dtype.newbyteorder(page.parent.byteorder),
            cell=cell,
            raw=page.is_final,
            compression=int(page.compression),
            bits=int(page.bitspersample),
            decode=page.decode,
            tables={"jpegtables": page.jpegtables, "jpegheader": page.jpegheader},
        )

    @property
    def nbytes(self) -> int:
        """Bytes of a page in memory."""
        return prod(self.shape) * self.dtype.itemsize

    @property
    def grid(self) -> Grid:
        """The segments, in the order in which the file counts them."""
        return Grid(_CELLS, self.shape[:4], self.cell)

    def stored(self, index: int) -> int:
        """Return the bytes that a segment takes uncompressed, rows padded to whole bytes."""
        rows = self.cell[2]
        if self.cell[3] == self.shape[3]:  # a strip; the last one may be shorter
            row = index % self.grid.counts[2] * rows
            rows = min(rows, self.shape[2] - row)
        return self.cell[1] * rows * -(-self.cell[3] * self.shape[4] * self.bits // 8)


@dataclass(frozen=True, eq=False, slots=True)
class Plane:
    """One page's voxels: where they lie in which file.

    Parameters
    ----------
    path : str
    page : int
        Number of the page in its file, for messages.
    codec : PageCodec
    offsets, counts : arrays of int64
        Of every segment in bytes; of the whole page where the voxels lie raw in one piece.
    whole : bool
        The page lies raw in one piece.
    """

    path: str
    page: int
    codec: PageCodec
    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]
    whole: bool

    @classmethod
    def of(cls, page: TiffPage | TiffFrame, codec: PageCodec) -> "Plane":
        """Take a page's segments; check that they are all there and large enough."""
        path = page.parent.filehandle.path
        offsets = np.asarray(page.dataoffsets, "int64")
        counts = np.asarray(page.databytecounts, "int64")
        whole = codec.raw and bool(np.all(offsets[1:] == offsets[:-1] + counts[:-1]))
        if whole and len(offsets) and offsets[0] > 0 and counts.sum() >= codec.nbytes:
            return cls.raw(path, page.index, codec, int(offsets[0]))
        plane = cls(path, page.index, codec, offsets, counts, whole=False)
        plane.check()
        return plane

    @classmethod
    def raw(cls, path: str, page: int, codec: PageCodec, offset: int) -> "Plane":
        """Name a page that lies raw in one piece."""
        return cls(path, page, codec, np.array([offset]), np.array([codec.nbytes]), whole=True)

    def check(self) -> None:
        """Refuse segments that are missing, or too small for what they claim to hold."""
        expected = self.codec.grid.size
        if len(self.offsets) != expected or len(self.counts) != expected:
            self._refuse(f"{len(self.offsets)} segments, expected {expected}")
        if (self.offsets <= 0).any() or (self.counts <= 0).any():
            self._refuse("a segment has no data (a sparse or interrupted file)")
        ratio = _MOST_RATIO.get(self.codec.compression, _OTHER_RATIO)
        memory = prod(self.codec.cell) * self.codec.shape[4] * self.codec.dtype.itemsize
        if ratio == 1:
            needed = [self.codec.stored(i) for i in range(expected)]
            if (self.counts < np.array(needed)).any():
                self._refuse("an uncompressed segment is shorter than its voxels")
        elif memory > _HARMLESS and int(self.counts.min()) * ratio < memory:
            self._refuse(
                f"a segment of {self.counts.min()} bytes claims {memory} bytes of voxels: "
                f"more than its compression can hold"
            )

    def end(self) -> int:
        """Return the byte after the last that is needed."""
        return int((self.offsets + self.counts).max())

    def touched(self, box: Region) -> Iterator[tuple[int, Region]]:
        """Yield the number of every segment that `box` touches, and its voxels."""
        grid = self.codec.grid
        for cell in grid.touched(box):
            yield int(np.ravel_multi_index(cell, grid.counts)), grid.region(cell)

    def range(self, index: int) -> tuple[int, int]:
        """Return offset and count of a segment's bytes."""
        return int(self.offsets[index]), int(self.counts[index])

    def decode(self, data: memoryview, index: int, expected: Region) -> NDArray[Any]:
        """Return the voxels of one segment: depth, rows, columns, samples from its own origin."""
        voxels, origin, _ = self.codec.decode(bytes(data), index, **self.codec.tables)
        if voxels is None or tuple(origin[:4]) != expected.start:
            self._refuse(f"segment {index} decodes to {origin}, expected {expected}")
        if any(have < need for have, need in zip(voxels.shape, expected.shape[1:], strict=False)):
            self._refuse(
                f"segment {index} decodes to {voxels.shape}, expected {expected.shape[1:]}"
            )
        return np.asarray(voxels)

    @property
    def array(self) -> RawArray:
        """The page where it lies raw in one piece."""
        return RawArray(int(self.offsets[0]), self.codec.shape, self.codec.dtype)

    def _refuse(self, reason: str) -> None:
        raise SourceError(self.path, f"page {self.page}: {reason}")
