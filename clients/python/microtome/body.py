"""The body of one answer: read exactly, in bounded time, into memory that exists already."""

import json
import threading
import time
from typing import Any

import urllib3

from microtome.errors import BrokenConnection, MicrotomeError, TimedOut, WrongAnswer
from microtome.link import Link

# Small enough to stay in the processor's cache between the socket and its place.
_STEP = 256 << 10
_SLOWEST = 16 << 10
_PROBLEM_LIMIT = 64 << 10


class Cancelled(MicrotomeError):
    """Another part of the same cutout failed, or the caller interrupted it."""


class Body:
    """What follows the headers of an answer.

    Parameters
    ----------
    response : urllib3 response
        Of which nothing is read yet.
    url : str
        For messages.
    timeout : float
        Seconds after which the average must have reached 16 KiB/s.
    stop : Event
        Once set, reading ends with `Cancelled`.
    link : Link
        What is told how many bytes came.
    """

    def __init__(
        self,
        response: urllib3.BaseHTTPResponse,
        url: str,
        timeout: float,
        stop: threading.Event,
        link: Link,
    ) -> None:
        self.url = url
        self._link = link
        self._response = response
        self._timeout = timeout
        self._stop = stop
        self._begun = time.monotonic()
        self._received = 0

    def header(self, name: str) -> str | None:
        """Return a header's value, or None."""
        return self._response.headers.get(name)

    @property
    def length(self) -> int | None:
        """Bytes that the headers promise, where they do."""
        value = self.header("Content-Length") or ""
        return int(value) if value.isascii() and value.isdigit() else None

    def fill(self, view: memoryview) -> None:
        """Read exactly ``len(view)`` bytes into `view`.

        Raises
        ------
        BrokenConnection
            The body ended before.
        TimedOut
            It comes too slowly.
        """
        done = 0
        while done < len(view):
            data = self._read(min(_STEP, len(view) - done))
            if not data:
                raise BrokenConnection(
                    f"{self.url}: the answer broke off after {self._received} bytes, "
                    f"{len(view) - done} before its end"
                )
            view[done : done + len(data)] = data
            done += len(data)

    def end(self) -> None:
        """Make sure that nothing follows.

        Raises
        ------
        WrongAnswer
            Something does.
        """
        if self._read(1):
            raise WrongAnswer(f"{self.url}: the answer is longer than {self._received - 1} bytes")

    def read(self, limit: int) -> bytes:
        """Return the whole body.

        Raises
        ------
        WrongAnswer
            More than `limit` bytes.
        """
        data = bytearray()
        while piece := self._read(_STEP):
            data += piece
            if len(data) > limit:
                raise WrongAnswer(f"{self.url}: the answer is longer than {limit} bytes")
        return bytes(data)

    def json(self, limit: int) -> Any:  # noqa: ANN401 - a JSON value is anything
        """Return the whole body as a JSON value."""
        data = self.read(limit)
        try:
            return json.loads(data)
        except ValueError as error:
            kind = self.header("Content-Type")
            raise WrongAnswer(
                f"{self.url}: no JSON but {kind}: is it a microtome service?"
            ) from error

    def read_some(self, count: int) -> bytes:
        """Return some of what follows, no more than `count` bytes; none at the end."""
        return self._read(count)

    def _read(self, count: int) -> bytes:
        if self._stop.is_set():
            raise Cancelled(self.url)
        data = self._response.read1(count)
        self._received += len(data)
        self._link.note(len(data))
        spent = time.monotonic() - self._begun
        if spent > self._timeout + self._received / _SLOWEST:
            raise TimedOut(f"{self.url}: only {self._received} bytes in {spent:.1f} s (timeout)")
        return data


def problem(body: Body) -> str:
    """Return what a refusal says of itself: problem details (RFC 9457), or plain text."""
    text = body.read(_PROBLEM_LIMIT).decode("utf-8", errors="replace")
    kind = (body.header("Content-Type") or "").partition(";")[0].strip().lower()
    if kind == "text/plain":
        return text.strip()[:500]
    if not kind.endswith("json"):
        return ""
    try:
        said = json.loads(text)
    except ValueError:
        return ""
    return _detail(said) if isinstance(said, dict) else ""


def _detail(said: dict[str, Any]) -> str:
    for field in ("detail", "title"):
        if isinstance(said.get(field), str) and said[field]:
            return str(said[field])[:2000]
    return ""
