"""What is exported: a region of one level of a layer, read a block at a time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.axes import ORDER
from microtome_core.errors import InputError, RegionError
from microtome_core.names import is_index
from microtome_core.region import Region
from microtome_core.selection import Selection
from microtome_core.store.layer import Layer
from microtome_core.units import converted
from microtome_core.wire import Channel, LayerInfo, LevelInfo

# Bytes of voxels that are read at once; another block is read while one is written.
BLOCK = 32 << 20


def nothing(_: int) -> None:
    """Take no notice of the bytes that were read."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A region of a level, with axes in an order of its own.

    Parameters
    ----------
    layer : Layer
    level : int
    region : Region
        In the layer's axes.
    axes : str
        Those that remain, in the order in which voxels are wanted; each of the others is one index.
    seen : callable
        Is told of the bytes of every block that was read.
    """

    layer: Layer
    level: int
    region: Region
    axes: str
    seen: Callable[[int], None] = nothing

    @property
    def info(self) -> LayerInfo:
        """What is known of the layer."""
        return self.layer.info

    @property
    def record(self) -> dict[str, Any]:
        """The layer's record."""
        return dict(self.info.attrs)

    @property
    def name(self) -> str:
        """The layer's own name."""
        return self.info.layer_id.layer

    @property
    def whole(self) -> bool:
        """Whether nothing of level 0 was left out."""
        return self.level == 0 and self.region == Region.whole(self.info.axes, self.info.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a voxel, in native byte order."""
        return np.dtype(self.info.dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents in voxels, in the order of `axes`."""
        return self._turned(self.region.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all voxels."""
        return prod(self.shape) * self.dtype.itemsize

    @property
    def chunk(self) -> tuple[int, ...]:
        """Extents of what is decoded at once, in the order of `axes`."""
        return self._turned(self._level.chunk)

    @property
    def scale(self) -> tuple[float, ...]:
        """Voxel size in the axes' units."""
        return self._turned(self._level.scale)

    @property
    def translation(self) -> tuple[float, ...]:
        """Centre of the first voxel in the axes' units, where that of the layer has its own."""
        level = self._level
        parts = zip(level.translation, self.region.start, level.scale, strict=True)
        # Without the digits that binary fractions add.
        return self._turned([float(f"{origin + low * size:.15g}") for origin, low, size in parts])

    @property
    def units(self) -> tuple[str | None, ...]:
        """Unit of each axis."""
        return self._turned(self.info.units)

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The channels that are exported: one where the layer has no axis c, none of labels."""
        return self.info.channels[self.channel_range]

    @property
    def channel_range(self) -> slice:
        """Which of the layer's channels they are."""
        if "c" not in self.info.axes:
            return slice(None)
        place = self.info.axes.index("c")
        return slice(self.region.start[place], self.region.stop[place])

    @property
    def _level(self) -> LevelInfo:
        return self.info.levels[self.level]

    def extent(self, axis: str) -> int:
        """Return the voxels along an axis, 1 if there is no such axis."""
        return dict(zip(self.axes, self.shape, strict=True)).get(axis, 1)

    def along(self, axis: str, what: Sequence[Any], into: str) -> float | None:
        """Return a size or place along an axis in a unit; None where the layer has no unit."""
        if axis not in self.axes:
            return None
        place = self.axes.index(axis)
        unit = self.units[place]
        return converted(what[place], unit, into)

    def micrometers(self, axes: str) -> list[float] | None:
        """Return the voxel size along each of some axes, None where one is not known."""
        sizes = [self.along(axis, self.scale, "micrometer") for axis in axes]
        known = [size for size in sizes if size is not None]
        return known if len(known) == len(axes) else None

    def turned(self, axes: str) -> "Cut":
        """Return the same with its axes in another order."""
        if sorted(axes) != sorted(self.axes):
            raise ValueError(f"axes {axes}: expected those of {self.axes}")
        return replace(self, axes=axes)

    def only(self, axis: str, index: int) -> "Cut":
        """Return one index along an axis, which is dropped."""
        place = self.info.axes.index(axis)
        start, stop = list(self.region.start), list(self.region.stop)
        start[place] += index
        stop[place] = start[place] + 1
        region = Region(self.info.axes, tuple(start), tuple(stop))
        return replace(self, region=region, axes=self.axes.replace(axis, ""))

    def read(self, region: Region) -> NDArray[Any]:
        """Return a part of it, C-contiguous in the order of `axes`, counted from its first voxel.

        Raises
        ------
        StorageError
            Storage failed or holds damaged data; never zeros instead.
        """
        block = self.layer.voxels[self.level].load(self._there(region))
        self.seen(block.nbytes)
        dropped = tuple(i for i, a in enumerate(self.info.axes) if a not in self.axes)
        kept = [a for a in self.info.axes if a in self.axes]
        order = [kept.index(axis) for axis in self.axes]
        return np.ascontiguousarray(np.squeeze(block, dropped).transpose(order))

    def boxes(self, most: int = BLOCK) -> Iterator[tuple[Region, NDArray[Any]]]:
        """Yield all of it in boxes of whole chunks of at most so many bytes, rows first."""
        return self._loaded(_box(self.shape, self.chunk, most // self.dtype.itemsize))

    def slabs(self, most: int = BLOCK) -> Iterator[tuple[Region, NDArray[Any]]]:
        """Yield all of it in blocks that follow each other in C order."""
        return self._loaded(_slab(self.shape, self.chunk, most // self.dtype.itemsize))

    def tiles(
        self, tile: Sequence[int], most: int = BLOCK
    ) -> Iterator[tuple[Region, NDArray[Any]]]:
        """Yield all of it in boxes of whole tiles, laid from its own first voxel."""
        step = _box(self.shape, tile, most // self.dtype.itemsize)
        return self._ahead(Region.whole(self.axes, self.shape).split(step))

    def _loaded(self, step: Sequence[int]) -> Iterator[tuple[Region, NDArray[Any]]]:
        """Yield blocks of the extents of `step`, along the layer's chunks."""
        start, stop = self._turned(self.region.start), self._turned(self.region.stop)
        # An axis that is to be whole is not cut, wherever in the layer it begins.
        cuts = [h if n >= h - low else n for n, low, h in zip(step, start, stop, strict=True)]
        return self._ahead(p.relative_to(start) for p in Region(self.axes, start, stop).split(cuts))

    def _ahead(self, parts: Iterator[Region]) -> Iterator[tuple[Region, NDArray[Any]]]:
        """Yield parts; while one is worked on, the next is read."""
        with ThreadPoolExecutor(1, thread_name_prefix="read") as pool:
            ahead = None
            for part in parts:
                following = (part, pool.submit(self.read, part))
                if ahead is not None:
                    yield ahead[0], ahead[1].result()
                ahead = following
            if ahead is not None:
                yield ahead[0], ahead[1].result()

    def _there(self, region: Region) -> Region:
        """Return the same voxels in the layer's own axes."""
        start, stop = list(self.region.start), list(self.region.stop)
        for axis, low, high in zip(region.axes, region.start, region.stop, strict=True):
            place = self.info.axes.index(axis)
            start[place], stop[place] = (
                self.region.start[place] + low,
                self.region.start[place] + high,
            )
        return Region(self.info.axes, tuple(start), tuple(stop))

    def _turned(self, values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(values[self.info.axes.index(axis)] for axis in self.axes)


def make_cut(
    layer: Layer,
    level: int = 0,
    words: Mapping[str, str] | None = None,
    seen: Callable[[int], None] = nothing,
) -> Cut:
    """Return what a user asks for.

    Parameters
    ----------
    layer : Layer
    level : int
    words : dict, optional
        A word an axis: ``10:20``, or ``10``, by which z, t and c are dropped; of c also a name.
    seen : callable

    Raises
    ------
    InputError
        No such level, axis, channel or range; the message says which there are.
    """
    info = layer.info
    if not 0 <= level < len(info.levels):
        raise InputError(f"level {level}: {info.id} has levels 0 to {len(info.levels) - 1}")
    given = dict(words or {})
    if "c" in given:
        given["c"] = _channel(info, given["c"])
        if "c" not in info.axes and given["c"] == "0":
            del given["c"]  # the only one that there is
    chosen = Selection.parse(info.axes, info.levels[level].shape, given)
    kept = "".join(a for a in ORDER if a in chosen.axes or (a in "yx" and a in info.axes))
    return Cut(layer, level, chosen.region, kept, seen)


def parse_words(text: str | None) -> dict[str, str]:
    """Read ``z=0:10,y=5:9``.

    >>> parse_words("z=0:10,c=GFP")
    {'z': '0:10', 'c': 'GFP'}

    Raises
    ------
    RegionError
        Anything else, or an axis that is named twice.
    """
    words: dict[str, str] = {}
    for part in (text or "").split(",") if text else []:
        axis, equals, word = (piece.strip() for piece in part.partition("="))
        if not equals or not word or axis in words or len(axis) != 1:
            raise RegionError(f"region {text!r:.200}: expected such as z=0:64,y=0:512,x=0:512")
        words[axis] = word
    return words


def _channel(info: LayerInfo, word: str) -> str:
    """Return the number of a channel that is given by its name; ranges and numbers stay.

    A name of digits alone is a number where there is such a channel, as in a cutout over HTTP.
    """
    names = [channel.name for channel in info.channels]
    if word in names and not is_index(word, len(names)):
        if names.count(word) > 1:
            raise InputError(f"channel {word!r}: {info.id} has several of that name; give a number")
        return str(names.index(word))
    if not set(word) <= set("0123456789:"):
        there = ", ".join(map(repr, names)) or "none"
        raise InputError(f"channel {word[:80]!r}: {info.id} has {there}")
    return word


def box_extents(shape: Sequence[int], chunk: Sequence[int], itemsize: int) -> list[int]:
    """Return extents of whole chunks, as many as are read at once."""
    return _box(shape, chunk, BLOCK // itemsize)


def _box(shape: Sequence[int], chunk: Sequence[int], most: int) -> list[int]:
    """Return extents of whole chunks, grown along the last axes first while they fit."""
    step = _shrunk(chunk, most)
    for axis in reversed(range(len(step))):
        others = prod(step) // step[axis]
        while step[axis] < shape[axis]:
            wider = min(step[axis] * 2, shape[axis])
            if others * wider > most:
                return step
            step[axis] = wider
    return step


def _slab(shape: Sequence[int], chunk: Sequence[int], most: int) -> list[int]:
    """Return extents of which the last are whole, one is as long as fits, the others are 1."""
    step = [1] * len(shape)
    for axis in reversed(range(len(shape))):
        room = max(1, most // prod(step))
        if shape[axis] > room:
            # A part of a chunk is decoded as a whole: better whole ones, if there is room.
            step[axis] = room // chunk[axis] * chunk[axis] or room
            return step
        step[axis] = shape[axis]
    return step


def _shrunk(chunk: Sequence[int], most: int) -> list[int]:
    step = list(chunk)
    for axis in range(len(step)):
        while prod(step) > most and step[axis] > 1:
            step[axis] = -(-step[axis] // 2)
    return step
