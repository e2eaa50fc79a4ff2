"""What lies in a folder or a bucket, page by page, and what is known of one object, by fsspec."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

# A level's slabs of shards lie so deep below a layer's version: 0/c/7.
_DEPTH = 3


@dataclass(frozen=True, slots=True)
class Stat:
    """What is known of an object without reading it.

    Parameters
    ----------
    size : int
        Bytes.
    tag : str
        Another one wherever the bytes may be others.
    modified : float, optional
        When it was written, in seconds since 1970.
    """

    size: int
    tag: str
    modified: float | None

    @classmethod
    def of_file(cls, found: os.stat_result) -> "Stat":
        """Read what the system says of a file; writers replace files, so each has a number."""
        tag = f"{found.st_ino}-{found.st_mtime_ns}-{found.st_size}"
        return cls(found.st_size, tag, found.st_mtime)


def files(root: Path, folder: str) -> Iterator[tuple[str, int]]:
    """Yield every file below `folder`, as its path below `root` and its bytes."""
    for where, _, names in os.walk(root / folder, onerror=_unless_absent):
        for name in names:
            path = Path(where, name)
            with suppress(FileNotFoundError):  # another writer's lock, gone since it was listed
                yield path.relative_to(root).as_posix(), path.stat().st_size


def _unless_absent(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def objects(url: str, folder: str, arguments: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield every object below `folder`, as its path below `url` and its bytes.

    Parameters
    ----------
    arguments : dict
        What the filesystem is made with.

    Raises
    ------
    OSError
    """
    with _as_os_errors():
        fresh = {**arguments, "use_listings_cache": False}
        filesystem, root = fsspec.core.url_to_fs(url, **fresh)
        for entry in _entries(filesystem, f"{root}/{folder}".rstrip("/"), _DEPTH):
            yield entry["name"].removeprefix(f"{root}/"), int(entry["size"])


def folders(url: str, folder: str, arguments: Mapping[str, Any]) -> list[str]:
    """Return the names of the folders directly in `folder`, sorted; none if it is absent.

    Raises
    ------
    OSError
        An absent bucket, for example.
    """
    with _as_os_errors():
        filesystem, root = fsspec.core.url_to_fs(url, **arguments)
        try:
            entries = filesystem.ls(f"{root}/{folder}".rstrip("/"), detail=True, refresh=True)
        except FileNotFoundError:
            if url.startswith("s3://") and not filesystem.exists(root.split("/")[0]):
                raise  # an absent folder is empty, an absent bucket is a failure
            return []
    names = (e["name"].rstrip("/") for e in entries if e["type"] == "directory")
    return sorted(name.rsplit("/", 1)[-1] for name in names)


def stat_object(url: str, arguments: Mapping[str, Any]) -> Stat | None:
    """Return what is known of one object, or None where there is none.

    Raises
    ------
    OSError
    """
    with _as_os_errors():
        filesystem, path = fsspec.core.url_to_fs(url, **arguments)
        try:
            found = filesystem.info(path, refresh=True)
        except FileNotFoundError:
            return None
    if found["type"] != "file":
        return None
    return Stat(int(found["size"]), found["ETag"].strip('"'), found["LastModified"].timestamp())


def _entries(
    filesystem: fsspec.AbstractFileSystem, path: str, depth: int
) -> Iterator[dict[str, Any]]:
    """Yield all objects below `path`, holding the list of one folder `depth` below it at most."""
    if depth == 0:
        yield from filesystem.find(path, detail=True).values()
        return
    try:
        entries = filesystem.ls(path, detail=True)
    except FileNotFoundError:
        return
    for entry in entries:
        if entry["type"] == "directory":
            yield from _entries(filesystem, entry["name"], depth - 1)
        else:
            yield entry


@contextmanager
def _as_os_errors() -> Iterator[None]:
    """Turn botocore's own errors into OSError, as s3fs does with most."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.startswith("botocore."):
            raise OSError(f"{type(error).__name__}: {error}") from error
        raise
