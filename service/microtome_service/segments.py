"""Labels by their ids: which lie in a region, and how far one reaches; part by part in memory."""

from collections.abc import Iterator
from itertools import islice

import numpy as np

from microtome_core.errors import InputError, NotFound, TooLarge
from microtome_core.ids import Reach, reach, union
from microtome_core.region import Region
from microtome_core.store.layer import Layer
from microtome_core.wire import LayerInfo
from microtome_service.reader import Limits, check_cost, cost_of, find_level, read
from microtome_service.state import Service

# What stands in memory of each, as a number, as a word and as JSON, is some hundred bytes.
MOST_IDS = 1 << 20
# Parts at the edges are smaller: the largest is among the first.
_PARTS_LOOKED_AT = 64
# Voxels that are in memory at one time, or one chunk where that is larger.
_PART = {"t": 1, "c": 1, "z": 64, "y": 512, "x": 512}


def check_labels(info: LayerInfo) -> None:
    """Raise InputError unless the voxels of a layer are ids."""
    if info.kind != "labels":
        raise InputError(f"layer {info.id} is an image: its voxels are no ids")


def check_scan(info: LayerInfo, level: int, region: Region, limits: Limits) -> int:
    """Refuse to look through too much, from metadata alone; return the bytes held meanwhile.

    Raises
    ------
    TooLarge
    """
    # Nothing of it is sent: what counts is what is decoded.
    whole = Limits(limits.decoded, limits.decoded, limits.chunks, limits.seconds)
    check_cost(info, level, [region], whole)
    # Of each chunk the voxels, and what they are compared to.
    parts = islice(_parts(info, level, region), _PARTS_LOOKED_AT)
    return 2 * max(cost_of(info, level, [part]).decoded for part in parts)


async def ids_in(service: Service, layer: Layer, level: int, region: Region) -> list[int]:
    """Return every id but 0 in a region, sorted.

    Raises
    ------
    TooLarge
        More ids than are told at once.
    Unreadable
        Storage failed.
    """
    found = np.zeros(0, layer.info.dtype)
    for part in _parts(layer.info, level, region):
        block = await read(layer, level, part, service.limits.seconds)
        found = await service.compute(union, found, block)
        if len(found) > MOST_IDS + 1:
            raise TooLarge(f"more than {MOST_IDS} ids: ask for a smaller region")
    return [i for i in found.tolist() if i]


async def reach_of(
    service: Service, layer: Layer, level: int, region: Region, wanted: int
) -> Reach:
    """Return how far an id reaches within a region.

    Every voxel is looked at: coarser levels may have lost what is thin, and so prove nothing.

    Raises
    ------
    NotFound
        No voxel of that id.
    Unreadable
        Storage failed.
    """
    found: Reach | None = None
    for part in _parts(layer.info, level, region):
        block = await read(layer, level, part, service.limits.seconds)
        here = await service.compute(reach, block, part, wanted)
        found = here if found is None else found | here
    if found is None:
        raise NotFound(f"no id {wanted} in {region} of layer {layer.info.id}, level {level}")
    return found


def _parts(info: LayerInfo, level: int, region: Region) -> Iterator[Region]:
    """Yield parts that end where chunks do."""
    chunk = find_level(info, level).chunk
    step = [-(-_PART[axis] // n) * n for axis, n in zip(info.axes, chunk, strict=True)]
    return region.split(step)
