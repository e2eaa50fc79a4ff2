"""A folder of metadata and chunk files, wherever it lies: one path for Files and TensorStore.

It may be packed into a zip file or, by TensorStore, into an OCDBT database, which is a folder too.
"""

import json
import os
import re
import stat
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal
from urllib.parse import urlsplit

import tensorstore as ts

from microtome_core.errors import MicrotomeError, SourceError, StorageError
from microtome_core.store import listing
from microtome_core.store.location import StorageOptions, Store, fsspec_options
from microtome_ingest.files import Files, is_remote
from microtome_ingest.hosts import Hosts, normal
from microtome_ingest.stream import told

Packed = Literal["", "zip", "ocdbt"]
MANIFEST = "manifest.ocdbt"
# Of one file of metadata; consolidated ones of large stores have tens of megabytes.
_MOST_METADATA = 64 << 20
_MOST_MEMBERS = 1_000_000
# Deflate packs zeros 1 to 1032.
_MOST_RATIO = 1040
_WEB = ("http", "https")
# What TensorStore adds for its own developers.
_NOISE = re.compile(r" \[(tensorstore_spec|source locations)=")
_MAY_PASS = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "RESOURCE_EXHAUSTED", "CANCELLED")


class Folder:
    """A folder, or a zip file or a database that holds one.

    Parameters
    ----------
    path : str
        A local folder, a URL that TensorStore reaches (``s3://``, ``http://``, ``https://``), or a
        zip file at either.
    files : Files
    packed : str
        What `path` is: ``zip``, ``ocdbt``, or nothing for a plain folder.
    """

    def __init__(self, path: str, files: Files, packed: Packed = "") -> None:
        self.path = path.rstrip("/") or "/"
        self._files, self.packed = files, packed
        self._root = os.path.realpath(self.path)
        self.context = _context(files.options)
        self._members = self._directory() if packed == "zip" else {}
        self._names = self._listed("") if packed == "ocdbt" else set(self._members)

    @property
    def url(self) -> str:
        """Its path, as messages call it."""
        return self.path

    @property
    def listable(self) -> bool:
        """Whether it can say what is in it."""
        return bool(self.packed) or urlsplit(self.path).scheme not in _WEB

    def spec(self, inside: str = "") -> dict[str, Any]:
        """Return TensorStore's description of a folder in it."""
        below = f"{inside}/" if inside else ""
        base = _place(self.path, self._files)
        if self.packed == "zip":
            return {"driver": "zip", "base": base, "path": below}
        if self.packed == "ocdbt":
            base["path"] = base["path"].rstrip("/") + "/"
            return {"driver": "ocdbt", "base": base, "path": below}
        return {**base, "path": f"{base['path'].rstrip('/')}/{below}"}

    def file(self, name: str) -> str:
        """Return the path of the file that holds `name`, or stands for all where it is packed."""
        if self.packed == "zip":
            return self.path
        return f"{self.path.rstrip('/')}/{MANIFEST if self.packed else name}"

    def read(self, name: str) -> bytes | None:
        """Return a small file, or None where there is none.

        Raises
        ------
        SourceError
            It is too large for metadata, or leads out of the folder.
        StorageError
            A service that may answer later.
        """
        if self.packed:
            return self._member(name) if self.packed == "zip" else self._value(name)
        path = self.file(name)
        if self._files.kind(path) != "file":
            return None
        self.check_inside([name])
        with self._files.open(path) as data:
            _check_size(path, data.stamp.size)
            return bytes(data.read(0, data.stamp.size))

    def document(self, name: str) -> dict[str, Any] | None:
        """Return a JSON object, or None where there is no such file."""
        data = self.read(name)
        if data is None:
            return None
        try:
            found = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise SourceError(self.path, f"{name}: no JSON: {error}") from error
        if not isinstance(found, dict):
            raise SourceError(self.path, f"{name}: expected a JSON object")
        return found

    def children(self, inside: str = "") -> list[str]:
        """Return the names of the folders in a folder, sorted.

        Raises
        ------
        SourceError
            Over HTTP, which lists nothing.
        """
        start = f"{inside}/" if inside else ""
        if self.packed:
            below = [n[len(start) :] for n in self._names if n.startswith(start)]
            return sorted({name.split("/")[0] for name in below if "/" in name})
        if not self.listable:
            reason = f"{inside or 'it'} cannot be listed over HTTP: name an array with ::path"
            raise SourceError(self.path, reason)
        with storage_told(self.path):
            if not is_remote(self.path):
                with os.scandir(self.file(inside)) as entries:
                    return sorted(e.name for e in entries if e.is_dir(follow_symlinks=False))
            return listing.folders(
                self.path, inside, fsspec_options(self.path, self._files.options)
            )

    def keys(self, inside: str) -> set[str] | None:
        """Return the name of every file below a folder, None where that cannot be told."""
        if not self.listable:
            return None
        if self.packed:
            start = f"{inside}/" if inside else ""
            return {name[len(start) :] for name in self._names if name.startswith(start)}
        return self._listed(inside)

    def check_host(self) -> None:
        """Check anew where the name of a web server leads, since TensorStore looks it up itself.

        Raises
        ------
        SourceError
            A host from which nothing is read.
        StorageError
            It cannot be looked up, which may pass.
        """
        if urlsplit(self.path).scheme in _WEB:
            Hosts(self._files.options.allowed_hosts).check_url(self.path)

    def check_inside(self, names: Iterable[str]) -> None:
        """Refuse local names that are links out of the folder or to nothing, or no files.

        TensorStore would take them for chunks that were never written.
        """
        if self.packed or is_remote(self.path):
            return
        real: dict[str, str] = {}
        for name in names:
            _check_local(self.path, self._root, name, real)

    def _listed(self, inside: str) -> set[str]:
        with storage_told(self.path):
            store = ts.KvStore.open(self.spec(inside), context=self.context).result()
            return {key.decode(errors="replace") for key in store.list().result()}

    def _value(self, name: str) -> bytes | None:
        if name not in self._names:
            return None
        with storage_told(self.path, name):
            store = ts.KvStore.open(self.spec(), context=self.context).result()
            data = bytes(store.read(name).result().value)
        _check_size(f"{self.path}: {name}", len(data))
        return data

    def _directory(self) -> Mapping[str, zipfile.ZipInfo]:
        """Return the members of the zip file by name."""
        with self._files.open(self.path) as data, data.stream() as stream, told(stream):
            try:
                with zipfile.ZipFile(stream) as archive:
                    found = archive.infolist()
            except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
                raise SourceError(self.path, f"no zip file: {error}") from error
        if len(found) > _MOST_MEMBERS:
            raise SourceError(self.path, f"holds more than {_MOST_MEMBERS} files")
        for info in found:
            if info.file_size > (info.compress_size + 64) * _MOST_RATIO:
                reason = f"claims {info.file_size} bytes in {info.compress_size} compressed ones"
                raise SourceError(self.path, f"{info.filename}: {reason}: refused")
        return {info.filename: info for info in found}

    def _member(self, name: str) -> bytes | None:
        info = self._members.get(name)
        if info is None:
            return None
        _check_size(f"{self.path}: {name}", info.file_size)
        with self._files.open(self.path) as data, data.stream() as stream, told(stream):
            try:
                with zipfile.ZipFile(stream) as archive:
                    return archive.read(info)
            except (zipfile.BadZipFile, RuntimeError, ValueError, OSError, EOFError) as error:
                raise SourceError(self.path, f"{name}: {error}") from error


