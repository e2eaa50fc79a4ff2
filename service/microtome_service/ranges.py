"""HTTP's byte ranges and the conditions that stand before them.

Source: RFC 9110, sections 13 (conditions, their order in 13.2.2) and 14 (ranges).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import formatdate, parsedate_to_datetime
from time import time

from microtome_core.errors import PreconditionFailed
from microtome_service.errors import RangeNotSatisfiable
from microtome_service.negotiate import unchanged

_UNIT = re.compile(r"bytes\s*=\s*(.*)", re.IGNORECASE | re.DOTALL)
_SPEC = re.compile(r"([0-9]*)-([0-9]*)")
_DIGITS = 19
_MOST_RANGES = 256
_STRONG = re.compile(r'"[^"]*"')
_LONGEST_HEADER = 8192


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes ``start`` to ``stop`` of an object, half-open as everything here."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def content_range(self, size: int) -> str:
        """Return the header's words.

        >>> Span(0, 10).content_range(100)
        'bytes 0-9/100'
        """
        return f"bytes {self.start}-{self.stop - 1}/{size}"


@dataclass(frozen=True, slots=True)
class Validators:
    """What tells one state of an object from another.

    Parameters
    ----------
    etag : str
        Strong, in its quotes.
    modified : float, optional
        Seconds since 1970.
    """

    etag: str
    modified: float | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The headers that name them."""
        dated = (
            {}
            if self.modified is None
            else {"Last-Modified": formatdate(self.modified, usegmt=True)}
        )
        return {"ETag": self.etag, **dated}


def parse_ranges(header: str | None, size: int) -> tuple[Span, ...] | None:
    """Return the bytes asked for, in the order asked for; None if all of it is to be sent.

    A header that is malformed or of another unit is ignored, as if it were not there.

    Raises
    ------
    RangeNotSatisfiable
        No range begins within the object, or there are so many, or they overlap so much, that it
        would be no use to anyone.

    Examples
    --------
    >>> parse_ranges("bytes=0-9, -5", 100)
    (Span(start=0, stop=10), Span(start=95, stop=100))
    >>> parse_ranges("bytes=9-0", 100), parse_ranges("lines=1-2", 100)
    (None, None)
    """
    match = _UNIT.fullmatch(header.strip()) if header and len(header) <= _LONGEST_HEADER else None
    if not match:
        return None
    # An empty element of a list means nothing (section 5.6.1).
    words = [word.strip() for word in match[1].split(",") if word.strip()]
    specs = [_SPEC.fullmatch(word) for word in words]
    found = [_span(spec[1], spec[2], size) for spec in specs if spec]
    if not words or len(found) < len(words) or None in found:
        return None
    spans = tuple(span for span in found if span)
    if not spans or len(found) > _MOST_RANGES or sum(map(len, spans)) > 2 * size:
        raise RangeNotSatisfiable(
            f"{len(found)} ranges of {size} bytes: expected 1 to {_MOST_RANGES} that begin within "
            "them and do not overlap", size,
        )  # fmt: skip
    return spans


def _span(first: str, last: str, size: int) -> Span | None:
    """Return the bytes of one range, an empty span if there are none, None if it is malformed."""
    if not first:
        return Span(max(0, size - _number(last)), size) if last else None
    if last and _number(last) < _number(first):
        return None
    stop = min(size, _number(last) + 1) if last else size
    return Span(min(_number(first), stop), stop)


def _number(digits: str) -> int:
    """Read a number; one beyond every object is as good as another, and takes time to read."""
    short = digits.lstrip("0")
    return int(short or "0") if len(short) <= _DIGITS else 10**_DIGITS


def not_modified(headers: Mapping[str, str], validators: Validators) -> bool:
    """Tell whether the caller has the object already.

    Raises
    ------
    PreconditionFailed
        It is not the one that the caller wants to read of.
    """
    if "if-match" in headers:
        if not _matches(headers["if-match"], validators.etag):
            raise PreconditionFailed("If-Match: the object has changed since")
    elif _since(headers.get("if-unmodified-since"), validators) is False:
        raise PreconditionFailed("If-Unmodified-Since: the object has changed since")
    if "if-none-match" in headers:
        return unchanged(headers["if-none-match"], validators.etag)
    return _since(headers.get("if-modified-since"), validators) is True


def in_range(headers: Mapping[str, str], validators: Validators) -> bool:
    """Tell whether If-Range lets ranges be sent: the object is the one that the caller knows."""
    condition = headers.get("if-range")
    if condition is None:
        return True
    if condition.strip().startswith(('"', "W/")):
        return condition.strip() == validators.etag
    date, modified = _date(condition), validators.modified
    # A date tells nothing of changes within its second (section 8.8.2.2).
    return date is not None and modified is not None and date == int(modified) < int(time()) - 1


def _matches(header: str, etag: str) -> bool:
    """Compare strongly: a weak tag never matches."""
    if header.strip() == "*":
        return True
    return etag in [tag.strip() for tag in _tags(header)]


def _tags(header: str) -> Sequence[str]:
    return [word for word in map(str.strip, header.split(",")) if _STRONG.fullmatch(word)]


def _since(header: str | None, validators: Validators) -> bool | None:
    """Tell whether the object is as old as a date or older; None if that cannot be told."""
    date = _date(header)
    if date is None or validators.modified is None:
        return None
    return int(validators.modified) <= date


def _date(header: str | None) -> int | None:
    """Read a date of HTTP; None for one that is none, which is ignored."""
    try:
        date: datetime | None = parsedate_to_datetime(header) if header else None
        return None if date is None else int(date.timestamp())
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
