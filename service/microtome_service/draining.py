"""An end in order: after SIGTERM nothing new is sent here, and what is under way is finished."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

Handler = Callable[[int, Any], Any]


class Draining:
    """Puts off what SIGTERM does until the answers under way have been given.

    Parameters
    ----------
    seconds : float
        New requests are answered for so long at least, so that whoever sends them learns from
        ``/health/ready`` to send them elsewhere.
    grace : float
        Answers that take longer are ended.
    """

    def __init__(self, seconds: float, grace: float) -> None:
        self._seconds = seconds
        self._grace = grace
        self._ending: asyncio.Task[None] | None = None
        self.active: set[asyncio.Task[Any]] = set()
        self.begun = False

    def install(self) -> None:
        """Take SIGTERM over from the server, for the one loop that runs in the main thread."""
        if threading.current_thread() is not threading.main_thread():
            return
        server = signal.getsignal(signal.SIGTERM)
        if not callable(server):
            return
        end: Handler = server
        loop = asyncio.get_running_loop()

        def handle(number: int, frame: Any) -> None:  # noqa: ANN401 - a frame
            if self.begun:  # Asked twice: at once.
                end(number, frame)
                return
            self.begun = True
            loop.call_soon_threadsafe(self._begin, end)

        signal.signal(signal.SIGTERM, handle)

    def _begin(self, end: Handler) -> None:
        self._ending = asyncio.get_running_loop().create_task(self._finish(end, set(self.active)))

    async def _finish(self, end: Handler, under_way: Iterable[asyncio.Task[Any]]) -> None:
        await asyncio.sleep(self._seconds)
        if under_way:
            _, late = await asyncio.wait(under_way, timeout=self._grace)
            for task in late:
                task.cancel()
        with suppress(KeyboardInterrupt):
            end(signal.SIGTERM, None)
