"""Answers to those who show credentials are theirs alone: no cache may give them to others.

Source: RFC 9111, sections 3.5 and 5.2.2.7.
"""

from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

from microtome_service.auth.sessions import COOKIE

_SHARED = ("public", "private", "s-maxage")


class PrivateAnswers:
    """Middleware that marks what is sent to whoever shows credentials.

    It asks for no more than the header: so no route can forget it.

    Parameters
    ----------
    app : ASGI application
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, by the rules of ASGI."""
        if scope["type"] != "http" or not any(_shows(*each) for each in scope["headers"]):
            await self._app(scope, receive, send)
            return

        async def send_marked(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                _mark(MutableHeaders(scope=message))
            await send(message)

        await self._app(scope, receive, send_marked)


def _shows(name: bytes, value: bytes) -> bool:
    """Tell whether a header shows who asks."""
    return name == b"authorization" or (name == b"cookie" and COOKIE.encode() in value)


def private(cache_control: str) -> str:
    """Return what keeps an answer out of shared caches, and else says the same.

    >>> private("public, max-age=60"), private("no-store"), private("")
    ('private, max-age=60', 'private, no-store', 'private')
    """
    words = [word.strip() for word in cache_control.split(",") if word.strip()]
    kept = [word for word in words if word.partition("=")[0].lower() not in _SHARED]
    return ", ".join(["private", *kept])


def _mark(headers: MutableHeaders) -> None:
    headers["Cache-Control"] = private(headers.get("Cache-Control", ""))
    headers.add_vary_header("Authorization")
    headers.add_vary_header("Cookie")
