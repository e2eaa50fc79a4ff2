"""Requests to an app in this process, without a socket.

httpx describes them and the answers. Its client and transport are left out: at each request they
look for trio in all of Python's path, which takes longer than most answers.
"""

import asyncio
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any

import httpx

Message = MutableMapping[str, Any]
# What httpx's client sends, too.
HEADERS = {"Accept": "*/*", "Accept-Encoding": "gzip, deflate, br, zstd"}


@dataclass(slots=True)
class Exchange:
    """One request and what has come back of its answer."""

    request: httpx.Request
    body: bytes
    asked: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    status: int = 500
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    parts: list[bytes] = field(default_factory=list)

    @property
    def scope(self) -> dict[str, Any]:
        """The request as ASGI describes it."""
        url = self.request.url
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": self.request.method,
            "headers": [(name.lower(), value) for name, value in self.request.headers.raw],
            "scheme": url.scheme,
            "path": url.path,
            "raw_path": url.raw_path.split(b"?")[0],
            "query_string": url.query,
            "server": (url.host, url.port),
            "client": ("127.0.0.1", 123),
            "root_path": "",
        }

    async def receive(self) -> Message:
        """Give the body at once, and then that the caller is gone, when all is answered."""
        if not self.asked:
            self.asked = True
            return {"type": "http.request", "body": self.body, "more_body": False}
        await self.ended.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take what is answered."""
        if message["type"] == "http.response.start":
            assert not self.headers
            self.status, self.headers = message["status"], list(message["headers"])
        elif message["type"] == "http.response.body":
            assert not self.ended.is_set()
            if self.request.method != "HEAD":
                self.parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                self.ended.set()


async def ask(
    app: Any,  # noqa: ANN401 - any callable that follows ASGI
    method: str,
    url: str,
    *,
    quiet: bool = False,
    **options: Any,  # noqa: ANN401 - httpx's own
) -> httpx.Response:
    """Return the answer to a request, described in the words of `httpx.Request`.

    An error that the app lets through is raised, or, `quiet`, the 500 that it had begun with.
    """
    headers = httpx.Headers(HEADERS)
    headers.update(options.pop("headers", None))
    address = url if "://" in url else f"http://test/{url.lstrip('/')}"
    request = httpx.Request(method, address, headers=headers, **options)
    exchange = Exchange(request, await request.aread())
    try:
        await app(exchange.scope, exchange.receive, exchange.send)
    except Exception:
        if not quiet:
            raise
    else:
        assert exchange.ended.is_set()
    body = httpx.ByteStream(b"".join(exchange.parts))
    answer = httpx.Response(exchange.status, headers=exchange.headers, stream=body, request=request)
    answer.read()
    return answer
