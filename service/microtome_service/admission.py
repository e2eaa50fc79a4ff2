"""Memory under many requests at once: an answer waits until there is room for what it holds."""

import asyncio
from collections import Counter, deque
from dataclasses import dataclass
from time import monotonic

from microtome_service.errors import Busy, TooMany
from microtome_service.exchange import observer


class Lease:
    """Room that one answer holds until it is released; releasing twice is harmless."""

    def __init__(self, gate: "Admission", nbytes: int, caller: str = "") -> None:
        self._gate = gate
        self.nbytes = nbytes
        self._caller = caller

    def release(self) -> None:
        """Give the room to whoever waits."""
        nbytes, self.nbytes = self.nbytes, 0
        self._gate.give_back(nbytes, self._caller)

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    turn: asyncio.Future[None]
    nbytes: int
    caller: str


class Admission:
    """Room for `capacity` bytes, given in the order of asking.

    A caller who holds its share waits for its own answers to end; others pass it meanwhile.

    Parameters
    ----------
    capacity : int
        Bytes in memory at one time. One larger request passes alone.
    waiting : int
        How many may wait.
    seconds : float
        How long each may wait.
    share : float
        What part of the room, and of the queue, one caller may have. A caller who holds nothing is
        given one answer of any size.
    """

    def __init__(self, capacity: int, waiting: int, seconds: float, share: float = 1.0) -> None:
        self._capacity = capacity
        self._waiting = waiting
        self._seconds = seconds
        # One caller alone needs no share but the whole.
        self._share = capacity * share if share < 1 else float("inf")
        self._waiting_share = max(1, int(waiting * share)) if share < 1 else waiting
        self._queue: deque[_Waiter] = deque()
        self._held: Counter[str] = Counter()
        self.used = 0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._queue)

    async def admit(self, nbytes: int, caller: str = "") -> Lease:
        """Wait for room.

        Raises
        ------
        TooMany
            The caller's own answers take, or wait for, its share.
        Busy
            Too many wait already, or the wait was too long.
        """
        weight = min(nbytes, self._capacity)
        if self._fits(weight, caller) and all(self._over(w) for w in self._queue):
            self._take(weight, caller)
            return Lease(self, weight, caller)
        self._check_queue(caller)
        await self._wait(_Waiter(asyncio.get_running_loop().create_future(), weight, caller))
        return Lease(self, weight, caller)

    def _fits(self, nbytes: int, caller: str) -> bool:
        return self.used + nbytes <= self._capacity and self._within_share(nbytes, caller)

    def _within_share(self, nbytes: int, caller: str) -> bool:
        held = self._held[caller]
        return held == 0 or held + nbytes <= self._share

    def _over(self, waiter: _Waiter) -> bool:
        return not self._within_share(waiter.nbytes, waiter.caller)

    def _take(self, nbytes: int, caller: str) -> None:
        self.used += nbytes
        self._held[caller] += nbytes

    def _check_queue(self, caller: str) -> None:
        if len(self._queue) >= self._waiting:
            _refuse("queue")
            raise Busy("too many requests wait for memory")
        own = sum(waiter.caller == caller for waiter in self._queue)
        if own >= self._waiting_share:
            _refuse("share")
            raise TooMany(f"{own} of your requests wait already: end some first")

    async def _wait(self, waiter: _Waiter) -> None:
        self._queue.append(waiter)
        begun, watching = monotonic(), observer()
        try:
            await asyncio.wait_for(asyncio.shield(waiter.turn), self._seconds)
        except BaseException as error:
            own = self._over(waiter)
            self._leave(waiter)
            if isinstance(error, TimeoutError):
                raise self._timed_out(own) from error
            raise
        finally:
            if watching:
                watching.waited(monotonic() - begun)

    def _timed_out(self, own: bool) -> Busy:
        _refuse("share" if own else "wait")
        if own:
            return TooMany(f"your other answers took all of your share for {self._seconds:g} s")
        return Busy(f"no memory became free within {self._seconds:g} s")

    def _leave(self, waiter: _Waiter) -> None:
        # The turn may have come in the very moment of giving up.
        if waiter.turn.done():
            self.give_back(waiter.nbytes, waiter.caller)
            return
        self._queue.remove(waiter)
        waiter.turn.cancel()
        self._call_next()

    def give_back(self, nbytes: int, caller: str = "") -> None:
        """Free room, and let in those for whom there is enough now."""
        self.used -= nbytes
        self._held[caller] -= nbytes
        if not self._held[caller]:
            del self._held[caller]
        self._call_next()

    def _call_next(self) -> None:
        for waiter in tuple(self._queue):
            if self._over(waiter):
                continue
            # Nobody passes one who waits for room that is everybody's.
            if self.used + waiter.nbytes > self._capacity:
                return
            self._queue.remove(waiter)
            self._take(waiter.nbytes, waiter.caller)
            waiter.turn.set_result(None)


def _refuse(reason: str) -> None:
    watching = observer()
    if watching:
        watching.refused(reason)
