"""Deflated chunks of HDF5: inflated here as HDF5 would, and into no more bytes than they have."""

import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from microtome_core.errors import SourceError
from microtome_ingest.formats import open_source
from tests.counted import Counted
from tests.ingest.test_hdf5 import whole

PIPELINES: dict[str, dict[str, Any]] = {
    "deflate": {"compression": "gzip"},
    "shuffle": {"compression": "gzip", "shuffle": True},
    "checksum": {"compression": "gzip", "fletcher32": True},
    "all": {"compression": "gzip", "shuffle": True, "fletcher32": True},
}
DTYPES = ("u1", "<i2", ">u2", "<u4", ">i8", "<f4", ">f8")


@pytest.mark.parametrize("place", ["local", "remote"])
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_every_type_is_read_as_hdf5_reads_it(tmp_path: Path, place: str, pipeline: str) -> None:
    """Whatever the filters and the order of bytes; chunks that stick out are cut off."""
    numbers = np.random.default_rng(2).integers(0, 100, (9, 30, 26))
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for dtype in DTYPES:
            options = PIPELINES[pipeline]
            file.create_dataset(dtype, data=numbers.astype(dtype), chunks=(4, 16, 26), **options)
    Counted.reset()
    start = str(path) if place == "local" else Counted.put("a.h5", path.read_bytes())
    with h5py.File(path) as file:
        for dtype in DTYPES:
            source = open_source(f"{start}::{dtype}")
            native = file[dtype][...].astype(np.dtype(dtype).newbyteorder("="))
            np.testing.assert_array_equal(whole(source), native, strict=True)
            source.close()


def test_a_type_of_fewer_bits_is_left_to_hdf5(tmp_path: Path) -> None:
    """Twelve bits that lie high in sixteen are the number that HDF5 makes of them."""
    kind = h5py.h5t.STD_U16LE.copy()
    kind.set_precision(12)
    kind.set_offset(4)
    numbers = np.arange(64, dtype="uint16").reshape(8, 8)
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((4, 8))
        plist.set_deflate(4)
        space = h5py.h5s.create_simple((8, 8))
        dataset = h5py.h5d.create(file.id, b"a", kind, space, plist)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, numbers)
    np.testing.assert_array_equal(whole(open_source(str(path))), numbers)


def written(path: Path, chunk: bytes, mask: int = 0, **options: Any) -> str:  # noqa: ANN401
    """Write an array of one chunk as it is given."""
    with h5py.File(path, "w") as file:
        found = file.create_dataset("a", (1024, 1024), "u1", chunks=(1024, 1024), **options)
        found.id.write_direct_chunk((0, 0), chunk, filter_mask=mask)
    return str(path)


def test_filters_that_were_not_applied_are_not_undone(tmp_path: Path) -> None:
    """A chunk's mask names them: HDF5 leaves out what does not make it smaller."""
    plain = np.random.default_rng(3).integers(0, 255, (1024, 1024), "uint8")
    path = written(tmp_path / "a.h5", plain.tobytes(), 1, compression="gzip")
    np.testing.assert_array_equal(whole(open_source(path)), plain)


@pytest.mark.parametrize(
    ("chunk", "reason"),
    [
        (1 << 28, "not 1048576 bytes deflated"),
        ((1 << 20) + 1, "not 1048576 bytes deflated"),
        ((1 << 20) - 1, "a chunk of 1048575 bytes: expected 1048576"),
        (zlib.compress(bytes(1 << 20))[:-1], "deflated"),
        (b"no deflate", "deflated"),
    ],
)
@pytest.mark.parametrize("pipeline", ["deflate", "checksum"])
def test_a_chunk_inflates_to_what_it_has_or_is_damaged(
    tmp_path: Path, chunk: bytes | int, reason: str, pipeline: str
) -> None:
    """No chunk takes more memory than its voxels, whatever it would inflate to.

    A number stands for a chunk of as many zeros.
    """
    if isinstance(chunk, int):
        chunk = zlib.compress(bytes(chunk), 1)
    checksum = bytes(4) if pipeline == "checksum" else b""
    source = open_source(written(tmp_path / "a.h5", chunk + checksum, **PIPELINES[pipeline]))
    tracemalloc.start()
    with pytest.raises(SourceError, match=rf"a\.h5: /a, q=0:1024,i=0:1024: .*{reason}"):
        whole(source)
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()
