"""What `Volume.sample` does with the words it is given: columns, units, fixed axes."""

from collections.abc import Mapping
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from microtome.described import Described
from microtome.errors import InputError, RegionError
from microtome.points import METHODS, as_points, in_voxels, linear, nearest, read_points
from microtome.selection import Units, axis_unit, channel
from microtome_core.axes import SPATIAL, spatial
from microtome_core.units import convert


def sample(
    volume: Described,
    points: ArrayLike,
    method: str,
    unit: Units,
    positions: Mapping[str, SupportsIndex | str],
) -> NDArray[Any]:
    """Return values at points; see `Volume.sample`."""
    _check_method(volume, method)
    columns = _columns(volume, points, positions)
    given = as_points(points, columns)
    flat = given.reshape(-1, len(columns))
    if not len(flat):
        return np.zeros(given.shape[:-1], volume.dtype if method == "nearest" else np.float64)
    rulers = [volume._ruler(axis) for axis in columns]
    factors = None if unit is None else _factors(volume, columns, unit)
    full = np.empty((len(flat), volume.ndim))
    for axis in volume.axes:
        if axis not in columns:
            full[:, volume.axes.index(axis)] = _fixed(volume, axis, positions)
    full[:, [volume.axes.index(axis) for axis in columns]] = in_voxels(flat, rulers, factors)
    source = volume._source
    if method == "nearest":
        values = read_points(source, nearest(full, volume.shape))
    else:
        values = linear(source, full, [axis in SPATIAL for axis in volume.axes])
    return values.reshape(given.shape[:-1])


def _check_method(volume: Described, method: str) -> None:
    if method not in METHODS:
        raise InputError(f"method={method!r}: expected {' or '.join(map(repr, METHODS))}")
    if method == "linear" and volume.kind == "labels":
        raise InputError(f"{volume.id} are labels: between two ids there is none; method='nearest'")


def _columns(
    volume: Described, points: ArrayLike, positions: Mapping[str, SupportsIndex | str]
) -> str:
    """Return the axes that the points' coordinates are of."""
    own = spatial(volume.axes)
    for axis in positions:
        if axis not in volume.axes or axis in own:
            others = "".join(a for a in volume.axes if a not in own)
            raise RegionError(f"{axis}=: expected one of the axes {others!r} beside the points'")
    width = np.shape(points)[-1:]
    return own if positions or width == (len(own),) else volume.axes


def _fixed(volume: Described, axis: str, positions: Mapping[str, SupportsIndex | str]) -> int:
    extent = volume.shape[volume.axes.index(axis)]
    if axis not in positions:
        if extent == 1:
            return 0
        raise InputError(
            f"points of axes {spatial(volume.axes)!r} in a volume of axes {volume.axes!r}: which "
            f"{axis}? pass {axis}=, 0 to {extent - 1}, or a coordinate for every axis"
        )
    word: Any = positions[axis]
    found = (
        channel(word, volume.channels if axis == "c" else (), extent)
        if (axis == "c" or not isinstance(word, str))
        else None
    )
    if not isinstance(found, int):
        raise InputError(f"{axis}={word!r}: expected one index, 0 to {extent - 1}")
    return found


def _factors(volume: Described, columns: str, unit: Units) -> list[float]:
    """Return what turns coordinates in `unit` into the unit of each axis."""
    asked = [axis_unit(axis, volume.units[axis], unit) for axis in columns]
    if not any(asked):
        raise InputError(f"unit={unit!r}: no length, and none of the axes {columns!r} has it")
    own = [volume.units[axis] for axis in columns]
    pairs = zip(asked, own, strict=True)
    return [1.0 if a is None or o is None else convert(1.0, a, o) for a, o in pairs]
