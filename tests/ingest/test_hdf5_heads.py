"""Chunks of HDF5 that are decoded by HDF5: none is shorter or longer than it must be."""

import struct
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from microtome_core.errors import SourceError
from microtome_ingest.formats import open_source
from microtome_ingest.sources.hdf5_heads import decoded_length
from tests.counted import Counted
from tests.ingest.test_hdf5 import whole

SHAPE, CHUNK = (8, 64, 64), (4, 64, 64)
VOXELS = (np.arange(8 * 64 * 64, dtype="uint16") // 7).reshape(SHAPE)
NBYTES = 4 * 64 * 64 * 2
# Options, and how and where a chunk says how long it is.
HEADS: dict[str, tuple[dict[str, Any], str, int]] = {
    "szip": ({"compression": "szip"}, "<I", 0),
    "szip, shuffled, checksum": (
        {"compression": "szip", "shuffle": True, "fletcher32": True},
        "<I",
        0,
    ),
    "blosc": (dict(hdf5plugin.Blosc()), "<I", 4),
    "lz4": (dict(hdf5plugin.LZ4()), ">Q", 0),
    "bitshuffle": (dict(hdf5plugin.Bitshuffle(cname="lz4")), ">Q", 0),
}


def made(path: Path, options: dict[str, Any]) -> Path:
    """Write an array of two chunks."""
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=VOXELS, chunks=CHUNK, **options)
    return path


def with_chunk(path: Path, chunk: bytes, mask: int = 0) -> None:
    """Put other bytes in the place of the second chunk."""
    with h5py.File(path, "r+") as file:
        file["a"].id.write_direct_chunk((4, 0, 0), chunk, mask)


@pytest.mark.parametrize("place", ["local", "remote"])
@pytest.mark.parametrize("name", HEADS)
def test_what_a_chunk_says_of_its_length_must_be_true(
    tmp_path: Path, place: str, name: str
) -> None:
    """HDF5 would make voxels of what lies behind a chunk in memory."""
    options, form, at = HEADS[name]
    path = made(tmp_path / "a.h5", options)
    with h5py.File(path) as file:
        _, chunk = file["a"].id.read_direct_chunk((4, 0, 0))
    assert struct.unpack_from(form, chunk, at) == (NBYTES,)

    def opened() -> Any:  # noqa: ANN401
        Counted.reset()
        return open_source(
            str(path) if place == "local" else Counted.put("a.h5", path.read_bytes())
        )

    np.testing.assert_array_equal(whole(opened()), VOXELS)
    for length in (100, NBYTES // 2, NBYTES + 1, 1 << 31):
        wrong = bytearray(chunk)
        struct.pack_into(form, wrong, at, length)
        with_chunk(path, bytes(wrong))
        with pytest.raises(
            SourceError, match=rf"a\.h5: /a, .*of {length} bytes: expected {NBYTES}"
        ):
            whole(opened())


@pytest.mark.parametrize("options", [{"compression": "lzf"}, dict(hdf5plugin.Zstd())])
def test_chunks_without_their_filters_must_be_whole(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    """A chunk to which no filter was applied is as many bytes as it has voxels, and not fewer."""
    path = made(tmp_path / "a.h5", options)
    with_chunk(path, VOXELS[4:].tobytes(), mask=1)
    np.testing.assert_array_equal(whole(open_source(str(path))), VOXELS)
    with_chunk(path, bytes(100), mask=1)
    with pytest.raises(SourceError, match=f"of 100 bytes: expected {NBYTES}"):
        whole(open_source(str(path)))


def test_frames_of_zstandard_say_how_long_they_are(tmp_path: Path) -> None:
    """Whole frames of other voxels than a chunk's are damage."""
    path = made(tmp_path / "a.h5", dict(hdf5plugin.Zstd()))
    np.testing.assert_array_equal(whole(open_source(str(path))), VOXELS)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        short = file.create_dataset("a", data=VOXELS[0, :2], chunks=(2, 64), **hdf5plugin.Zstd())
        _, chunk = short.id.read_direct_chunk((0, 0))
    with_chunk(path, chunk)
    with pytest.raises(SourceError, match=f"of 256 bytes: expected {NBYTES}"):
        whole(open_source(str(path)))


@pytest.mark.parametrize(
    ("head", "length"),
    [
        (b"\x28\xb5\x2f\xfd\x20\x07", 7),
        (b"\x28\xb5\x2f\xfd\x40\x00\x01\x00", 257),
        (b"\x28\xb5\x2f\xfd\x81\x00\x09\x00\x00\x01\x00", 1 << 16),
        (b"\x28\xb5\x2f\xfd\xe0" + (1 << 33).to_bytes(8, "little"), 1 << 33),
        (b"\x28\xb5\x2f\xfd\x00\x00", None),
        (b"\x28\xb5\x2f\xfd\x80\x00\x09", None),
        (b"something", None),
        (b"", None),
    ],
)
def test_lengths_of_frames_are_as_in_the_standard(head: bytes, length: int | None) -> None:
    """RFC 8878, 3.1.1.1: one, two, four or eight bytes, or none."""
    assert decoded_length(head, 0, [(32015, ())]) == length


def test_what_cannot_be_told_is_left_to_hdf5() -> None:
    """Filters without a head, and whatever lies below others."""
    deflate, szip = (1, (6,)), (4, (169, 8, 8, 64))
    assert decoded_length(bytes(40), 0, [deflate]) is None
    assert decoded_length(bytes(40), 0, [szip, deflate]) is None
    assert decoded_length(b"\x10\0\0\0" + bytes(9), 0, [deflate, szip]) is None
    assert decoded_length(b"\x10\0\0", 0, [szip]) is None
    assert decoded_length(bytes(40), 0, [(32008, (0, 4, 2, 0, 0))]) == 40
