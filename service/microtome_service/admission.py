"""Memory under many requests at once: an answer waits until there is room for its voxels."""

import asyncio
from collections import deque

from microtome_service.errors import Busy


class Lease:
    """Room that one answer holds until it is released; releasing twice is harmless."""

    def __init__(self, gate: "Admission", nbytes: int) -> None:
        self._gate = gate
        self.nbytes = nbytes

    def release(self) -> None:
        """Give the room to whoever waits."""
        nbytes, self.nbytes = self.nbytes, 0
        self._gate.give_back(nbytes)

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Admission:
    """Room for `capacity` bytes, given in the order of asking.

    Parameters
    ----------
    capacity : int
        Bytes of voxels in memory at one time. One larger request passes alone.
    waiting : int
        How many may wait.
    seconds : float
        How long each may wait.
    """

    def __init__(self, capacity: int, waiting: int, seconds: float) -> None:
        self._capacity = capacity
        self._waiting = waiting
        self._seconds = seconds
        self._queue: deque[tuple[asyncio.Future[None], int]] = deque()
        self.used = 0

    async def admit(self, nbytes: int) -> Lease:
        """Wait for room.

        Raises
        ------
        Busy
            Too many wait already, or the wait was too long.
        """
        weight = min(nbytes, self._capacity)
        if not self._queue and self.used + weight <= self._capacity:
            self.used += weight
            return Lease(self, weight)
        if len(self._queue) >= self._waiting:
            raise Busy("too many requests wait for memory")
        await self._wait(weight)
        return Lease(self, weight)

    async def _wait(self, weight: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((turn, weight))
        try:
            await asyncio.wait_for(asyncio.shield(turn), self._seconds)
        except BaseException as error:
            self._leave(turn, weight)
            if isinstance(error, TimeoutError):
                raise Busy(f"no memory became free within {self._seconds:g} s") from error
            raise

    def _leave(self, turn: asyncio.Future[None], weight: int) -> None:
        # The turn may have come in the very moment of giving up.
        if turn.done():
            self.give_back(weight)
            return
        self._queue.remove((turn, weight))
        turn.cancel()
        self._call_next()

    def give_back(self, nbytes: int) -> None:
        """Free room, and let in those for whom there is enough now."""
        self.used -= nbytes
        self._call_next()

    def _call_next(self) -> None:
        while self._queue and self.used + self._queue[0][1] <= self._capacity:
            turn, weight = self._queue.popleft()
            self.used += weight
            turn.set_result(None)
