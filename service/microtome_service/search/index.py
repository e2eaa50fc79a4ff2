"""The index of one store: when it is looked through, where it is kept, and what it answers.

A store that takes a moment to be looked through is looked through before an answer, as long as what
was seen is not believed any more; a larger one in the background, so that an answer may be older
than the store, and says so.
"""

import asyncio
import logging
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from time import monotonic, time

from microtome_core.errors import NotFound, StorageError
from microtome_core.names import DatasetId
from microtome_core.store.location import Store
from microtome_service.auth.database import Database
from microtome_service.auth.rules import Rules
from microtome_service.catalog import Catalog
from microtome_service.errors import Unreadable
from microtome_service.principal import Principal
from microtome_service.search import kept
from microtome_service.search.asked import Asked
from microtome_service.search.held import Held
from microtome_service.search.kept import Looked
from microtome_service.search.look import DatasetEntry, Looking, unreadable
from microtome_service.search.question import Found, prepare, search

_LOG = logging.getLogger(__name__)
_THREADS = 4
# A store of so many datasets, or that takes no longer, is looked through before an answer.
_SMALL = 50
_MOMENT = 0.1
# The first look of a process is waited for so long; then it is answered with what there is.
_FIRST = 2.0
# Of the time of one thread, looking takes a tenth at most.
_REST = 9.0
_AT_ONCE = 128
# If more of those cannot be read, it is not they that are at fault.
_MOST_UNREADABLE = 16
# An unchanged store is noted as looked through no more often, in seconds.
_NOTED = 10.0


