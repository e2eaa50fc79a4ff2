"""Where an export goes: written beside, and moved to its name when it is whole.

Whatever ends it before leaves what was there, and nothing else.
"""

import errno
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from microtome_core.errors import AccessDenied, Conflict, InputError, MicrotomeError, StorageError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_TRIES = 100
_FULL_WORDS = ("No space left on device", "Disk quota exceeded")


@contextmanager
def whole_file(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield where to write a file; it gets its name, durably, once the block is done.

    Raises
    ------
    InputError
        A folder that is not there, or a name that is a folder's.
    Conflict
        Something of that name is there, and it is not to be overwritten.
    AccessDenied, StorageError
        The disk refuses, is full, or failed; says which.
    """
    _check_free(path, overwrite=overwrite)
    if path.is_dir():
        raise InputError(f"{path}: a folder is there; expected the name of a file")
    with _beside(path) as part:
        yield part
        _sync(part)
        _check_free(path, overwrite=overwrite)
        part.replace(path)
        _sync(path.parent)


@contextmanager
def whole_folder(path: Path, mark: str, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder to be filled; it gets its name once the block is done.

    Parameters
    ----------
    path : Path
    mark : str
        A file that such a folder holds: only a folder that does is overwritten.
    overwrite : bool

    Raises
    ------
    Conflict, InputError, AccessDenied, StorageError
        As `whole_file`.
    """
    _check_free(path, overwrite=overwrite)
    if path.exists() and not (path / mark).is_file() and not _is_empty(path):
        raise Conflict(f"{path}: holds no {mark}, so it is none that may be overwritten")
    with _beside(path) as part:
        part.mkdir()
        yield part
        _sync_tree(part)
        _check_free(path, overwrite=overwrite)
        with _set_aside(path):
            part.rename(path)
        _sync(path.parent)


def _check_free(path: Path, *, overwrite: bool) -> None:
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}")
    if (path.exists() or path.is_symlink()) and not overwrite:
        raise Conflict(f"{path}: is there already; --overwrite replaces it")


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Yield a free name in the same folder, with the same ending; nothing is left of it."""
    part = path.with_name(f".part-{uuid4().hex[:12]}-{path.name}")
    try:
        with _disk_errors(path):
            yield part
    finally:
        _remove(part)


def _remove(part: Path) -> None:
    """Remove a file or a folder, into which writes that were begun may still come for a moment."""
    for patience in range(_TRIES):
        if not os.path.lexists(part):
            return
        try:
            shutil.rmtree(part) if part.is_dir() else part.unlink()
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.ENOENT} or patience == _TRIES - 1:
                raise
            time.sleep(0.05)


@contextmanager
def _set_aside(path: Path) -> Iterator[None]:
    """Move what has a name away while another takes it; back again if that fails."""
    if not path.exists():
        yield
        return
    with _beside(path) as old:
        path.rename(old)
        try:
            yield
        except BaseException:
            old.rename(path)
            raise


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """Turn what the system or a library says of a disk into an error about `path`."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if getattr(error, "errno", None) in _FULL or any(w in str(error) for w in _FULL_WORDS):
            raise StorageError(f"{path}: the disk is full; nothing was left there") from error
        if isinstance(error, MicrotomeError):
            raise
        denied = isinstance(error, PermissionError) or getattr(error, "errno", 0) == errno.EROFS
        raise (AccessDenied if denied else StorageError)(f"{path}: {error}") from error


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and next(folder.iterdir(), None) is None


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_tree(folder: Path) -> None:
    for parent, _, names in os.walk(folder):
        for name in names:
            _sync(Path(parent) / name)
        _sync(Path(parent))
