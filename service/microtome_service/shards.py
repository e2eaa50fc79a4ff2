"""Opening shards: one that was left out on purpose is told from one that is lost."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod

import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import StorageError
from microtome_core.store.location import storage_errors
from microtome_core.store.shards import ABSENT, parse_index
from microtome_service.errors import Unreadable
from microtome_service.objects import Objects, Opened
from microtome_service.ranges import Span
from microtome_service.recording_files import RecordingObject
from microtome_service.sharding import Sharding
from microtome_service.stored import Document, Shard

# What a chunk is known by where it lies: the bytes from, and to which; both 0 where there is none.
Places = NDArray[np.int64]


async def open_shard(objects: Objects, shard: Shard) -> Opened | None:
    """Open a shard, or return None where there is none and should be none.

    Raises
    ------
    Unreadable
        It is lost or too short, or storage failed; names the shard.
    """
    with reading(shard):
        with storage_errors(shard.path):
            if await shard.layer.voxels[shard.level].is_empty(shard.index):
                return None
        opened = await objects.open(shard.path)
        if opened is None:
            if shard.layer.complete:
                raise StorageError(f"{shard.path}: lost")
            return None
        if opened.stat.size < shard.smallest:
            opened.close()
            raise StorageError(f"{shard.path}: {opened.stat.size} bytes, less than its index has")
    return opened


class Indexes:
    """Where in their shards the chunks lie, as read last, the oldest forgotten above some bytes.

    Parameters
    ----------
    objects : Objects
    capacity : int
        Bytes.
    """

    def __init__(self, objects: Objects, capacity: int) -> None:
        self._objects = objects
        self._capacity = capacity
        self._kept: OrderedDict[tuple[str, str], Places] = OrderedDict()
        self._used = 0

    async def places(self, shard: Shard, opened: Opened) -> Places:
        """Return where each chunk of a shard lies, one row a chunk in C order.

        Raises
        ------
        Unreadable
            Storage failed, or the index is damaged.
        """
        sharding = shard.array.sharding
        if sharding is None:
            return np.array([[0, opened.stat.size]])
        key = (shard.path, opened.stat.tag)
        kept = self._kept.pop(key, None)
        if kept is None:
            with reading(shard):
                kept = await self._read(shard, sharding, opened)
            self._used += kept.nbytes
        self._kept[key] = kept
        while self._used > self._capacity:
            self._used -= self._kept.popitem(last=False)[1].nbytes
        return kept

    async def _read(self, shard: Shard, sharding: Sharding, opened: Opened) -> Places:
        start = opened.stat.size - sharding.index_bytes if sharding.at_end else 0
        data = await self._objects.read(opened, Span(start, start + sharding.index_bytes))
        rows = parse_index(bytes(data), prod(sharding.room))
        return _checked(rows, opened.stat.size, shard)


def _checked(rows: NDArray[np.uint64], size: int, shard: Shard) -> Places:
    there = rows[:, 0] != ABSENT
    offset, count = rows[there].T
    if np.any(offset > size) or np.any(count > size) or np.any(offset + count > size):
        raise StorageError(f"{shard.path}: a chunk that ends beyond byte {size}")
    places = np.zeros(rows.shape, np.int64)
    places[there] = np.stack([offset, offset + count], axis=1)
    return places


@contextmanager
def reading(found: Document | Shard | RecordingObject) -> Iterator[None]:
    """Name the shard where storage fails, in words that are fit for strangers."""
    try:
        yield
    except Unreadable:
        raise
    except StorageError as error:
        what = "metadata" if isinstance(found, Document) else found
        raise Unreadable(f"{what}: storage failed or holds damaged data") from error
