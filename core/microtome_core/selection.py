"""A selection: what a request says about each axis, before it is a region.

``z=10:74`` is a half-open range, ``z=10`` one index whose axis is dropped as in NumPy, and an
axis that is not named means its whole extent.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from microtome_core.errors import RegionError
from microtome_core.region import Region, check_inside

# 18 ASCII digits hold every voxel index that int64 can address and stop absurd input early.
_RANGE = re.compile(r"([0-9]{0,18}):([0-9]{0,18})")
_INDEX = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Selection:
    """A region, and the axes that are dropped from the array which answers it.

    Parameters
    ----------
    region : Region
        What to read, with every axis of the array.
    dropped : str
        The axes that were given by a single index.

    Examples
    --------
    >>> plane = Selection.parse("zyx", (64, 512, 512), {"z": "10", "x": "0:256"})
    >>> str(plane.region), plane.axes, plane.shape
    ('z=10:11,y=0:512,x=0:256', 'yx', (512, 256))
    """

    region: Region
    dropped: str = ""

    @classmethod
    def parse(cls, axes: str, shape: Sequence[int], words: Mapping[str, str]) -> "Selection":
        """Read one word an axis; `words` may leave axes out but not name others.

        Raises
        ------
        RegionError
            An axis that the array lacks, a word that is neither a range nor an index, or a range
            that is empty or out of bounds; the message names the valid range.
        """
        unknown = sorted(set(words) - set(axes))
        if unknown:
            raise RegionError(f"axis {unknown[0]!r} is unknown: the axes are {axes!r}")
        ranges = [
            _range(axis, words.get(axis, ":"), extent)
            for axis, extent in zip(axes, shape, strict=True)
        ]
        region = Region(axes, tuple(r[0] for r in ranges), tuple(r[1] for r in ranges))
        dropped = "".join(a for a in axes if ":" not in words.get(a, ":"))
        return cls(check_inside(region, shape), dropped)

    @property
    def axes(self) -> str:
        """The axes that remain, in array order."""
        return "".join(a for a in self.region.axes if a not in self.dropped)

    @property
    def shape(self) -> tuple[int, ...]:
        """The extents of the axes that remain."""
        pairs = zip(self.region.axes, self.region.shape, strict=True)
        return tuple(extent for axis, extent in pairs if axis not in self.dropped)


def _range(axis: str, word: str, extent: int) -> tuple[int, int]:
    if _INDEX.fullmatch(word):
        return int(word), int(word) + 1
    match = _RANGE.fullmatch(word)
    if not match:
        raise RegionError(
            f"{axis}={word[:40]!r} is not a range: expected such as {axis}=0:{extent} or {axis}=0"
        )
    low, high = int(match[1] or 0), int(match[2] or extent)
    if low >= high:
        raise RegionError(f"{axis}={word} is empty: valid is a range within {axis}=0:{extent}")
    return low, high
