"""Physical selection: lengths, times and channel names become an index expression.

A voxel `i` of an axis covers ``(i - 0.5) * scale + translation`` up to, but not including,
``(i + 0.5) * scale + translation``: the translation of a level is the centre of its first voxel
(OME-Zarr 0.5, "coordinateTransformations").
"""

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, floor, isfinite
from typing import Any, SupportsFloat, SupportsIndex, TypeAlias

import numpy as np

from microtome.errors import RegionError
from microtome_core.axes import SPATIAL
from microtome_core.errors import InputError
from microtome_core.units import LENGTHS, convert, unit_name
from microtome_core.wire import Channel

Number: TypeAlias = float | np.integer[Any] | np.floating[Any]
Position: TypeAlias = Number | tuple[Number | None, Number | None] | slice | str
Units: TypeAlias = str | Mapping[str, str] | None

# What binary fractions add or take, in voxels: 1.1 / 0.1 is 11.000000000000002.
_SLACK = 1e-6


@dataclass(frozen=True, slots=True)
class Ruler:
    """Where the voxels of one axis lie.

    Parameters
    ----------
    axis : str
        Its letter.
    extent : int
        Voxels along it.
    scale, translation : float
        Voxel size and centre of the first voxel.
    unit : str or None
        Of both.

    Examples
    --------
    >>> z = Ruler("z", 100, 0.4, 0.0, "micrometer")
    >>> z.index(2.0), z.range(2.0, 4.0)
    (5, slice(5, 10, None))
    """

    axis: str
    extent: int
    scale: float
    translation: float
    unit: str | None

    @property
    def low(self) -> float:
        """Where the first voxel begins."""
        return self.translation - self.scale / 2

    @property
    def high(self) -> float:
        """Where the last voxel ends."""
        return self.translation + (self.extent - 0.5) * self.scale

    def index(self, value: float) -> int:
        """Return the voxel that covers `value`, which is the one with the nearest centre.

        Raises
        ------
        RegionError
            No voxel does.
        """
        voxel = floor(_snapped((value - self.low) / self.scale))
        if not 0 <= voxel < self.extent:
            raise self._outside(f"{value:g}")
        return voxel

    def range(self, start: float | None, stop: float | None) -> slice:
        """Return the voxels whose centre lies in ``[start, stop)``; None means the axis' own end.

        Ranges that meet share no voxel and leave none out, at any level.

        Raises
        ------
        RegionError
            Ends in the wrong order, outside of the axis, or with no voxel centre between them.
        """
        low = self.low if start is None else start
        high = self.high if stop is None else stop
        if low >= high:
            raise RegionError(f"{self.axis}=({low:g}, {high:g}): expected start < stop")
        slack = _SLACK * self.scale
        if low < self.low - slack or high > self.high + slack:
            raise self._outside(f"({low:g}, {high:g})")
        first, last = (
            ceil(_snapped((value - self.translation) / self.scale)) for value in (low, high)
        )
        first, last = max(first, 0), min(last, self.extent)
        if first >= last:
            raise RegionError(
                f"{self.axis}=({low:g}, {high:g}) holds no voxel centre: voxels are "
                f"{self.scale:g}{_suffix(self.unit)} apart; a single number gives the nearest one"
            )
        return slice(first, last)

    def _outside(self, shown: str) -> RegionError:
        return RegionError(
            f"{self.axis}={shown} is out of bounds: the axis extends from {self.low:g} to "
            f"{self.high:g}{_suffix(self.unit)}"
        )


def axis_unit(axis: str, own: str | None, asked: Units) -> str | None:
    """Return the unit in which the caller gives an axis' positions, or None for the axis' own.

    Parameters
    ----------
    axis : str
        Its letter.
    own : str or None
        The axis' unit.
    asked : str, mapping of axis to str, or None
        A length holds for the spatial axes, a time for t; a mapping says it for each.

    Raises
    ------
    InputError
        An unknown unit, or any for an axis whose voxel size is not known.
    """
    if asked is None or axis == "c":
        return None
    if isinstance(asked, str):
        name = unit_name(asked)
        wanted = name if (axis in SPATIAL) == (name in LENGTHS) else None
    else:
        wanted = asked.get(axis)
    if wanted is not None and own is None:
        raise InputError(f"axis {axis} has no unit, its positions cannot be given in {wanted!r}")
    return wanted


def physical(position: Position, ruler: Ruler, unit: str | None) -> int | slice:
    """Turn a position or a range of an axis into an integer or a slice.

    Parameters
    ----------
    position : number, (start, stop) or slice
        In `unit`; either end of a range may be None.
    ruler : Ruler
        The axis.
    unit : str or None
        None for the axis' own.
    """
    if isinstance(position, slice):
        if position.step is not None:
            raise InputError(f"{ruler.axis}={position!r}: a physical range has no step")
        position = (position.start, position.stop)
    if isinstance(position, (tuple, list)):
        if len(position) != 2:
            raise InputError(f"{ruler.axis}={position!r}: expected (start, stop)")
        start, stop = (None if end is None else _number(end, ruler, unit) for end in position)
        return ruler.range(start, stop)
    return ruler.index(_number(position, ruler, unit))


def channel(position: Position, channels: tuple[Channel, ...], extent: int) -> int | slice:
    """Turn a channel's name, its number, or a half-open range of numbers into an index.

    Raises
    ------
    RegionError
        A name that no channel, or more than one, bears, or a number that there is not.
    """
    if isinstance(position, str):
        return _named(position, [c.name for c in channels])
    if isinstance(position, (tuple, list, slice)):
        return physical(position, Ruler("c", extent, 1.0, 0.0, None), None)
    if isinstance(position, (bool, np.bool_)) or not isinstance(position, SupportsIndex):
        raise InputError(f"c={position!r}: expected a channel's name or number")
    number = operator.index(position)
    if not 0 <= number < extent:
        raise RegionError(f"c={number} is out of bounds: channels are 0 to {extent - 1}")
    return number


def _named(name: str, names: list[str]) -> int:
    if names.count(name) != 1:
        fault = (
            "is the name of several channels" if name in names else "is not the name of a channel"
        )
        known = ", ".join(map(repr, names)) or "none with a name"
        raise RegionError(f"c={name!r} {fault}: there are {known}")
    return names.index(name)


def _number(value: object, ruler: Ruler, unit: str | None) -> float:
    if isinstance(value, (bool, np.bool_, str)) or not isinstance(value, SupportsFloat):
        raise InputError(f"{ruler.axis}={value!r}: expected a number or (start, stop)")
    number = float(value)
    if not isfinite(number):
        raise InputError(f"{ruler.axis}={value!r}: expected a finite number")
    if unit is None or ruler.unit is None:
        return number
    return convert(number, unit, ruler.unit)


def _snapped(voxels: float) -> float:
    nearest = round(voxels)
    return float(nearest) if abs(voxels - nearest) <= _SLACK else voxels


def _suffix(unit: str | None) -> str:
    return f" {unit}" if unit else ""
