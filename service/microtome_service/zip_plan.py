"""A box of any size as OME-Zarr in a zip: which parts are read in turn, and how each is sent."""

import numpy as np

from microtome_core.dtypes import little_endian
from microtome_core.region import Region
from microtome_core.selection import Selection
from microtome_core.wire import LayerInfo
from microtome_service.encode import Parts
from microtome_service.reader import Limits, check_cost, cost_of, find_level
from microtome_service.streaming import Encoder, Plan, check_answer, slab_sizes
from microtome_service.zipped import Zipped


def plan_zipped(
    info: LayerInfo, level: int, selection: Selection, zipped: Zipped, limits: Limits
) -> tuple[Plan, Encoder]:
    """Cut one region into parts of whole chunks of the zip, and return what encodes them in turn.

    Raises
    ------
    TooLarge
        More voxels than any answer may have, or a part that touches too many chunks.
    """
    target, _ = slab_sizes(limits)
    whole = cost_of(info, level, [selection.region])
    check_answer(whole.voxels, limits)
    largest = _placed(selection.region, next(zipped.parts(target)))
    cost = check_cost(info, level, [_unlucky(info, level, largest)], limits)
    coming = zipped.parts(target)

    def encode(parts: Parts, last: bool) -> Parts:
        block = np.frombuffer(parts[0], little_endian(info.dtype))
        added = zipped.add(block, next(coming))
        return (added, zipped.end()) if last else (added,)

    pieces = ([("", _placed(selection.region, part))] for part in zipped.parts(target))
    slab = largest.size * np.dtype(info.dtype).itemsize
    return Plan(pieces, whole, slab, cost.held - cost.voxels), encode


def _placed(region: Region, part: Region) -> Region:
    """Return where a part of the zip of a region lies in its level; an axis it lacks has one index.

    >>> str(_placed(Region("czyx", (1, 10, 0, 0), (2, 90, 8, 8)), Region.whole("zyx", (64, 8, 8))))
    'c=1:2,z=10:74,y=0:8,x=0:8'
    """
    ranges = dict(zip(part.axes, zip(part.start, part.stop, strict=True), strict=True))
    found = [ranges.get(axis, (0, 1)) for axis in region.axes]
    start = tuple(first + low for first, (low, _) in zip(region.start, found, strict=True))
    stop = tuple(first + high for first, (_, high) in zip(region.start, found, strict=True))
    return Region(region.axes, start, stop)


def _unlucky(info: LayerInfo, level: int, region: Region) -> Region:
    """Return a region that touches as many chunks as one of these extents may, wherever it lies."""
    described = find_level(info, level)
    stop = tuple(
        min(extent, ((n - 2) // chunk + 2) * chunk)
        for n, chunk, extent in zip(region.shape, described.chunk, described.shape, strict=True)
    )
    return Region(region.axes, (0,) * len(stop), stop)
