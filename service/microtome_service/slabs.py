"""Cutting a region into parts that are read one after another: pure arithmetic.

A **slab** is a part whose voxels follow one another in the answer, which is in C order: one index
on the slowest axes, a range on one axis, and the whole region on the faster ones. Slabs cover whole
rows of chunks along their axis where memory allows, so that each chunk is decoded once. Where not
even one row fits, a row is cut into equal slabs and its chunks are decoded once for each, unless
the cache still holds them; where not even one plane fits, so is the next axis.

A **brick** is a part that touches few enough chunks to decode at one time.
"""

from collections.abc import Iterator, Sequence
from math import prod

from microtome_core.grid import Grid
from microtome_core.region import Region


def slabs(
    region: Region, chunk: Sequence[int], itemsize: int, target: int, most: int
) -> Iterator[Region]:
    """Yield the slabs of a region, in the order of its voxels.

    Parameters
    ----------
    region : Region
    chunk : sequence of int
        Extents of a chunk.
    itemsize : int
        Bytes of a voxel.
    target : int
        Bytes of a slab, give or take a row of chunks.
    most : int
        Bytes that a slab may have for the sake of a whole row of chunks.

    Examples
    --------
    >>> box = Region.whole("zyx", (10, 4, 4))
    >>> [str(slab)[:6] for slab in slabs(box, (4, 4, 4), 1, 64, 64)]
    ['z=0:4,', 'z=4:8,', 'z=8:10']
    >>> [str(slab)[:6] for slab in slabs(box, (4, 4, 4), 1, 32, 32)]
    ['z=0:2,', 'z=2:4,', 'z=4:6,', 'z=6:8,', 'z=8:10']
    """
    axis, step = _cut(region.shape, chunk, itemsize, target, most)
    yield from _along(region, 0, axis, chunk[axis], step)


def _cut(
    shape: Sequence[int], chunk: Sequence[int], itemsize: int, target: int, most: int
) -> tuple[int, int]:
    """Return the axis along which slabs lie, and their extent: whole chunks, or a part of one."""
    for axis, extent in enumerate(shape):
        plane = prod(shape[axis + 1 :]) * itemsize
        row = min(chunk[axis], extent) * plane
        if row <= most:
            return axis, chunk[axis] * max(1, target // row)
        if plane <= most:
            pieces = -(-chunk[axis] // (most // plane))
            return axis, -(-chunk[axis] // pieces)
    return len(shape) - 1, 1


def _along(region: Region, first: int, axis: int, chunk: int, step: int) -> Iterator[Region]:
    low, high = region.start[first], region.stop[first]
    if first < axis:
        for index in range(low, high):
            yield from _along(
                _narrow(region, first, index, index + 1), first + 1, axis, chunk, step
            )
        return
    while low < high:
        # Steps begin anew with every row of chunks, lest one slab touch two rows for nothing.
        edge = low - low % step + step if step >= chunk else _edge(low, chunk, step)
        yield _narrow(region, axis, low, min(edge, high))
        low = edge


def _edge(low: int, chunk: int, step: int) -> int:
    begin, within = low - low % chunk, low % chunk
    return begin + min(chunk, within - within % step + step)


def _narrow(region: Region, axis: int, low: int, high: int) -> Region:
    start, stop = list(region.start), list(region.stop)
    start[axis], stop[axis] = low, high
    return Region(region.axes, tuple(start), tuple(stop))


def bricks(region: Region, grid: Grid, itemsize: int, most: int) -> Iterator[Region]:
    """Yield parts of a region, each of which touches chunks of `most` bytes, or a single chunk.

    Examples
    --------
    >>> grid = Grid("yx", (8, 8), (4, 4))
    >>> [str(part) for part in bricks(Region("yx", (0, 3), (8, 5)), grid, 1, 32)]
    ['y=0:4,x=3:5', 'y=4:8,x=3:5']
    """
    room = max(1, most // (prod(grid.cell) * itemsize))
    steps = []
    for cells in reversed(grid.slices(region)):
        count = min(cells.stop - cells.start, room)
        room //= count
        steps.append(count)
    # Multiples of the step count from 0: where a region begins in between, its parts are fewer
    # chunks, never more.
    yield from region.split([n * c for n, c in zip(reversed(steps), grid.cell, strict=True)])


def largest(region: Region, chunk: Sequence[int], itemsize: int, target: int, most: int) -> Region:
    """Return a region no smaller than any slab, for what slabs cost."""
    axis, step = _cut(region.shape, chunk, itemsize, target, most)
    shape = [1] * axis + [min(step, region.shape[axis])] + list(region.shape[axis + 1 :])
    # From the same start, so that as many chunks are touched on the faster axes.
    stop = tuple(low + n for low, n in zip(region.start, shape, strict=True))
    return Region(region.axes, region.start, stop)
