"""Bringing the levels above up to date with what was written into level 0."""

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.region import Region
from microtome_core.store.binning import Method, binned_region, made_of_below
from microtome_core.store.layer import Layer
from microtome_core.store.live import Live
from microtome_core.store.writing import check_writable, edit_shard, uncover

_Shards = dict[tuple[int, ...], Region]


def update_levels(
    layer: Layer, regions: Iterable[Region], go_on: Callable[[], bool] = lambda: True
) -> bool:
    """Make each coarser level anew where regions of level 0 lie. Blocks.

    May be done by several at once, and twice: a shard is looked at before the voxels it is made of,
    and written only if it is still the same; so whoever writes last has seen what was last written.

    Parameters
    ----------
    layer : Layer
        A writable one.
    regions : iterable of Region
        Of level 0; their writes have ended.
    go_on : callable
        Asked before each shard.

    Returns
    -------
    bool
        False where `go_on` said so before all was done.

    Raises
    ------
    StorageError
    """
    live = check_writable(layer)
    touched = list(regions)
    for level, bins in enumerate(level_bins(layer), 1):
        shards = _by_shard(live, level, (binned_region(region, bins) for region in touched))
        written = []
        try:
            for index, part in shards.items():
                if not go_on():
                    return False
                if edit_shard(layer, live, level, index, part, _maker(layer, level, bins)).changed:
                    written.append(index)
        finally:
            uncover(live, level, written)
        touched = list(shards.values())
    return True


def level_bins(layer: Layer) -> list[tuple[int, ...]]:
    """Return by how much each level is binned into the next."""
    return [
        tuple(round(b / a) for a, b in zip(finer.scale, coarser.scale, strict=True))
        for finer, coarser in pairwise(layer.info.levels)
    ]


def _by_shard(live: Live, level: int, regions: Iterable[Region]) -> _Shards:
    """Return the box around all that regions touch of each shard."""
    grid, boxes = live.grids[level], _Shards()
    for region in regions:
        for index in grid.touched(region):
            part = grid.region(index) & region
            if part is not None:
                boxes[index] = part | boxes[index] if index in boxes else part
    return boxes


def _maker(
    layer: Layer, level: int, bins: tuple[int, ...]
) -> Callable[[Region, NDArray[Any]], NDArray[Any] | None]:
    method: Method = "mode" if layer.info.kind == "labels" else "mean"
    finer = layer.info.levels[level - 1]

    def make(part: Region, old: NDArray[Any]) -> NDArray[Any] | None:
        load = layer.voxels[level - 1].load
        new = made_of_below(load, part, bins, method, finer.shape, finer.shard)
        return None if np.array_equal(new, old) else new

    return make
