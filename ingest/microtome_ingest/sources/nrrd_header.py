"""Headers of NRRD: fields as pynrrd parses them, key/value pairs apart from them, all verbatim.

Source of the format: Teem, "Definition of NRRD File Format". Names of fields are matched without
case, as Teem does; texts are read as UTF-8, since dropping other letters would make µm of m.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import nrrd
import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import SourceError
from microtome_ingest.files import Bytes

_ALIASES = {
    "datafile": "data file",
    "lineskip": "line skip",
    "byteskip": "byte skip",
    "oldmin": "old min",
    "oldmax": "old max",
    "axismins": "axis mins",
    "axismaxs": "axis maxs",
    "sampleunits": "sample units",
    "blocksize": "block size",
    "centers": "centerings",
}
_VECTORS = {"space origin", "space directions", "measurement frame"}
_WORDS = {"type", "encoding", "endian", "kinds"}
_FIELDS = (
    {
        "dimension", "sizes", "number", "content", "min", "max", "spacings", "thicknesses",
        "labels", "units", "space", "space dimension", "space units",
    }
    | set(_ALIASES.values())
    | _VECTORS
    | _WORDS
)  # fmt: skip
_WITH_TIME = ("rast", "last", "lpst", "3drht", "3dlht")
TEXTS = ("ascii", "text", "txt")
_REQUIRED = ("type", "dimension", "sizes", "encoding")
_LIST = re.compile(r"data ?file: *LIST\b", re.IGNORECASE)
_ESCAPED, _MEANT = re.compile(r"\\([n\\])"), {"n": "\n", "\\": "\\"}
_FIRST, _MOST = 64 << 10, 16 << 20
_MOST_AXES = 16


@dataclass(frozen=True, slots=True)
class Header:
    """A header.

    Parameters
    ----------
    path : str
    length : int
        Bytes up to the voxels, where those are attached.
    magic : str
    values : dict
        Fields as pynrrd parses them.
    texts : dict
        The same verbatim.
    pairs : dict
        Keys and their values.
    comments : tuple of str
    names : tuple of str
        Lines after ``data file: LIST``.
    """

    path: str
    length: int
    magic: str
    values: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    pairs: dict[str, str] = field(default_factory=dict)
    comments: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def sizes(self) -> tuple[int, ...]:
        """Extents, the fastest axis first."""
        return tuple(int(size) for size in self.texts["sizes"].split())

    def per_axis(self, name: str) -> list[Any] | None:
        """Return a value an axis, the fastest first, or None without the field.

        Raises
        ------
        SourceError
            As many values as there are axes are expected.
        """
        if name not in self.values:
            return None
        found = list(self.values[name])
        if len(found) != len(self.sizes):
            reason = f"{name}: {len(found)} values for {len(self.sizes)} axes"
            raise SourceError(self.path, reason)
        return found

    def words(self, name: str) -> list[str]:
        """Return a list of texts, empty without the field."""
        return [str(word) for word in self.values.get(name, ())]

    @property
    def has_time_in_space(self) -> bool:
        """Whether the last dimension of space is time."""
        space = str(self.values.get("space", "")).lower()
        return space.endswith("-time") or space in _WITH_TIME

    def directions(self) -> list[NDArray[np.float64] | None]:
        """Return the step of each axis in space, None for axes that are not in space."""
        rows = self.per_axis("space directions")
        if rows is None:
            return [None] * len(self.sizes)
        return [row if np.isfinite(row).all() and row.any() else None for row in rows]


def read_header(data: Bytes) -> Header:
    """Return the header of a file, attached or detached.

    Raises
    ------
    SourceError
        Not NRRD, fields that are missing, doubled or not to be parsed.
    """
    lines, length = _lines(data)
    magic, rest = lines[0], lines[1:]
    comments = tuple(line[1:].strip() for line in rest if line.startswith("#"))
    kept = [line for line in rest if not line.startswith("#")]
    at = next((i + 1 for i, line in enumerate(kept) if _LIST.match(line)), len(kept))
    names = tuple(kept[at:])
    texts, pairs = _sorted([_parsed(line, data.path) for line in kept[:at]], data.path)
    _check(texts, data.path)
    return Header(data.path, length, magic, _values(magic, texts), texts, pairs, comments, names)


def told_header(told: Mapping[str, Any]) -> Header:
    """Return a header of what a record keeps of it: ``version`` and ``fields``, verbatim."""
    magic, texts = str(told.get("version", "NRRD0005")), dict(told.get("fields") or {})
    return Header("record", 0, magic, _values(magic, texts), texts)


def _values(magic: str, texts: Mapping[str, str]) -> dict[str, Any]:
    lines = (f"{name}: {_normal(name, text)}" for name, text in texts.items())
    return dict(nrrd.read_header([magic, *lines]))


def _lines(data: Bytes) -> tuple[list[str], int]:
    """Return the lines before the first empty one, and where the next line begins."""
    size, count = data.stamp.size, _FIRST
    while True:
        count = min(count, size)
        block = bytes(data.read(0, count))
        lines: list[str] = []
        at = 0
        while (end := block.find(b"\n", at)) >= 0 or (count == size and at < size):
            line = block[at : end if end >= 0 else size].rstrip()
            at = end + 1 if end >= 0 else size
            if not line and lines:
                return lines, at
            lines.append(_text(line))
        if count == size:
            return lines or [""], at
        if count >= _MOST:
            raise SourceError(data.path, f"has no end of its header within {_MOST} bytes")
        count *= 4


def _text(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _parsed(line: str, path: str) -> tuple[str, str, bool]:
    """Return name and value of a line, and whether it is a field."""
    name, colon, value = line.partition(":")
    known = _standard(name)
    is_field = known in _FIELDS and not value.startswith("=")
    if is_field or ":=" not in line:
        if not colon:
            raise SourceError(path, f"its header has a line without a colon: {line[:80]!r}")
        return known if is_field else name.strip(), value.strip(), True
    name, _, value = line.partition(":=")
    return name.strip(), _ESCAPED.sub(lambda m: _MEANT[m[1]], value.strip()), False


def _standard(name: str) -> str:
    name = name.strip().lower()
    return _ALIASES.get(name, name)


def _sorted(
    lines: Sequence[tuple[str, str, bool]], path: str
) -> tuple[dict[str, str], dict[str, str]]:
    """Return fields, and key/value pairs."""
    both: tuple[dict[str, str], dict[str, str]] = {}, {}
    for name, value, is_field in lines:
        target = both[not is_field]
        if name in target:
            raise SourceError(path, f"its header has {name[:80]!r} twice")
        target[name] = value
    texts, pairs = both
    # pynrrd writes fields that it does not expect as if they were pairs, and reads them as fields.
    for name in [name for name in pairs if _standard(name) in _FIELDS - texts.keys()]:
        texts[_standard(name)] = pairs.pop(name)
    return texts, pairs


def _check(texts: dict[str, str], path: str) -> None:
    missing = [name for name in _REQUIRED if name not in texts]
    if missing:
        raise SourceError(path, f"its header is without {', '.join(missing)}")
    count, sizes = texts["dimension"], texts["sizes"].split()
    if not re.fullmatch(r"\d{1,2}", count) or not 1 <= int(count) <= _MOST_AXES:
        raise SourceError(path, f"dimension {count[:20]!r}: expected 1 to {_MOST_AXES}")
    if len(sizes) != int(count) or not all(re.fullmatch(r"\d{1,18}", size) for size in sizes):
        raise SourceError(path, f"sizes {texts['sizes'][:80]!r}: expected {count} whole numbers")


def _normal(name: str, value: str) -> str:
    """Return a value as pynrrd expects it."""
    if name in _VECTORS:
        packed = re.sub(r"\s*([,(])\s*|\s*(?=\))", r"\1", value.lower())
        return packed.replace("(", " (").strip()
    return " ".join(value.lower().split()) if name in _WORDS else value
