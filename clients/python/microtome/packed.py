"""Voxels as Blosc buffers, one after another: what batches are over a slow link.

Voxels of microscopes are noise in few bits, which Blosc's bit shuffle sets apart: fewer bytes than
Zstandard alone. The header of a buffer is told by Blosc's README_CHUNK_FORMAT.
"""

from functools import cache
from importlib import import_module
from importlib.util import find_spec

import numpy as np

from microtome.body import Body
from microtome.errors import WrongAnswer

_HEADER = 16
# What a buffer may have beyond its content: header, and starts of blocks.
_MORE = 1 << 16


@cache
def has_blosc() -> bool:
    """Tell whether buffers of Blosc can be decoded."""
    return find_spec("numcodecs") is not None


class Unpacked:
    """A body of Blosc buffers, read as what they hold.

    Parameters
    ----------
    body : Body
    limit : int
        Bytes that no buffer may hold more than.
    """

    def __init__(self, body: Body, limit: int) -> None:
        self.url = body.url
        self._body, self._limit = body, limit
        self._left = memoryview(b"")
        self._codec = import_module("numcodecs").Blosc()

    def fill(self, view: memoryview) -> None:
        """Read exactly ``len(view)`` bytes into `view`; raises as `Body.fill`."""
        done = 0
        while done < len(view):
            if not self._left:
                count, packed = self._next()
                if count <= len(view) - done:
                    self._decode(packed, view[done : done + count])
                    done += count
                    continue
                self._left = memoryview(bytearray(count))
                self._decode(packed, self._left)
            count = min(len(view) - done, len(self._left))
            view[done : done + count] = self._left[:count]
            self._left = self._left[count:]
            done += count

    def end(self) -> None:
        """Make sure that nothing of a buffer is left."""
        if self._left:
            raise WrongAnswer(f"{self.url}: the answer holds more than was asked for")

    def _next(self) -> tuple[int, bytearray]:
        """Return how many bytes the next buffer holds, and the buffer."""
        header = bytearray(_HEADER)
        self._body.fill(memoryview(header))
        count, size = (int.from_bytes(header[i : i + 4], "little") for i in (4, 12))
        if not 0 < count <= self._limit or not _HEADER <= size <= count + _MORE:
            raise WrongAnswer(f"{self.url}: a buffer of {size} bytes that holds {count}")
        packed = header + bytearray(size - _HEADER)
        self._body.fill(memoryview(packed)[_HEADER:])
        return count, packed

    def _decode(self, packed: bytearray, view: memoryview) -> None:
        try:
            self._codec.decode(packed, out=np.frombuffer(view, np.uint8))
        except (RuntimeError, ValueError) as error:
            raise WrongAnswer(f"{self.url}: {error}") from error
