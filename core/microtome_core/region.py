"""A region: a half-open box of voxels with named axes, and nothing else."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from microtome_core.errors import RegionError

# 18 ASCII digits hold every voxel index that int64 can address and stop absurd input early.
_INTEGER = r"[0-9]{1,18}"
_PART = re.compile(rf"([a-z])=({_INTEGER}):({_INTEGER})")


@dataclass(frozen=True, slots=True)
class Region:
    """A half-open box: on axis ``axes[i]`` it holds ``start[i] <= n < stop[i]``.

    Parameters
    ----------
    axes : str
        One letter an axis, in array order.
    start, stop : tuple of int
        In voxels of one level; ``0 <= start < stop`` on every axis.

    Raises
    ------
    RegionError
        Unequal lengths, a negative start, or an axis on which nothing lies inside.

    Examples
    --------
    >>> box = Region("zyx", (0, 8, 8), (4, 16, 24))
    >>> box.shape, box.size, str(box)
    ((4, 8, 16), 512, 'z=0:4,y=8:16,x=8:24')
    """

    axes: str
    start: tuple[int, ...]
    stop: tuple[int, ...]

    def __post_init__(self) -> None:
        if not len(self.axes) == len(self.start) == len(self.stop):
            raise RegionError(
                f"{len(self.axes)} axes, {len(self.start)} starts, {len(self.stop)} stops"
            )
        for axis, low, high in zip(self.axes, self.start, self.stop, strict=True):
            if not 0 <= low < high:
                raise RegionError(f"{axis}={low}:{high} is not a range: expected 0 <= start < stop")

    @classmethod
    def whole(cls, axes: str, shape: Sequence[int]) -> "Region":
        """Cover an array of `shape` (in the order of `axes`)."""
        return cls(axes, (0,) * len(axes), tuple(shape))

    @classmethod
    def parse(cls, text: str) -> "Region":
        """Read what `str` writes: ``z=0:4,y=8:16,x=8:24``."""
        parts = [_PART.fullmatch(part) for part in text.split(",")]
        if not all(parts):
            raise RegionError(f"region {text[:200]!r}: expected for example z=0:64,y=0:512,x=0:512")
        groups = [part.groups() for part in parts if part]
        axes = "".join(axis for axis, _, _ in groups)
        if len(set(axes)) != len(axes):
            raise RegionError(f"region {text[:200]!r}: an axis is named twice")
        return cls(axes, tuple(int(g[1]) for g in groups), tuple(int(g[2]) for g in groups))

    def __str__(self) -> str:
        ranges = zip(self.axes, self.start, self.stop, strict=True)
        return ",".join(f"{axis}={low}:{high}" for axis, low, high in ranges)

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along each axis."""
        return tuple(high - low for low, high in zip(self.start, self.stop, strict=True))

    @property
    def size(self) -> int:
        """Voxels in all."""
        return prod(self.shape)

    @property
    def slices(self) -> tuple[slice, ...]:
        """The index that cuts this region out of an array."""
        return tuple(slice(low, high) for low, high in zip(self.start, self.stop, strict=True))

    def __contains__(self, other: "Region") -> bool:
        return self & other == other

    def __and__(self, other: "Region") -> "Region | None":
        """Return what both hold, or None."""
        start = tuple(map(max, self.start, other.start))
        stop = tuple(map(min, self.stop, other.stop))
        if any(low >= high for low, high in zip(start, stop, strict=True)):
            return None
        return Region(self.axes, start, stop)

    def __or__(self, other: "Region") -> "Region":
        """Return the smallest box that holds both."""
        start = tuple(map(min, self.start, other.start))
        return Region(self.axes, start, tuple(map(max, self.stop, other.stop)))

    def relative_to(self, origin: Sequence[int]) -> "Region":
        """Return the same box counted from `origin`."""
        return Region(
            self.axes,
            tuple(low - o for low, o in zip(self.start, origin, strict=True)),
            tuple(high - o for high, o in zip(self.stop, origin, strict=True)),
        )

    def split(self, step: Sequence[int]) -> Iterator["Region"]:
        """Cut along the multiples of `step`, in C order; each voxel is in exactly one part.

        >>> [str(part) for part in Region("yx", (1, 0), (5, 3)).split((4, 4))]
        ['y=1:4,x=0:3', 'y=4:5,x=0:3']
        """
        for start, stop in _parts(list(zip(self.start, self.stop, step, strict=True))):
            yield Region(self.axes, start, stop)


def _parts(
    bounds: Sequence[tuple[int, int, int]],
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Yield starts and stops for (low, high, width) of each axis, one after another.

    `itertools.product` would hold all cuts of an axis in memory, of which there may be any number.
    """
    if not bounds:
        yield (), ()
        return
    (low, high, width), rest = bounds[0], bounds[1:]
    for cut in range(low - low % width, high, width):
        first, last = max(low, cut), min(high, cut + width)
        for start, stop in _parts(rest):
            yield (first, *start), (last, *stop)


def check_inside(region: Region, shape: Sequence[int]) -> Region:
    """Return `region` if an array of `shape` holds it; the error names the valid range."""
    for axis, low, high, extent in zip(region.axes, region.start, region.stop, shape, strict=True):
        if high > extent:
            raise RegionError(f"{axis}={low}:{high} is out of bounds: valid is {axis}=0:{extent}")
    return region


def check_region(region: Region, axes: str, shape: Sequence[int]) -> Region:
    """Return `region` if it is of an array with these axes, and within its shape."""
    if region.axes != axes:
        raise RegionError(f"region {region}: expected axes {axes!r}")
    return check_inside(region, shape)
