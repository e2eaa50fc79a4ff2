"""Boxes in which each class of a label volume has its turn, however rare its voxels are."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from microtome.boxes import Shape
from microtome.errors import InputError
from microtome.grids import Extents, key_of, region_of, sized
from microtome.parts import request_cell
from microtome_core.region import Region

if TYPE_CHECKING:
    from microtome.volume import Volume

Classify = Callable[[NDArray[Any]], NDArray[Any]]

# Places that are remembered of each class: more than epochs use, less than memory minds.
_KEPT = 1 << 16
_MOST_CLASSES = 256


@dataclass(frozen=True, slots=True, eq=False)
class BalancedBoxes:
    """Boxes that each hold a voxel of the class whose turn it is; made by `balanced_boxes`.

    Of as many boxes in a row as there are classes, each class has one, in random order.

    Parameters
    ----------
    region : Region
        In which boxes lie.
    shape : tuple of int
        Extents of a box, in the order of the region's axes.
    count : int
        Boxes of an epoch.
    seed : int
    places : dict of int to ndarray
        Of each class, voxels of the level that was searched: (n, axes).
    step : tuple of int
        Voxels of the volume for one of that level, along each axis.
    """

    region: Region
    shape: tuple[int, ...]
    count: int
    seed: int
    places: Mapping[int, NDArray[np.int64]]
    step: tuple[int, ...]

    def __len__(self) -> int:
        return self.count

    @property
    def classes(self) -> tuple[int, ...]:
        """The classes that take turns, in order."""
        return tuple(self.places)

    def box(self, index: int, epoch: int = 0) -> Region:
        """Return box `index` of an epoch; the voxel it is for lies anywhere in it."""
        number = self._class(index, epoch)
        rng = np.random.default_rng([self.seed, epoch, index, 1])
        found = self.places[number]
        place = found[rng.integers(len(found))] * self.step
        # Where the box is large enough, it holds all that a voxel of the coarser level stands for.
        room = np.array(self.shape) - self.step
        start = place - np.sign(room) * rng.integers(0, np.abs(room) + 1)
        low, high = np.array(self.region.start), np.array(self.region.stop) - self.shape
        first = tuple(map(int, np.clip(start, low, high)))
        stop = tuple(a + b for a, b in zip(first, self.shape, strict=True))
        return Region(self.region.axes, first, stop)

    def notes(self, index: int) -> Mapping[str, int]:
        """Nothing: a box holds voxels of other classes, too."""
        del index
        return {}

    def _class(self, index: int, epoch: int) -> int:
        turn, place = divmod(index, len(self.places))
        order = np.random.default_rng([self.seed, epoch, turn, 0]).permutation(len(self.places))
        return self.classes[int(order[place])]


def balanced_boxes(
    labels: "Volume",
    shape: Shape,
    count: int,
    *,
    classes: Sequence[int] | None = None,
    by: Classify | None = None,
    seed: int = 0,
    within: Extents | None = None,
    max_voxels: int = 1 << 26,
) -> BalancedBoxes:
    """Return boxes of which each class has equally many, after one pass over the labels.

    Parameters
    ----------
    labels : Volume
        Whose voxels tell the class.
    shape, count, seed, within
        As for `random_boxes`; one region only.
    classes : sequence of int, optional
        Those that take turns; all that are found unless given, 0 included.
    by : callable, optional
        Makes classes of an array of labels: ``lambda ids: ids > 0`` for ids of neurons.
    max_voxels : int
        The finest level with no more voxels than this is searched, or the coarsest one: there,
        small objects may be gone.

    Raises
    ------
    InputError
        As for `random_boxes`; a class of which no voxel is found; more than 256 classes.
    """
    region = region_of(labels, within)
    if count < 1 or seed < 0:
        raise InputError(f"count={count}, seed={seed}: expected 1 or more, and 0 or more")
    extents = sized(shape, region)
    searched = _searched(labels, max_voxels)
    step = _step(labels, searched, region.axes)
    small = Region(
        region.axes,
        tuple(low // n for low, n in zip(region.start, step, strict=True)),
        tuple(-(-high // n) for high, n in zip(region.stop, step, strict=True)),
    )
    found = _Found(classes, seed)
    for block, start in _blocks(searched, small):
        found.add(block if by is None else np.asarray(by(block)), start)
    return BalancedBoxes(region, extents, count, seed, found.places(searched), step)


class _Found:
    """Some places of each class, each voxel equally likely to be among them."""

    def __init__(self, classes: Sequence[int] | None, seed: int) -> None:
        self._asked = None if classes is None else [int(number) for number in classes]
        self._rng = np.random.default_rng([seed, 2])
        self._kept: dict[int, tuple[NDArray[np.float64], NDArray[np.int64]]] = {}

    def add(self, block: NDArray[Any], start: Sequence[int]) -> None:
        present = [int(number) for number in np.unique(block)]
        wanted = present if self._asked is None else [n for n in self._asked if n in present]
        if len({*self._kept, *wanted}) > _MOST_CLASSES:
            raise InputError(f"more than {_MOST_CLASSES} classes: pass classes= or by=")
        for number in wanted:
            places = np.flatnonzero(block == number)
            ranks = self._rng.random(len(places))
            first = _lowest(ranks)
            where = np.stack(np.unravel_index(places[first], block.shape), axis=1) + start
            self._merge(number, ranks[first], where)

    def _merge(self, number: int, ranks: NDArray[np.float64], where: NDArray[np.int64]) -> None:
        if number in self._kept:
            old, before = self._kept[number]
            ranks, where = np.concatenate([old, ranks]), np.concatenate([before, where])
        first = _lowest(ranks)
        self._kept[number] = ranks[first], where[first]

    def places(self, searched: "Volume") -> dict[int, NDArray[np.int64]]:
        missing = [n for n in self._asked or () if n not in self._kept]
        if missing:
            raise InputError(
                f"no voxel of class {missing[0]} in {searched.id} at level {searched.level_index}: "
                f"found {sorted(self._kept)}"
            )
        return {number: self._kept[number][1] for number in self._asked or sorted(self._kept)}


def _lowest(ranks: NDArray[np.float64]) -> NDArray[np.int64]:
    if len(ranks) <= _KEPT:
        return np.arange(len(ranks))
    return np.sort(np.argpartition(ranks, _KEPT)[:_KEPT])


def _searched(labels: "Volume", max_voxels: int) -> "Volume":
    """Return the finest level, from this one on, that is small enough."""
    for number in range(labels.level_index, len(labels.levels)):
        found = labels.level(number)
        if found.size <= max_voxels:
            break
    return found


def _step(fine: "Volume", coarse: "Volume", axes: str) -> tuple[int, ...]:
    scales = [volume.levels[volume.level_index].scale for volume in (fine, coarse)]
    places = [fine.axes.index(axis) for axis in axes]
    return tuple(max(1, round(scales[1][i] / scales[0][i])) for i in places)


def _blocks(volume: "Volume", region: Region) -> Iterator[tuple[NDArray[Any], tuple[int, ...]]]:
    """Yield a region in blocks of bounded size, each with where it begins; axis c is its first."""
    level = volume.levels[volume.level_index]
    places = [volume.axes.index(axis) for axis in region.axes]
    chunk, shard = ([sizes[i] for i in places] for sizes in (level.chunk, level.shard))
    stop = tuple(min(high, volume.shape[i]) for high, i in zip(region.stop, places, strict=True))
    inside = Region(region.axes, region.start, stop)
    cell = request_cell(inside.shape, chunk, shard, volume.dtype.itemsize)
    for part in inside.split(cell):
        block = volume[key_of(part, volume)]
        if "c" in volume.axes:
            block = block.take(0, volume.axes.index("c"))
        yield block, part.start
