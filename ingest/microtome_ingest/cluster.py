"""An engine of many processes: units are handed to the workers of a Dask cluster.

The claim and the journal stay here, with the one process that leads. A worker that dies costs what
it was at; a scheduler that dies costs what all workers were at; both are handed out again. Only a
few units a worker are handed out at a time, so what is held here does not grow with the volume.
"""

import asyncio
import concurrent.futures
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from queue import Empty, SimpleQueue
from typing import Any
from uuid import uuid4

from distributed import Client, Future, KilledWorker

from microtome_core.errors import InputError, StorageError
from microtome_core.store.ledger import Entry, Ledger
from microtome_ingest.audit import reconcile
from microtome_ingest.budget import Budget
from microtome_ingest.engine import divided, pending
from microtome_ingest.manifest import MANIFEST
from microtome_ingest.observer import Observer
from microtome_ingest.plan import Plan
from microtome_ingest.run import Run
from microtome_ingest.units import Stage, Unit, below, owned, units
from microtome_ingest.worker import (
    Abandoned,
    Job,
    JobPlugin,
    SourceAddress,
    Task,
    installed,
    retire,
    write_task,
)
from microtome_ingest.workers import Workers
from microtome_ingest.write import Readable

# Units that are handed out for each thread of a worker: the one it does, and the next.
_AHEAD = 2
# How often a unit is handed out that ends its workers or does not reach storage.
_TRIES = 3


class Disconnected(Exception):
    """The scheduler cannot be reached any more."""


@dataclass(frozen=True, slots=True)
class Patience:
    """What is waited for.

    Parameters
    ----------
    connect : float
        Seconds, for a scheduler that does not answer.
    connections : int
        How often in a row, if no shard is done between.
    absent : float
        Seconds without any worker.
    look : float
        Seconds between two looks at the workers.
    """

    connect: float = 20.0
    connections: int = 5
    absent: float = 300.0
    look: float = 2.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """The workers of a Dask cluster.

    Parameters
    ----------
    workers : Workers
    source : SourceAddress
        Where workers find the source.
    observer : Observer
    patience : Patience
    """

    workers: Workers
    source: SourceAddress
    observer: Observer
    patience: Patience = field(default_factory=Patience)

    def budget(self, memory: int, threads: int | None, shard_bytes: int) -> Budget:
        """Return what a unit may take."""
        return self.workers.budget(memory, threads, shard_bytes)

    def run(self, run: Run, source: Readable, budget: Budget) -> None:
        """Write all stages, one after the other; `source` is opened anew by the workers.

        Raises
        ------
        InputError
            The root lies in this process' memory, or a worker is not fit for this job.
        SourceError
            As a worker met it.
        StorageError
            Of a worker, or scheduler or workers stay away: what is done is kept.
        """
        if run.store.url.startswith("memory://"):
            raise InputError(f"{run.store.url}: workers cannot see it; expected a folder or s3://")
        failures, known = 0, run.ledger.known
        while True:
            try:
                self._connect(run, budget)
            except Disconnected as error:
                failures = 1 if run.ledger.known > known else failures + 1
                known = run.ledger.known
                if failures >= self.patience.connections:
                    raise StorageError(
                        f"the scheduler cannot be reached ({error}): what is done is kept, run the "
                        "same again to go on"
                    ) from error
                self.observer.say("reconnect", f"lost the scheduler ({error}): connecting again")
                time.sleep(min(failures, self.patience.connect))
            else:
                return

    def _connect(self, run: Run, budget: Budget) -> None:
        """Write all that is not known through one connection."""
        began = time.monotonic()
        with ExitStack() as stack:
            with _connection():
                client = stack.enter_context(self.workers.connect(self.patience.connect))
            session = _Session(client, run, self.observer, self.patience)
            count = session.wait()
            session.begin(self._job(run, budget))
            seconds = time.monotonic() - began
            text = f"{count} workers, ready after {seconds:.1f} s"
            self.observer.say("workers", text, workers=count, seconds=round(seconds, 1))
            for stage in divided(run.plan, count):
                session.write(stage)
            session.end()

    def _job(self, run: Run, budget: Budget) -> Job:
        path = f"{run.place.folder}/{MANIFEST}"
        manifest = run.store.read(path)
        if manifest is None:
            raise StorageError(f"{run.store.url}/{path}: is gone")
        memory, options = self.workers.memory, run.store.options
        return Job(
            self.source, run.store.url, options, run.place, run.plan, budget, memory, manifest
        )


