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
from microtome_service.exchange import observer, span
from microtome_service.slabs import bricks

# Chunks that one read decodes at one time: enough to keep every processor busy.
DECODED_AT_ONCE = 128 << 20
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
    slab : int
        Bytes of voxels that a streamed answer reads at one time.
    answer : int
        Bytes of voxels of a whole streamed answer; 0 is without end.
    """

    voxels: int
    decoded: int
    chunks: int
    seconds: float
    slab: int = 64 << 20
    answer: int = 0


@dataclass(frozen=True, slots=True)
class Cost:
    """What regions cost, from metadata alone.

    Parameters
    ----------
    voxels, decoded : int
        Bytes of the voxels, and of all chunks that hold one of them.
    chunks : int
        Number of those chunks.
    """

    voxels: int
    decoded: int
    chunks: int

    def __add__(self, other: "Cost") -> "Cost":
        decoded, chunks = self.decoded + other.decoded, self.chunks + other.chunks
        return Cost(self.voxels + other.voxels, decoded, chunks)

    @property
    def held(self) -> int:
        """Bytes in memory while this is read, and the voxels alone afterwards."""
        return self.voxels + min(self.decoded, DECODED_AT_ONCE)

    @property
    def headers(self) -> dict[str, str]:
        """What an answer says of its cost."""
        return {
            "X-Microtome-Cost-Bytes-Decoded": str(self.decoded),
            "X-Microtome-Cost-Chunks": str(self.chunks),
        }


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


def cost_of(info: LayerInfo, level: int, regions: Sequence[Region]) -> Cost:
    """Return what regions of a level cost together."""
    described, itemsize = find_level(info, level), np.dtype(info.dtype).itemsize
    grid = Grid(info.axes, described.shape, described.chunk)
    chunks = sum(map(grid.count_touched, regions))
    voxels = sum(r.size for r in regions) * itemsize
    return Cost(voxels, chunks * prod(described.chunk) * itemsize, chunks)


def check_cost(info: LayerInfo, level: int, regions: Sequence[Region], limits: Limits) -> Cost:
    """Refuse a request whose regions together cost too much, from metadata alone.

    Raises
    ------
    TooLarge
        With what was asked for, what is allowed, and what to do.
    """
    cost = cost_of(info, level, regions)
    refuse_beyond(cost, level, regions, limits)
    return cost


def refuse_beyond(cost: Cost, level: int, regions: Sequence[Region], limits: Limits) -> None:
    """Refuse regions of a known cost; raises as `check_cost`."""
    checked = (
        (cost.voxels, limits.voxels, "bytes of voxels"),
        (cost.decoded, limits.decoded, "bytes of chunks to decode"),
        (cost.chunks, limits.chunks, "chunks to read"),
    )
    for asked, limit, unit in checked:
        if asked > limit:
            more = f" and {len(regions) - 1} more" if len(regions) > 1 else ""
            raise TooLarge(
                f"{regions[0]}{more} of level {level} is {asked} {unit}, the limit is {limit}: "
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
        with span("read"):
            async with asyncio.timeout(seconds):
                return await _read(layer, level, region)
    except (ValueError, OSError, RuntimeError) as error:
        where = _shard(layer.voxels[level].shards, level, region, str(error))
        raise Unreadable(
            f"layer {layer.info.id}, level {level}, region {region}{where}: "
            "storage failed or holds damaged data"
        ) from error


async def _read(layer: Layer, level: int, region: Region) -> NDArray[Any]:
    """Read a region brick by brick, so that few of its chunks stand in memory beside it."""
    voxels, described = layer.voxels[level], layer.info.levels[level]
    decoded, watching = cost_of(layer.info, level, [region]).decoded, observer()
    if watching:
        watching.decoded(decoded)
    if decoded <= DECODED_AT_ONCE:
        return await voxels.read(region)
    grid = Grid(layer.info.axes, described.shape, described.chunk)
    dtype = voxels.array.dtype.numpy_dtype
    parts = bricks(region, grid, dtype.itemsize, DECODED_AT_ONCE)
    block = np.empty(region.shape, dtype)
    for part in parts:
        target = block[part.relative_to(region.start).slices]
        await asyncio.to_thread(np.copyto, target, await voxels.read(part))
    return block


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
