"""Writing one shard: stored durably, read back, its checksums compared, and digested.

A shard whose voxels are all 0 is not stored; its entry says that it is empty on purpose.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

from microtome_core.region import Region
from microtome_core.store.array import ArraySpec
from microtome_core.store.ledger import Entry, shard_key
from microtome_core.store.location import Opened, Store, storage_errors
from microtome_core.store.shards import check_shard

# Is told of every shard that is done, and of the bytes of its voxels.
Done = Callable[[Entry, int], None]


@dataclass(frozen=True, slots=True)
class Pending:
    """A shard that is being written."""

    level: int
    index: tuple[int, ...]
    region: Region
    # As it is until it is written.
    block: NDArray[Any]
    future: ts.WriteFutures | None


def allowed() -> None:
    """Let anything be written."""


class Sink:
    """Where shards go.

    Parameters
    ----------
    store : Store
    folder : str
        Of the layer's version, below the root.
    specs, arrays : sequences
        One a level, finest first.
    done : callable
        Called from several threads.
    check : callable
        Raises where nothing more may be written.
    """

    def __init__(
        self,
        store: Store,
        folder: str,
        specs: Sequence[ArraySpec],
        arrays: Sequence[ts.TensorStore],
        done: Done,
        check: Callable[[], None] = allowed,
    ) -> None:
        self._store, self._folder = store, folder
        self._specs, self._arrays = specs, arrays
        self._done, self._check = done, check

    def begin(self, level: int, region: Region, block: NDArray[Any]) -> Pending:
        """Start to write one shard; `block` must stay as it is until `finish`."""
        self._check()
        starts = zip(region.start, self._specs[level].shard, strict=True)
        index = tuple(low // n for low, n in starts)
        future = None
        if not is_empty(block):
            array = self._arrays[level][region.slices]
            future = array.write(block, can_reference_source_data_indefinitely=True)
        return Pending(level, index, region, block, future)

    def finish(self, writes: Sequence[Pending]) -> None:
        """Wait until shards are durable, read them back and tell of them.

        From afar they are read back side by side, each as soon as it and those before it are
        written.

        Raises
        ------
        StorageError
            One could not be written, or is not what was written; names the shard.
        """
        for write, opened in [(write, self._written(write)) for write in writes]:
            entry = Entry(write.level, write.index, 0, "")
            if opened is not None:
                entry = Entry(write.level, write.index, *self._stored(write, opened))
            self._done(entry, write.block.nbytes)

    def _written(self, write: Pending) -> Opened | None:
        """Wait until a shard is durable and begin to read it back; None of one that is empty."""
        if write.future is None:
            return None
        path = self._path(write)
        with storage_errors(f"{self._store.url}/{path}"):
            write.future.result()
        return self._store.begin_open(path)

    def _stored(self, write: Pending, opened: Opened) -> tuple[int, str]:
        """Return length and digest of a shard as it is stored."""
        chunks = self._specs[write.level].chunks_of(write.region)
        with storage_errors(f"{self._store.url}/{self._path(write)}"), opened() as stream:
            found = check_shard(stream, *chunks)
        return found.length, found.xxh3

    def _path(self, write: Pending) -> str:
        return f"{self._folder}/{shard_key(write.level, write.index)}"


def is_empty(block: NDArray[Any]) -> bool:
    """Tell whether every bit of a block is 0; negative zeros and NaN are not."""
    bits = block.view(np.dtype(f"u{block.itemsize}"))
    return not (bits.flat[0] or bits.any())
