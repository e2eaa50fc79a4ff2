"""HDF5's heaps of texts: whole ones pass, those that HDF5 would walk for ever do not."""

import io
import struct

import h5py
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microtome_ingest.sources.hdf5_guard import DamagedHeapError, Guard


def heap(objects: list[tuple[int, int]], size: int = 4096) -> bytes:
    """Return a heap of objects, each a number and the bytes that it says it has."""
    body = b"GCOL\x01\0\0\0" + struct.pack("<Q", size)
    for number, length in objects:
        room = -(-length // 8) * 8 if number else max(0, length - 16)
        body += struct.pack("<HHIQ", number, 1, 0, length) + bytes(min(room, size))
    return body[:size].ljust(min(size, 4096), b"\0")


def read(data: bytes, count: int | None = None) -> bytes:
    """Read from byte 64 on, where the heap begins."""
    guard = Guard(io.BytesIO(bytes(64) + data), 64 + len(data))
    guard.seek(64)
    buffer = bytearray(len(data) if count is None else count)
    assert guard.readinto(buffer) == len(buffer)
    assert guard.tell() == 64 + len(buffer)
    return bytes(buffer)


@given(st.lists(st.integers(1, 200), max_size=12))
def test_a_whole_heap_passes(lengths: list[int]) -> None:
    """Objects one after another, and free space to the end."""
    objects = [(i + 1, length) for i, length in enumerate(lengths)]
    used = 16 + sum(16 + -(-length // 8) * 8 for length in lengths)
    data = heap([*objects, (0, 4096 - used)])
    assert read(data) == data


@pytest.mark.parametrize(
    ("objects", "at"),
    [
        ([(0, 0)], 16),
        ([(1, 20), (0, 0)], 56),
        ([(1, 5000)], 16),
        ([(1, 2**64 - 16)], 16),
        ([(1, 8), (0, 2**64 - 40)], 40),
    ],
)
@pytest.mark.parametrize("count", [None, 32])
def test_an_object_without_a_place_is_damage(
    objects: list[tuple[int, int]], at: int, count: int | None
) -> None:
    """One of no size, or of more than is left; also where only the beginning is read."""
    with pytest.raises(DamagedHeapError, match=f"global heap at 64: object at {at}: damaged"):
        read(heap(objects), count)


@pytest.mark.parametrize("data", [b"GCOL" * 8, heap([], 1 << 40), heap([], 100), bytes(64)])
def test_what_is_no_heap_passes(data: bytes) -> None:
    """Voxels that begin like one, and sizes that HDF5 itself refuses."""
    assert read(data) == data


def test_hdf5_reads_through_it() -> None:
    """A real heap of more than its least size is read whole."""
    stream = io.BytesIO()
    texts = [f"{i:5}" * 50 for i in range(300)]
    with h5py.File(stream, "w") as file:
        file["texts"] = texts
    data = stream.getvalue()
    assert data.count(b"GCOL\x01") > 1
    with h5py.File(Guard(io.BytesIO(data), len(data)), "r") as file:
        assert file["texts"].asstr()[...].tolist() == texts
