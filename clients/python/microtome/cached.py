"""Reading through a cache on disk: whole cells of the grid of chunks are fetched and kept."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome.cache import Cache
from microtome.fetch import Source, in_parallel
from microtome.indexing import Cut
from microtome.parts import plan, within
from microtome_core.dtypes import little_endian
from microtome_core.region import Region

# A file and a request for less would cost more than the voxels.
_LEAST = 512 << 10


@dataclass(frozen=True, slots=True)
class _Cell:
    """A cell of the grid, and which of its voxels go where in the result."""

    region: Region
    take: tuple[slice, ...]
    target: tuple[slice, ...]


def read_cached(
    source: Source, cache: Cache, cut: Cut, stop: threading.Event | None = None
) -> NDArray[Any]:
    """Return what ``source.read(cut)`` would; only what is not kept is asked for."""
    out = np.empty(cut.full_shape, little_endian(source.dtype))
    cells = list(_cells(source, cut)) if cut.size else []
    work = partial(_fill, source, cache, out)
    in_parallel(work, cells, source.transport.patience.parallel, stop)
    return out.astype(source.dtype, copy=False)


def _fill(
    source: Source, cache: Cache, out: NDArray[Any], cell: _Cell, stop: threading.Event
) -> None:
    key = f"{source.api} {source.version} {source.number} {cell.region} {source.dtype.name}"
    shape, dtype = cell.region.shape, out.dtype
    kept = cache.get(key, cell.region.size * dtype.itemsize)
    if kept is not None:
        block = np.frombuffer(kept, dtype).reshape(shape)
    else:
        block = _fetched(source, cell.region, stop)
        cache.put(key, block.reshape(-1).view(np.uint8).data)
    out[cell.target] = block[cell.take]


def _fetched(source: Source, region: Region, stop: threading.Event) -> NDArray[Any]:
    ranges = tuple(range(low, high) for low, high in zip(region.start, region.stop, strict=True))
    whole = Cut(ranges, (False,) * len(ranges))
    parts = plan(whole, source.axes, source.level, source.dtype.itemsize)
    block = source.assemble(region.shape, parts, stop)
    return block.astype(little_endian(source.dtype), copy=False)


def _cells(source: Source, cut: Cut) -> Any:  # noqa: ANN401 - an iterator of cells
    level, ranges = source.level, cut.ascending
    size = cell_shape(level.chunk, level.shape, source.dtype.itemsize)
    cover = Region(source.axes, tuple(r[0] for r in ranges), tuple(r[-1] + 1 for r in ranges))
    for part in cover.split(size):
        edges = zip(ranges, part.start, part.stop, strict=True)
        held = [within(positions, low, high) for positions, low, high in edges]
        if not all(held):
            continue
        start = tuple(low - low % n for low, n in zip(part.start, size, strict=True))
        stop = tuple(min(s + n, end) for s, n, end in zip(start, size, level.shape, strict=True))
        yield _Cell(
            Region(source.axes, start, stop),
            tuple(slice(r[0] - s, r[-1] + 1 - s, r.step if len(r) > 1 else 1)
                  for r, s in zip(held, start, strict=True)),
            tuple(slice(whole.index(r[0]), whole.index(r[-1]) + 1)
                  for r, whole in zip(held, ranges, strict=True)),
        )  # fmt: skip


def cell_shape(chunk: Sequence[int], shape: Sequence[int], itemsize: int) -> tuple[int, ...]:
    """Return the extents of a cell: a chunk, doubled along the last axes while it is small.

    >>> cell_shape((64, 64, 64), (1000, 1000, 1000), 1), cell_shape((1, 8, 8), (9, 9, 9), 1)
    ((64, 64, 128), (16, 16, 16))
    """
    cell = list(chunk)
    for axis in reversed(range(len(cell))):
        while prod(map(min, cell, shape)) * itemsize < _LEAST and cell[axis] < shape[axis]:
            cell[axis] *= 2
    return tuple(cell)
