"""Voxels in C order in a file: as plain bytes, wherever in it, or as one stream."""

import gzip
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from microtome_core.dtypes import little_endian
from microtome_ingest.export.cut import Cut

# Of deflate: voxels are noise, and more takes several times as long for a few percent.
LEVEL = 1


def write_voxels(stream: BinaryIO, cut: Cut) -> None:
    """Write all voxels from where a file stands on, little-endian, in the order of ``cut.axes``.

    Boxes of whole chunks are read, each once, and laid where they belong.
    """
    first, dtype = stream.tell(), little_endian(cut.dtype)
    strides = _strides(cut.shape, dtype.itemsize)
    stream.truncate(first + cut.nbytes)
    for region, block in cut.boxes():
        # Behind the last axis on which a box leaves something out, its bytes follow each other.
        partial = [i for i, n in enumerate(block.shape) if n != cut.shape[i]]
        leading = partial[-1] if partial else 0
        voxels = np.ascontiguousarray(block, dtype)
        for index in np.ndindex(block.shape[:leading]):
            place = (*(a + b for a, b in zip(region.start, index, strict=False)),)
            where = (*place, *region.start[leading:])
            stream.seek(first + sum(a * b for a, b in zip(where, strides, strict=True)))
            stream.write(voxels[index].data)


def stream_voxels(stream: BinaryIO | gzip.GzipFile, cut: Cut) -> None:
    """Write the same one after another, for a stream that cannot go back."""
    dtype = little_endian(cut.dtype)
    for _, block in cut.slabs():
        stream.write(np.ascontiguousarray(block, dtype).data)


def write_file(
    path: Path, head: bytes, cut: Cut, deflate: Literal["", "voxels", "all"] = ""
) -> None:
    """Write a file of a head and voxels, of which nothing, the voxels or all is deflated."""
    with path.open("wb") as file:
        if deflate == "voxels":
            file.write(head)
        if not deflate:
            file.write(head)
            write_voxels(file, cut)
            return
        # Without a time, so that the same voxels are the same bytes.
        with gzip.GzipFile("", "wb", LEVEL, file, mtime=0) as stream:
            if deflate == "all":
                stream.write(head)
            stream_voxels(stream, cut)


def _strides(shape: tuple[int, ...], itemsize: int) -> list[int]:
    strides = [itemsize]
    for extent in reversed(shape[1:]):
        strides.append(strides[-1] * extent)
    return strides[::-1]
