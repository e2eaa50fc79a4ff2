"""The plan: what is read, what is written, in which order. Pure arithmetic, nothing is opened.

Level 0 is read in *batches* of whole shards that follow the source's own blocks.
"""

from dataclasses import dataclass
from math import prod

import numpy as np

from microtome_core.grid import Grid
from microtome_core.layout import Layout
from microtome_core.levels import Level, pyramid
from microtome_core.store.array import ArraySpec, Codec, level_array
from microtome_core.store.binning import Method
from microtome_ingest.options import VolumeSpec


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
        Extents of one read of level 0: its shard, doubled some times along each axis, or as long
        as the axis. Only so do batches fit into the shards of coarser levels.
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

    @property
    def grids(self) -> list[Grid]:
        """The shards of every level."""
        return [self.shards(level) for level in range(len(self.levels))]

    def bins(self, level: int) -> tuple[int, ...]:
        """Return by how much level - 1 is binned into `level`, along each axis."""
        finer, coarser = self.levels[level - 1].factors, self.levels[level].factors
        return tuple(b // a for a, b in zip(finer, coarser, strict=True))

    @property
    def nbytes(self) -> int:
        """Bytes of all levels, uncompressed."""
        return sum(prod(a.shape) * np.dtype(a.dtype).itemsize for a in self.arrays)


def make_plan(spec: VolumeSpec, layout: Layout, policy: Policy) -> Plan:
    """Plan the whole pyramid of a volume."""
    levels = pyramid(spec.axes, spec.shape, spec.scale, layout.chunk, policy.levels)
    arrays = tuple(
        level_array(spec.axes, spec.dtype, layout, level, policy.codec) for level in levels
    )
    itemsize = np.dtype(spec.dtype).itemsize
    batch = _batch(spec, arrays[0].shard, policy.batch_bytes // itemsize)
    return Plan(spec, policy.method, levels, arrays, batch)


def total_shards(plan: Plan) -> int:
    """Return the number of write units of all levels."""
    return sum(plan.shards(level).size for level in range(len(plan.levels)))


def _batch(spec: VolumeSpec, shard: tuple[int, ...], most: int) -> tuple[int, ...]:
    """Grow a shard, last axis first, over the blocks that the source decodes at once."""
    batch = list(shard)
    for axis in reversed(range(len(batch))):
        room = most // (prod(batch) // batch[axis])
        whole = -(-spec.shape[axis] // shard[axis]) * shard[axis]
        while batch[axis] < min(spec.block[axis], whole):
            wider = min(2 * batch[axis], whole)
            if wider > room:
                break
            batch[axis] = wider
    return tuple(batch)
