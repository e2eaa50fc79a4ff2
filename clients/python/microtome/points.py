"""Values at points: at the nearest voxels, or between them."""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from microtome.errors import InputError, RegionError
from microtome.fetch import Source, in_parallel
from microtome.selection import Ruler
from microtome_core.dtypes import little_endian

# Services take 1 MiB of JSON.
_BYTES = 900_000
# What binary fractions add or take, in voxels.
_SLACK = 1e-6
METHODS = ("nearest", "linear")


def as_points(points: ArrayLike, axes: str) -> NDArray[np.float64]:
    """Return points of shape (..., axes) as numbers.

    Raises
    ------
    InputError
        Another number of coordinates, or one that is not finite.
    """
    try:
        given = np.asarray(points, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"points: {error}: expected numbers of shape (points, axes)") from error
    if given.ndim < 1 or given.shape[-1] != len(axes):
        raise InputError(
            f"points of shape {given.shape}: expected (points, {len(axes)}), one number for each "
            f"of axes {axes!r}"
        )
    if not np.isfinite(given).all():
        raise InputError("points: expected finite numbers")
    return given


def in_voxels(
    points: NDArray[np.float64], rulers: Sequence[Ruler], factors: Sequence[float] | None
) -> NDArray[np.float64]:
    """Return points in voxels, whose centres are whole numbers.

    Parameters
    ----------
    points : ndarray
        Of shape (n, axes).
    rulers : sequence of Ruler
        Where the voxels of each axis lie.
    factors : sequence of float or None
        What turns a coordinate into the unit of its axis; None where they are voxels already.

    Raises
    ------
    RegionError
        A point outside of the volume, which ends half a voxel beyond the outermost centres.
    """
    voxels = points
    if factors is not None:
        offset, scale = [r.translation for r in rulers], [r.scale for r in rulers]
        voxels = (points * np.array(factors) - np.array(offset)) / np.array(scale)
    extents = np.array([r.extent for r in rulers])
    beyond = np.argwhere((voxels < -0.5 - _SLACK) | (voxels > extents - 0.5 + _SLACK))
    if len(beyond):
        number, place = map(int, beyond[0])
        ruler = rulers[place]
        raise RegionError(
            f"point {number}: {ruler.axis}={points[number, place]:g} is out of bounds: it is voxel "
            f"{voxels[number, place]:g} of {ruler.extent}, valid is -0.5 to {ruler.extent - 0.5:g}"
        )
    return voxels


def nearest(voxels: NDArray[np.float64], extents: Sequence[int]) -> NDArray[np.int64]:
    """Return the voxels that cover points; an edge belongs to the voxel above it, as in `sel`."""
    found = np.floor(voxels + 0.5 + _SLACK).astype(np.int64)
    return np.clip(found, 0, np.array(extents) - 1)


def read_points(source: Source, points: NDArray[np.int64]) -> NDArray[Any]:
    """Return the voxel of each point, in one request for some ten thousand of them.

    Raises
    ------
    ServiceError, BrokenConnection, TimedOut, WrongAnswer
        Not every voxel came; there is no partial result.
    """
    known, which = np.unique(points, axis=0, return_inverse=True)
    # By chunks, so that each request touches few of them.
    order = np.lexsort((known // np.array(source.level.chunk)).T[::-1])
    values = np.empty(len(known), little_endian(source.dtype))
    room = max(1, _BYTES // (3 + sum(len(str(n)) + 2 for n in source.level.shape)))
    groups = [order[i : i + room] for i in range(0, len(order), room)]
    work = partial(source.fill_points, known, values)
    in_parallel(work, groups, source.transport.patience.parallel)
    return values.astype(source.dtype, copy=False)[which.reshape(-1)]


def linear(
    source: Source, voxels: NDArray[np.float64], blended: Sequence[bool]
) -> NDArray[np.float64]:
    """Return values between the nearest voxels, linear along each axis; at the edge, the edge's.

    Parameters
    ----------
    source : Source
    voxels : ndarray
        Of shape (n, axes), as `in_voxels` gives them.
    blended : sequence of bool
        Along which axes; along others the nearest is taken.
    """
    extents = np.array(source.level.shape)
    rounded = nearest(voxels, source.level.shape)
    inside = np.where(blended, np.clip(voxels, 0, extents - 1), rounded)
    base = np.minimum(np.floor(inside).astype(np.int64), np.maximum(extents - 2, 0))
    share = inside - base
    steps = [(0, 1) if blend and n > 1 else (0,) for blend, n in zip(blended, extents, strict=True)]
    base = np.where(blended, base, rounded)
    share = np.where(blended, share, 0.0)
    corners = list(itertools.product(*steps))
    values = read_points(source, np.concatenate([base + np.array(corner) for corner in corners]))
    total = np.zeros(len(voxels))
    for corner, found in zip(corners, values.reshape(len(corners), -1), strict=True):
        weight = np.where(np.array(corner, bool), share, 1 - share).prod(axis=1)
        # A voxel of no weight may be NaN or infinite.
        total += np.where(weight > 0, weight * found.astype(np.float64), 0.0)
    return total
