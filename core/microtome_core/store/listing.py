"""What lies in a folder or a bucket, page by page, and what is known of one object, by fsspec."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec


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
        filesystem, root = fsspec.core.url_to_fs(url, **arguments)
        for page in _pages(filesystem, root, folder):
            for entry in page.get("Contents", ()):
                name = f"{root.partition('/')[0]}/{entry['Key']}"
                yield name.removeprefix(f"{root}/"), int(entry["Size"])


def folders(url: str, folder: str, arguments: Mapping[str, Any]) -> list[str]:
    """Return the names of the folders directly in `folder`, sorted; none if it is absent.

    Raises
    ------
    OSError
        An absent bucket, for example.
    """
    with _as_os_errors():
        filesystem, root = fsspec.core.url_to_fs(url, **arguments)
        if url.startswith("s3://"):
            pages = list(_pages(filesystem, root, folder, Delimiter="/"))
            found = [each["Prefix"] for page in pages for each in page.get("CommonPrefixes", ())]
        else:
            found = _local(filesystem, f"{root}/{folder}")
    return sorted(name.rstrip("/").rsplit("/", 1)[-1] for name in found)


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


def _pages(
    filesystem: fsspec.AbstractFileSystem, root: str, folder: str, **how: str
) -> Iterator[Mapping[str, Any]]:
    """Yield what S3 tells of the objects in a folder below ``bucket/prefix``, a thousand at a time.

    A request each, of s3fs's own connection: its `ls` makes three more of a folder that is absent,
    and its `find` holds all in memory.
    """
    bucket, _, prefix = f"{root}/{folder}".rstrip("/").partition("/")
    where = {"Bucket": bucket, "Prefix": prefix and f"{prefix}/", **how}
    more: dict[str, str] = {}
    while True:
        page = filesystem.call_s3("list_objects_v2", **where, **more)
        yield page
        if not page.get("IsTruncated"):
            return
        more = {"ContinuationToken": page["NextContinuationToken"]}


def _local(filesystem: fsspec.AbstractFileSystem, path: str) -> list[str]:
    try:
        entries = filesystem.ls(path, detail=True)
    except FileNotFoundError:
        return []
    return [entry["name"] for entry in entries if entry["type"] == "directory"]


@contextmanager
def _as_os_errors() -> Iterator[None]:
    """Turn botocore's own errors into OSError, as s3fs does with most."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.startswith("botocore."):
            raise OSError(f"{type(error).__name__}: {error}") from error
        raise
