"""A shard's checksums: what is whole is digested, what is damaged is refused."""

from collections.abc import Callable
from io import BytesIO
from math import prod
from typing import Any

import google_crc32c
import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from microtome_core.errors import StorageError
from microtome_core.store.array import ArraySpec, Codec, create_array
from microtome_core.store.location import Store
from microtome_core.store.shards import check_shard, digest

SHAPE, CHUNK, SHARD = (10, 9, 8), (4, 4, 4), (12, 12, 8)
CHUNKS, PRESENT = 3 * 3 * 2, 3 * 3 * 2


def shard(codec: str = "blosc-zstd:3", shape: tuple[int, ...] = SHAPE) -> bytes:
    """Return the object of one shard, written by TensorStore."""
    store = Store("memory://root")
    spec = ArraySpec("zyx", shape, CHUNK, SHARD, "uint16", Codec.parse(codec))
    voxels = np.random.default_rng(3).integers(0, 900, shape).astype("uint16")
    create_array(store, "0", spec)[...] = voxels
    return store.read("0/c/0/0/0") or b""


GOOD = shard()


@pytest.mark.parametrize("codec", ["blosc-zstd:3", "blosc-lz4:1", "zstd:3", "none"])
@pytest.mark.parametrize("shape", [SHAPE, (12, 12, 8), (1, 1, 1), (5, 12, 3)])
def test_what_was_written_is_whole(codec: str, shape: tuple[int, ...]) -> None:
    """Whatever the codec, and with chunks that lie outside of the array, length and XXH3 are those
    of the object.
    """
    data = shard(codec, shape)
    present = prod(-(-n // c) for n, c in zip(shape, CHUNK, strict=True))
    found = check_shard(BytesIO(data), CHUNKS, present)
    assert found == digest(BytesIO(data))
    assert (found.length, found.xxh3) == (len(data), xxhash.xxh3_128_hexdigest(data))


def test_any_flipped_bit_is_found() -> None:
    """Every byte is covered by a checksum: each one in turn, with each of its bits."""
    for place in range(len(GOOD)):
        bad = bytearray(GOOD)
        bad[place] ^= 1 << place % 8
        with pytest.raises(StorageError):
            check_shard(BytesIO(bad), CHUNKS, PRESENT)


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_any_changed_byte_is_found(place: int, change: int) -> None:
    """Whatever becomes of a byte."""
    bad = bytearray(GOOD)
    bad[place] ^= change
    with pytest.raises(StorageError):
        check_shard(BytesIO(bad), CHUNKS, PRESENT)


@given(st.integers(0, len(GOOD) - 1))
def test_any_lost_tail_is_found(length: int) -> None:
    """However much is left, nothing included."""
    with pytest.raises(StorageError):
        check_shard(BytesIO(GOOD[:length]), CHUNKS, PRESENT)


@given(st.binary(min_size=1, max_size=50), st.booleans())
def test_bytes_that_were_added_are_found(more: bytes, before: bool) -> None:
    """In front or at the end."""
    with pytest.raises(StorageError):
        check_shard(BytesIO(more + GOOD if before else GOOD + more), CHUNKS, PRESENT)


@pytest.mark.parametrize(("chunks", "present"), [(CHUNKS, PRESENT - 1), (CHUNKS - 1, PRESENT)])
def test_chunks_that_lack_or_are_too_many_are_found(chunks: int, present: int) -> None:
    """A shard of another layout is not taken for this one."""
    with pytest.raises(StorageError):
        check_shard(BytesIO(GOOD), chunks, present)


def test_a_chunk_that_lacks_is_named() -> None:
    """A shard of which TensorStore has dropped a chunk is refused with the numbers."""
    data = shard(shape=(4, 4, 4))
    assert check_shard(BytesIO(data), CHUNKS, 1).length == len(data)
    with pytest.raises(StorageError, match="1 chunks, expected 2"):
        check_shard(BytesIO(data), CHUNKS, 2)


def forge(change: Callable[[NDArray[Any], int], bytes]) -> bytes:
    """Return the shard with an index that was changed and yet matches its checksum."""
    size = 16 * CHUNKS + 4
    index = np.frombuffer(GOOD[-size:-4], "<u8").reshape(CHUNKS, 2).copy()
    body = change(index, len(GOOD) - size)
    tail = index.tobytes()
    return body + tail + google_crc32c.value(tail).to_bytes(4, "little")


def _gap(index: NDArray[Any], _: int) -> bytes:
    second = np.sort(index[:, 0])[1]
    index[index[:, 0] >= second, 0] += np.uint64(9)
    return GOOD[: int(second)] + b"unchecked" + GOOD[int(second) :]


def _twice(index: NDArray[Any], end: int) -> bytes:
    index[5] = index[4]
    return GOOD[:end]


def _rest(index: NDArray[Any], end: int) -> bytes:
    return GOOD[:end] + b"unchecked"


def _outside(index: NDArray[Any], end: int) -> bytes:
    index[index[:, 0].argmax(), 1] += np.uint64(2**40)
    return GOOD[:end]


def test_a_forged_index_is_as_good_as_another() -> None:
    """What the following tests change is all that is wrong with their shards."""
    assert forge(lambda _, end: GOOD[:end]) == GOOD


@pytest.mark.parametrize("change", [_gap, _twice, _rest, _outside])
def test_bytes_that_no_checksum_covers_are_found(
    change: Callable[[NDArray[Any], int], bytes],
) -> None:
    """A gap, a rest, a chunk that counts twice or lies outside: though every checksum matches."""
    data = forge(change)
    with pytest.raises(StorageError, match=r"chunk"):
        check_shard(BytesIO(data), CHUNKS, PRESENT)


@given(st.binary(max_size=100))
def test_what_is_no_shard_is_an_error(data: bytes) -> None:
    """Any bytes at all end in an error of storage and in nothing else."""
    with pytest.raises(StorageError):
        check_shard(BytesIO(data), CHUNKS, PRESENT)


def test_a_digest_is_of_all_blocks() -> None:
    """Objects larger than the block that is read at once."""
    data = np.random.default_rng(1).bytes(3 * 2**20 + 17)
    assert digest(BytesIO(data)).xxh3 == xxhash.xxh3_128_hexdigest(data)
    assert digest(BytesIO(data)).length == len(data)
