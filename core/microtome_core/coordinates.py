"""Coordinates of a layer: voxels of a level, micrometers, and those of the spaces it lies in."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from microtome_core.axes import spatial
from microtome_core.errors import InputError
from microtome_core.space import PHYSICAL, VOXEL, Points, Transform, check_points
from microtome_core.units import convert
from microtome_core.wire import LayerInfo

Transforms = Callable[[str], Transform]


def transform_points(
    info: LayerInfo, points: ArrayLike, source: str, target: str, level: int, find: Transforms
) -> Points:
    """Return points in other coordinates.

    Parameters
    ----------
    points : array_like
        Of shape (…, spatial axes): those of the layer in its order, those of a space in its own.
    source, target : str
        ``voxel`` of `level`, whose centres are whole numbers; ``physical``, in micrometers; or the
        name of a space.
    find : callable
        Returns the transform of a space for the layer's axes.

    Raises
    ------
    InputError
        Points of another form, an unknown space, or a layer whose voxel size is not known.
    """
    axes = spatial(info.axes)
    moved = check_points(points, len(axes))
    if source == target:
        return moved
    scale, translation = micrometers(info, level)
    if source == VOXEL:
        moved = moved * scale + translation
    elif source != PHYSICAL:
        moved = find(source).to_layer(moved)
    if target == VOXEL:
        return np.asarray((moved - translation) / scale)
    return moved if target == PHYSICAL else find(target).to_space(moved)


def micrometers(info: LayerInfo, level: int) -> tuple[Points, Points]:
    """Return voxel size and centre of the first voxel along the spatial axes, in micrometers.

    Raises
    ------
    InputError
        An axis without a unit of length.
    """
    told = info.levels[level]
    found = []
    for axis, unit, scale, start in zip(
        info.axes, info.units, told.scale, told.translation, strict=True
    ):
        if axis not in spatial(info.axes):
            continue
        if unit is None:
            raise InputError(f"layer {info.id}: the voxel size along {axis} is not known")
        found.append([convert(value, unit, "micrometer") for value in (scale, start)])
    sizes, starts = np.array(found).T
    return sizes, starts
