"""Voxels kept on disk between calls and between processes: one file a cell of a layer's version."""

import os
from pathlib import Path

from microtome.errors import InputError
from microtome_core.file_cache import FileCache

_SUFFIX = ".voxels"


class Cache(FileCache):
    """Voxels by key; safe in threads and between processes.

    Parameters
    ----------
    folder : path
        Made if it is not there.
    limit : int
        Bytes that it may hold; each process that writes may exceed it by a tenth.
    """

    def __init__(self, folder: str | os.PathLike[str], limit: int) -> None:
        if limit < 1:
            raise InputError(f"cache_bytes={limit!r}: expected bytes above 0")
        try:
            super().__init__(folder, limit, _SUFFIX)
        except OSError as error:
            raise InputError(f"cache={str(folder)!r}: {error.strerror or error}") from error

    def __reduce__(self) -> tuple[type["Cache"], tuple[Path, int]]:
        return type(self), (self.folder, self.limit)
