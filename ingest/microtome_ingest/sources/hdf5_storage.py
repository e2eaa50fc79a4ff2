"""How an HDF5 dataset is stored, and whether that can be true: checked before a voxel is read.

Source of the format: The HDF Group, HDF5 File Format Specification.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np

from microtome_core.errors import SourceError
from microtome_core.grid import Grid
from microtome_core.units import bytes_text
from microtome_ingest.sources import hdf5_find as find
from microtome_ingest.sources.hdf5_chunks import deflated

Places = dict[tuple[int, ...], tuple[int, int]]

# Chunks are looked up one by one where they are not more.
MOST_PLACES = 16_384
# A chunk is decoded in one piece: larger ones must be in some proportion to their file.
_LARGE_CHUNK, _MOST_RATIO = 256 << 20, 64
# Compressors add little to what they cannot compress.
_MOST_GROWTH, _HEADERS = 1.25, 64 << 10
# Of what is larger, one chunk in so many must have been written.
_LARGE_ARRAY, _MOST_SPARSE = 1 << 30, 1000


@dataclass(frozen=True, slots=True)
class Piece:
    """A dataset that holds an image, or part of one.

    Parameters
    ----------
    file : str
    path : str
        Within the file.
    shape : tuple of int
    dtype : str
        As stored, native byte order.
    chunk : tuple of int, optional
        None where the voxels are in one piece.
    stored : str
        The type with its byte order.
    deflated : tuple of int
        Filters of chunks that are inflated here and not by HDF5.
    notes : tuple of str
    """

    file: str
    path: str
    shape: tuple[int, ...]
    dtype: str
    chunk: tuple[int, ...] | None
    stored: str
    deflated: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def block(self) -> tuple[int, ...]:
        """What is decoded at once: a chunk clipped to the array, or a plane."""
        if self.chunk:
            return tuple(map(min, self.chunk, self.shape))
        return (1,) * (len(self.shape) - 2) + self.shape[-2:]


def piece(file: Any, path: str, name: str, size: int) -> Piece:  # noqa: ANN401 - h5py has no types
    """Return the dataset at a path.

    Parameters
    ----------
    file : h5py.File
    path : str
    name : str
        Of the file.
    size : int
        Of the file in bytes.

    Raises
    ------
    SourceError
        Not there, no array of numbers, or storage that cannot be.
    """
    dataset = find.find(file, path, name)
    return Piece(
        file=name,
        path=dataset.name,
        shape=tuple(map(int, dataset.shape)),
        dtype=dataset.dtype.newbyteorder("=").name,
        chunk=dataset.chunks,
        stored=dataset.dtype.str,
        deflated=deflated(dataset),
        notes=_check(dataset, name, size),
    )


def places(dataset: Any, cell: Sequence[int]) -> Places:  # noqa: ANN401
    """Return offset and count in the file of every chunk that was written, by its index.

    Raises
    ------
    ValueError
        A chunk beside the grid, or twice.
    """
    found: Places = {}
    wrong: list[tuple[int, ...]] = []

    def visit(chunk: Any) -> None:  # noqa: ANN401
        at = chunk.chunk_offset
        index = tuple(start // width for start, width in zip(at, cell, strict=True))
        if index in found or any(s % w for s, w in zip(at, cell, strict=True)):
            wrong.append(at)
        found[index] = chunk.byte_offset, chunk.size

    dataset.id.chunk_iter(visit)
    if wrong:
        raise ValueError(f"chunk at {wrong[0]}: beside the grid of chunks, or there twice")
    return found


def _check(dataset: Any, name: str, size: int) -> tuple[str, ...]:  # noqa: ANN401
    """Refuse storage that cannot be; say in words what was never written."""
    nbytes = prod(dataset.shape) * dataset.dtype.itemsize
    if dataset.chunks:
        reason, note = _chunked(dataset, nbytes, size)
    else:
        reason, note = _contiguous(dataset, nbytes, size)
    if reason:
        raise SourceError(name, f"{dataset.name} {reason}")
    return (note,) if note else ()


def _contiguous(dataset: Any, nbytes: int, size: int) -> tuple[str, str]:  # noqa: ANN401
    layout = dataset.id.get_create_plist().get_layout()
    if layout == h5py.h5d.COMPACT:
        return "", ""
    offset, stored = dataset.id.get_offset(), dataset.id.get_storage_size()
    if offset is None:
        absurd = nbytes > _LARGE_ARRAY
        reason = f"claims {bytes_text(nbytes)}, none of which was ever written: refused"
        return (reason if absurd else ""), _unwritten(dataset, "its voxels were never written")
    if stored < nbytes or offset + nbytes > size:
        there = max(0, min(size - offset, stored))
        return f"has {there} of {nbytes} bytes at {offset}: truncated or damaged", ""
    return "", ""


def _chunked(dataset: Any, nbytes: int, size: int) -> tuple[str, str]:  # noqa: ANN401
    chunk = prod(dataset.chunks) * dataset.dtype.itemsize
    if chunk > max(_LARGE_CHUNK, _MOST_RATIO * size):
        return f"claims chunks of {bytes_text(chunk)} in a file of {bytes_text(size)}: refused", ""
    grid = Grid("q" * dataset.ndim, dataset.shape, dataset.chunks)
    written = dataset.id.get_num_chunks()
    if nbytes > _LARGE_ARRAY and written * _MOST_SPARSE < grid.size:
        what = f"{written} of {grid.size} chunks were ever written"
        return f"claims {bytes_text(nbytes)}, but {what}: refused", ""
    if grid.size <= MOST_PLACES:
        found = places(dataset, dataset.chunks)
        reason = _misplaced(found, chunk, size)
        if reason:
            return reason, ""
        written = len([i for i in found if all(map(int.__lt__, i, grid.counts))])
    missing = grid.size - written
    text = f"{missing} of {grid.size} chunks were never written"
    return "", _unwritten(dataset, text) if missing > 0 else ""


def _misplaced(found: Places, chunk: int, size: int) -> str:
    most = chunk * _MOST_GROWTH + _HEADERS
    for index, (offset, count) in found.items():
        if offset + count > size:
            return f"chunk {index}: {count} bytes at {offset} are beyond the end: truncated"
        if count > most:
            return f"chunk {index}: {count} bytes for {chunk} bytes of voxels: damaged"
    return ""


def _unwritten(dataset: Any, what: str) -> str:  # noqa: ANN401
    fill = np.asarray(dataset.fillvalue).item() if dataset.fillvalue is not None else 0
    return f"{dataset.name}: {what}: HDF5 defines them as the fill value {fill}"
