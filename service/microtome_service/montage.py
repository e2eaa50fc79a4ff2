"""A layer at a glance: its three planes side by side, with labels laid over them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from microtome_core.axes import spatial
from microtome_core.wire import LayerInfo
from microtome_service.appearance import Appearance
from microtome_service.planes import PLANES, planes_of
from microtome_service.reader import Limits, decoded_bytes
from microtome_service.render import render, render_labels
from microtome_service.thumbnail import View, project_labels, view_region

Ranges = dict[str, tuple[int, int]]
# Width over height of the whole picture.
ASPECT = 4 / 3
_GAP = 2
_THINNEST = 6
_OVER = 0.45


@dataclass(frozen=True, slots=True)
class Sight:
    """What is read of one layer.

    Parameters
    ----------
    views : tuple of View
        The whole volume, which is projected along each axis, or else the middle plane of each
        pane: of several the order is that of `planes_of`.
    """

    views: tuple[View, ...]


def choose_sight(info: LayerInfo, size: int, channels: int, limits: Limits) -> Sight:
    """Return what to read: of the finest level that is large enough, and not too costly.

    Parameters
    ----------
    size : int
        Pixels of the picture's width; half as many voxels will do.
    """
    last = len(info.levels) - 1
    fitting = [i for i, level in enumerate(info.levels) if 2 * max(level.shape[-2:]) >= size]
    for level in range(fitting[-1] if fitting else 0, last + 1):
        for sight in (_whole(info, level), _middles(info, level)):
            if _cost(info, sight) * channels <= limits.decoded:
                return sight
    return _middles(info, last)


def _extents(info: LayerInfo, level: int) -> dict[str, int]:
    return dict(zip(info.axes, info.levels[level].shape, strict=True))


def _whole(info: LayerInfo, level: int) -> Sight:
    extents = _extents(info, level)
    return Sight((View(level, {axis: (0, extents[axis]) for axis in spatial(info.axes)}),))


def _middles(info: LayerInfo, level: int) -> Sight:
    extents = _extents(info, level)
    whole = {axis: (0, extents[axis]) for axis in spatial(info.axes)}
    if "z" not in whole:
        return Sight((View(level, whole),))
    cut = {axis: (extents[axis] // 2, extents[axis] // 2 + 1) for axis in whole}
    normals = [PLANES[plane].normal for plane in planes_of(info.axes)]
    return Sight(tuple(View(level, {**whole, n: cut[n]}) for n in normals))


def _cost(info: LayerInfo, sight: Sight) -> int:
    return sum(decoded_bytes(info, v.level, view_region(info, v, 0)) for v in sight.views)


def panes(blocks: Sequence[NDArray[Any]], axes: str, kind: str) -> list[NDArray[Any]]:
    """Return one plane for each view of a layer, of one channel.

    Parameters
    ----------
    blocks : sequence of arrays
        One for each view of a `Sight`, in the layer's axes, of one channel and time point.
    kind : str
        Values of ``image`` are projected by the largest, ids of ``labels`` by the first.

    Returns
    -------
    list of (rows, columns) arrays, in the order of `planes_of`.
    """
    names = planes_of(axes)
    several = blocks if len(blocks) == len(names) else [blocks[0]] * len(names)
    return [
        _plane(block, axes, PLANES[name].normal, kind)
        for block, name in zip(several, names, strict=True)
    ]


def _plane(block: NDArray[Any], axes: str, normal: str, kind: str) -> NDArray[Any]:
    kept = [axis for axis in axes if axis in "zyx"]
    volume = block.reshape([n for n, axis in zip(block.shape, axes, strict=True) if axis in "zyx"])
    if normal not in kept:
        return volume
    first = np.moveaxis(volume, kept.index(normal), 0)
    flat = project_labels(first) if kind == "labels" else np.fmax.reduce(first, axis=0)
    # Rows of yz are y, and z comes before y in what is stored.
    return flat.T if normal == "x" else flat


def compose(
    info: LayerInfo,
    channels: Sequence[Sequence[NDArray[Any]]],
    look: Appearance,
    labels: Sequence[NDArray[Any]],
    size: int,
) -> NDArray[np.uint8]:
    """Return the picture: xy, yz to its right and xz below, each in the proportions of the tissue.

    Parameters
    ----------
    channels : for each channel its panes
    labels : panes of the labels that lie over it; none by default
    size : int
        Width in pixels of the box that the picture fits into; its height is by `ASPECT`.

    Returns
    -------
    (rows, columns, 3) uint8
    """
    shapes = pane_shapes(info, size)
    drawn = [
        _pane(info, [channel[i] for channel in channels], look, shape)
        for i, shape in enumerate(shapes)
    ]
    for picture, ids in zip(drawn, labels, strict=False):
        _overlay(picture, ids)
    return _laid_out(drawn)


def pane_shapes(info: LayerInfo, size: int) -> list[tuple[int, int]]:
    """Return rows and columns of each pane in pixels."""
    steps = dict(zip(info.axes, info.levels[0].scale, strict=True))
    long = {a: n * steps[a] for a, n in zip(info.axes, info.shape, strict=True) if a in "zyx"}
    deep = long.get("z", 0.0)
    factor = min(size / (long["x"] + deep), size / ASPECT / (long["y"] + deep))
    pixels = {axis: max(_THINNEST, round(length * factor)) for axis, length in long.items()}
    return [(pixels[PLANES[p].rows], pixels[PLANES[p].columns]) for p in planes_of(info.axes)]


def _pane(
    info: LayerInfo, planes: Sequence[NDArray[Any]], look: Appearance, shape: tuple[int, int]
) -> NDArray[np.uint8]:
    if info.kind == "labels":
        return _resized(render_labels(planes[0])[..., :3], shape, exact=True)
    picture = render(planes, look.shown, look.gamma, look.blend)
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=-1)
    return _resized(picture, shape, exact=False)


def _resized(
    picture: NDArray[np.uint8], shape: tuple[int, int], *, exact: bool
) -> NDArray[np.uint8]:
    how = Image.Resampling.NEAREST if exact else Image.Resampling.BOX
    rows, columns = shape
    return np.array(Image.fromarray(np.ascontiguousarray(picture)).resize((columns, rows), how))


def _overlay(picture: NDArray[np.uint8], ids: NDArray[Any]) -> None:
    """Lay the colours of labels over a picture, and nothing where there is none."""
    colors = _resized(render_labels(ids), (picture.shape[0], picture.shape[1]), exact=True)
    covered = colors[..., 3] > 0
    mixed = (1 - _OVER) * picture[covered] + _OVER * colors[covered][:, :3]
    picture[covered] = mixed.astype(np.uint8)


def _laid_out(drawn: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    if len(drawn) == 1:
        return drawn[0]
    front, below, beside = drawn
    rows, columns = front.shape[:2]
    height, width = rows + _GAP + below.shape[0], columns + _GAP + beside.shape[1]
    page = np.zeros((height, width, 3), np.uint8)
    page[:rows, :columns] = front
    page[rows + _GAP :, :columns] = below
    page[:rows, columns + _GAP :] = beside
    return page
