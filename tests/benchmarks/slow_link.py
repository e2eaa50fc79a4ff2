"""A link between a client and a service that delays, and lets through so many bytes a second.

Every byte comes half of a round trip later than it was sent, and a connection's first bytes a whole
one later still, as after the handshake of TCP. Requests that follow one another on a kept
connection, answers of any size and any number of connections are delayed alike: latency takes
nothing from the bandwidth. Bytes wait in pipes and are moved, never copied (splice(2), Linux): what
is measured is to cost more than the link.
"""

import asyncio
import fcntl
import os
import socket
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeAlias

import uvloop

# Bytes that one connection has under way at most: more than any window of TCP.
_MOST = 64 << 20
# And those that one pipe holds.
_PIECE = 1 << 20

Pipe: TypeAlias = tuple[int, int]


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
    _pipes: list[Pipe] = field(default_factory=list)

    def due(self, now: float, count: int, *, down: bool) -> float:
        """Return when bytes that are sent now come to the other end."""
        if not down:
            return now + self.latency / 2
        self.received += count
        if self.rate is not None:
            now = self._free = max(self._free, now) + count / self.rate
        return now + self.latency / 2

    def take_pipe(self) -> Pipe:
        """Return an empty pipe."""
        if self._pipes:
            return self._pipes.pop()
        made = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.fcntl(made[1], fcntl.F_SETPIPE_SZ, _PIECE)
        return made

    def put_pipe(self, pipe: Pipe) -> None:
        """Take back a pipe that is empty."""
        self._pipes.append(pipe)

    def close(self) -> None:
        """Close all pipes that nothing is in."""
        for end in (end for pipe in self._pipes for end in pipe):
            os.close(end)


@dataclass(slots=True, eq=False)
class _Way:
    """One direction of a connection: what is read at its start is written at its end, later."""

    link: Link
    start: socket.socket
    end: socket.socket
    opened: float
    down: bool
    pieces: deque[tuple[float, Pipe, int]] = field(default_factory=deque)
    held: int = 0
    # What is waited for, beside the start: that the end can be written to, or that time passes.
    blocked: bool = False
    timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Take what comes from now on."""
        asyncio.get_running_loop().add_reader(self.start, self._take)

    def _take(self) -> None:
        loop, pipe = asyncio.get_running_loop(), self.link.take_pipe()
        try:
            count = os.splice(self.start.fileno(), pipe[1], _PIECE)
        except BlockingIOError:
            self.link.put_pipe(pipe)
            return
        except OSError:
            count = 0
        due = max(self.link.due(loop.time(), count, down=self.down), self.opened)
        self.pieces.append((due, pipe, count))
        self.held += count
        if not count or self.held > _MOST:
            loop.remove_reader(self.start)
        if self.timer is None and not self.blocked:
            self._send()

    def _send(self) -> None:
        """Hand over what is due, and come back for the rest."""
        loop, self.timer = asyncio.get_running_loop(), None
        full = self.held > _MOST
        while self.pieces and not self.blocked:
            due = self.pieces[0][0]
            if due > loop.time():
                self.timer = loop.call_at(due, self._send)
                break
            self._move()
        if full and self.held <= _MOST:
            self.begin()

    def _move(self) -> None:
        due, pipe, count = self.pieces.popleft()
        if not count:
            # Nothing comes any more.
            with suppress(OSError):
                self.end.shutdown(socket.SHUT_WR)
        try:
            moved = os.splice(pipe[0], self.end.fileno(), count) if count else 0
        except BlockingIOError:
            moved = 0
        except OSError:
            # Whoever was to have it has left: so is told to whoever sends it.
            with suppress(OSError):
                self.start.shutdown(socket.SHUT_RDWR)
            os.close(pipe[0])
            os.close(pipe[1])
            self.held -= count
            return
        self.held -= moved
        if moved == count:
            self.link.put_pipe(pipe)
            return
        self.pieces.appendleft((due, pipe, count - moved))
        self.blocked = True
        asyncio.get_running_loop().add_writer(self.end, self._writable)

    def _writable(self) -> None:
        asyncio.get_running_loop().remove_writer(self.end)
        self.blocked = False
        self._send()


async def _serve(link: Link, listening: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while True:
        near, _ = await loop.sock_accept(listening)
        far = socket.socket()
        for each in (near, far):
            each.setblocking(False)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(far, (link.host, link.port))
        _Way(link, near, far, loop.time() + 1.5 * link.latency, down=False).begin()
        _Way(link, far, near, 0.0, down=True).begin()


@contextmanager
def link(address: str, latency: float, rate: float | None) -> Iterator[Link]:
    """Run a link to the service at `address` in a thread."""
    host, _, port = address.removeprefix("http://").partition(":")
    made = Link(host, int(port), latency, rate)
    loop = uvloop.new_event_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        made.address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        task = loop.create_task(_serve(made, listening))
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        try:
            yield made
        finally:
            loop.call_soon_threadsafe(task.cancel)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)
            made.close()
