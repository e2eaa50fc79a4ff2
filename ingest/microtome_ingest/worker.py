"""What happens on the workers of a Dask cluster: units are written, one after the other.

A worker opens source and store once a job, at its first unit; what it opened lies in a plugin of
that worker, which goes when the job does. No credentials come with a job: a worker uses its own.
"""

import os
import pickle
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from threading import BoundedSemaphore, Lock
from typing import Any

from distributed import Worker, WorkerPlugin, get_worker
from numpy.typing import NDArray

from microtome_core.errors import InputError, MicrotomeError, SourceError
from microtome_core.heap import return_freed_memory, trim
from microtome_core.region import Region
from microtome_core.store.ledger import Entry, Ledger
from microtome_core.store.location import StorageOptions, Store
from microtome_ingest.budget import Budget, shard_bytes, units_at_once
from microtome_ingest.canonical import Canonical, canonical_source
from microtome_ingest.formats import open_source
from microtome_ingest.manifest import MANIFEST, Manifest, SourceFacts, read_manifest
from microtome_ingest.place import Place
from microtome_ingest.plan import Plan
from microtome_ingest.resolve import Resolution
from microtome_ingest.run import Run
from microtome_ingest.source import Source
from microtome_ingest.units import Unit

_UNITS_PER_TRIM = 8
# A shard that is done, and the bytes of its voxels.
Done = tuple[Entry, int]


class Abandoned(MicrotomeError):
    """Nobody waits for this unit any more."""


@dataclass(frozen=True, slots=True)
class SourceAddress:
    """Where a source is, and what its axes mean.

    Parameters
    ----------
    path : str
        As `open_source` takes it; a path of files is absolute.
    scene : int or None
    resolution : Resolution
    options : StorageOptions
        How to reach object storage.
    """

    path: str
    scene: int | None
    resolution: Resolution
    options: StorageOptions

    def open(self) -> Source:
        """Open it, here.

        Raises
        ------
        SourceError, StorageError
        """
        return open_source(self.path, self.scene, _own(self.options))


@dataclass(frozen=True, slots=True)
class Job:
    """What all units of a job share.

    Parameters
    ----------
    source : SourceAddress
    url : str
        Of the root.
    options : StorageOptions
    place : Place
    plan : Plan
    budget : Budget
        Of one unit.
    memory : int or None
        Of one worker; None where one unit at a time is what it was given for.
    manifest : bytes
        Of the version, by which a worker knows that its root is the same one.
    """

    source: SourceAddress
    url: str
    options: StorageOptions
    place: Place
    plan: Plan
    budget: Budget
    memory: int | None
    manifest: bytes

    def units_at_once(self, threads: int) -> int:
        """Return how many units a worker of so many Dask threads may do at once."""
        if self.memory is None:
            return 1
        return min(threads, units_at_once(self.memory, self.budget, shard_bytes(self.plan)))


@dataclass(frozen=True, slots=True)
class Task:
    """A unit to be written.

    Parameters
    ----------
    job : str
        The name of the job's plugin.
    unit : Unit
    known : tuple of Entry
        Its shards that are done already, and the empty ones that it is made of.
    """

    job: str
    unit: Unit
    known: tuple[Entry, ...]


class JobPlugin(WorkerPlugin):
    """What a worker keeps of a job.

    Parameters
    ----------
    name : str
        Of the job; also the topic under which shards are told of as soon as they are done.
    session : str
        Which of several that did the same job, one after the other.
    job : Job
    """

    def __init__(self, name: str, session: str, job: Job) -> None:
        self.name = name
        self.session = session
        self.version = installed()
        # It is looked into only where the version is the same.
        self._job = pickle.dumps(job)

    def setup(self, worker: Worker) -> None:
        """Get ready; nothing is opened yet, so that nothing fails that would end the worker."""
        self._worker = worker
        self._lock = Lock()
        self._room: BoundedSemaphore | None = None
        self._bench: _Bench | None = None
        self._busy, self._units, self._ending = 0, 0, False
        if "MALLOC_ARENA_MAX" not in os.environ:
            # Whoever started this process has not chosen.
            return_freed_memory()

    def teardown(self, worker: Worker) -> None:
        """Close the source, or let the last unit do so that still reads it."""
        self.retire()

    def retire(self) -> int:
        """End what is being done; return how many units have not ended yet."""
        with self._lock:
            self._ending = True
            self._close_if_idle()
            return self._busy

    def write(self, task: Task) -> list[Done]:
        """Write what is not known of a unit.

        Returns
        -------
        list of Done
            Its shards that were written.

        Raises
        ------
        InputError
            This worker has another version, or sees another root.
        SourceError, StorageError
        Abandoned
            It was cancelled on the way.
        """
        self._check_version()
        check = self._watch(self._worker.get_current_task())
        with self._opened() as bench, bench.room:
            check()
            return bench.write(task, check, self._tell)

    def _check_version(self) -> None:
        if installed() != self.version:
            raise InputError(
                f"worker {self._here()} has microtome {installed()}, this is {self.version}: "
                "install the same on both"
            )

    def _here(self) -> str:
        return f"{self._worker.address} on {socket.gethostname()}"

    def _watch(self, key: Any) -> Callable[[], None]:  # noqa: ANN401 - a key of Dask's
        """Return what ends a unit that was cancelled, or whose client or scheduler has gone."""

        def check() -> None:
            state = self._worker.state.tasks.get(key)
            wanted = state is not None and state.state in {"executing", "long-running"}
            if self._ending or not wanted:
                raise Abandoned(f"{key} was cancelled")

        return check

    def _tell(self, entry: Entry, size: int) -> None:
        message = [self.session, entry.level, list(entry.index), entry.length, entry.digest, size]
        self._worker.log_event(self.name, message)

    @contextmanager
    def _opened(self) -> Iterator["_Bench"]:
        with self._lock:
            if self._bench is None:
                job: Job = pickle.loads(self._job)  # noqa: S301 - as all that Dask sends
                units = job.units_at_once(self._worker.state.nthreads)
                self._bench = _open(job, self._here(), BoundedSemaphore(units))
            bench = self._bench
            self._busy += 1
        try:
            yield bench
        finally:
            with self._lock:
                self._busy -= 1
                self._units += 1
                self._close_if_idle()
            if self._units % _UNITS_PER_TRIM == 0:
                trim()

    def _close_if_idle(self) -> None:
        if self._ending and not self._busy and self._bench is not None:
            self._bench.source.close()
            self._bench = None


