"""Stored objects, opened by their path and read by parts, without blocking the event loop."""

import asyncio
import os
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import ParamSpec, Protocol, TypeVar

import numpy as np

from microtome_core.errors import StorageError
from microtome_core.store.listing import Stat
from microtome_core.store.location import Store, storage_errors
from microtome_service.ranges import Span
from microtome_service.refreshing import Refreshing

P = ParamSpec("P")
T = TypeVar("T")

# Measured over loopback: larger pieces are no faster, and each answer holds some.
PIECE = 1 << 20
_AHEAD = 7
_STATS_KEPT = 16384
# The most that an answer has in memory, whatever it is read from.
SENDING_BYTES = (_AHEAD + 2) * PIECE
_THREADS = 16
_NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)  # Linux alone


class Opened(Protocol):
    """An object that is one and the same for as long as it is open."""

    @property
    def stat(self) -> Stat:
        """What is known of it."""
        ...

    @property
    def ahead(self) -> int:
        """How many pieces are worth reading ahead."""
        ...

    async def read(self, span: Span) -> bytes | memoryview:
        """Return bytes; raises StorageError where they cannot be had whole."""
        ...

    @property
    def lasting(self) -> bool:
        """Whether it can be read after `close`, too: nothing of the system is held for it."""
        ...

    def close(self) -> None:
        """Let it go; again is harmless."""
        ...


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes in memory."""

    body: bytes
    stat: Stat
    ahead: int = 0
    lasting: bool = True

    async def read(self, span: Span) -> memoryview:
        """Return bytes."""
        return memoryview(self.body)[span.start : span.stop]

    def close(self) -> None:
        """Do nothing."""


class _File:
    """A file; who replaces it meanwhile does not change what is read."""

    ahead, lasting = 1, False

    def __init__(self, path: Path, pool: ThreadPoolExecutor, stream: FileIO) -> None:
        self._path, self._pool, self._stream = path, pool, stream
        self.stat = Stat.of_file(os.fstat(stream.fileno()))

    async def read(self, span: Span) -> memoryview:
        # Not mapped into memory: slower by its page faults, and a file that is cut short meanwhile
        # would end the process.
        buffer = np.empty(len(span), np.uint8).data
        if self._read_cached(span, buffer) < len(span):
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._pool, self._read, span, buffer)
        return buffer

    def _read_cached(self, span: Span, buffer: memoryview) -> int:
        """Read what the system has in memory, which does not wait for the disk; twice as fast."""
        if not _NOWAIT:
            return 0
        try:
            return os.preadv(self._stream.fileno(), [buffer], span.start, _NOWAIT)
        except OSError:  # it is not in memory, or the file system cannot tell
            return 0

    def _read(self, span: Span, buffer: memoryview) -> None:
        done = 0
        with storage_errors(str(self._path)):
            while done < len(span):
                count = os.preadv(self._stream.fileno(), [buffer[done:]], span.start + done)
                if not count:
                    raise StorageError(f"{self._path}: ends before byte {span.stop}")
                done += count

    def close(self) -> None:
        self._stream.close()


class _Remote:
    """An object in a bucket, or in this process' memory."""

    # Each piece is a request of its own: several at once make up for its latency.
    ahead, lasting = _AHEAD, True

    def __init__(self, store: Store, path: str, found: Stat) -> None:
        self._store, self.path, self.stat = store, path, found

    async def read(self, span: Span) -> bytes:
        data, tag = await self._store.read_part(self.path, span.start, span.stop)
        if tag != self.stat.tag:
            raise StorageError(f"{self.path}: replaced while it was read")
        return data

    def close(self) -> None:
        pass


class Objects:
    """The objects of one store.

    Parameters
    ----------
    store : Store
    seconds : float
        The longest that storage may take for one part.
    recheck : float
        How long it is believed what an object in a bucket is: each look is a request of its own.
    """

    def __init__(self, store: Store, seconds: float, recheck: float = 0.0) -> None:
        self.store = store
        self._seconds = seconds
        self._pool = ThreadPoolExecutor(_THREADS, "objects")
        self._stats = Refreshing(self._stat, self._pool, recheck, _STATS_KEPT)

    def close(self) -> None:
        """Let the threads go."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run what waits for storage in a thread."""
        loop = asyncio.get_running_loop()
        async with self._patience():
            return await loop.run_in_executor(self._pool, lambda: work(*args, **kwargs))

    async def open(self, path: str) -> Opened | None:
        """Open an object, or return None where there is none.

        Raises
        ------
        StorageError
            Storage failed.
        """
        file = self.store.local(path)
        if file is None:
            async with self._patience():
                found = await self._stats.get(path)
            return None if found is None else _Remote(self.store, path, found)
        opening = self._pool.submit(self._open_file, file)
        try:
            async with self._patience():
                return await asyncio.wrap_future(opening)
        except BaseException:
            # A caller who goes away, or a time-out, leaves no file open.
            opening.add_done_callback(_close)
            raise

    def _stat(self, path: str, _: object) -> Stat | None:
        return self.store.stat(path)

    @staticmethod
    def held(opened: Opened, nbytes: int) -> int:
        """Return what sending so many bytes of an object has in memory: one piece is being sent,
        one waits in the socket.
        """
        return min(nbytes, (opened.ahead + 2) * PIECE)

    async def parts(
        self, opened: Opened, sections: Iterable[Span | bytes]
    ) -> AsyncGenerator[bytes | memoryview, None]:
        """Yield sections of an object, with words between, in pieces.

        The next ones are read while one is being sent.
        """
        coming: deque[asyncio.Task[bytes | memoryview]] = deque()
        try:
            for piece in _pieces(sections):
                coming.append(asyncio.create_task(self._piece(opened, piece)))
                if len(coming) > opened.ahead:
                    yield await coming.popleft()
            while coming:
                yield await coming.popleft()
        finally:
            for task in coming:
                task.cancel()
            await asyncio.gather(*coming, return_exceptions=True)

    async def _piece(self, opened: Opened, piece: Span | bytes) -> bytes | memoryview:
        return piece if isinstance(piece, bytes) else await self.read(opened, piece)

    async def read(self, opened: Opened, span: Span) -> bytes | memoryview:
        """Return bytes of an object; raises StorageError, too, if it takes too long."""
        try:
            async with self._patience():
                return await opened.read(span)
        except StorageError:
            # It may have been replaced: whoever asks again gets the new one.
            if isinstance(opened, _Remote):
                self._stats.forget(opened.path)
            raise

    @asynccontextmanager
    async def _patience(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._seconds):
                yield
        except TimeoutError as late:
            raise StorageError(f"storage did not answer within {self._seconds:g} s") from late

    def _open_file(self, file: Path) -> Opened | None:
        with storage_errors(str(file)):
            try:
                stream = FileIO(file)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None
            return _File(file, self._pool, stream)


def _close(opening: Future[Opened | None]) -> None:
    if not opening.cancelled() and not opening.exception() and (opened := opening.result()):
        opened.close()


def _pieces(sections: Iterable[Span | bytes]) -> Iterator[Span | bytes]:
    for section in sections:
        if isinstance(section, bytes):
            yield section
        else:
            for start in range(section.start, section.stop, PIECE):
                yield Span(start, min(start + PIECE, section.stop))
