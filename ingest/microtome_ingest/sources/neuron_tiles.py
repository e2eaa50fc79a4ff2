"""Tiles of the world of neurons: which voxels a branch covers, worked out and kept for a while.

A tile is always worked out as a whole, so that a voxel does not depend on the region it is read by,
and is kept sparse: only a few voxels in a hundred are anywhere near a branch.
"""

import itertools
import threading
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from math import floor, prod
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from microtome_ingest.sources.neurons import CELL, REACH, Cell, Neuron, grow

TILE = (32, 128, 128)
# Half the width in micrometers over which a branch fades out: the microscope's blur.
BLUR = 0.4
# A ball is no flatter than this many voxels, or branches between two planes would vanish.
THINNEST = 0.6
# Places and radii are kept to 1/64 micrometer.
QUANTUM = 1 / 64
# Balls are stamped in batches of about this many voxels, small enough for the CPU's cache.
_BATCH = 1 << 17
_CLASSES = (0.45, 0.8, 1.6)
_COVERED = 1 << 31

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Cache(Generic[K, V]):
    """Values by key, the oldest dropped first beyond `limit` bytes; safe for threads."""

    def __init__(self, make: Callable[[K], V], size: Callable[[V], int], limit: int) -> None:
        self._make, self._size, self._limit = make, size, limit
        self._values: dict[K, V] = {}
        self._bytes = 0
        self._lock = threading.Lock()
        # Threads that want the same value wait for the one that makes it, as do a few others.
        self._makers = tuple(threading.Lock() for _ in range(64))

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        return self._bytes

    def get(self, key: K) -> V:
        """Return the value of `key`, made now if need be."""
        value = self._values.get(key)
        if value is not None:
            return value
        with self._makers[hash(key) % len(self._makers)]:
            value = self._values.get(key)
            return self._put(key, self._make(key)) if value is None else value

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._values.clear()
            self._bytes = 0

    def _put(self, key: K, value: V) -> V:
        with self._lock:
            self._values[key] = value
            self._bytes += self._size(value)
            while self._bytes > self._limit:
                self._bytes -= self._size(self._values.pop(next(iter(self._values))))
        return value


@dataclass(frozen=True, slots=True)
class Tile:
    """The voxels of one tile that lie in or near a branch.

    Parameters
    ----------
    index : ndarray, int32
        Voxels in ascending order, counted in C order within the tile.
    level : ndarray, float32
        How strongly each shines, in (0, 1].
    covered : ndarray, bool
        Whether it lies within a branch rather than in its blur.
    owner : ndarray, uint16
        Whose it is: a row of `cells` and `looks`.
    cells : ndarray, int64, (n, 3)
        The cube that roots each neuron.
    looks : ndarray, (n, 3)
        Hue, saturation and brightness of each neuron.
    """

    index: NDArray[np.int32]
    level: NDArray[np.float32]
    covered: NDArray[np.bool_]
    owner: NDArray[np.uint16]
    cells: NDArray[np.int64]
    looks: NDArray[np.float64]

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays, about."""
        return 1024 + 11 * self.index.size + 48 * len(self.cells)


@dataclass(frozen=True, slots=True)
class _Sorted:
    """A neuron's balls by the tiles that they touch; a ball at an edge is in several.

    ``balls`` (int16) has columns z, y, x, radius in steps of `QUANTUM` micrometers, counted from
    the corner of the neuron's cube: many neurons must fit, or they would be grown again and again.
    """

    cell: Cell
    look: tuple[float, float, float]
    balls: NDArray[np.int16]
    tiles: dict[tuple[int, ...], slice]

    @property
    def nbytes(self) -> int:
        """Bytes held, about."""
        return self.balls.nbytes + 250 * len(self.tiles)

    def in_tile(self, index: tuple[int, ...], span: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the balls of one tile, places counted from that tile's origin."""
        balls: NDArray[np.float64] = self.balls[self.tiles[index]].astype(np.float64) * QUANTUM
        balls[:, :3] += np.array(self.cell) * CELL - np.array(index) * span
        return balls


