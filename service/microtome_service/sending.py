"""An answer that is read while it is sent: whatever its length, a few pieces are in memory."""

from collections.abc import AsyncGenerator, Callable, Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from microtome_core.errors import StorageError
from microtome_service.errors import Interrupted

Pieces = AsyncGenerator[bytes | memoryview, None]


class StreamedResponse(Response):
    """Sends pieces as fast as the caller takes them.

    A failure after the first piece cuts the connection: what was sent is shorter than promised,
    which the caller sees.

    Parameters
    ----------
    pieces : async generator of bytes or memoryview
    length : int
        Bytes of all pieces.
    status : int
    headers : dict
    media_type : str
    done : callable
        Called at the end, however it came.
    """

    def __init__(
        self,
        pieces: Pieces,
        length: int,
        status: int,
        headers: Mapping[str, str],
        media_type: str,
        done: Callable[[], None],
    ) -> None:
        self._pieces = pieces
        self._done = done
        super().__init__(
            status_code=status,
            headers={**headers, "Content-Length": str(length)},
            media_type=media_type,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, by the rules of ASGI."""
        try:
            start = {"status": self.status_code, "headers": self.raw_headers}
            await send({"type": "http.response.start", **start})
            async for piece in self._pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except StorageError as error:
            raise Interrupted(f"broke off an answer: {error}") from error
        finally:
            try:
                await self._pieces.aclose()
            finally:
                self._done()


async def started(pieces: Pieces) -> Pieces:
    """Return the same pieces, the first of them being read: storage that fails is told by status.

    Raises
    ------
    StorageError
    """
    # A list, so that the piece is let go once it is sent.
    first = [piece] if (piece := await anext(pieces, None)) is not None else []
    del piece

    async def resumed() -> Pieces:
        try:
            while first:
                yield first.pop()
            async for each in pieces:
                yield each
        finally:
            await pieces.aclose()

    return resumed()
