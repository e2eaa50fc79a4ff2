"""A reader in a process of its own: where its library crashes or hangs, that is an error here.

One process a source serves all threads. Questions and answers go through its pipes, voxels through
a piece of shared memory for each read under way. It may take a bounded amount of memory.
"""

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooSlow
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import MicrotomeError, SourceError
from microtome_core.region import Region, check_region
from microtome_core.store.location import StorageOptions
from microtome_ingest.files import Files, Stamp
from microtome_ingest.format import Format
from microtome_ingest.shared import SharedBlock
from microtome_ingest.source import Description, Scene
from microtome_ingest.sources.members import split

# Reads under way at once.
_SLOTS = 8
# Seconds for a question, and what is waited longer for each byte of voxels; for each byte of a
# file that may have to be walked through to be opened.
_PATIENCE = 25.0
_SECONDS_PER_BYTE = 1e-6
_SECONDS_PER_FILE_BYTE = 1e-8


@dataclass(frozen=True, slots=True)
class Order:
    """What the process is started for.

    Parameters
    ----------
    module : str
        The reader.
    path : str
    scene : int or None
    options : StorageOptions or None
    blocks : tuple of int
        File descriptors of the shared memory, one a read under way.
    """

    module: str
    path: str
    scene: int | None
    options: StorageOptions | None
    blocks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Opened:
    """What the process says of a source that it has opened."""

    description: Description
    stamps: dict[str, Stamp]


class Isolated:
    """A source that another process reads.

    Parameters
    ----------
    row : Format
    path : str
    scene : int or None
    options : StorageOptions or None

    Raises
    ------
    SourceError, StorageError
        What the reader says; or that it crashed, or hung.
    """

    def __init__(
        self, row: Format, path: str, scene: int | None, options: StorageOptions | None
    ) -> None:
        self._row, self._path, self._scene, self._options = row, path, scene, options
        self._lock = threading.Lock()
        self._child: _Child | None = None
        self._decoded = 0
        self._opened = self._start()

    @property
    def description(self) -> Description:
        """What the source says of itself."""
        return self._opened.description

    @property
    def decoded(self) -> int:
        """Bytes of voxels decoded, by all processes that this source needed."""
        return self._decoded

    @property
    def stamps(self) -> Mapping[str, Stamp]:
        """The files as they were when the source was opened."""
        return self._opened.stamps

    def close(self) -> None:
        """End the process; a later read starts another."""
        with self._lock:
            child, self._child = self._child, None
        if child is not None:
            child.end()

    def read(self, region: Region) -> NDArray[Any]:
        """Return one region."""
        whole = self.description
        check_region(region, whole.axes, whole.shape)
        voxels, decoded = self._running().read(region, np.dtype(whole.dtype))
        with self._lock:
            self._decoded += decoded
        return voxels

    def _running(self) -> "_Child":
        with self._lock:
            if self._child is not None and self._child.alive:
                return self._child
        again = self._start()
        if again != self._opened:
            self.close()
            raise SourceError(self._path, "changed since it was opened")
        return self._running()

    def _start(self) -> Opened:
        child = _Child(self._row, self._path, self._scene, self._options)
        try:
            opened = cast(Opened, child.ask("open"))
        except BaseException:
            child.end()
            raise
        with self._lock:
            former, self._child = self._child, child
        if former is not None:
            former.end()
        return opened


def isolated_scenes(row: Format, path: str, options: StorageOptions | None) -> tuple[Scene, ...]:
    """List the images of a source that another process looks into; errors as for `Isolated`."""
    child = _Child(row, path, None, options)
    try:
        return cast(tuple[Scene, ...], child.ask("scenes"))
    finally:
        child.end()


class _Child:
    """A process, and who waits for its answers."""

    def __init__(
        self, row: Format, path: str, scene: int | None, options: StorageOptions | None
    ) -> None:
        self._row, self._path = row, path
        file, _ = split(path, files := Files(options))
        self._size = files.stamp(file).size if files.kind(file) == "file" else 0
        self._blocks = [SharedBlock.make() for _ in range(_SLOTS)]
        self._free: SimpleQueue[int] = SimpleQueue()
        for slot in range(_SLOTS):
            self._free.put(slot)
        numbers = tuple(block.number for block in self._blocks)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "microtome_ingest.isolated"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what libraries say of damage comes as an error too
            pass_fds=numbers,
            start_new_session=True,  # Ctrl-C is for the leader, which ends this one
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        self._waiting: dict[int, Future[Any]] = {}
        self._lock = threading.Lock()
        self._send(Order(row.module, path, scene, options, numbers))
        self._listener = threading.Thread(target=self._receive, name="isolated", daemon=True)
        self._listener.start()

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def ask(self, what: object) -> object:
        """Return the answer to a question without voxels."""
        slot = self._free.get()
        try:
            patience = _PATIENCE + self._size * _SECONDS_PER_FILE_BYTE
            return self._answer(slot, what, patience, "")
        finally:
            self._free.put(slot)

    def read(self, region: Region, dtype: np.dtype[Any]) -> tuple[NDArray[Any], int]:
        """Return a region, and how many bytes were decoded for it."""
        slot = self._free.get()
        try:
            size = region.size * dtype.itemsize
            patience = _PATIENCE + size * _SECONDS_PER_BYTE
            decoded = self._answer(slot, region, patience, f"{region}: ")
            return self._blocks[slot].take(region.shape, dtype), cast(int, decoded)
        finally:
            self._free.put(slot)

    def end(self) -> None:
        """Stop it and give the shared memory back, once nobody takes voxels out of it any more."""
        self._process.kill()
        self._listener.join()
        for _ in range(_SLOTS):
            self._free.get()
        for block in self._blocks:
            block.close()
        with suppress(BrokenPipeError):  # a question that it did not hear
            cast(Any, self._process.stdin).close()
        cast(Any, self._process.stdout).close()
        for slot in range(_SLOTS):
            self._free.put(slot)  # for late callers, who are told that it has ended

    def _answer(self, slot: int, what: object, patience: float, where: str) -> object:
        future: Future[Any] = Future()
        with self._lock:
            if self.alive:
                self._waiting[slot] = future
                self._send((slot, what))
            else:
                future.set_result(SourceError(self._path, self._death()))
        try:
            answer = future.result(patience)
        except TooSlow:
            self._process.kill()
            reason = f"{where}{self._row.reader} gave no answer within {patience:.0f} s"
            raise SourceError(self._path, reason) from None
        except BaseException:
            self._process.kill()  # it may yet write where another read expects its voxels
            raise
        if isinstance(answer, MicrotomeError):
            raise answer
        return answer

    def _send(self, what: object) -> None:
        # The process may have crashed; whoever waits for it is told by `_receive`.
        with suppress(BrokenPipeError, ValueError):
            pickle.dump(what, cast(Any, self._process.stdin))
            cast(Any, self._process.stdin).flush()

    def _receive(self) -> None:
        """Hand out answers until there are no more; then tell those who still wait."""
        stream = cast(Any, self._process.stdout)
        with suppress(EOFError, pickle.UnpicklingError, OSError, ValueError):
            while True:
                slot, answer = pickle.load(stream)  # noqa: S301 - from our own process
                with self._lock:
                    self._waiting.pop(slot).set_result(answer)
        self._process.kill()
        self._process.wait()
        with self._lock:
            for future in self._waiting.values():
                future.set_result(SourceError(self._path, self._death()))
            self._waiting.clear()

    def _death(self) -> str:
        code = self._process.wait()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"{self._row.reader} crashed while reading it ({how}): the file is damaged"
