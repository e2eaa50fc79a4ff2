"""The ledger of a layer: every shard that it must have, its length and digest, or that it is empty.

::

    layer/0/ledger/job.json              what is made of what, since before the first shard
    layer/0/ledger/journal/*.jsonl       while it is made: what is done, written in batches
    layer/0/ledger/shards-00000.jsonl    once it is whole: all shards, in order

It lies in the folder of level 0, where no reader of Zarr looks, and moves with the layer. Every
file is written whole, durably and atomically, so it serves folders and object stores alike.
A line is one of ``{"shard": "0/c/1/2/3", "bytes": 123, "xxh3": "…"}`` (XXH3 of 128 bits over the
stored object), ``{"shard": "0/c/1/2/4", "empty": true}`` (all voxels are 0: nothing is stored, on
purpose) and ``{"file": 0, "sha256": "…"}`` (a file of the source). The last line is the digest of
those before it.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, product
from threading import Lock
from time import monotonic
from types import TracebackType
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from microtome_core.errors import StorageError
from microtome_core.grid import Grid
from microtome_core.store.location import Store

FOLDER = "0/ledger"
_RECORD = np.dtype([("length", "<i8"), ("high", "<u8"), ("low", "<u8")])
_UNKNOWN = -1
_SEALED = re.compile(r"/shards-\d{5}\.jsonl$")
_NUMBER = "(?:0|[1-9][0-9]{0,17})"
_KEY = re.compile(rf"({_NUMBER})/c((?:/{_NUMBER})*)")
# Lines of a file of the journal, and of the finished ledger.
_JOURNAL_LINES = 1000
_SHARD_LINES = 16384
# The journal is written when so many entries, or the entries of so many seconds, wait.
_WAITING = 256
_SECONDS = 2.0
_READERS = 16


@dataclass(frozen=True, slots=True)
class Entry:
    """One shard that was written, or that is empty.

    Parameters
    ----------
    level : int
    index : tuple of int
        Of the shard in its level's grid.
    length : int
        Bytes of the stored object; 0 for a shard that is empty and not stored.
    digest : str
        XXH3 of 128 bits over the object, 32 hexadecimal digits; empty for an empty shard.
    """

    level: int
    index: tuple[int, ...]
    length: int
    digest: str

    @property
    def key(self) -> str:
        """The object's key below the layer's version: Zarr's default chunk key."""
        return shard_key(self.level, self.index)

    def to_line(self) -> dict[str, Any]:
        """Return what a line of the ledger holds."""
        if not self.length:
            return {"shard": self.key, "empty": True}
        return {"shard": self.key, "bytes": self.length, "xxh3": self.digest}

    @classmethod
    def of_line(cls, line: dict[str, Any]) -> "Entry":
        """Read what `to_line` returns."""
        place = parse_key(line["shard"])
        if place is None:
            raise ValueError(f"{line['shard']!r} is no key of a shard")
        if line.get("empty"):
            return cls(*place, 0, "")
        return cls(*place, int(line["bytes"]), str(line["xxh3"]))


def shard_key(level: int, index: tuple[int, ...]) -> str:
    """Return the key of a shard below its layer's version.

    >>> shard_key(1, (0, 2, 3))
    '1/c/0/2/3'
    """
    return "/".join(map(str, (level, "c", *index)))


def parse_key(key: str) -> tuple[int, tuple[int, ...]] | None:
    """Return level and index of a shard's key, None for any other.

    >>> parse_key("1/c/0/2/3")
    (1, (0, 2, 3))
    """
    match = _KEY.fullmatch(key)
    return (int(match[1]), tuple(map(int, match[2].split("/")[1:]))) if match else None


