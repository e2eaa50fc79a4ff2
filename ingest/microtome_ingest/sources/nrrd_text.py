"""NRRD's voxels as text, decimal or hexadecimal, turned into bytes a block at a time."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

import numpy as np

from microtome_ingest.files import Bytes
from microtome_ingest.stream import told

_BLOCK = 256 << 10
_LONGEST_WORD = 512
_SPACE = b" \t\r\n\v\f"


class Chunks(io.RawIOBase):
    """A file object over bytes that are made as they are read."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__()
        self._chunks, self._rest = chunks, memoryview(b"")

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        """Fill `buffer` with what is there; 0 at the end."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        part = self._rest[: len(buffer)]
        buffer[: len(part)] = part
        self._rest = self._rest[len(part) :]
        return len(part)


@contextmanager
def decoded_text(data: Bytes, at: int, dtype: np.dtype[Any] | None) -> Iterator[IO[bytes]]:
    """Open what text from `at` of a file stands for.

    Parameters
    ----------
    data : Bytes
    at : int
    dtype : numpy.dtype, optional
        Of decimal numbers; None: pairs of hexadecimal digits, a byte each.
    """
    with data.stream() as stream, told(stream):
        stream.seek(at)
        made = _hexadecimal(stream) if dtype is None else _numbers(stream, dtype)
        yield cast(IO[bytes], Chunks(made))


def _numbers(stream: IO[bytes], dtype: np.dtype[Any]) -> Iterator[bytes]:
    """Yield numbers between white space (or commas, which Teem allows)."""
    parse: Callable[[bytes], float] = int if dtype.kind in "iu" else float
    rest = b""
    while block := stream.read(_BLOCK):
        block = rest + block.replace(b",", b" ")
        cut = max(block.rfind(bytes([space])) for space in _SPACE) + 1
        if len(block) - cut > _LONGEST_WORD:
            raise ValueError(f"no number: {block[cut : cut + 20]!r}")
        yield np.array([parse(word) for word in block[:cut].split()], dtype).tobytes()
        rest = block[cut:]
    yield np.array([parse(word) for word in rest.split()], dtype).tobytes()


def _hexadecimal(stream: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    while block := stream.read(_BLOCK):
        digits = rest + block.translate(None, _SPACE)
        even = len(digits) // 2 * 2
        yield bytes.fromhex(digits[:even].decode("ascii"))
        rest = digits[even:]
    if rest:
        raise ValueError("an odd number of hexadecimal digits")
