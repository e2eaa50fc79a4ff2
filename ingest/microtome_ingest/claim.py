"""The right to write a part of a layer: one process has it, the others are told.

A claim is a small object that is created only where there is none, and rewritten by a heartbeat
while its process lives. Claims of one part are numbered; the highest counts. Who finds that its
owner is dead creates the next number, which only one can: so a claim moves on without locks, on any
store that can create an object conditionally. The former owner, should it only have slept, sees the
higher number and stops.
"""

import json
import logging
import os
import random
import socket
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any, NamedTuple
from uuid import uuid4

from microtome_core.errors import Conflict, InUse, StorageError
from microtome_core.processes import is_alive, this_process
from microtome_core.store.jobs import DEAD, failure_of, failure_path
from microtome_core.store.ledger import FOLDER
from microtome_core.store.location import Store

_LOG = logging.getLogger(__name__)
# Seconds between heartbeats; a process elsewhere is dead after `DEAD` without one.
_BEAT = 5.0


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
        return cls(uuid4().hex, socket.gethostname(), this_process(), os.getpid())

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
        return is_alive(self.process, self.pid)


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
    InUse
        Another process works on this part, or on the layer divided otherwise.
    """

    def __init__(
        self,
        store: Store,
        folder: str,
        part: Part,
        beat: float = _BEAT,
        dead: float = DEAD,
    ) -> None:
        self._store, self._part = store, part
        self._folder = f"{folder}/{FOLDER}/claims"
        self._owner = Owner.me()
        self._beat, self._dead = beat, dead
        self._number = 0
        self._ended: dict[_Key, Owner] = {}
        self._lock, self._kept = Lock(), _clock()
        self._stop, self._lost = Event(), Event()
        self._heart = Thread(target=self._beats, name="claim", daemon=True)

    @property
    def writer(self) -> str:
        """A name that no other claim on the layer has, not even an earlier one on this part."""
        return f"{self._part}-{self._owner.id}"

    def check(self) -> None:
        """Refuse to go on if this claim has ended, or another process has taken over.

        Raises
        ------
        InUse
        StorageError
            Its heart has not beaten for long, and storage does not answer now either.
        """
        if self._lost.is_set():
            raise InUse(f"{self._folder}: another process has taken over this ingest")
        if self._stop.is_set():
            raise InUse(f"{self._folder}: this ingest has ended")
        if _clock() - self._kept > self._dead / 2:
            self.confirm()

    def confirm(self) -> None:
        """Look whether the claim still holds, before what cannot be undone; raises as `check`."""
        self._keep()
        if self._lost.is_set():
            raise InUse(f"{self._folder}: another process has taken over this ingest")

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
            self._note_end(error)
            self._release()

    def _note_end(self, error: BaseException | None) -> None:
        """Keep for others why it ended; what went wrong before is settled once it ends well."""
        folder, part = self._folder.removesuffix(f"/{FOLDER}/claims"), str(self._part)
        stopped = error is not None and not isinstance(error, Exception)
        if stopped or isinstance(error, Conflict):
            return  # by whoever runs it; or refused before anything was done
        try:
            if error is None:
                self._store.remove(failure_path(folder, part))
            else:
                self._store.write(*failure_of(error, folder, part))
        except StorageError as failure:
            # What failed first is what the user must know.
            _LOG.warning("%s: how it ended could not be noted: %s", folder, failure)

    def _acquire(self) -> None:
        while True:
            self._ended = self._rivals()
            self._refuse_if_any_lives()
            mine = [key.number for key in self._ended if key.part == str(self._part)]
            self._number = max(mine, default=0) + 1
            if not self._store.create(self._path(self._key), self._mine()):
                continue
            # Numbers come again after a release; owners do not.
            ended = {owner.id for owner in (*self._ended.values(), self._owner)}
            if all(owner.id in ended for owner in self._rivals().values()):
                self._kept = _clock()
                return
            # Of two that came at once each sees the other: both give way and look again.
            self._store.remove(self._path(self._key))
            time.sleep(random.uniform(0, self._beat / 5))  # noqa: S311 - only to part them

    @property
    def _key(self) -> "_Key":
        return _Key(str(self._part), self._number)

    def _rivals(self) -> "dict[_Key, Owner]":
        """Return the claims on this part, and those on the layer divided otherwise."""
        keys = {_Key.of_path(path) for path, _ in self._store.sizes(self._folder)}
        own, siblings = str(self._part), f"-of-{self._part.count}"
        rivals = (k for k in keys if k and (k.part == own or not k.part.endswith(siblings)))
        return {key: owner for key in rivals if (owner := self._read(key)) is not None}

    def _refuse_if_any_lives(self) -> None:
        """Tell by the process where it can be seen, by its heartbeat where it cannot."""
        for key, owner in self._ended.items():
            if owner.alive:
                self._refuse(key, owner)
        unseen = {key: owner for key, owner in self._ended.items() if owner.alive is None}
        until = _clock() + self._dead
        while unseen and _clock() < until:
            time.sleep(min(self._beat, self._dead) / 5)
            for key, owner in unseen.items():
                if self._read(key) not in (None, owner):
                    self._refuse(key, owner)

    def _refuse(self, key: "_Key", owner: Owner) -> None:
        layer, part = self._folder.removesuffix(f"/{FOLDER}/claims"), key.part.replace("-of-", "/")
        which = "" if part == "0/1" else f" (part {part})"
        raise InUse(
            f"{layer} is being written by process {owner.pid} on {owner.host}{which}: "
            "wait until it is done, or stop it"
        )

    def _beats(self) -> None:
        while not self._stop.wait(self._beat):
            try:
                self._keep()
            except Exception:  # noqa: BLE001 - whatever it is, the heart must beat again
                # The next beat may come through. Others see none until then, and `check` looks
                # for itself when it has been too long.
                _LOG.warning("%s: no heartbeat", self._folder, exc_info=True)

    def _keep(self) -> None:
        with self._lock:
            owner = self._read(self._key)
            higher = any(
                key.part == str(self._part) and key.number > self._number for key in self._rivals()
            )
            if owner is None or owner.id != self._owner.id or higher:
                self._lost.set()
                return
            self._owner = replace(self._owner, beat=self._owner.beat + 1)
            self._store.write(self._path(self._key), self._mine())
            self._kept = _clock()

    def _release(self) -> None:
        """Remove the claim, and those of owners that were found dead."""
        for key, owner in sorted({**self._ended, self._key: self._owner}.items(), reverse=True):
            found = self._read(key)
            if found is not None and found.id == owner.id:
                self._store.remove(self._path(key))
        self._store.remove_empty(self._folder)

    def _read(self, key: "_Key") -> Owner | None:
        data = self._store.read(self._path(key))
        return None if data is None else Owner.of_bytes(data)

    def _mine(self) -> bytes:
        return self._owner.to_bytes()

    def _path(self, key: "_Key") -> str:
        return f"{self._folder}/{key.part}.{key.number:06d}.json"


class _Key(NamedTuple):
    """Part and number of a claim, as its object is named."""

    part: str
    number: int

    @classmethod
    def of_path(cls, path: str) -> "_Key | None":
        part, _, number = Path(path).stem.rpartition(".")
        return cls(part, int(number)) if path.endswith(".json") and number.isdigit() else None


def _clock() -> float:
    """Return seconds that go on while the machine sleeps, where such a clock is known."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
