"""A shard as an object: its checksums compared and its bytes digested.

Source of the format: Zarr 3 codecs ``sharding_indexed`` and ``crc32c``. The index ends the object:
offset and length of each inner chunk as little-endian uint64 (both all ones where there is none),
followed by its own crc32c. Each chunk ends in the crc32c of its other bytes.
"""

from dataclasses import dataclass
from typing import BinaryIO

import google_crc32c
import numpy as np
import xxhash
from numpy.typing import NDArray

from microtome_core.errors import StorageError

_CHECKSUM = 4
ABSENT = 2**64 - 1
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Digest:
    """Bytes of an object, and its XXH3 of 128 bits in hexadecimal digits."""

    length: int
    xxh3: str


def digest(stream: BinaryIO) -> Digest:
    """Return length and digest of an object, read block by block."""
    state, length = xxhash.xxh3_128(), 0
    while block := stream.read(_BLOCK):
        state.update(block)
        length += len(block)
    return Digest(length, state.hexdigest())


def check_shard(stream: BinaryIO, chunks: int, present: int) -> Digest:
    """Return length and digest of a shard whose every checksum is right.

    Parameters
    ----------
    stream : binary stream
        Seekable.
    chunks : int
        Inner chunks that a shard has room for.
    present : int
        How many of them lie in the array, and must be there.

    Raises
    ------
    StorageError
        Too short, chunks that are missing, overlap or lie outside, or a checksum that does not
        match; says which chunk.
    """
    length = stream.seek(0, 2)
    index = _index(stream, length, chunks)
    there = np.flatnonzero(index[:, 0] != ABSENT)
    if len(there) != present:
        raise StorageError(f"{len(there)} chunks, expected {present}")
    state, end = xxhash.xxh3_128(), 0
    for number in there[np.argsort(index[there, 0])].tolist():
        offset, count = map(int, index[number])
        if offset != end or not _CHECKSUM < count <= length - offset:
            raise StorageError(f"chunk {number} has {count} bytes at {offset}, expected at {end}")
        end = offset + count
        part = _read(stream, offset, count)
        if not _matches(part):
            raise StorageError(f"chunk {number} of {count} bytes does not match its checksum")
        state.update(part)
    tail = length - index_size(chunks)
    if end != tail:
        raise StorageError(f"chunks end at byte {end}, expected {tail}")
    state.update(_read(stream, tail, length - tail))
    return Digest(length, state.hexdigest())


def index_size(chunks: int) -> int:
    """Return the bytes of the index of a shard that has room for so many chunks."""
    return 16 * chunks + _CHECKSUM


def parse_index(data: bytes, chunks: int) -> NDArray[np.uint64]:
    """Return offset and length of each chunk, one row a chunk, both `ABSENT` where there is none.

    Raises
    ------
    StorageError
        The index does not match its checksum.
    """
    if not _matches(data):
        raise StorageError("the index does not match its checksum")
    return np.frombuffer(data[:-_CHECKSUM], "<u8").reshape(chunks, 2)


def _index(stream: BinaryIO, length: int, chunks: int) -> NDArray[np.uint64]:
    size = index_size(chunks)
    if length < size:
        raise StorageError(f"{length} bytes, expected {size} at least: truncated")
    return parse_index(_read(stream, length - size, size), chunks)


def _read(stream: BinaryIO, offset: int, count: int) -> bytes:
    stream.seek(offset)
    data = stream.read(count)
    if len(data) != count:
        raise StorageError(f"{len(data)} bytes at {offset}, expected {count}: truncated")
    return data


def _matches(part: bytes) -> bool:
    stored = int.from_bytes(part[-_CHECKSUM:], "little")
    return bool(google_crc32c.value(part[:-_CHECKSUM]) == stored)
