"""Where the workers of a Dask cluster come from: processes of this machine, or a running cluster.

Processes of this machine speak TLS with a key made for this one job, since whoever may speak to a
Dask scheduler may run any code.
"""

import logging
import os
import re
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from tempfile import TemporaryDirectory
from typing import Protocol, TypeVar

import dask
from distributed import Client, LocalCluster, Security

from microtome_core.errors import InputError
from microtome_core.heap import returning_environment
from microtome_ingest.budget import Budget, choose_budget

_ADDRESS = re.compile(r"(tcp|tls|ucx|ucxx|ws|wss)://\S+")
# Steps in flight in each unit of a worker whose cores are not known yet.
_STEPS = 2
_CLOSE = 6.0
_SILENT = logging.CRITICAL + 1


Closable = TypeVar("Closable", Client, LocalCluster)


class Workers(Protocol):
    """A source of workers."""

    @property
    def memory(self) -> int | None:
        """Bytes of each worker, whatever its threads; None where each does one unit at a time."""

    def budget(self, memory: int, threads: int | None, shard_bytes: int) -> Budget:
        """Return what a unit may take."""

    def connect(self, timeout: float) -> AbstractContextManager[Client]:
        """Return a client while workers are to be had.

        Raises
        ------
        OSError
            No scheduler answers.
        """


@dataclass(frozen=True, slots=True)
class LocalWorkers:
    """Processes of this machine, that end with the job.

    Parameters
    ----------
    count : int
    """

    count: int

    @property
    def memory(self) -> int | None:
        """None: each has one thread of Dask."""
        return None

    def budget(self, memory: int, threads: int | None, shard_bytes: int) -> Budget:
        """Return what each process may take, this one left aside."""
        return choose_budget(memory, threads, shard_bytes, self.count)

    @contextmanager
    def connect(self, timeout: float) -> Iterator[Client]:
        """Start the processes, and end them."""
        with ExitStack() as stack:
            folder = stack.enter_context(TemporaryDirectory(prefix="microtome-"))
            stack.enter_context(_settings())
            stack.enter_context(quiet())
            with _uninterrupted():
                cluster = stack.enter_context(_closing(self._start(folder)))
            client = Client(cluster, timeout=timeout, set_as_default=False)
            yield stack.enter_context(_closing(client))

    def _start(self, folder: str) -> LocalCluster:
        return LocalCluster(
            n_workers=self.count,
            threads_per_worker=1,
            processes=True,
            memory_limit=None,
            security=Security.temporary(),
            local_directory=folder,
            silence_logs=_SILENT,
            scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
        )


@dataclass(frozen=True, slots=True)
class RemoteWorkers:
    """The workers of a cluster that is there.

    Parameters
    ----------
    address : str
        Of its scheduler, such as ``tcp://host:8786``.
    memory : int
        Bytes that each worker may take.

    Raises
    ------
    InputError
        No address of a scheduler.
    """

    address: str
    memory: int

    def __post_init__(self) -> None:
        if not _ADDRESS.fullmatch(self.address):
            raise InputError(f"--scheduler {self.address[:200]!r}: expected tcp://HOST:PORT")

    def budget(self, memory: int, threads: int | None, shard_bytes: int) -> Budget:
        """Return what a unit may take; a worker does as many at once as its memory holds."""
        return choose_budget(memory, threads or _STEPS, shard_bytes)

    @contextmanager
    def connect(self, timeout: float) -> Iterator[Client]:
        """Connect to the scheduler; its workers stay when this ends."""
        with quiet():
            client = Client(self.address, timeout=timeout, set_as_default=False)
            with _closing(client):
                yield client


@contextmanager
def _closing(dask: Closable) -> Iterator[Closable]:
    """Close something of Dask's in a few seconds, whether or not those it talks to answer."""
    try:
        yield dask
    finally:
        with suppress(OSError):
            dask.close(timeout=_CLOSE)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let no thread or process that is begun within ever see Ctrl-C; this thread does afterwards.

    A terminal sends it to all processes of a job, and workers would answer with tracebacks.
    """
    # Started later, it would let the thread that starts it see Ctrl-C again.
    resource_tracker.ensure_running()
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


@contextmanager
def _settings() -> Iterator[None]:
    """Serve nothing over HTTP, and start processes that give freed memory back."""
    environment = returning_environment()
    former = {name: os.environ.get(name) for name in environment}
    chosen = {
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
        "distributed.nanny.pre-spawn-environ": environment,
    }
    try:
        with dask.config.set(chosen):
            yield
    finally:
        # Dask sets them in this process, for those that it starts.
        for name, value in former.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextmanager
def quiet() -> Iterator[None]:
    """Let nothing of what Dask logs here reach the terminal: what matters is told otherwise."""
    names = [n for n in logging.root.manager.loggerDict if n.partition(".")[0] in _LOGGERS]
    former = {name: logging.getLogger(name).level for name in (*_LOGGERS, *names)}
    for name in former:
        logging.getLogger(name).setLevel(_SILENT)
    try:
        yield
    finally:
        for name, level in former.items():
            logging.getLogger(name).setLevel(level)


_LOGGERS = ("distributed", "tornado", "asyncio")
