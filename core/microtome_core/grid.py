"""A regular grid of cells over an array: its chunks, or its shards."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from microtome_core.region import Region


@dataclass(frozen=True, slots=True)
class Grid:
    """Cells of one shape laid over an array from its origin; the last ones may stick out.

    Parameters
    ----------
    axes : str
        One letter an axis, in array order.
    shape : tuple of int
        The array's extents in voxels.
    cell : tuple of int
        A cell's extents in voxels.

    Examples
    --------
    >>> grid = Grid("yx", (100, 100), (64, 64))
    >>> grid.counts, str(grid.region((1, 0)))
    ((2, 2), 'y=64:100,x=0:64')
    """

    axes: str
    shape: tuple[int, ...]
    cell: tuple[int, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """Cells along each axis."""
        return tuple(
            -(-extent // width) for extent, width in zip(self.shape, self.cell, strict=True)
        )

    @property
    def size(self) -> int:
        """Cells in all."""
        return prod(self.counts)

    def region(self, index: tuple[int, ...]) -> Region:
        """Return the voxels of one cell, clipped to the array."""
        start = tuple(i * width for i, width in zip(index, self.cell, strict=True))
        ends = (low + width for low, width in zip(start, self.cell, strict=True))
        return Region(self.axes, start, tuple(map(min, ends, self.shape)))

    def touched(self, region: Region) -> Iterator[tuple[int, ...]]:
        """Yield the index of every cell that `region` touches, in C order."""
        return itertools.product(*self._ranges(region))

    def count_touched(self, region: Region) -> int:
        """Return how many cells `region` touches, without listing them."""
        count = 1
        for low, high, width in zip(region.start, region.stop, self.cell, strict=True):
            count *= -(-high // width) - low // width
        return count

    def slices(self, region: Region) -> tuple[slice, ...]:
        """Return the cells that `region` touches as slices of an array of one element a cell."""
        return tuple(slice(cells.start, cells.stop) for cells in self._ranges(region))

    def _ranges(self, region: Region) -> list[range]:
        bounds = zip(region.start, region.stop, self.cell, strict=True)
        return [range(low // width, -(-high // width)) for low, high, width in bounds]
