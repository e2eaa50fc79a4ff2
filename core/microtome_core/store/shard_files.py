"""Shards that lie in local files, read without an engine: a byte is copied once, and checked once.

TensorStore holds what it reads three times, as a file, as chunks, and as the answer; of arrays that
are read whole, trial after trial, that is most of the time. Here a chunk is read, or decoded, into
its place in the answer. Arrays of any other form, and those in buckets, are TensorStore's.

Source of the format: see `shards`. A chunk and the crc32c after it have themselves a crc32c that is
the same for all chunks.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from io import FileIO
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import crc32c
import numpy as np
import tensorstore as ts
from numcodecs import blosc
from numpy.typing import NDArray

from microtome_core.errors import StorageError
from microtome_core.store.location import Store
from microtome_core.store.shards import ABSENT, index_size, parse_index

_CHECKSUM = 4
# The crc32c of anything that is followed by its own crc32c.
_RESIDUE = 0x48674BC7
# What is read at once, and checked while the processor still has it at hand.
_PIECE = 256 << 10
# Of an answer for which whole chunks are held, how much larger these may be.
_WASTE = 1.25
# Less is read sooner than a thread is begun.
_MANY = 1 << 20

Box = tuple[slice, ...]
S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A part of a chunk: its number in the shard, and from where to where it goes."""

    number: int
    source: Box
    target: Box


@dataclass(frozen=True, slots=True)
class _Run:
    """Chunks of one shard that one thread reads."""

    path: Path
    chunks: Sequence[_Wanted]


