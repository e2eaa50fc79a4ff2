"""Which reader a source needs: one row of a table a format, told by content before name."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from microtome_core.errors import SourceError
from microtome_ingest.source import Scene, Source

_HEAD = 512


class Reader(Protocol):
    """What a module under ``sources/`` offers."""

    def open_image(self, path: str, scene: int | None = None) -> Source:
        """Open one image."""

    def scenes(self, path: str) -> tuple[Scene, ...]:
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
)
COMPUTED = Format("synthetic://", "computed", scheme="synthetic://")
SEQUENCE = Format("folder or pattern of TIFF, PNG or JPEG files", "sequence")


def open_source(path: str, scene: int | None = None) -> Source:
    """Open one image of a source.

    Parameters
    ----------
    path : str
        A file, a folder or a pattern of numbered files, an OME companion, ``file.npz::name``, or
        ``synthetic://...``.
    scene : int, optional
        Which image; not needed where there is only one.

    Raises
    ------
    SourceError
        Not found, of no supported format, damaged, or several images and none chosen.
    """
    return _reader(path).open_image(path, scene)


def scenes(path: str) -> tuple[Scene, ...]:
    """List the images of a source.

    Raises
    ------
    SourceError
        As for `open_source`.
    """
    return _reader(path).scenes(path)


def _reader(path: str) -> Reader:
    return cast(Reader, import_module(f"microtome_ingest.sources.{format_of(path).module}"))


def format_of(path: str) -> Format:
    """Return the row of the table for a source.

    Raises
    ------
    SourceError
        Not found, empty, or of no supported format; the message lists those that are.
    """
    if path.startswith(COMPUTED.scheme):
        return COMPUTED
    file = path.rpartition("::")[0] if "::" in path and not Path(path).exists() else path
    if _is_sequence(file):
        return SEQUENCE
    if not Path(file).exists():
        raise SourceError(path, "not found")
    if Path(file).is_dir():
        raise SourceError(path, f"a folder without pictures; {_supported()}")
    head = _head(file)
    for row in FORMATS:
        if row.matches(file, head):
            return row
    return _refuse(file, head)


def _is_sequence(path: str) -> bool:
    check: Callable[[str], bool] = import_module("microtome_ingest.sources.sequence").is_sequence
    return check(path)


def _head(file: str) -> bytes:
    try:
        with Path(file).open("rb") as stream:
            return stream.read(_HEAD)
    except OSError as error:
        raise SourceError(file, f"cannot be read: {error.strerror}") from error


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
