"""Object storage behind URLs, through fsspec: what is there, and many ranges at once."""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import fsspec

from microtome_core.addresses import without_secrets
from microtome_core.errors import MicrotomeError, SourceDenied, SourceError, StorageError
from microtome_core.store.location import StorageOptions, fsspec_options
from microtome_ingest.hosts import Hosts
from microtome_ingest.ranges import Request, Span, batches, requests

# Requests under way at once; latency is hidden by their number, not by cores.
REQUESTS = 32
# Of a whole range: what the service answers with an error is tried anew by its own client.
_TRIES = 5
_PAUSE = 0.2
_GONE, _CHANGED, _TOO_FAR = 404, 412, 416
_MAY_PASS = {408, 425, 429}
_HINT = "check the credentials; AWS_NO_SIGN_REQUEST=true reads public data without any"
# Names, since botocore is loaded only for s3://.
_NO_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"}
_IMPOSSIBLE = {"ParamValidationError", "InvalidEndpointDiscoveryConfigurationError"}


@dataclass(frozen=True, slots=True)
class Entry:
    """What lies at a URL; `etag` is whatever the service tells versions apart by."""

    folder: bool
    size: int
    etag: str


class Remote:
    """Filesystems by scheme, each made when it is first needed; safe for threads.

    Parameters
    ----------
    options : StorageOptions
    """

    def __init__(self, options: StorageOptions) -> None:
        self._options = options
        self._systems: dict[str, Any] = {}
        self._lock = threading.Lock()

    def entry(self, url: str) -> Entry | None:
        """Return what lies at `url`, or None.

        Raises
        ------
        SourceError
            No such bucket, access denied, an address that cannot be.
        StorageError
            A failure that may pass.
        """
        with remote_errors(url):
            system, path = self._system(url)
            try:
                return _entry(system.info(path))
            except FileNotFoundError as error:
                if _code(error) == "NoSuchBucket":
                    raise
                return None

    def listing(self, url: str) -> dict[str, Entry]:
        """Return the files directly in a folder by URL; errors as `entry`."""
        with remote_errors(url):
            system, path = self._system(url)
            return _by_url(system, system.ls(path, detail=True))

    def matching(self, url: str) -> dict[str, Entry]:
        """Return the files that a pattern finds by URL; errors as `entry`."""
        with remote_errors(url):
            system, path = self._system(url)
            return _by_url(system, system.glob(path, detail=True).values())

    def fetch(self, spans: Sequence[Span], etags: Mapping[str, str | None]) -> list[memoryview]:
        """Return every span's bytes, asked for together.

        Parameters
        ----------
        spans : sequence of Span
            All of one scheme.
        etags : dict
            By URL, the version that is meant.

        Raises
        ------
        SourceError
            An object that is gone, changed or ends too early, with the position.
        StorageError
            A failure that may pass, after a few tries.
        """
        found: list[list[memoryview]] = [[] for _ in spans]
        for batch in batches(requests(spans)):
            for request, data in zip(batch, self._all(batch, etags), strict=True):
                for part, view in request.cut(data):
                    found[part.number].append(view)
        return [_joined(views) for views in found]

    def _all(
        self, asked: Sequence[Request], etags: Mapping[str, str | None]
    ) -> Iterator[memoryview]:
        answers = self._ask(asked, etags)
        for attempt in range(_TRIES - 1):
            poor = [i for i, request in enumerate(asked) if _again(request, answers[i])]
            if not poor:
                break
            time.sleep(_PAUSE * 2**attempt)
            again = self._ask([asked[i] for i in poor], etags)
            for i, answer in zip(poor, again, strict=True):
                answers[i] = answer
        return map(_checked, asked, answers)

    def _ask(self, asked: Sequence[Request], etags: Mapping[str, str | None]) -> list[Any]:
        """Return for each request its bytes, of whatever length, or an exception."""
        with remote_errors(asked[0].path):
            system, _ = self._system(asked[0].path)
            paths = [system._strip_protocol(request.path) for request in asked]
            more: dict[str, Any] = {}
            if hasattr(system, "pinned"):
                versions = zip(paths, (etags[request.path] for request in asked), strict=True)
                more = {"batch_size": REQUESTS, "etags": dict(versions)}
            starts = [request.start for request in asked]
            stops = [request.stop for request in asked]
            return list(system.cat_ranges(paths, starts, stops, on_error="return", **more))

    def _system(self, url: str) -> tuple[Any, str]:
        parts = urlsplit(url)
        scheme = "http" if parts.scheme == "https" else parts.scheme
        if scheme == "http" and "@" in parts.netloc:
            raise SourceError(
                url, "holds a user or password, which would be kept: use ~/.netrc and --allow-host"
            )
        with self._lock:
            if scheme not in self._systems:
                self._systems[scheme] = _filesystem(scheme, self._options)
        system = self._systems[scheme]
        return system, system._strip_protocol(url)


