"""Values from storage that are believed for a moment, then looked at again, off the event loop."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Executor
from dataclasses import dataclass
from time import monotonic
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class _Entry(Generic[Value]):
    value: Value
    until: float


class Refreshing(Generic[Key, Value]):
    """A bounded map whose values are loaded in a thread, once for all who ask at one time.

    Parameters
    ----------
    load : callable
        ``load(key, old)`` returns the value, `old` itself if it still holds. What it raises goes to
        everyone who asked, and nothing is kept.
    pool : Executor
        Runs `load`, which may block.
    seconds : float
        How long a value is believed.
    size : int
        Values kept, or what they weigh together; the one unused for longest goes first.
    weigh : callable
        Returns what a value weighs: 1 by default.
    """

    def __init__(
        self,
        load: Callable[[Key, Value | None], Value],
        pool: Executor,
        seconds: float,
        size: int,
        weigh: Callable[[Value], int] = lambda _: 1,
    ) -> None:
        self._load = load
        self._pool = pool
        self._seconds = seconds
        self._size, self._weigh = size, weigh
        self._entries: OrderedDict[Key, _Entry[Value]] = OrderedDict()
        self._flights: dict[Key, asyncio.Task[Value]] = {}
        self._used = self._forgotten = 0

    def forget_all(self) -> None:
        """Believe nothing any more; what is loaded still serves as old values."""
        self._entries = OrderedDict(
            (key, _Entry(entry.value, 0.0)) for key, entry in self._entries.items()
        )
        # Whoever asks from now on must not get what was begun before.
        self._flights.clear()
        self._forgotten += 1

    async def get(self, key: Key) -> Value:
        """Return the value of `key`, not older than the time given."""
        entry = self._entries.get(key)
        if entry is not None and monotonic() < entry.until:
            self._entries.move_to_end(key)
            return entry.value
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.create_task(self._refresh(key))
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._landed(key, done))
        # One caller who goes away must not take the answer from the others.
        return await asyncio.shield(flight)

    def forget(self, key: Key) -> None:
        """Believe the value of `key` no longer."""
        self._drop(key)

    async def _refresh(self, key: Key) -> Value:
        entry = self._drop(key)
        old, forgotten = entry.value if entry else None, self._forgotten
        loop = asyncio.get_running_loop()
        value = await loop.run_in_executor(self._pool, self._load, key, old)
        until = monotonic() + self._seconds if forgotten == self._forgotten else 0.0
        self._keep(key, _Entry(value, until))
        return value

    def _keep(self, key: Key, entry: _Entry[Value]) -> None:
        self._drop(key)
        self._entries[key] = entry
        self._used += self._weigh(entry.value)
        while self._used > self._size:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: Key) -> _Entry[Value] | None:
        entry = self._entries.pop(key, None)
        self._used -= self._weigh(entry.value) if entry else 0
        return entry

    def _landed(self, key: Key, flight: asyncio.Task[Value]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        look_at(flight)


def look_at(flight: asyncio.Task[Any]) -> None:
    """Look at how a task ended, lest asyncio calls an error lost for which nobody waits."""
    if not flight.cancelled():
        flight.exception()
