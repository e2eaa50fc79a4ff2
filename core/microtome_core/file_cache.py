"""Bytes kept on disk between calls and between processes, in a folder of bounded size.

One file a key, written beside and renamed, with a checksum that is looked at on every read: what
was damaged, or cut short, counts as absent. Whoever writes may remove the oldest, also while others
read.
"""

import hashlib
import os
import tempfile
import threading
import zlib
from contextlib import suppress
from pathlib import Path

_CHECK = 4
# What is left after the oldest were removed, so that not every write must look.
_LEFT = 0.9
# Others write, too: after so much of the limit is written here, all files are counted anew.
_UNSEEN = 0.1


class FileCache:
    """Bytes by key; safe in threads and between processes.

    Parameters
    ----------
    folder : path
        Made if it is not there, for its owner alone, as its files are.
    limit : int
        Bytes that it may hold; each process that writes may exceed it by a tenth.
    suffix : str
        Of the names of its files; no others are removed.

    Raises
    ------
    OSError
        The folder cannot be made.
    """

    def __init__(self, folder: str | os.PathLike[str], limit: int, suffix: str) -> None:
        self.folder = Path(folder).expanduser().absolute()
        self.limit, self.suffix = limit, suffix
        self.folder.mkdir(0o700, parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._used: int | None = None
        self._added = 0

    def get(self, key: str, nbytes: int | None = None) -> bytes | None:
        """Return what was put under `key`; None where it is absent, damaged or of another size."""
        path = self._path(key)
        try:
            data = path.read_bytes()
            # The oldest go first by when they were last used.
            os.utime(path)
        except OSError:
            return None
        body = data[_CHECK:]
        odd = len(data) < _CHECK or nbytes not in (None, len(body))
        if odd or zlib.crc32(body) != int.from_bytes(data[:_CHECK], "little"):
            with suppress(OSError):
                path.unlink()
            return None
        return body

    def put(self, key: str, body: bytes | memoryview) -> None:
        """Keep bytes; where the disk is full or refuses, they are not kept."""
        path = self._path(key)
        try:
            with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".part", delete=False) as file:
                try:
                    file.write(zlib.crc32(body).to_bytes(_CHECK, "little"))
                    file.write(body)
                    file.close()
                    os.replace(file.name, path)
                except BaseException:
                    os.unlink(file.name)
                    raise
        except OSError:
            return
        self._make_room(len(body) + _CHECK)

    def _path(self, key: str) -> Path:
        return self.folder / (hashlib.sha256(key.encode()).hexdigest()[:40] + self.suffix)

    def _make_room(self, added: int) -> None:
        with self._lock:
            self._added += added
            seen = self._used is not None and self._added <= _UNSEEN * self.limit
            if not seen or (self._used or 0) + self._added > self.limit:
                self._used, self._added = self._sweep(), 0

    def _sweep(self) -> int:
        """Remove the oldest files until there is room; return the bytes that are left."""
        found = sorted(_files(self.folder, self.suffix), reverse=True)
        used = sum(size for _, size, _ in found)
        aim = self.limit * _LEFT if used > self.limit else used
        while found and used > aim:
            _, size, path = found.pop()
            with suppress(OSError):
                os.unlink(path)
            used -= size
        return used


def _files(folder: Path, suffix: str) -> list[tuple[int, int, str]]:
    """Return when each file was last used, its bytes and its path; what vanishes is left out."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith((suffix, ".part")):
                with suppress(OSError):
                    stat = entry.stat()
                    found.append((stat.st_mtime_ns, stat.st_size, entry.path))
    return found
