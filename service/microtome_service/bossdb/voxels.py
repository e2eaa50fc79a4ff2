"""Reading a channel at a resolution: as it is stored, or binned along x and y, block by block."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

from microtome_core.errors import TooLarge
from microtome_core.region import Region
from microtome_service.bossdb.channels import Channel
from microtome_service.bossdb.levels import Resolution, find_resolution
from microtome_service.reader import Limits, check_cost, cost_of, read
from microtome_service.state import Service

AXES = "tzyx"
# Voxels of a level that are in memory at one time, where not all of them are the answer.
_BLOCK_EXTENTS = {"t": 1, "z": 64, "y": 512, "x": 512}
# Parts at the edges are smaller: the largest is among the first.
_PARTS_LOOKED_AT = 64


@dataclass(frozen=True, slots=True)
class Box:
    """What a request covers.

    Parameters
    ----------
    channel : Channel
    resolution : Resolution
    region : Region
        Of axes t, z, y, x, in voxels of the resolution, within the channel.
    """

    channel: Channel
    resolution: Resolution
    region: Region

    @classmethod
    def of(cls, channel: Channel, number: int, ranges: Mapping[str, tuple[int, int]]) -> "Box":
        """Return the box of a range for each axis that is named; all of the others."""
        resolution = find_resolution(channel.info, number)
        extents = box_extents(channel, resolution)
        full = {axis: ranges.get(axis, (0, extents[axis])) for axis in AXES}
        bounds = [full[axis] for axis in AXES]
        region = Region(AXES, tuple(a for a, _ in bounds), tuple(b for _, b in bounds))
        return cls(channel, resolution, region)

    @property
    def nbytes(self) -> int:
        """Bytes of its voxels as they go out."""
        return self.region.size * np.dtype(self.channel.datatype).itemsize

    @property
    def source(self) -> Region:
        """What is read of the level that serves it."""
        info, factor = self.channel.info, self.resolution.factor
        shape = dict(zip(info.axes, info.levels[self.resolution.level].shape, strict=True))
        ranges = dict(zip(AXES, zip(self.region.start, self.region.stop, strict=True), strict=True))
        ranges["c"] = (self.channel.index, self.channel.index + 1)
        for axis in "yx":
            low, high = ranges[axis]
            ranges[axis] = (low * factor, min(high * factor, shape[axis]))
        bounds = [ranges[axis] for axis in info.axes]
        return Region(info.axes, tuple(a for a, _ in bounds), tuple(b for _, b in bounds))

    def split(self) -> list["Box"]:
        """Return parts that may be read one after another; each voxel is in exactly one."""
        info = self.channel.info
        level = info.levels[self.resolution.level]
        chunk = dict(zip(info.axes, level.chunk, strict=True))
        step = {axis: max(n, chunk.get(axis, 1)) for axis, n in _BLOCK_EXTENTS.items()}
        for axis in "yx":
            step[axis] = max(step[axis] // self.resolution.factor, 1)
        return [replace(self, region=part) for part in self.region.split([step[a] for a in AXES])]


def box_extents(channel: Channel, resolution: Resolution) -> dict[str, int]:
    """Return the voxels of a channel at a resolution along t, z, y and x."""
    extents = dict(zip(channel.info.axes, channel.info.shape, strict=True))
    return {"t": extents.get("t", 1), **resolution.extents}


def check_box(box: Box, limits: Limits) -> None:
    """Refuse, from metadata alone, what costs too much.

    Raises
    ------
    TooLarge
        The answer, or the chunks that must be decoded for it.
    """
    whole = Limits(limits.decoded, limits.decoded, limits.chunks, limits.seconds)
    check_cost(box.channel.info, box.resolution.level, [box.source], whole)


def check_answer(box: Box, limits: Limits) -> None:
    """Refuse an answer of more voxels than are given at once, or what it costs to make it.

    Raises
    ------
    TooLarge
    """
    check_box(box, limits)
    if box.nbytes > limits.voxels:
        raise TooLarge(
            f"{box.region} of resolution {box.resolution.number} is {box.nbytes} bytes of "
            f"voxels, the limit is {limits.voxels}: ask for smaller parts"
        )


async def read_box(service: Service, box: Box) -> NDArray[Any]:
    """Return the voxels of a box that `check_box` let pass: t z y x, in the channel's type.

    Raises
    ------
    Unreadable
        Storage failed.
    TypeMismatch
        A negative id.
    """
    if box.resolution.factor == 1:
        return box.channel.cast(await _read(service, box))
    result = np.empty(box.region.shape, box.channel.datatype)
    async for part, block in read_parts(service, box):
        result[part.region.relative_to(box.region.start).slices] = block
    return result


async def read_parts(service: Service, box: Box) -> AsyncIterator[tuple[Box, NDArray[Any]]]:
    """Yield a box part by part, so that only one of them is in memory."""
    for part in box.split():
        block = await _read(service, part)
        if box.resolution.factor > 1:
            block = await service.compute(_binned, block, part)
        yield part, box.channel.cast(block)


def memory_of(box: Box, answers: int = 0) -> int:
    """Return the bytes that are held while a box is read, part by part where it is binned.

    Parameters
    ----------
    answers : int
        How many times its own voxels stand in memory beside that.
    """
    info, level = box.channel.info, box.resolution.level
    parts = [box] if box.resolution.factor == 1 and answers else box.split()[:_PARTS_LOOKED_AT]
    largest = max(cost_of(info, level, [part.source]).held for part in parts)
    return largest + answers * box.nbytes


async def _read(service: Service, box: Box) -> NDArray[Any]:
    source, layer = box.source, box.channel.layer
    block = await read(layer, box.resolution.level, source, service.limits.seconds)
    extents = dict(zip(source.axes, source.shape, strict=True))
    return block.reshape([extents.get(axis, 1) for axis in AXES])


def _binned(block: NDArray[Any], part: Box) -> NDArray[Any]:
    """Bin x and y: ids by the most frequent, images by the mean, as the pyramid is made."""
    method: Literal["mode", "mean"] = "mode" if part.channel.kind == "annotation" else "mean"
    factors = [1, 1, part.resolution.factor, part.resolution.factor]
    found = ts.downsample(ts.array(block), factors, method=method).read().result()
    return np.asarray(found).reshape(part.region.shape)
