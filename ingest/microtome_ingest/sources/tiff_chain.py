"""The chain of image file directories, walked before anything else trusts it.

TIFF 6.0, section 2: a header points to the first directory, each directory to the next one, the
last to 0. BigTIFF does the same with 64-bit numbers. A file that was cut off often ends in a
directory that points into itself, and readers then follow it for ever.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from tifffile import TiffFile

from microtome_core.errors import SourceError
from microtome_ingest.files import Files
from microtome_ingest.stream import RangeStream, told

_ORDERS = {b"II": "<", b"MM": ">"}
_MOST_TAGS = 4096
# Far above what cameras leave in one file; so many take 20 seconds to walk to.
_MOST_PAGES = 500_000
# Tags that say where voxels are and how to decode them: ImageWidth to BitsPerSample, Compression,
# photometry, strips, samples, planes, predictor, tiles.
_SINGLE = frozenset((256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 322, 323, 324, 325))


@dataclass(frozen=True, slots=True)
class _Widths:
    """struct's letters and bytes of a count of tags, a tag and an offset."""

    count: str
    tag: int
    offset: str


_CLASSIC, _BIG = _Widths("H", 12, "I"), _Widths("Q", 20, "Q")


# How much of a file is fetched around a directory that is foreseen, and how many of them at once.
_BEFORE, _AROUND = 512, 2048
_FEWEST, _MOST = 8, 1024


@contextmanager
def open_tiff(path: str, files: Files) -> Iterator[TiffFile]:
    """Open a file with tifffile after walking its directories; members of OME-TIFF stay closed.

    Raises
    ------
    SourceError
        As `check_chain`, or pages that tifffile does not find.
    """
    with files.open(path) as data, data.stream() as stream, told(stream):
        count = check_chain(stream, data.stamp.size, path)
        stream.seek(0)
        # For ScanImage, tifffile works out pages from the file's size and loses the last one.
        with TiffFile(stream, name=path, _multifile=False, is_scanimage=False) as tif:
            if len(tif.pages) != count:
                raise SourceError(
                    path, f"has {count} pages, of which only {len(tif.pages)} can be read"
                )
            yield tif


def check_chain(stream: BinaryIO, size: int, path: str) -> int:
    """Return how many directories a TIFF file of `size` bytes has.

    Raises
    ------
    SourceError
        No TIFF header, a directory that does not lie in the file, one that comes again or lies
        in others, or too many.
    """
    order, widths, offset = _header(stream, path)
    foresight = _Foresight(stream)
    seen: set[int] = set()
    left = size
    while offset:
        if offset in seen:
            raise SourceError(path, f"page {len(seen)} points back to byte {offset}: damaged")
        seen.add(offset)
        foresight.at(offset)
        start = offset
        offset = _next(stream, offset, order, widths, f"page {len(seen) - 1}", size, path)
        left -= stream.tell() - start
        if left < 0:
            raise SourceError(path, f"page {len(seen) - 1} overlaps others: damaged")
        if len(seen) > _MOST_PAGES:
            raise SourceError(path, f"has more than {_MOST_PAGES} pages: split it")
        foresight.keep()
    if not seen:
        raise SourceError(path, "a TIFF without a page: writing it was not finished")
    return len(seen)


class _Foresight:
    """Fetches directories before they are walked to, where they come at even distances.

    Each directory says only where the next one is; over a network, a walk along thousands of them
    would take minutes.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream if isinstance(stream, RangeStream) else None
        self._last, self._step = 0, 0
        self._left, self._count = 0, _FEWEST

    def at(self, offset: int) -> None:
        """Learn of the directory that is walked to now."""
        step, self._last = offset - self._last, offset
        if step != self._step:
            self._step, self._left, self._count = step, 0, _FEWEST
        elif self._left > 0:
            self._left -= 1
        elif self._stream is not None and abs(step) > _AROUND:
            places = [offset + step * i - _BEFORE for i in range(self._count)]
            self._stream.prefetch((max(low, 0), low + _AROUND) for low in places)
            self._left, self._count = self._count - 1, min(2 * self._count, _MOST)

    def keep(self) -> None:
        """Hold on to the directory that was walked to: tifffile walks once more."""
        if self._stream is not None:
            self._stream.keep(self._last - _BEFORE, self._stream.tell() + _AROUND)


def _header(file: BinaryIO, path: str) -> tuple[str, _Widths, int]:
    head = file.read(16).ljust(16, b"\0")
    order = _ORDERS.get(head[:2])
    version = struct.unpack(f"{order}H", head[2:4])[0] if order else 0
    if order is None or version not in (42, 43):
        raise SourceError(path, f"is no TIFF: it starts with {head[:8]!r}")
    if version == 42:
        return order, _CLASSIC, struct.unpack(f"{order}I", head[4:8])[0]
    return order, _BIG, struct.unpack(f"{order}Q", head[8:16])[0]


def _next(
    file: BinaryIO, offset: int, order: str, widths: _Widths, name: str, size: int, path: str
) -> int:
    """Return the offset of the directory that follows."""
    file.seek(offset)
    width = struct.calcsize(f"{order}{widths.count}")
    head = file.read(width)
    tags = struct.unpack(order + widths.count, head)[0] if len(head) == width else 0
    last = struct.calcsize(order + widths.offset)
    end = offset + width + tags * widths.tag + last
    if not 0 < tags <= _MOST_TAGS or end > size:
        raise SourceError(
            path, f"{name} lies at bytes {offset} to {end}, but the file ends at {size}: truncated"
        )
    body = file.read(tags * widths.tag + last)
    codes = [struct.unpack_from(f"{order}H", body, i * widths.tag)[0] for i in range(tags)]
    doubled = [code for code in _SINGLE & set(codes) if codes.count(code) > 1]
    if doubled:
        raise SourceError(path, f"{name} has tag {min(doubled)} more than once: damaged")
    following: int = struct.unpack_from(order + widths.offset, body, tags * widths.tag)[0]
    return following
