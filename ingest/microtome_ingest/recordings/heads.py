"""The head of an NPY file, to the byte, and the values that follow it.

Source of the format: NumPy, numpy.lib.format.
"""

import io
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import SourceError
from microtome_core.npy import read_head
from microtome_ingest.sources.damage import strict

# NumPy writes heads of 128 bytes and refuses much longer ones.
MOST_HEAD = 16 << 10


@dataclass(frozen=True, slots=True)
class Head:
    """What an NPY file begins with.

    Parameters
    ----------
    raw : bytes
        All before the first value.
    shape : tuple of int
    fortran : bool
        Whether the first axis is the fastest.
    dtype : dtype
        In the file's byte order.
    """

    raw: bytes
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """Bytes of a whole file of this head."""
        return len(self.raw) + prod(self.shape) * self.dtype.itemsize

    def values(self, content: memoryview) -> NDArray[Any]:
        """Return a view of the values of a file, in the order of its axes and in its byte order."""
        flat = np.frombuffer(content, self.dtype, prod(self.shape), len(self.raw))
        return flat.reshape(self.shape, order="F" if self.fortran else "C")

    def file(self, values: NDArray[Any]) -> memoryview:
        """Return the bytes of values as they follow the head; nothing is copied needlessly."""
        ordered = values.astype(self.dtype, copy=False)
        turned = ordered.T if self.fortran else ordered
        return np.ascontiguousarray(turned).reshape(-1).view(np.uint8).data


def parse_head(begin: bytes, where: str) -> Head:
    """Read a head from the first bytes of a file.

    Raises
    ------
    SourceError
        No NPY file, or one of pickled objects.
    """
    with strict(where):
        stream = io.BytesIO(begin)
        head = read_head(stream)
    if head.dtype.hasobject:
        raise SourceError(where, "holds pickled objects: refused")
    return Head(begin[: head.start], head.shape, head.fortran, head.dtype)
