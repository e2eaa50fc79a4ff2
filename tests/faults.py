"""A proxy before an object store that breaks a chosen share of the requests, in a seeded order.

It runs as a process of its own, so that neither side shares an interpreter with it, and ends with
the process that started it. Requests and answers are taken in whole and passed on byte by byte with
the headers of the sender, Host among them, so that signatures still verify.
"""

import asyncio
import json
import random
import re
import socket
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from types import TracebackType
from typing import IO, Any, TypedDict, Unpack

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, web
from multidict import CIMultiDict
from yarl import URL

SLOW_DOWN = "slow_down"  # 503 with S3's XML, nothing passed on
RESET = "reset"  # the connection is torn down (RST), nothing passed on
TRUNCATED = "truncated"  # half of the promised body, then the end
LOST_REPLY = "lost_reply"  # carried out, but the connection closes without an answer
DELAY = "delay"  # carried out late
DUPLICATE = "duplicate"  # carried out twice; the second answer is given
FAULTS = (SLOW_DOWN, RESET, TRUNCATED, LOST_REPLY, DELAY, DUPLICATE)

_XML = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"""
# Of one connection, not of the message (RFC 9110, 7.6.1); Expect is answered here.
_HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect"}


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes wrong.

    Parameters
    ----------
    target : str
        The endpoint, ``http://host:port``.
    rates : mapping of str to float
        Each fault's probability, together at most 1; a request suffers one fault at most.
    seed : int
        The n-th request that `only` takes gets the n-th throw of this seed's dice.
    latency : float
        Seconds that every request waits; those of other connections go on meanwhile.
    delay : float
        Seconds of the fault ``delay``.
    only : str
        A regular expression that ``METHOD /path?query`` must match to suffer a fault.
    limit : int, optional
        So many faults in all, then none.
    """

    target: str
    rates: Mapping[str, float] = field(default_factory=dict)
    seed: int = 1
    latency: float = 0.0
    delay: float = 1.0
    only: str = ""
    limit: int | None = None

    def __post_init__(self) -> None:
        chances = self.rates.values()
        if set(self.rates) - set(FAULTS) or sum(chances) > 1 or min(chances, default=0) < 0:
            raise ValueError(f"rates {dict(self.rates)}: probabilities of {', '.join(FAULTS)}")


class Options(TypedDict, total=False):
    """What of a `Plan` may be given and changed."""

    rates: Mapping[str, float]
    seed: int
    latency: float
    delay: float
    only: str
    limit: int | None