@dataclass(frozen=True, slots=True)
class ShardFiles:
    """An array whose shards are files; make it with `shard_files`.

    Parameters
    ----------
    folder : Path
        Of the array.
    shape, chunk, shard : tuple of int
    dtype : dtype
    packed : bool
        Chunks are buffers of Blosc; they are the values themselves otherwise.
    """

    folder: Path
    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    shard: tuple[int, ...]
    dtype: np.dtype[Any]
    packed: bool

    def read(self, box: Box, threads: int = 1) -> NDArray[Any]:
        """Return a part of the array; a view of the chunks that hold it if these hold no more.

        Parameters
        ----------
        box : tuple of slice
            Within the array, without steps, not empty.
        threads : int
            That share the chunks of a large part.

        Raises
        ------
        StorageError
            Storage failed, or a shard that is missing, cut short, or does not match a checksum.
        """
        if any(not 0 <= s.start < s.stop <= n for s, n in zip(box, self.shape, strict=True)):
            raise StorageError(f"{self.folder}: has {self.shape}, asked for {box}")
        room = self._room(box)
        out = np.empty([s.stop - s.start for s in room], self.dtype)
        shared = threads if out.nbytes >= _MANY else 1
        runs = list(self._runs(box, room, shared))
        in_threads(partial(self._run, out), runs, shared)
        return out[_within(box, room)]

    def _room(self, box: Box) -> Box:
        """Return the part for which there is to be room in memory.

        Chunks that follow each other along the first axis alone lie in memory as in their shard:
        with room for all of them, they need not be copied.
        """
        whole = tuple(
            slice(s.start // n * n, -(-s.stop // n) * n)
            for s, n in zip(box, self.chunk, strict=True)
        )
        columns = zip(whole[1:], self.chunk[1:], strict=True)
        straight = all(s.stop - s.start == n for s, n in columns)
        return whole if straight and _size(whole) <= _WASTE * _size(box) else box

    def _runs(self, box: Box, room: Box, threads: int) -> Iterator[_Run]:
        """Yield the chunks to read, by their file, and so that threads have something to share."""
        shards = list(product(*(_cells(s, n) for s, n in zip(box, self.shard, strict=True))))
        shares = -(-threads // len(shards))
        for shard in shards:
            wanted = list(self._wanted(shard, box, room))
            path = self.folder / "c" / "/".join(map(str, shard))
            for first in range(min(shares, len(wanted))):
                yield _Run(path, wanted[first::shares])

    def _wanted(self, shard: Sequence[int], box: Box, room: Box) -> Iterator[_Wanted]:
        """Yield the chunks of a shard that hold a part of a box."""
        counts = [s // n for s, n in zip(self.shard, self.chunk, strict=True)]
        first = [i * count for i, count in zip(shard, counts, strict=True)]
        spans = []
        for part, edge, low, count in zip(box, self.chunk, first, counts, strict=True):
            cells = _cells(part, edge)
            spans.append(range(max(cells.start, low), min(cells.stop, low + count)))
        for cell in product(*spans):
            chunk = tuple(slice(i * n, (i + 1) * n) for i, n in zip(cell, self.chunk, strict=True))
            taken = tuple(
                slice(max(c.start, r.start), min(c.stop, r.stop))
                for c, r in zip(chunk, room, strict=True)
            )
            inner = [i - low for i, low in zip(cell, first, strict=True)]
            number = int(np.ravel_multi_index(inner, counts))
            yield _Wanted(number, _within(taken, chunk), _within(taken, room))

    def _run(self, out: NDArray[Any], run: _Run) -> None:
        """Read chunks of one shard into their places."""
        try:
            with FileIO(run.path) as file:
                places = self._places(file, [wanted.number for wanted in run.chunks])
                for wanted, (offset, count) in zip(run.chunks, places, strict=True):
                    self._chunk(file, offset, count, wanted, out[wanted.target])
        except (OSError, StorageError) as error:
            raise StorageError(f"{run.path}: {error}") from error

    def _places(self, file: FileIO, numbers: Sequence[int]) -> list[tuple[int, int]]:
        """Return where some chunks of a shard lie, and their bytes."""
        room = prod(s // c for s, c in zip(self.shard, self.chunk, strict=True))
        end = file.seek(0, 2) - index_size(room)
        if end < 0:
            raise StorageError("is too short for its index: truncated")
        file.seek(end)
        index = parse_index(file.read(index_size(room)), room)
        found = [(int(index[n, 0]), int(index[n, 1])) for n in numbers]
        for number, (offset, count) in zip(numbers, found, strict=True):
            if offset == ABSENT:
                raise StorageError(f"lacks chunk {number}")
            if not _CHECKSUM < count <= end - offset:
                raise StorageError(f"chunk {number} has {count} bytes at {offset}, beyond its end")
        return found

    def _chunk(
        self, file: FileIO, offset: int, count: int, wanted: _Wanted, place: NDArray[Any]
    ) -> None:
        """Read one chunk into its place."""
        nbytes, held = prod(self.chunk) * self.dtype.itemsize, count - _CHECKSUM
        if not self.packed and held != nbytes:
            raise StorageError(f"chunk {wanted.number} has {held} bytes, expected {nbytes}")
        # The place is all of a chunk, and in one piece: no copy is needed.
        straight = place.shape == self.chunk and place.flags.c_contiguous
        whole = place if straight else np.empty(self.chunk, self.dtype)
        raw = np.empty(held, np.uint8) if self.packed else _bytes(whole)
        file.seek(offset)
        if _read(file, raw) != _RESIDUE:
            raise StorageError(f"chunk {wanted.number} does not match its checksum")
        if self.packed:
            _unpack(raw, _bytes(whole), wanted.number)
        if not straight:
            place[...] = whole[wanted.source]


def _cells(part: slice, edge: int) -> range:
    """Return the numbers of the chunks, or shards, that hold a part of an axis."""
    return range(part.start // edge, -(-part.stop // edge))


def _within(part: Box, whole: Box) -> Box:
    """Return a part as it is counted from where the whole begins."""
    return tuple(
        slice(p.start - w.start, p.stop - w.start) for p, w in zip(part, whole, strict=True)
    )


def _size(box: Box) -> int:
    return prod(s.stop - s.start for s in box)


def _bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    return values.reshape(-1).view(np.uint8)


def _read(file: FileIO, raw: NDArray[np.uint8]) -> int:
    """Fill `raw` and return the crc32c of it and of the checksum that follows."""
    view, crc = raw.data, 0
    for first in range(0, len(view), _PIECE):
        piece = view[first : first + _PIECE]
        if file.readinto(piece) != len(piece):
            raise StorageError("ends within a chunk: truncated")
        crc = crc32c.crc32c(piece, crc)
    return crc32c.crc32c(file.read(_CHECKSUM), crc)


def _unpack(raw: NDArray[np.uint8], into: NDArray[np.uint8], number: int) -> None:
    """Decode a buffer of Blosc, whose header tells what it holds, and its own length."""
    held, size = (int(n) for n in raw[4:16].view("<u4")[::2]) if len(raw) >= 16 else (0, 0)
    if (held, size) != (len(into), len(raw)):
        raise StorageError(f"chunk {number} holds {held} bytes, expected {len(into)}")
    try:
        blosc.decompress(raw, into)
    except (RuntimeError, ValueError) as error:
        raise StorageError(f"chunk {number} cannot be decoded: {error}") from error


def in_threads(work: Callable[[S], T], items: Sequence[S], threads: int) -> list[T]:
    """Return what `work` gives for each item, some at a time; the first failure is raised."""
    if threads < 2 or len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(threads, len(items)), "shards") as pool:
        return list(pool.map(work, items))


def shard_files(store: Store, path: str, array: ts.TensorStore) -> ShardFiles | None:
    """Return an array's shards as files; None where they are none, or of another form.

    Parameters
    ----------
    store : Store
    path : str
        Of the array's folder below the root.
    array : TensorStore
        The same, open.
    """
    folder = store.local(path)
    told = array.spec().to_json().get("metadata", {})
    codecs = told.get("codecs", [])
    if folder is None or len(codecs) != 1 or codecs[0].get("name") != "sharding_indexed":
        return None
    sharding = codecs[0]["configuration"]
    names = [codec["name"] for codec in sharding["codecs"]]
    known = (
        names in (["bytes", "crc32c"], ["bytes", "blosc", "crc32c"])
        and [codec["name"] for codec in sharding["index_codecs"]] == ["bytes", "crc32c"]
        and sharding.get("index_location", "end") == "end"
        and _is_below_c(told.get("chunk_key_encoding", {}))
        and _is_native(sharding["codecs"][0], array.dtype.numpy_dtype)
    )
    return (
        ShardFiles(
            folder,
            tuple(array.shape),
            tuple(sharding["chunk_shape"]),
            tuple(told["chunk_grid"]["configuration"]["chunk_shape"]),
            array.dtype.numpy_dtype,
            packed="blosc" in names,
        )
        if known
        else None
    )


def _is_below_c(keys: dict[str, Any]) -> bool:
    """Tell whether shards are files in folders, as ``c/0/1``."""
    separator = keys.get("configuration", {}).get("separator", "/")
    return (keys.get("name", "default"), separator) == ("default", "/")


def _is_native(codec: dict[str, Any], dtype: np.dtype[Any]) -> bool:
    little = codec.get("configuration", {}).get("endian", "little") == "little"
    return dtype.kind in "biuf" and little and np.little_endian
