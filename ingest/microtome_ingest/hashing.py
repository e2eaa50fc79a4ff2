"""Hashes of the files of a source, so that a record can tell which bytes it came from."""

import hashlib
from concurrent.futures import CancelledError
from pathlib import Path
from threading import Event

from microtome_core.errors import SourceError

_BLOCK = 1 << 20


def hash_file(path: str, stop: Event) -> str:
    """Return the SHA-256 of a file in hexadecimal digits, without holding it in memory.

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
    # One buffer for all: a fresh one each time would be new pages each time.
    digest, block = hashlib.sha256(), memoryview(bytearray(_BLOCK))
    try:
        with Path(path).open("rb") as stream:
            while count := stream.readinto(block):
                if stop.is_set():
                    raise CancelledError
                digest.update(block[:count])
    except OSError as error:
        raise SourceError(path, f"cannot be read: {error.strerror}") from error
    return digest.hexdigest()
