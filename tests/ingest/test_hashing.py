"""Fingerprints of source files."""

from concurrent.futures import CancelledError
from hashlib import sha256
from pathlib import Path
from threading import Event

import pytest

from microtome_core.errors import SourceError
from microtome_ingest.hashing import hash_file


def test_a_fingerprint_is_of_all_bytes(tmp_path: Path) -> None:
    """It is the SHA-256 of the whole file, also where that is larger than a block or empty."""
    data = bytes(range(256)) * 10_000
    (tmp_path / "a.bin").write_bytes(data)
    (tmp_path / "empty").touch()
    assert hash_file(str(tmp_path / "a.bin"), Event()) == sha256(data).hexdigest()
    assert hash_file(str(tmp_path / "empty"), Event()) == sha256().hexdigest()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """The error is the source's, not the system's."""
    with pytest.raises(SourceError, match="gone"):
        hash_file(str(tmp_path / "gone"), Event())


@pytest.mark.timeout(30)
def test_hashing_ends_when_it_is_told_to(tmp_path: Path) -> None:
    """A file of a terabyte keeps nobody waiting who has stopped the ingest."""
    with (tmp_path / "sparse").open("wb") as stream:
        stream.truncate(2**40)
    stop = Event()
    stop.set()
    with pytest.raises(CancelledError):
        hash_file(str(tmp_path / "sparse"), stop)
