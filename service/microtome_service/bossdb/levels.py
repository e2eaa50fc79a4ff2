"""Resolutions in BossDB's sense: each halves x and y and leaves z alone.

intern divides only x and y by 2**r, whatever an experiment says of its hierarchy. A level of the
pyramid serves resolution r if it halved just these r times; where there is none, a finer one does,
binned further along x and y.
"""

from dataclasses import dataclass
from math import log2

from microtome_core.errors import NotFound
from microtome_core.wire import LayerInfo

# A voxel of a resolution that is computed costs 4 times as many for each step.
MOST_STEPS = 3
_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Resolution:
    """How one resolution is read.

    Parameters
    ----------
    number : int
    extents : dict
        Voxels by axis, x, y and z.
    level : int
        Level of the pyramid that is read.
    factor : int
        By how much that is binned along x and y.
    """

    number: int
    extents: dict[str, int]
    level: int
    factor: int


def stored(info: LayerInfo) -> dict[int, int]:
    """Return which level holds which resolution as it is."""
    found: dict[int, int] = {}
    for index in range(len(info.levels)):
        number = _halvings(info, index)
        if number is not None:
            found.setdefault(number, index)
    return found


def count_served(info: LayerInfo) -> int:
    """Return how many resolutions, from 0 on, can be read at all."""
    known = stored(info)
    extents = dict(zip(info.axes, info.shape, strict=True))
    number = 0
    while (
        min(extents["y"], extents["x"]) >> (number + 1) >= 1
        and number + 1 - max(k for k in known if k <= number + 1) <= MOST_STEPS
    ):
        number += 1
    return number + 1


def count_shown(info: LayerInfo) -> int:
    """Return how many resolutions are told of: as many as the pyramid has levels, if they serve."""
    return min(count_served(info), max(len(info.levels), max(stored(info)) + 1))


def find_resolution(info: LayerInfo, number: int) -> Resolution:
    """Return how resolution `number` is read.

    Raises
    ------
    NotFound
        No such resolution; names the valid ones.
    """
    count = count_served(info)
    if not 0 <= number < count:
        raise NotFound(f"layer {info.id} has no resolution {number}: valid is 0 to {count - 1}")
    known = stored(info)
    nearest = max(k for k in known if k <= number)
    level, factor = known[nearest], 2 ** (number - nearest)
    extents = dict(zip(info.axes, info.levels[level].shape, strict=True))
    return Resolution(
        number,
        {
            "z": extents.get("z", 1),
            "y": -(-extents["y"] // factor),
            "x": -(-extents["x"] // factor),
        },
        level,
        factor,
    )


def _halvings(info: LayerInfo, index: int) -> int | None:
    """Return how often x and y were halved for a level, or None if it is not by just that."""
    level, finest = info.levels[index], info.levels[0]
    number = round(log2(level.scale[-1] / finest.scale[-1]))
    for axis, n, whole, size, one in zip(
        info.axes, level.shape, finest.shape, level.scale, finest.scale, strict=True
    ):
        factor = 2**number if axis in "yx" and number > 0 else 1
        # Others than we round extents down.
        if n not in (whole // factor, -(-whole // factor)):
            return None
        if abs(size / (one * factor) - 1) > _TOLERANCE:
            return None
    return max(number, 0)
