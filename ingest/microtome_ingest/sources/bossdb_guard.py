"""What stands between intern and the network: allowed hosts, time limits, bounded answers."""

import socket
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from requests.adapters import HTTPAdapter
from requests.models import PreparedRequest, Response
from requests.utils import get_environ_proxies
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from microtome_ingest.hosts import Hosts

# Seconds: to connect, without a byte, and for one answer in all.
_CONNECT, _SILENCE, _ANSWER = 15.0, 60.0, 300.0
_PIECE = 64 << 10
_MOST_JSON = 16 << 20
_MOST_ERROR = 64 << 10
# Of a Blosc buffer; its header holds the size of its content and its own.
BLOSC_HEADER = 16


class Unfit(Exception):
    """An answer that is not what was asked for; another try may bring it."""


class GuardedAdapter(HTTPAdapter):
    """Sends the requests of one session to allowed hosts only; for one thread at a time.

    Set `expected` to the bytes that the voxels of the next answer take, or to None where it is not
    voxels. Proxies that the environment names are used where hosts are allowed by name.
    """

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self.expected: int | None = None
        super().__init__(pool_connections=2, pool_maxsize=1)

    def init_poolmanager(self, *arguments: Any, **more: Any) -> None:  # noqa: ANN401 - as requests'
        """Make pools whose connections go to addresses that were checked."""
        super().init_poolmanager(*arguments, **more)
        self.poolmanager.pool_classes_by_scheme = _pools(self._hosts)

    def send(self, request: PreparedRequest, *_: Any, **options: Any) -> Response:  # noqa: ANN401 - as requests'
        """Send one request, redirected ones included."""
        url = request.url or ""
        self._hosts.check(urlsplit(url).hostname or "")
        options["timeout"] = (_CONNECT, _SILENCE)
        options["proxies"] = get_environ_proxies(url) if self._hosts.allowed else {}
        response = super().send(request, **options)
        response.raw = _Body(response, self.expected)
        return response


class _Body:
    """The body of an answer while it arrives: not too long, not too slow, and what it claims to be.

    Parameters
    ----------
    response : Response
    expected : int or None
        The bytes of the voxels in it.
    """

    def __init__(self, response: Response, expected: int | None) -> None:
        self._raw: Any = response.raw
        self._voxels = expected if response.status_code == 200 else None
        self._limit = _MOST_JSON if response.status_code == 200 else _MOST_ERROR
        if self._voxels is not None:
            # Blosc stores what it cannot compress as it is, after a header.
            self._limit = self._voxels + _MOST_ERROR

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever urllib3's answer has
        return getattr(self._raw, name)

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        """Yield the body piece by piece; what is left of a bad one is not waited for."""
        try:
            yield from self._pieces()
        except BaseException:
            self._raw.close()
            raise

    def _pieces(self) -> Iterator[bytes]:
        end, size, head = monotonic() + _ANSWER, 0, b""
        while piece := self._raw.read1(_PIECE, decode_content=True):
            size += len(piece)
            head = head if len(head) >= BLOSC_HEADER else head + piece[:BLOSC_HEADER]
            self._check_head(head)
            if size > self._limit:
                raise Unfit(f"more than the {self._limit} bytes that it may take")
            if monotonic() > end:
                raise TimeoutError(f"{size} bytes in {_ANSWER:g} s")
            yield piece
        if self._voxels is not None:
            self._check_whole(head, size)

    def _check_head(self, head: bytes) -> None:
        if self._voxels is None or len(head) < BLOSC_HEADER:
            return
        claimed = int.from_bytes(head[4:8], "little")
        if claimed != self._voxels:
            raise Unfit(f"voxels of {claimed} bytes, not of {self._voxels}")

    def _check_whole(self, head: bytes, size: int) -> None:
        claimed = int.from_bytes(head[12:16], "little")
        if len(head) < BLOSC_HEADER or claimed != size:
            raise Unfit(f"{size} bytes, which are not one Blosc buffer")


def _pools(hosts: Hosts) -> dict[str, type[HTTPConnectionPool]]:
    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _connected(hosts, self, super()._new_conn)

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _connected(hosts, self, super()._new_conn)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def _connected(
    hosts: Hosts, connection: HTTPConnection, connect: Callable[[], socket.socket]
) -> socket.socket:
    """Connect to an address that was checked; the name stays in headers and certificates."""
    name, failure = connection.host, None
    try:
        addresses = hosts.addresses(name, connection.port)
    except socket.gaierror as error:
        raise NameResolutionError(name, connection, error) from error
    for address in addresses:
        connection.host = address
        try:
            return connect()
        except (NewConnectionError, ConnectTimeoutError) as error:
            failure = error
        finally:
            connection.host = name
    raise failure or NewConnectionError(connection, "no address")
