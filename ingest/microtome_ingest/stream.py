"""A file object over ranges, for parsers of headers: reads ahead and keeps what it read."""

import io
from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, TypeVar, cast

T = TypeVar("T")
Fetch = Callable[[Sequence[tuple[int, int]]], list[memoryview]]

LIMIT = 64 << 20
_FIRST, _LEAST, _MOST = 64 << 10, 4 << 10, 4 << 20
# To fetch so many bytes that are jumped over takes no longer than another request.
_NEAR, _MOST_NEAR = 64 << 10, 1 << 20
# Writers put what belongs to a directory before or after it.
_BEFORE = 1 << 10


class NotHeldError(OSError):
    """Bytes that would have to be fetched at a time when nothing is."""


class Held:
    """Pieces of a file that do not overlap; the longest unused ones are dropped beyond `limit`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._starts: list[int] = []
        # By start, the longest unused first.
        self._pieces: dict[int, memoryview] = {}
        self._size = 0

    def at(self, position: int) -> memoryview | None:
        """Return what is held from `position` on, up to the end of its piece."""
        i = bisect_right(self._starts, position) - 1
        if i < 0:
            return None
        start = self._starts[i]
        piece = self._pieces[start]
        if position >= start + len(piece):
            return None
        self._pieces[start] = self._pieces.pop(start)
        return piece[position - start :]

    def gaps(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield the parts of a range that are not held."""
        i = max(bisect_right(self._starts, start) - 1, 0)
        for at in self._starts[i:]:
            if at >= stop:
                break
            if start < at:
                yield start, at
            start = max(start, at + len(self._pieces[at]))
        if start < stop:
            yield start, stop

    def add(self, start: int, piece: memoryview) -> None:
        """Keep a piece that lies in a gap."""
        insort(self._starts, start)
        self._pieces[start] = piece
        self._size += len(piece)

    def trim(self) -> None:
        """Drop what is beyond the limit."""
        while self._size > self._limit and len(self._pieces) > 1:
            oldest = next(iter(self._pieces))
            self._size -= len(self._pieces.pop(oldest))
            del self._starts[bisect_right(self._starts, oldest) - 1]


class RangeStream(io.RawIOBase):
    """A seekable file object over ranges. For one thread at a time.

    Parameters
    ----------
    fetch : callable
        Returns the bytes of several ranges, or raises.
    size : int
        Of the file in bytes.
    name : str
        Of the file.
    limit : int
        Bytes kept.

    Notes
    -----
    It reads ahead the further the longer it is read in order or nearly so, and less after each
    jump.
    """

    def __init__(self, fetch: Fetch, size: int, name: str, limit: int = LIMIT) -> None:
        super().__init__()
        self.name, self._fetch, self._size, self._limit = name, fetch, size, limit
        self._held, self._kept = Held(limit), Held(limit)
        self._position = 0
        self._ahead, self._end = _FIRST, 0
        # The first of those that a parser may have swallowed.
        self.failure: Exception | None = None
        # Where not None, nothing is fetched, and what would have been is noted.
        self._missed: list[tuple[int, int]] | None = None

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position, also beyond the end."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if origin + offset < 0:
            raise ValueError(f"position {origin + offset}")
        self._position = origin + offset
        return self._position

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        """Fill `buffer`, or as much of it as the file holds."""
        target = memoryview(buffer).cast("B")
        count = max(0, min(len(target), self._size - self._position))
        done = 0
        while done < count:
            piece = self._piece(self._position, count - done)[: count - done]
            target[done : done + len(piece)] = piece
            done += len(piece)
            self._position += len(piece)
        return done

    def prefetch(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Fetch ranges at once, less what is held; together they must be well below the limit."""
        gaps: list[tuple[int, int]] = []
        done = 0
        for start, stop in sorted(ranges):
            gaps += self._held.gaps(max(start, done, 0), min(stop, self._size))
            done = max(done, stop)
        for (start, _), piece in zip(gaps, self._fetched(gaps), strict=True):
            self._held.add(start, piece)
        self._held.trim()

    def settle(self, call: Callable[[], T]) -> T:
        """Return what `call` returns, without fetching anything while it runs.

        Where it reads what is not held, it is broken off and called anew once that was fetched.
        For libraries that hold a lock while they read: the thread that fetches may want that lock,
        if only because it collects garbage. Nothing is dropped until the call is done.
        """
        try:
            while True:
                result, missed = self._attempt(call)
                if missed is None:
                    return cast(T, result)
                [piece] = self._fetched([missed])
                self._held.add(missed[0], piece)
        finally:
            self._held.trim()

    def _attempt(self, call: Callable[[], T]) -> tuple[T | None, tuple[int, int] | None]:
        """Return what `call` returns, or the range that it missed, which it may have swallowed."""
        missed: list[tuple[int, int]] = []
        self._missed = missed
        try:
            return call(), next(iter(missed), None)
        except Exception:
            if not missed:
                raise
            return None, missed[0]
        finally:
            self._missed = None

    def keep(self, start: int, stop: int) -> None:
        """Hold what is held of a range, whatever is read later."""
        for low, high in list(self._kept.gaps(max(start, 0), min(stop, self._size))):
            piece = self._held.at(low)
            if piece is not None:
                self._kept.add(low, memoryview(bytes(piece[: high - low])))
        self._kept.trim()

    def _piece(self, position: int, count: int) -> memoryview:
        """Return what lies at a position, fetched if need be."""
        for held in (self._held, self._kept):
            piece = held.at(position)
            if piece is not None:
                return piece
        start, stop = self._window(position, count)
        if self._missed is not None:
            self._missed.append((start, stop))
            raise NotHeldError(f"{self.name}: bytes {start} to {stop} are not held")
        [piece] = self._fetched([(start, stop)])
        # What hardly fits is on its way through, and would drive everything else out.
        if len(piece) <= self._limit // 2:
            self._held.add(start, piece)
            self._held.trim()
        return piece[position - start :]

    def _window(self, position: int, count: int) -> tuple[int, int]:
        """Return the range to fetch for a read that is not held."""
        jump = position - self._end
        if self._end and 0 <= jump <= _NEAR:
            self._ahead = min(self._ahead * 2, _MOST_NEAR if jump else _MOST)
        elif self._end:
            self._ahead = max(self._ahead // 2, _LEAST)
        low = max(0, position - _BEFORE) if jump else position
        high = min(max(position + count, position + self._ahead), self._size)
        around = next(gap for gap in self._held.gaps(low, high) if gap[1] > position)
        self._end = around[1]
        return around

    def _fetched(self, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        try:
            return self._fetch(ranges)
        except Exception as error:
            self.failure = self.failure or error
            raise


@contextmanager
def told(stream: BinaryIO | RangeStream) -> Iterator[None]:
    """Raise what went wrong in a stream, whatever a parser made of it."""
    if not isinstance(stream, RangeStream):
        yield
        return
    stream.failure = None
    try:
        yield
    finally:
        if stream.failure is not None:
            raise stream.failure
