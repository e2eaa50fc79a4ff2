"""Objects by their ids: which lie in a region, and how far one reaches."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import InputError, NotFound, TooLarge
from microtome_service.bossdb.channels import Channel
from microtome_service.bossdb.documents import CUBOID
from microtome_service.bossdb.voxels import AXES, Box, box_extents, read_parts
from microtome_service.segments import MOST_IDS, union
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
    found: Bounds = {}
    async for part, block in read_parts(service, box):
        here = await service.compute(_bounds, block, wanted)
        for axis, origin in zip(AXES, part.region.start, strict=True):
            if axis in here:
                low, high = here[axis]
                old = found.get(axis, (low + origin, high + origin))
                found[axis] = (min(old[0], low + origin), max(old[1], high + origin))
    if not found:
        raise NotFound(
            f"no object {wanted} in channel {box.channel.name}, resolution {box.resolution.number}"
        )
    return found if tight else _whole_cuboids(found, box_extents(box.channel, box.resolution))


def _bounds(block: NDArray[Any], wanted: int) -> Bounds:
    if wanted > np.iinfo(block.dtype).max:
        return {}
    mask = block == block.dtype.type(wanted)
    if not mask.any():
        return {}
    found: Bounds = {}
    for place, axis in enumerate(AXES):
        others = tuple(i for i in range(mask.ndim) if i != place)
        hits = np.flatnonzero(mask.any(axis=others))
        found[axis] = (int(hits[0]), int(hits[-1]) + 1)
    return found


def _whole_cuboids(bounds: Bounds, extents: dict[str, int]) -> Bounds:
    found = dict(bounds)
    for axis, size in _CUBOID.items():
        low, high = bounds[axis]
        found[axis] = (low // size * size, min(-(-high // size) * size, extents[axis]))
    return found
