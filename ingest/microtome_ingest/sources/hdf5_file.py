"""An HDF5 file opened with h5py, for one caller at a time, wherever it lies."""

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, BinaryIO, TypeVar, cast

import h5py  # type: ignore[import-untyped]
import hdf5plugin  # noqa: F401 - registers filters

from microtome_core.errors import SourceError
from microtome_ingest.files import Bytes, Files
from microtome_ingest.sources import hdf5_find as find
from microtome_ingest.sources.damage import strict
from microtome_ingest.sources.hdf5_guard import Guard
from microtome_ingest.sources.hdf5_storage import Piece, piece
from microtome_ingest.stream import RangeStream, told

T = TypeVar("T")

# Files that are open at once.
_MOST_OPEN = 16
_MOST_LINKS = 8


class Hdf5File:
    """A file that is opened at its first call.

    Parameters
    ----------
    data : Bytes
        Of the file.

    Notes
    -----
    h5py lets one thread in at a time, so `lock` is no loss. Each call to h5py runs without fetching
    anything: h5py's lock is taken by whoever collects its garbage, and that may be the very thread
    that fetches.
    """

    def __init__(self, data: Bytes) -> None:
        self.lock = threading.RLock()
        self._data = data
        data.close()  # it is read as a stream, so a map serves nobody
        self._stream: Any = None
        self._file: Any = None
        self._finish: Callable[[], object] | None = None

    def call(self, function: Callable[[Any], T], where: str = "") -> T:
        """Return what `function` makes of the ``h5py.File``; it may be called more than once.

        Raises
        ------
        SourceError
            Damage.
        StorageError
            A service that may answer later.
        """
        with self.lock, strict(self._data.path, where, log="h5py"):
            if self._data.mapped:
                return function(self._opened())
            stream = self._distant()
            with told(stream):
                return stream.settle(lambda: function(self._opened()))

    def prefetch(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Fetch what will be needed, from start to stop, all at once; nothing for local files."""
        with self.lock:
            if not self._data.mapped:
                self._distant().prefetch(ranges)

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        with self.lock:
            if self._finish is not None:
                self._finish()
            self._file = self._stream = self._finish = None

    def check(self) -> None:
        """Refuse a local file that changed since it was opened."""
        self._data.check()

    @property
    def mapped(self) -> bool:
        """Whether the file is local."""
        return self._data.mapped

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._data.stamp.size

    def _opened(self) -> Any:  # noqa: ANN401 - h5py has no types
        if self._file is None:
            local = self._data.mapped
            stream = self._data.stream() if local else cast(BinaryIO, self._distant())
            try:
                self._file = h5py.File(Guard(stream, self.size), "r")
            except BaseException:
                if local:
                    stream.close()
                raise
            # HDF5 would close it once Python has gone, and call into nothing.
            self._finish = weakref.finalize(self, _close, self._file, stream)
        return self._file

    def _distant(self) -> RangeStream:
        if self._stream is None:
            self._stream = self._data.stream()
        stream: RangeStream = self._stream
        return stream


class Hdf5Files:
    """The files of one source by their names, a few of them open at once.

    Parameters
    ----------
    files : Files
    """

    def __init__(self, files: Files) -> None:
        self.files = files
        self._lock = threading.Lock()
        # The longest unused first.
        self._known: dict[str, Hdf5File] = {}

    def __getitem__(self, name: str) -> Hdf5File:
        with self._lock:
            file = self._known.pop(name, None) or Hdf5File(self.files.open(name))
            self._known[name] = file
            for old in list(self._known.values())[:-_MOST_OPEN]:
                old.close()  # opens again when it is called
            return file

    @property
    def names(self) -> tuple[str, ...]:
        """Every file that was asked for."""
        return tuple(self._known)

    def piece(self, name: str, path: str) -> Piece:
        """Return the dataset at a path of a file."""
        file = self[name]
        return file.call(lambda opened: piece(opened, path, name, file.size), path)

    def locate(self, name: str, path: str) -> tuple[str, str]:
        """Return file and path of what lies at a path, through links into files of the same folder.

        Raises
        ------
        SourceError
            Nothing there, or a link that leads out of the folder.
        """
        for _ in range(_MOST_LINKS):
            path, outside = self[name].call(partial(find.followed, path=path, name=name), path)
            if outside is None:
                return name, path
            name = beside(name, outside)
        raise SourceError(name, f"{path}: more than {_MOST_LINKS} links from file to file")

    def close(self) -> None:
        """Close all; a later call opens them again."""
        with self._lock:
            for file in self._known.values():
                file.close()

    @contextmanager
    def closing_on_error(self) -> Iterator[None]:
        """Close all if what is within fails."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Hdf5Files":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def beside(name: str, other: str) -> str:
    """Return the path of another file in the folder of a file, or below it.

    >>> beside("s3://bucket/a/b.xml", "c.h5"), beside("b.xml", "./c.h5")
    ('s3://bucket/a/c.h5', 'c.h5')

    Raises
    ------
    SourceError
        It leads out of the folder.
    """
    parts = [part for part in other.replace("\\", "/").split("/") if part != "."]
    if not other or "" in parts or ".." in parts or ":" in other:
        raise SourceError(name, f"leads to {other!r}, out of its folder: refused")
    return name[: len(name) - len(name.rpartition("/")[2])] + "/".join(parts)


def _close(file: Any, stream: BinaryIO) -> None:  # noqa: ANN401
    with suppress(RuntimeError, OSError):  # nothing was written
        file.close()
    stream.close()
