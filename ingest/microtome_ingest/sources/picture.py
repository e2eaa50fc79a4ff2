"""One PNG or JPEG file: a plane, decoded as a whole."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import RegionError, SourceError
from microtome_core.region import Region, check_inside
from microtome_ingest.source import Description, Scene
from microtome_ingest.sources.damage import strict

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
# Far above any camera; a header that claims more is damaged, or a bomb.
_MOST_PIXELS = 1 << 30


class PictureSource:
    """A PNG or JPEG picture; its grey values or samples as stored."""

    def __init__(self, description: Description) -> None:
        self._description = description

    @property
    def description(self) -> Description:
        """What the file says of itself."""
        return self._description

    def close(self) -> None:
        """Do nothing: no file is held open."""

    def read(self, region: Region) -> NDArray[Any]:
        """Return one region; the whole picture is decoded for it."""
        if region.axes != self._description.axes:
            raise RegionError(f"region {region}: expected axes {self._description.axes!r}")
        check_inside(region, self._description.shape)
        pixels = _decode(self._description.files[0])
        if pixels.shape != self._description.shape or pixels.dtype.name != self._description.dtype:
            raise SourceError(self._description.files[0], "changed since it was opened")
        return np.ascontiguousarray(pixels[region.slices])


def scenes(path: str) -> tuple[Scene, ...]:
    """List the one image of the file."""
    found = open_image(path).description
    return (Scene(0, "", found.axes, found.shape, found.dtype),)


def open_image(path: str, scene: int | None = None) -> PictureSource:
    """Open a picture; it is decoded once to see its samples.

    Raises
    ------
    SourceError
        Damage, a size that no camera has, or a scene other than 0.
    """
    if scene:
        raise SourceError(path, f"has no scene {scene}: a picture is one image")
    pixels = _decode(path)
    lossy = Path(path).read_bytes()[:3] == _JPEG
    notes = ("voxels were compressed with loss (JPEG) before they came here",) if lossy else ()
    return PictureSource(
        Description(
            format="JPEG" if lossy else "PNG",
            axes="yx" if pixels.ndim == 2 else "yxs",
            shape=pixels.shape,
            dtype=pixels.dtype.name,
            block=pixels.shape,
            files=(path,),
            notes=notes,
        )
    )


def _decode(path: str) -> NDArray[Any]:
    with strict(path):
        data = Path(path).read_bytes()
        pixels = _decoder(path, data)(data)
    return np.asarray(pixels)


def _decoder(path: str, data: bytes) -> Callable[[bytes], Any]:
    if data.startswith(_PNG):
        width, height = struct.unpack_from(">II", data, 16)
        if width * height > _MOST_PIXELS:
            raise SourceError(path, f"claims {width} × {height} pixels")
        _check_sums(path, data)
        return imagecodecs.png_decode
    # libjpeg fills the rest of a picture that ends early with grey and only warns.
    if data.startswith(_JPEG) and data.rstrip(b"\0").endswith(b"\xff\xd9"):
        return imagecodecs.jpeg_decode
    raise SourceError(path, f"is no complete PNG or JPEG: {len(data)} bytes, starts {data[:8]!r}")


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
