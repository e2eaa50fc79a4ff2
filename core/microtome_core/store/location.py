"""Where a store lies, and the few small-object calls that need no array.

Everything goes through TensorStore's key-value drivers, so that one code path serves
``file://``, ``s3://`` and ``memory://``; only listing one folder is fsspec's, because TensorStore
would list every shard below it.
"""

import errno
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast
from urllib.parse import unquote, urlsplit

import tensorstore as ts

from microtome_core.errors import AccessDenied, InputError, StorageError
from microtome_core.store import listing
from microtome_core.store.leftovers import sweep_folder, sweep_object
from microtome_core.store.listing import Stat

_LOG = logging.getLogger(__name__)
# Opens an object that may be under way.
Opened: TypeAlias = Callable[[], AbstractContextManager[BinaryIO]]
_UPDATE_TRIES = 100
# What no second try and no other rights would change.
_NEVER = (errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EINVAL)


@dataclass(frozen=True, slots=True)
class StorageOptions:
    """How to reach storage.

    Parameters
    ----------
    cache_bytes : int
        Decoded chunks kept in memory, in all arrays of one store together.
    endpoint, region : str, optional
        Of an S3 service that is not Amazon's.
    credentials : str
        ``environment`` (``AWS_ACCESS_KEY_ID`` …), ``default`` (profile, web identity, instance) or
        ``anonymous``.
    allowed_hosts : tuple of str
        The only hosts from which sources are read over HTTP; where there are none, public ones are.
    """

    cache_bytes: int = 0
    endpoint: str | None = None
    region: str | None = None
    credentials: str = "default"
    allowed_hosts: tuple[str, ...] = ()

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str], cache_bytes: int = 0
    ) -> "StorageOptions":
        """Read the usual AWS variables, and ``MICROTOME_ALLOWED_HOSTS``, separated by commas.

        ``AWS_NO_SIGN_REQUEST=true`` asks for anonymous reads.
        """
        endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
        region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
        words = environment.get("MICROTOME_ALLOWED_HOSTS", "").split(",")
        hosts = tuple(word.strip() for word in words if word.strip())
        return cls(cache_bytes, endpoint, region, _credentials(environment), hosts)


