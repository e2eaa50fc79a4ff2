"""One level as a dataset of xarray: its voxels, and where along each axis they lie.

The levels of OME-Zarr share the names of dimensions, so xarray cannot open them as one dataset.
``layer/xarray/1`` is a group of the array of level 1, whose shards are those of the store, and of a
coordinate for each axis but channels. Nothing of it is stored.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from microtome_core.wire import LayerInfo

FOLDER = "xarray"
# Coordinates in one object, however long an axis is.
_CHUNK = 1 << 16
_KEY = re.compile(r"c/(0|[1-9][0-9]{0,17})")
_LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}


def level_group(info: LayerInfo, level: int, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of each array of a level, by its name.

    Parameters
    ----------
    info : LayerInfo
    level : int
    stored : dict
        What the array's own ``zarr.json`` says.
    """
    attributes = {"channels": [c.name for c in info.channels]} if "c" in info.axes else {}
    voxels = {**stored, "dimension_names": list(info.axes), "attributes": attributes}
    return {info.kind: voxels, **{a: _coordinate(info, level, a) for a in _measured(info)}}


def coordinate_bytes(info: LayerInfo, level: int, axis: str, key: str) -> bytes | None:
    """Return where the voxels of a level lie along an axis, as one chunk of an array.

    In the axis' unit, with the centre of the first voxel of level 0 at the origin.

    Parameters
    ----------
    info : LayerInfo
    level : int
    axis, key : str
        Name of the array, and of the chunk; None is returned where there is no such.
    """
    match = _KEY.fullmatch(key)
    if axis not in _measured(info) or match is None:
        return None
    described, place = info.levels[level], info.axes.index(axis)
    extent, number = described.shape[place], int(match[1])
    chunk = min(extent, _CHUNK)
    if number * chunk >= extent:
        return None
    # The last one goes on beyond the axis: chunks have one length.
    steps = np.arange(number * chunk, (number + 1) * chunk) * described.scale[place]
    return (described.translation[place] + steps).astype("<f8").tobytes()


def _measured(info: LayerInfo) -> tuple[str, ...]:
    return tuple(axis for axis in info.axes if axis != "c")


def _coordinate(info: LayerInfo, level: int, axis: str) -> dict[str, Any]:
    place = info.axes.index(axis)
    extent, unit = info.levels[level].shape[place], info.units[place]
    chunk = min(extent, _CHUNK)
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [extent],
        "data_type": "float64",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [chunk]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0.0,
        "codecs": [_LITTLE],
        "attributes": {"units": unit} if unit else {},
        "dimension_names": [axis],
    }
