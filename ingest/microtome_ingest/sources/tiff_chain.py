"""The chain of image file directories, walked before anything else trusts it.

TIFF 6.0, section 2: a header points to the first directory, each directory to the next one, the
last to 0. BigTIFF does the same with 64-bit numbers. A file that was cut off often ends in a
directory that points into itself, and readers then follow it for ever.
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tifffile import TiffFile

from microtome_core.errors import SourceError

_ORDERS = {b"II": "<", b"MM": ">"}
_MOST_TAGS = 4096
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


def open_tiff(path: str) -> TiffFile:
    """Open a file with tifffile after walking its directories; members of OME-TIFF stay closed.

    Raises
    ------
    SourceError
        As `check_chain`, or pages that tifffile does not find.
    """
    count = check_chain(path)
    # For ScanImage, tifffile works out pages from the file's size and loses the last one.
    tif = TiffFile(path, _multifile=False, is_scanimage=False)
    if len(tif.pages) != count:
        tif.close()
        raise SourceError(path, f"has {count} pages, of which only {len(tif.pages)} can be read")
    return tif


def check_chain(path: str) -> int:
    """Return how many directories a TIFF file has.

    Raises
    ------
    SourceError
        No TIFF header, a directory that does not lie in the file, or one that comes again.
    """
    size = os.path.getsize(path)
    with Path(path).open("rb") as file:
        order, widths, offset = _header(file, path)
        seen: set[int] = set()
        while offset:
            if offset in seen:
                raise SourceError(path, f"page {len(seen)} points back to byte {offset}: damaged")
            seen.add(offset)
            offset = _next(file, offset, order, widths, f"page {len(seen) - 1}", size, path)
    if not seen:
        raise SourceError(path, "a TIFF without a page: writing it was not finished")
    return len(seen)


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
