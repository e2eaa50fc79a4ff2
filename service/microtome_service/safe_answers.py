"""What every answer tells browsers, so that nothing of what is stored is ever run as a program.

Pages say more by themselves. Source: Content Security Policy Level 3; Fetch, section 3.6 (nosniff).
"""

from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

# For whoever opens JSON, a picture or a file of the store as a document of its own.
DATA_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"
# The policy of a worker is that of its own script, and scripts of pages are governed by the page.
_SCRIPTS = "/static/"


class SafeAnswers:
    """Middleware that adds what an answer does not say itself.

    Parameters
    ----------
    app : ASGI application
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, by the rules of ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = str(scope["path"]).removeprefix(scope.get("root_path", ""))
        script = path.startswith(_SCRIPTS)

        async def send_safe(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("X-Content-Type-Options", "nosniff")
                headers.setdefault("Referrer-Policy", "same-origin")
                if not script:
                    headers.setdefault("Content-Security-Policy", DATA_POLICY)
            await send(message)

        await self._app(scope, receive, send_safe)
