"""Reading a layer that may be written at any moment.

The list of empty shards is read anew when it has changed, and every chunk is held against its
shard's generation. Those of a region, together, are its *state*: it changes exactly when voxels
there may have.
"""

import asyncio
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Any

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

from microtome_core.errors import StorageError
from microtome_core.grid import Grid
from microtome_core.region import Region
from microtome_core.store.array import open_snapshot
from microtome_core.store.empty import NAME, Empty, pack_empty, unpack_empty
from microtome_core.store.ledger import shard_key
from microtome_core.store.location import Store
from microtome_core.store.voxels import State, Voxels

EMPTY = b""
_TRIES = 4
_AT_ONCE = 64
_LOCKS = 64


class Live:
    """Which shards of a writable layer are empty, as the store has it now.

    Parameters
    ----------
    store : Store
    folder : str
        Of the layer's version, below the root.
    grids : sequence of Grid
        The shards of each level, finest first.
    """

    def __init__(self, store: Store, folder: str, grids: Sequence[Grid]) -> None:
        self.store, self.folder, self.grids = store, folder, tuple(grids)
        self._path = f"{folder}/{NAME}"
        self._known: tuple[bytes, list[Empty]] | None = None
        self._clearing = Lock()
        self._locks = [Lock() for _ in range(_LOCKS)]

    def path(self, level: int, index: tuple[int, ...]) -> str:
        """Return the path of a shard below the root."""
        return f"{self.folder}/{shard_key(level, index)}"

    def lock(self, level: int, index: tuple[int, ...]) -> Lock:
        """Return what threads of one process hold while they change a shard, to waste no work."""
        return self._locks[hash((level, index)) % _LOCKS]

    async def empty(self) -> list[Empty]:
        """Return one array a level; not to be changed."""
        known = self._known
        return self._learn(known, await self.store.begin_read(self._path, known and known[0]))

    def load_empty(self) -> list[Empty]:
        """Return the same without an event loop."""
        known = self._known
        return self._learn(known, self.store.begin_read(self._path, known and known[0]).result())

    def clear(self, level: int, indices: Sequence[tuple[int, ...]]) -> None:
        """Take shards off the list: their objects lie durably in the store."""

        def change(old: bytes | None) -> bytes:
            if old is None:
                raise StorageError(f"{self._path}: the list of empty shards is missing")
            empty = [each.copy() for each in unpack_empty(old, self.grids, self._path)]
            for index in indices:
                empty[level][index] = False
            return pack_empty(empty)

        # One after another: other processes alone can come between.
        with self._clearing:
            self.store.update(self._path, change)

    def _learn(
        self, known: tuple[bytes, list[Empty]] | None, found: ts.KvStore.ReadResult
    ) -> list[Empty]:
        if known is not None and found.state == "unspecified":
            return known[1]
        if found.state != "value":
            raise StorageError(f"{self._path}: the list of empty shards is missing")
        empty = unpack_empty(bytes(found.value), self.grids, self._path)
        self._known = (found.stamp.generation, empty)
        return empty


class LiveVoxels(Voxels):
    """One level of a writable layer; reads see every write that was answered before they began.

    What is read of one shard is of one moment; shards may be of different ones.

    Parameters
    ----------
    array : TensorStore
        Opened so that what is cached is checked at every read, and a missing chunk is an error.
    shards : Grid
    chunk : tuple of int
        Extents of a chunk.
    live : Live
    level : int
    """

    __slots__ = ("_chunks", "_level", "_live")

    def __init__(
        self, array: ts.TensorStore, shards: Grid, chunk: tuple[int, ...], live: Live, level: int
    ) -> None:
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "shards", shards)
        object.__setattr__(self, "_chunks", Grid(shards.axes, shards.shape, chunk))
        object.__setattr__(self, "_live", live)
        object.__setattr__(self, "_level", level)

    _chunks: Grid
    _live: Live
    _level: int

    @property
    def empty(self) -> NDArray[np.bool_]:
        """Which shards are empty now. Blocks while the list is looked at."""
        return self._live.load_empty()[self._level]

    async def read(self, region: Region) -> NDArray[Any]:
        """Return a region; raises as `Voxels.read`."""
        if self._chunks.count_touched(region) == 1:
            empty = (await self._live.empty())[self._level]
            return await Voxels(self.array, self.shards, empty).read(region)
        before = await self.state(region)
        for _ in range(_TRIES):
            block = await self._known(before).read(region)
            after = await self.state(region)
            if after == before:
                return block
            before = after
        return await self._read_snapshots(region)

    async def is_empty(self, index: tuple[int, ...]) -> bool:
        """Tell whether a shard is empty now; raises as `Voxels.is_empty`."""
        return bool((await self._live.empty())[self._level][index])

    def load(self, region: Region) -> NDArray[Any]:
        """Return a region, of which each chunk is of one moment; raises as `Voxels.load`."""
        return Voxels(self.array, self.shards, self.empty).load(region)

    async def state(self, region: Region) -> State:
        """Return the state of a region.

        Raises
        ------
        StorageError, ValueError, OSError, RuntimeError
            Storage failed.
        """
        empty = (await self._live.empty())[self._level]
        state = dict.fromkeys(self.shards.touched(region), EMPTY)
        stored = [index for index in state if not empty[index]]
        for part in _parts(stored):
            paths = [self._live.path(self._level, index) for index in part]
            found = await asyncio.gather(*map(self._live.store.begin_stamp, paths))
            state.update(zip(part, (each.stamp.generation for each in found), strict=True))
        return state

    def _known(self, state: State) -> Voxels:
        """Return what reads zeros where `state` says empty."""
        empty = np.zeros(self.shards.counts, bool)
        for index, generation in state.items():
            empty[index] = generation == EMPTY
        return Voxels(self.array, self.shards, empty)

    async def _read_snapshots(self, region: Region) -> NDArray[Any]:
        """Return a region of shards that are written all the time: each is fetched whole."""
        block = np.zeros(region.shape, self.array.dtype.numpy_dtype)
        empty = (await self._live.empty())[self._level]
        now = Voxels(self.array, self.shards, empty)
        for index, part in now.stored(region):
            found = await self._live.store.begin_read(self._live.path(self._level, index))
            if found.state != "value":
                raise StorageError(f"{self._live.path(self._level, index)}: the shard is lost")
            key = shard_key(0, index).partition("/")[2]
            array = open_snapshot(self.array, key, bytes(found.value))
            block[part.relative_to(region.start).slices] = await array[part.slices].read()
        return block


def _parts(indices: list[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
    return (indices[i : i + _AT_ONCE] for i in range(0, len(indices), _AT_ONCE))