class Index:
    """Searches the records of a store.

    Parameters
    ----------
    store : Store
    catalog : Catalog
    shared : Database or None
        Where the index is kept, if it is there and may be written; else in a file of this process.
    believed : float
        Seconds for which a small store is believed to be as it was.
    seconds : float
        Rest between two looks at a large one; longer, where looking would take too much time.
    """

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        shared: Database | None,
        believed: float,
        seconds: float,
    ) -> None:
        self._looking = Looking(store, catalog)
        self._root, self._held = kept.root_key(store.url), Held()
        self._shared, self._database = shared, None if shared is None else _usable(shared)
        self._believed, self._seconds = believed, seconds
        self._questions = ThreadPoolExecutor(_THREADS, "search")
        self._looks = ThreadPoolExecutor(_THREADS, "look")
        self._passes = ThreadPoolExecutor(1, "index")
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._flight: Future[None] | None = None
        self._looked: Looked | None = None
        self._noted = self._until = 0.0
        self._forgotten = False
        self._remove: Callable[[], object] | None = None

    def close(self) -> None:
        """Let threads and connections go."""
        self._closing.set()
        for pool in (self._passes, self._looks, self._questions):
            pool.shutdown(wait=True, cancel_futures=True)
        if self._database is not None and self._database is not self._shared:
            self._database.close()
        if self._remove is not None:
            self._remove()

    def forget(self) -> None:
        """Believe nothing of what was seen: something was made or removed."""
        self._until, self._forgotten = 0.0, True

    async def search(
        self, asked: Asked, rules: Rules, principal: Principal
    ) -> tuple[Found, Looked | None]:
        """Return what was found, and when every dataset was last looked at.

        Raises
        ------
        Unreadable
            A small store cannot be looked at.
        StorageError
            The database cannot be read.
        """
        await self._refresh()
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._questions, self._search, asked, rules, principal)
        return found, self._looked

    async def watch(self) -> None:
        """Look through the store again and again, for ever."""
        while True:
            if monotonic() >= self._until:
                with suppress(StorageError):  # the log tells of it
                    await asyncio.shield(_seen(self._begin()))
            await asyncio.sleep(max(self._until - monotonic(), self._seconds))

    def rebuild(self, told: Callable[[int, int], None] = lambda done, count: None) -> Looked:
        """Look at every dataset anew, whatever is kept of it. Blocks.

        Parameters
        ----------
        told : callable
            Called with how many datasets were looked at, and how many there are.

        Raises
        ------
        Unreadable
            Storage failed.
        StorageError
            The database cannot be used.
        """
        with self._open().write() as connection:
            kept.forget_looked(connection, self._root)
        return self._look_through(told)

    async def _refresh(self) -> None:
        """Wait for a look at a small store, and a while for the first one at any."""
        if monotonic() < self._until:
            return
        if self._looked is None:
            loop = asyncio.get_running_loop()
            self._looked = await loop.run_in_executor(self._questions, self._read_looked)
        flight = self._begin()
        if self._looked is None or _is_small(self._looked):
            with suppress(TimeoutError):
                async with asyncio.timeout(_FIRST if self._looked is None else None):
                    await asyncio.shield(_seen(flight))

    def _begin(self) -> "Future[None]":
        """Return the look that is under way, or begin one."""
        with self._lock:
            if self._flight is None or self._flight.done():
                self._flight = self._passes.submit(self._renew)
            return self._flight

    def _renew(self) -> None:
        """Look through the store, unless another process has just done so."""
        try:
            looked = self._theirs() or self._look_through()
            self._looked = looked
            self._prepare(looked)
        except StorageError as error:
            _LOG.warning("the index of search was not renewed: %s", error)
            self._until = self._again()
            raise
        except Exception as error:
            # What nobody foresaw must not end looking for ever, nor go unseen.
            _LOG.exception("the index of search was not renewed")
            self._until = self._again()
            raise StorageError("the index of search was not renewed") from error
        else:
            # A look is believed from its end on, whoever looked.
            age = time() - looked.at - looked.seconds
            self._until = monotonic() + self._rest(looked) - max(0.0, age)

    def _theirs(self) -> Looked | None:
        """Return the look of another process that is still believed."""
        theirs = self._read_looked()
        forgotten, self._forgotten = self._forgotten, False
        return None if theirs is None or forgotten or self._due(theirs) else theirs

    def _again(self) -> float:
        """Return when to look after a failure: at a small store before any further answer."""
        small = self._looked is not None and _is_small(self._looked)
        return 0.0 if small else monotonic() + self._seconds

    def _due(self, looked: Looked) -> bool:
        # A look from the future is of a clock that was set back since.
        return _is_small(looked) or not 0 <= time() - looked.at < self._rest(looked)

    def _rest(self, looked: Looked) -> float:
        if _is_small(looked):
            return self._believed
        return max(self._seconds, _REST * looked.seconds)

    def _look_through(self, told: Callable[[int, int], None] = lambda done, count: None) -> Looked:
        at, clock, changed = time(), monotonic(), 0
        bare: set[str] = set()
        database, there = self._open(), self._looking.datasets()
        with database.read() as connection:
            known = kept.read_digests(connection, self._root)
        for first in range(0, len(there), _AT_ONCE):
            entries = self._look_at(there[first : first + _AT_ONCE], known)
            bare |= {str(entry.id) for entry in entries if not entry.listed}
            shown = [entry for entry in entries if entry.listed]
            if shown:
                with database.write() as connection:
                    kept.put(connection, self._root, shown)
            changed += len(shown)
            told(min(first + _AT_ONCE, len(there)), len(there))
        places = frozenset(map(str, there))
        gone = [place for place in known if place not in places or place in bare]
        looked = Looked(at, monotonic() - clock, len(there))
        if changed or gone or at - self._noted >= _NOTED:
            with database.write() as connection:
                kept.drop(connection, self._root, gone)
                kept.note_looked(connection, self._root, looked)
            self._noted = at
        self._looking.forget_all_but(places)
        return looked

    def _look_at(
        self, datasets: Sequence[DatasetId], known: Mapping[str, str]
    ) -> list[DatasetEntry]:
        """Return those of some datasets that have changed.

        Raises
        ------
        Unreadable
            So many cannot be read that storage is at fault.
        """
        found = list(self._looks.map(partial(self._look, known), datasets))
        failed = [one for one in found if isinstance(one, Unreadable)]
        if len(failed) > _MOST_UNREADABLE or self._closing.is_set():
            raise failed[0] if failed else StorageError("the service ends")
        return [
            unreadable(dataset, one) if isinstance(one, Unreadable) else one
            for dataset, one in zip(datasets, found, strict=True)
            if one is not None
        ]

    def _look(
        self, known: Mapping[str, str], dataset: DatasetId
    ) -> DatasetEntry | Unreadable | None:
        if self._closing.is_set():
            return None
        try:
            return self._looking.look(dataset, known.get(str(dataset)))
        except NotFound:  # gone since the list was made: the next one lacks it
            return None
        except Unreadable as error:
            _LOG.warning("%s", error, exc_info=error)
            return error

    def _prepare(self, looked: Looked) -> None:
        """Let the first answer after a look at a large store be as quick as others."""
        if not _is_small(looked):
            with self._open().snapshot() as connection:
                prepare(connection, self._root, self._held)

    def _search(self, asked: Asked, rules: Rules, principal: Principal) -> Found:
        with self._open().snapshot() as connection:
            return search(connection, self._root, asked, rules, principal, self._held)

    def _read_looked(self) -> Looked | None:
        with self._open().read() as connection:
            return kept.read_looked(connection, self._root)

    def _open(self) -> Database:
        with self._lock:
            if self._database is None:
                self._database = self._own()
            return self._database

    def _own(self) -> Database:
        """Make a database that ends with this process."""
        folder = tempfile.mkdtemp(prefix="microtome-search-")
        self._remove = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        database = Database(f"sqlite:///{folder}/index.sqlite")
        database.upgrade()
        return database


def _seen(flight: "Future[None]") -> "asyncio.Future[None]":
    """Return a look to wait for; if nobody does any more, its failure is in the log only."""
    waiting = asyncio.wrap_future(flight)
    waiting.add_done_callback(lambda done: done.cancelled() or done.exception())
    return waiting


def _is_small(looked: Looked) -> bool:
    return looked.datasets <= _SMALL or looked.seconds <= _MOMENT


def _usable(database: Database) -> Database | None:
    """Return a database if an index may be kept in it."""
    file = database.file
    if file is None:
        return database
    writable = file.exists() and os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)
    return database if writable else None
