"""Fingerprints of source files."""

from concurrent.futures import CancelledError
from hashlib import sha256
from pathlib import Path
from threading import Event

import pytest

from microtome_core.errors import SourceError
from microtome_ingest.hashing import FileHash, hash_files


def test_a_fingerprint_is_of_all_bytes(tmp_path: Path) -> None:
    """Name, size and SHA-256 are those of the whole file, also where it is larger than a block."""
    data = bytes(range(256)) * 10_000
    (tmp_path / "a.bin").write_bytes(data)
    (tmp_path / "empty").touch()
    found = hash_files([str(tmp_path / "a.bin"), str(tmp_path / "empty")], Event())
    assert found[0] == FileHash("a.bin", len(data), sha256(data).hexdigest())
    assert found[1] == FileHash("empty", 0, sha256().hexdigest())


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """The error is the source's, not the system's."""
    with pytest.raises(SourceError, match="gone"):
        hash_files([str(tmp_path / "gone")], Event())


@pytest.mark.timeout(30)
def test_hashing_ends_when_it_is_told_to(tmp_path: Path) -> None:
    """A file of a terabyte keeps nobody waiting who has stopped the ingest."""
    with (tmp_path / "sparse").open("wb") as stream:
        stream.truncate(2**40)
    stop = Event()
    stop.set()
    with pytest.raises(CancelledError):
        hash_files([str(tmp_path / "sparse")], stop)
