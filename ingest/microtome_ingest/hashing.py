"""Fingerprints of the files of a source, so that a record can tell which bytes it came from."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from microtome_core.errors import SourceError

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class FileHash:
    """A file's name without its folder, its size in bytes and its SHA-256 in hexadecimal digits."""

    name: str
    size: int
    sha256: str


def hash_file(path: str, stop: Event) -> FileHash:
    """Read a file once, without holding it in memory.

    Parameters
    ----------
    path : str
    stop : Event
        Ends the reading when it is set, since a large file takes hours.

    Raises
    ------
    SourceError
        A file that cannot be read.
    CancelledError
        `stop` was set.
    """
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as stream:
            while block := stream.read(_BLOCK):
                if stop.is_set():
                    raise CancelledError
                digest.update(block)
            return FileHash(Path(path).name, stream.tell(), digest.hexdigest())
    except OSError as error:
        raise SourceError(path, f"cannot be read: {error.strerror}") from error


def hash_files(paths: Sequence[str], stop: Event) -> tuple[FileHash, ...]:
    """Return the fingerprint of every file, in the order given; otherwise as `hash_file`."""
    return tuple(hash_file(path, stop) for path in paths)
