"""Regions by the names of axes: in physical units, or in voxels."""

import operator
from collections.abc import Mapping
from typing import Any, SupportsIndex

from microtome.described import Described
from microtome.errors import InputError, RegionError
from microtome.indexing import Cut, parse_index
from microtome.selection import Position, Units, axis_unit, channel, physical


def cut_of(volume: Described, positions: Mapping[str, Position], unit: Units) -> Cut:
    """Return what physical positions select, as `Volume.sel` takes them."""
    check_axes(volume.axes, positions)
    return parse_index(
        tuple(_physical(volume, axis, positions, unit) for axis in volume.axes),
        volume.shape,
        volume.axes,
    )


def voxels_of(volume: Described, positions: Mapping[str, Any]) -> Cut:
    """Return what positions in voxels select, as `Volume.read` takes them."""
    check_axes(volume.axes, positions)
    pairs = zip(volume.axes, volume.shape, strict=True)
    index = tuple(_voxels(volume, axis, positions, extent) for axis, extent in pairs)
    return parse_index(index, volume.shape, volume.axes)


def check_axes(axes: str, positions: Mapping[str, object]) -> None:
    """Refuse an axis that the volume lacks.

    Raises
    ------
    RegionError
        Names those that there are.
    """
    unknown = sorted(set(positions) - set(axes))
    if unknown:
        raise RegionError(f"axis {unknown[0]!r} is unknown: the axes are {axes!r}")


def _physical(
    volume: Described, axis: str, positions: Mapping[str, Position], unit: Units
) -> int | slice:
    if axis not in positions:
        return slice(None)
    if axis == "c":
        return channel(positions[axis], volume.channels, volume.shape[volume.axes.index(axis)])
    own = axis_unit(axis, volume.units[axis], unit)
    return physical(positions[axis], volume._ruler(axis), own)


def _voxels(
    volume: Described, axis: str, positions: Mapping[str, Any], extent: int
) -> SupportsIndex | slice:
    if axis not in positions:
        return slice(None)
    word = positions[axis]
    if axis == "c" and isinstance(word, str):
        return channel(word, volume.channels, extent)
    if isinstance(word, tuple) and len(word) == 2:
        word = slice(*word)
    if not isinstance(word, slice):
        if isinstance(word, bool) or not isinstance(word, SupportsIndex):
            raise InputError(f"{axis}={word!r}: expected an index, (start, stop) or a slice")
        return word
    for end in (word.start, word.stop):
        # NumPy's slices end where the array does; a name is said by somebody who means it.
        if end is not None and not -extent <= operator.index(end) <= extent:
            raise RegionError(f"{axis}={_shown(word)} is out of bounds: valid is {axis}=0:{extent}")
    return word


def _shown(word: slice) -> str:
    return f"{'' if word.start is None else word.start}:{'' if word.stop is None else word.stop}"
