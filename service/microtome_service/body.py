"""An answer whose voxels are sent from where they were read."""

from collections.abc import Mapping, Sequence

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from microtome_service.admission import Lease


class BodyResponse(Response):
    """Sends its parts one after another, unjoined, and then gives back its room.

    Parameters
    ----------
    parts : sequence of bytes or memoryview
    media_type : str
    headers : dict
    lease : Lease, optional
        Released when the last part has been taken over by the socket, or the caller has gone.
    """

    def __init__(
        self,
        parts: Sequence[bytes | memoryview],
        media_type: str,
        headers: Mapping[str, str],
        lease: Lease | None = None,
    ) -> None:
        self._parts = parts
        self._lease = lease
        length = str(sum(map(len, parts)))
        super().__init__(headers={**headers, "Content-Length": length}, media_type=media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, by the rules of ASGI."""
        try:
            head = {"status": self.status_code, "headers": self.raw_headers}
            await send({"type": "http.response.start", **head})
            for part in self._parts:
                await send({"type": "http.response.body", "body": part, "more_body": True})
            # The server takes this one only after the others have left its buffers.
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            if self._lease is not None:
                self._lease.release()
