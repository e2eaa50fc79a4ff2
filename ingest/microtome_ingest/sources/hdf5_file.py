"""An HDF5 file opened with h5py, for one caller at a time, wherever it lies."""

import threading
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar

import h5py  # type: ignore[import-untyped]
import hdf5plugin  # noqa: F401 - registers filters

from microtome_ingest.files import Bytes
from microtome_ingest.sources.damage import strict
from microtome_ingest.stream import RangeStream, told

T = TypeVar("T")


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
                return function(self._opened(self._data.path))
            stream = self._distant()
            with told(stream):
                return stream.settle(lambda: function(self._opened(stream)))

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

    def _opened(self, target: object) -> Any:  # noqa: ANN401 - h5py has no types
        if self._file is None:
            self._file = h5py.File(target, "r")
            # HDF5 would close it once Python has gone, and call into nothing.
            self._finish = weakref.finalize(self, _close, self._file)
        return self._file

    def _distant(self) -> RangeStream:
        if self._stream is None:
            self._stream = self._data.stream()
        stream: RangeStream = self._stream
        return stream


def _close(file: Any) -> None:  # noqa: ANN401
    with suppress(RuntimeError, OSError):  # nothing was written
        file.close()
