"""Planes of a volume: which axes lie where in a picture, and which region a tile is.

=====  =======  =========  ========
plane  rows     columns    index
=====  =======  =========  ========
xy     y        x          z
xz     z        x          y
yz     y        z          x
=====  =======  =========  ========

These are the three views of ImageJ's Orthogonal Views and of Neuroglancer's 4panel layout: xz lies
below xy and shares its x, yz lies to the right of xy and shares its y.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from microtome_core.errors import NotFound, RegionError
from microtome_core.region import Region
from microtome_core.wire import LayerInfo, LevelInfo

PlaneName = Literal["xy", "xz", "yz"]


@dataclass(frozen=True, slots=True)
class Plane:
    """A view: the axes of its rows and columns, and the one that its index counts."""

    rows: str
    columns: str
    normal: str


PLANES: Mapping[str, Plane] = {
    "xy": Plane("y", "x", "z"),
    "xz": Plane("z", "x", "y"),
    "yz": Plane("y", "z", "x"),
}


@dataclass(frozen=True, slots=True)
class Tile:
    """The address of a tile within one level.

    Parameters
    ----------
    plane : str
        ``xy``, ``xz`` or ``yz``.
    index : int
        Voxel on the plane's normal; 0 where the layer lacks that axis.
    row, column : int
        In tiles.
    size : int
        Voxels along each side.
    """

    plane: PlaneName
    index: int
    row: int
    column: int
    size: int


def planes_of(axes: str) -> tuple[PlaneName, ...]:
    """Return the planes that a layer has: all three, or xy alone without z.

    >>> planes_of("cyx")
    ('xy',)
    """
    return ("xy", "xz", "yz") if "z" in axes else ("xy",)


def tile_ranges(info: LayerInfo, level: LevelInfo, tile: Tile) -> dict[str, tuple[int, int]]:
    """Return the range of each spatial axis that a tile covers, clipped to the volume.

    Raises
    ------
    NotFound
        No such plane, index, row or column; the message names the valid range.
    """
    extents = dict(zip(info.axes, level.shape, strict=True))
    if tile.plane not in planes_of(info.axes):
        raise NotFound(f"layer {info.id} has no axis z, and so no plane {tile.plane}")
    plane = PLANES[tile.plane]
    _check(f"index {tile.index} on axis {plane.normal}", tile.index, extents.get(plane.normal, 1))
    ranges = {plane.normal: (tile.index, tile.index + 1)} if plane.normal in extents else {}
    for word, axis, number in (
        ("row", plane.rows, tile.row),
        ("column", plane.columns, tile.column),
    ):
        words = f"{word} {number} of tiles on axis {axis}"
        _check(words, number, -(-extents[axis] // tile.size))
        low = number * tile.size
        ranges[axis] = (low, min(low + tile.size, extents[axis]))
    return ranges


def _check(what: str, number: int, count: int) -> None:
    if not 0 <= number < count:
        raise NotFound(f"{what} is outside of the level: valid is 0 to {count - 1}")


def region_of(
    info: LayerInfo, level: LevelInfo, ranges: Mapping[str, tuple[int, int]], t: int, c: int
) -> Region:
    """Return the region of spatial `ranges` of a level at one time point and channel.

    Raises
    ------
    RegionError
        A time point or channel that the layer lacks; the message names the valid range.
    """
    extents = dict(zip(info.axes, level.shape, strict=True))
    for axis, number in (("t", t), ("c", c)):
        if not 0 <= number < extents.get(axis, 1):
            count = extents.get(axis, 1)
            raise RegionError(f"{axis}={number} is out of bounds: valid is 0 to {count - 1}")
    full = {"t": (t, t + 1), "c": (c, c + 1), **ranges}
    return Region(
        info.axes,
        tuple(full[axis][0] for axis in info.axes),
        tuple(full[axis][1] for axis in info.axes),
    )


def as_picture(block: NDArray[Any], axes: str, plane: str) -> NDArray[Any]:
    """Return (rows, columns) of a block that has one voxel along every other axis."""
    view = PLANES[plane]
    rows, columns = axes.index(view.rows), axes.index(view.columns)
    flat = block.reshape([block.shape[i] for i in range(block.ndim) if i in (rows, columns)])
    return flat.T if rows > columns else flat
