"""Which boxes a loop trains on: at random, on a grid, listed, or balanced over classes.

Box `i` of an epoch depends on seed, epoch and `i` alone, so that whoever reads it, in whatever
order and however many share the work, reads the same.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import prod
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

from microtome.errors import InputError
from microtome.grids import Extents, region_of, sized
from microtome_core.region import Region

if TYPE_CHECKING:
    from microtome.volume import Volume

Shape: TypeAlias = Sequence[int] | Mapping[str, int]
Within: TypeAlias = Extents | Sequence[Extents] | None


class Boxes(Protocol):
    """Boxes by number."""

    def __len__(self) -> int:
        """Return how many boxes an epoch has."""
        ...

    def box(self, index: int, epoch: int = 0) -> Region:
        """Return one box, on every axis of the volume but c."""
        ...

    def notes(self, index: int) -> Mapping[str, int]:
        """Return what is known of a box beside its voxels, such as its class."""
        ...


@dataclass(frozen=True, slots=True)
class RandomBoxes:
    """Boxes whose every place is equally likely; made by `random_boxes`.

    Parameters
    ----------
    regions : tuple of Region
        Each box lies within one of them.
    shape : tuple of int
        Extents of a box, in the order of the regions' axes.
    count : int
        Boxes of an epoch.
    seed : int
    """

    regions: tuple[Region, ...]
    shape: tuple[int, ...]
    count: int
    seed: int

    def __len__(self) -> int:
        return self.count

    def box(self, index: int, epoch: int = 0) -> Region:
        """Return box `index` of an epoch."""
        rng = np.random.default_rng([self.seed, epoch, index])
        places = [_places(region, self.shape) for region in self.regions]
        ends = list(accumulate(prod(each) for each in places))
        place = int(rng.integers(ends[-1]))
        which = bisect_right(ends, place)
        start = [int(rng.integers(n)) for n in places[which]]
        return _box(self.regions[which], start, self.shape)

    def notes(self, index: int) -> Mapping[str, int]:
        """Nothing is known of a box."""
        del index
        return {}


@dataclass(frozen=True, slots=True)
class ListedBoxes:
    """Boxes that are known beforehand; those of a grid are made by `grid_boxes`.

    Parameters
    ----------
    listed : sequence of Region
    said : sequence of mapping, optional
        What is known of each box beside its voxels.
    """

    listed: Sequence[Region]
    said: Sequence[Mapping[str, int]] = ()

    def __post_init__(self) -> None:
        if self.said and len(self.said) != len(self.listed):
            raise InputError(f"{len(self.said)} notes on {len(self.listed)} boxes")

    def __len__(self) -> int:
        return len(self.listed)

    def box(self, index: int, epoch: int = 0) -> Region:
        """Return box `index`, the same in every epoch."""
        del epoch
        return self.listed[index]

    def notes(self, index: int) -> Mapping[str, int]:
        """Return what is known of a box."""
        return self.said[index] if self.said else {}


@dataclass(frozen=True, slots=True)
class Grid(Sequence[Region]):
    """The boxes of a grid, counted rather than kept.

    Parameters
    ----------
    axes : str
    starts : tuple of tuple of sequence of int
        For each region, the starts along each axis.
    shape : tuple of int
        Of a box.
    """

    axes: str
    starts: tuple[tuple[Sequence[int], ...], ...]
    shape: tuple[int, ...]
    _ends: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        counts = (prod(map(len, region)) for region in self.starts)
        object.__setattr__(self, "_ends", tuple(accumulate(counts)))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Region:  # type: ignore[override]  # by number only
        if not 0 <= index < len(self):
            raise IndexError(index)
        which = bisect_right(self._ends, index)
        starts = self.starts[which]
        within = index - (self._ends[which - 1] if which else 0)
        places = np.unravel_index(within, tuple(map(len, starts)))
        start = tuple(each[int(i)] for each, i in zip(starts, places, strict=True))
        return Region(self.axes, start, _plus(start, self.shape))


def random_boxes(
    volume: "Volume", shape: Shape, count: int, *, seed: int = 0, within: Within = None
) -> RandomBoxes:
    """Return boxes anywhere in a volume.

    Parameters
    ----------
    volume : Volume
        Whose grid is cut; crops of any volume on the same grid can be read.
    shape : sequence or mapping of axis to int
        Extents in voxels of the volume's level; a sequence is of the last axes. An axis that is
        not named is of extent 1; axis c is always whole.
    count : int
        Boxes of an epoch.
    seed : int
        0 or more.
    within : mapping of axis to (start, stop), or a sequence of them, optional
        Where boxes may lie, in voxels; no box reaches from one region into another.

    Raises
    ------
    InputError
        Boxes that do not fit, a region outside of the volume, no box at all, a negative seed.
    """
    regions = _regions(volume, within)
    return RandomBoxes(regions, _common(shape, regions), _positive("count", count), _seed(seed))


def grid_boxes(
    volume: "Volume",
    shape: Shape,
    *,
    stride: Shape | None = None,
    within: Within = None,
    edge: str = "shift",
) -> ListedBoxes:
    """Return boxes side by side, or `stride` apart, in C order, one region after another.

    Parameters
    ----------
    volume, shape, within
        As for `random_boxes`.
    stride : as `shape`, optional
        From one box to the next; the shape itself unless given.
    edge : str
        Where the last box would reach beyond its region: ``shift`` moves it back, so that every
        voxel is in some box; ``drop`` leaves it out.

    Raises
    ------
    InputError
        As for `random_boxes`, or another word for `edge`.
    """
    if edge not in ("shift", "drop"):
        raise InputError(f"edge={edge!r}: expected 'shift' or 'drop'")
    regions = _regions(volume, within)
    extents = _common(shape, regions)
    steps = extents if stride is None else _common(stride, regions)
    starts = tuple(_starts(region, extents, steps, edge) for region in regions)
    return ListedBoxes(Grid(regions[0].axes, starts, extents))


def _starts(
    region: Region, shape: Sequence[int], steps: Sequence[int], edge: str
) -> tuple[Sequence[int], ...]:
    found: list[Sequence[int]] = []
    for low, high, extent, step in zip(region.start, region.stop, shape, steps, strict=True):
        starts: Sequence[int] = range(low, high - extent + 1, step)
        if edge == "shift" and starts[-1] + extent < high:
            starts = (*starts, high - extent)
        found.append(starts)
    return tuple(found)


def _regions(volume: "Volume", within: Within) -> tuple[Region, ...]:
    if within is None or isinstance(within, Mapping):
        return (region_of(volume, within),)
    if not within:
        raise InputError("within: no region at all")
    return tuple(region_of(volume, each) for each in within)


def _common(shape: Shape, regions: Sequence[Region]) -> tuple[int, ...]:
    for region in regions:
        extents = sized(shape, region)
    return extents


def _places(region: Region, shape: Sequence[int]) -> list[int]:
    return [room - extent + 1 for room, extent in zip(region.shape, shape, strict=True)]


def _box(region: Region, offset: Sequence[int], shape: Sequence[int]) -> Region:
    start = _plus(region.start, offset)
    return Region(region.axes, start, _plus(start, shape))


def _plus(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))


def _positive(name: str, value: int) -> int:
    if value < 1:
        raise InputError(f"{name}={value}: expected 1 or more")
    return int(value)


def _seed(value: int) -> int:
    if value < 0:
        raise InputError(f"seed={value}: expected 0 or more")
    return int(value)
