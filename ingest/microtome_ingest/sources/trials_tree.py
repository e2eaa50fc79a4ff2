"""The files of a trial folder: in a folder, or in a zip file that is not unpacked.

Nothing is ever written beside them, and no name leads out of the folder.
"""

import io
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from microtome_core import npy
from microtome_core.errors import SourceError
from microtome_ingest.files import Files, is_remote, name_of
from microtome_ingest.sources.damage import strict
from microtome_ingest.sources.inflated import DEFLATE_RATIO
from microtome_ingest.sources.members import SEPARATOR
from microtome_ingest.stream import told

# What the known data sets have; in a local folder and in a zip any other is found too.
GROUPS = ("videos", "responses", "behavior", "pupil_center")
_META = re.compile(r"(?:meta/(?:[^/]+/){1,4}[^/]+\.npy|config\.json)")
_TRIAL = re.compile(r"data/([^/]+)/([^/]+)\.npy")
_STORED, _DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
# Bytes of one array in a zip, and of what is read whole beside voxels.
_MOST_MEMBER = 8 << 30
MOST_META = 64 << 20
_HEAD = 4096
_ENCRYPTED = 1
_NATURAL = re.compile(r"(\d{1,18})")


class Tree(Protocol):
    """Files by their path below the folder, such as ``data/videos/7.npy``."""

    path: str

    def names(self) -> tuple[str, ...]:
        """Return every file that belongs to trials, in natural order."""

    def address(self, name: str) -> str:
        """Return what the reader of NPY files takes for an array."""

    def files(self, name: str) -> tuple[str, ...]:
        """Return the file on disk or in object storage that holds it."""

    def read(self, name: str, most: int) -> bytes:
        """Return its first bytes, up to `most`."""

    def sizes(self) -> dict[str, int]:
        """Return the bytes of every file of the folder, whether it belongs to trials or not."""

    def content(self, name: str) -> memoryview:
        """Return a file, whole."""

    def held(self) -> AbstractContextManager[None]:
        """Hold open what many reads need."""


def tree_of(path: str, files: Files) -> Tree:
    """Return the files of a folder or zip.

    Raises
    ------
    SourceError
        Neither, or damaged.
    """
    if files.kind(path) == "folder":
        return FolderTree(path.rstrip("/"), files)
    return ZipTree(path, files)


class FolderTree:
    """A folder, local or remote."""

    def __init__(self, path: str, files: Files) -> None:
        self.path, self._files = path, files
        self._names: tuple[str, ...] | None = None

    def names(self) -> tuple[str, ...]:
        """Return every file that belongs to trials, in natural order."""
        if self._names is None:
            found = self._remote() if is_remote(self.path) else self._local()
            self._names = tuple(sorted(filter(_is_ours, found), key=natural))
        return self._names

    def address(self, name: str) -> str:
        """Return the path of a file, which must lie within the folder whatever links say."""
        full = f"{self.path}/{name}"
        if not is_remote(full):
            root = Path(self.path).resolve()
            if not Path(full).resolve().is_relative_to(root):
                raise SourceError(full, f"is a link that leads out of {self.path}: refused")
        return full

    def files(self, name: str) -> tuple[str, ...]:
        """Return the file."""
        return (self.address(name),)

    def read(self, name: str, most: int) -> bytes:
        """Return its first bytes."""
        with self._files.open(self.address(name)) as data:
            return bytes(data.read(0, min(most, data.stamp.size)))

    def sizes(self) -> dict[str, int]:
        """Return the bytes of every file; far away of those alone that belong to trials."""
        if is_remote(self.path):
            found = {name: self._files.stamp(self.address(name)).size for name in self.names()}
        else:
            below = (
                Path(folder, name) for folder, _, names in os.walk(self.path) for name in names
            )
            found = {
                path.relative_to(self.path).as_posix(): path.stat().st_size
                for path in below
                if path.is_file()
            }
        return dict(sorted(found.items(), key=lambda one: natural(one[0])))

    def content(self, name: str) -> memoryview:
        """Return a file; a local one is mapped."""
        with self._files.open(self.address(name)) as data:
            data.check()
            return data.read(0, data.stamp.size)

    def held(self) -> AbstractContextManager[None]:
        """Hold nothing: files are opened one by one."""
        return nullcontext()

    def _local(self) -> Iterator[str]:
        for top in ("data", "meta"):
            for folder, _, names in os.walk(f"{self.path}/{top}"):
                below = folder.removeprefix(f"{self.path}/")
                yield from (f"{below}/{name}" for name in names)
        if Path(self.path, "config.json").is_file():
            yield "config.json"

    def _remote(self) -> Iterator[str]:
        folders = [f"data/{group}" for group in GROUPS]
        folders += ["meta/trials", "meta/neurons"]
        folders += [f"meta/statistics/{group}/all" for group in GROUPS]
        for folder in folders:
            if self._files.kind(f"{self.path}/{folder}") == "folder":
                found = self._files.folder(f"{self.path}/{folder}")
                yield from (f"{folder}/{name_of(file)}" for file in found)
        if self._files.kind(f"{self.path}/config.json") == "file":
            yield "config.json"


