"""A link between a client and a service that delays, and lets through so many bytes a second.

Every byte comes half of a round trip later than it was sent, and a connection's first bytes a whole
one later still, as after the handshake of TCP. Requests that follow one another on a kept
connection, answers of any size and any number of connections are delayed alike: latency takes
nothing from the bandwidth.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import uvloop

# Bytes that one connection has under way at most: more than any window of TCP.
_MOST = 64 << 20


@dataclass(slots=True)
class Link:
    """A proxy of one service.

    Parameters
    ----------
    host : str
    port : int
        Of the service.
    latency : float
        Seconds of a round trip.
    rate : float or None
        Bytes a second towards the client, over all connections.
    address : str
        Of the link.
    received : int
        Bytes that have gone to the client.
    """

    host: str
    port: int
    latency: float
    rate: float | None
    address: str = ""
    received: int = 0
    _free: float = 0.0

    def due(self, now: float, count: int, *, down: bool) -> float:
        """Return when bytes that are sent now come to the other end."""
        if not down:
            return now + self.latency / 2
        self.received += count
        if self.rate is not None:
            now = self._free = max(self._free, now) + count / self.rate
        return now + self.latency / 2


@dataclass(slots=True, eq=False)
class _End(asyncio.Protocol):
    """One end of a connection: what comes to it leaves by the other end, later."""

    link: Link
    down: bool
    opened: float
    other: "_End | None" = None
    transport: asyncio.Transport | None = None
    pieces: deque[tuple[float, bytes]] = field(default_factory=deque)
    held: int = 0
    blocked: bool = False
    timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=1 << 20)

    def data_received(self, data: bytes) -> None:
        now = asyncio.get_running_loop().time()
        self._add(max(self.link.due(now, len(data), down=self.down), self.opened), data)
        if self.held > _MOST and self.transport:
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        self._end()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # whoever ended it, the other end is ended, too
        self._end()

    def pause_writing(self) -> None:
        self.blocked = True

    def resume_writing(self) -> None:
        self.blocked = False
        if self.other:
            self.other.send()

    def _end(self) -> None:
        self._add(asyncio.get_running_loop().time() + self.link.latency / 2, b"")

    def _add(self, due: float, data: bytes) -> None:
        self.pieces.append((due, data))
        self.held += len(data)
        if self.timer is None:
            self.send()

    def send(self) -> None:
        """Hand over what is due, and come back for the rest."""
        loop, far = asyncio.get_running_loop(), self.other
        if self.timer:
            self.timer.cancel()
            self.timer = None
        while far and far.transport and self.pieces and not far.blocked:
            due, data = self.pieces[0]
            if due > loop.time():
                self.timer = loop.call_at(due, self.send)
                return
            self.pieces.popleft()
            self.held -= len(data)
            if data:
                far.transport.write(data)
            else:
                far.transport.close()
        if self.held <= _MOST and self.transport and not self.transport.is_closing():
            self.transport.resume_reading()


async def _serve(link: Link) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    def accepted() -> _End:
        near = _End(link, down=False, opened=loop.time() + 1.5 * link.latency)
        task = loop.create_task(_reach(near))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return near

    async def _reach(near: _End) -> None:
        far = _End(link, down=True, opened=0.0, other=near)
        await loop.create_connection(lambda: far, link.host, link.port)
        near.other = far
        near.send()

    return await loop.create_server(accepted, "127.0.0.1", 0)


@contextmanager
def link(address: str, latency: float, rate: float | None) -> Iterator[Link]:
    """Run a link to the service at `address` in a thread."""
    host, _, port = address.removeprefix("http://").partition(":")
    made = Link(host, int(port), latency, rate)
    loop = uvloop.new_event_loop()
    ready = threading.Event()

    def work() -> None:
        server = loop.run_until_complete(_serve(made))
        made.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set()
        loop.run_forever()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    ready.wait(10)
    try:
        yield made
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