@dataclass(frozen=True, slots=True)
class _Bench:
    """A job's source and arrays, opened."""

    source: Canonical
    run: Run
    threads: int
    room: BoundedSemaphore

    def write(
        self, task: Task, check: Callable[[], None], tell: Callable[[Entry, int], None]
    ) -> list[Done]:
        """Write a unit; `check` may raise before each read and write, `tell` is told of shards."""
        ledger, written = Ledger(self.run.ledger.grids), list[Done]()
        for entry in task.known:
            ledger.add(entry)

        def done(entry: Entry, size: int) -> None:
            written.append((entry, size))
            tell(entry, size)

        run = replace(self.run, ledger=ledger, done=done, check=check)
        run.write(task.unit, _Watched(self.source, check), self.threads)
        return written


@dataclass(frozen=True, slots=True)
class _Watched:
    """A source that is not read for a unit that nobody wants."""

    source: Canonical
    check: Callable[[], None]

    def read(self, region: Region) -> NDArray[Any]:
        """Return a region."""
        self.check()
        return self.source.read(region)


def write_task(task: Task) -> list[Done]:
    """Write a unit on the worker that calls this; see `JobPlugin.write`."""
    plugin = get_worker().plugins.get(task.job)
    if not isinstance(plugin, JobPlugin):
        raise Abandoned(f"{task.job} has ended")
    return plugin.write(task)


def retire(name: str, dask_worker: Worker | None = None) -> int:
    """End what a worker still does for a job whose leader is gone; return how many units it is."""
    plugin = dask_worker.plugins.get(name) if dask_worker else None
    return plugin.retire() if isinstance(plugin, JobPlugin) else 0


def installed() -> str:
    """Return the version of microtome that is installed here."""
    return version("microtome")


def _open(job: Job, here: str, room: BoundedSemaphore) -> _Bench:
    store = Store(job.url, _own(job.options))
    path = f"{job.place.folder}/{MANIFEST}"
    if store.read(path) != job.manifest:
        raise InputError(
            f"worker {here} does not see this ingest in {store.url}: every worker needs the root, "
            "as a shared folder or in object storage"
        )
    ledger = Ledger(job.plan.grids)
    run = Run.open(store, job.place, job.plan, ledger, _note_nothing)
    source = _open_source(job.source, here, read_manifest(store, job.place.folder))
    return _Bench(canonical_source(source, job.source.resolution), run, job.budget.threads, room)


def _open_source(address: SourceAddress, here: str, manifest: Manifest | None) -> Source:
    """Open a source that must be what the manifest says."""
    try:
        source = address.open()
    except SourceError as error:
        raise SourceError(error.path, f"{error.reason}: cannot be read by worker {here}") from error
    if manifest is not None and _facts(source) != _expected(manifest.source):
        source.close()
        raise SourceError(address.path, f"is another one for worker {here}")
    return source


def _facts(source: Source) -> tuple[object, ...]:
    """Return what source and manifest must agree on; times differ between copies of a file."""
    found = source.description
    stamps = [source.stamps[path] for path in found.files]
    return (found.image, found.axes, found.shape, [(s.name, s.size, s.etag) for s in stamps])


def _expected(facts: SourceFacts) -> tuple[object, ...]:
    files = [(file.name, file.size, file.etag) for file in facts.files]
    return (facts.image, facts.axes, facts.shape, files)


def _own(options: StorageOptions) -> StorageOptions:
    """Return how to reach the same service with the credentials that this process has."""
    if options.credentials == "anonymous":
        return options
    own = StorageOptions.from_environment(os.environ)
    return replace(options, credentials=own.credentials)


def _note_nothing(entry: Entry, size: int) -> None:
    """Serve as `done` of a run of which each unit has its own."""