def _credentials(environment: Mapping[str, str]) -> str:
    if environment.get("AWS_NO_SIGN_REQUEST", "").lower() in {"1", "true", "yes"}:
        return "anonymous"
    return "environment" if environment.get("AWS_ACCESS_KEY_ID") else "default"


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn whatever TensorStore, fsspec or the system raises into a StorageError about `what`."""
    try:
        yield
    except StorageError:
        raise
    except (ValueError, OSError, RuntimeError) as error:
        refused = ("PERMISSION_DENIED", "NoCredentials", "Unable to locate credentials")
        denied = isinstance(error, PermissionError) or any(word in str(error) for word in refused)
        raise (AccessDenied if denied else StorageError)(f"{what}: {error}") from error


class Store:
    """A root below which layers lie.

    Parameters
    ----------
    url : str
        ``file:///folder``, a plain path, ``s3://bucket/prefix`` or ``memory://name``. Memory lives
        as long as this object: hand it on rather than opening it twice.
    options : StorageOptions

    Raises
    ------
    InputError
        Another scheme, or a URL without a bucket.
    """

    def __init__(self, url: str, options: StorageOptions | None = None) -> None:
        self.options = options or StorageOptions()
        self.url, self._kvstore = _resolve(url, self.options)
        self._fsspec = fsspec_options(self.url, self.options)
        self.context = ts.Context(
            {
                "cache_pool": {"total_bytes_limit": self.options.cache_bytes},
                "data_copy_concurrency": {"limit": os.cpu_count() or 1},
                # Half a minute in all; TensorStore's own 32 tries take a quarter of an hour.
                "s3_request_retries": {
                    "max_retries": 10,
                    "initial_delay": "200ms",
                    "max_delay": "5s",
                },
            }
        )
        with storage_errors(self.url):
            self._objects = ts.KvStore.open(self._kvstore, context=self.context).result()

    def __repr__(self) -> str:
        return f"<Store {self.url}>"

    def __reduce__(self) -> tuple[type["Store"], tuple[str, StorageOptions]]:
        return type(self), (self.url, self.options)

    def kvstore(self, path: str) -> dict[str, Any]:
        """Return TensorStore's description of the folder `path`."""
        return {**self._kvstore, "path": f"{self._kvstore['path']}{path}/"}

    def read(self, path: str) -> bytes | None:
        """Return a small object, or None where there is none."""
        with storage_errors(f"{self.url}/{path}"):
            result = self._objects.read(path).result()
        return bytes(result.value) if result.state == "value" else None

    def local(self, path: str) -> Path | None:
        """Return the file of an object, whether it is there or not; None where there are none."""
        return Path(f"{self._kvstore['path']}{path}") if self._kvstore["driver"] == "file" else None

    def make_root(self) -> None:
        """Make the folder of the root where there is none; nothing for other stores.

        Raises
        ------
        InputError
            Nothing can be made there by anybody.
        AccessDenied
        StorageError
            The disk fails or is full.
        """
        root = self.local("")
        if root is None:
            return
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            kind = StorageError if error.errno not in _NEVER else InputError
            refused = isinstance(error, PermissionError) or error.errno == errno.EROFS
            kind = AccessDenied if refused else kind
            raise kind(f"root {root}: cannot be made: {error.strerror}") from error

    def stat(self, path: str) -> Stat | None:
        """Return what is known of an object, or None where there is none."""
        with storage_errors(f"{self.url}/{path}"):
            if (file := self.local(path)) is not None:
                return Stat.of_file(file.stat()) if file.is_file() else None
            if self._kvstore["driver"] == "memory":
                found = self._objects.read(path).result()
                tag = _tag(found.stamp.generation)
                return Stat(len(found.value), tag, None) if found.state == "value" else None
            return listing.stat_object(f"{self.url}/{path}", self._fsspec)

    async def read_part(self, path: str, start: int, stop: int) -> tuple[bytes, str]:
        """Return bytes of an object, and the tag of the object that they are of.

        The tag of a file is not the one that `stat` tells.

        Raises
        ------
        StorageError
            No such object, one that is shorter, or storage failed.
        """
        with storage_errors(f"{self.url}/{path}"):
            found = await self._objects.read(path, byte_range=slice(start, stop))
        if len(found.value) != stop - start:
            raise StorageError(f"{self.url}/{path}: lacks bytes {start} to {stop}")
        return bytes(found.value), _tag(found.stamp.generation)

    def begin_read(
        self, path: str, unless: bytes | None = None
    ) -> "ts.Future[ts.KvStore.ReadResult]":
        """Begin to read an object, and its generation, unless it is the generation given.

        The future may be awaited; it raises what TensorStore does.
        """
        return self._objects.read(path, if_not_equal=unless)

    def begin_stamp(self, path: str) -> "ts.Future[ts.KvStore.ReadResult]":
        """Begin to read the generation of an object, and nothing else of it."""
        return self._objects.read(path, byte_range=slice(0, 0))

    def replace(self, path: str, data: bytes, generation: bytes) -> bytes | None:
        """Write an object if it is still of the generation that was read.

        Returns
        -------
        bytes or None
            The new generation; None where another writer came first, or where it is not known
            whether what lies there is one's own.
        """
        with storage_errors(f"{self.url}/{path}"):
            if self._kvstore["driver"] == "file":
                sweep_object(Path(f"{self._kvstore['path']}{path}"))
            stamp = self._objects.write(path, data, if_equal=generation).result()
        return bytes(stamp.generation) or None

    def write(self, path: str, data: bytes) -> None:
        """Write a small object atomically and durably, replacing what is there."""
        with storage_errors(f"{self.url}/{path}"):
            self._write(path, data)

    def update(self, path: str, change: Callable[[bytes | None], bytes]) -> None:
        """Replace a small object by what `change` makes of it, whoever else does so meanwhile.

        `change` is called anew with the current object (None where there is none) until no other
        writer came between. Done twice it must give the same as once: where an answer was lost, it
        is not known whether it was done.
        """
        with storage_errors(f"{self.url}/{path}"):
            for _ in range(_UPDATE_TRIES):
                old = self._objects.read(path).result()
                data = change(bytes(old.value) if old.state == "value" else None)
                if old.state == "value" and bytes(old.value) == data:
                    return
                if self._write(path, data, old.stamp.generation) or self.read(path) == data:
                    return
                refused = self._objects.read(path).result().stamp.generation
                if old.state == "value" and refused == old.stamp.generation:
                    # The store cannot compare, as Ceph 16 with quoted tags: nobody came between.
                    _LOG.warning("%s/%s: replaced without a condition", self.url, path)
                    self._write(path, data)
                    return
        raise StorageError(f"{self.url}/{path}: {_UPDATE_TRIES} other writers came between")

    def create(self, path: str, data: bytes) -> bool:
        """Write a small object where there is none; tell whether `data` is what lies there now.

        Of several who do so at once, with different data, one is told True.
        """
        with storage_errors(f"{self.url}/{path}"):
            old = self._objects.read(path).result()
            if old.state == "value":
                return bytes(old.value) == data
            # Where the answer to a write was lost, its repetition finds what it wrote itself.
            return self._write(path, data, old.stamp.generation) or self.read(path) == data

    def sizes(self, folder: str) -> Iterator[tuple[str, int]]:
        """Yield every object below `folder`, as its path below the root and its bytes, unsorted."""
        with storage_errors(f"{self.url}/{folder}"):
            if self._kvstore["driver"] == "memory":
                keys = self._objects.list(_below(folder)).result()
                found = [(k.decode(), len(self.read(k.decode()) or b"")) for k in keys]
                yield from found
            elif self._kvstore["driver"] == "file":
                yield from listing.files(Path(self._kvstore["path"]), folder)
            else:
                yield from listing.objects(self.url, folder, self._fsspec)

    def open(self, path: str) -> AbstractContextManager[BinaryIO]:
        """Open an object for reading; one that is no file is read whole.

        Raises
        ------
        StorageError
            No such object, or storage failed; once the block is entered.
        """
        return self.begin_open(path)()

    def begin_open(self, path: str) -> Opened:
        """Begin to read an object that is no file; return what opens it, which raises as `open`."""
        begun = None if self.local(path) else self._objects.read(path)
        return partial(self._opened, path, begun)

    @contextmanager
    def _opened(
        self, path: str, begun: "ts.Future[ts.KvStore.ReadResult] | None"
    ) -> Iterator[BinaryIO]:
        with storage_errors(f"{self.url}/{path}"):
            if begun is None:
                with Path(f"{self._kvstore['path']}{path}").open("rb", buffering=0) as stream:
                    yield cast(BinaryIO, stream)
                return
            found = begun.result()
            if found.state != "value":
                raise FileNotFoundError("no such object")
            yield BytesIO(found.value)

    def remove(self, path: str) -> None:
        """Delete one small object, if it is there."""
        with storage_errors(f"{self.url}/{path}"):
            self._objects.write(path, None).result()

    def delete(self, folder: str) -> None:
        """Delete every object below `folder`."""
        with storage_errors(f"{self.url}/{folder}"):
            if self._kvstore["driver"] == "file":
                # TensorStore would leave the empty folders.
                shutil.rmtree(f"{self._kvstore['path']}{folder}", onerror=_unless_absent)
            else:
                self._objects.delete_range(_below(folder)).result()

    def remove_empty(self, folder: str) -> None:
        """Remove a folder in which nothing lies; object stores have no such thing."""
        if self._kvstore["driver"] == "file":
            with suppress(OSError):  # it is gone, or something lies in it
                Path(f"{self._kvstore['path']}{folder}").rmdir()

    def children(self, folder: str = "") -> list[str]:
        """Return the names of the folders directly in `folder`, sorted; none if it is absent."""
        with storage_errors(f"{self.url}/{folder}"):
            if self._kvstore["driver"] == "memory":
                return self._memory_children(folder)
            return listing.folders(self.url, folder, self._fsspec)

    def sweep(self, folder: str) -> None:
        """Remove what writers that died left half-written below `folder`."""
        if self._kvstore["driver"] == "file":
            with storage_errors(f"{self.url}/{folder}"):
                sweep_folder(Path(f"{self._kvstore['path']}{folder}"))

    def _write(self, path: str, data: bytes, generation: bytes | None = None) -> bool:
        """Write one object; tell whether it was as `generation` says, if that is given."""
        if self._kvstore["driver"] == "file":
            sweep_object(Path(f"{self._kvstore['path']}{path}"))
        stamp = self._objects.write(path, data, if_equal=generation).result()
        # TensorStore reports a condition that failed as the unknown, empty generation.
        return bool(stamp.generation)

    def _memory_children(self, folder: str) -> list[str]:
        prefix = f"{folder}/" if folder else ""
        keys = self._objects.list(_below(folder), strip_prefix_length=len(prefix)).result()
        return sorted({k.decode().split("/")[0] for k in keys if b"/" in k})


