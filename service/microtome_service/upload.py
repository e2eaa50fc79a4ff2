"""Taking in a body: no longer than it may be, and from nobody who lets the service wait."""

import asyncio
from time import monotonic

from fastapi import Request
from starlette.requests import ClientDisconnect

from microtome_core.errors import InputError, TooLarge
from microtome_service.errors import SlowCaller

# Who sends slower than this on the whole holds memory that others need.
_LEAST_BYTES_A_SECOND = 16 << 10


def check_length(request: Request, most: int, expected: str) -> None:
    """Refuse a body that says that it is too long, before any of it is taken in.

    Parameters
    ----------
    request : Request
    most : int
        Bytes that it may have.
    expected : str
        What it is to hold, for the message.

    Raises
    ------
    InputError
        A length that is no number.
    TooLarge
    """
    told = request.headers.get("content-length")
    if told is None:
        return
    if not (told.isascii() and told.isdigit()):
        raise InputError(f"Content-Length {told[:40]!r}: expected a number")
    if len(told) > 18 or int(told) > most:
        raise TooLarge(f"a body of {told[:40]} bytes: {most} is the most for {expected}")


async def read_body(request: Request, most: int, seconds: float) -> bytearray:
    """Return the body.

    Parameters
    ----------
    request : Request
    most : int
        Bytes that it may have.
    seconds : float
        How long nothing may come; and how much later than at a slow pace it may end.

    Raises
    ------
    TooLarge
    SlowCaller
    InputError
        The caller went away.
    """
    body, started = bytearray(), monotonic()
    chunks = request.stream().__aiter__()
    try:
        while (chunk := await asyncio.wait_for(anext(chunks, None), seconds)) is not None:
            body += chunk
            _check(body, most, monotonic() - started - seconds)
    except TimeoutError as error:
        raise SlowCaller(f"only {len(body)} bytes of the body came in time") from error
    except ClientDisconnect as error:
        raise InputError("the caller went away before the body was whole") from error
    return body


def _check(body: bytearray, most: int, late: float) -> None:
    if len(body) > most:
        raise TooLarge(f"a body of more than {most} bytes: so many are the most")
    if late > len(body) / _LEAST_BYTES_A_SECOND:
        raise SlowCaller(f"only {len(body)} bytes of the body came in time")
