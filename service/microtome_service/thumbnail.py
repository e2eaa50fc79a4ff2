"""A small picture of a whole layer, from a level that is cheap to read."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from microtome_core.axes import spatial
from microtome_core.region import Region
from microtome_core.wire import LayerInfo
from microtome_service.planes import region_of
from microtome_service.reader import Limits, decoded_bytes


@dataclass(frozen=True, slots=True)
class View:
    """What a thumbnail shows.

    Parameters
    ----------
    level : int
    ranges : dict
        Range of each spatial axis, in voxels of the level.
    """

    level: int
    ranges: dict[str, tuple[int, int]]


def choose_view(info: LayerInfo, size: int, channels: int, limits: Limits) -> View:
    """Return what to read: a level of at least `size` voxels, and as much of z as is allowed.

    The whole depth is shown, projected; where that costs too much, the middle plane. Where even
    that is too much, a coarser level.
    """
    fitting = [i for i, level in enumerate(info.levels) if max(level.shape[-2:]) >= size]
    last = len(info.levels) - 1
    for level in range(fitting[-1] if fitting else 0, last + 1):
        for view in _views(info, level):
            if _cost(info, view) * channels <= limits.decoded:
                return view
    return _views(info, last)[-1]


def _views(info: LayerInfo, level: int) -> list[View]:
    """Return the whole depth, then the middle plane."""
    extents = dict(zip(info.axes, info.levels[level].shape, strict=True))
    whole = {axis: (0, extents[axis]) for axis in spatial(info.axes)}
    if "z" not in whole:
        return [View(level, whole)]
    middle = extents["z"] // 2
    return [View(level, whole), View(level, {**whole, "z": (middle, middle + 1)})]


def _cost(info: LayerInfo, view: View) -> int:
    return decoded_bytes(info, view.level, view_region(info, view, 0))


def view_region(info: LayerInfo, view: View, channel: int) -> Region:
    """Return the region of one channel of a view, at the middle time point."""
    level = info.levels[view.level]
    extents = dict(zip(info.axes, level.shape, strict=True))
    return region_of(info, level, view.ranges, extents.get("t", 1) // 2, channel)


def project(block: NDArray[Any], axes: str) -> NDArray[Any]:
    """Return the largest value along all but y and x; NaN only where nothing else is."""
    others = tuple(range(len(axes) - 2))
    return np.fmax.reduce(block, axis=others) if others else block


def project_labels(block: NDArray[Any]) -> NDArray[Any]:
    """Return the first id along all but y and x that is not 0: labels as seen from above.

    >>> project_labels(np.array([[[0, 7]], [[5, 9]], [[6, 0]]]))
    array([[5, 7]])
    """
    planes = block.reshape(-1, *block.shape[-2:])
    first = np.argmax(planes != 0, axis=0)
    ids: NDArray[Any] = np.take_along_axis(planes, first[None], axis=0)[0]
    return ids


def fit(picture: NDArray[np.uint8], info: LayerInfo, size: int, exact: bool) -> NDArray[np.uint8]:
    """Scale a picture of the whole layer so that it fits `size` and its aspect is physical.

    Parameters
    ----------
    picture : (rows, columns[, parts]) uint8
    exact : bool
        Whether colours must not be mixed, as for labels.
    """
    height, width = (n * s for n, s in zip(info.shape[-2:], info.levels[0].scale[-2:], strict=True))
    longest = max(height, width)
    columns, rows = (max(1, round(size * n / longest)) for n in (width, height))
    how = Image.Resampling.NEAREST if exact else Image.Resampling.BOX
    return np.asarray(Image.fromarray(picture).resize((columns, rows), how))
