"""A volume as a lazy array of xarray or Dask; their tasks are named by what they read."""

import uuid
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from microtome.extras import library

if TYPE_CHECKING:
    from microtome.volume import Volume


def identity(volume: "Volume") -> tuple[str, ...]:
    """Return what tells one volume's voxels from another's: address, version and level.

    The voxels of a writable layer may change while its version stays, so that no two are equal.
    """
    level = str(volume.level_index)
    changing = [uuid.uuid4().hex] if volume.info.writable else []
    return (volume.url, volume.info.version, level, *changing)


def to_dask(volume: "Volume", chunks: Any) -> Any:  # noqa: ANN401 - dask has no types
    """Return a dask array of `volume`; see `Volume.to_dask`."""
    purpose = "a Dask array"
    array, base = library("dask.array", "xarray", purpose), library("dask.base", "xarray", purpose)
    shards = volume.levels[volume.level_index].shard
    normal = array.core.normalize_chunks(
        shards if chunks is None else chunks,
        shape=volume.shape,
        dtype=volume.dtype,
        previous_chunks=shards,
    )
    name = f"microtome-{volume.name}-{base.tokenize(volume, normal)}"
    return array.from_array(
        volume,
        chunks=normal,
        name=name,
        fancy=False,
        lock=False,
        meta=np.empty((0,) * volume.ndim, volume.dtype),
    )


def to_xarray(volume: "Volume", chunks: Any) -> Any:  # noqa: ANN401 - xarray's own
    """Return an xarray DataArray of `volume`; see `Volume.to_xarray`."""
    purpose = "an xarray DataArray"
    library("xarray", "xarray", purpose)
    if chunks is not None:
        library("dask", "xarray", f"{purpose} in chunks")
    return import_module("microtome.xarray_backend").to_array(volume, chunks)
