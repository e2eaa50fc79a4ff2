"""Fingerprints of the files of a source, so that a record can tell which bytes it came from."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from microtome_core.errors import SourceError


@dataclass(frozen=True, slots=True)
class FileHash:
    """A file's name without its folder, its size in bytes and its SHA-256 in hexadecimal digits."""

    name: str
    size: int
    sha256: str


def hash_file(path: str) -> FileHash:
    """Read a file once, without holding it in memory.

    Raises
    ------
    SourceError
        A file that cannot be read.
    """
    try:
        with Path(path).open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256")
            return FileHash(Path(path).name, stream.tell(), digest.hexdigest())
    except OSError as error:
        raise SourceError(path, f"cannot be read: {error.strerror}") from error


def hash_files(paths: Sequence[str]) -> tuple[FileHash, ...]:
    """Return the fingerprint of every file, in the order given."""
    return tuple(map(hash_file, paths))
