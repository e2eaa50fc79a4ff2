"""HTTP(S) by ranges only, from hosts that may be read from, and never two versions of one file.

Source of the protocol: RFC 9110, Range Requests (14) and Validators (8.8).
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import Connection
from aiohttp.resolver import DefaultResolver
from aiohttp.tracing import Trace
from fsspec.asyn import sync_wrapper
from fsspec.implementations.http import HTTPFileSystem

from microtome_core.addresses import without_secrets
from microtome_core.errors import MicrotomeError, SourceDenied, SourceError, StorageError
from microtome_ingest.hosts import HostRefused, Hosts

T = TypeVar("T")

MAY_PASS = {408, 425, 429}
_CONNECTIONS = 32
_TIMEOUT = aiohttp.ClientTimeout(total=300, sock_connect=15, sock_read=60)
_TRIES, _PAUSE = 4, 0.2
_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})")
_WHOLE = (
    "its server gives no ranges of files (HTTP Range), and a file is never fetched whole unasked: "
    "download it and give the copy"
)


class CheckedResolver(AbstractResolver):
    """Looks names up, and hands on only addresses that `hosts` lets pass."""

    def __init__(self, hosts: Hosts, resolver: AbstractResolver) -> None:
        self._hosts, self._resolver = hosts, resolver

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:  # noqa: ANN401 - of `socket`, an int before
        """Return the addresses to connect to."""
        found = await self._resolver.resolve(host, port, family)
        for one in found:
            self._hosts.check_address(host, one["host"])
        return found

    async def close(self) -> None:
        """Release the resolver beneath."""
        await self._resolver.close()


class CheckedConnector(aiohttp.TCPConnector):
    """Asks `hosts` before every request, those that a redirect leads to included."""

    def __init__(self, hosts: Hosts, resolver: AbstractResolver | None = None) -> None:
        checked = CheckedResolver(hosts, resolver or DefaultResolver())
        super().__init__(resolver=checked, limit=_CONNECTIONS)
        self._hosts = hosts

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,
    ) -> Connection:
        """Return a connection for one request."""
        self._hosts.check(req.url.host or "")
        return await super().connect(req, traces, timeout)


class PinnedHttp(HTTPFileSystem):  # type: ignore[misc]  # fsspec has no types
    """fsspec's filesystem, held to ranges, to allowed hosts and to one version of a file.

    Proxies that the environment names are used only where hosts are allowed by name, since
    addresses behind a proxy cannot be checked.

    Parameters
    ----------
    hosts : Hosts
    resolver : callable, optional
        Makes what looks names up, instead of the system.
    """

    pinned = True

    def __init__(
        self,
        hosts: Hosts,
        resolver: Callable[[], AbstractResolver] | None = None,
        **options: Any,  # noqa: ANN401 - fsspec's own
    ) -> None:
        super().__init__(get_client=partial(_client, hosts, resolver), **options)

    async def _info(self, url: str, **_: object) -> dict[str, Any]:
        """Describe a file by what a range of it says; what ends with a slash is a folder."""
        folder = {"name": url, "size": 0, "type": "directory"}
        if urlsplit(url).path.endswith("/"):
            return folder
        found = await _patient(partial(self._looked_at, url))
        return {"name": url, "type": "file", **found} if found else folder

    async def _looked_at(self, url: str) -> dict[str, Any]:
        """Return size and version of a file, nothing of a folder."""
        with http_errors(url):
            async with await self._get(url, 0, 1) as answer:
                if answer.status in {404, 410}:
                    raise FileNotFoundError(url)
                if answer.url.path.endswith("/"):
                    return {}
                if _is_empty(answer):
                    return {"size": 0, "ETag": _version(answer.headers, 0)}
                total = _total(url, answer, 0, 1)
                return {"size": total, "ETag": _version(answer.headers, total)}

    async def _cat_file(
        self,
        url: str,
        start: int | None = None,
        end: int | None = None,
        *,
        etags: Mapping[str, str] | None = None,
        **_: object,
    ) -> bytes:
        """Return bytes `start` to `end` of the version in `etags`."""
        start, end = start or 0, end or 0
        with http_errors(url):
            async with await self._get(url, start, end) as answer:
                total = _total(url, answer, start, end)
                known = (etags or {}).get(url)
                if known and known != _version(answer.headers, total):
                    raise SourceError(url, "changed since it was opened")
                return await _body(url, answer, end - start)

    async def _get(self, url: str, start: int, end: int) -> aiohttp.ClientResponse:
        session: aiohttp.ClientSession = await self.set_session()
        headers = {"Range": f"bytes={start}-{end - 1}"}
        return await session.get(self.encode_url(url), headers=headers)

    async def _ls(self, url: str, detail: bool = True, **_: object) -> NoReturn:
        raise SourceError(url, "HTTP has no listing of files: give the address of one file")

    ls = sync_wrapper(_ls)

    async def _glob(self, path: str, **_: object) -> NoReturn:
        raise SourceError(path, "not found; HTTP has no listing in which to look for a pattern")

    glob = sync_wrapper(_glob)


@contextmanager
def http_errors(url: str) -> Iterator[None]:
    """Turn what aiohttp raises into an error about `url`, without what is secret of it.

    Raises
    ------
    SourceError
        The address, the host or what the server holds is at fault.
    StorageError
        All else: the same call may succeed later.
    """
    try:
        yield
    except (MicrotomeError, FileNotFoundError) as error:
        if isinstance(error, HostRefused):
            raise SourceError(url, str(error)) from error
        raise
    except aiohttp.TooManyRedirects as error:
        raise SourceError(url, "leads from one address to the next without end") from error
    except aiohttp.ClientConnectorCertificateError as error:
        raise SourceError(url, "the certificate of its server is not to be trusted") from error
    except (aiohttp.NonHttpUrlClientError, aiohttp.InvalidURL, ValueError) as error:
        raise SourceError(url, "it, or where it leads to, is no valid address") from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        text = f"{url}: {type(error).__name__}: {reason}"
        raise StorageError(without_secrets(text)) from error


async def _client(
    hosts: Hosts, resolver: Callable[[], AbstractResolver] | None, **_: object
) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=CheckedConnector(hosts, resolver() if resolver else None),
        timeout=_TIMEOUT,
        trust_env=bool(hosts.allowed),
        cookie_jar=aiohttp.DummyCookieJar(),
        # Ranges are of the file, not of what a server made of it for the way.
        headers={"Accept-Encoding": "identity"},
        auto_decompress=False,
    )


async def _patient(ask: Callable[[], Awaitable[T]]) -> T:
    """Return what `ask` does, called anew a few times where that may help."""
    for attempt in range(_TRIES - 1):
        try:
            return await ask()
        except StorageError:
            await asyncio.sleep(_PAUSE * 2**attempt)
    return await ask()


def _total(url: str, answer: aiohttp.ClientResponse, start: int, end: int) -> int:
    """Return the size of the whole file, after checking that the range is what was asked for."""
    status, headers = answer.status, answer.headers
    if status != 206:
        raise _refusal(url, status)
    if headers.get("Content-Encoding", "identity") != "identity":
        raise SourceError(url, f"its server encodes ranges as {headers['Content-Encoding'][:40]}")
    told = _RANGE.fullmatch(headers.get("Content-Range", ""))
    if told is None:
        raise SourceError(url, "its server does not say how long the file is")
    first, last, total = map(int, told.groups())
    if first != start or not first <= last < min(end, total):
        raise SourceError(
            url, f"its server gave bytes {first} to {last} of {total}, not {start} to {end - 1}"
        )
    return total


def _refusal(url: str, status: int) -> MicrotomeError:
    """Return what an answer that is no range means."""
    if status >= 500 or status in MAY_PASS:
        return StorageError(without_secrets(f"{url}: its server answers HTTP {status}"))
    reasons = {
        200: _WHOLE,
        401: "access denied (HTTP 401)",
        403: "access denied (HTTP 403)",
        404: "not found",
        407: "access denied by the proxy (HTTP 407)",
        410: "not found",
        412: "changed since it was opened",
        416: "ends before the bytes that it should hold: truncated",
    }
    kind = SourceDenied if status in (401, 403) else SourceError
    return kind(url, reasons.get(status, f"its server answers HTTP {status}"))


def _is_empty(answer: aiohttp.ClientResponse) -> bool:
    """Tell whether a file has no byte of which one could ask for a range."""
    headers = answer.headers
    none = answer.status == 416 and headers.get("Content-Range") == "bytes */0"
    return none or (answer.status == 200 and headers.get("Content-Length") == "0")


def _version(headers: Mapping[str, str], total: int) -> str:
    """Return the server's mark of a version, else what changes most often with one."""
    return headers.get("ETag") or f"{headers.get('Last-Modified', '')} {total} bytes".strip()


async def _body(url: str, answer: aiohttp.ClientResponse, count: int) -> bytes:
    """Return the bytes of an answer, which may be fewer than `count` but not more."""
    data = bytearray()
    async for piece in answer.content.iter_any():
        data += piece
        if len(data) > count:
            raise SourceError(url, f"its server gives more than the {count} bytes asked for")
    return bytes(data)
