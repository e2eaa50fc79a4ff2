"""Arrays that lie in a file as they do in memory: which bytes a box of one needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Place(Protocol):
    """Where bytes come from; `mapped` tells that they cost nothing until they are looked at."""

    @property
    def mapped(self) -> bool:
        """Whether they are mapped into memory."""


@dataclass(frozen=True, slots=True)
class RawArray:
    """An array in C order at an offset of a file.

    Parameters
    ----------
    offset : int
    shape : tuple of int
    dtype : numpy.dtype
        As stored, with its byte order.
    """

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Bytes of the whole array."""
        return prod(self.shape) * self.dtype.itemsize

    def ranges(self, data: Place, box: Sequence[slice]) -> list[tuple[int, int]]:
        """Return offset and count of what `take` needs for a box: all of what is mapped."""
        if data.mapped:
            return [(self.offset, self.nbytes)]
        starts, length = runs(self.shape, box)
        size = self.dtype.itemsize
        return [(self.offset + start * size, length * size) for start in starts.tolist()]

    def take(self, data: Place, box: Sequence[slice], views: Sequence[memoryview]) -> NDArray[Any]:
        """Return a box from the bytes of its `ranges`, uncopied where they are mapped."""
        if data.mapped:
            return np.frombuffer(views[0], self.dtype).reshape(self.shape)[tuple(box)]
        joined = views[0] if len(views) == 1 else b"".join(views)
        return np.frombuffer(joined, self.dtype).reshape([s.stop - s.start for s in box])


def runs(shape: Sequence[int], box: Sequence[slice]) -> tuple[NDArray[np.int64], int]:
    """Return where the unbroken runs of a box begin in an array in C order, and their length.

    >>> runs((4, 5, 6), (slice(1, 3), slice(0, 5), slice(0, 6)))
    (array([30]), 60)
    >>> runs((4, 5, 6), (slice(1, 2), slice(2, 4), slice(1, 4)))
    (array([43, 49]), 3)
    """
    axis, length = len(shape), 1
    while axis > 0 and (box[axis - 1].start, box[axis - 1].stop) == (0, shape[axis - 1]):
        axis -= 1
        length *= shape[axis]
    starts = np.zeros(1, "int64")
    for i, part in enumerate(box[:axis]):
        stride = prod(shape[i + 1 :])
        # The innermost axis that is cut still lies in one piece.
        last = i == axis - 1
        steps = np.array([part.start]) if last else np.arange(part.start, part.stop)
        starts = (starts[:, None] + steps * stride).ravel()
        length *= part.stop - part.start if last else 1
    return starts, length
