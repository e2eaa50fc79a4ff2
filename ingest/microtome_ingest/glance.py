"""What a source looks like before any reader opens it: what lies there, and how it begins."""

from collections.abc import Callable
from functools import cached_property
from glob import has_magic
from zipfile import BadZipFile, ZipFile

from microtome_ingest.files import Files, Kind, name_of
from microtome_ingest.sources.members import split

_HEAD = 1024


class Glance:
    """One look at a source; each question reaches storage once at most.

    Parameters
    ----------
    path : str
        As the user gives it, ``::member`` included.
    files : Files
    """

    def __init__(self, path: str, files: Files) -> None:
        self.path, self._files = path, files
        self.file, self.member = split(path, files)

    @cached_property
    def kind(self) -> Kind:
        """Whether a file, a folder or nothing lies there."""
        return self._files.kind(self.file)

    @cached_property
    def head(self) -> bytes:
        """The first bytes of a file; none of what is no file."""
        return self._start(self.file) if self.kind == "file" else b""

    @property
    def name(self) -> str:
        """The last part of the path, in lower case."""
        return name_of(self.file.rstrip("/")).lower()

    def holds(self, name: str) -> bool:
        """Tell whether a folder holds a file or folder of that name."""
        return self.kind != "file" and self._files.kind(f"{self.file.rstrip('/')}/{name}") != (
            "absent"
        )

    def start_of(self, name: str) -> bytes:
        """Return the first bytes of a file in a folder; none where no file has that name."""
        path = f"{self.file.rstrip('/')}/{name}"
        known = self.kind != "file" and self._files.kind(path) == "file"
        return self._start(path) if known else b""

    def _start(self, path: str) -> bytes:
        with self._files.open(path) as data:
            return bytes(data.read(0, min(_HEAD, data.stamp.size)))

    @cached_property
    def hdf5(self) -> str:
        """Which program's HDF5 file it is: ``imaris``, ``bdv``, ``nwb`` or ``hdf5``."""
        # h5py is loaded only for files that begin like HDF5.
        from microtome_ingest.sources.hdf5_kinds import kind_of  # noqa: PLC0415

        return kind_of(self.file, self._files)

    @cached_property
    def zipped(self) -> tuple[str, ...]:
        """Names of the members of a zip file; none where its directory is damaged."""
        with self._files.open(self.file) as data, data.stream() as stream:
            try:
                with ZipFile(stream) as archive:
                    return tuple(archive.namelist())
            except (BadZipFile, NotImplementedError, ValueError, OverflowError):
                return ()  # nobody's: what it starts with is then said


Claim = Callable[[Glance], bool]


def starts(*magic: bytes, at: int = 0) -> Claim:
    """Claim files that have one of `magic` at an offset."""
    return lambda seen: seen.head[at:].startswith(magic)


def ends(*endings: str) -> Claim:
    """Claim names with one of `endings`."""
    return lambda seen: seen.name.endswith(endings)


def contains(*words: bytes) -> Claim:
    """Claim files with one of `words` near their beginning."""
    return lambda seen: any(word in seen.head for word in words)


def holds(*names: str) -> Claim:
    """Claim folders that hold one of `names`."""
    return lambda seen: any(seen.holds(name) for name in names)


def tells(name: str, *words: bytes) -> Claim:
    """Claim folders that hold a file with one of `words` near its beginning."""

    def claim(seen: Glance) -> bool:
        start = seen.start_of(name)
        return any(word in start for word in words)

    return claim


def folders(seen: Glance) -> bool:
    """Claim folders and patterns of files."""
    return seen.kind == "folder" or (seen.kind == "absent" and has_magic(seen.file))


def scheme(start: str) -> Claim:
    """Claim addresses that begin with `start`."""
    return lambda seen: seen.path.startswith(start)


def hdf5(kind: str) -> Claim:
    """Claim HDF5 files of one program; with ``::path`` they are plain HDF5."""
    return lambda seen: (
        seen.head.startswith(b"\x89HDF\r\n\x1a\n") and not seen.member and seen.hdf5 == kind
    )


def zips(part: str) -> Claim:
    """Claim zip files with a member whose path contains `part`."""
    return lambda seen: (
        seen.head.startswith(b"PK\x03\x04") and any(part in f"/{name}" for name in seen.zipped)
    )


def both(*claims: Claim) -> Claim:
    """Claim what all of `claims` do."""
    return lambda seen: all(claim(seen) for claim in claims)


def either(*claims: Claim) -> Claim:
    """Claim what one of `claims` does."""
    return lambda seen: any(claim(seen) for claim in claims)
