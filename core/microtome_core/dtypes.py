"""The voxel types that microtome stores and serves."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from microtome_core.errors import InputError

SUPPORTED = (
    "uint8", "uint16", "uint32", "uint64",
    "int8", "int16", "int32", "int64",
    "float32", "float64",
)  # fmt: skip
LABELS = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")


def check_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """Return `dtype` in native byte order if it is one of `SUPPORTED`.

    >>> check_dtype(">u2")
    dtype('uint16')

    Raises
    ------
    InputError
        bool, float16, complex, structured, string and object types.
    """
    native = np.dtype(dtype).newbyteorder("=")
    if native.name not in SUPPORTED:
        raise InputError(f"dtype {native}: expected one of {', '.join(SUPPORTED)}")
    return native


def little_endian(dtype: DTypeLike) -> np.dtype[Any]:
    """Return `dtype` as it goes over the wire: little-endian."""
    return np.dtype(dtype).newbyteorder("<")
