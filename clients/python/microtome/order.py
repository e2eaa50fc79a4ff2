"""Cuts that are read one after another: each follows the one before in C order."""

from collections.abc import Iterator, Sequence
from math import prod

from microtome.indexing import Cut


def in_order(cut: Cut, chunk: Sequence[int], itemsize: int, most: int) -> Iterator[Cut]:
    """Yield parts of a cut whose voxels, one part after another, are those of the whole in C order.

    Parts end where chunks do, so that few chunks are decoded twice.

    Parameters
    ----------
    cut : Cut
        Without steps.
    chunk : sequence of int
        Extents of a chunk.
    itemsize : int
        Bytes of a voxel.
    most : int
        Bytes of a part, unless a single voxel has more.

    Examples
    --------
    >>> whole = Cut((range(10), range(4), range(4)), (False,) * 3)
    >>> [part.ranges[0] for part in in_order(whole, (4, 4, 4), 1, 64)]
    [range(0, 4), range(4, 8), range(8, 10)]
    """
    shape = cut.full_shape
    axis = next(
        (i for i in range(len(shape)) if prod(shape[i + 1 :]) * itemsize <= most), len(shape) - 1
    )
    count = max(1, most // (prod(shape[axis + 1 :]) * itemsize))
    yield from _along(cut, 0, axis, chunk[axis], count)


def _along(cut: Cut, first: int, axis: int, chunk: int, count: int) -> Iterator[Cut]:
    positions = cut.ranges[first]
    at = 0
    while at < len(positions):
        step = 1 if first < axis else _to_edge(positions[at], chunk, count)
        part = _narrow(cut, first, positions[at : at + step])
        if first < axis:
            yield from _along(part, first + 1, axis, chunk, count)
        else:
            yield part
        at += step


def _to_edge(position: int, chunk: int, count: int) -> int:
    """Return how many positions to take: up to an edge of chunks, where one is within reach."""
    last = (position + count) // chunk * chunk
    return last - position if last > position else count


def _narrow(cut: Cut, axis: int, positions: range) -> Cut:
    ranges = (*cut.ranges[:axis], positions, *cut.ranges[axis + 1 :])
    return Cut(ranges, cut.dropped, cut.scalar)
