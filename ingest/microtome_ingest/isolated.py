"""The other side of `isolation`: run as a process, reads one source until its pipe is closed."""

import os
import pickle
import resource
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from typing import BinaryIO, cast

import numpy as np

from microtome_core.errors import MicrotomeError, SourceError
from microtome_core.region import Region
from microtome_ingest.files import Files
from microtome_ingest.format import Reader
from microtome_ingest.isolation import Opened, Order
from microtome_ingest.shared import SharedBlock
from microtome_ingest.source import Source

# Bytes of its own that the process may take beside what the reads under way need.
_OWN = 1 << 30
# Copies of a region that a reader may hold at once: decoded, turned, returned.
_COPIES = 4


def main() -> None:
    """Answer questions from standard input on standard output."""
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not mix with answers
    order = cast(Order, pickle.load(questions))  # noqa: S301 - from our own process
    worker = _Worker(order, answers)
    with ThreadPoolExecutor(len(order.blocks)) as pool:
        while True:
            try:
                slot, what = pickle.load(questions)  # noqa: S301 - as above
            except EOFError:
                os._exit(0)  # nobody listens any more; reads under way are not waited for
            pool.submit(worker.do, slot, what)


class _Worker:
    def __init__(self, order: Order, answers: BinaryIO) -> None:
        self._order, self._answers = order, answers
        self._files = Files(order.options)
        self._source: Source | None = None
        self._told = 0
        self._lock = threading.Lock()
        self._memory = _Memory()

    def do(self, slot: int, what: object) -> None:
        """Answer one question."""
        try:
            answer = self._answered(slot, what)
        except MicrotomeError as error:
            answer = error
        except MemoryError:
            reason = "takes more memory than its size allows: damaged"
            answer = SourceError(self._order.path, f"{_where(what)}{reason}")
        except Exception as error:  # noqa: BLE001 - a reader may raise anything
            text = f"{_where(what)}{type(error).__name__}: {error}"
            answer = SourceError(self._order.path, text)
        with self._lock:
            pickle.dump((slot, answer), self._answers)
            self._answers.flush()

    def _answered(self, slot: int, what: object) -> object:
        reader = cast(Reader, import_module(self._order.module))
        if what == "scenes":
            return reader.scenes(self._order.path, self._files)
        if what == "open":
            self._source = reader.open_image(self._order.path, self._order.scene, self._files)
            return Opened(self._source.description, dict(self._source.stamps))
        return self._read(slot, cast(Region, what))

    def _read(self, slot: int, region: Region) -> int:
        source = cast(Source, self._source)
        with self._memory.granted(region.size * np.dtype(source.description.dtype).itemsize):
            voxels = source.read(region)
        SharedBlock(self._order.blocks[slot]).put(voxels)
        return self._newly_decoded(source)

    def _newly_decoded(self, source: Source) -> int:
        """Return what was decoded since the last answer; reads at once share it."""
        with self._lock:
            told, self._told = self._told, source.decoded
            return self._told - told


class _Memory:
    """The bound of the process, which follows the reads under way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._granted = 0
        self._bound(0)

    @contextmanager
    def granted(self, size: int) -> Iterator[None]:
        """Allow what a read of `size` bytes needs."""
        self._bound(size)
        try:
            yield
        finally:
            self._bound(-size)

    def _bound(self, more: int) -> None:
        with self._lock:
            self._granted += more
            hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
            wanted = _OWN + _COPIES * self._granted
            soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _where(what: object) -> str:
    return f"{what}: " if isinstance(what, Region) else ""


if __name__ == "__main__":
    main()
