"""How HDF5 arrays are stored: what cannot be is refused before a voxel is read, gaps are told."""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest

from microtome_core.errors import SourceError
from microtome_ingest.formats import open_source
from tests.ingest.test_hdf5 import LAYOUTS, Make, saved, whole


def damaged(tmp_path: Path, make: Make, edit: Callable[[Any, bytearray], None]) -> str:
    """Write a file, change its bytes, and return its path."""
    path = Path(saved(tmp_path, make))
    data = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        edit(file["group/voxels"], data)
    path.write_bytes(data)
    return str(path)


def replaced(data: bytearray, old: bytes, new: bytes) -> None:
    """Put bytes in place of those that must be there."""
    assert old in data
    data[:] = data.replace(old, new)


def test_chunks_beyond_the_end_are_refused_when_opened(tmp_path: Path) -> None:
    """No chunk is read that the file cannot hold, and none that is larger than its voxels."""

    def shifted(voxels: Any, data: bytearray) -> None:  # noqa: ANN401
        place = voxels.id.get_chunk_info(0).byte_offset
        replaced(data, place.to_bytes(8, "little"), (1 << 40).to_bytes(8, "little"))

    def swollen(voxels: Any, data: bytearray) -> None:  # noqa: ANN401
        count = voxels.id.get_chunk_info(0).size
        replaced(data, count.to_bytes(4, "little"), (200_000).to_bytes(4, "little"))
        data.extend(bytes(1_000_000))

    with pytest.raises(SourceError, match=r"chunk \(0, 0, 0\).*beyond the end"):
        open_source(damaged(tmp_path, LAYOUTS["gzip"], shifted))
    with pytest.raises(SourceError, match=r"200000 bytes for .* bytes of voxels: damaged"):
        open_source(damaged(tmp_path, LAYOUTS["gzip"], swollen))


def test_claims_beyond_all_proportion_are_refused(tmp_path: Path) -> None:
    """Arrays and chunks of gigabytes in a file of kilobytes are refused before anything is read."""

    def sparse(file: Any) -> None:  # noqa: ANN401
        file.create_dataset("a", (1 << 20, 1 << 10, 1 << 10), "u1", chunks=(1, 64, 64))[0, 0, 0] = 1

    def never(file: Any) -> None:  # noqa: ANN401
        file.create_dataset("a", (1 << 11, 1 << 10, 1 << 10), "u1")

    def bomb(file: Any) -> None:  # noqa: ANN401
        whole = (1 << 9, 1 << 10, 1 << 10)
        found = file.create_dataset("a", whole, "u1", chunks=whole, compression="gzip")
        found.id.write_direct_chunk((0, 0, 0), zlib.compress(bytes(1000)))

    for make, reason in ((sparse, "1 of .* chunks"), (never, "none of which"), (bomb, "chunks of")):
        with pytest.raises(SourceError, match=f"claims .*{reason}.*refused"):
            open_source(saved(tmp_path, make))


def test_what_was_never_written_is_noted(tmp_path: Path) -> None:
    """The fill value is HDF5's word, and the note says how much of the array it is."""

    def some(file: Any) -> None:  # noqa: ANN401
        found = file.create_dataset("a", (4, 32, 32), "i2", chunks=(2, 16, 16), fillvalue=-7)
        found[:2, :16, :16] = 1

    def none(file: Any) -> None:  # noqa: ANN401
        file.create_dataset("a", (4, 32, 32), "i2", fillvalue=5)

    source = open_source(saved(tmp_path, some))
    [note] = source.description.notes
    assert "7 of 8 chunks were never written: HDF5 defines them as the fill value -7" in note
    source.close()
    source = open_source(saved(tmp_path, none))
    assert "fill value 5" in source.description.notes[0]
    assert (whole(source) == 5).all()
    source.close()
    assert open_source(saved(tmp_path, LAYOUTS["zstd"])).description.notes == ()
