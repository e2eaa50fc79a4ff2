"""One scale of a precomputed volume: its grid of chunks, and how they are called."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from microtome_core.dtypes import check_dtype
from microtome_core.errors import InputError
from microtome_core.grid import Grid
from microtome_ingest.sources.chunk_folder import joined

ENCODINGS = ("raw", "jpeg", "png", "compressed_segmentation", "compresso")
_MOST_CHUNK = 1 << 30
_MOST_CHANNELS = 1 << 16
_MOST_EXTENT = 1 << 48


@dataclass(frozen=True, slots=True)
class Scale:
    """A scale; tuples of three are x, y, z as in the format.

    Parameters
    ----------
    key : str
        Its folder.
    encoding : str
    channels : int
    size, offset : tuple of int
        Voxels.
    resolution : tuple of float
        Nanometers.
    chunk : tuple of int
    sharding : dict, optional
    described : dict
        As ``info`` has it.
    """

    key: str
    encoding: str
    channels: int
    size: tuple[int, ...]
    offset: tuple[int, ...]
    resolution: tuple[float, ...]
    chunk: tuple[int, ...]
    sharding: Mapping[str, Any] | None
    described: Mapping[str, Any]

    @property
    def axes(self) -> str:
        """Of the image, slowest first; c only where there are several channels."""
        return "czyx" if self.channels > 1 else "zyx"

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents in the order of `axes`."""
        return (*((self.channels,) if self.channels > 1 else ()), *self.size[::-1])

    @property
    def grid(self) -> Grid:
        """The chunks, all channels of a place in one."""
        cell = (*((self.channels,) if self.channels > 1 else ()), *self.chunk[::-1])
        return Grid(self.axes, self.shape, cell)

    def name(self, index: tuple[int, ...]) -> str:
        """Return the name of the file of a chunk, by its index in `grid`."""
        cells = index[::-1][:3]
        edges = zip(cells, self.chunk, self.size, self.offset, strict=True)
        return "_".join(f"{o + i * n}-{o + min((i + 1) * n, whole)}" for i, n, whole, o in edges)

    def code(self, index: tuple[int, ...]) -> bytes:
        """Return the key of a chunk in shards: its compressed Morton code, big-endian."""
        cells = index[::-1][:3]
        counts = self.grid.counts[::-1][:3]
        bits = [(count - 1).bit_length() for count in counts]
        code = place = 0
        for bit in range(max(bits)):
            for cell, width in zip(cells, bits, strict=True):
                if bit < width:
                    code |= (cell >> bit & 1) << place
                    place += 1
        return code.to_bytes(8, "big")


def check_scale(info: Mapping[str, Any], found: Mapping[str, Any]) -> Scale:
    """Return a scale of ``info``.

    Raises
    ------
    InputError
        Numbers that cannot be, or an encoding that is not read.
    """
    encoding = str(found.get("encoding"))
    if encoding not in ENCODINGS:
        raise InputError(f"encoding {encoding[:40]!r} is not read: expected one of {ENCODINGS}")
    channels = _whole(info.get("num_channels", 1), 1, _MOST_CHANNELS, "num_channels")
    resolution = tuple(float(step) for step in found["resolution"])
    if len(resolution) != 3 or not all(isfinite(step) and step > 0 for step in resolution):
        raise InputError(f"resolution {resolution}: expected three sizes in nanometers")
    chunk = _three(found["chunk_sizes"][0], 1, "chunk_sizes")
    scale = Scale(
        key=joined("", str(found["key"])),
        encoding=encoding,
        channels=channels,
        size=_three(found["size"], 1, "size"),
        offset=_three(found.get("voxel_offset", [0, 0, 0]), -_MOST_EXTENT, "voxel_offset"),
        resolution=resolution,
        chunk=chunk,
        sharding=found.get("sharding"),
        described=found,
    )
    _check_chunk(scale, check_dtype(str(info["data_type"])))
    return scale


def _check_chunk(scale: Scale, dtype: np.dtype[Any]) -> None:
    there = [min(pair) for pair in zip(scale.chunk, scale.size, strict=True)]
    size = scale.channels * there[0] * there[1] * there[2] * dtype.itemsize
    if size > _MOST_CHUNK:
        raise InputError(f"a chunk takes {size} bytes: no more than {_MOST_CHUNK} are read")
    if scale.encoding == "compresso" and scale.channels > 1:
        raise InputError("encoding compresso with several channels is not read")


def _three(value: Any, least: int, name: str) -> tuple[int, ...]:  # noqa: ANN401 - JSON
    if not isinstance(value, list) or len(value) != 3:
        raise InputError(f"{name} {str(value)[:80]}: expected three whole numbers")
    return tuple(_whole(number, least, _MOST_EXTENT, name) for number in value)


def _whole(value: Any, least: int, most: int, name: str) -> int:  # noqa: ANN401 - JSON
    # Some writers have 10.0.
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    if type(number) is not int or not least <= number <= most:
        raise InputError(f"{name} {str(value)[:40]}: expected a whole number from {least} on")
    return number
