"""NPY files (NumPy's NEP 1): what their heads say, and small ones whole.

NumPy hands a head to Python's own parser. Until Python 3.13 that one counts its depth for all
threads together (``SystemError: AST constructor recursion depth mismatch``): heads are read one
after another.
"""

import re
import threading
import tokenize
from dataclasses import dataclass
from io import BytesIO
from math import prod
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

# What NumPy itself accepts, unless told otherwise.
MOST_HEAD = 10_000

_ONE_AT_A_TIME = threading.Lock()
# Python 2 wrote extents as (3L, 4L).
_LONG = re.compile(rb"([(, ]\d+)L(?=[,)])")
# All that NumPy, and the parser behind it, raise at text that is no head.
_NO_HEAD = (
    ValueError, KeyError, TypeError, SyntaxError, RecursionError, MemoryError, OverflowError,
    tokenize.TokenError,
)  # fmt: skip
_READERS = {
    (1, 0): npy_format.read_array_header_1_0,
    (2, 0): npy_format.read_array_header_2_0,
}


@dataclass(frozen=True, slots=True)
class NpyHead:
    """What the head of an NPY file says.

    Parameters
    ----------
    shape : tuple of int
    fortran : bool
        Whether the first axis lies together, not the last.
    dtype : numpy.dtype
    start : int
        Where the values begin, in bytes.
    """

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    start: int

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return prod(self.shape) * self.dtype.itemsize


def read_head(stream: IO[bytes]) -> NpyHead:
    """Read a head; the stream is left where the values begin.

    Raises
    ------
    ValueError
        No NPY file of version 1 or 2.
    """
    version = npy_format.read_magic(stream)
    if version not in _READERS:
        # Version 3 only adds names outside of Latin-1 to structured types.
        raise ValueError(f"NPY version {version}: expected 1.0 or 2.0")
    count = stream.read(2 if version == (1, 0) else 4)
    text = stream.read(min(int.from_bytes(count, "little"), MOST_HEAD))
    try:
        with _ONE_AT_A_TIME:
            shape, fortran, dtype = _READERS[version](BytesIO(count + _LONG.sub(rb"\1 ", text)))
    except _NO_HEAD as error:
        raise ValueError(f"no head of an NPY file: {str(error)[:80]}") from error
    if any(extent < 0 for extent in shape):
        raise ValueError(f"no head of an NPY file: shape {str(shape)[:80]}")
    return NpyHead(tuple(map(int, shape)), bool(fortran), dtype, stream.tell())


def load(content: bytes) -> NDArray[Any]:
    """Return the array of a file; a copy, which may be written to.

    Raises
    ------
    ValueError
        No NPY file, one of pickled objects, or one that ends early.
    """
    head = read_head(BytesIO(content))
    if head.dtype.hasobject:
        raise ValueError("holds pickled objects: refused")
    flat = np.frombuffer(content, head.dtype, prod(head.shape), head.start)
    found: NDArray[Any] = flat.reshape(head.shape, order="F" if head.fortran else "C").copy("K")
    return found
