"""Voxels of a cutout as bytes, and back.

=====================  ================================================================
media type             body
=====================  ================================================================
application/blosc      Blosc 1 of the voxels, C order, z y x or t z y x
application/npygz      zlib (RFC 1950, not gzip) of NumPy's .npy
image/jpeg             uint8 of one time point, planes stacked: (z · y, x), lossy
=====================  ================================================================

``application/blosc-python`` is a pickle. It is neither sent nor read.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from io import BytesIO
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from microtome_core.dtypes import little_endian
from microtome_core.errors import InputError, TooLarge
from microtome_service import decode as decoders
from microtome_service import encode as encoders
from microtome_service.bossdb.errors import ExtentMismatch, TypeMismatch
from microtome_service.decode import Expected
from microtome_service.encode import FORMATS
from microtome_service.errors import NotAcceptable
from microtome_service.images import encode_image
from microtome_service.negotiate import choose

BLOSC = FORMATS["blosc"]
NPYGZ = "application/npygz"
JPEG = FORMATS["jpeg"]
PNG = FORMATS["png"]
_LONGEST_JPEG = 65500
_SLAB = 1 << 20
# Blosc 1's header: four bytes, then the size of what it holds and two other sizes.
_HEADER = struct.Struct("<4xI8x")


def choose_type(accept: str | None, offered: Sequence[str]) -> str:
    """Return the media type that the caller likes best, of equals the first.

    Raises
    ------
    NotAcceptable
        None of them.
    """
    found = choose(accept or "*/*", offered)
    if found is None:
        raise NotAcceptable(f"none of {(accept or '')[:200]!r} is served: {', '.join(offered)}")
    return found


def check_encodable(
    shape: Sequence[int], dtype: DTypeLike, kind: str, media_type: str, *, windowed: bool
) -> None:
    """Refuse, before anything is read, what a media type cannot hold.

    Parameters
    ----------
    shape : (t,) z, y, x
    kind : str
        ``image`` or ``annotation``.
    windowed : bool
        Whether values are scaled to 0 to 255.

    Raises
    ------
    InputError, TooLarge
    """
    if media_type != JPEG:
        if windowed:
            raise InputError(f"window= scales values for {JPEG} alone")
        if media_type == BLOSC:
            encoders.check_encodable(shape, dtype, "tzyx"[-len(shape) :], BLOSC)
        return
    if kind == "annotation":
        raise TypeMismatch(f"{JPEG} would change ids: ask for {BLOSC} or {NPYGZ}")
    if len(shape) != 3 or (np.dtype(dtype) != np.uint8 and not windowed):
        raise TypeMismatch(
            f"{JPEG} holds uint8 of one time point: this is {np.dtype(dtype).name} of "
            f"{len(shape)} axes; ask for {BLOSC} or {NPYGZ}, or give window=LOW,HIGH"
        )
    if max(shape[0] * shape[1], shape[2]) > _LONGEST_JPEG:
        raise TooLarge(f"{shape[0]} planes of {shape[1]} rows: {JPEG} holds {_LONGEST_JPEG} rows")


def encode(block: NDArray[Any], media_type: str) -> encoders.Parts:
    """Encode what `check_encodable` let pass."""
    if media_type == BLOSC:
        return encoders.encode(block, "tzyx"[-block.ndim :], BLOSC, {})
    if media_type == JPEG:
        return (encode_image(block.reshape(-1, block.shape[-1]), JPEG),)
    body = BytesIO()
    np.save(body, np.ascontiguousarray(block, little_endian(block.dtype)), allow_pickle=False)
    return (zlib.compress(body.getbuffer(), 1),)


def scale_window(block: NDArray[Any], window: tuple[float, float]) -> NDArray[np.uint8]:
    """Return values with `window` spread over 0 to 255; what lies outside is clipped."""
    low, high = window
    flat, scaled = block.reshape(-1), np.empty(block.size, np.uint8)
    for part in _slabs(block.size):
        values = (flat[part].astype(np.float64) - low) * (255 / (high - low))
        scaled[part] = np.clip(values, 0, 255) + 0.5
    return scaled.reshape(block.shape)


def keep_ids(block: NDArray[Any], ids: Sequence[int]) -> NDArray[Any]:
    """Return ids with all but those of a list put to 0.

    >>> keep_ids(np.array([1, 2, 3], np.uint64), [1, 3]).tolist()
    [1, 0, 3]
    """
    wanted, flat = np.array(ids, np.uint64), block.reshape(-1)
    result = np.zeros_like(flat)
    for part in _slabs(block.size):
        kept = np.isin(flat[part].astype(np.uint64, copy=False), wanted)
        np.copyto(result[part], flat[part], where=kept)
    return result.reshape(block.shape)


def _slabs(size: int) -> Iterator[slice]:
    """Yield so many voxels at a time that what they are widened to needs no room of its own."""
    return (slice(low, low + _SLAB) for low in range(0, size, _SLAB))


def decode(body: bytes, shape: Sequence[int], dtype: str, media_type: str) -> NDArray[Any]:
    """Return the voxels of a body that somebody sent.

    What it claims to hold is compared with what is expected before anything is decoded.

    Raises
    ------
    InputError
        It cannot be decoded.
    TypeMismatch
        As many voxels as expected, but of another size.
    ExtentMismatch
        More or fewer.
    """
    if media_type == BLOSC and len(body) >= _HEADER.size:
        _check_claim(_HEADER.unpack_from(body)[0], shape, dtype)
    return decoders.decode(body, Expected(tuple(shape), dtype, media_type))


def _check_claim(nbytes: int, shape: Sequence[int], dtype: str) -> None:
    voxels, itemsize = prod(shape), np.dtype(dtype).itemsize
    if nbytes != voxels * itemsize:
        sizes = {1, 2, 4, 8} - {itemsize}
        mismatch = TypeMismatch if nbytes in {voxels * n for n in sizes} else ExtentMismatch
        raise mismatch(
            f"{nbytes} bytes of voxels: expected {voxels * itemsize}, "
            f"{','.join(map(str, shape))} of {dtype}"
        )
