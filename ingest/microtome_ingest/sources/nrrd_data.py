"""Where NRRD's voxels lie: behind the header, in another file, or in many; how they are encoded."""

import os
import re
from functools import partial
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from microtome_core.errors import SourceError
from microtome_ingest.files import Bytes, Files, is_remote
from microtome_ingest.sources.inflated import RATIOS, check_ratio, decoded
from microtome_ingest.sources.nrrd_header import TEXTS, Header
from microtome_ingest.sources.nrrd_text import decoded_text
from microtome_ingest.sources.raw_source import Piece

_ENCODINGS = {"gz": "gzip", "bz2": "bzip2"} | dict.fromkeys(TEXTS, "text")
_PATTERN = re.compile(
    r"([^%]*)%(0?)(\d?)d([^%]*?)\s+(-?\d{1,9})\s+(-?\d{1,9})\s+(-?\d{1,9})(?:\s+(\d+))?"
)
_LIST = re.compile(r"LIST(?:\s+(\d+))?")
_LONGEST_LINE, _MOST_LINES = 1 << 20, 1 << 20
# So many files are listed with their folder rather than looked at one by one.
_MANY = 8


def pieces(
    header: Header, files: Files, dtype: np.dtype[Any]
) -> tuple[list[Piece], tuple[int, ...]]:
    """Return the parts of the array in C order, and the extents of each, the slowest axis first.

    Raises
    ------
    SourceError
        Files that are missing, outside of the header's folder, too short, too long, or that are
        more or fewer than the sizes say; an encoding that is not known.
    """
    shape = header.sizes[::-1]
    paths, cell = _placed(header, shape)
    if len(paths) > _MANY:
        files.folder(str(header.path).rpartition("/")[0] or ".")
    count = prod(cell) * dtype.itemsize
    return [_piece(header, path, files, dtype, count) for path in paths], cell


def _placed(header: Header, shape: tuple[int, ...]) -> tuple[list[str], tuple[int, ...]]:
    """Return files, and the extents of what is in each."""
    text = header.texts.get("data file")
    if text is None:
        return [header.path], shape
    listed, pattern = _LIST.fullmatch(text), _PATTERN.fullmatch(text)
    if listed:
        cell = _cell(header.path, shape, len(header.names), listed[1])
        return [_beside(header.path, name) for name in header.names], cell
    if pattern:
        return _numbered(header.path, shape, pattern)
    return [_beside(header.path, text)], shape


def _numbered(
    path: str, shape: tuple[int, ...], pattern: re.Match[str]
) -> tuple[list[str], tuple[int, ...]]:
    """Return the names that printf makes of a pattern such as ``slice%03d.raw``."""
    low, high, step = (int(pattern[i]) for i in (5, 6, 7))
    if step == 0:
        raise SourceError(path, f"data file {pattern[0][:80]!r}: a step of 0")
    numbers = range(low, high + (1 if step > 0 else -1), step)
    cell = _cell(path, shape, len(numbers), pattern[8])
    names = (f"{pattern[1]}{number:{pattern[2]}{pattern[3]}d}{pattern[4]}" for number in numbers)
    return [_beside(path, name) for name in names], cell


