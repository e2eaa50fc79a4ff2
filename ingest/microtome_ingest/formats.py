"""Which reader a source needs: one row of a table a format, told by content before name."""

from dataclasses import dataclass
from glob import has_magic
from importlib import import_module
from typing import Protocol, cast

from microtome_core.errors import SourceError
from microtome_core.store.location import StorageOptions
from microtome_ingest.files import Files, plain
from microtome_ingest.source import Scene, Source
from microtome_ingest.sources.members import split

_HEAD = 512


class Reader(Protocol):
    """What a module under ``sources/`` offers."""

    def open_image(self, path: str, scene: int | None = None, files: Files | None = None) -> Source:
        """Open one image."""

    def scenes(self, path: str, files: Files | None = None) -> tuple[Scene, ...]:
        """List all images."""


@dataclass(frozen=True, slots=True)
class Format:
    """A row of the table.

    Parameters
    ----------
    name : str
        For messages.
    module : str
        Under ``microtome_ingest.sources``; loaded when first needed.
    magic : tuple of bytes
        What its files start with.
    endings : tuple of str
        What its names end with; decides where `magic` is not enough.
    scheme : str
        What addresses that are no files start with.
    ambiguous : bool
        `magic` is shared with other kinds of files, so that the ending must agree.
    """

    name: str
    module: str
    magic: tuple[bytes, ...] = ()
    endings: tuple[str, ...] = ()
    scheme: str = ""
    ambiguous: bool = False

    def matches(self, name: str, head: bytes) -> bool:
        """Tell whether a file of that name and beginning is of this format."""
        fits = head.startswith(self.magic) if self.magic else False
        return fits and (not self.ambiguous or name.lower().endswith(self.endings))


FORMATS = (
    Format(
        "TIFF", "tiff", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), (".tif", ".tiff", ".svs", ".stk")
    ),
    Format("OME companion", "tiff", (b"<", b"\xef\xbb\xbf<"), (".companion.ome",), ambiguous=True),
    Format("NPY", "npy", (b"\x93NUMPY",), (".npy",)),
    Format("NPZ", "npy", (b"PK\x03\x04",), (".npz",), ambiguous=True),
    Format("PNG", "picture", (b"\x89PNG\r\n\x1a\n",), (".png",)),
    Format("JPEG", "picture", (b"\xff\xd8\xff",), (".jpg", ".jpeg")),
    Format(
        "HDF5",
        "hdf5",
        (b"\x89HDF\r\n\x1a\n", b"MATLAB 7.3 MAT-file"),
        (".h5", ".hdf5", ".ims", ".nwb", ".mat"),
    ),
)
COMPUTED = Format("synthetic://", "computed", scheme="synthetic://")
SEQUENCE = Format("folder or pattern of TIFF, PNG or JPEG files", "sequence")


def open_source(
    path: str, scene: int | None = None, options: StorageOptions | None = None
) -> Source:
    """Open one image of a source.

    Parameters
    ----------
    path : str
        A file, a folder or a pattern of numbered files, an OME companion, ``file.npz::name``,
        ``file.h5::/path``, each of them local or at a URL such as ``s3://bucket/key``, or
        ``synthetic://...``.
    scene : int, optional
        Which image; not needed where there is only one.
    options : StorageOptions, optional
        How to reach object storage.

    Raises
    ------
    SourceError
        Not found, of no supported format, damaged, or several images and none chosen.
    StorageError
        A service that may answer later.
    """
    path, files = plain(path), Files(options)
    return _reader(_format_of(path, files)).open_image(path, scene, files)


def scenes(path: str, options: StorageOptions | None = None) -> tuple[Scene, ...]:
    """List the images of a source.

    Raises
    ------
    SourceError, StorageError
        As for `open_source`.
    """
    path, files = plain(path), Files(options)
    return _reader(_format_of(path, files)).scenes(path, files)


def format_of(path: str, options: StorageOptions | None = None) -> Format:
    """Return the row of the table for a source.

    Raises
    ------
    SourceError
        Not found, empty, or of no supported format; the message lists those that are.
    """
    return _format_of(plain(path), Files(options))


def _reader(row: Format) -> Reader:
    return cast(Reader, import_module(f"microtome_ingest.sources.{row.module}"))


def _format_of(path: str, files: Files) -> Format:
    if path.startswith(COMPUTED.scheme):
        return COMPUTED
    file, _ = split(path, files)
    kind = files.kind(file)
    if kind == "folder" or (kind == "absent" and has_magic(file)):
        return SEQUENCE
    if kind == "absent":
        raise SourceError(path, "not found")
    with files.open(file) as data:
        head = bytes(data.read(0, min(_HEAD, data.stamp.size)))
    for row in FORMATS:
        if row.matches(file, head):
            return row
    return _refuse(file, head)


def _refuse(file: str, head: bytes) -> Format:
    if not head:
        raise SourceError(file, "is empty (0 bytes)")
    named = [row.name for row in FORMATS if row.endings and file.lower().endswith(row.endings)]
    claim = (
        f"is named like {named[0]}, but its content is not: "
        if named
        else "is of no known format: "
    )
    raise SourceError(file, f"{claim}it starts with {head[:8]!r}; {_supported()}")


def _supported() -> str:
    return "supported are " + ", ".join(row.name for row in (*FORMATS, SEQUENCE, COMPUTED))