class Ledger:
    """What is known of every shard of every level; 24 bytes a shard.

    Parameters
    ----------
    grids : sequence of Grid
        The shards of each level, finest first.
    """

    def __init__(self, grids: Sequence[Grid]) -> None:
        self.grids = tuple(grids)
        self.files: dict[int, str] = {}
        self._tables = [_unknown(grid) for grid in grids]

    def __contains__(self, place: tuple[int, tuple[int, ...]]) -> bool:
        level, index = place
        return bool(self._tables[level][index]["length"] != _UNKNOWN)

    def entry(self, level: int, index: tuple[int, ...]) -> Entry | None:
        """Return what is known of one shard."""
        length, high, low = map(int, self._tables[level][index])
        if length == _UNKNOWN:
            return None
        return Entry(level, index, length, f"{high:016x}{low:016x}" if length else "")

    def add(self, entry: Entry) -> None:
        """Note a shard; one that is known already is replaced.

        Raises
        ------
        ValueError
            No shard of these levels.
        """
        if not self._has(entry.level, entry.index):
            raise ValueError(f"{entry.key} is no shard of these levels")
        high, low = (int(entry.digest[i : i + 16] or "0", 16) for i in (0, 16))
        self._tables[entry.level][entry.index] = (entry.length, high, low)

    def forget(self, level: int, index: tuple[int, ...]) -> None:
        """Let a shard count as not written."""
        self._tables[level][index] = (_UNKNOWN, 0, 0)

    def expects(self, key: str) -> Entry | None:
        """Return the entry of a key, None where no object should lie there."""
        place = parse_key(key)
        return self.entry(*place) if place and self._has(*place) else None

    def count(self, level: int) -> int:
        """Return how many shards of a level are known."""
        return int(np.count_nonzero(self._tables[level]["length"] != _UNKNOWN))

    @property
    def whole(self) -> bool:
        """Whether every shard is known."""
        return all(self.count(level) == grid.size for level, grid in enumerate(self.grids))

    def done(self, level: int) -> NDArray[np.bool_]:
        """Return which shards of a level are known now, in the shape of its grid."""
        return np.asarray(self._tables[level]["length"] != _UNKNOWN)

    @property
    def known(self) -> int:
        """How many shards are known."""
        return sum(self.count(level) for level in range(len(self.grids)))

    def missing(self, level: int) -> Iterator[tuple[int, ...]]:
        """Yield the shards of a level that are not known."""
        unknown = self._tables[level]["length"] == _UNKNOWN
        return (tuple(map(int, index)) for index in np.argwhere(unknown))

    def entries(self, level: int, shards: Sequence[slice] | None = None) -> Iterator[Entry]:
        """Yield the shards of a level, or of slices of its grid, that are known; in C order."""
        whole = [slice(0, count) for count in self.grids[level].counts]
        for index in product(*(range(s.start, s.stop) for s in shards or whole)):
            if (entry := self.entry(level, index)) is not None:
                yield entry

    def empty(self, level: int) -> NDArray[np.bool_]:
        """Return which shards of a level are empty on purpose, in the shape of its grid."""
        return np.asarray(self._tables[level]["length"] == 0)

    @property
    def stored_bytes(self) -> int:
        """Bytes of all objects."""
        return sum(int(table["length"][table["length"] > 0].sum()) for table in self._tables)

    def _has(self, level: int, index: tuple[int, ...]) -> bool:
        if not 0 <= level < len(self.grids):
            return False
        counts = self.grids[level].counts
        return len(index) == len(counts) and all(
            0 <= i < n for i, n in zip(index, counts, strict=True)
        )


class Journal:
    """Notes in a ledger, and durably in the store, what one writer has done.

    Parameters
    ----------
    store : Store
    folder : str
        Of the layer's version, below the root.
    ledger : Ledger
    writer : str
        A name that no other journal of this layer has.
    """

    def __init__(self, store: Store, folder: str, ledger: Ledger, writer: str) -> None:
        self._store, self._ledger = store, ledger
        self._path = f"{journal_folder(folder)}/{writer}"
        self._lock = Lock()
        self._lines: list[dict[str, Any]] = []
        self._part = self._waiting = 0
        self._closed = False
        self._flushed = monotonic()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.flush()
        else:
            # What failed first is what the user must know; what is not noted is done again.
            with suppress(StorageError):
                self.flush()
        with self._lock:
            self._closed = True

    def add(self, entry: Entry) -> None:
        """Note a shard that lies durably in the store; may be called from several threads."""
        with self._lock:
            self._ledger.add(entry)
            self._note(entry.to_line())

    def add_file(self, number: int, sha256: str) -> None:
        """Note the hash of a file of the source."""
        with self._lock:
            self._ledger.files[number] = sha256
            self._note(_file(number, sha256))

    def flush(self) -> None:
        """Write what waits."""
        with self._lock:
            self._flush()

    def _note(self, line: dict[str, Any]) -> None:
        if self._closed:
            raise StorageError(f"{self._path}: a shard came after this journal was closed")
        self._lines.append(line)
        self._waiting += 1
        if self._waiting >= _WAITING or monotonic() - self._flushed > _SECONDS:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._store.write(f"{self._path}-{self._part:06d}.jsonl", _document(self._lines))
            self._waiting = 0
            if len(self._lines) >= _JOURNAL_LINES:
                self._part, self._lines = self._part + 1, []
        self._flushed = monotonic()