class Tiles:
    """Every tile of one world; safe for threads, bounded in memory.

    Parameters
    ----------
    seed : int
    voxel : (float, float, float)
        Size of a voxel in micrometers along z, y, x.
    limit : int
        Bytes to keep of tiles; as much again of neurons.
    """

    def __init__(self, seed: int, voxel: tuple[float, float, float], limit: int) -> None:
        self._seed = seed
        self._voxel = np.array(voxel)
        self._span = self._voxel * TILE
        self._neurons: Cache[Cell, _Sorted] = Cache(self._sorted, lambda n: n.nbytes, limit)
        self._tiles: Cache[tuple[int, ...], Tile] = Cache(self._tile, lambda t: t.nbytes, limit)

    def get(self, index: tuple[int, ...]) -> Tile:
        """Return the tile that is `index` tiles away from the origin along z, y, x."""
        return self._tiles.get(index)

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        return self._neurons.nbytes + self._tiles.nbytes

    def clear(self) -> None:
        """Forget everything that was worked out."""
        self._neurons.clear()
        self._tiles.clear()

    def _sorted(self, cell: Cell) -> _Sorted:
        return _by_tile(grow(self._seed, cell), self._voxel)

    def _tile(self, index: tuple[int, ...]) -> Tile:
        near = [self._neurons.get(cell) for cell in cells_near(index, self._span)]
        here = [neuron for neuron in near if index in neuron.tiles]
        buffer = np.zeros(prod(TILE), dtype=np.uint32)
        if here:
            parts = [neuron.in_tile(index, self._span) for neuron in here]
            counts = [len(part) for part in parts]
            owner = np.repeat(np.arange(len(here), dtype=np.uint32), counts)
            _stamp_all(buffer, np.concatenate(parts), owner, self._voxel)
        return _sparse(buffer, here)


def cells_near(index: tuple[int, ...], span: NDArray[np.float64]) -> Iterator[Cell]:
    """Yield the cubes whose neurons may reach into a tile of extents `span` (micrometers)."""
    low = [floor((i * width - REACH) / CELL) for i, width in zip(index, span, strict=True)]
    high = [floor(((i + 1) * width + REACH) / CELL) for i, width in zip(index, span, strict=True)]
    yield from itertools.product(*(range(a, b + 1) for a, b in zip(low, high, strict=True)))


def _by_tile(neuron: Neuron, voxel: NDArray[np.float64]) -> _Sorted:
    """Sort a neuron's balls by tile, each once for every tile that its blur reaches."""
    rows = np.arange(len(neuron.radius))
    codes = np.zeros(len(rows), dtype=np.int64)
    first, counts = [], []
    outer = _outer(neuron.radius)
    for place, size, tile in zip(neuron.points, voxel, TILE, strict=True):
        reach = np.maximum(neuron.radius, THINNEST * size) * outer
        low = np.floor((place - reach) / (size * tile)).astype(np.int64)
        spans = np.floor((place + reach) / (size * tile)).astype(np.int64) - low
        first.append(int(low.min()))
        counts.append(int((low + spans).max()) - first[-1] + 1)
        codes = codes * counts[-1] + (low - first[-1])[rows]
        rows, codes = _spread(rows, codes, spans)
    # Small codes are sorted by radix, which is many times as fast.
    codes = codes.astype(np.min_scalar_type(int(codes.max())))
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    homes = np.stack(np.unravel_index(codes[order[starts]], counts), axis=1) + first
    stops = [*starts[1:].tolist(), len(order)]
    names = map(tuple, homes.tolist())
    tiles = {n: slice(a, b) for n, a, b in zip(names, starts.tolist(), stops, strict=True)}
    places = neuron.points.T - np.array(neuron.cell) * CELL
    balls = np.rint(np.column_stack([places, neuron.radius]) / QUANTUM).astype(np.int16)
    return _Sorted(neuron.cell, neuron.look, balls[rows[order]], tiles)


