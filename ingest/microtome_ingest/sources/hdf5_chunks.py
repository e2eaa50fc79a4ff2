"""Chunks of HDF5 that were deflated: taken as they are stored, inflated here, on every core.

HDF5 inflates one at a time, and whatever a chunk inflates to: a few megabytes may become gigabytes.
Here a chunk is inflated into the bytes that it must have, and any other number is damage.

Source of the format: The HDF Group, HDF5 File Format Specification: filters 1 (deflate), 2
(shuffle) and 3 (Fletcher32) are applied in the order of the pipeline, those of a chunk's mask not.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
from imagecodecs import DeflateError, deflate_decode
from numpy.typing import NDArray

_DEFLATE, _SHUFFLE, _FLETCHER = 1, 2, 3
_CHECKSUM = 4
_KNOWN = ((_DEFLATE,), (_SHUFFLE, _DEFLATE), (_DEFLATE, _FLETCHER), (_SHUFFLE, _DEFLATE, _FLETCHER))

# The bytes of a chunk, and which filters were not applied; None where HDF5 must be asked.
Raw = tuple[bytes, int] | None


def deflated(dataset: Any) -> tuple[int, ...]:  # noqa: ANN401 - h5py has no types
    """Return the filters of a dataset if they are of those known here, else none."""
    plist = dataset.id.get_create_plist()
    filters = tuple(plist.get_filter(i)[0] for i in range(plist.get_nfilters()))
    # Types of fewer bits than bytes are left to HDF5.
    plain = h5py.h5t.py_create(dataset.dtype).equal(dataset.id.get_type())
    return filters if plain and dataset.chunks and filters in _KNOWN else ()


def stored(path: str, corners: Sequence[tuple[int, ...]], file: Any) -> list[Raw]:  # noqa: ANN401
    """Return chunks as they are stored, by their first voxels."""
    dataset = file[path]
    return [_stored(dataset, corner) for corner in corners]


def _stored(dataset: Any, corner: tuple[int, ...]) -> Raw:  # noqa: ANN401
    try:
        mask, data = dataset.id.read_direct_chunk(corner)
    except (OSError, ValueError, RuntimeError):
        return None  # never written, or damaged: HDF5 tells
    return data, mask


def inflated(
    data: bytes,
    mask: int,
    filters: Sequence[int],
    cell: tuple[int, ...],
    dtype: np.dtype[Any],
) -> NDArray[Any] | None:
    """Return a chunk, or None where HDF5 must read it, since it has a checksum.

    Parameters
    ----------
    data : bytes
        As stored.
    mask : int
        One bit a filter that was not applied.
    filters : sequence of int
    cell : tuple of int
        Extents of the chunk.
    dtype : numpy.dtype
        As stored, with its byte order.

    Raises
    ------
    ValueError
        Another number of bytes than the chunk has, or what is not deflated.
    """
    applied = [number for i, number in enumerate(filters) if not mask >> i & 1]
    nbytes = prod(cell) * dtype.itemsize
    packed = data[:-_CHECKSUM] if _FLETCHER in applied else data
    flat = np.frombuffer(_inflated(packed, nbytes) if _DEFLATE in applied else packed, "u1")
    if flat.size != nbytes:
        raise ValueError(f"a chunk of {flat.size} bytes: expected {nbytes}")
    if _FLETCHER in applied:
        return None
    if _SHUFFLE in applied:
        flat = np.ascontiguousarray(flat.reshape(dtype.itemsize, -1).T).reshape(-1)
    return flat.view(dtype).reshape(cell)


def _inflated(packed: bytes, nbytes: int) -> bytes | bytearray:
    try:
        return deflate_decode(packed, out=nbytes)
    except DeflateError as error:
        raise ValueError(f"not {nbytes} bytes deflated: {error}") from error
