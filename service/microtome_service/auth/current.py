"""One value from a source that may fail, kept as new as can be without making everyone wait."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from time import monotonic
from typing import Generic, TypeVar

from microtome_core.errors import StorageError
from microtome_service.refreshing import look_at

_LOG = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Seen(Generic[T]):
    """A value, and whether the last look at its source failed, so that it may be outdated."""

    value: T
    outdated: bool = False


class Current(Generic[T]):
    """The value of `load`, which is called in a thread, once for all who ask at one time.

    Parameters
    ----------
    load : callable
        Returns the value, or raises a StorageError.
    pool : Executor
    seconds : float
        How long a value is believed.
    patience : float
        How long an old one is given, marked as outdated, while the source fails.
    """

    def __init__(
        self, load: Callable[[], T], pool: Executor, seconds: float, patience: float
    ) -> None:
        self._load = load
        self._pool = pool
        self._seconds = seconds
        self._patience = patience
        self._seen: Seen[T] | None = None
        self._until = 0.0
        self._loaded = 0.0
        self._forgotten = 0
        self._flight: asyncio.Task[None] | None = None

    async def get(self, *, wait: bool = False) -> Seen[T]:
        """Return the value.

        Parameters
        ----------
        wait : bool
            For the answer of a source that failed before, rather than take what may be outdated.

        Raises
        ------
        StorageError
            The source fails, and nothing is known that may still be given.
        """
        seen = self._seen
        if seen is not None and monotonic() < self._until:
            return seen
        if self._flight is None or self._flight.done():
            self._flight = asyncio.create_task(self._refresh())
            self._flight.add_done_callback(look_at)
        # A source that fails may take seconds to say so; what may be outdated need not wait.
        if seen is not None and seen.outdated and not wait and self._may_be_given():
            return seen
        await asyncio.shield(self._flight)
        if self._seen is None:
            raise StorageError("nothing is known any more")
        return self._seen

    def forget(self) -> None:
        """Believe nothing of what is known: look again before the next answer."""
        self._until, self._forgotten = 0.0, self._forgotten + 1

    async def _refresh(self) -> None:
        loop, forgotten = asyncio.get_running_loop(), self._forgotten
        try:
            value = await loop.run_in_executor(self._pool, self._load)
        except StorageError as error:
            if self._seen is None or not self._may_be_given():
                self._seen = None
                raise
            _LOG.error("%s: what was known is used on", error)
            self._seen = Seen(self._seen.value, outdated=True)
        else:
            self._seen = Seen(value)
            self._loaded = monotonic()
        # What a look found that was begun before all was forgotten is for those who waited alone.
        self._until = monotonic() + self._seconds if forgotten == self._forgotten else 0.0

    def _may_be_given(self) -> bool:
        return monotonic() - self._loaded < self._patience
