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
from microtome_core.store.location import Store, storage_errors
from microtome_core.store.shards import check_shard

# Is told of every shard that is done, and of the bytes of its voxels.
Done = Callable[[Entry, int], None]


@dataclass(frozen=True, slots=True)
class Pending:
    """A shard that is being written."""

    level: int
    region: Region
    size: int
    write: ts.WriteFutures | None


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
        write = None
        if not is_empty(block):
            array = self._arrays[level][region.slices]
            write = array.write(block, can_reference_source_data_indefinitely=True)
        return Pending(level, region, block.nbytes, write)

    def finish(self, pending: Pending) -> None:
        """Wait until a shard is durable, read it back and tell of it.

        Raises
        ------
        StorageError
            It could not be written, or is not what was written; names the shard.
        """
        spec = self._specs[pending.level]
        starts = zip(pending.region.start, spec.shard, strict=True)
        index = tuple(low // n for low, n in starts)
        entry = Entry(pending.level, index, 0, "")
        if pending.write is not None:
            path = f"{self._folder}/{shard_key(pending.level, index)}"
            with storage_errors(f"{self._store.url}/{path}"):
                pending.write.result()
                entry = Entry(pending.level, index, *self._stored(path, spec, pending.region))
        self._done(entry, pending.size)

    def _stored(self, path: str, spec: ArraySpec, region: Region) -> tuple[int, str]:
        with self._store.open(path) as stream:
            found = check_shard(stream, *spec.chunks_of(region))
        return found.length, found.xxh3


def is_empty(block: NDArray[Any]) -> bool:
    """Tell whether every bit of a block is 0; negative zeros and NaN are not."""
    bits = block.view(np.dtype(f"u{block.itemsize}"))
    return not (bits.flat[0] or bits.any())
