"""How the voxels of an image in a LIF file lie in its memory block, as its XML tells.

Source of the format: Leica Microsystems, "LIF File Format": ``ChannelDescription`` and
``DimensionDescription`` give the distance in bytes of each channel and along each axis.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from microtome_core.errors import SourceError
from microtome_ingest.sources.letters import unique
from microtome_ingest.sources.strided import Strided

# DimID; axes that are neither space nor time stay open.
_LETTERS = {
    1: "x", 2: "y", 3: "z", 4: "t", 5: "l", 6: "a", 7: "n", 8: "q", 9: "e", 10: "m", 11: "o"
}  # fmt: skip
MEANINGS = {
    "l": "emission wavelength", "a": "rotation", "n": "slices along x and t",
    "q": "slices along t", "e": "excitation wavelength", "m": "position", "o": "loop"
}  # fmt: skip
TILES = "m"
_DESCRIPTION = "./Data/Image/ImageDescription"
_ORDERS: dict[tuple[int, ...], bool] = {(1, 2, 3): False, (3, 2, 1): True}


@dataclass(frozen=True, slots=True)
class Dimension:
    """An axis: what it is, how long, where it begins and ends, and its step in bytes."""

    axis: str
    extent: int
    origin: float
    length: float
    unit: str
    step: int


@dataclass(frozen=True, eq=False, slots=True)
class Channel:
    """A channel or a sample of a pixel: its type, and where it begins."""

    element: Element
    dtype: np.dtype[Any]
    bits: int
    tag: int
    offset: int


@dataclass(frozen=True, eq=False, slots=True)
class Layout:
    """An image in a file.

    Parameters
    ----------
    axes : str
        The outermost in memory first; with a y or x of one voxel where the scan had none.
    array : Strided
        The same axes.
    dimensions : tuple of Dimension
        Those that the XML lists, singletons included.
    channels : tuple of Channel
        In the order in which they are read.
    blue_first : bool
        Samples lie in the order blue, green, red.
    added : str
        Axes that the scan does not have.
    """

    axes: str
    array: Strided
    dimensions: tuple[Dimension, ...]
    channels: tuple[Channel, ...]
    blue_first: bool
    added: str

    @property
    def extents(self) -> dict[str, int]:
        """Extent by axis."""
        return dict(zip(self.axes, self.array.shape, strict=True))

    def tile(self, index: int) -> "Layout":
        """Return one position of several, without their axis."""
        tile = slice(index, index + 1)
        box = [tile if a == TILES else slice(0, n) for a, n in self.extents.items()]
        part, kept = self.array.box(box), [i for i, a in enumerate(self.axes) if a != TILES]
        shape, steps = ([of[i] for i in kept] for of in (part.shape, part.steps))
        array = replace(part, shape=tuple(shape), steps=tuple(steps))
        rest = tuple(one for one in self.dimensions if one.axis != TILES)
        axes = self.axes.replace(TILES, "")
        return replace(self, axes=axes, array=array, dimensions=rest)


def read_layout(element: Element, offset: int, path: str, name: str) -> Layout:
    """Read an image's description.

    Raises
    ------
    SourceError
        Numbers that contradict each other, or types that are not stored.
    """
    dimensions, channels = _dimensions(element), _channels(element)
    _check(dimensions, channels, path, name)
    if any(int(one.get("BitInc", 0)) for one in element.iterfind(f"{_DESCRIPTION}/*/*")):
        raise SourceError(path, f"{name}: voxels that are not whole bytes are not supported")
    axes = [(d.axis, d.extent, d.step) for d in dimensions if d.extent > 1]
    axes += _channel_axes(channels, dimensions, path, name)
    axes.sort(key=lambda axis: axis[2], reverse=True)
    added = "".join(a for a in "yx" if a not in [axis for axis, _, _ in axes])
    for axis in added:
        axes.insert(_place(axis, [a for a, _, _ in axes]), (axis, 1, 0))
    letters = "".join(axis for axis, _, _ in axes)
    tags = tuple(channel.tag for channel in channels)
    first = min(channel.offset for channel in channels)
    shape, steps = tuple(n for _, n, _ in axes), tuple(step for _, _, step in axes)
    array = Strided(offset + first, shape, steps, channels[0].dtype)
    blue_first = "s" in letters and _ORDERS[tags[:3]]
    layout = Layout(letters, array, dimensions, channels, blue_first, _missing(added, dimensions))
    if (doubled := array.overlap()) is not None:
        raise SourceError(path, f"{name}: voxels along {letters[doubled]} overlap: damaged")
    return layout


def _missing(added: str, dimensions: Sequence[Dimension]) -> str:
    """Return those of the added axes that the XML does not list with one voxel."""
    return "".join(axis for axis in added if axis not in [d.axis for d in dimensions])


def _place(axis: str, axes: Sequence[str]) -> int:
    """Return where an axis that is not there belongs: y before x, x before samples."""
    before = [i for i, other in enumerate(axes) if other in ("x" if axis == "y" else "") + "s"]
    return min(before, default=len(axes))


def _dimensions(element: Element) -> tuple[Dimension, ...]:
    found = element.findall(f"{_DESCRIPTION}/Dimensions/DimensionDescription")
    letters = unique("".join(_LETTERS.get(int(d.attrib["DimID"]), "p") for d in found))
    return tuple(
        Dimension(
            axis,
            int(d.attrib["NumberOfElements"]),
            float(d.get("Origin") or 0),
            float(d.get("Length") or 0),
            d.get("Unit", ""),
            int(d.attrib["BytesInc"]),
        )
        for axis, d in zip(letters, found, strict=True)
    )


def _channels(element: Element) -> tuple[Channel, ...]:
    found = element.findall(f"{_DESCRIPTION}/Channels/ChannelDescription")
    channels = [
        Channel(
            one,
            _dtype(int(one.get("DataType", 0)), int(one.attrib["Resolution"])),
            int(one.attrib["Resolution"]),
            int(one.get("ChannelTag", 0)),
            int(one.attrib["BytesInc"]),
        )
        for one in found
    ]
    return tuple(sorted(channels, key=lambda channel: channel.offset))


def _dtype(kind: int, bits: int) -> np.dtype[Any]:
    if kind not in (0, 1) or not 0 < bits <= 64:
        raise ValueError(f"voxels of type {kind} and {bits} bits")
    size = next(n for n in (1, 2, 4, 8) if bits <= 8 * n)
    return np.dtype(f"<{'uf'[kind]}{size}")


def _check(
    dimensions: Sequence[Dimension], channels: Sequence[Channel], path: str, name: str
) -> None:
    if not channels or not dimensions:
        raise SourceError(path, f"{name}: has no channels or no axes")
    types = sorted({channel.dtype.name for channel in channels})
    if len(types) > 1:
        raise SourceError(path, f"{name}: channels of {' and '.join(types)} in one image")
    if any(d.extent < 1 or d.step < 0 for d in dimensions) or channels[0].offset < 0:
        raise SourceError(path, f"{name}: an axis without voxels, or a negative distance")


def _channel_axes(
    channels: Sequence[Channel], dimensions: Sequence[Dimension], path: str, name: str
) -> list[tuple[str, int, int]]:
    """Return axes c and s, with extent and step, of channels at even distances."""
    pixel = min((d.step for d in dimensions if d.extent > 1), default=0)
    offsets = [channel.offset - channels[0].offset for channel in channels]
    inner = sum(offset < pixel for offset in offsets)
    samples = tuple(channel.tag for channel in channels[:3]) in _ORDERS and inner == 3
    if not samples:
        inner = 1
    outer, rest = divmod(len(channels), inner)
    steps = (offsets[inner] if outer > 1 else 0, offsets[1] if inner > 1 else 0)
    expected = [i * steps[0] + j * steps[1] for i in range(outer) for j in range(inner)]
    if rest or offsets != expected:
        raise SourceError(path, f"{name}: channels at uneven distances {offsets[:8]}")
    axes = (("c", outer, steps[0]), ("s", inner, steps[1]))
    return [axis for axis in axes if axis[1] > 1]
