"""OME-TIFF: tiled BigTIFF that Fiji, QuPath, napari and Bio-Formats open with axes and sizes.

Source: OME-TIFF 6 (https://docs.openmicroscopy.org/ome-model/), as tifffile writes it. The record
is an annotation of the image. A pyramid has levels of planes binned in y and x, since a TIFF keeps
each plane's own.
"""

import json
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from microtome_core.errors import InputError
from microtome_core.ome_tiff import TYPES, sizes
from microtome_core.region import Region
from microtome_core.store.binning import binned
from microtome_ingest.export.cut import BLOCK, Cut
from microtome_ingest.export.facts import history
from microtome_ingest.export.output import whole_file

TILE = 256
_NAMESPACE = "microtome/record"
# Bytes of tiles that wait to be compressed.
_WAITING = 16 << 20


def export_tiff(
    cut: Cut, path: Path, *, overwrite: bool = False, pyramid: bool = False
) -> list[Path]:
    """Write one file.

    Raises
    ------
    InputError
        A type of voxel that OME-TIFF does not know.
    """
    if cut.dtype.name not in TYPES:
        raise InputError(
            f"{cut.info.id}: {cut.dtype} is no type of OME-TIFF: export ome-zarr, nrrd or npy"
        )
    count = _levels(cut) if pyramid else 0
    options: dict[str, Any] = {
        "dtype": cut.dtype, "tile": (TILE, TILE), "compression": "zlib", "predictor": True,
        "compressionargs": {"level": 1}, "photometric": "minisblack", "buffersize": _WAITING,
        "maxworkers": 2,
    }  # fmt: skip
    with (
        whole_file(path, overwrite=overwrite) as part,
        tifffile.TiffWriter(part, bigtiff=True, ome=True) as tiff,
    ):
        tiff.write(
            _tiles(cut, 1), shape=cut.shape, subifds=count, metadata=_metadata(cut), **options
        )
        for level in range(1, count + 1):
            shape = (*cut.shape[:-2], *(-(-n // 2**level) for n in cut.shape[-2:]))
            tiff.write(_tiles(cut, 2**level), shape=shape, subfiletype=1, **options)
    return [path]


def _levels(cut: Cut) -> int:
    """Return how many halvings it takes until a plane is one tile."""
    count = 0
    while max(cut.shape[-2:]) > TILE << count:
        count += 1
    return count


def _tiles(cut: Cut, factor: int) -> Iterator[NDArray[Any]]:
    """Yield the tiles of every plane, row by row, of planes binned by `factor`."""
    for planes in _planes(cut, factor):
        for index in np.ndindex(planes.shape[:-2]):
            plane = planes[index]
            for y in range(0, plane.shape[0], TILE):
                for x in range(0, plane.shape[1], TILE):
                    yield np.ascontiguousarray(plane[y : y + TILE, x : x + TILE])


def _planes(cut: Cut, factor: int) -> Iterator[NDArray[Any]]:
    """Yield whole planes, several at once if they fit, or bands of one row of tiles."""
    if prod(cut.shape[-2:]) * cut.dtype.itemsize <= BLOCK:
        for _, block in cut.slabs():
            yield _binned(cut, block, factor)
        return
    for index in np.ndindex(cut.shape[:-2]):
        for y in range(0, cut.shape[-2], TILE * factor):
            yield _band(cut, index, y, factor)


def _band(cut: Cut, index: tuple[int, ...], first: int, factor: int) -> NDArray[Any]:
    """Return a row of tiles of one plane, made of pieces that fit."""
    last, width = min(first + TILE * factor, cut.shape[-2]), cut.shape[-1]
    band = np.empty((-(-(last - first) // factor), -(-width // factor)), cut.dtype)
    step = [factor, factor]
    while step[1] < width and 2 * prod(step) * cut.dtype.itemsize <= BLOCK:
        step[1] *= 2
    while step[0] < TILE * factor and 2 * prod(step) * cut.dtype.itemsize <= BLOCK:
        step[0] *= 2
    for part in Region("yx", (first, 0), (last, width)).split(step):
        there = Region(cut.axes, (*index, *part.start), (*(i + 1 for i in index), *part.stop))
        piece = _binned(cut, cut.read(there).reshape(part.shape), factor)
        y, x = (part.start[0] - first) // factor, part.start[1] // factor
        band[y : y + piece.shape[0], x : x + piece.shape[1]] = piece
    return band


def _binned(cut: Cut, block: NDArray[Any], factor: int) -> NDArray[Any]:
    if factor == 1:
        return block
    bins = (1,) * (block.ndim - 2) + (factor, factor)
    return binned(block, bins, "mode" if cut.info.kind == "labels" else "mean")


def _metadata(cut: Cut) -> dict[str, Any]:
    described: dict[str, Any] = {
        "axes": cut.axes.upper(),
        "Name": cut.name,
        "Description": f"{cut.info.id}, level {cut.level}, {cut.region}",
        "CommentAnnotation": {
            "Namespace": _NAMESPACE,
            "Description": "the layer's NWB-style record, JSON",
            "Value": json.dumps(history(cut, "tiff"), ensure_ascii=False),
        },
    }
    described |= sizes(zip(cut.axes, cut.scale, cut.units, strict=True))
    if cut.channels:
        described["Channel"] = {
            "Name": [channel.name for channel in cut.channels],
            "Color": [_color(channel.color) for channel in cut.channels],
        }
    return described


def _color(text: str) -> int:
    """Return RGBA as OME has it, a signed integer of 32 bits."""
    value = int(text + "FF", 16)
    return value - (1 << 32) if value >= 1 << 31 else value
