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
_EXPECTED = f"expected one of {', '.join(SUPPORTED)}"


def check_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """Return `dtype` in native byte order if it is one of `SUPPORTED`.

    >>> check_dtype(">u2")
    dtype('uint16')

    Raises
    ------
    InputError
        bool, float16, complex, structured, string and object types.
    """
    try:
        native = np.dtype(dtype).newbyteorder("=")
    except TypeError as error:
        raise InputError(f"dtype {str(dtype)[:40]!r}: {_EXPECTED}") from error
    if native.name not in SUPPORTED:
        raise InputError(f"dtype {native}: {_EXPECTED}")
    return native


def little_endian(dtype: DTypeLike) -> np.dtype[Any]:
    """Return `dtype` as it goes over the wire: little-endian."""
    return np.dtype(dtype).newbyteorder("<")
