"""Zarr's shards: which of their chunks were written.

Source: Zarr codec ``sharding_indexed`` 1.0. The index has offset and size of each chunk in C order,
64 bits each, all of them set where a chunk is absent; a CRC-32C follows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

from microtome_core.grid import Grid
from microtome_core.region import Region
from microtome_ingest.files import is_remote
from microtome_ingest.sources.chunk_folder import Folder, storage_told

_ABSENT = np.uint64(2**64 - 1)
_MOST_LOOKED_INTO, _MOST_REMOTE = 5_000, 500
_MOST_CHUNKS = 2_000_000
_INDEX = ("bytes", "crc32c")
_CHECKSUM = 4


@dataclass(frozen=True, slots=True)
class Shards:
    """What lies in the shards of an array.

    Parameters
    ----------
    chunk : tuple of int
        Extents.
    first : bool
        The index lies before the chunks, not after them.
    plain : bool
        The index is not compressed, so that its place is known.
    """

    chunk: tuple[int, ...]
    first: bool
    plain: bool

    def chunks(self, shards: Grid) -> Grid:
        """Return the grid of chunks of an array whose shards are `shards`."""
        return Grid(shards.axes, shards.shape, self.chunk)

    def absent(
        self,
        folder: Folder,
        inside: str,
        shards: Grid,
        name: Callable[[tuple[int, ...]], str],
        lost: Sequence[tuple[int, ...]],
        present: Sequence[tuple[int, ...]],
    ) -> int | None:
        """Return how many chunks are absent, None where there are too many shards to look into.

        Parameters
        ----------
        folder : Folder
        inside : str
            Where the shards lie in it.
        shards : Grid
        name : callable
            Makes a file's name of a shard's index.
        lost, present : sequences of index
            Shards that are not there, and those that are.

        Raises
        ------
        SourceError
            An index that is damaged.
        """
        most = _MOST_REMOTE if is_remote(folder.path) else _MOST_LOOKED_INTO
        if not self.plain or len(present) > most or self.chunks(shards).size > _MOST_CHUNKS:
            return None
        count = sum(prod(self._counts(shards.region(index))) for index in lost)
        with storage_told(folder.path):
            store = ts.KvStore.open(folder.spec(inside), context=folder.context).result()
        room = tuple(n // c for n, c in zip(shards.cell, self.chunk, strict=True))
        size = 16 * prod(room) + _CHECKSUM
        span = slice(0, size) if self.first else slice(-size, None)
        futures = [store.read(name(index), byte_range=span) for index in present]
        for index, future in zip(present, futures, strict=True):
            with storage_told(folder.path, f"{inside}/{name(index)}, its index".removeprefix("/")):
                entries = _entries(future.result().value, size).reshape(*room, 2)
            there = tuple(slice(n) for n in self._counts(shards.region(index)))
            count += int((entries[there] == _ABSENT).all(-1).sum())
        return count

    def _counts(self, shard: Region) -> tuple[int, ...]:
        """Return how many chunks of a shard lie in the array, by axis."""
        return tuple(-(-n // c) for n, c in zip(shard.shape, self.chunk, strict=True))


def shards_of(codecs: Sequence[Mapping[str, Any]]) -> Shards | None:
    """Return what the codecs of an array say of its shards, None where it has none."""
    if not codecs or codecs[0].get("name") != "sharding_indexed":
        return None
    words = codecs[0]["configuration"]
    names = tuple(codec.get("name") for codec in words.get("index_codecs", []))
    first = words.get("index_location", "end") == "start"
    return Shards(tuple(words["chunk_shape"]), first, names == _INDEX and len(codecs) == 1)


def _entries(data: bytes, size: int) -> NDArray[np.uint64]:
    if len(data) != size:
        raise ValueError(f"{len(data)} of {size} bytes: truncated")
    return np.frombuffer(data[:-_CHECKSUM], "<u8")
