"""Neuroglancer precomputed: a folder that CloudVolume and Neuroglancer read.

Source: https://github.com/google/neuroglancer/tree/master/src/datasource/precomputed. TensorStore
writes it, a chunk a file: any web server can give it, and CloudVolume can change it. Axes are x, y,
z and channel, sizes in nanometers. Coarser scales are made of the finer ones as they were stored.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

from microtome_core.axes import spatial
from microtome_core.errors import InputError
from microtome_core.levels import Level, pyramid
from microtome_core.region import Region
from microtome_core.store.binning import binned, covered_region
from microtome_core.store.location import storage_errors
from microtome_ingest.export.cut import Cut, box_extents
from microtome_ingest.export.facts import history
from microtome_ingest.export.output import whole_folder

MARK = "info"
CHUNK = 64
_AXES = "czyx"
_TYPES = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "float32")
_LABELS = ("uint8", "uint16", "uint32", "uint64")
# Of voxels, in compressed segmentation.
_SEGMENTATION_BLOCK = (8, 8, 8)


def export_precomputed(cut: Cut, path: Path, *, overwrite: bool = False) -> list[Path]:
    """Write a folder.

    Raises
    ------
    InputError
        Several time points or a type of voxel, of which precomputed has none; a voxel size that
        nobody knows; labels below 0.
    """
    dtype = _dtype(cut)
    levels = _levels(cut)
    with whole_folder(path, MARK, overwrite=overwrite) as part:
        scales = [_create(part, cut, dtype, levels[0], level) for level in levels]
        for region, block in _finest(cut):
            _write(scales[0], region, block, dtype, cut)
        for number in range(1, len(levels)):
            finer, coarser = levels[number - 1 : number + 1]
            for region, block in _coarser(cut, finer, coarser, scales[number - 1]):
                _write(scales[number], region, block, dtype, cut)
        record = json.dumps(history(cut, "precomputed"), indent=1, ensure_ascii=False)
        (part / "microtome.json").write_text(record, encoding="utf-8")
    return [path]


def _dtype(cut: Cut) -> np.dtype[Any]:
    name = cut.dtype.name
    labels = cut.info.kind == "labels"
    if labels and name.startswith("int"):
        # Ids are never negative; each block is held to it.
        name = f"u{name}"
    # Compressed segmentation has no smaller ones.
    if labels and name in {"uint8", "uint16"}:
        name = "uint32"
    if name not in (_LABELS if labels else _TYPES):
        raise InputError(
            f"{cut.info.id}: {cut.dtype} is no type of precomputed "
            f"({', '.join(_LABELS if labels else _TYPES)}): export ome-zarr or nrrd"
        )
    if cut.extent("t") > 1:
        raise InputError(f"{cut.info.id}: precomputed has no time: choose one point with --time")
    if cut.along("x", cut.scale, "nanometer") is None:
        raise InputError(
            f"{cut.info.id}: precomputed needs the voxel size in nanometers, and nobody knows it: "
            "export ome-zarr"
        )
    return np.dtype(name)


def _levels(cut: Cut) -> tuple[Level, ...]:
    """Return the scales, in c, z, y, x; an axis that is absent is one voxel."""
    shape = tuple(cut.extent(axis) for axis in _AXES)
    sizes = tuple(_nanometers(cut, axis, cut.scale, 1.0) for axis in _AXES)
    chunk = tuple(CHUNK if axis != "c" else shape[0] for axis in _AXES)
    return pyramid(_AXES, shape, sizes, chunk)


def _nanometers(cut: Cut, axis: str, values: tuple[float, ...], without: float) -> float:
    if axis == "c" or axis not in spatial(cut.axes):
        return without
    told = cut.along(axis, values, "nanometer")
    return without if told is None else told


def _create(
    folder: Path, cut: Cut, dtype: np.dtype[Any], finest: Level, level: Level
) -> ts.TensorStore:
    labels = cut.info.kind == "labels"
    origin = [_nanometers(cut, axis, cut.translation, 0.0) for axis in "xyz"]
    sizes = level.scale[:0:-1]
    encoding: dict[str, Any] = {"encoding": "raw"}
    if labels:
        encoding = {
            "encoding": "compressed_segmentation",
            "compressed_segmentation_block_size": _SEGMENTATION_BLOCK,
        }
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{folder}/"},
        "multiscale_metadata": {
            "type": "segmentation" if labels else "image",
            "data_type": dtype.name,
            "num_channels": level.shape[0],
        },
        "scale_metadata": {
            "size": level.shape[:0:-1],
            "resolution": sizes,
            # The corner of the first voxel, in voxels of the scale.
            "voxel_offset": [round(o / s) for o, s in zip(origin, sizes, strict=True)],
            "chunk_size": [min(CHUNK, extent) for extent in finest.shape[:0:-1]],
            **encoding,
        },
    }
    with storage_errors(f"{folder.name}"):
        opened = ts.open(spec, create=True, open=True, delete_existing=False).result()
    return opened[ts.d[:].translate_to[0]].T  # c, z, y, x from 0


def _finest(cut: Cut) -> Iterator[tuple[Region, NDArray[Any]]]:
    """Yield all voxels as c, z, y, x."""
    tile = [cut.extent("c") if axis == "c" else CHUNK for axis in cut.axes]
    for region, block in cut.tiles([min(n, m) for n, m in zip(tile, cut.shape, strict=True)]):
        at = {
            a: (low, high) for a, low, high in zip(cut.axes, region.start, region.stop, strict=True)
        }
        bounds = [at.get(axis, (0, 1)) for axis in _AXES]
        shape = tuple(high - low for low, high in bounds)
        where = Region(_AXES, tuple(b[0] for b in bounds), tuple(b[1] for b in bounds))
        yield where, block.reshape(shape)


def _coarser(
    cut: Cut, finer: Level, coarser: Level, below: ts.TensorStore
) -> Iterator[tuple[Region, NDArray[Any]]]:
    """Yield a scale made of the one below it."""
    bins = tuple(b // a for a, b in zip(finer.factors, coarser.factors, strict=True))
    chunk = [coarser.shape[0], *[min(CHUNK, extent) for extent in coarser.shape[1:]]]
    # Eight voxels at most are read for one.
    step = box_extents(coarser.shape, chunk, below.dtype.numpy_dtype.itemsize * 8)
    for region in Region.whole(_AXES, coarser.shape).split(step):
        covered = covered_region(region, bins, finer.shape)
        voxels = np.ascontiguousarray(below[covered.slices].read().result())
        yield region, binned(voxels, bins, "mode" if cut.info.kind == "labels" else "mean")


def _write(
    scale: ts.TensorStore, region: Region, block: NDArray[Any], dtype: np.dtype[Any], cut: Cut
) -> None:
    if block.dtype.kind == "i" and dtype.kind == "u" and block.size and block.min() < 0:
        raise InputError(f"{cut.info.id}: the id {block.min()} is below 0, which precomputed lacks")
    voxels = block.astype(dtype, copy=False)
    chunk = (scale.shape[0], CHUNK, CHUNK, CHUNK)
    parts = list(region.split(chunk))
    # A file each: whatever becomes of one, none is still being written when this ends.
    writes = [scale[p.slices].write(voxels[p.relative_to(region.start).slices]) for p in parts]
    failures = [error for write in writes if (error := write.exception()) is not None]
    with storage_errors(f"precomputed, {region}"):
        for failure in failures:
            raise failure
