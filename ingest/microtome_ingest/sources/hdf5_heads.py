"""How long chunks of HDF5 say that they are once decoded, held against how long they must be.

HDF5 (2.0 and before) takes what a filter returns for a whole chunk without looking at its length;
where it is less, voxels are made of whatever lies behind it in memory.

Source of the format: The HDF Group, HDF5 File Format Specification, and the filters' own:
H5Zszip.c, Blosc's chunk header, HDF5_LZ4, bitshuffle's bshuf_h5filter.c, RFC 8878 (Zstandard).
"""

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from typing import Any

_SHUFFLE, _FLETCHER, _SZIP = 2, 3, 4
_BLOSC, _LZ4, _BITSHUFFLE, _ZSTD = 32001, 32004, 32008, 32015
_CHECKSUM = 4
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"

# A filter by its number, with its parameters.
Filter = tuple[int, tuple[int, ...]]


def check_lengths(dataset: Any, corners: Iterable[tuple[int, ...]]) -> None:  # noqa: ANN401 - h5py has no types
    """Refuse chunks that are not decoded to what a chunk has.

    Parameters
    ----------
    dataset : h5py.Dataset
    corners : iterable of tuple of int
        The chunks by their first voxels.

    Raises
    ------
    ValueError
        Another length; chunks of which it cannot be told are left to HDF5.
    """
    plist = dataset.id.get_create_plist()
    found = [plist.get_filter(i) for i in range(plist.get_nfilters())]
    filters = [(int(number), tuple(words)) for number, _, words, _ in found]
    if not filters:
        return
    expected = prod(dataset.chunks) * dataset.id.get_type().get_size()
    for corner in corners:
        try:
            mask, data = dataset.id.read_direct_chunk(corner)
        except (OSError, ValueError, RuntimeError):
            continue  # never written, or damaged: HDF5 tells
        length = decoded_length(data, mask, filters)
        if length not in (None, expected):
            raise ValueError(f"chunk at {corner} is of {length} bytes: expected {expected}")


def decoded_length(data: bytes, mask: int, filters: Sequence[Filter]) -> int | None:
    """Return how many bytes a chunk is decoded to; None where its filters do not say it.

    Parameters
    ----------
    data : bytes
        As stored.
    mask : int
        One bit a filter that was not applied.
    filters : sequence of Filter
        In the order in which they were applied.
    """
    length, begins = len(data), True
    for place in reversed(range(len(filters))):
        number, words = filters[place]
        if mask >> place & 1 or number == _SHUFFLE:
            continue
        if number == _FLETCHER:
            length -= _CHECKSUM
            continue
        told = _HEADS[number](data[:length], words) if begins and number in _HEADS else None
        if told is None:
            return None
        # What was before it is only known by its length.
        length, begins = told, False
    return length


def _number(form: str, at: int) -> Callable[[bytes, tuple[int, ...]], int | None]:
    """Return what reads a length at a place of a chunk."""
    one = struct.Struct(form)

    def read(data: bytes, _: tuple[int, ...]) -> int | None:
        return int(one.unpack_from(data, at)[0]) if len(data) >= at + one.size else None

    return read


def _bitshuffled(data: bytes, words: tuple[int, ...]) -> int | None:
    compressed = len(words) > 4 and words[4]
    return _number(">Q", 0)(data, words) if compressed else len(data)


def _zstd(data: bytes, _: tuple[int, ...]) -> int | None:
    if len(data) < 5 or not data.startswith(_ZSTD_MAGIC):
        return None
    flags = data[4]
    single, width = flags >> 5 & 1, flags >> 6
    size = (single, 2, 4, 8)[width]
    start = 5 + (not single) + (0, 1, 2, 4)[flags & 3]
    if not size or len(data) < start + size:
        return None
    return int.from_bytes(data[start : start + size], "little") + (256 if size == 2 else 0)


_HEADS: Mapping[int, Callable[[bytes, tuple[int, ...]], int | None]] = {
    _SZIP: _number("<I", 0),
    _BLOSC: _number("<I", 4),
    _LZ4: _number(">Q", 0),
    _BITSHUFFLE: _bitshuffled,
    _ZSTD: _zstd,
}
