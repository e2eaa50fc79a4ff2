"""HTTP's conditions: which media type the caller takes, and whether it has the answer already.

Source: RFC 9110, sections 12.5.1 (Accept), 8.8.3 (ETag) and 13.1.2 (If-None-Match).
"""

import re
from collections.abc import Sequence
from hashlib import sha256

_RANGE = re.compile(r"\s*([\w!#$&^.+*-]+)/([\w!#$&^.+*-]+)\s*((?:;[^,]*)?)")
_QUALITY = re.compile(r";\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*(?:;|$)", re.IGNORECASE)
_TAG = re.compile(r'(?:W/)?("[^"]*")')


def choose(accept: str, offered: Sequence[str]) -> str | None:
    """Return the media type that `accept` likes best, of equals the first offered, or None.

    >>> choose("image/png;q=0.5, application/*", ["image/png", "application/zstd"])
    'application/zstd'
    >>> choose("text/html, */*;q=0.1", ["application/x-npy", "image/png"])
    'application/x-npy'
    """
    ranges = [m.groups() for m in map(_RANGE.fullmatch, accept.split(",")) if m]
    best = max(offered, key=lambda media_type: _quality(media_type, ranges))
    return best if _quality(best, ranges) > 0 else None


def _quality(media_type: str, ranges: list[tuple[str, ...]]) -> float:
    """Return what the most specific range that matches says; 0 if none does."""
    kind, _, subtype = media_type.partition("/")
    found = (0, 0.0)
    for main, sub, parameters in ranges:
        if main.lower() not in ("*", kind) or sub.lower() not in ("*", subtype):
            continue
        match = _QUALITY.search(parameters)
        specific = (main != "*") + (sub != "*") + 1
        found = max(found, (specific, float(match[1]) if match else 1.0))
    return found[1]


def entity_tag(*parts: object, state: str = "") -> str:
    """Return a strong ETag over everything that the bytes of an answer depend on.

    Parameters
    ----------
    parts : objects
    state : str
        Of voxels that may change: the tag begins with it, so that writers can be held to it.

    Examples
    --------
    >>> entity_tag("v1", 0) == entity_tag("v1", 0) != entity_tag("v10", "")
    True
    >>> entity_tag("v1", state="3f")[:4]
    '"3f-'
    """
    text = "\0".join(map(str, parts))
    return f'"{state}{"-" if state else ""}{sha256(text.encode()).hexdigest()[:32]}"'


def unchanged(if_none_match: str | None, etag: str) -> bool:
    """Tell whether the caller holds the answer of `etag` already.

    >>> unchanged('W/"a", "b"', '"b"'), unchanged(None, '"b"'), unchanged("*", '"b"')
    (True, False, True)
    """
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or etag in _TAG.findall(if_none_match)
