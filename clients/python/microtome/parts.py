"""Which requests a cut is made of: pure arithmetic over regions, shards and bytes."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome.indexing import Cut
from microtome_core.region import Region
from microtome_core.wire import LevelInfo

SINGLE = 8 << 20
"""Bytes up to which a box is one request, however many shards it touches."""
LARGEST = 64 << 20
"""Bytes that no request exceeds, unless one voxel does."""
DECODED = 512 << 20
"""Bytes of whole chunks that no request has the service decode, unless one chunk is larger."""
# A chunk costs the service something however small it is.
_LEAST_CHUNK = 64 << 10
# What a request costs before its first byte, and what the service spends on decoding a byte,
# both in bytes sent: about 1 ms at 64 MB/s, and decoding some eight times as fast as a network.
REQUEST_COST = 64 << 10
DECODE_COST = 1 / 8


@dataclass(frozen=True, slots=True)
class Part:
    """One request, and where its voxels go.

    Parameters
    ----------
    region : Region
        What to ask for.
    take : tuple of slice or array
        Which voxels of the answer are wanted; all of them unless a step or a list skips some.
    target : tuple of slice
        Where they go in the block of ascending positions that the whole cut fills.
    """

    region: Region
    take: tuple[slice | NDArray[np.intp], ...]
    target: tuple[slice, ...]

    @property
    def strided(self) -> bool:
        """Whether some voxels of the answer are not wanted."""
        return any(not isinstance(taken, slice) or taken.step != 1 for taken in self.take)

    def pick(self, block: NDArray[Any]) -> NDArray[Any]:
        """Return the voxels of an answer that are wanted."""
        for axis, taken in enumerate(self.take):
            block = block[(slice(None),) * axis + (taken,)]
        return block


def plan(cut: Cut, axes: str, level: LevelInfo, itemsize: int) -> list[Part]:
    """Return requests that together give each voxel of `cut` exactly once.

    Parameters
    ----------
    cut : Cut
        What is asked of the volume; none if it is empty.
    axes : str
        One letter an axis, in array order.
    level : LevelInfo
        The shape, chunk and shard extents of the level that is read.
    itemsize : int
        Bytes of a voxel.
    """
    if not cut.size:
        return []
    ranges = cut.ascending
    apart = axes_apart(ranges, level.chunk, itemsize)
    pieces = [
        [positions[i : i + 1] for i in range(len(positions))] if i_axis in apart else [positions]
        for i_axis, positions in enumerate(ranges)
    ]
    boxes = itertools.product(*pieces)
    return [part for box in boxes for part in _parts(box, ranges, axes, level, itemsize)]


def axes_apart(ranges: Sequence[range], chunk: Sequence[int], itemsize: int) -> frozenset[int]:
    """Return the axes along which each position is better asked for by itself.

    Worth it where a large step would have most of the covering range sent for nothing; not where
    the positions share chunks, which the service would then decode again and again.

    >>> planes, rows = range(0, 1000, 50), range(512)
    >>> axes_apart((planes, rows, rows), (64, 64, 64), 2)
    frozenset({0})
    >>> axes_apart((range(0, 1000, 2), rows, rows), (64, 64, 64), 2)
    frozenset()
    """
    apart: frozenset[int] = frozenset()
    for axis, positions in enumerate(ranges):
        more = apart | {axis}
        if positions.step > 1 and _cost(ranges, chunk, itemsize, more) < _cost(
            ranges, chunk, itemsize, apart
        ):
            apart = more
    return apart


def _cost(
    ranges: Sequence[range], chunk: Sequence[int], itemsize: int, apart: frozenset[int]
) -> float:
    requests, sent, decoded = 1, itemsize, itemsize
    for axis, (positions, width) in enumerate(zip(ranges, chunk, strict=True)):
        if axis in apart:
            requests *= len(positions)
            sent *= len(positions)
            decoded *= len(positions) * width
        else:
            sent *= positions[-1] + 1 - positions[0]
            decoded *= (positions[-1] // width + 1 - positions[0] // width) * width
    return sent + DECODE_COST * decoded + REQUEST_COST * requests


def _parts(
    box: tuple[range, ...], ranges: tuple[range, ...], axes: str, level: LevelInfo, itemsize: int
) -> Iterator[Part]:
    cover = Region(axes, tuple(r[0] for r in box), tuple(r[-1] + 1 for r in box))
    for region in split(cover, level.chunk, level.shard, itemsize):
        bounds = zip(box, region.start, region.stop, strict=True)
        held = [within(positions, low, high) for positions, low, high in bounds]
        if all(held):
            yield _part(axes, held, ranges)


def within(positions: range, low: int, high: int) -> range:
    """Return those ascending positions that lie in ``low <= n < high``."""
    first = max(0, -(-(low - positions.start) // positions.step))
    last = max(first, -(-(high - positions.start) // positions.step))
    return positions[first:last]


def _part(axes: str, held: list[range], ranges: tuple[range, ...]) -> Part:
    return Part(
        region=Region(axes, tuple(r[0] for r in held), tuple(r[-1] + 1 for r in held)),
        take=tuple(slice(None, None, r.step if len(r) > 1 else 1) for r in held),
        target=tuple(
            slice(whole.index(r[0]), whole.index(r[-1]) + 1)
            for r, whole in zip(held, ranges, strict=True)
        ),
    )


def split(
    region: Region, chunk: Sequence[int], shard: Sequence[int], itemsize: int
) -> Iterator[Region]:
    """Cut a large region along shards, or along groups of small shards; a small one stays whole.

    >>> box = Region("zyx", (0, 0, 0), (512, 512, 512))
    >>> parts = list(split(box, (64,) * 3, (256,) * 3, 2))
    >>> len(parts), parts[0].shape
    (8, (256, 256, 256))
    """
    whole, once = region.shape, _decoded(region.shape, region.shape, chunk, itemsize)
    if _nbytes(whole, whole, itemsize) <= SINGLE and once <= DECODED:
        return iter((region,))
    return region.split(request_cell(whole, chunk, shard, itemsize))


def request_cell(
    extents: Sequence[int], chunk: Sequence[int], shard: Sequence[int], itemsize: int
) -> tuple[int, ...]:
    """Return the cell of one request: a shard, halved while too large, doubled while very small.

    Small shards are joined along the last axes first, so that an answer becomes one slab of the
    result, which is then received in place.

    >>> request_cell((4096, 4096, 4096), (64, 64, 64), (512, 512, 512), 2)
    (128, 512, 512)
    >>> request_cell((4096, 4096, 4096), (64, 64, 64), (64, 64, 64), 1)
    (64, 64, 2048)
    """
    cell = list(shard)
    while _too_much(cell, extents, chunk, itemsize):
        axis = _first_above(cell, chunk, extents)
        half = -(-min(cell[axis], extents[axis]) // 2)
        cell[axis] = -(-half // chunk[axis]) * chunk[axis] if half >= chunk[axis] else half
    for axis in reversed(range(len(cell))):
        while cell[axis] < extents[axis] and _too_little(cell, extents, chunk, itemsize):
            cell[axis] *= 2
    return tuple(cell)


def _too_much(
    cell: Sequence[int], extents: Sequence[int], chunk: Sequence[int], itemsize: int
) -> bool:
    one = all(n <= width for n, width in zip(map(min, cell, extents), chunk, strict=True))
    decoded = _decoded(cell, extents, chunk, itemsize)
    return _nbytes(cell, extents, itemsize) > LARGEST or (decoded > DECODED and not one)


def _too_little(
    cell: Sequence[int], extents: Sequence[int], chunk: Sequence[int], itemsize: int
) -> bool:
    return (
        _nbytes(cell, extents, itemsize) * 2 <= SINGLE
        and _decoded(cell, extents, chunk, itemsize) * 2 <= DECODED
    )


def _nbytes(cell: Sequence[int], extents: Sequence[int], itemsize: int) -> int:
    return prod(map(min, cell, extents)) * itemsize


def _decoded(
    cell: Sequence[int], extents: Sequence[int], chunk: Sequence[int], itemsize: int
) -> int:
    sizes = map(min, cell, extents)
    count = prod(-(-size // width) for size, width in zip(sizes, chunk, strict=True))
    return count * max(prod(chunk) * itemsize, _LEAST_CHUNK)


def _first_above(cell: Sequence[int], chunk: Sequence[int], extents: Sequence[int]) -> int:
    """Return the first axis that can be halved without cutting chunks, else the longest."""
    sizes = list(map(min, cell, extents))
    for axis, (size, width) in enumerate(zip(sizes, chunk, strict=True)):
        if size > width:
            return axis
    return sizes.index(max(sizes))
