"""A file as HDF5 reads it, less what the library would never come back from.

Source of the format: The HDF Group, HDF5 File Format Specification, III.E, Global Heap. The library
(2.0 and before) walks from object to object of a heap without looking whether it gets ahead.
"""

import io
import struct
from typing import BinaryIO

_HEAP = b"GCOL\x01\0\0\0"
_LEAST_HEAP, _HEADER = 4096, 16
_SIZE, _OBJECT = struct.Struct("<8xQ"), struct.Struct("<H6xQ")


class DamagedHeapError(OSError):
    """Texts of a file that cannot be found in it."""


class Guard(io.RawIOBase):
    """A seekable file of which damaged heaps are not read.

    Parameters
    ----------
    stream : binary file
    size : int
        Of the file in bytes.

    Notes
    -----
    Who opened the stream closes it.
    """

    def __init__(self, stream: BinaryIO, size: int) -> None:
        super().__init__()
        self._stream, self._size = stream, size

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._stream.tell()

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        """Fill `buffer`, or as much of it as the file holds."""
        start = self._stream.tell()
        count: int = self._stream.readinto(buffer)  # type: ignore[attr-defined]
        view = memoryview(buffer).cast("B")
        if count >= _HEADER and view[: len(_HEAP)] == _HEAP:
            self._check(start, view[:count])
        return count

    def _check(self, start: int, head: memoryview) -> None:
        """Refuse a heap whose objects do not lie one after another in it."""
        (size,) = _SIZE.unpack_from(head)
        if not _LEAST_HEAP <= size <= self._size - start:
            return  # the library notices that
        heap = head[:size] if len(head) >= size else self._whole(start, size)
        at = _HEADER
        while at + _HEADER <= size:
            number, length = _OBJECT.unpack_from(heap, at)
            need = _HEADER + -(-length // 8) * 8 if number else length
            if not 0 < need <= size - at:
                raise DamagedHeapError(f"global heap at {start}: object at {at}: damaged")
            at += need

    def _whole(self, start: int, size: int) -> memoryview:
        """Return a heap of which only the beginning was asked for."""
        after = self._stream.tell()
        self._stream.seek(start)
        heap = self._stream.read(size)
        self._stream.seek(after)
        if len(heap) < size:
            raise DamagedHeapError(f"global heap at {start}: {len(heap)} of {size} bytes")
        return memoryview(heap)