class ZipTree:
    """A zip file; the folder may lie below others in it."""

    def __init__(self, path: str, files: Files) -> None:
        self.path, self._files = path, files
        self._members: Mapping[str, zipfile.ZipInfo] | None = None
        self._open: zipfile.ZipFile | None = None

    def names(self) -> tuple[str, ...]:
        """Return every member that belongs to trials, in natural order."""
        return tuple(sorted(filter(_is_ours, self._found()), key=natural))

    def sizes(self) -> dict[str, int]:
        """Return the bytes of every member of the folder of trials."""
        return {name: self._found()[name].file_size for name in sorted(self._found(), key=natural)}

    def content(self, name: str) -> memoryview:
        """Return a member, inflated; its checksum is verified."""
        member = self.member(name)
        return memoryview(self.read(name, member.file_size + 1))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the archive open, whose directory is then read once; threads may share it."""
        with self._archive() as archive:
            self._open = archive
            try:
                yield
            finally:
                self._open = None

    def address(self, name: str) -> str:
        """Return the zip and the member, after a look at what it claims."""
        member = self.member(name)
        return f"{self.path}{SEPARATOR}{member.filename.removesuffix('.npy')}"

    def files(self, name: str) -> tuple[str, ...]:
        """Return the zip file."""
        return (self.path,)

    def read(self, name: str, most: int) -> bytes:
        """Return the first bytes of a member; its checksum is verified where all are asked for."""
        member = self.member(name)
        held = self._open
        with (
            strict(f"{self.path}{SEPARATOR}{member.filename}"),
            nullcontext(held) if held else self._archive() as archive,
            archive.open(member) as stream,
        ):
            return stream.read(most)

    def member(self, name: str) -> zipfile.ZipInfo:
        """Return a member, if it is one that can be trusted to be of the size it claims.

        Raises
        ------
        SourceError
            Encrypted, compressed in a way that is not read, or a bomb.
        """
        info = self._found()[name]
        where = f"{self.path}{SEPARATOR}{info.filename}"
        if info.flag_bits & _ENCRYPTED:
            raise SourceError(where, "is encrypted")
        if info.compress_type not in (_STORED, _DEFLATED):
            raise SourceError(where, f"is compressed by method {info.compress_type}: not read")
        ratio = 1 if info.compress_type == _STORED else DEFLATE_RATIO
        if info.file_size > min(info.compress_size * ratio, _MOST_MEMBER):
            raise SourceError(
                where,
                f"claims {info.file_size} bytes in {info.compress_size} compressed ones: refused",
            )
        return info

    def stored(self, name: str) -> int | None:
        """Return where a member lies as it is (APPNOTE 4.3.7); None where it is compressed."""
        info = self.member(name)
        if info.compress_type != _STORED:
            return None
        with self._files.open(self.path) as data:
            head = bytes(data.read(info.header_offset, 30))
        if not head.startswith(b"PK\x03\x04"):
            raise SourceError(self.path, f"no member at byte {info.header_offset}: damaged")
        lengths = int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
        return info.header_offset + 30 + lengths

    @contextmanager
    def _archive(self) -> Iterator[zipfile.ZipFile]:
        with (
            strict(self.path),
            self._files.open(self.path) as data,
            data.stream() as stream,
            told(stream),
            zipfile.ZipFile(stream) as archive,
        ):
            yield archive

    def _found(self) -> Mapping[str, zipfile.ZipInfo]:
        if self._members is None:
            with self._archive() as archive:
                self._members = self._ours(archive.infolist())
        return self._members

    def _ours(self, members: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
        """Return the members below the one folder of trials by their path there."""
        found: dict[str, zipfile.ZipInfo] = {}
        prefixes = {m.filename.partition("data/videos/")[0] for m in members if _video(m.filename)}
        if len(prefixes) != 1:
            listing = ", ".join(sorted(prefixes)[:8]) or "none"
            raise SourceError(
                self.path, f"expected one folder with data/videos in it, found {listing}"
            )
        prefix = prefixes.pop()
        for member in members:
            name = member.filename.removeprefix(prefix)
            self._check_name(member.filename)
            if member.filename.startswith(prefix) and not member.is_dir():
                if name in found:
                    raise SourceError(self.path, f"holds {member.filename} twice")
                found[name] = member
        return found

    def _check_name(self, name: str) -> None:
        parts = name.replace("\\", "/").split("/")
        if ".." in parts or parts[0] == "" or ":" in parts[0]:
            raise SourceError(self.path, f"holds a member {name[:80]!r} that leads out of it")


def _video(name: str) -> bool:
    return f"/{name}".rpartition("/")[0].endswith("/data/videos") and name.endswith(".npy")


def _is_ours(name: str) -> bool:
    # Names with a leading dot are what macOS leaves beside the files it copies.
    hidden = name_of(name).startswith(".")
    return not hidden and bool(_TRIAL.fullmatch(name) or _META.fullmatch(name))


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key by which 9 comes before 10.

    >>> sorted(["data/videos/10.npy", "data/videos/9.npy"], key=natural)
    ['data/videos/9.npy', 'data/videos/10.npy']
    """
    parts = _NATURAL.split(name)
    return tuple((1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts)


def groups_of(tree: Tree) -> dict[str, tuple[str, ...]]:
    """Return the trials of each group of arrays, in natural order."""
    found: dict[str, list[str]] = {}
    for name in tree.names():
        if match := _TRIAL.fullmatch(name):
            found.setdefault(match[1], []).append(match[2])
    return {group: tuple(trials) for group, trials in found.items()}


def header_of(tree: Tree, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and dtype of an array; nothing of it is loaded.

    Raises
    ------
    SourceError
        No NPY file.
    """
    where = f"{tree.path}/{name}"
    with strict(where):
        head = npy.read_head(io.BytesIO(tree.read(name, _HEAD)))
    return head.shape, head.dtype


def array_of(tree: Tree, name: str) -> np.ndarray[Any, Any]:
    """Return a small array.

    Raises
    ------
    SourceError
        No NPY file, larger than any metadata, or of pickled objects.
    """
    where = f"{tree.path}/{name}"
    content = tree.read(name, MOST_META + 1)
    if len(content) > MOST_META:
        raise SourceError(where, f"holds more than {MOST_META} bytes: no metadata")
    with strict(where):
        return npy.load(content)