class FaultProxy:
    """A faulty way to an endpoint, while the ``with`` block lasts.

    Parameters
    ----------
    target : str
        The endpoint, ``http://host:port``.
    **plan
        The other parameters of `Plan`.

    Examples
    --------
    ::

        with FaultProxy(s3_endpoint, rates={"slow_down": 0.1}, seed=1) as proxy:
            store = Store("s3://bucket/root", StorageOptions(endpoint=proxy.url))
            ...
            assert proxy.faults["slow_down"] > 0
    """

    def __init__(self, target: str, **plan: Unpack[Options]) -> None:
        self._plan = Plan(target, **plan)
        self.url = ""

    def __enter__(self) -> "FaultProxy":
        words = [sys.executable, __file__]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.url = f"http://127.0.0.1:{self._ask(asdict(self._plan))['port']}"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._process as process:  # which closes the pipes and waits
            _pipe(process.stdin).close()
            try:
                process.wait(10)
            finally:
                process.kill()

    @property
    def requests(self) -> Counter[str]:
        """Requests that came in so far, by method."""
        return Counter(self._ask({})["requests"])

    @property
    def faults(self) -> Counter[str]:
        """Faults that happened so far, by kind."""
        return Counter(self._ask({})["faults"])

    def change(self, **plan: Unpack[Options]) -> None:
        """Go on by another plan, from the next request on; the dice and counts begin anew."""
        self._plan = replace(self._plan, **plan)
        self._ask(asdict(self._plan))

    def _ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        print(json.dumps(question), file=_pipe(self._process.stdin), flush=True)
        line = _pipe(self._process.stdout).readline()
        if not line:
            raise RuntimeError(f"the proxy ended with {self._process.wait(10)}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


class _Dice:
    """Throws for a plan, and counts what came of it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.requests: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self._only = re.compile(plan.only)
        self._random = random.Random(plan.seed)

    def throw(self, request: web.BaseRequest) -> str | None:
        """Return the fault that this request suffers, if any."""
        self.requests[request.method] += 1
        if not self._only.match(f"{request.method} {request.raw_path}"):
            return None
        number = self._random.random()
        if self.plan.limit is not None and self.faults.total() >= self.plan.limit:
            return None
        for fault, rate in self.plan.rates.items():
            number -= rate
            if number < 0:
                # Counted before it is seen; whether a body can be truncated shows later.
                self.faults[fault] += 1
                return fault
        return None


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    reason: str | None
    headers: CIMultiDict[str]
    body: bytes


class _Proxy:
    """The server's side: one call for each request."""

    def __init__(self, session: ClientSession, plan: Plan) -> None:
        self._session = session
        self.dice = _Dice(plan)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, or fail to."""
        dice = self.dice
        body = await _read(request)
        fault = dice.throw(request)
        await asyncio.sleep(dice.plan.latency + (dice.plan.delay if fault == DELAY else 0))
        if fault == SLOW_DOWN:
            return web.Response(status=503, body=_XML, content_type="application/xml")
        if fault == RESET:
            return _close(request, reset=True)
        answer = await self._forward(request, body)
        if fault == DUPLICATE:
            answer = await self._forward(request, body)
        if fault == LOST_REPLY:
            return _close(request)
        if fault == TRUNCATED:
            if not answer.body:
                dice.faults[TRUNCATED] -= 1  # there is nothing to cut
            else:
                return await _send(request, answer, len(answer.body) // 2)
        return await _send(request, answer)

    async def _forward(self, request: web.BaseRequest, body: bytes) -> _Answer:
        url = URL(self.dice.plan.target + request.raw_path, encoded=True)
        chunked = "chunked" in request.headers.get("Transfer-Encoding", "").lower()
        try:
            async with self._session.request(
                request.method,
                url,
                headers=_passed_on(request.headers),
                data=_one_chunk(body) if chunked else body or None,
                allow_redirects=False,
            ) as reply:
                headers = _passed_on(reply.headers)
                return _Answer(reply.status, reply.reason, headers, await reply.read())
        except ClientError as error:
            text = f"the target: {error!r}".encode()
            return _Answer(502, None, CIMultiDict({"Content-Type": "text/plain"}), text)


async def _read(request: web.BaseRequest) -> bytes:
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    return await request.content.read()


def _passed_on(headers: Mapping[str, str]) -> CIMultiDict[str]:
    return CIMultiDict((name, text) for name, text in headers.items() if name.lower() not in _HOP)


async def _one_chunk(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _send(
    request: web.BaseRequest, answer: _Answer, end: int | None = None
) -> web.StreamResponse:
    response = web.StreamResponse(
        status=answer.status, reason=answer.reason, headers=answer.headers
    )
    if request.method != "HEAD":  # which promises a body and sends none
        response.content_length = len(answer.body)
    await response.prepare(request)
    await response.write(answer.body[:end])
    if end is not None:
        return _close(request)
    await response.write_eof()
    return response


def _close(request: web.BaseRequest, *, reset: bool = False) -> web.Response:
    if request.transport is not None:
        if reset:
            connection: socket.socket = request.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.transport.abort()
        request.transport.close()
    return web.Response()  # to nobody


@asynccontextmanager
async def _session() -> AsyncIterator[ClientSession]:
    async with ClientSession(
        connector=TCPConnector(limit=0),
        timeout=ClientTimeout(total=None),
        auto_decompress=False,
        cookie_jar=DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
    ) as session:
        yield session


async def _serve(questions: asyncio.StreamReader) -> None:
    """Answer each line of JSON by one: a plan begins anew, an empty object asks for the counts."""
    async with _session() as session:
        proxy = _Proxy(session, Plan(**json.loads(await questions.readline())))
        server = web.Server(proxy.handle, access_log=None, auto_decompress=False)
        listener = await asyncio.get_running_loop().create_server(
            server, "127.0.0.1", 0, backlog=1024
        )
        port = listener.sockets[0].getsockname()[1]
        print(json.dumps({"port": port}), flush=True)
        async for line in questions:
            if question := json.loads(line):
                proxy.dice = _Dice(Plan(**question))
            counts = {"requests": proxy.dice.requests, "faults": proxy.dice.faults}
            print(json.dumps(counts), flush=True)
        listener.close()
        await server.shutdown(0.01)  # what still waits is cut off


async def _main() -> None:
    questions = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(questions), sys.stdin
    )
    await _serve(questions)


if __name__ == "__main__":
    asyncio.run(_main())
