"""A layer as a precomputed volume: its type, its scales, and which voxels a chunk is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from microtome_core.errors import InputError, NotFound
from microtome_core.region import Region
from microtome_core.units import converted
from microtome_core.wire import LayerInfo
from microtome_service.precomputed.variant import Variant
from microtome_service.reader import find_level

BLOCK = (8, 8, 8)
# The format lacks these. Images lose digits beyond the 24 bits of float32.
_IMAGES = {"int64": "float32", "float64": "float32"}
# Ids are not negative; where one is, it keeps its bits.
_LABELS = {"int8": "uint8", "int16": "uint16", "int32": "uint32", "int64": "uint64"}
_PACKED = ("uint32", "uint64")
_PICTURES: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "jpeg": {"uint8": (1, 3)},
    "png": {"uint8": (1, 2, 3, 4), "uint16": (1,)},
}
# Larger chunks are of no use to a viewer, and longer ones fit no texture (WebGL 2 grants 2048, and
# Neuroglancer puts channels one behind the other along z): the stored ones are halved.
_MOST_BYTES = 16 << 20
_LONGEST = 2048
_EDGE = r"(0|-?[1-9][0-9]{0,17})"
_CHUNK = re.compile("_".join([rf"{_EDGE}-{_EDGE}"] * 3))


@dataclass(frozen=True, slots=True)
class Scale:
    """One level; every sequence is x, y, z.

    Parameters
    ----------
    level : int
    size, offset, chunk : tuple of int
        In voxels of the level.
    resolution : tuple of float
        Voxel size in nm.
    """

    level: int
    size: tuple[int, ...]
    offset: tuple[int, ...]
    chunk: tuple[int, ...]
    resolution: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Volume:
    """A view of a layer.

    Parameters
    ----------
    info : LayerInfo
    t : int
        Time point.
    channels : range
    dtype : str
        Of the voxels as they are sent.
    encoding : str
    """

    info: LayerInfo
    t: int
    channels: range
    dtype: str
    encoding: str

    @classmethod
    def of(cls, info: LayerInfo, variant: Variant) -> "Volume":
        """Return the view `variant` of a layer.

        Raises
        ------
        NotFound
            A time point or channel that the layer lacks; the message names the valid range.
        InputError
            An encoding that cannot hold it.
        """
        extents = dict(zip(info.axes, info.shape, strict=True))
        _check("time point", variant.t, extents.get("t", 1))
        channels = _channels(info, variant, extents.get("c", 1))
        dtype = (_LABELS if info.kind == "labels" else _IMAGES).get(info.dtype, info.dtype)
        encoding = variant.encoding or _default(info.kind, dtype)
        if encoding == "compressed_segmentation" and info.kind == "labels":
            dtype = dtype if dtype in _PACKED else "uint32"
        _check_encodable(info.kind, dtype, len(channels), encoding)
        return cls(info, variant.t, channels, dtype, encoding)

    @property
    def scales(self) -> tuple[Scale, ...]:
        """Every level, finest first."""
        return tuple(self.scale(level) for level in range(len(self.info.levels)))

    def scale(self, level: int) -> Scale:
        """Return one level; raises `NotFound` where there is no such."""
        info, described = self.info, find_level(self.info, level)
        size = _xyz(info, described.shape, 1)
        return Scale(
            level,
            size,
            _offset(info, level),
            self._chunk(_xyz(info, described.chunk, 1), size),
            _resolution(info, level),
        )

    def _chunk(self, stored: tuple[int, ...], size: tuple[int, ...]) -> tuple[int, ...]:
        """Return the stored chunk, or an equal part of it where it is very large."""
        chunk = [min(pair) for pair in zip(stored, size, strict=True)]
        itemsize = np.dtype(self.info.dtype).itemsize
        while True:
            sides = (*chunk[:2], chunk[2] * len(self.channels))
            large = prod(sides) * itemsize > _MOST_BYTES
            halved = [i for i in range(3) if chunk[i] > 1 and (large or sides[i] > _LONGEST)]
            if not halved:
                return tuple(chunk)
            longest = max(halved, key=lambda i: sides[i])
            chunk[longest] = -(-chunk[longest] // 2)

    def region(self, level: int, name: str) -> Region:
        """Return the voxels of a chunk by its name: ``x0-x1_y0-y1_z0-z1``.

        Raises
        ------
        NotFound
            No such level, or a box that is no chunk of it.
        """
        scale = self.scale(level)
        match = _CHUNK.fullmatch(name)
        edges = tuple(map(int, match.groups())) if match else ()
        if not match or not _on_grid(scale, edges):
            raise NotFound(
                f"no chunk {name[:80]!r} of level {level}: expected x0-x1_y0-y1_z0-z1 on the grid "
                f"of {_text(scale.chunk)} voxels from {_text(scale.offset)}, clipped to the size "
                f"{_text(scale.size)}"
            )
        inner = [edge - scale.offset[i // 2] for i, edge in enumerate(edges)]
        ranges = {axis: (inner[2 * i], inner[2 * i + 1]) for i, axis in enumerate("xyz")}
        ranges["t"] = (self.t, self.t + 1)
        ranges["c"] = (self.channels.start, self.channels.stop)
        axes = self.info.axes
        return Region(axes, tuple(ranges[a][0] for a in axes), tuple(ranges[a][1] for a in axes))

    def to_json(self, *, properties: bool) -> dict[str, Any]:
        """Return what stands in ``info``.

        Parameters
        ----------
        properties : bool
            Whether something is known of single segments.
        """
        told: dict[str, Any] = {
            "@type": "neuroglancer_multiscale_volume",
            "type": "segmentation" if self.info.kind == "labels" else "image",
            "data_type": self.dtype,
            "num_channels": len(self.channels),
            "scales": [self._scale_json(scale) for scale in self.scales],
        }
        return {**told, "segment_properties": "segment_properties"} if properties else told

    def _scale_json(self, scale: Scale) -> dict[str, Any]:
        told: dict[str, Any] = {
            "key": str(scale.level),
            "size": scale.size,
            "voxel_offset": scale.offset,
            "chunk_sizes": [scale.chunk],
            "resolution": [int(n) if n.is_integer() else n for n in scale.resolution],
            "encoding": self.encoding,
        }
        if self.encoding == "compressed_segmentation":
            told["compressed_segmentation_block_size"] = BLOCK
        return told


def _channels(info: LayerInfo, variant: Variant, count: int) -> range:
    # A segmentation has one channel by definition of the format.
    one = 0 if variant.c is None and info.kind == "labels" else variant.c
    if one is None:
        return range(count)
    _check("channel", one, count)
    return range(one, one + 1)


def _default(kind: str, dtype: str) -> str:
    return "compressed_segmentation" if kind == "labels" and dtype in _PACKED else "raw"


def _check_encodable(kind: str, dtype: str, channels: int, encoding: str) -> None:
    if encoding == "compressed_segmentation" and kind != "labels":
        raise InputError("compressed_segmentation holds labels, the layer is an image: use raw")
    if encoding == "jpeg" and kind == "labels":
        raise InputError("jpeg changes values and so cannot hold labels: use png or raw")
    held = _PICTURES.get(encoding)
    if held is not None and channels not in held.get(dtype, ()):
        known = "; ".join(
            f"{' or '.join(map(str, counts))} channels of {name}" for name, counts in held.items()
        )
        raise InputError(
            f"{encoding} holds {known}, this is {channels} of {dtype}: use raw, or one channel "
            f"such as c0-{encoding}"
        )


def _check(what: str, number: int, count: int) -> None:
    if not 0 <= number < count:
        raise NotFound(f"no {what} {number}: valid is 0 to {count - 1}")


def _xyz(info: LayerInfo, extents: tuple[int, ...], absent: int) -> tuple[int, ...]:
    found = dict(zip(info.axes, extents, strict=True))
    return tuple(found.get(axis, absent) for axis in "xyz")


def _resolution(info: LayerInfo, level: int) -> tuple[float, ...]:
    """Return the voxel size in nm; an unknown unit counts as nm, an absent z is a pixel thick."""
    units = dict(zip(info.axes, info.units, strict=True))
    sizes = {
        axis: _nanometers(size, units[axis])
        for axis, size in zip(info.axes, info.levels[level].scale, strict=True)
        if axis in "xyz"
    }
    absent = sizes["x"] if level == 0 else _resolution(info, 0)[2]
    return sizes["x"], sizes["y"], sizes.get("z", absent)


def _nanometers(size: float, unit: str | None) -> float:
    found = converted(size, unit, "nanometer")
    return float(size) if found is None else found


def _offset(info: LayerInfo, level: int) -> tuple[int, ...]:
    """Return where a level begins: at 0, or where whole voxels of every level say so.

    The first voxels of all levels share a corner, so that of level 0 decides.
    """
    origin = info.levels[0].translation
    if not any(origin):
        return 0, 0, 0
    begins = [
        [start / size for start, size in zip(origin, each.scale, strict=True)]
        for each in info.levels
    ]
    spatial = [i for i, axis in enumerate(info.axes) if axis in "xyz"]
    if not all(_is_whole(each[i]) for each in begins for i in spatial):
        return 0, 0, 0
    return _xyz(
        info,
        tuple(round(begins[level][i]) if i in spatial else 0 for i in range(len(info.axes))),
        0,
    )


def _is_whole(number: float) -> bool:
    return abs(number) < 1 << 53 and abs(number - round(number)) <= 1e-6


def _on_grid(scale: Scale, edges: tuple[int, ...]) -> bool:
    for axis in range(3):
        low, high = (edge - scale.offset[axis] for edge in edges[2 * axis : 2 * axis + 2])
        end = min(low + scale.chunk[axis], scale.size[axis])
        if not 0 <= low < high or low % scale.chunk[axis] or high != end:
            return False
    return True


def _text(numbers: tuple[int, ...]) -> str:
    return ",".join(map(str, numbers))