@contextmanager
def remote_errors(url: str) -> Iterator[None]:
    """Turn whatever fsspec and its clients raise into an error about `url`.

    Raises
    ------
    SourceError
        The address or the rights are at fault.
    StorageError
        All else: the same call may succeed later.
    """
    try:
        yield
    except MicrotomeError:
        raise
    except Exception as error:  # every client has exceptions of its own
        raise _told(url, error) from error


def _error(url: str, answer: Exception) -> MicrotomeError:
    return answer if isinstance(answer, MicrotomeError) else _told(url, answer)


def _told(url: str, error: Exception) -> MicrotomeError:
    status, name = _status(error), type(error).__name__
    if isinstance(error, FileNotFoundError) or status == _GONE:
        bucket = _code(error) == "NoSuchBucket"
        return SourceError(url, "no such bucket" if bucket else "not found")
    if isinstance(error, PermissionError) or name in _NO_CREDENTIALS:
        return SourceDenied(url, f"access denied ({error}): {_HINT}")
    if status == _CHANGED:
        return SourceError(url, "changed since it was opened")
    if status == _TOO_FAR:
        return SourceError(url, "ends before the bytes that it should hold: truncated")
    refused = 400 <= status < 500 and status not in _MAY_PASS
    if refused or name in _IMPOSSIBLE or isinstance(error, ValueError | ImportError):
        return SourceError(url, f"cannot be read: {name}: {error}")
    return StorageError(without_secrets(f"{url}: {name}: {error}"))


def _status(error: Exception) -> int:
    """Return the HTTP status of an answer, or 0."""
    for one in (error, error.__cause__):
        answer = getattr(one, "response", None)
        if isinstance(answer, dict):
            return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if isinstance(status := getattr(one, "status", None), int):
            return status
    return 0


def _code(error: Exception) -> str:
    """Return S3's name of an error, or nothing."""
    answer = getattr(error.__cause__, "response", None)
    return str(answer.get("Error", {}).get("Code", "")) if isinstance(answer, dict) else ""


def _again(request: Request, answer: bytes | Exception) -> bool:
    """Tell whether the same request may be answered better."""
    if isinstance(answer, Exception):
        return isinstance(_error(request.path, answer), StorageError)
    return len(answer) != request.stop - request.start


def _checked(request: Request, answer: bytes | Exception) -> memoryview:
    if isinstance(answer, Exception):
        raise _error(request.path, answer) from answer
    count = request.stop - request.start
    if len(answer) != count:
        raise SourceError(
            request.path, f"{len(answer)} of {count} bytes at {request.start}: truncated"
        )
    return memoryview(answer)


def _joined(views: Sequence[memoryview]) -> memoryview:
    return views[0] if len(views) == 1 else memoryview(b"".join(views))


def _filesystem(scheme: str, options: StorageOptions) -> Any:  # noqa: ANN401 - fsspec has no types
    # fsspec would share filesystems and listings with whoever else asks in the same thread.
    private: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if scheme == "http":
        from microtome_ingest.remote_http import PinnedHttp  # noqa: PLC0415 - heavy

        return PinnedHttp(Hosts(options.allowed_hosts), **private)
    if scheme != "s3":
        return fsspec.filesystem(scheme, **private)
    from microtome_ingest.remote_s3 import PinnedS3  # noqa: PLC0415 - heavy

    config = {
        "retries": {"mode": "standard", "max_attempts": 3},
        "max_pool_connections": REQUESTS,
    }
    return PinnedS3(**fsspec_options("s3://", options), **private, config_kwargs=config)


def _entry(info: Mapping[str, Any]) -> Entry:
    return Entry(info["type"] == "directory", int(info["size"] or 0), _version(info))


def _version(info: Mapping[str, Any]) -> str:
    """Return the service's own mark of a version, else the time of its last writing."""
    names = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "updated", "created")
    return next((str(info[name]) for name in names if info.get(name)), "")


def _by_url(system: Any, entries: Iterable[Mapping[str, Any]]) -> dict[str, Entry]:  # noqa: ANN401
    files = (entry for entry in entries if entry["type"] == "file")
    return {system.unstrip_protocol(entry["name"]): _entry(entry) for entry in files}
