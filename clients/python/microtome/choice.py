"""Which level serves a purpose: by number, by voxel size, or by how many voxels are wanted."""

from collections.abc import Callable, Sequence
from math import prod

from microtome.errors import InputError, NotFound
from microtome.indexing import Cut
from microtome_core.axes import SPATIAL, spatial
from microtome_core.units import convert
from microtome_core.wire import LayerInfo


def by_spacing(info: LayerInfo, spacing: float, unit: str | None) -> int:
    """Return the coarsest level of voxels no larger than `spacing` along any spatial axis.

    Raises
    ------
    NotFound
        Even the finest level's are larger.
    """
    if not spacing > 0:
        raise InputError(f"spacing={spacing!r}: expected a length above 0")
    places = [i for i, axis in enumerate(info.axes) if axis in spatial(info.axes)]
    limits = [_converted(spacing, unit, info.units[i]) * (1 + 1e-9) for i in places]
    for number in reversed(range(len(info.levels))):
        scale = info.levels[number].scale
        if all(scale[i] <= limit for i, limit in zip(places, limits, strict=True)):
            return number
    finest = [info.levels[0].scale[i] for i in places]
    raise NotFound(f"{info.id} has no voxels of {spacing:g} or smaller: the finest are {finest}")


def _converted(value: float, unit: str | None, own: str | None) -> float:
    return value if unit is None or own is None else convert(value, unit, own)


def by_budget(count: int, size_at: Callable[[int], int], most: int) -> int:
    """Return the finest of `count` levels at which `size_at` is no more than `most`, or the last.

    Raises
    ------
    InputError
        A budget below 1.
    """
    if most < 1:
        raise InputError(f"max_voxels={most!r}: expected 1 or more")
    return next((n for n in range(count) if size_at(n) <= most), count - 1)


def thinned(cut: Cut, axes: str, most: int) -> Cut:
    """Take every n-th voxel of a cut that is still too large: of space first, of time, of channels.

    Parameters
    ----------
    cut : Cut
        Of the coarsest level.
    axes : str
        One letter an axis.
    most : int
        Voxels that are wanted at most.
    """
    ranges = list(cut.ranges)
    for group in (SPATIAL, "t", "c"):
        places = [i for i, axis in enumerate(axes) if axis in group and len(ranges[i]) > 1]
        if places and prod(map(len, ranges)) > most:
            step = _least_step(ranges, places, most)
            for i in places:
                ranges[i] = ranges[i][::step]
    return Cut(tuple(ranges), cut.dropped, cut.scalar)


def _least_step(ranges: Sequence[range], places: Sequence[int], most: int) -> int:
    def size(step: int) -> int:
        return prod(-(-len(r) // step) if i in places else len(r) for i, r in enumerate(ranges))

    low, high = 1, max(len(ranges[i]) for i in places)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if size(middle) <= most else (middle + 1, high)
    return low
