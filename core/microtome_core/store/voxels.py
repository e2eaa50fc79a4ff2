"""Reading one level: a shard that is empty on purpose is zeros, one that is lost is an error."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

from microtome_core.grid import Grid
from microtome_core.region import Region
from microtome_core.store.location import storage_errors

# The generation of each shard that a region touches; of one that is empty, no bytes.
State = Mapping[tuple[int, ...], bytes]


@dataclass(frozen=True, slots=True)
class Voxels:
    """One level's voxels.

    Parameters
    ----------
    array : TensorStore
        Opened so that a chunk which is missing is an error, where all were stored.
    shards : Grid
    empty : array of bool, optional
        Which shards were not stored because all their voxels are 0, in the shape of the grid; None
        where every shard was stored.
    """

    array: ts.TensorStore
    shards: Grid
    empty: NDArray[np.bool_] | None = None

    async def read(self, region: Region) -> NDArray[Any]:
        """Return a region, C-contiguous.

        Raises
        ------
        ValueError, OSError, RuntimeError
            Storage failed, holds damaged data, or has lost a shard. Never zeros instead.
        """
        if not self._touches_empty(region):
            # TensorStore's own allocation: twice as fast as reading into a buffer handed over.
            return np.asarray(await self.array[region.slices].read())
        block = np.zeros(region.shape, self.array.dtype.numpy_dtype)
        parts = [(p, self.array[p.slices].read()) for _, p in self.stored(region)]
        for part, future in parts:
            block[part.relative_to(region.start).slices] = await future
        return block

    def load(self, region: Region) -> NDArray[Any]:
        """Return a region like `read`, without an event loop.

        Raises
        ------
        StorageError
            As `read`.
        """
        with storage_errors(f"reading back {region}"):
            if not self._touches_empty(region):
                return np.asarray(self.array[region.slices].read().result())
            block = np.zeros(region.shape, self.array.dtype.numpy_dtype)
            for _, part in self.stored(region):
                voxels = self.array[part.slices].read().result()
                block[part.relative_to(region.start).slices] = voxels
            return block

    async def state(self, _: Region) -> State | None:
        """Return what changes whenever voxels of a region may have; None where none ever do."""
        return None

    async def is_empty(self, index: tuple[int, ...]) -> bool:
        """Tell whether a shard was left out on purpose; raises as `read`."""
        return self.empty is not None and bool(self.empty[index])

    def _touches_empty(self, region: Region) -> bool:
        if self.empty is None:
            return False
        bounds = zip(region.start, region.stop, self.shards.cell, strict=True)
        touched = tuple(slice(low // n, -(-high // n)) for low, high, n in bounds)
        return bool(self.empty[touched].any())

    def stored(self, region: Region) -> Iterator[tuple[tuple[int, ...], Region]]:
        """Yield the shards of a region that are stored, and the part of it that lies in each."""
        for index in self.shards.touched(region):
            part = self.shards.region(index) & region
            if part is not None and (self.empty is None or not self.empty[index]):
                yield index, part