def _spread(
    rows: NDArray[np.int64], codes: NDArray[np.int64], spans: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Repeat each row `spans` times more, with the codes that follow its own."""
    more_rows, more_codes = [rows], [codes]
    for shift in range(1, int(spans.max()) + 1):
        kept = np.flatnonzero(spans[rows] >= shift)
        more_rows.append(rows[kept])
        more_codes.append(codes[kept] + shift)
    return np.concatenate(more_rows), np.concatenate(more_codes)


def _semi_axes(radius: NDArray[Any], voxel: NDArray[Any]) -> NDArray[Any]:
    """Return (n, 3): balls, stretched along an axis only where they would slip between voxels."""
    axes: NDArray[Any] = np.maximum(radius[:, None], THINNEST * voxel)
    return axes


def _outer(radius: NDArray[Any]) -> NDArray[Any]:
    """Return at how many radii from the centre the blur ends."""
    return 1.0 + BLUR / radius


def _stamp_all(
    buffer: NDArray[np.uint32],
    balls: NDArray[np.float64],
    owner: NDArray[np.uint32],
    voxel: NDArray[np.float64],
) -> None:
    """Stamp every ball, those of about the same radius together."""
    kinds = np.searchsorted(_CLASSES, balls[:, 3])
    for kind in np.unique(kinds):
        rows = np.flatnonzero(kinds == kind)
        radius = balls[rows, 3]
        half = (_semi_axes(radius, voxel) * _outer(radius)[:, None]).max(axis=0)
        box = np.minimum(2 * np.floor(half / voxel + 0.5).astype(int) + 1, TILE)
        step = max(1, _BATCH // int(box.prod()))
        for first in range(0, len(rows), step):
            some = rows[first : first + step]
            _stamp(buffer, balls[some], owner[some], voxel, box)


def _stamp(
    buffer: NDArray[np.uint32],
    balls: NDArray[np.float64],
    owner: NDArray[np.uint32],
    voxel: NDArray[np.float64],
    box: NDArray[np.int64],
) -> None:
    """Write each ball's voxels within the tile; of two balls the one that shines stronger wins.

    A voxel's value is one number that orders claims: whether the ball covers it, how strongly it
    shines there (15 bits), whose it is (16 bits).
    """
    radius = balls[:, 3].astype(np.float32)
    axes = _semi_axes(radius, voxel).astype(np.float32)
    starts = np.clip(np.rint(balls[:, :3] / voxel).astype(np.int64) - box // 2, 0, TILE - box)
    squares, places = [], []
    for i, stride in enumerate((TILE[1] * TILE[2], TILE[2], 1)):
        voxels = starts[:, i, None] + np.arange(box[i])
        away = (voxels * voxel[i] - balls[:, i, None]).astype(np.float32) / axes[:, i, None]
        squares.append(away * away)
        places.append((voxels * stride).astype(np.int32))
    square, place = _outer_sum(squares), _outer_sum(places)
    near = square < (_outer(radius) ** 2)[:, None]
    chosen = np.flatnonzero(near)
    rows = np.repeat(np.arange(len(balls)), np.count_nonzero(near, axis=1))
    distance = np.sqrt(square.ravel().take(chosen))
    claim = _claims(distance, radius.take(rows), owner.take(rows))
    np.maximum.at(buffer, place.ravel().take(chosen), claim)


def _outer_sum(parts: list[NDArray[Any]]) -> NDArray[Any]:
    """Return (n, a * b * c) sums of (n, a), (n, b) and (n, c)."""
    z, y, x = parts
    plane = y[:, :, None] + x[:, None, :]
    total: NDArray[Any] = z[:, :, None, None] + plane[:, None]
    return total.reshape(len(z), -1)


def _claims(
    distance: NDArray[np.float32], radius: NDArray[np.float32], owner: NDArray[np.uint32]
) -> NDArray[np.uint32]:
    """Turn distances in radii from a ball's centre into claims; half the light at the surface."""
    light = np.clip(0.5 + (1.0 - distance) * radius / (2 * BLUR), 0.0, 1.0)
    # Branches thinner than the blur are dimmer, as the same light is spread further.
    light *= np.minimum(0.45 + radius * 0.5, 1.0)
    strength = (light * np.float32(32767)).astype(np.uint32)
    claim: NDArray[np.uint32] = strength << np.uint32(16) | owner
    claim[distance <= 1.0] |= np.uint32(_COVERED)
    return claim


def _sparse(buffer: NDArray[np.uint32], neurons: list[_Sorted]) -> Tile:
    # Truth values are searched many times as fast as numbers.
    index = np.flatnonzero(buffer != 0).astype(np.int32)
    claim = buffer[index]
    return Tile(
        index=index,
        level=((claim >> np.uint32(16)) & np.uint32(0x7FFF)).astype(np.float32) / np.float32(32767),
        covered=claim >= np.uint32(_COVERED),
        owner=(claim & np.uint32(0xFFFF)).astype(np.uint16),
        cells=np.array([n.cell for n in neurons], dtype=np.int64).reshape(-1, 3),
        looks=np.array([n.look for n in neurons]).reshape(-1, 3),
    )