def _tag(generation: bytes) -> str:
    """Return TensorStore's mark of an object as a word: of an object in a bucket its ETag."""
    return generation.lstrip(b"\0").decode("latin-1").strip('"')


def _unless_absent(_: object, __: str, error: tuple[type, BaseException, object]) -> None:
    if not isinstance(error[1], FileNotFoundError):
        raise error[1]


def _below(folder: str) -> ts.KvStore.KeyRange:
    """Return the keys in a folder: "0" is the character that follows "/"."""
    return ts.KvStore.KeyRange(f"{folder}/", f"{folder}0") if folder else ts.KvStore.KeyRange()


def _resolve(url: str, options: StorageOptions) -> tuple[str, dict[str, Any]]:
    parts = urlsplit(url)
    if not parts.scheme or (parts.scheme == "file" and parts.netloc in {"", "localhost"}):
        path = Path(unquote(parts.path) if parts.scheme else url).absolute()
        if ".." in path.parts:  # which TensorStore refuses
            path = path.resolve()
        if not url or path.is_file():
            raise InputError(f"root {url[:200]!r}: expected a folder")
        return f"file://{path}", {"driver": "file", "path": f"{path}/"}
    prefix = parts.path.strip("/") + "/" if parts.path.strip("/") else ""
    if parts.scheme == "memory":
        return url.rstrip("/"), {"driver": "memory", "path": f"{parts.netloc}/{prefix}"}
    if parts.scheme == "s3" and parts.netloc:
        return url.rstrip("/"), _s3(parts.netloc, prefix, options)
    raise InputError(
        f"root {url[:200]!r}: expected a folder, file:///…, s3://bucket/… or memory://name"
    )


def _s3(bucket: str, prefix: str, options: StorageOptions) -> dict[str, Any]:
    spec = {
        "driver": "s3",
        "bucket": bucket,
        "path": prefix,
        "aws_credentials": {"type": options.credentials},
    }
    if options.endpoint:
        spec["endpoint"] = options.endpoint
    if options.region or options.endpoint:
        # TensorStore asks the service for the bucket's region unless told, which few others answer.
        spec["aws_region"] = options.region or "us-east-1"
    return spec


def fsspec_options(url: str, options: StorageOptions) -> dict[str, Any]:
    """Return what fsspec's filesystem of the scheme of `url` is made with."""
    if not url.startswith("s3://"):
        return {}
    return {
        "anon": options.credentials == "anonymous",
        "endpoint_url": options.endpoint,
        "client_kwargs": {"region_name": options.region} if options.region else {},
    }
