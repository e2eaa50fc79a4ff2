"""The plan: what is read, what is written, in which order. Pure arithmetic, nothing is opened.

Level 0 is read in *batches* of whole shards that follow the source's own blocks. A shard of a
coarser level is written as soon as the last batch that it covers has been binned into it, so
batches come in an order that leaves few such shards open: along a tree, coarsest shard first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np

from microtome_core.grid import Grid
from microtome_core.levels import Level, pyramid
from microtome_core.region import Region
from microtome_core.store.array import ArraySpec, Codec
from microtome_ingest.layout import Layout
from microtome_ingest.options import VolumeSpec

Method = Literal["mean", "mode"]


@dataclass(frozen=True, slots=True)
class Policy:
    """What the user may choose of a plan.

    Parameters
    ----------
    method : str
        How voxels are binned: ``mean`` for images, ``mode`` for labels.
    codec : Codec
    levels : int, optional
        How many instead of as many as it takes.
    batch_bytes : int
        Largest read of the source at once; one shard is read whole whatever its size.
    """

    method: Method = "mean"
    codec: Codec = Codec()
    levels: int | None = None
    batch_bytes: int = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that an ingest will do.

    Parameters
    ----------
    spec : VolumeSpec
    method : str
        ``mean`` or ``mode``.
    levels : tuple of Level
        Finest first.
    arrays : tuple of ArraySpec
        One a level.
    batch : tuple of int
        Extents of one read of level 0: a multiple of its shard.
    """

    spec: VolumeSpec
    method: Method
    levels: tuple[Level, ...]
    arrays: tuple[ArraySpec, ...]
    batch: tuple[int, ...]

    @property
    def axes(self) -> str:
        """One letter an axis, in array order."""
        return self.spec.axes

    def shards(self, level: int) -> Grid:
        """Return the shards of a level: its write units."""
        array = self.arrays[level]
        return Grid(array.axes, array.shape, array.shard)

    def bins(self, level: int) -> tuple[int, ...]:
        """Return by how much level - 1 is binned into `level`, along each axis."""
        finer, coarser = self.levels[level - 1].factors, self.levels[level].factors
        return tuple(b // a for a, b in zip(finer, coarser, strict=True))

    def batches(self) -> Iterator[Region]:
        """Yield the regions of level 0 to read; each voxel is in exactly one of them."""
        grid = Grid(self.axes, self.spec.shape, self.batch)
        order = sorted(np.ndindex(grid.counts), key=self._tree_key)
        return map(grid.region, order)

    @property
    def nbytes(self) -> int:
        """Bytes of all levels, uncompressed."""
        return sum(prod(a.shape) * np.dtype(a.dtype).itemsize for a in self.arrays)

    def _tree_key(self, batch: tuple[int, ...]) -> tuple[int, ...]:
        """Return where a batch starts, in shards of each level, coarsest level first."""
        start = [i * width for i, width in zip(batch, self.batch, strict=True)]
        key: list[int] = []
        for level, array in zip(self.levels[::-1], self.arrays[::-1], strict=True):
            cells = zip(start, level.factors, array.shard, strict=True)
            key += [low // (factor * width) for low, factor, width in cells]
        return tuple(key)


def make_plan(spec: VolumeSpec, layout: Layout, policy: Policy) -> Plan:
    """Plan the whole pyramid of a volume."""
    levels = pyramid(spec.axes, spec.shape, spec.scale, layout.chunk, policy.levels)
    arrays = tuple(_array(spec, layout, level, policy.codec) for level in levels)
    itemsize = np.dtype(spec.dtype).itemsize
    batch = _batch(spec, arrays[0].shard, policy.batch_bytes // itemsize)
    return Plan(spec, policy.method, levels, arrays, batch)


def binned_region(region: Region, bins: tuple[int, ...]) -> Region:
    """Return where a region lands one level up; `region` starts at multiples of `bins`."""
    start = tuple(low // n for low, n in zip(region.start, bins, strict=True))
    stop = tuple(-(-high // n) for high, n in zip(region.stop, bins, strict=True))
    return Region(region.axes, start, stop)


def total_shards(plan: Plan) -> int:
    """Return the number of write units of all levels."""
    return sum(plan.shards(level).size for level in range(len(plan.levels)))


def _array(spec: VolumeSpec, layout: Layout, level: Level, codec: Codec) -> ArraySpec:
    """Return a level's array: the layout of level 0, no larger than the level needs."""
    chunk = tuple(map(min, layout.chunk, level.shape))
    needed = (-(-extent // edge) * edge for extent, edge in zip(level.shape, chunk, strict=True))
    given = (
        shard // c0 * c for shard, c0, c in zip(layout.shard, layout.chunk, chunk, strict=True)
    )
    return ArraySpec(
        spec.axes, level.shape, chunk, tuple(map(min, given, needed)), spec.dtype, codec
    )


def _batch(spec: VolumeSpec, shard: tuple[int, ...], most: int) -> tuple[int, ...]:
    """Grow a shard, last axis first, over the blocks that the source decodes at once."""
    batch = list(shard)
    for axis in reversed(range(len(batch))):
        wanted = -(-min(spec.block[axis], spec.shape[axis]) // shard[axis]) * shard[axis]
        room = most // max(1, prod(batch) // batch[axis])
        batch[axis] = max(shard[axis], min(wanted, room // shard[axis] * shard[axis]))
    return tuple(batch)