def journal_folder(folder: str) -> str:
    """Return where the journals of a layer's version lie."""
    return f"{folder}/{FOLDER}/journal"


def load_journal(store: Store, folder: str, ledger: Ledger) -> None:
    """Note in `ledger` what all journals of a layer's version say is done, and what was sealed.

    Raises
    ------
    StorageError
        A journal that is damaged or of another layer.
    """
    files = (key for key, _ in store.sizes(f"{folder}/{FOLDER}"))
    _load(store, sorted(key for key in files if key.endswith(".jsonl")), ledger)


def seal(store: Store, folder: str, ledger: Ledger) -> None:
    """Write the finished ledger, the same bytes whoever wrote the shards.

    Raises
    ------
    StorageError
        Shards are not known yet.
    """
    if not ledger.whole:
        raise StorageError(f"{folder}: shards are missing from the ledger")
    lines: list[dict[str, Any]] = [_file(*found) for found in sorted(ledger.files.items())]
    part = 0
    for entry in chain.from_iterable(map(ledger.entries, range(len(ledger.grids)))):
        lines.append(entry.to_line())
        if len(lines) >= _SHARD_LINES:
            store.write(_sealed(folder, part), _document(lines))
            lines, part = [], part + 1
    if lines:
        store.write(_sealed(folder, part), _document(lines))


def load_sealed(store: Store, folder: str, grids: Sequence[Grid]) -> Ledger:
    """Read a finished ledger.

    Raises
    ------
    StorageError
        There is none, it is damaged, or it does not name every shard.
    """
    ledger = Ledger(grids)
    paths = (key for key, _ in store.sizes(f"{folder}/{FOLDER}"))
    _load(store, sorted(path for path in paths if _SEALED.search(path)), ledger)
    if not ledger.whole:
        raise StorageError(f"{store.url}/{folder}/{FOLDER}: does not name every shard")
    return ledger


def forget_journal(store: Store, folder: str) -> None:
    """Remove the journals of a layer whose ledger is sealed."""
    store.delete(journal_folder(folder))


def _load(store: Store, paths: Iterable[str], ledger: Ledger) -> None:
    with ThreadPoolExecutor(_READERS, thread_name_prefix="ledger") as pool:
        for path, data in zip(paths, pool.map(store.read, paths), strict=True):
            for line in _lines(f"{store.url}/{path}", data):
                _enter(f"{store.url}/{path}", line, ledger)


def _enter(where: str, line: dict[str, Any], ledger: Ledger) -> None:
    try:
        if "file" in line:
            ledger.files[int(line["file"])] = str(line["sha256"])
        else:
            ledger.add(Entry.of_line(line))
    except (ValueError, LookupError, TypeError) as error:
        raise StorageError(f"{where}: {str(line)[:200]}: {error}") from error


def _document(lines: Iterable[dict[str, Any]]) -> bytes:
    body = "".join(f"{json.dumps(line)}\n" for line in lines).encode()
    return body + json.dumps({"xxh3": xxhash.xxh3_128_hexdigest(body)}).encode() + b"\n"


def _lines(where: str, data: bytes | None) -> Iterator[dict[str, Any]]:
    """Yield the lines of a file of the ledger; refuse one whose digest does not match."""
    if data is None:
        raise StorageError(f"{where}: this part of the ledger is missing")
    cut = data.rstrip(b"\n").rfind(b"\n") + 1
    if data[cut:] != json.dumps({"xxh3": xxhash.xxh3_128_hexdigest(data[:cut])}).encode() + b"\n":
        raise StorageError(f"{where}: this part of the ledger is damaged")
    yield from map(json.loads, data[:cut].splitlines())


def _unknown(grid: Grid) -> NDArray[Any]:
    table = np.zeros(grid.counts, _RECORD)
    table["length"] = _UNKNOWN
    return table


def _file(number: int, sha256: str) -> dict[str, Any]:
    return {"file": number, "sha256": sha256}


def _sealed(folder: str, part: int) -> str:
    return f"{folder}/{FOLDER}/shards-{part:05d}.jsonl"
