"""Around every request: its id, its numbers, its line in the log; and its end when the caller goes.

Plain ASGI: Starlette's own base class for middleware takes streams apart.
"""

import asyncio
import logging
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from time import perf_counter
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from microtome_service.exchange import Exchange, begin
from microtome_service.metrics import Metrics
from microtome_service.tracing import Tracing

_LOG = logging.getLogger("microtome.access")
_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
# Shorter answers are done before anybody could stop them.
_PATIENCE = 0.05
# What nginx calls it; never sent, since nobody is there.
_LEFT = 499
_BODYLESS = ("GET", "HEAD", "OPTIONS")


class Watch:
    """Wraps the whole app.

    Parameters
    ----------
    app : ASGI application
    metrics : Metrics
    tracing : Tracing, optional
    active : set of Task
        Holds every request while it is under way.
    access_log : bool
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        tracing: Tracing | None,
        active: set[asyncio.Task[Any]],
        access_log: bool,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._tracing = tracing
        self._active = active
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, by the rules of ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client = scope.get("client")
        exchange = Exchange(
            _request_id(scope), client[0] if client else "", _Told(self._metrics, self._tracing)
        )
        begin(exchange)
        begun = perf_counter()
        try:
            if self._tracing is None:
                await self._answer(scope, receive, send, exchange)
            else:
                with self._tracing.request(scope, exchange):
                    await self._answer(scope, receive, send, exchange)
        finally:
            self._note(scope, exchange, perf_counter() - begun)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, exchange: Exchange) -> None:
        caller = _Caller(scope["method"] in _BODYLESS, receive)
        self._active.add(caller.task)
        answer = _Answer(send, exchange, caller)
        try:
            await self._app(scope, caller.receive, answer.send)
        except asyncio.CancelledError:
            if not caller.left:
                raise
            # It was we who cancelled it.
            caller.task.uncancel()
            exchange.status = _LEFT
        except BaseException:
            exchange.status = exchange.status or 500
            exchange.broken = True
            raise
        finally:
            caller.close()
            self._active.discard(caller.task)
            exchange.route = _template(scope)

    def _note(self, scope: Scope, exchange: Exchange, seconds: float) -> None:
        route, method, status, sent = (
            exchange.route,
            scope["method"],
            exchange.status,
            exchange.sent,
        )
        label = "broken" if exchange.broken else str(status)
        self._metrics.note(route, method, label, sent, seconds)
        if self._access_log:
            _LOG.info(
                "%s %s %d",
                method[:16],
                route,
                status,
                extra={
                    "method": method[:16],
                    "route": route,
                    "path": scope["path"][:500],
                    "status": status,
                    "bytes": sent,
                    "ms": round(seconds * 1000, 3),
                    "client": exchange.client,
                    "principal": exchange.principal,
                    "broken": exchange.broken,
                },
            )


class _Told:
    """Passes on what is told of work, to the numbers and to the trace."""

    def __init__(self, metrics: Metrics, tracing: Tracing | None) -> None:
        self._metrics = metrics
        self._tracing = tracing

    def span(self, name: str) -> AbstractContextManager[None]:
        timed = self._metrics.span(name)
        return timed if self._tracing is None else self._both(self._tracing.span(name), timed)

    @contextmanager
    def _both(self, *spans: AbstractContextManager[None]) -> Iterator[None]:
        with spans[0], spans[1]:
            yield

    def decoded(self, nbytes: int) -> None:
        self._metrics.decoded.inc(nbytes)

    def waited(self, seconds: float) -> None:
        self._metrics.waits.observe(seconds)

    def refused(self, reason: str) -> None:
        self._metrics.refusals.labels(reason).inc()


class _Answer:
    """Notes what is sent, and gives it the request's id."""

    def __init__(self, send: Send, exchange: Exchange, caller: "_Caller") -> None:
        self._send = send
        self._exchange = exchange
        self._caller = caller

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._exchange.status = message["status"]
            named = (b"x-request-id", self._exchange.id.encode())
            message = {**message, "headers": [*message.get("headers", ()), named]}
        else:
            self._exchange.sent += len(message.get("body", b""))
            self._caller.served = not message.get("more_body", False)
        await self._send(message)


class _Caller:
    """Ends the work for a caller who has gone away, wherever it waits.

    Nobody is watched in the first moments, nor before the request's body has been read: what the
    caller still sends is for the app.
    """

    def __init__(self, heard: bool, receive: Receive) -> None:
        self.left = False
        self.served = False
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        self._heard = heard
        self._receive = receive
        self._watching: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(_PATIENCE, self._watch)

    async def receive(self) -> Message:
        """Give the app what the caller sends."""
        if self._watching is not None:
            await asyncio.shield(self._watching)
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            self._heard = True
        return message

    def close(self) -> None:
        """Watch no longer."""
        self._timer.cancel()
        if self._watching is not None:
            self._watching.cancel()

    def _watch(self) -> None:
        if self._heard:
            self._watching = self._loop.create_task(self._wait())
        else:
            self._timer = self._loop.call_later(_PATIENCE, self._watch)

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass  # The body of a request that has none.
        if not self.served:
            self.left = True
            self.task.cancel()


def _request_id(scope: Scope) -> str:
    """Return the caller's own id where it is one, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            if _ID.fullmatch(value):
                return str(value.decode("ascii"))
            break
    return os.urandom(16).hex()


def _template(scope: Scope) -> str:
    """Return the template of the route that answered: of these there are few."""
    route = scope.get("route")
    path = getattr(route, "path", None)
    if path is not None:
        return str(path)
    return "mounted" if scope.get("app_root_path") is not None else "unmatched"