@contextmanager
def storage_told(path: str, where: str = "") -> Iterator[None]:
    """Turn what TensorStore and the system raise into an error that names the file.

    Raises
    ------
    StorageError
        A service that may answer later.
    SourceError
        All else.
    """
    prefix = f"{where}: " if where else ""
    try:
        yield
    except MicrotomeError:
        raise
    except Exception as error:  # TensorStore raises anything that Python has
        text = _NOISE.split(str(error))[0]
        passing = is_remote(path) and text.startswith(_MAY_PASS)
        if passing:
            raise StorageError(f"{path}: {prefix}{text}") from error
        raise SourceError(path, f"{prefix}{text or type(error).__name__}") from error


def joined(*parts: str) -> str:
    """Return a path within a folder.

    >>> joined("", "a", "./b/")
    'a/b'

    Raises
    ------
    ValueError
        One that leads out of it.
    """
    names = [name for part in parts for name in part.split("/") if name not in ("", ".")]
    if ".." in names or any(part.startswith("/") for part in parts[1:]) or "\0" in "".join(names):
        raise ValueError(f"path {'/'.join(parts)[:200]!r} leads out of its folder: refused")
    return "/".join(names)


def _check_local(folder: str, root: str, name: str, real: dict[str, str]) -> None:
    """Check one file; `real` keeps where the folders lead to."""
    path = os.path.join(folder, name)
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    above = os.path.dirname(path)
    if above not in real:
        real[above] = os.path.realpath(above)
    found = os.path.join(real[above], os.path.basename(path))
    if stat.S_ISLNK(mode):
        found = os.path.realpath(found)
    if not found.startswith(root.rstrip("/") + "/"):
        raise SourceError(path, "is a link out of its folder: refused")
    if stat.S_ISLNK(mode) and not os.path.exists(found):
        raise SourceError(path, "is a link to nothing")
    if not os.path.isfile(found):
        raise SourceError(path, "is no file")


def _check_size(path: str, size: int) -> None:
    if size > _MOST_METADATA:
        raise SourceError(path, f"has {size} bytes: metadata has no more than {_MOST_METADATA}")


def _place(path: str, files: Files) -> dict[str, Any]:
    """Return TensorStore's description of a path, without a slash at its end."""
    parts = urlsplit(path)
    if not is_remote(path):
        return {"driver": "file", "path": os.path.abspath(path)}
    if parts.scheme in _WEB:
        return {"driver": "http", "path": parts.path, **_server(path, files.options)}
    if parts.scheme == "s3" and parts.netloc:
        root = Store(f"s3://{parts.netloc}", files.options).kvstore("")
        return {**root, "path": parts.path.strip("/")}
    raise SourceError(
        path, "chunked folders are read from local disks, s3://, http:// and https://: copy it"
    )


def _server(url: str, options: StorageOptions) -> dict[str, Any]:
    """Return how TensorStore, which follows no redirects, connects to the server of a URL.

    It would look the name up again, and that may lead elsewhere by then. Without TLS it is given
    an address that was checked; with TLS the certificate proves who answers.
    """
    parts = urlsplit(url)
    addresses = Hosts(options.allowed_hosts).check_url(url)
    if parts.scheme == "https" or options.allowed_hosts:
        return {"base_url": f"{parts.scheme}://{parts.netloc}"}
    name, address = map(_bracketed, (normal(parts.hostname or ""), addresses[0]))
    port = f":{parts.port}" if parts.port else ""
    return {"base_url": f"http://{address}{port}", "headers": [f"Host: {name}{port}"]}


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _context(options: StorageOptions) -> ts.Context:
    retries = {"max_retries": 6, "initial_delay": "200ms", "max_delay": "3s"}
    return ts.Context(
        {
            "cache_pool": {"total_bytes_limit": options.cache_bytes},
            "data_copy_concurrency": {"limit": os.cpu_count() or 1},
            "s3_request_retries": retries,
            "http_request_retries": retries,
        }
    )
