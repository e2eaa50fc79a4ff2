"""Whether a source is the one that a layer was begun from: by its files' stamps, or hashes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Event

from microtome_core.errors import SourceError
from microtome_ingest.hashing import hash_file
from microtome_ingest.manifest import File


def stamps(paths: Sequence[str]) -> tuple[File, ...]:
    """Return what tells a file from its next version, without reading it.

    Raises
    ------
    SourceError
        A file that is gone.
    """
    return tuple(map(_stamp, paths))


def _stamp(path: str) -> File:
    try:
        stat = Path(path).stat()
    except OSError as error:
        raise SourceError(path, f"cannot be read: {error.strerror}") from error
    return File(name=Path(path).name, size=stat.st_size, modified=stat.st_mtime_ns)


def changed_files(
    old: Sequence[File], new: Sequence[File], paths: Sequence[str], hashes: Mapping[int, str]
) -> list[str]:
    """Return in words how a source differs from what it was; a file that only moved is the same.

    Parameters
    ----------
    old, new : sequence of File
        Then and now.
    paths : sequence of str
        Where the files are now; read where only their contents can tell.
    hashes : dict
        SHA-256 of a file then, by its number, where it is known.
    """
    if len(old) != len(new):
        return [f"the source has {len(new)} files, had {len(old)}"]
    return [
        f"{path} has changed"
        for number, path in enumerate(paths)
        if not _same(old[number], new[number], path, hashes.get(number))
    ]


def check_unchanged(old: Sequence[File], paths: Sequence[str]) -> None:
    """Refuse a source whose files are not as they were when the ingest began.

    Raises
    ------
    SourceError
    """
    for before, path in zip(old, paths, strict=True):
        if _stamp(path) != before:
            raise SourceError(path, "changed while it was ingested: run the ingest again")


def _same(old: File, new: File, path: str, digest: str | None) -> bool:
    if (old.size, old.modified, old.etag) == (new.size, new.modified, new.etag):
        return True
    if old.size != new.size or digest is None:
        return False
    return hash_file(path, Event()).sha256 == digest
