"""CZI files put together by hand: what no writer library makes, such as views, JPEG XR and gaps."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PIXELS = {("uint8", 1): 0, ("uint16", 1): 1, ("float32", 1): 2, ("uint8", 3): 3, ("uint16", 3): 4}
_ZERO = bytes(16)


@dataclass(frozen=True)
class Tile:
    """A subblock: voxels in y, x or in y, x, s with blue first, and where they belong."""

    voxels: NDArray[Any]
    place: Mapping[str, int]
    at: tuple[int, int] = (0, 0)
    # What it covers, where it belongs to a pyramid.
    covers: tuple[int, int] | None = None
    compression: int = 0
    payload: bytes | None = None
    pixel: int | None = None
    xml: bytes = b""

    def entry(self, position: int) -> bytes:
        """Return its entry of the directory."""
        height, width = self.voxels.shape[:2]
        covers = self.covers or (width, height)
        x, y = self.at
        dims = [(b"X", x, covers[0], width), (b"Y", y, covers[1], height)]
        dims += [(name.encode(), start, 1, 0) for name, start in self.place.items()]
        samples = self.voxels.shape[2] if self.voxels.ndim == 3 else 1
        pixel = PIXELS.get((self.voxels.dtype.name, samples), 0)
        pixel = pixel if self.pixel is None else self.pixel
        head = struct.pack("<2siqiiB5xi", b"DV", pixel, position, 0, self.compression, 0, len(dims))
        return head + b"".join(struct.pack("<4siifi", n, s, e, s, k) for n, s, e, k in dims)

    def body(self, position: int) -> bytes:
        """Return the content of its segment."""
        data = self.voxels.tobytes() if self.payload is None else self.payload
        head = struct.pack("<iiq", len(self.xml), 0, len(data)) + self.entry(position)
        return head.ljust(256, b"\0") + self.xml + data


def czi(tiles: Sequence[Tile], xml: str = "", stamps: Sequence[float] = (), part: int = 0) -> bytes:
    """Return a file of those subblocks."""
    content = bytearray(544)
    entries = bytearray()
    for tile in tiles:
        position = len(content)
        content += _segment(b"ZISRAWSUBBLOCK", tile.body(position))
        entries += tile.entry(position)
    places = [0, 0, 0]
    if stamps:
        places[2] = _attached(content, stamps)
    places[0] = len(content)
    content += _segment(
        b"ZISRAWDIRECTORY", struct.pack("<i", len(tiles)).ljust(128, b"\0") + entries
    )
    if xml:
        places[1] = len(content)
        text = xml.encode()
        head = struct.pack("<ii", len(text), 0).ljust(256, b"\0")
        content += _segment(b"ZISRAWMETADATA", head + text)
    header = struct.pack(
        "<iiii16s16siqqiq", 1, 0, 0, 0, _ZERO, _ZERO, part, places[0], places[1], 0, places[2]
    )
    content[:544] = _segment(b"ZISRAWFILE", header.ljust(512, b"\0"))
    return bytes(content)


def saved(folder: Path, tiles: Sequence[Tile], **more: Any) -> str:  # noqa: ANN401
    """Write a file and return its path."""
    path = folder / "a.czi"
    path.write_bytes(czi(tiles, **more))
    return str(path)


def noise(shape: Sequence[int], dtype: str = "uint16", seed: int = 0) -> NDArray[Any]:
    """Return voxels of which none is 0."""
    return np.random.default_rng(seed).integers(1, 250, tuple(shape)).astype(dtype)


def _segment(name: bytes, body: bytes) -> bytes:
    size = -(-len(body) // 32) * 32
    return struct.pack("<16sqq", name, size, len(body)) + body.ljust(size, b"\0")


def _attached(content: bytearray, stamps: Sequence[float]) -> int:
    """Add an attachment with time stamps and the directory of attachments; return its place."""
    count = len(stamps)
    position = len(content)
    entry = struct.pack("<2s10xqi16s8s80s", b"A1", position, 0, _ZERO, b"CZTIMS", b"TimeStamps")
    data = struct.pack(f"<ii{count}d", 8 + 8 * count, count, *stamps)
    head = struct.pack("<i12x", len(data)) + entry
    content += _segment(b"ZISRAWATTACH", head.ljust(256, b"\0") + data)
    place = len(content)
    content += _segment(b"ZISRAWATTDIR", struct.pack("<i", 1).ljust(256, b"\0") + entry)
    return place
