"""Whether a source is the one that a layer was begun from: by its files' stamps, or hashes."""

from collections.abc import Mapping, Sequence
from threading import Event

from microtome_ingest.files import Stamp, is_remote
from microtome_ingest.hashing import hash_file


def changed_files(
    old: Sequence[Stamp], new: Mapping[str, Stamp], hashes: Mapping[int, str]
) -> list[str]:
    """Return in words how a source differs from what it was; a file that only moved is the same.

    Parameters
    ----------
    old : sequence of Stamp
        As the files were.
    new : mapping of path to Stamp
        As they are, in the same order; read where only their contents can tell.
    hashes : dict
        SHA-256 of a file then, by its number, where it is known.
    """
    if len(old) != len(new):
        return [f"the source has {len(new)} files, had {len(old)}"]
    return [
        f"{path} has changed"
        for number, (before, (path, now)) in enumerate(zip(old, new.items(), strict=True))
        if not _same(before, now, path, hashes.get(number))
    ]


def _same(old: Stamp, new: Stamp, path: str, digest: str | None) -> bool:
    if (old.size, old.mtime_ns, old.etag) == (new.size, new.mtime_ns, new.etag):
        return True
    if old.size != new.size or digest is None or is_remote(path):
        return False
    return hash_file(path, Event()) == digest
