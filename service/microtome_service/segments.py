"""Labels by their ids: which lie in a region, and how far one reaches; part by part in memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import InputError, NotFound, TooLarge
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


@dataclass(frozen=True, slots=True)
class Reach:
    """How far the voxels of an id reach.

    Parameters
    ----------
    region : Region
        The smallest box that holds them.
    voxels : int
        How many there are.
    """

    region: Region
    voxels: int


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
    found: Region | None = None
    voxels = 0
    for part in _parts(layer.info, level, region):
        block = await read(layer, level, part, service.limits.seconds)
        here = await service.compute(_reach, block, part, wanted)
        if here is not None:
            found = here.region if found is None else found | here.region
            voxels += here.voxels
    if found is None:
        raise NotFound(f"no id {wanted} in {region} of layer {layer.info.id}, level {level}")
    return Reach(found, voxels)


def union(found: NDArray[Any], block: NDArray[Any]) -> NDArray[Any]:
    """Return the ids of both, sorted, in the type of `found`."""
    # Ids come in runs: to sort where these begin takes a fraction of sorting all voxels.
    flat = block.reshape(-1)
    ids = np.unique(flat[1:][flat[1:] != flat[:-1]])
    return np.union1d(found, np.append(ids, flat[0]).astype(found.dtype))


def _parts(info: LayerInfo, level: int, region: Region) -> Iterator[Region]:
    """Yield parts that end where chunks do."""
    chunk = find_level(info, level).chunk
    step = [-(-_PART[axis] // n) * n for axis, n in zip(info.axes, chunk, strict=True)]
    return region.split(step)


def _reach(block: NDArray[Any], part: Region, wanted: int) -> Reach | None:
    limits = np.iinfo(block.dtype)
    if not limits.min <= wanted <= limits.max:
        return None
    mask = block == block.dtype.type(wanted)
    voxels = int(np.count_nonzero(mask))
    if not voxels:
        return None
    start, stop = [], []
    for axis, origin in enumerate(part.start):
        others = tuple(i for i in range(mask.ndim) if i != axis)
        hits = np.flatnonzero(mask.any(axis=others))
        start.append(int(hits[0]) + origin)
        stop.append(int(hits[-1]) + 1 + origin)
    return Reach(Region(part.axes, tuple(start), tuple(stop)), voxels)
