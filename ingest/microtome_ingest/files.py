"""Where the files of a source lie: local ones are mapped into memory, URLs are read by ranges.

A reader is handed `Files` and asks it for bytes; it never opens a path itself. What it holds of a
file between two reads is a `Stamp`, by which a file that was replaced meanwhile is refused.
"""

import glob
import mmap
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal, Protocol, cast
from urllib.parse import unquote, urlsplit

from microtome_core.errors import SourceError
from microtome_core.store.location import StorageOptions
from microtome_ingest.ranges import Span
from microtome_ingest.remote import REQUESTS, Entry, Remote
from microtome_ingest.sources.parallel import run
from microtome_ingest.stream import RangeStream

Kind = Literal["file", "folder", "absent"]


@dataclass(frozen=True, slots=True)
class Stamp:
    """A file as it was when it was looked at; equal as long as nobody wrote it anew.

    Parameters
    ----------
    name : str
        Without its folder.
    size : int
        Bytes.
    mtime_ns : int, optional
        When a local file was last written, in nanoseconds.
    etag : str, optional
        What the service calls this version of an object.
    """

    name: str
    size: int
    mtime_ns: int | None = None
    etag: str | None = None

    @classmethod
    def of_stat(cls, path: str, stat: os.stat_result) -> "Stamp":
        """Return the stamp of a local file."""
        return cls(name_of(path), stat.st_size, mtime_ns=stat.st_mtime_ns)

    @classmethod
    def of_entry(cls, path: str, entry: Entry) -> "Stamp":
        """Return the stamp of an object."""
        return cls(name_of(path), entry.size, etag=entry.etag)


class Bytes(Protocol):
    """The bytes of one file, at random.

    `mapped` tells that bytes cost nothing until they are looked at.
    """

    path: str
    stamp: Stamp
    mapped: bool

    def read(self, offset: int, count: int) -> memoryview:
        """Return exactly `count` bytes from `offset` on.

        Raises
        ------
        SourceError
            The file ends before.
        StorageError
            A service that may answer later.
        """

    def check(self) -> None:
        """Refuse a local file that changed since it was opened; services do so at each read."""

    def stream(self) -> BinaryIO:
        """Return a seekable file object for parsers of headers; close it after use."""

    def close(self) -> None:
        """Release the file; what was read stays readable."""

    def __enter__(self) -> "Bytes": ...

    def __exit__(self, *_: object) -> None: ...


class Files:
    """How the files of one source are reached. Safe for threads.

    A file is pinned when it is first opened, listed or stamped: from then on it is refused if it
    is no longer what it was.

    Parameters
    ----------
    options : StorageOptions, optional
        How to reach object storage, and which hosts may be read from.
    """

    def __init__(self, options: StorageOptions | None = None) -> None:
        self.options = options or StorageOptions()
        self._remote = Remote(self.options)
        self._pinned: dict[str, Stamp] = {}

    def open(self, path: str) -> Bytes:
        """Open a file.

        Raises
        ------
        SourceError
            Not there, not readable, or changed since it was pinned.
        StorageError
            A service that may answer later.
        """
        pinned = self._pinned.get(path)
        if is_remote(path):
            # S3 compares the stamp at each read; asking before would cost a request a file.
            return RemoteBytes(self._remote, path, pinned or self.stamp(path))
        local = LocalBytes(path, pinned)
        self._pinned.setdefault(path, local.stamp)
        return local

    def stamp(self, path: str) -> Stamp:
        """Return what a file is, or was when it was pinned; errors are those of `open`."""
        if path not in self._pinned:
            self._pinned[path] = self._looked_at(path)
        return self._pinned[path]

    def stamps(self, paths: Iterable[str]) -> dict[str, Stamp]:
        """Return the stamp of each file by its path."""
        return {path: self.stamp(path) for path in paths}

    def _looked_at(self, path: str) -> Stamp:
        if not is_remote(path):
            with LocalBytes(path, None) as local:
                return local.stamp
        entry = self._remote.entry(path)
        if entry is None or entry.folder:
            raise SourceError(path, "not found" if entry is None else "a folder, not a file")
        return Stamp.of_entry(path, entry)

    def kind(self, path: str) -> Kind:
        """Tell what lies at a path."""
        if path in self._pinned:
            return "file"
        if is_remote(path):
            entry = self._remote.entry(path)
            if entry is not None and not entry.folder:
                self._pinned.setdefault(path, Stamp.of_entry(path, entry))
            return "absent" if entry is None else "folder" if entry.folder else "file"
        return "folder" if Path(path).is_dir() else "file" if Path(path).exists() else "absent"

    def folder(self, path: str) -> dict[str, Stamp]:
        """Return every file directly in a folder, in no order."""
        if is_remote(path):
            return self._pin(_stamps(self._remote.listing(path)))
        try:
            with os.scandir(path) as entries:
                files = [entry for entry in entries if entry.is_file()]
                return self._pin({e.path: Stamp.of_stat(e.path, e.stat()) for e in files})
        except OSError as error:
            raise SourceError(path, f"cannot be read: {error.strerror}") from error

    def matching(self, pattern: str) -> dict[str, Stamp]:
        """Return every file that a pattern such as ``raw/z*.tif`` finds, in no order."""
        if is_remote(pattern):
            return self._pin(_stamps(self._remote.matching(pattern)))
        found = [path for path in glob.glob(pattern) if Path(path).is_file()]
        return self._pin({path: Stamp.of_stat(path, Path(path).stat()) for path in found})

    def _pin(self, found: dict[str, Stamp]) -> dict[str, Stamp]:
        return {path: self._pinned.setdefault(path, stamp) for path, stamp in found.items()}

    def fetch(self, wanted: Sequence[tuple[Bytes, int, int]]) -> list[memoryview]:
        """Return bytes of many files at once: each an open file, an offset and a count.

        Local ones are views of the map. All others are asked for together, near ones as one.

        Raises
        ------
        SourceError, StorageError
            As `Bytes.read`.
        """
        distant = [one for one in wanted if not one[0].mapped]
        spans = [_span(data, offset, count) for data, offset, count in distant]
        etags = {data.path: data.stamp.etag for data, _, _ in distant}
        fetched = iter(self._remote.fetch(spans, etags))
        return [
            data.read(offset, count) if data.mapped else next(fetched)
            for data, offset, count in wanted
        ]


