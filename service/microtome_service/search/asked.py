"""What a caller searches for, read from the words of a request. Every error names the parameter."""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from microtome_core.errors import InputError
from microtome_core.names import NAME_PATTERN, check_name
from microtome_core.subjects import SEX_LETTERS, SEXES, WORM_SEXES
from microtome_core.trials import RECORDING
from microtome_service.search.facts import asked_term

# What is sorted by, before the name, and whether from the largest.
SORTS: Mapping[str, tuple[str, bool]] = {
    "name": ("", False), "-name": ("", True), "size": ("nbytes", False), "-size": ("nbytes", True),
    "changed": ("changed", False), "-changed": ("changed", True),
}  # fmt: skip
_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,6})?) ?([kKMGTP]?)(i?)[bB]?")
KINDS = ("image", "labels", RECORDING)
_NAME = re.compile(NAME_PATTERN)
_SEXES = tuple(letter.lower() for letter in (*SEX_LETTERS, *WORM_SEXES))
_LARGEST = 2**63 - 1
_MOST_WORDS = 16
_LONGEST_CURSOR = 600


@dataclass(frozen=True, slots=True)
class Asked:
    """A search.

    Parameters
    ----------
    words : tuple of str
        In lower case; a dataset has each in its name, or in a record.
    collection : str
        Empty for all.
    terms : mapping of str to str
        By field, as they are compared: one layer has all of them, and the kind and size as well.
    kind : str
        Empty for all.
    min_size, max_size : int or None
        In bytes of voxels.
    sort : str
        One of `SORTS`.
    after : tuple
        What the last dataset of the page before is sorted by; empty for the first page.
    limit, offset : int
    facets : bool
        Count the values of each field, too.
    """

    words: tuple[str, ...] = ()
    collection: str = ""
    terms: Mapping[str, str] = field(default_factory=dict)
    kind: str = ""
    min_size: int | None = None
    max_size: int | None = None
    sort: str = "name"
    after: tuple[str | int, ...] = ()
    limit: int = 50
    offset: int = 0
    facets: bool = False

    @property
    def of_layers(self) -> bool:
        """Something is asked of single layers."""
        sizes = (self.min_size, self.max_size)
        return bool(self.terms or self.kind) or any(size is not None for size in sizes)

    @property
    def by_name(self) -> bool:
        """Names alone are asked for, which the store itself can tell."""
        return not (self.of_layers or self.facets) and self.sort in ("name", "-name")


def read_words(text: str) -> tuple[str, ...]:
    """Return the words of ``q``.

    Raises
    ------
    InputError
        More than 16.
    """
    found = tuple(dict.fromkeys(text.casefold().split()))
    if len(found) > _MOST_WORDS:
        raise InputError(f"q holds {len(found)} words: expected {_MOST_WORDS} or less")
    return found


def read_terms(given: Mapping[str, str | None]) -> dict[str, str]:
    """Return what fields are compared with; those that are None are not asked for.

    Raises
    ------
    InputError
        A value without a letter or digit, or a sex that is none.
    """
    terms = {name: asked_term(name, text) for name, text in given.items() if text is not None}
    for name, term in terms.items():
        if not term:
            raise InputError(f"{name}={given[name]!r:.80}: expected letters or digits")
    if terms.get("sex", _SEXES[0]) not in _SEXES:
        known = ", ".join((*SEX_LETTERS, *WORM_SEXES, *SEXES))
        raise InputError(f"sex={given['sex']!r:.80}: expected one of {known}")
    return terms


def read_size(name: str, text: str | None) -> int | None:
    """Return a number of bytes.

    >>> read_size("min_size", "1.5GB"), read_size("max_size", "2 MiB"), read_size("min_size", "7")
    (1500000000, 2097152, 7)

    Raises
    ------
    InputError
        Anything else, or more than 2⁶³ - 1.
    """
    if text is None:
        return None
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise InputError(f"{name}={text!r:.80}: expected bytes, such as 5000000, 1.5GB or 2 MiB")
    number, prefix, binary = match.groups()
    power = " KMGTP".index(prefix.upper() or " ")
    unit: int = (1024 if binary else 1000) ** power
    size = int(Decimal(number) * unit)
    if size > _LARGEST:
        raise InputError(f"{name}={text!r:.80}: expected {_LARGEST} bytes at most")
    return size


def read_kind(text: str | None) -> str:
    """Return a kind of layer.

    Raises
    ------
    InputError
        It is none of `KINDS`.
    """
    if text is None:
        return ""
    if text not in KINDS:
        raise InputError(f"kind={text!r:.80}: expected one of {', '.join(KINDS)}")
    return text


def read_collection(text: str | None) -> str:
    """Return the name of a collection.

    Raises
    ------
    InputError
        It cannot be one.
    """
    if text is None:
        return ""
    try:
        return check_name(text)
    except InputError as error:
        raise InputError(f"collection: {error}") from error


def read_sort(text: str) -> str:
    """Return an order.

    Raises
    ------
    InputError
        It is none of `SORTS`.
    """
    if text not in SORTS:
        raise InputError(f"sort={text!r:.80}: expected one of {', '.join(SORTS)}")
    return text


def write_cursor(sort: str, keys: Sequence[str | int]) -> str:
    """Return a page's end as a word of an address.

    >>> read_cursor("size", write_cursor("size", [5, "demo", "brain"]))
    (5, 'demo', 'brain')
    """
    return base64.urlsafe_b64encode(json.dumps([sort, *keys]).encode()).decode().rstrip("=")


def read_cursor(sort: str, text: str) -> tuple[str | int, ...]:
    """Return where a page begins.

    Raises
    ------
    InputError
        It is no cursor of this service, or one of another order.
    """
    if not text:
        return ()
    known = _decoded(text) if len(text) <= _LONGEST_CURSOR else []
    if not known or known[0] not in SORTS or not _fits(SORTS[str(known[0])][0], known[1:]):
        raise InputError("cursor: expected `next` of an answer")
    if known[0] != sort:
        raise InputError(f"cursor: it is of sort={known[0]}, and sort={sort} is asked for")
    return tuple(known[1:])


def _decoded(text: str) -> list[str | int]:
    try:
        known = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True))
    except ValueError:
        return []
    fit = isinstance(known, list) and all(isinstance(value, str | int) for value in known)
    return known if fit else []


def _fits(column: str, values: Sequence[str | int]) -> bool:
    """Tell whether values are of a column and of a name."""
    *_, collection, name = ["", "", *values]
    if not all(isinstance(n, str) and _NAME.fullmatch(n) for n in (collection, name)):
        return False
    if column == "":
        return len(values) == 2
    value = values[0]
    if column == "nbytes":
        return len(values) == 3 and type(value) is int and 0 <= value <= _LARGEST
    return len(values) == 3 and isinstance(value, str) and value.isascii() and value.isprintable()
