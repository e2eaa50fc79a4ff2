"""One PNG or JPEG file: a plane, decoded as a whole."""

import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import SourceError
from microtome_core.region import Region, check_region
from microtome_ingest.files import Files, Stamp
from microtome_ingest.meter import Meter
from microtome_ingest.source import Description, Scene
from microtome_ingest.sources.damage import strict

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
# Far above any camera; a header that claims more is damaged, or a bomb.
_MOST_PIXELS = 1 << 30
# Bytes of samples that a byte of the file can hold: deflate's limit is 1032; Huffman's codes of a
# JPEG take a bit for 64 samples at least (ISO 10918-1, F.1.2), arithmetic ones next to nothing.
_PNG_RATIO, _JPEG_RATIO, _ARITHMETIC_RATIO = 1040, 2048, 100_000
_PNG_SAMPLES = {2: 3, 4: 2, 6: 4}
# Bytes of pixels that no file is asked for.
_HARMLESS = 16 << 20
# Bytes to look for the size in: a JPEG has its preview and colour profile before it.
_HEADS = (32, 64 << 10, 8 << 20)
_NO_FRAME = {0xC4, 0xC8, 0xCC}
_LAST_HUFFMAN = 0xC7


class PictureSource:
    """A PNG or JPEG picture; its grey values or samples as stored.

    Parameters
    ----------
    description : Description
    files : Files
    meter : Meter
        Is told what is decoded.
    """

    def __init__(self, description: Description, files: Files, meter: Meter) -> None:
        self._description, self._files, self._meter = description, files, meter

    @property
    def description(self) -> Description:
        """What the file says of itself."""
        return self._description

    @property
    def decoded(self) -> int:
        """Bytes of pixels decoded by reads."""
        return self._meter.count

    @property
    def stamps(self) -> Mapping[str, Stamp]:
        """The file as it was when it was opened."""
        return self._files.stamps(self._description.files)

    def close(self) -> None:
        """Do nothing: no file is held open."""

    def read(self, region: Region) -> NDArray[Any]:
        """Return one region; the whole picture is decoded for it."""
        check_region(region, self._description.axes, self._description.shape)
        expected = self._description.shape, self._description.dtype
        pixels = _decode(self._description.files[0], self._files)
        self._meter.add(pixels.nbytes)
        if (pixels.shape, pixels.dtype.name) != expected:
            raise SourceError(
                self._description.files[0],
                f"is {pixels.shape} {pixels.dtype}, expected {expected[0]} {expected[1]}",
            )
        return np.ascontiguousarray(pixels[region.slices])


def scenes(path: str, files: Files | None = None) -> tuple[Scene, ...]:
    """List the one image of the file."""
    found = open_image(path, files=files).description
    return (Scene(0, "", found.axes, found.shape, found.dtype),)


def open_image(
    path: str, scene: int | None = None, files: Files | None = None, meter: Meter | None = None
) -> PictureSource:
    """Open a picture; it is decoded once to see its samples.

    Parameters
    ----------
    path : str
    scene : int, optional
        0.
    files : Files, optional
        How files are reached.
    meter : Meter, optional
        One that others share.

    Raises
    ------
    SourceError
        Damage, a size that no camera has, or a scene other than 0.
    """
    if scene:
        raise SourceError(path, f"has no scene {scene}: a picture is one image")
    files = files or Files()
    pixels = _decode(path, files)
    with files.open(path) as data:
        lossy = bytes(data.read(0, 3)) == _JPEG
    notes = ("voxels were compressed with loss (JPEG) before they came here",) if lossy else ()
    description = Description(
        format="JPEG" if lossy else "PNG",
        axes="yx" if pixels.ndim == 2 else "yxs",
        shape=pixels.shape,
        dtype=pixels.dtype.name,
        block=pixels.shape,
        files=(path,),
        notes=notes,
    )
    return PictureSource(description, files, meter or Meter())


def frame(path: str, files: Files) -> bytes:
    """Return what a picture's header says of size, depth and samples, without its pixels.

    Raises
    ------
    SourceError
        No header that says so.
    """
    with files.open(path) as data:
        for count in _HEADS:
            head = bytes(data.read(0, min(count, data.stamp.size)))
            found = head[16:29] if head.startswith(_PNG) else _jpeg_frame(head)
            if found:
                return found
    raise SourceError(path, f"is no complete PNG or JPEG: it starts with {head[:8]!r}")


def _jpeg_frame(head: bytes) -> bytes:
    """Return depth, size and samples from the first frame header (ISO 10918-1, B.2.2), if any.

    Its marker comes last.
    """
    at = 2
    while head.startswith(_JPEG) and at + 9 < len(head):
        marker, length = head[at + 1], int.from_bytes(head[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            return head[at + 4 : at + 10] + head[at + 1 : at + 2]
        at += 2 + length
    return b""


def _decode(path: str, files: Files) -> NDArray[Any]:
    with strict(path), files.open(path) as opened:
        data = bytes(opened.read(0, opened.stamp.size))
        pixels = _decoder(path, data)(data)
    return np.asarray(pixels)


def _decoder(path: str, data: bytes) -> Callable[[bytes], Any]:
    if data.startswith(_PNG):
        width, height, bits, colour = struct.unpack_from(">2I2B", data, 16)
        row = -(-width * bits * _PNG_SAMPLES.get(colour, 1) // 8)
        _check_size(path, width, height, height * row, len(data) * _PNG_RATIO)
        _check_sums(path, data)
        return imagecodecs.png_decode
    # libjpeg fills the rest of a picture that ends early with grey and only warns.
    if data.startswith(_JPEG) and data.rstrip(b"\0").endswith(b"\xff\xd9"):
        _check_jpeg(path, data)
        return imagecodecs.jpeg_decode
    raise SourceError(path, f"is no complete PNG or JPEG: {len(data)} bytes, starts {data[:8]!r}")


def _check_jpeg(path: str, data: bytes) -> None:
    found = _jpeg_frame(data)
    if not found:
        raise SourceError(path, "has no frame header: damaged")
    bits, height, width, samples, marker = struct.unpack(">B2H2B", found)
    stored = width * height * samples * (2 if bits > 8 else 1)
    ratio = _ARITHMETIC_RATIO if marker > _LAST_HUFFMAN else _JPEG_RATIO
    _check_size(path, width, height, stored, len(data) * ratio)


def _check_size(path: str, width: int, height: int, stored: int, most: int) -> None:
    if width * height > _MOST_PIXELS or stored > max(most, _HARMLESS):
        raise SourceError(
            path, f"claims {width} × {height} pixels: more than a file of its size can hold"
        )


def _check_sums(path: str, data: bytes) -> None:
    """Compare the checksum of every chunk (PNG, section 5.3): libpng only warns of some."""
    at = len(_PNG)
    while True:
        length, kind = struct.unpack_from(">I4s", data, at)
        (stored,) = struct.unpack_from(">I", data, at + 8 + length)
        if zlib.crc32(data[at + 4 : at + 8 + length]) != stored:
            raise SourceError(path, f"chunk {kind!r} at byte {at}: its checksum is wrong")
        if kind == b"IEND":
            return
        at += 12 + length
