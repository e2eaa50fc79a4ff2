"""A link between a client and a service that delays, and lets through so many bytes a second."""

import asyncio
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_PIECE = 64 << 10


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

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection, both ways."""
        far_reader, far_writer = await asyncio.open_connection(self.host, self.port)
        up = self._carry(reader, far_writer, counted=False)
        down = self._carry(far_reader, writer, counted=True)
        await asyncio.gather(up, down)

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counted: bool
    ) -> None:
        """Send what comes after half of the latency, and no faster than the rate."""
        clock = asyncio.get_running_loop().time
        pieces: deque[tuple[float, bytes]] = deque()
        more, room = asyncio.Event(), asyncio.Semaphore(256)

        async def send() -> None:
            while True:
                while not pieces:
                    more.clear()
                    await more.wait()
                due, data = pieces.popleft()
                room.release()
                if not data:
                    break
                await asyncio.sleep(max(0.0, due - clock()))
                writer.write(data)
                await writer.drain()
            writer.close()

        sending = asyncio.create_task(send())
        try:
            while data := await reader.read(_PIECE):
                await room.acquire()
                pieces.append((self._due(clock(), len(data), counted=counted), data))
                more.set()
        except ConnectionError:
            pass  # the same as its end
        pieces.append((0.0, b""))
        more.set()
        # A client that has gone is no fault of the link.
        await asyncio.gather(sending, return_exceptions=True)

    def _due(self, now: float, count: int, *, counted: bool) -> float:
        if not counted:
            return now + self.latency / 2
        self.received += count
        if self.rate is None:
            return now + self.latency / 2
        self._free = max(self._free, now) + count / self.rate
        return self._free + self.latency / 2


@contextmanager
def link(address: str, latency: float, rate: float | None) -> Iterator[Link]:
    """Run a link to the service at `address` in a thread."""
    host, _, port = address.removeprefix("http://").partition(":")
    made = Link(host, int(port), latency, rate)
    loop = asyncio.new_event_loop()
    ready = threading.Event()
    servers: list[asyncio.Server] = []

    async def run() -> None:
        server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
        servers.append(server)
        made.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set()

    def work() -> None:
        loop.run_until_complete(run())
        loop.run_forever()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    ready.wait(10)
    try:
        yield made
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