@dataclass(frozen=True, slots=True)
class _Handed:
    """A unit that is handed out, for the n-th time."""

    unit: Unit
    tries: int
    future: "Future[Any]"


class _Session:
    """One connection to a cluster."""

    def __init__(self, client: Client, run: Run, observer: Observer, patience: Patience) -> None:
        self._client, self._run = client, run
        self._observer, self._patience = observer, patience
        self._name, self._id = f"microtome {run.store.url}/{run.place.folder}", uuid4().hex
        self._inbox: SimpleQueue[Future[Any] | tuple[Entry, int]] = SimpleQueue()
        self._out: dict[Any, _Handed] = {}
        self._workers: Mapping[str, int] = {}
        self._looked = self._seen = time.monotonic()

    def wait(self) -> int:
        """Wait for a first worker; return how many there are.

        Raises
        ------
        StorageError
            None came.
        InputError
            One of another version of microtome.
        """
        with _connection():
            self._workers = self._client.nthreads()
        if not self._workers:
            self._observer.say("waiting", "there is no worker yet")
        while not self._workers:
            self._check_absence()
            time.sleep(min(1.0, self._patience.look))
            with _connection():
                self._workers = self._client.nthreads()
        with _connection():
            versions = self._client.run(version, "microtome", on_error="return")
        _refuse_others(versions)
        return len(self._workers)

    def begin(self, job: Job) -> None:
        """Let the workers know the job, once they have ended what is left of it.

        Raises
        ------
        StorageError
            They do not end it.
        """
        if self._retire():
            # What they were writing meanwhile is noted nowhere.
            reconcile(self._run.store, self._run.place.folder, self._run.ledger)
        with _connection():
            self._client.subscribe_topic(self._name, self._heard)
            self._client.register_plugin(JobPlugin(self._name, self._id, job), name=self._name)

    def _retire(self) -> bool:
        """Wait for units of a leader that is gone; tell whether there were any."""
        waited, until = False, time.monotonic() + self._patience.absent
        while busy := [w for w, units in self._ask_to_retire().items() if units]:
            if time.monotonic() > until:
                raise StorageError(f"workers still write for an earlier run: {_few(set(busy))}")
            waited = True
            time.sleep(min(0.5, self._patience.look))
        return waited

    def _ask_to_retire(self) -> Mapping[str, int]:
        with _connection():
            answers = self._client.run(retire, self._name, on_error="return")
        return {worker: n for worker, n in answers.items() if isinstance(n, int)}

    def end(self) -> None:
        """Let the workers forget the job."""
        with suppress(Disconnected), _connection():
            self._client.unregister_worker_plugin(self._name)

    def write(self, stage: Stage) -> None:
        """Write what is not known of a stage."""
        plan, ledger = self._run.plan, self._run.ledger
        todo = pending(plan, ledger, units(plan, stage))
        while True:
            while len(self._out) < self._room() and (unit := next(todo, None)) is not None:
                self._hand_out(unit)
            if not self._out:
                return
            self._take()

    def _room(self) -> int:
        return _AHEAD * max(1, sum(self._workers.values()))

    def _hand_out(self, unit: Unit, tries: int = 1) -> None:
        task = Task(self._name, unit, _known_of(self._run.plan, self._run.ledger, unit))
        key = f"microtome-{uuid4().hex}"
        with _connection():
            future = self._client.submit(write_task, task, key=key, pure=False)
        self._out[key] = _Handed(unit, tries, future)
        future.add_done_callback(self._inbox.put)

    def _take(self) -> None:
        """Wait for something to happen, or until it is time to look after the workers."""
        with suppress(Empty):
            item = self._inbox.get(timeout=self._patience.look)
            if isinstance(item, tuple):
                self._note(*item)
            else:
                self._settle(item)
        if time.monotonic() - self._looked > self._patience.look:
            self._look()

    def _settle(self, future: "Future[Any]") -> None:
        handed = self._out.pop(future.key)
        if future.status == "finished":
            with _connection():
                written = future.result()
            for entry, size in written:
                self._note(entry, size)
        elif future.status == "error":
            with _connection():
                error = future.exception()
            self._again(handed, error)
        else:
            raise Disconnected(f"a unit is {future.status}")

    def _again(self, handed: _Handed, error: BaseException) -> None:
        """Hand a unit out once more where another worker may do better; raise otherwise."""
        killed = isinstance(error, KilledWorker)
        if not (killed or isinstance(error, StorageError | Abandoned)):
            raise error
        where = f"level {handed.unit.stage.first}, {handed.unit.region}"
        if handed.tries < _TRIES:
            self._observer.say("again", f"{where}: {error}: is done again")
            self._hand_out(handed.unit, handed.tries + 1)
        elif killed:
            raise StorageError(
                f"{where}: its workers ended each time; they may lack memory: give less by --memory"
            ) from error
        else:
            raise error

    def _note(self, entry: Entry, size: int) -> None:
        """Note a shard once: it is told of when it is done, and again with its unit."""
        if (entry.level, entry.index) not in self._run.ledger:
            self._run.done(entry, size)

    def _heard(self, event: tuple[float, list[Any]]) -> None:
        """Put what a worker tells where `_take` finds it; is called by another thread."""
        session, level, index, length, digest, size = event[1]
        if session == self._id:
            self._inbox.put((Entry(level, tuple(index), length, digest), size))

    def _look(self) -> None:
        """Tell which workers have come and gone, and go on only if the claim still holds."""
        self._run.check()
        self._looked, before = time.monotonic(), self._workers
        with _connection():
            self._workers = self._client.nthreads()
        lost, new = before.keys() - self._workers.keys(), self._workers.keys() - before.keys()
        count = len(self._workers)
        if lost:
            text = f"lost {_few(lost)}; what they were at is done again"
            self._observer.say("lost", f"{text}; {count} workers", workers=count)
        if new:
            self._observer.say("joined", f"new: {_few(new)}; {count} workers", workers=count)
        if not self._workers:
            self._check_absence()
        else:
            self._seen = time.monotonic()

    def _check_absence(self) -> None:
        if time.monotonic() - self._seen > self._patience.absent:
            raise StorageError(
                f"no worker for {self._patience.absent:g} s: what is done is kept, run the same "
                "again to go on"
            )


