"""A volume in named spaces, such as an atlas: points there and back, boxes, resampled blocks."""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from math import ceil, prod
from typing import Any
from urllib.parse import urlencode

import numpy as np
from numpy.typing import ArrayLike, NDArray

from microtome.described import Described
from microtome.errors import RegionError, WrongAnswer
from microtome.indexing import Cut
from microtome.memory import check_memory
from microtome.named import cut_of
from microtome_core.axes import spatial
from microtome_core.coordinates import transform_points
from microtome_core.errors import InputError
from microtome_core.space import PHYSICAL, VOXEL, Registration, check_points, find_registration
from microtome_core.space import registrations as read_all

_MOST_POINTS = 20_000
# Points along each edge of a box by which its image is bounded, where a field bends it.
_EDGE = 9
_SLAB_POINTS = 1 << 20


class Spaces(Described):
    """What a volume does in the spaces that its record says it is registered to."""

    __slots__ = ()

    @property
    def spaces(self) -> dict[str, Registration]:
        """The spaces that the layer is registered to, by name."""
        return {each.space: each for each in read_all(self.attrs)}

    def transform(self, points: ArrayLike, *, to: str, source: str = VOXEL) -> NDArray[np.float64]:
        """Return points in other coordinates.

        Parameters
        ----------
        points : array_like
            Of shape (…, spatial axes): coordinates of the layer in the order of its spatial axes,
            those of a space in its own order.
        to, source : str
            ``voxel`` of this level, whose centres are whole numbers; ``physical``, micrometers
            along the layer's axes; or the name of a space, micrometers along its axes.

        Raises
        ------
        InputError
            Points of another form, a space that the layer is not registered to, a voxel size that
            is not known, or a field of displacements that cannot be followed back.
        StorageError, BrokenConnection, TimedOut, WrongAnswer
            A field lies at the service, which was asked and could not answer.
        """
        axes = spatial(self.axes)
        named = [name for name in (source, to) if name not in (VOXEL, PHYSICAL)]
        found = {name: find_registration(self.attrs, name) for name in named}
        if any(each.field is not None for each in found.values()):
            return self._ask(check_points(points, len(axes)), source, to)
        return transform_points(
            self.info,
            points,
            source,
            to,
            self.level_index,
            lambda name: found[name].transform(axes),
        )

    def box_in(self, space: str, *ranges: tuple[float, float]) -> dict[str, tuple[int, int]]:
        """Return the smallest box of this level that covers a box of a space, by axis.

        Of an affine it is exact; where a field bends the box, it covers 9 points along each edge,
        within and without. It is cut off at the edges of the volume.

        Parameters
        ----------
        space : str
        *ranges : (start, stop)
            In micrometers along the axes of the space, in its order.

        Raises
        ------
        RegionError
            The box lies outside of the volume, or is none.
        """
        axes = spatial(self.axes)
        _check_box(ranges, len(axes))
        count = _EDGE if find_registration(self.attrs, space).field else 2
        corners = np.array(list(product(*(np.linspace(*r, count) for r in ranges))))
        voxels = self.transform(corners, source=space, to=VOXEL)
        shape = [self.shape[self.axes.index(axis)] for axis in axes]
        # A voxel covers half of one to each side of its centre.
        low = np.clip(np.floor(voxels.min(axis=0) + 0.5), 0, shape).astype(int)
        high = np.clip(np.floor(voxels.max(axis=0) + 0.5) + 1, 0, shape).astype(int)
        if (low >= high).any():
            raise RegionError(f"the box lies outside of {self.id} in {space}")
        return {a: (int(s), int(e)) for a, s, e in zip(axes, low, high, strict=True)}

    def _cut_in(self, space: str, positions: dict[str, Any]) -> Cut:
        """Return the cut that covers a box of a space, which z, y and x stand for in its order."""
        axes = spatial(self.axes)
        others = {axis: value for axis, value in positions.items() if axis not in axes}
        box = self.box_in(space, *(_range(axis, positions.get(axis)) for axis in axes))
        cut = cut_of(self, others, None)
        ranges = zip(self.axes, cut.ranges, strict=True)
        return replace(cut, ranges=tuple(range(*box[a]) if a in box else r for a, r in ranges))

    def resample(
        self, space: str, *ranges: tuple[float, float], spacing: float, **others: int
    ) -> NDArray[np.float64]:
        """Return a box of a space on a grid of its own, voxels interpolated linearly.

        Parameters
        ----------
        space : str
        *ranges : (start, stop)
            In micrometers along the axes of the space, in its order; nodes lie at start, start +
            spacing, … below stop.
        spacing : float
            In micrometers.
        **others : int
            Index of axes t and c, where there are such.

        Returns
        -------
        ndarray
            float64, in the order of the axes of the space; NaN outside of the volume. Read in
            slabs of about a million points.

        Raises
        ------
        TooLarge
            A grid, or the voxels that a slab of it covers, that memory cannot hold.
        """
        _check_box(ranges, len(spatial(self.axes)))
        if not (np.isfinite(spacing) and spacing > 0):
            raise InputError(f"spacing {spacing}: expected a positive number of micrometers")
        missing = [a for a in self.axes if a in "tc" and a not in others]
        if missing or set(others) - set(self.axes):
            raise InputError(f"resample: expected one index of each of {missing or list(others)}")
        counts = [ceil((stop - start) / spacing) for start, stop in ranges]
        grid = "×".join(map(str, counts))
        what = f"a grid of {grid} nodes of {self.id} in {space}"
        check_memory(what, 8 * prod(counts), "ask for a smaller box or a larger spacing")
        grids = [np.arange(start, stop, spacing) for start, stop in ranges]
        out = np.full(tuple(map(len, grids)), np.nan)
        for first, last in _slabs(out.shape):
            nodes = np.meshgrid(grids[0][first:last], *grids[1:], indexing="ij")
            voxels = self.transform(np.stack(nodes, axis=-1), source=space, to=VOXEL)
            self._fill(out[first:last], voxels, others)
        return out

    def _fill(
        self, out: NDArray[np.float64], voxels: NDArray[np.float64], others: dict[str, int]
    ) -> None:
        """Interpolate at voxel coordinates of shape (…, axes); what lies outside stays."""
        axes = spatial(self.axes)
        shape = np.array([self.shape[self.axes.index(axis)] for axis in axes])
        inside = ((voxels >= 0) & (voxels <= shape - 1)).all(axis=-1)
        if not inside.any():
            return
        places = voxels[inside]
        low = np.minimum(np.floor(places.min(axis=0)), shape - 1).astype(int)
        high = np.minimum(np.floor(places.max(axis=0)) + 2, shape).astype(int)
        what = f"the box of {self.id} level {self.level_index} that a slab of the grid covers"
        nbytes = prod(int(n) for n in high - low) * (8 + self.dtype.itemsize)
        check_memory(what, nbytes, "resample a coarser level, volume.level(n), or a smaller box")
        cuts = {a: slice(s, e) for a, s, e in zip(axes, low, high, strict=True)}
        block = self[tuple(cuts.get(axis, others.get(axis)) for axis in self.axes)]  # type: ignore[index] # fmt: skip
        out[inside] = _interpolated(np.asarray(block, "float64"), places - low)

    def _ask(self, points: NDArray[np.float64], source: str, to: str) -> NDArray[np.float64]:
        flat = points.reshape(-1, points.shape[-1])
        query = urlencode({"source": source, "target": to, "level": self.level_index})
        url = f"{self.address.api}/transform?{query}"
        parts = [
            self._ask_some(url, flat[first : first + _MOST_POINTS])
            for first in range(0, max(len(flat), 1), _MOST_POINTS)
        ]
        return np.concatenate(parts).reshape(points.shape)

    def _ask_some(self, url: str, points: NDArray[np.float64]) -> NDArray[np.float64]:
        document = json.dumps({"points": points.tolist()}).encode()
        told = self.transport.post(url, document, lambda body: body.json(64 << 20))
        try:
            moved = np.array(told["points"], "float64")
        except (TypeError, KeyError, ValueError) as error:
            raise WrongAnswer(f"{url}: no points: {error!r}") from error
        if moved.shape != points.shape:
            raise WrongAnswer(f"{url}: points of shape {moved.shape}, expected {points.shape}")
        return moved


