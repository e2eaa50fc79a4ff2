"""How a voxel of a level is made of those below it."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

from microtome_core.region import Region

Method = Literal["mean", "mode"]
# Bytes that are binned at once.
_SLAB = 8 << 20


def binned_region(region: Region, bins: Sequence[int]) -> Region:
    """Return where a region lands one level up: every bin that it touches."""
    start = tuple(low // n for low, n in zip(region.start, bins, strict=True))
    stop = tuple(-(-high // n) for high, n in zip(region.stop, bins, strict=True))
    return Region(region.axes, start, stop)


def covered_region(region: Region, bins: Sequence[int], shape: Sequence[int]) -> Region:
    """Return the voxels one level down, an array of `shape`, of which a region is made."""
    start = tuple(low * n for low, n in zip(region.start, bins, strict=True))
    ends = (high * n for high, n in zip(region.stop, bins, strict=True))
    return Region(region.axes, start, tuple(map(min, ends, shape)))


def made_of_below(
    load: Callable[[Region], NDArray[Any]],
    region: Region,
    bins: Sequence[int],
    method: Method,
    shape: Sequence[int],
    shard: Sequence[int],
) -> NDArray[Any]:
    """Return a region made of the level below, a shard of that at a time.

    Parameters
    ----------
    load : callable
        Returns a region of the level below.
    region : Region
    bins : sequence of int
    method : str
    shape, shard : sequence of int
        Extents of the level below, and of its shards.
    """
    step = [-(-edge // n) for edge, n in zip(shard, bins, strict=True)]
    block: NDArray[Any] | None = None
    for part in region.split(step):
        voxels = binned(load(covered_region(part, bins, shape)), bins, method)
        if block is None:
            block = np.empty(region.shape, voxels.dtype)
        block[part.relative_to(region.start).slices] = voxels
    if block is None:
        raise ValueError(f"{region} holds nothing")
    return block


def binned(block: NDArray[Any], bins: Sequence[int], method: Method) -> NDArray[Any]:
    """Return each bin's mean (rounded half to even) or most frequent value.

    Bins at the far edges may be partial; they hold only voxels that exist. A slab at a time:
    TensorStore holds a copy of what it bins.
    """
    shape = [-(-extent // n) for extent, n in zip(block.shape, bins, strict=True)]
    result = np.empty(shape, block.dtype)
    axis = next((i for i, extent in enumerate(shape) if extent > 1), 0)
    step = max(1, _SLAB * shape[axis] // max(block.nbytes, 1))
    for low in range(0, shape[axis], step):
        before, part = (slice(None),) * axis, slice(low * bins[axis], (low + step) * bins[axis])
        view = ts.downsample(ts.array(block[(*before, part)]), list(bins), method)
        result[(*before, slice(low, low + step))] = view.read().result()
    return result