class LocalBytes:
    """A local file mapped into memory."""

    mapped = True

    def __init__(self, path: str, known: Stamp | None) -> None:
        self.path = path
        try:
            with Path(path).open("rb") as file:
                self.stamp = Stamp.of_stat(path, os.fstat(file.fileno()))
                # A map that reaches beyond a file cut short would end the process.
                if known is not None and known != self.stamp:
                    raise SourceError(path, "changed since it was opened")
                self._map = _mapped(file) if self.stamp.size else None
        except FileNotFoundError as error:
            raise SourceError(path, "not found") from error
        except OSError as error:
            raise SourceError(path, f"cannot be read: {error.strerror}") from error

    def read(self, offset: int, count: int) -> memoryview:
        """Return a view of the map."""
        view = memoryview(self._map or b"")[offset : offset + count]
        if len(view) != count:
            raise SourceError(self.path, f"{len(view)} of {count} bytes at {offset}: truncated")
        return view

    def check(self) -> None:
        """Compare the file with its stamp."""
        try:
            stamp = Stamp.of_stat(self.path, os.stat(self.path))
        except OSError as error:
            raise SourceError(self.path, f"cannot be read: {error.strerror}") from error
        if stamp != self.stamp:
            raise SourceError(self.path, "changed since it was opened")

    def stream(self) -> BinaryIO:
        """Return the file opened once more."""
        return Path(self.path).open("rb")

    def close(self) -> None:
        """Release the map."""
        if self._map is not None:
            with suppress(BufferError):  # a view is still alive; the last one closes the map
                self._map.close()

    def __enter__(self) -> "LocalBytes":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RemoteBytes:
    """An object read by ranges; nothing is held open."""

    mapped = False

    def __init__(self, remote: Remote, path: str, stamp: Stamp) -> None:
        self.path, self.stamp, self._remote = path, stamp, remote

    def read(self, offset: int, count: int) -> memoryview:
        """Fetch one range."""
        return self.fetch([(offset, offset + count)])[0]

    def check(self) -> None:
        """Do nothing: each range is asked for by its stamp."""

    def stream(self) -> BinaryIO:
        """Return a file object that reads ahead and keeps what it read, within bounds."""
        return cast(BinaryIO, RangeStream(self.fetch, self.stamp.size, self.path))

    def close(self) -> None:
        """Do nothing."""

    def fetch(self, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        """Return several ranges, from start to stop, asked for together."""
        spans = [_span(self, start, stop - start) for start, stop in ranges]
        return self._remote.fetch(spans, {self.path: self.stamp.etag})

    def __enter__(self) -> "RemoteBytes":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_unchanged(stamps: Mapping[str, Stamp], options: StorageOptions | None = None) -> None:
    """Refuse files that are no longer what they were.

    Parameters
    ----------
    stamps : dict
        By path, from `Source.stamps`.

    Raises
    ------
    SourceError
        The first file that is gone or was written anew.
    StorageError
        A service that may answer later.
    """
    files = Files(options)

    def check(path: str, stamp: Stamp) -> None:
        if files.stamp(path) != stamp:
            raise SourceError(path, "changed since it was opened")

    run([partial(check, *pair) for pair in stamps.items()], REQUESTS)


def is_remote(path: str) -> bool:
    """Tell whether a path is a URL; ``file://`` is one only until `plain` took it away."""
    return "://" in path


def plain(path: str) -> str:
    """Return the path of a ``file://`` URL, and anything else as it is.

    >>> plain("file:///a/b%20c.tif"), plain("s3://bucket/a.tif")
    ('/a/b c.tif', 's3://bucket/a.tif')
    """
    for start in ("file:///", "file://localhost/"):
        if path.startswith(start):
            return "/" + unquote(path.removeprefix(start))
    return path


def name_of(path: str) -> str:
    """Return the last part of a path or URL, without the query of HTTP.

    >>> name_of("s3://bucket/a/b.tif"), name_of("b.tif"), name_of("https://host/b.tif?key=1")
    ('b.tif', 'b.tif', 'b.tif')
    """
    if path.startswith(("http://", "https://")):
        path = urlsplit(path).path
    return path.rpartition("/")[2]


def _span(data: Bytes, offset: int, count: int) -> Span:
    """Return a range after checking that the file reaches so far."""
    size = data.stamp.size
    if offset + count > size:
        got = max(size - offset, 0)
        raise SourceError(data.path, f"{got} of {count} bytes at {offset}: truncated")
    return Span(data.path, offset, offset + count)


def _stamps(entries: Mapping[str, Entry]) -> dict[str, Stamp]:
    return {url: Stamp.of_entry(url, entry) for url, entry in entries.items()}


def _mapped(file: BinaryIO) -> mmap.mmap:
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