def _cell(path: str, shape: tuple[int, ...], count: int, subdim: str | None) -> tuple[int, ...]:
    """Return what each of `count` files holds: an array of `subdim` axes, or a slab of all."""
    axes = len(shape) - 1 if subdim is None else int(subdim)
    if not 1 <= axes <= len(shape):
        raise SourceError(path, f"data files of {axes} axes: expected 1 to {len(shape)}")
    lead = shape[: len(shape) - axes]
    if lead and count == prod(lead):
        return (1,) * len(lead) + shape[len(lead) :]
    if not lead and count and shape[0] % count == 0:
        return (shape[0] // count, *shape[1:])
    wanted = prod(lead) if lead else f"a divisor of {shape[0]}"
    raise SourceError(path, f"names {count} data files: expected {wanted}")


def _beside(path: str, name: str) -> str:
    """Return where a data file lies; only in the folder of the header, or below."""
    relative = PurePosixPath(name.strip())
    folder, slash, _ = path.rpartition("/")
    found = f"{folder}{slash}{relative}"
    outside = relative.is_absolute() or ".." in relative.parts or "://" in name
    if outside or not relative.parts or not (is_remote(path) or _is_below(found, folder or ".")):
        raise SourceError(path, f"names the data file {name[:80]!r} outside of its folder: refused")
    return found


def _is_below(path: str, folder: str) -> bool:
    """Tell whether a local path stays in a folder when links are followed."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _piece(header: Header, path: str, files: Files, dtype: np.dtype[Any], count: int) -> Piece:
    if files.kind(path) != "file":
        raise SourceError(path, f"missing: it holds voxels of {header.path}")
    lines, skip = (_skip(header, name) for name in ("line skip", "byte skip"))
    if lines < 0 or skip < -1:
        raise SourceError(header.path, f"line skip {lines}, byte skip {skip}: out of range")
    with files.open(path) as data:
        at = header.length if path == header.path and "data file" not in header.texts else 0
        at = _after_lines(data, at, lines)
        name = str(header.values["encoding"])
        encoding = _ENCODINGS.get(name, name)
        if encoding == "raw":
            return _raw(data, at, skip, count, dtype.itemsize)
        if encoding in RATIOS:
            return _packed(data, encoding, at, skip, count, dtype.itemsize)
        if encoding in ("text", "hex"):
            return _text(data, at + max(skip, 0), count, dtype, is_hex=encoding == "hex")
    raise SourceError(header.path, f"encoding {name[:40]!r}: not supported")


def _skip(header: Header, name: str) -> int:
    return int(header.values.get(name, 0))


def _after_lines(data: Bytes, at: int, count: int) -> int:
    """Return where the line after `count` others begins."""
    if count == 0:
        return at
    if count > _MOST_LINES:
        raise SourceError(data.path, f"line skip {count}: expected {_MOST_LINES} at most")
    with data.stream() as stream:
        stream.seek(at)
        for i in range(count):
            line = stream.readline(_LONGEST_LINE)
            if not line.endswith(b"\n"):
                reason = f"has only {i} lines to skip, or very long ones: expected {count}"
                raise SourceError(data.path, reason)
            at += len(line)
    return at


def _raw(data: Bytes, at: int, skip: int, count: int, itemsize: int) -> Piece:
    size = data.stamp.size
    offset = size - count if skip < 0 else at + skip
    behind = size - offset - count
    if behind < 0 or offset < at:
        claim = f"claims {count} bytes of voxels at {max(offset, at)}"
        raise SourceError(data.path, f"its header {claim}, but it has {size}: truncated")
    if behind >= itemsize:
        reason = f"holds {behind} bytes more than its header claims: byte skip may be missing"
        raise SourceError(data.path, reason)
    return Piece(data.path, offset)


def _packed(data: Bytes, encoding: str, at: int, skip: int, count: int, itemsize: int) -> Piece:
    check_ratio(data.path, max(skip, 0) + count, data.stamp.size - at, RATIOS[encoding])
    return Piece(
        data.path,
        max(skip, 0),
        partial(decoded, encoding=encoding, at=at),
        last=skip < 0,
        most_behind=None if skip < 0 else itemsize - 1,
    )


def _text(data: Bytes, at: int, count: int, dtype: np.dtype[Any], *, is_hex: bool) -> Piece:
    # A number takes a digit and a space at least, a byte two digits.
    check_ratio(data.path, count, data.stamp.size - at + 1, 0.5 if is_hex else dtype.itemsize / 2)
    kind = None if is_hex else dtype
    decoder = partial(decoded_text, at=at, dtype=kind)
    return Piece(data.path, 0, decoder, most_behind=dtype.itemsize - 1)
