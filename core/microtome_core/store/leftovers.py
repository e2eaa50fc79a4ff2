"""Removing what writers that died have left behind in a folder.

TensorStore writes ``key.__lock`` while it holds a lock on that file, and renames it to ``key``.
It does not shorten a file that it finds there, so the tail of a dead writer's larger object would
follow the next writer's smaller one: leftovers must go before anything is written.
"""

import fcntl
import os
import struct
from pathlib import Path

_SUFFIX = ".__lock"


def sweep_folder(folder: Path) -> list[Path]:
    """Delete the leftovers below `folder`; the file of a writer that lives is left alone.

    Returns
    -------
    list of Path
        What was deleted.

    Raises
    ------
    OSError
        A leftover could not be deleted.
    """
    return [path for path in sorted(folder.rglob(f"*{_SUFFIX}")) if _delete_unless_held(path)]


def is_leftover(key: str) -> bool:
    """Tell whether an object is one of these; what is still there after a sweep is in use."""
    return key.endswith(_SUFFIX)


def sweep_object(path: Path) -> None:
    """Delete the leftover of one object, if there is one."""
    _delete_unless_held(path.with_name(f"{path.name}{_SUFFIX}"))


def _delete_unless_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False  # its writer has just finished
    try:
        if not _lock(descriptor) or not _still_named(path, descriptor):
            return False
        path.unlink()  # only who holds the lock of the file of this name may do so
    finally:
        os.close(descriptor)  # and frees the lock
    return True


def _lock(descriptor: int) -> bool:
    """Take the lock that TensorStore takes: the open file's, or where there is none the file's."""
    try:
        if hasattr(fcntl, "F_OFD_SETLK"):
            # struct flock of 64-bit Linux: type, whence, start, length, pid.
            whole = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, whole)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _still_named(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False
