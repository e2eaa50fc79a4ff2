"""Objects by their ids: which lie in a region, and how far one reaches."""

import numpy as np

from microtome_core.errors import InputError, NotFound, TooLarge
from microtome_core.ids import Reach, reach, union
from microtome_service.bossdb.channels import Channel
from microtome_service.bossdb.documents import CUBOID
from microtome_service.bossdb.voxels import AXES, Box, box_extents, read_parts
from microtome_service.segments import MOST_IDS
from microtome_service.state import Service

Bounds = dict[str, tuple[int, int]]
_CUBOID = dict(zip("xyz", CUBOID, strict=True))


def check_annotation(channel: Channel) -> None:
    """Raise InputError unless the voxels of a channel are ids."""
    if channel.kind != "annotation":
        raise InputError(f"channel {channel.name} is of type image: its voxels are no ids")


async def ids_in(service: Service, box: Box) -> list[int]:
    """Return every id but 0 in a box, sorted, with one part of it in memory at a time.

    Raises
    ------
    TooLarge
        More ids than are told at once.
    """
    found = np.zeros(0, np.uint64)
    async for _, block in read_parts(service, box):
        found = await service.compute(union, found, block)
        if len(found) > MOST_IDS + 1:
            raise TooLarge(f"more than {MOST_IDS} ids: ask for a smaller region")
    return [i for i in found.tolist() if i]


async def largest_in(service: Service, box: Box) -> int:
    """Return the largest id in a box; 0 where there is none."""
    largest = 0
    async for _, block in read_parts(service, box):
        largest = max(largest, int(await service.compute(np.max, block)))
    return largest


async def bounds_of(service: Service, box: Box, wanted: int, *, tight: bool) -> Bounds:
    """Return how far an object reaches within a box, by axis.

    Every voxel is looked at, one part in memory at a time: coarser levels may have lost what is
    thin, and so prove nothing.

    Parameters
    ----------
    tight : bool
        The smallest box; otherwise that of whole cuboids, clipped to the channel.

    Raises
    ------
    NotFound
        No voxel of that id.
    """
    found: Reach | None = None
    async for part, block in read_parts(service, box):
        here = await service.compute(reach, block, part.region, wanted)
        found = here if found is None else found | here
    if found is None:
        raise NotFound(
            f"no object {wanted} in channel {box.channel.name}, resolution {box.resolution.number}"
        )
    bounds = dict(zip(AXES, zip(found.region.start, found.region.stop, strict=True), strict=True))
    return bounds if tight else _whole_cuboids(bounds, box_extents(box.channel, box.resolution))


def _whole_cuboids(bounds: Bounds, extents: dict[str, int]) -> Bounds:
    found = dict(bounds)
    for axis, size in _CUBOID.items():
        low, high = bounds[axis]
        found[axis] = (low // size * size, min(-(-high // size) * size, extents[axis]))
    return found
