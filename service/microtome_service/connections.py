"""Connections that hold nothing up: callers have a time to speak in, and heads a length.

uvicorn itself waits for ever for a request that has begun, and takes heads of any length.
"""

import asyncio
from time import monotonic
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

_LONGEST_HEAD = 64 << 10
# Slower bodies are not worth the connection that they hold.
_SLOWEST = 1 << 10


class Config(uvicorn.Config):
    """uvicorn's own, and how long a caller may take to send a head or be silent in a body."""

    def __init__(
        self,
        app: ASGIApp | str,
        *,
        request_seconds: float,
        **options: Any,  # noqa: ANN401 - uvicorn's own
    ) -> None:
        super().__init__(app, http=PatientProtocol, **options)
        self.request_seconds = request_seconds


class PatientProtocol(HttpToolsProtocol):
    """HTTP/1.1 whose patience ends.

    A connection is closed when no whole head came in `request_seconds`, from its opening or from
    the first byte of a later request on; when a body comes slower than 1 KiB/s after that time; and
    when a head is longer than 64 KiB, with 431.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._patience = float(getattr(config, "request_seconds", 30.0))
        self._timer: asyncio.TimerHandle | None = None
        self._begun = 0.0
        self._head = 0
        self._in_head = True
        self._body = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._heard()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came, unless a head grows too long."""
        if self._in_head:
            self._head += len(data)
        super().data_received(data)
        if self._in_head and self._head > _LONGEST_HEAD and not self.transport.is_closing():
            self._refuse()

    def on_message_begin(self) -> None:
        """Begin to wait for a head."""
        super().on_message_begin()
        self._in_head, self._head = True, 0
        if self._timer is None:
            self._expect()

    def on_headers_complete(self) -> None:
        """Begin to wait for a body."""
        self._in_head, self._body = False, 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Note how much has come."""
        self._body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Wait no longer: all has been said."""
        self._heard()
        self._in_head, self._head = True, 0
        super().on_message_complete()

    def _expect(self) -> None:
        self._begun = monotonic()
        self._timer = self.loop.call_later(self._patience, self._check)

    def _heard(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        earned = 0.0 if self._in_head else self._body / _SLOWEST
        # While the app does not read, it is not the caller who is slow.
        waiting = self._begun + self._patience + earned - monotonic()
        if self.flow.read_paused:
            waiting = self._patience
        if waiting <= 0:
            self.transport.abort()
            return
        self._timer = self.loop.call_later(waiting, self._check)

    def _refuse(self) -> None:
        self.transport.write(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
            b"content-length: 0\r\nconnection: close\r\n\r\n"
        )
        self.transport.close()
