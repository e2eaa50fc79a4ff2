"""HTTP that either gives the whole answer or raises: time-outs, repeats, checks of length.

Rules: RFC 9110 (Retry-After, Content-Length), RFC 9457 (problem details).
"""

import os
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Never, TypeVar, cast

import urllib3
from urllib3.exceptions import (
    HTTPError,
    InvalidHeader,
    LocationParseError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ResponseError,
    SSLError,
)
from urllib3.exceptions import TimeoutError as Urllib3Timeout

from microtome.body import Body, Cancelled, problem
from microtome.cache import Cache
from microtome.errors import (
    BrokenConnection,
    InputError,
    MicrotomeError,
    TimedOut,
    Unavailable,
    Unreachable,
    WrongAnswer,
    from_answer,
)
from microtome.link import Link
from microtome.stopping import stop_event
from microtome_core import __version__

T = TypeVar("T")

_LONGEST_WAIT = 60.0
_FIRST_WAIT = 0.1
_JSON_LIMIT = 64 << 20
# urllib3 follows redirects (and drops the token on the way to another host); repeating is ours,
# since only we know when a body is whole.
_ONE_TRY = urllib3.Retry(
    total=None, connect=0, read=0, other=0, status=0, redirect=3, respect_retry_after_header=False
)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, how often to try, how much at once.

    Parameters
    ----------
    timeout : float
        Seconds for a connection, for each silence, and for the first bytes of a slow answer.
    retries : int
        Further tries after the first.
    parallel : int
        Requests under way at a time.
    """

    timeout: float = 30.0
    retries: int = 5
    parallel: int = 8

    def __post_init__(self) -> None:
        if not 0 < self.timeout < float("inf"):
            raise InputError(f"timeout={self.timeout!r}: expected seconds above 0")
        if self.retries < 0:
            raise InputError(f"retries={self.retries!r}: expected 0 or more")
        if self.parallel < 1:
            raise InputError(f"parallel={self.parallel!r}: expected 1 or more")


@dataclass(frozen=True, slots=True)
class Message:
    """What is asked of an address.

    Parameters
    ----------
    method : str
    body : bytes or memoryview, optional
    headers : dict
        Beside those of every request.
    """

    method: str = "GET"
    body: bytes | memoryview | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def expected(self) -> tuple[int, ...]:
        """The statuses that an answer may have."""
        return (200, 204) if self.method in ("PUT", "PATCH") else (200,)


class Transport:
    """Connections to a service, kept open between requests; safe in threads and after a fork.

    Pickling and copying take the settings along, and open connections of their own.

    Parameters
    ----------
    token : str or None
        Sent as ``Authorization: Bearer``.
    patience : Patience
        For every request that does not bring its own.
    transfer : str
        In which form voxels come: ``auto``, ``raw``, ``zstd`` or ``chunks``.
    cache : Cache, optional
        Voxels on disk.
    """

    def __init__(
        self,
        token: str | None,
        patience: Patience,
        transfer: str = "auto",
        cache: Cache | None = None,
    ) -> None:
        self.patience = patience
        self.link = Link(transfer)
        self.cache = cache
        self._token = check_token(token)
        self._connect()

    def __reduce__(
        self,
    ) -> tuple[type["Transport"], tuple[str | None, Patience, str, Cache | None]]:
        return type(self), (self._token, self.patience, self.link.transfer, self.cache)

    @property
    def has_token(self) -> bool:
        """Whether requests say who asks."""
        return self._token is not None

    def get(
        self,
        url: str,
        receive: Callable[[Body], T],
        *,
        stop: threading.Event | None = None,
        patience: Patience | None = None,
    ) -> T:
        """GET `url` and hand its body to `receive`, again from the start after a passing fault.

        Parameters
        ----------
        url : str
            Where.
        receive : callable
            Reads the whole body, checks it and returns what comes of it. May be called again.
        stop : Event, optional
            Once set, ends the request or the waiting for another try.
        patience : Patience, optional
            Instead of the transport's.

        Raises
        ------
        ServiceError
            The service refused, or was unavailable at every try.
        BrokenConnection, TimedOut
            No whole answer at the last try.
        WrongAnswer
            What `receive` makes of a body that is not what was asked for.
        """
        return self._ask(url, Message(), receive, stop, patience or self.patience)

    def post(
        self,
        url: str,
        document: bytes,
        receive: Callable[[Body], T],
        *,
        stop: threading.Event | None = None,
    ) -> T:
        """POST a JSON document that asks for something and changes nothing; else as `get`."""
        message = Message("POST", document, {"Content-Type": "application/json"})
        return self._ask(url, message, receive, stop, self.patience)

    def send(
        self,
        url: str,
        message: Message,
        receive: Callable[[Body], T],
        *,
        stop: threading.Event | None = None,
    ) -> T:
        """Send a message that may be sent twice without harm; else as `get`."""
        return self._ask(url, message, receive, stop, self.patience)

    def _ask(
        self,
        url: str,
        message: Message,
        receive: Callable[[Body], T],
        stop: threading.Event | None,
        patience: Patience,
    ) -> T:
        stop = stop_event(stop)
        tries = 0
        while True:
            try:
                return self._once(url, message, receive, patience, stop)
            except (Unavailable, BrokenConnection, TimedOut) as error:
                tries += 1
                wait = _wait(error, tries)
                if wait is None or tries > patience.retries:
                    error.add_note(f"after {tries} of {patience.retries + 1} tries")
                    raise
            stop.wait(wait)

    def json(self, url: str) -> Any:  # noqa: ANN401 - a JSON value is anything
        """GET a JSON document."""
        return self.get(url, lambda body: body.json(_JSON_LIMIT))

    def _once(
        self,
        url: str,
        message: Message,
        receive: Callable[[Body], T],
        patience: Patience,
        stop: threading.Event,
    ) -> T:
        if stop.is_set():
            raise Cancelled(url)
        try:
            response = self._request(url, message, patience)
            try:
                body = Body(response, url, patience.timeout, stop, self.link)
                with self.link.receiving():
                    result = _received(response, body, message, receive)
            except BaseException:
                # What is left of the body would be taken for the next answer.
                response.close()
                raise
            response.release_conn()
        except HTTPError as error:
            _reraise(error, url, patience)
        return result

    def _request(self, url: str, message: Message, patience: Patience) -> urllib3.BaseHTTPResponse:
        if self._pid != os.getpid():
            # A forked child must not talk on the connections of its parent.
            self._connect()
        return self._pool.request(
            message.method,
            url,
            body=cast(Any, message.body),  # urllib3 takes a memoryview, too
            headers={**self._headers(), **message.headers},
            preload_content=False,
            decode_content=False,
            timeout=urllib3.Timeout(connect=patience.timeout, read=patience.timeout),
            retries=_ONE_TRY,
        )

    def _connect(self) -> None:
        self._pool = urllib3.PoolManager(maxsize=self.patience.parallel)
        self._pid = os.getpid()

    def _headers(self) -> Mapping[str, str]:
        # Voxels are sent as they are: a body's length is then known before it is read.
        headers = {"User-Agent": f"microtome/{__version__}", "Accept-Encoding": "identity"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        return headers


def check_token(token: str | None) -> str | None:
    """Return `token` if a header can hold it, None for an empty one.

    Raises
    ------
    InputError
        Anything but printable ASCII without spaces; the message does not repeat it.
    """
    token = (token or "").strip()
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise InputError("the token holds spaces or characters that a header cannot carry")
    return token or None


def _received(
    response: urllib3.BaseHTTPResponse,
    body: Body,
    message: Message,
    receive: Callable[[Body], T],
) -> T:
    if response.status >= 400:
        later = _retry_after(response.headers.get("Retry-After"))
        raise from_answer(response.status, problem(body), body.url, later)
    if response.status not in message.expected:
        expected = " or ".join(map(str, message.expected))
        raise WrongAnswer(
            f"{body.url}: answered with status {response.status}, expected {expected}"
        )
    result = receive(body)
    body.end()
    return result


def _retry_after(value: str | None) -> float | None:
    if value is None:
        return None
    try:
        return urllib3.Retry().parse_retry_after(value)
    except InvalidHeader:
        return None


def _wait(error: MicrotomeError, tries: int) -> float | None:
    """Return the seconds until the next try, or None if it would be no use."""
    if isinstance(error, Unreachable) or (isinstance(error, TimedOut) and tries > 1):
        # A service that was silent twice for the whole time-out is down.
        return None
    asked = error.retry_after if isinstance(error, Unavailable) else None
    if asked is not None and asked > _LONGEST_WAIT:
        return None
    spread = random.uniform(1.0, 1.5)  # noqa: S311 - keeps clients apart, hides nothing
    return spread * (_FIRST_WAIT * 2 ** (tries - 1) if asked is None else asked)


def _reraise(error: HTTPError, url: str, patience: Patience) -> Never:
    reason = (error.reason or error) if isinstance(error, MaxRetryError) else error
    if isinstance(reason, (NameResolutionError, SSLError, LocationParseError)):
        raise Unreachable(f"{url}: {reason}") from error
    # urllib3 counts a refused connection among its time-outs.
    if isinstance(reason, Urllib3Timeout) and not isinstance(reason, NewConnectionError):
        raise TimedOut(f"{url}: silent for {patience.timeout:g} s (timeout)") from error
    if isinstance(reason, ResponseError):
        raise WrongAnswer(f"{url}: {reason}") from error
    refused = isinstance(reason.__cause__, ConnectionRefusedError)
    asked = "; is `microtome serve` running there?" if refused else ""
    raise BrokenConnection(f"{url}: {reason}{asked}") from error
