"""Whether the bytes of a subblock can be what its directory says.

libCZI fills what a subblock does not hold with zeros, so that this is found out beforehand.
"""

import struct
from dataclasses import replace
from typing import Any

import numpy as np
from imagecodecs import zstd_decode

from microtome_core.errors import SourceError
from microtome_ingest.files import Bytes
from microtome_ingest.sources.czi_directory import Block, content

UNCOMPRESSED, JPEG_XR, ZSTD_0, ZSTD_1 = 0, 4, 5, 6
COMPRESSIONS = {
    UNCOMPRESSED: "none",
    1: "JPEG",
    2: "LZW",
    JPEG_XR: "JPEG XR",
    ZSTD_0: "Zstandard",
    ZSTD_1: "Zstandard",
}
# Name, type of a sample and number of samples; after libCZI's PixelType.
PIXELS: dict[int, tuple[str, np.dtype[Any], int]] = {
    0: ("Gray8", np.dtype("uint8"), 1),
    1: ("Gray16", np.dtype("uint16"), 1),
    2: ("Gray32Float", np.dtype("float32"), 1),
    3: ("Bgr24", np.dtype("uint8"), 3),
    4: ("Bgr48", np.dtype("uint16"), 3),
    8: ("Bgr96Float", np.dtype("float32"), 3),
}
OTHERS = {
    9: "Bgra32",
    10: "Gray64ComplexFloat",
    11: "Bgr192ComplexFloat",
    12: "Gray32",
    13: "Gray64Float",
}
# One subblock is decoded as a whole.
_MOST = 1 << 29
_ZSTD = b"\x28\xb5\x2f\xfd"
_WIDTH, _HEIGHT = 0xBC80, 0xBC81
_KINDS = {1: "B", 3: "H", 4: "I"}


def raw_size(block: Block) -> int:
    """Return the bytes of its voxels."""
    _, dtype, samples = PIXELS[block.pixel]
    return block.stored[0] * block.stored[1] * samples * dtype.itemsize


def check_kind(path: str, block: Block) -> None:
    """Refuse what libCZI does not decode, and what no microscope writes in one piece.

    Raises
    ------
    SourceError
    """
    if block.pixel not in PIXELS:
        name = OTHERS.get(block.pixel, f"kind {block.pixel}")
        known = ", ".join(name for name, _, _ in PIXELS.values())
        raise SourceError(path, f"has voxels of {name}: read are {known}")
    if block.compression not in (UNCOMPRESSED, JPEG_XR, ZSTD_0, ZSTD_1):
        name = COMPRESSIONS.get(block.compression, f"method {block.compression} of a camera")
        raise SourceError(path, f"is compressed with {name}, which is not read")
    if raw_size(block) > _MOST:
        width, height = block.stored
        raise SourceError(path, f"a subblock claims {width} × {height} voxels: refused")


def check_content(data: Bytes, block: Block) -> None:
    """Refuse a subblock that is not there, not whole or another one.

    Raises
    ------
    SourceError
    """
    found = content(data, block.position)
    where = f"the subblock at byte {block.position}"
    if replace(found.block, position=block.position) != block:
        raise SourceError(data.path, f"{where} is not what its directory says: damaged")
    problem = _problem(found.voxels, block)
    if problem:
        raise SourceError(data.path, f"{where} {problem}")


def _problem(voxels: memoryview, block: Block) -> str | None:
    needed = raw_size(block)
    if block.compression == JPEG_XR:
        size = _jpeg_xr_size(voxels)
        if size is not None and size != block.stored:
            return f"holds {size[0]} × {size[1]} of {block.stored[0]} × {block.stored[1]} voxels"
        return None
    held = len(voxels) if block.compression == UNCOMPRESSED else _zstd_size(voxels, block)
    return f"holds {held} of {needed} bytes of voxels" if held < needed else None


def _zstd_size(voxels: memoryview, block: Block) -> int:
    """Return how much a frame says that it inflates to (RFC 8878, section 3.1.1)."""
    frame = voxels[voxels[0] :] if block.compression == ZSTD_1 and len(voxels) else voxels
    if len(frame) < 6 or frame[:4] != _ZSTD:
        return 0
    flags = frame[4]
    single = flags >> 5 & 1
    count = (single, 2, 4, 8)[flags >> 6]
    if not count:
        return len(zstd_decode(bytes(frame)))
    at = 5 + (1 - single) + (0, 1, 2, 4)[flags & 3]
    size = int.from_bytes(frame[at : at + count], "little")
    return size + 256 if count == 2 else size


def _jpeg_xr_size(voxels: memoryview) -> tuple[int, int] | None:
    """Return width and height that the container says (ITU-T T.832, Annex A); None without one."""
    if bytes(voxels[:3]) != b"II\xbc" or len(voxels) < 8:
        return None
    at = int.from_bytes(voxels[4:8], "little")
    count = int.from_bytes(voxels[at : at + 2], "little")
    found: dict[int, int] = {}
    for i in range(count):
        item = voxels[at + 2 + 12 * i : at + 14 + 12 * i]
        if len(item) < 12:
            return 0, 0
        tag, kind = struct.unpack_from("<HH", item)
        if tag in (_WIDTH, _HEIGHT) and kind in _KINDS:
            found[tag] = struct.unpack_from(f"<{_KINDS[kind]}", item, 8)[0]
    return found.get(_WIDTH, 0), found.get(_HEIGHT, 0)
