"""Compressed voxels: decoded once, when they are first read, into a file without a name."""

import bz2
import gzip
import mmap
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from shutil import disk_usage
from typing import IO, cast

from microtome_core.errors import SourceError
from microtome_ingest.files import Bytes, Stamp
from microtome_ingest.stream import told

# How many bytes one can expand to. Deflate's limit is 1032; bzip2 makes 45 MB of zeros of 39 bytes.
DEFLATE_RATIO = 1040
RATIOS = {"gzip": DEFLATE_RATIO, "bzip2": 1_200_000}
# What may follow the voxels, so that a checksum at the end is verified without decoding for ever.
_SLACK = 64 << 20
_STEP = 1 << 20

Opened = Callable[[], AbstractContextManager[IO[bytes]]]


class Inflated:
    """`count` bytes of what a decoder gives; disk space and not memory. Safe for threads.

    Parameters
    ----------
    data : Bytes
        The file that the decoder reads.
    opened : callable
        Returns the decoder at its beginning, as a context; it raises where a checksum is wrong.
    count : int
        Bytes wanted.
    skip : int, optional
        Bytes before them; None: they are the last ones, whatever comes before.
    most_behind : int, optional
        How many bytes may follow them; by default so many that a file cannot expand without end.
    done : callable, optional
        Called each time when they have been decoded.
    """

    mapped = True

    def __init__(
        self,
        data: Bytes,
        opened: Opened,
        count: int,
        skip: int | None = 0,
        most_behind: int | None = None,
        done: Callable[[], None] = lambda: None,
    ) -> None:
        self._data, self._opened, self._count, self._skip = data, opened, count, skip
        self._behind = max(count, _SLACK) if most_behind is None else most_behind
        self._done = done
        self._lock = threading.Lock()
        self._view: memoryview | None = None

    @property
    def path(self) -> str:
        """The compressed file."""
        return self._data.path

    @property
    def stamp(self) -> Stamp:
        """The compressed file as it was when it was opened."""
        return self._data.stamp

    def check(self) -> None:
        """Refuse a local file that changed since it was opened."""
        self._data.check()

    def read(self, offset: int, count: int) -> memoryview:
        """Return a view of the decoded bytes.

        Raises
        ------
        SourceError
            They end early, go on beyond what was claimed, or do not fit on the disk; and whatever
            the decoder raises.
        """
        with self._lock:
            if self._view is None:
                self._view = self._inflate()
                self._done()
            return self._view[offset : offset + count]

    def close(self) -> None:
        """Release what was decoded; views that are in use stay readable."""
        with self._lock:
            self._view = None

    def _inflate(self) -> memoryview:
        needed = (self._skip or 0) + self._count
        folder = tempfile.gettempdir()
        free = disk_usage(folder).free
        if needed > free:
            reason = f"inflates to {needed} bytes, but only {free} are free in {folder}"
            raise SourceError(self.path, reason)
        with self._opened() as stream, tempfile.TemporaryFile() as target:
            total = _copied(stream, target, needed + self._behind)
            target.flush()
            self._check(total, needed)
            memory = mmap.mmap(target.fileno(), total, access=mmap.ACCESS_READ)
        start = total - self._count if self._skip is None else self._skip
        return memoryview(memory)[start : start + self._count]

    def _check(self, total: int, needed: int) -> None:
        if total < needed:
            reason = f"its compressed data ends after {total} of {needed} bytes: truncated"
            raise SourceError(self.path, reason)
        if total > needed + self._behind:
            reason = f"its compressed data holds more than the {needed} bytes that are claimed"
            raise SourceError(self.path, reason)


@contextmanager
def decoded(data: Bytes, encoding: str, at: int = 0) -> Iterator[IO[bytes]]:
    """Open what a ``gzip`` or ``bzip2`` stream holds that begins at `at` of a file.

    Its checksums are verified when it is read to its end.
    """
    with data.stream() as stream, told(stream):
        stream.seek(at)
        opened = gzip.GzipFile(fileobj=stream) if encoding == "gzip" else bz2.BZ2File(stream)
        with opened as inner:
            yield cast(IO[bytes], inner)


def check_ratio(where: str, size: int, packed: int, ratio: float) -> None:
    """Refuse a claim that the compressed bytes cannot hold.

    Raises
    ------
    SourceError
        More than `ratio` times `packed` bytes are claimed.
    """
    if size > packed * ratio:
        raise SourceError(where, f"claims {size} bytes in {packed} compressed ones: refused")


def _copied(stream: IO[bytes], target: IO[bytes], most: int) -> int:
    """Copy until the stream ends or one byte more than `most` came; return how many."""
    total = 0
    while block := stream.read(min(_STEP, most + 1 - total)):
        target.write(block)
        total += len(block)
    return total
