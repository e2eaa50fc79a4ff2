"""Whether volumes show the same place, voxel by voxel, and the index of one box in each."""

from collections.abc import Mapping, Sequence
from math import isclose
from typing import TYPE_CHECKING, TypeAlias

from microtome.errors import InputError, RegionError
from microtome_core.axes import spatial
from microtome_core.region import Region
from microtome_core.units import convert

if TYPE_CHECKING:
    from microtome.volume import Volume

Extents: TypeAlias = Mapping[str, tuple[int, int]]

# Of a voxel: what rounding in metadata may leave between two grids that are meant to be one.
_SLACK = 1e-3


def check_aligned(volumes: Mapping[str, "Volume"]) -> None:
    """Make sure that a voxel of one volume is the same place in all others.

    Axes, extents, voxel sizes and the centre of the first voxel must agree, in whatever units they
    are given; channels may differ, and an axis t may be absent from some.

    Raises
    ------
    InputError
        Names the two volumes, and both values of what differs.
    """
    (first, one), *others = volumes.items()
    for name, other in others:
        fault = _difference(one, other)
        if fault:
            raise InputError(f"{name} does not lie on the grid of {first}: {fault}")


def _difference(one: "Volume", other: "Volume") -> str | None:
    if spatial(one.axes) != spatial(other.axes):
        return f"axes {other.axes!r}, expected {one.axes!r} with or without t and c"
    for axis in one.axes:
        if axis in other.axes and axis != "c":
            fault = _along(axis, one, other)
            if fault:
                return fault
    return None


def _along(axis: str, one: "Volume", other: "Volume") -> str | None:
    """Return what differs along one axis, or None."""
    (count, size, place), (count2, size2, place2) = _ruled(axis, one), _ruled(axis, other)
    if count != count2:
        return f"{axis} has {count2} voxels, expected {count}"
    unit, unit2 = one.units[axis], other.units[axis]
    if (unit is None) != (unit2 is None):
        return f"the unit of {axis} is {unit2}, expected {unit}"
    if unit is not None and unit2 is not None:
        size2, place2 = convert(size2, unit2, unit), convert(place2, unit2, unit)
    suffix = f" {unit}" if unit else ""
    # Over the whole axis the grids must not drift apart by more than the slack.
    if not isclose(size, size2, rel_tol=_SLACK / max(count, 1)):
        return f"voxels of {size2:g}{suffix} along {axis}, expected {size:g}"
    if abs(place - place2) > _SLACK * size:
        return f"{axis} begins at {place2:g}{suffix}, expected {place:g}"
    return None


def _ruled(axis: str, volume: "Volume") -> tuple[int, float, float]:
    level, i = volume.levels[volume.level_index], volume.axes.index(axis)
    return level.shape[i], float(level.scale[i]), float(level.translation[i])


def key_of(box: Region, volume: "Volume") -> tuple[slice, ...]:
    """Return the index of a box in a volume; axes that it does not name are whole.

    Raises
    ------
    RegionError
        The box reaches beyond the volume.
    """
    found = dict(zip(box.axes, box.slices, strict=True))
    for axis, extent in zip(volume.axes, volume.shape, strict=True):
        if axis in found and found[axis].stop > extent:
            raise RegionError(f"box {box}: {volume.id} has {axis}=0:{extent}")
    return tuple(found.get(axis, slice(None)) for axis in volume.axes)


def region_of(volume: "Volume", within: Extents | None = None) -> Region:
    """Return a region of a volume, on every axis but c.

    Parameters
    ----------
    volume : Volume
    within : mapping of axis to (start, stop), optional
        In voxels of the volume's level; an axis that is not named is whole.

    Raises
    ------
    InputError
        An axis that there is not, or a range outside of it.
    """
    extents = dict(zip(volume.axes, volume.shape, strict=True))
    extents.pop("c", None)
    given = dict(within or {})
    unknown = sorted(set(given) - set(extents))
    if unknown:
        raise InputError(f"within: axis {unknown[0]!r} is unknown: expected some of {[*extents]}")
    ranges = {axis: given.get(axis, (0, extent)) for axis, extent in extents.items()}
    for axis, (low, high) in ranges.items():
        if not 0 <= low < high <= extents[axis]:
            raise InputError(f"within: {axis}={low}:{high} is no range of {axis}=0:{extents[axis]}")
    starts, stops = zip(*ranges.values(), strict=True)
    return Region("".join(ranges), starts, stops)


def sized(shape: Sequence[int] | Mapping[str, int], region: Region) -> tuple[int, ...]:
    """Return the extents of a crop on each axis of `region`.

    Parameters
    ----------
    shape : sequence or mapping of axis to int
        A sequence is of the last axes; axes that are not named are of extent 1.
    region : Region
        Which must hold one crop at least.

    Raises
    ------
    InputError
        Too many extents, an unknown axis, or a crop that is larger than the region.
    """
    if isinstance(shape, Mapping):
        named = {str(axis): int(extent) for axis, extent in shape.items()}
    else:
        if len(shape) > len(region.axes):
            raise InputError(f"crops of shape {tuple(shape)}: the axes are {region.axes!r}")
        last = region.axes[len(region.axes) - len(shape) :]
        named = dict(zip(last, map(int, shape), strict=True))
    if unknown := sorted(set(named) - set(region.axes)):
        raise InputError(f"crops along {unknown[0]!r}: the axes are {region.axes!r}")
    found = tuple(named.get(axis, 1) for axis in region.axes)
    for axis, extent, room in zip(region.axes, found, region.shape, strict=True):
        if not 1 <= extent <= room:
            raise InputError(f"crops of {axis}={extent} do not fit into {region}")
    return found
