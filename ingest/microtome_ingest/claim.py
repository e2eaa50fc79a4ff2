"""The right to write a part of a layer: one process has it, the others are told.

A claim is a small object that is created only where there is none, and rewritten by a heartbeat
while its process lives. Claims of one part are numbered; the highest counts. Who finds that its
owner is dead creates the next number, which only one can: so a claim moves on without locks, on any
store that can create an object conditionally. The former owner, should it only have slept, sees the
higher number and stops.
"""

import json
import os
import socket
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Any
from uuid import uuid4

from microtome_core.errors import Conflict, StorageError
from microtome_core.store.ledger import FOLDER
from microtome_core.store.location import Store

# Seconds between heartbeats, and without one after which a process elsewhere counts as dead.
_BEAT = 5.0
_DEAD = 30.0


@dataclass(frozen=True, slots=True)
class Part:
    """One of several equal parts of the work on a layer.

    Parameters
    ----------
    index, count : int
        ``0 <= index < count``.
    """

    index: int = 0
    count: int = 1

    def __str__(self) -> str:
        return f"{self.index}-of-{self.count}"


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that holds a claim, and how often its heart has beaten."""

    id: str
    host: str
    process: str
    pid: int
    beat: int = 0

    @classmethod
    def me(cls) -> "Owner":
        """Describe this process, under a new id."""
        return cls(uuid4().hex, socket.gethostname(), _machine(), os.getpid())

    def to_bytes(self) -> bytes:
        """Return what is stored."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def of_bytes(cls, data: bytes) -> "Owner":
        """Read what `to_bytes` returns."""
        try:
            fields: dict[str, Any] = json.loads(data)
            return cls(**fields)
        except (ValueError, TypeError) as error:
            raise StorageError(f"a claim that cannot be read: {data[:200]!r}") from error

    @property
    def alive(self) -> bool | None:
        """Whether the process runs; None where it cannot be seen from here."""
        machine, _, started = self.process.rpartition("/")
        if not machine or machine != _machine().rpartition("/")[0]:
            return None
        return _started(self.pid) == started


class Claim:
    """A claim on one part, held from ``with`` to its end.

    Parameters
    ----------
    store : Store
    folder : str
        Of the layer's version, below the root.
    part : Part
    beat, dead : float
        Seconds between heartbeats, and after which an owner elsewhere without one is dead.

    Raises
    ------
    Conflict
        Another process works on this part, or on the layer divided otherwise.
    """

    def __init__(
        self,
        store: Store,
        folder: str,
        part: Part,
        beat: float = _BEAT,
        dead: float = _DEAD,
    ) -> None:
        self._store, self._part = store, part
        self._folder = f"{folder}/{FOLDER}/claims"
        self._owner = Owner.me()
        self._beat, self._dead = beat, dead
        self._number = 0
        self._others: dict[str, int] = {}
        self._stop, self._lost = Event(), Event()
        self._heart = Thread(target=self._beats, name="claim", daemon=True)

    @property
    def writer(self) -> str:
        """A name that no other claim on the layer has, not even an earlier one on this part."""
        return f"{self._part}-{self._owner.id}"

    def check(self) -> None:
        """Refuse to go on if another process has taken over.

        Raises
        ------
        Conflict
        """
        if self._lost.is_set():
            raise Conflict(f"{self._folder}: another process has taken over this ingest")

    def __enter__(self) -> "Claim":
        self._acquire()
        self._heart.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._heart.join()
        if not self._lost.is_set():
            self._release()

    def _acquire(self) -> None:
        while True:
            held = self._held()
            for part, number in held.items():
                if part == str(self._part) or not part.endswith(f"-of-{self._part.count}"):
                    self._refuse_if_alive(part, number)
                    self._others[part] = number
            # Of those who have seen the same claims, one creates the next.
            self._number = held.get(str(self._part), 0) + 1
            if self._store.create(self._path(str(self._part), self._number), self._mine()):
                break
        self._refuse_if_divided_otherwise()

    def _refuse_if_divided_otherwise(self) -> None:
        """Give way where another division of the same layer began at the same time."""
        for part, number in self._held().items():
            if not part.endswith(f"-of-{self._part.count}"):
                try:
                    self._refuse_if_alive(part, number)
                except Conflict:
                    self._store.remove(self._path(str(self._part), self._number))
                    raise

    def _held(self) -> dict[str, int]:
        """Return the highest number of each part."""
        found: dict[str, int] = {}
        for key, _ in self._store.sizes(self._folder):
            part, _, number = Path(key).stem.rpartition(".")
            if key.endswith(".json") and number.isdigit():
                found[part] = max(int(number), found.get(part, 0))
        return found

    def _refuse_if_alive(self, part: str, number: int) -> None:
        path = self._path(part, number)
        owner = self._read(path)
        if owner is not None and self._is_alive(path, owner):
            raise Conflict(
                f"{self._folder}: is being written by process {owner.pid} on {owner.host} "
                f"(part {part}): wait until it is done, or stop it"
            )

    def _is_alive(self, path: str, owner: Owner) -> bool:
        """Tell by the process where it can be seen, by its heartbeat where it cannot."""
        if owner.alive is not None:
            return owner.alive
        until = time.monotonic() + self._dead
        while time.monotonic() < until:
            time.sleep(min(self._beat, self._dead) / 5)
            if self._read(path) not in (None, owner):
                return True
        return self._read(path) not in (None, owner)

    def _beats(self) -> None:
        while not self._stop.wait(self._beat):
            try:
                self._keep()
            except StorageError:
                # The next beat may come through; until then others see none.
                continue

    def _keep(self) -> None:
        path = self._path(str(self._part), self._number)
        owner = self._read(path)
        if owner is None or owner.id != self._owner.id or self._held_higher():
            self._lost.set()
            self._stop.set()
            return
        self._owner = replace(self._owner, beat=self._owner.beat + 1)
        self._store.write(path, self._mine())

    def _held_higher(self) -> bool:
        return self._held().get(str(self._part), 0) > self._number

    def _release(self) -> None:
        """Remove the claim, and those of owners that were found dead."""
        for part, highest in {**self._others, str(self._part): self._number}.items():
            for number in range(highest, 0, -1):
                path = self._path(part, number)
                if number < highest and self._store.read(path) is None:
                    break
                self._store.remove(path)
        self._store.remove_empty(self._folder)

    def _read(self, path: str) -> Owner | None:
        data = self._store.read(path)
        return None if data is None else Owner.of_bytes(data)

    def _mine(self) -> bytes:
        return self._owner.to_bytes()

    def _path(self, part: str, number: int) -> str:
        return f"{self._folder}/{part}.{number:06d}.json"


def _machine() -> str:
    """Return what tells this process from all others, its start last; empty where unknown.

    Processes see each other where boot and process namespace are the same (proc(5)).
    """
    boot = _text("/proc/sys/kernel/random/boot_id")
    started = _started(os.getpid())
    if not boot or not started:
        return ""
    return f"{boot}/{Path('/proc/self/ns/pid').readlink()}/{started}"


def _started(pid: int) -> str:
    """Return when a process began, in clock ticks since boot; empty where there is none."""
    # The name before it may hold spaces and brackets; it is field 22 (proc(5)).
    fields = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] != "Z" else ""


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