def _check_box(ranges: tuple[tuple[float, float], ...], ndim: int) -> None:
    if len(ranges) != ndim:
        raise RegionError(f"a box of {len(ranges)} ranges: the space has {ndim} axes")
    for start, stop in ranges:
        if not (np.isfinite([start, stop]).all() and start < stop):
            raise RegionError(f"({start:g}, {stop:g}): expected start < stop, in micrometers")


def _range(axis: str, position: object) -> tuple[float, float]:
    pair = (position.start, position.stop) if isinstance(position, slice) else position
    if not isinstance(pair, tuple) or len(pair) != 2 or None in pair:
        raise RegionError(f"{axis}={position!r:.80}: expected (start, stop) in a space")
    return float(pair[0]), float(pair[1])


def _slabs(shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    rows = max(1, _SLAB_POINTS // max(1, int(np.prod(shape[1:]))))
    yield from ((first, first + rows) for first in range(0, shape[0], rows))


def _interpolated(block: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values between the voxels of a block at places of shape (points, axes)."""
    last = np.array(block.shape) - 1
    low = np.minimum(places.astype(int), last)
    share = places - low
    out = np.zeros(len(places))
    for corner in product((0, 1), repeat=block.ndim):
        upper = np.array(corner, bool)
        weight = np.where(upper, share, 1 - share).prod(axis=-1)
        node = np.minimum(low + upper, last)
        out += weight * block[tuple(node.T)]
    return out
