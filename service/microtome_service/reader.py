"""Reading voxels: what a request costs is known before anything is read."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import NotFound, TooLarge
from microtome_core.grid import Grid
from microtome_core.region import Region
from microtome_core.store.layer import Layer
from microtome_core.store.ledger import shard_key
from microtome_core.wire import LayerInfo, LevelInfo
from microtome_service.errors import Unreadable

# How TensorStore's messages end the name of the shard that could not be read.
_SHARD = re.compile(r'/c((?:/[0-9]{1,18})+)"')


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one request may cost.

    Parameters
    ----------
    voxels : int
        Bytes of the voxels asked for.
    decoded : int
        Bytes of all chunks that hold one of them.
    chunks : int
        Number of those chunks.
    seconds : float
        Time that storage may take.
    """

    voxels: int
    decoded: int
    chunks: int
    seconds: float


def find_level(info: LayerInfo, level: int) -> LevelInfo:
    """Return the description of a level.

    Raises
    ------
    NotFound
        No such level; the message names those that are there.
    """
    if not 0 <= level < len(info.levels):
        raise NotFound(
            f"layer {info.id} has no level {level}: valid is 0 to {len(info.levels) - 1}"
        )
    return info.levels[level]


def voxel_bytes(info: LayerInfo, region: Region) -> int:
    """Return the bytes of a region's voxels, in exact integers however large."""
    return region.size * np.dtype(info.dtype).itemsize


def decoded_bytes(info: LayerInfo, level: int, region: Region) -> int:
    """Return the bytes of every chunk that `region` touches."""
    described = find_level(info, level)
    touched = Grid(info.axes, described.shape, described.chunk).count_touched(region)
    return touched * prod(described.chunk) * np.dtype(info.dtype).itemsize


def check_cost(info: LayerInfo, level: int, regions: Sequence[Region], limits: Limits) -> None:
    """Refuse a request whose regions together cost too much, from metadata alone.

    Raises
    ------
    TooLarge
        With what was asked for, what is allowed, and what to do.
    """
    described, itemsize = find_level(info, level), np.dtype(info.dtype).itemsize
    grid = Grid(info.axes, described.shape, described.chunk)
    chunks = sum(map(grid.count_touched, regions))
    costs = (
        (sum(r.size for r in regions) * itemsize, limits.voxels, "bytes of voxels"),
        (chunks * prod(described.chunk) * itemsize, limits.decoded, "bytes of chunks to decode"),
        (chunks, limits.chunks, "chunks to read"),
    )
    for cost, limit, unit in costs:
        if cost > limit:
            more = f" and {len(regions) - 1} more" if len(regions) > 1 else ""
            raise TooLarge(
                f"{regions[0]}{more} of level {level} is {cost} {unit}, the limit is {limit}: "
                "ask for smaller parts, or for a coarser level"
            )


async def read(layer: Layer, level: int, region: Region, seconds: float) -> NDArray[Any]:
    """Return the voxels of a region that `check_cost` has let pass, in its shape and C order.

    A chunk that was left out on purpose reads as 0; one that is lost or cannot be read does not.

    Raises
    ------
    Unreadable
        Storage failed, took longer than `seconds`, or holds damaged data; names the shard.
    """
    try:
        async with asyncio.timeout(seconds):
            return await layer.voxels[level].read(region)
    except (ValueError, OSError, RuntimeError) as error:
        where = _shard(layer.voxels[level].shards, level, region, str(error))
        raise Unreadable(
            f"layer {layer.info.id}, level {level}, region {region}{where}: "
            "storage failed or holds damaged data"
        ) from error


def _shard(shards: Grid, level: int, region: Region, message: str) -> str:
    """Return the key of the shard at fault, of all that the storage engine says of it."""
    found = _SHARD.search(message)
    index = tuple(map(int, found[1].split("/")[1:])) if found else ()
    known = len(index) == len(shards.counts) and all(
        i < count for i, count in zip(index, shards.counts, strict=True)
    )
    if not known and shards.count_touched(region) == 1:
        index, known = next(shards.touched(region)), True
    return f", shard {shard_key(level, index)}" if known else ""