def _refuse_others(versions: Mapping[str, object]) -> None:
    """Refuse workers without microtome, or of another version; one that has just gone is none."""
    for worker, found in versions.items():
        if isinstance(found, ModuleNotFoundError):
            raise InputError(f"worker {worker} has no microtome, this is {installed()}")
        if isinstance(found, str) and found != installed():
            raise InputError(f"worker {worker} has microtome {found}, this is {installed()}")


def _known_of(plan: Plan, ledger: Ledger, unit: Unit) -> tuple[Entry, ...]:
    """Return what a worker must know of the ledger to do a unit."""
    known = [
        entry for level, shards in owned(plan, unit) for entry in ledger.entries(level, shards)
    ]
    if unit.stage.first:
        level = unit.stage.first - 1
        found = ledger.entries(level, below(plan, unit))
        known += [entry for entry in found if not entry.length]
    return tuple(known)


def _few(names: set[str]) -> str:
    some = ", ".join(sorted(names)[:3])
    return f"{some} and {len(names) - 3} more" if len(names) > 3 else some


@contextmanager
def _connection() -> Iterator[None]:
    """Turn what Dask raises where the scheduler is gone into `Disconnected`."""
    try:
        yield
    except (OSError, asyncio.CancelledError, concurrent.futures.CancelledError) as error:
        raise Disconnected(f"{type(error).__name__}: {error}"[:300]) from error
