"""Orthogonal indexing: a list, a mask or a slice for each axis, each by itself.

``volume.oindex[[1, 5, 9], :, 3]`` is NumPy's ``array[np.ix_([1, 5, 9], …)]``; pure arithmetic.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome.errors import RegionError, UnsupportedIndex
from microtome.indexing import expanded, positions_of, refusal
from microtome.parts import DECODE_COST, REQUEST_COST, Part, split
from microtome_core.region import Region
from microtome_core.wire import LevelInfo

Positions = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Outer:
    """Which voxels are wanted: every combination of the positions on each axis.

    Parameters
    ----------
    wanted : tuple of array of int
        The positions along each axis, in the order wanted; some may come twice.
    dropped : tuple of bool
        The axes that an integer selected and that the answer therefore lacks.
    """

    wanted: tuple[Positions, ...]
    dropped: tuple[bool, ...]

    @property
    def sorted(self) -> tuple[Positions, ...]:
        """The positions along each axis, each once, lowest first."""
        return tuple(np.unique(positions) for positions in self.wanted)

    def finish(self, block: NDArray[Any]) -> NDArray[Any]:
        """Give a block of `sorted` positions the order and the form that were asked for."""
        for axis, (positions, known) in enumerate(zip(self.wanted, self.sorted, strict=True)):
            if not np.array_equal(positions, known):
                block = block.take(np.searchsorted(known, positions), axis)
        return block[(*(0 if dropped else slice(None) for dropped in self.dropped), ...)]


def parse_outer(key: object, shape: Sequence[int], axes: str) -> Outer:
    """Read the expression within the brackets of ``volume.oindex[...]``.

    Parameters
    ----------
    key : int, slice, Ellipsis, list, one-dimensional array of int or bool, or tuple of them
    shape : sequence of int
        Extents of the volume in voxels.
    axes : str
        One letter an axis, in array order.

    Raises
    ------
    UnsupportedIndex
        None, a float, an array of several dimensions.
    RegionError
        Too many indices, one out of bounds, or a mask of another length than its axis.
    """
    given = key if isinstance(key, tuple) else (key,)
    described = f"axes {axes} of shape {tuple(shape)}"
    words = expanded(given, len(shape), axes)
    wanted = tuple(
        _positions(word, extent, axis, described)
        for word, extent, axis in zip(words, shape, axes, strict=True)
    )
    listed = (list, range, slice, np.ndarray)
    dropped = tuple(
        not isinstance(word, listed) or (isinstance(word, np.ndarray) and word.ndim == 0)
        for word in words
    )
    return Outer(wanted, dropped)


def _positions(word: object, extent: int, axis: str, described: str) -> Positions:
    if isinstance(word, (list, range, np.ndarray)) and np.ndim(word) > 0:
        return _listed(np.asarray(word), extent, axis, described)
    reason = None if isinstance(word, slice) else refusal(word)
    if reason and not (isinstance(word, np.ndarray) and word.dtype.kind in "iu"):
        raise UnsupportedIndex(f"axis {axis}: {reason}")
    return np.array(positions_of(word, extent, axis, described), np.intp)


def _listed(word: NDArray[Any], extent: int, axis: str, described: str) -> Positions:
    if word.ndim != 1:
        raise UnsupportedIndex(
            f"axis {axis}: a list of {word.ndim} dimensions: expected one; volume.sample takes "
            "points"
        )
    if word.dtype == bool:
        if len(word) != extent:
            raise RegionError(f"axis {axis}: a mask of {len(word)}, expected {extent}")
        return np.flatnonzero(word)
    if not word.size:
        return np.zeros(0, np.intp)
    if word.dtype.kind not in "iu":
        raise UnsupportedIndex(f"axis {axis}: a list of {word.dtype}: expected integers or bools")
    beyond = word[(word < -extent) | (word >= extent)]
    if len(beyond):
        raise RegionError(
            f"index {beyond[0]} is out of bounds for axis {axis}: valid is {-extent} to "
            f"{extent - 1} ({described})"
        )
    places = word.astype(np.intp)
    return np.where(places < 0, places + extent, places)


def plan_outer(outer: Outer, axes: str, level: LevelInfo, itemsize: int) -> list[Part]:
    """Return requests that together give each voxel of `outer.sorted` exactly once."""
    known = outer.sorted
    if not all(map(len, known)):
        return []
    covers = _covers(known, level.chunk, itemsize)
    return [
        part
        for box in itertools.product(*covers)
        for part in _parts(box, known, axes, level, itemsize)
    ]


def _covers(
    known: Sequence[Positions], chunk: Sequence[int], itemsize: int
) -> list[list[tuple[int, int]]]:
    """Return ranges that hold the positions of each axis, apart where that costs less."""
    spans = [int(p[-1]) + 1 - int(p[0]) for p in known]
    covers, boxes = [], 1
    for axis, positions in enumerate(known):
        plane = prod(spans[:axis] + spans[axis + 1 :]) * itemsize
        found = list(_clusters(positions, chunk[axis], plane, boxes))
        spans[axis] = sum(high - low for low, high in found)
        boxes *= len(found)
        covers.append(found)
    return covers


def _clusters(
    positions: Positions, width: int, plane: int, boxes: int
) -> Iterator[tuple[int, int]]:
    low = last = int(positions[0])
    for here in positions[1:].tolist():
        # A chunk that two requests share is decoded twice.
        again = DECODE_COST * width * plane if here // width == last // width else 0
        if (here - last - 1) * plane > REQUEST_COST * boxes + again:
            yield low, last + 1
            low = here
        last = here
    yield low, last + 1


def _parts(
    box: Sequence[tuple[int, int]],
    known: Sequence[Positions],
    axes: str,
    level: LevelInfo,
    itemsize: int,
) -> Iterator[Part]:
    cover = Region(axes, tuple(low for low, _ in box), tuple(high for _, high in box))
    for region in split(cover, level.chunk, level.shard, itemsize):
        edges = zip(known, region.start, region.stop, strict=True)
        held = [np.searchsorted(p, (low, high)).tolist() for p, low, high in edges]
        if all(first < last for first, last in held):
            yield _part(axes, known, held)


def _part(axes: str, known: Sequence[Positions], held: Sequence[tuple[int, int]]) -> Part:
    own = [p[first:last] for p, (first, last) in zip(known, held, strict=True)]
    region = Region(axes, tuple(int(p[0]) for p in own), tuple(int(p[-1]) + 1 for p in own))
    pairs = zip(own, region.shape, strict=True)
    return Part(
        region=region,
        take=tuple(slice(None, None, 1) if len(p) == n else p - p[0] for p, n in pairs),
        target=tuple(slice(first, last) for first, last in held),
    )


class OuterIndex:
    """What ``volume.oindex`` is: brackets that take a list for each axis.

    Parameters
    ----------
    read : callable
        Given what stands within the brackets.
    """

    __slots__ = ("_read",)

    def __init__(self, read: Any) -> None:  # noqa: ANN401 - a callable
        self._read = read

    def __getitem__(self, key: object) -> Any:  # noqa: ANN401 - as NumPy's own
        return self._read(key)
