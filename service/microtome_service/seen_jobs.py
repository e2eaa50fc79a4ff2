"""Ingests of datasets as they were seen a moment ago: a page of many costs few looks at storage."""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import time

from microtome_core.errors import StorageError
from microtome_core.names import DatasetId
from microtome_core.store.jobs import Job, find_jobs
from microtome_core.store.location import Store
from microtome_service.refreshing import Refreshing

_LOG = logging.getLogger(__name__)
# Looks at one time, whoever asks.
_AT_ONCE = 4
_KEPT = 20_000
# Where nothing is under way, believed so many times longer.
_LONGER = 8
# Longest wait for one page: what did not answer by then is told as such.
_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class _Seen:
    jobs: tuple[Job, ...]
    at: float

    @property
    def busy(self) -> bool:
        return any(job.state == "running" for job in self.jobs)


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found.

    Parameters
    ----------
    jobs : tuple of Job
    unread : tuple of DatasetId
        Those whose ledgers could not be read; the cause is in the log.
    """

    jobs: tuple[Job, ...]
    unread: tuple[DatasetId, ...]


class SeenJobs:
    """The ingests of one store.

    Parameters
    ----------
    store : Store
    seconds : float
        How long a look is believed.
    """

    def __init__(self, store: Store, seconds: float) -> None:
        self._store = store
        self._idle = seconds * _LONGER
        self._pool = ThreadPoolExecutor(_AT_ONCE, "jobs")
        self._seen = Refreshing(self._look, self._pool, seconds, _KEPT)

    def close(self) -> None:
        """Let the threads go."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def look(self, datasets: Sequence[DatasetId]) -> Looked:
        """Return the ingests of some datasets; one that cannot be read hides no other."""
        tasks = {dataset: asyncio.create_task(self._seen.get(dataset)) for dataset in datasets}
        if tasks:
            await asyncio.wait(tasks.values(), timeout=_SECONDS)
        try:
            return self._gathered(tasks)
        finally:
            for task in tasks.values():
                task.cancel()

    def _gathered(self, tasks: "dict[DatasetId, asyncio.Task[_Seen]]") -> Looked:
        jobs: list[Job] = []
        unread: list[DatasetId] = []
        for dataset, task in tasks.items():
            error = _fault(task)
            if error is None:
                jobs += task.result().jobs
            else:
                _LOG.error("ingests of %s: %s", dataset, error)
                unread.append(dataset)
        return Looked(tuple(jobs), tuple(unread))

    def _look(self, dataset: DatasetId, old: _Seen | None) -> _Seen:
        now = time()
        if old is not None and not old.busy and 0 <= now - old.at < self._idle:
            return old
        return _Seen(tuple(find_jobs(self._store, dataset, now)), now)


def _fault(task: "asyncio.Task[_Seen]") -> StorageError | None:
    """Return why a look gave nothing; raises what is no failure of storage."""
    if not task.done():
        return StorageError(f"storage did not answer within {_SECONDS:g} s")
    error = task.exception()
    if error is None or isinstance(error, StorageError):
        return error
    raise error
