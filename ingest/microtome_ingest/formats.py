"""Which reader a source needs, microtome's own or another package's, and opening with it."""

from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import cast

from microtome_core.errors import InputError, SourceError
from microtome_core.store.location import StorageOptions
from microtome_ingest.files import Files, plain
from microtome_ingest.format import Format, Reader
from microtome_ingest.glance import Glance
from microtome_ingest.isolation import Isolated, isolated_scenes
from microtome_ingest.source import Scene, Source
from microtome_ingest.table import ADDRESSES, FORMATS, SEQUENCE

# Where other packages announce formats: each entry point is a `Format`.
GROUP = "microtome.formats"


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
    row = _format_of(path, files)
    if row.isolated:
        return Isolated(row, path, scene, options)
    return load(row).open_image(path, scene, files)


def scenes(path: str, options: StorageOptions | None = None) -> tuple[Scene, ...]:
    """List the images of a source.

    Raises
    ------
    SourceError, StorageError
        As for `open_source`.
    """
    path, files = plain(path), Files(options)
    row = _format_of(path, files)
    if row.isolated:
        return isolated_scenes(row, path, options)
    return load(row).scenes(path, files)


def format_of(path: str, options: StorageOptions | None = None) -> Format:
    """Return the row of the table for a source.

    Raises
    ------
    SourceError
        Not found, empty, or of no supported format; the message lists those that are.
    """
    return _format_of(plain(path), Files(options))


def all_formats() -> tuple[Format, ...]:
    """Return every format in the order in which they are asked.

    Other packages' come before our own files and folders, so that they can read better what we do.
    """
    return (*ADDRESSES, *_announced(), *FORMATS, SEQUENCE)


def load(row: Format) -> Reader:
    """Return the module of a format.

    Raises
    ------
    InputError
        A library that it needs is not installed; the message says how to.
    """
    if missing := row.missing:
        raise InputError(
            f"{row.name} needs {', '.join(missing)}, which is not installed: "
            f"install the extra '{row.extra}' of microtome"
        )
    return cast(Reader, import_module(row.module))


def _announced() -> Iterator[Format]:
    for point in entry_points(group=GROUP):
        row = point.load()
        if not isinstance(row, Format):
            raise InputError(f"entry point {point.name} of {GROUP}: expected a Format, got {row!r}")
        yield row


def _format_of(path: str, files: Files) -> Format:
    seen = Glance(path, files)
    rows = all_formats()
    for row in rows:
        if row.claim(seen):
            return row
    if seen.kind == "absent":
        raise SourceError(path, "not found")
    return _refuse(seen, rows)


def _refuse(seen: Glance, rows: Sequence[Format]) -> Format:
    if not seen.head:
        raise SourceError(seen.file, "is empty (0 bytes)")
    named = [row.name for row in rows if row.endings and seen.name.endswith(row.endings)]
    claim = (
        f"is named like {named[0]}, but its content is not: "
        if named
        else "is of no known format: "
    )
    supported = ", ".join(row.name for row in rows)
    start = f"it starts with {seen.head[:8]!r}"
    raise SourceError(seen.file, f"{claim}{start}; supported are {supported}")
