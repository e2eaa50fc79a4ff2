"""From the bytes of a request to voxels; nothing is decoded that does not say its size first.

The formats are those of answers (see `encode`) that are exact and of any number of axes.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from math import prod
from typing import Any

import numcodecs
import numpy as np
from numpy.typing import NDArray

from microtome_core.dtypes import little_endian
from microtome_core.errors import InputError, TooLarge
from microtome_core.npy import MOST_HEAD, read_head
from microtome_service.encode import FORMATS
from microtome_service.errors import Unsupported

READABLE: Mapping[str, str] = {name: FORMATS[name] for name in ("npy", "raw", "blosc", "zstd")}
_ZSTD_MAGIC = 0xFD2FB528
_ZSTD_SIZES = {0: (0, "", 0), 1: (2, "<H", 256), 2: (4, "<I", 0), 3: (8, "<Q", 0)}


@dataclass(frozen=True, slots=True)
class Expected:
    """What a body must hold.

    Parameters
    ----------
    shape : tuple of int
    dtype : str
        NumPy's name.
    media_type : str
        One of `READABLE`.
    """

    shape: tuple[int, ...]
    dtype: str
    media_type: str

    @property
    def nbytes(self) -> int:
        """Bytes of the voxels."""
        return prod(self.shape) * np.dtype(self.dtype).itemsize

    def __str__(self) -> str:
        return f"shape {_words(self.shape)} of {self.dtype}"

    @property
    def most(self) -> int:
        """Bytes that a body has at most."""
        if self.media_type == READABLE["raw"]:
            return self.nbytes
        if self.media_type == READABLE["npy"]:
            return self.nbytes + MOST_HEAD
        # What cannot be compressed grows: by a block's header each 128 KiB, or by 16 bytes.
        return self.nbytes + self.nbytes // 256 + 1024


def choose_readable(content_type: str | None, encoding: str | None) -> str:
    """Return the media type of a body.

    Raises
    ------
    Unsupported
        Another one, or a body that was compressed on top of that.
    """
    name = (content_type or "").split(";")[0].strip().lower()
    if name not in READABLE.values():
        raise Unsupported(
            f"Content-Type {name[:80]!r}: expected one of {', '.join(READABLE.values())}"
        )
    if (encoding or "identity").strip().lower() != "identity":
        raise Unsupported("Content-Encoding: expected none; application/zstd is compressed voxels")
    return name


def decode(body: bytes | bytearray, expected: Expected) -> NDArray[Any]:
    """Return the voxels of a body, in native byte order.

    Raises
    ------
    InputError
        It is not what its type says, or of another shape or dtype; names both.
    TooLarge
        It would decode to more.
    """
    if expected.media_type == READABLE["npy"]:
        return _decode_npy(body, expected)
    if expected.media_type == READABLE["blosc"]:
        body = _decompressed(numcodecs.Blosc(), body, _blosc_size(body), expected)
    elif expected.media_type == READABLE["zstd"]:
        body = _decompressed(numcodecs.Zstd(), body, _zstd_size(body), expected)
    _check_size(len(body), expected)
    return _native(np.frombuffer(body, little_endian(expected.dtype)).reshape(expected.shape))


def _decode_npy(body: bytes | bytearray, expected: Expected) -> NDArray[Any]:
    try:
        head = read_head(BytesIO(bytes(body[: MOST_HEAD + 12])))
    except ValueError as error:
        raise InputError("the body is no .npy file of version 1 or 2") from error
    if head.dtype.hasobject or head.dtype.newbyteorder("=") != np.dtype(expected.dtype):
        raise InputError(f"dtype {str(head.dtype)[:40]}: expected {expected.dtype}")
    if head.shape != expected.shape:
        raise InputError(f"shape {_words(head.shape)}: expected {_words(expected.shape)}")
    _check_size(len(body) - head.start, expected)
    flat = np.frombuffer(body, head.dtype, offset=head.start)
    return _native(flat.reshape(head.shape, order="F" if head.fortran else "C"))


def _decompressed(
    codec: Any,  # noqa: ANN401 - numcodecs has no types
    body: bytes | bytearray,
    size: int,
    expected: Expected,
) -> bytearray:
    if size > expected.nbytes:
        raise TooLarge(f"the body decodes to {size} bytes: expected {expected.nbytes}")
    _check_size(size, expected)
    voxels = bytearray(size)
    try:
        codec.decode(body, voxels)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"the body is no {expected.media_type}: it cannot be decoded") from error
    return voxels


def _blosc_size(body: bytes | bytearray) -> int:
    """Return the size that a Blosc 1 header tells (its README_CHUNK_FORMAT)."""
    if len(body) < 16:
        raise InputError(f"{len(body)} bytes are no Blosc: its header alone has 16")
    nbytes, _, cbytes = struct.unpack_from("<III", body, 4)
    if cbytes != len(body):
        raise InputError(f"the Blosc header tells {cbytes} bytes, {len(body)} came")
    return int(nbytes)


def _zstd_size(body: bytes | bytearray) -> int:
    """Return the size that the header of a Zstandard frame tells (RFC 8878, section 3.1.1.1)."""
    if len(body) < 6 or struct.unpack_from("<I", body)[0] != _ZSTD_MAGIC:
        raise InputError("the body is no Zstandard frame")
    single, flag = body[4] >> 5 & 1, body[4] >> 6
    start = 5 + (not single) + (0, 1, 2, 4)[body[4] & 3]
    width, form, more = _ZSTD_SIZES[flag]
    if flag == 0 and single:
        width, form = 1, "<B"
    if not width or len(body) < start + width:
        raise InputError("the Zstandard frame does not tell its size: compress the voxels at once")
    return int(struct.unpack_from(form, body, start)[0]) + more


def _check_size(size: int, expected: Expected) -> None:
    if size != expected.nbytes:
        raise InputError(f"{size} bytes of voxels: expected {expected.nbytes}, {expected}")


def _native(block: NDArray[Any]) -> NDArray[Any]:
    return block.astype(block.dtype.newbyteorder("="), copy=False)


def _words(shape: tuple[int, ...]) -> str:
    return ",".join(map(str, shape))[:200]
