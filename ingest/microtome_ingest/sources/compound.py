"""Compound files: streams in sectors, found without reading them.

Source of the format: Microsoft, [MS-CFB] Compound File Binary File Format. A table names the sector
that follows each one; small streams lie in sectors of 64 bytes of a stream of their own.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import SourceError
from microtome_ingest.files import Bytes, Files

MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_END, _LAST, _NONE = 0xFFFFFFFE, 0xFFFFFFFA, 0xFFFFFFFF
_MINI, _ENTRY, _HEADER = 64, 128, 512
_STORAGE, _STREAM, _ROOT = 1, 2, 5
# Of the directory and of the table of small streams, which are read whole.
_MOST_BYTES = 64 << 20

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class _Entry:
    """A storage or a stream of the directory."""

    name: str
    kind: int
    left: int
    right: int
    child: int
    start: int
    size: int

    @classmethod
    def of(cls, data: bytes, version: int) -> "_Entry":
        length, kind, _, left, right, child = struct.unpack_from("<HBBIII", data, 64)
        start, size = struct.unpack_from("<IQ", data, 116)
        name = data[: max(0, min(length, 64) - 2)].decode("utf-16-le", "replace")
        # Version 3 leaves the upper half undefined.
        return cls(
            name, kind, left, right, child, start, size & 0xFFFFFFFF if version == 3 else size
        )


class _Chains:
    """A table of sectors: which one follows which."""

    def __init__(self, table: NDArray[np.uint32], path: str) -> None:
        self._table, self._path = table, path
        numbers = np.arange(len(table), dtype="uint32")
        ends = table != numbers + 1
        ends[-1:] = True
        breaks = np.flatnonzero(ends).astype("uint32")
        # Where the run ends that each sector is in.
        self._stops = breaks[np.searchsorted(breaks, numbers)]

    def runs(self, start: int) -> Iterator[tuple[int, int]]:
        """Yield first sector and count of the runs of a chain."""
        total = 0
        while start != _END:
            if start >= len(self._table):
                raise SourceError(self._path, f"sector {start} of {len(self._table)}: damaged")
            stop = int(self._stops[start])
            total += stop - start + 1
            if total > len(self._table):
                raise SourceError(self._path, "a chain of sectors runs in a circle: damaged")
            yield start, stop - start + 1
            start = int(self._table[stop])


class Compound:
    """The directory of a compound file.

    Parameters
    ----------
    files : Files
    data : Bytes
        Of the file; not held.

    Raises
    ------
    SourceError
        Damage.
    """

    def __init__(self, files: Files, data: Bytes) -> None:
        self._path, self._size = data.path, data.stamp.size
        head = bytes(data.read(0, min(_HEADER, self._size)))
        if not head.startswith(MAGIC) or len(head) < _HEADER:
            raise SourceError(self._path, f"is no compound file: it starts with {head[:8]!r}")
        version, order, shift, mini = struct.unpack_from("<HHHH", head, 26)
        if (version, shift) not in ((3, 9), (4, 12)) or order != 0xFFFE or mini != 6:
            reason = f"version {version}, sectors of 2^{shift} and 2^{mini}, order {order:x}"
            raise SourceError(self._path, f"{reason}: not supported or damaged")
        self._sector = 1 << shift
        fats, directory, _, self._cutoff, minifat, _, difat, difats = struct.unpack_from(
            "<8I", head, 44
        )
        self._chains = _Chains(self._table(files, data, head, fats, difat, difats), self._path)
        self._entries = self._directory(files, data, directory, version)
        self._mini = _Chains(self._minitable(files, data, minifat), self._path)
        root = self._entries[0]
        self._root = self._large(root.start, root.size, "the small streams")
        self._streams = dict(self._walk())

    @property
    def streams(self) -> Mapping[str, int]:
        """Size of every stream by its path."""
        return {path: self._entries[i].size for path, i in self._streams.items()}

    def ranges(self, stream: str) -> Ranges:
        """Return offset and count of the parts of a stream in the file.

        Raises
        ------
        SourceError
            A chain that is damaged, shorter than the stream, or beyond the end of the file.
        """
        entry = self._entries[self._streams[stream]]
        if entry.size >= self._cutoff:
            return self._large(entry.start, entry.size, stream)
        parts: list[tuple[int, int]] = []
        left = entry.size
        for first, count in self._mini.runs(entry.start) if left else ():
            parts += _cut(self._root, first * _MINI, min(left, count * _MINI))
            left -= min(left, count * _MINI)
        return self._checked(parts, entry.size, stream)

    def _large(self, start: int, size: int, name: str) -> Ranges:
        parts: list[tuple[int, int]] = []
        left = size
        for first, count in self._chains.runs(start) if left else ():
            taken = min(left, count * self._sector)
            if taken:
                parts.append(((first + 1) * self._sector, taken))
            left -= taken
        return self._checked(parts, size, name)

    def _checked(self, parts: Sequence[tuple[int, int]], size: int, name: str) -> Ranges:
        end = max((offset + count for offset, count in parts), default=0)
        if sum(count for _, count in parts) < size or end > self._size:
            held = sum(max(0, min(count, self._size - offset)) for offset, count in parts)
            raise SourceError(self._path, f"{name}: {held} of {size} bytes are there: truncated")
        return tuple(parts)

    def _sectors(self, files: Files, data: Bytes, numbers: Sequence[int]) -> NDArray[np.uint32]:
        """Return sectors as numbers."""
        if any(n > _LAST or (n + 1) * self._sector >= self._size for n in numbers):
            raise SourceError(self._path, "a table of sectors lies beyond the end: truncated")
        wanted = [
            (data, at, min(self._sector, self._size - at))
            for at in ((n + 1) * self._sector for n in numbers)
        ]
        parts = [bytes(view).ljust(self._sector, b"\xff") for view in files.fetch(wanted)]
        return np.frombuffer(b"".join(parts), "<u4")

    def _table(
        self, files: Files, data: Bytes, head: bytes, fats: int, difat: int, difats: int
    ) -> NDArray[np.uint32]:
        numbers = list(struct.unpack_from("<109I", head, 76))
        most = self._size // self._sector + 1
        if fats > most or difats > most:
            raise SourceError(self._path, f"{fats} tables of sectors in {most} sectors: damaged")
        for _ in range(difats):
            more = self._sectors(files, data, [difat])
            numbers += more[:-1].tolist()
            difat = int(more[-1])
        return self._sectors(files, data, numbers[:fats])

    def _directory(self, files: Files, data: Bytes, start: int, version: int) -> list[_Entry]:
        raw = self._sectors(files, data, self._chain(start)).tobytes()
        cuts = range(0, len(raw), _ENTRY)
        found = [_Entry.of(raw[at : at + _ENTRY], version) for at in cuts]
        if not found or found[0].kind != _ROOT:
            raise SourceError(self._path, "its directory has no root: damaged")
        return found

    def _minitable(self, files: Files, data: Bytes, start: int) -> NDArray[np.uint32]:
        return self._sectors(files, data, self._chain(start) if start <= _LAST else [])

    def _chain(self, start: int) -> list[int]:
        runs = list(self._chains.runs(start))
        size = sum(count for _, count in runs) * self._sector
        if size > _MOST_BYTES:
            raise SourceError(self._path, f"a directory of {size} bytes: damaged")
        return [first + i for first, count in runs for i in range(count)]

    def _walk(self) -> Iterator[tuple[str, int]]:
        """Yield path and number of every stream; the directory is a tree of trees."""
        left, seen = [(self._entries[0].child, "")], set[int]()
        while left:
            number, prefix = left.pop()
            if number == _NONE:
                continue
            if number >= len(self._entries) or number in seen:
                raise SourceError(self._path, f"entry {number} of its directory: damaged")
            seen.add(number)
            entry = self._entries[number]
            left += [(entry.left, prefix), (entry.right, prefix)]
            if entry.kind == _STORAGE:
                left.append((entry.child, f"{prefix}{entry.name}/"))
            elif entry.kind == _STREAM:
                yield prefix + entry.name, number


def read_ranges(files: Files, data: Bytes, ranges: Ranges) -> memoryview:
    """Return the bytes of ranges, one after the other; uncopied where there is one in a map."""
    views = files.fetch([(data, offset, count) for offset, count in ranges])
    return views[0] if len(views) == 1 else memoryview(b"".join(views))


def _cut(ranges: Ranges, start: int, count: int) -> list[tuple[int, int]]:
    """Return the parts of a range of a stream; fewer bytes where the stream ends before."""
    parts: list[tuple[int, int]] = []
    at = 0
    for offset, size in ranges:
        low, high = max(start, at), min(start + count, at + size)
        if low < high:
            parts.append((offset + low - at, high - low))
        at += size
    return parts
