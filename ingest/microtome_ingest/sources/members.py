"""Arrays within one file: ``file.npz::name``, ``file.h5::/path``, or chosen by number."""

import re
from collections.abc import Sequence

from microtome_core.errors import SourceError
from microtome_ingest.files import Files, is_remote

SEPARATOR = "::"
# Colons in brackets are those of an IPv6 address.
_HOST = re.compile(r"[^:/]+://(?:[^/\[\]]*@)?(?:\[[^\]/]*\])?")


def split(path: str, files: Files) -> tuple[str, str | None]:
    """Return the file and what follows ``::``; a local file of the whole name comes first.

    >>> split("s3://bucket/a.h5::/data", Files()), split("memory://a.h5::b", Files())
    (('s3://bucket/a.h5', '/data'), ('memory://a.h5', 'b'))
    >>> split("https://[::1]:9000/a.h5", Files()), split("https://[::1]/a.h5::/b", Files())
    (('https://[::1]:9000/a.h5', None), ('https://[::1]/a.h5', '/b'))
    """
    host = _HOST.match(path)
    begin = host.end() if host else 0
    file, separator, name = path[begin:].rpartition(SEPARATOR)
    file = path[:begin] + file
    if not separator or (not is_remote(path) and files.kind(path) == "file"):
        return path, None
    return file, name


def choose(file: str, names: Sequence[str], scene: int | None) -> int:
    """Return the number of the array to open.

    Raises
    ------
    SourceError
        None chosen of several, or one that is not there; the message lists them.
    """
    listing = ", ".join(f"{i}: {name}" for i, name in enumerate(names))
    if scene is None and len(names) > 1:
        raise SourceError(
            file,
            f"holds {len(names)} arrays, choose with --scene N or {file}{SEPARATOR}name: {listing}",
        )
    if not 0 <= (scene or 0) < len(names):
        raise SourceError(file, f"has no scene {scene}: it holds {len(names)} arrays")
    return scene or 0
