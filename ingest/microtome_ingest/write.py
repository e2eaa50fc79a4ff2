"""Writing the plan: batches in, shards of every level out, nothing read back.

A batch of level 0 is written and binned; what it becomes is laid into the open shards of level 1.
A shard that is full is written, binned and laid into level 2, and so on. What is held in memory is
the batches in flight and the shards still open, never a level.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

from microtome_core.grid import Grid
from microtome_core.region import Region
from microtome_core.store.location import storage_errors
from microtome_ingest.plan import Method, Plan, binned_region


class Readable(Protocol):
    """What is written from: regions in the plan's axes."""

    def read(self, region: Region) -> NDArray[Any]:
        """Return the voxels of a region of level 0."""


Progress = Callable[[int], None]


def write_volume(
    source: Readable,
    plan: Plan,
    arrays: Sequence[ts.TensorStore],
    threads: int,
    progress: Progress,
) -> None:
    """Write every shard of every level.

    Parameters
    ----------
    source : Readable
    plan : Plan
    arrays : sequence of TensorStore
        One a level, as the plan describes them.
    threads : int
        Batches in flight.
    progress : callable
        Is told the bytes of every shard written, from several threads.

    Raises
    ------
    SourceError, StorageError
        The first one; what is under way is finished, nothing new is begun.
    """
    cascade = Cascade(plan, arrays, progress)

    def transfer(region: Region) -> None:
        cascade.push(0, region, source.read(region))

    _run(transfer, plan.batches(), threads)
    cascade.check_closed()


class Cascade:
    """The open shards of the coarser levels.

    Parameters
    ----------
    plan, arrays, progress
        As for `write_volume`.
    """

    def __init__(self, plan: Plan, arrays: Sequence[ts.TensorStore], progress: Progress) -> None:
        self._plan = plan
        self._arrays = arrays
        self._progress = progress
        self._open: dict[tuple[int, tuple[int, ...]], _OpenShard] = {}
        self._lock = Lock()

    def push(self, level: int, region: Region, block: NDArray[Any]) -> None:
        """Write whole shards of a level, and every coarser shard that they complete."""
        writes = self._write(level, region, block)
        if level + 1 < len(self._plan.levels):
            bins = self._plan.bins(level + 1)
            self._lay(
                level + 1, binned_region(region, bins), binned(block, bins, self._plan.method)
            )
        with storage_errors(f"level {level}, {region}"):
            for write, size in writes:
                write.result()
                self._progress(size)

    def check_closed(self) -> None:
        """Refuse to end while a shard waits for voxels."""
        if self._open:
            raise RuntimeError(f"{len(self._open)} shards never became full: the plan has a gap")

    def _write(
        self, level: int, region: Region, block: NDArray[Any]
    ) -> list[tuple[ts.WriteFutures, int]]:
        array = self._arrays[level]
        writes = []
        for shard in region.split(self._plan.arrays[level].shard):
            part = block[shard.relative_to(region.start).slices]
            # The block outlives the write: `push` waits for it.
            write = array[shard.slices].write(part, can_reference_source_data_indefinitely=True)
            writes.append((write, part.nbytes))
        return writes

    def _lay(self, level: int, region: Region, block: NDArray[Any]) -> None:
        shards = self._plan.shards(level)
        for index in shards.touched(region):
            shard = self._shard(level, index, shards)
            part = shard.region & region
            if part is None:
                continue
            shard.block[part.relative_to(shard.region.start).slices] = block[
                part.relative_to(region.start).slices
            ]
            if self._fill(level, index, shard, part.size):
                self.push(level, shard.region, shard.block)

    def _shard(self, level: int, index: tuple[int, ...], shards: Grid) -> "_OpenShard":
        with self._lock:
            if (level, index) not in self._open:
                region = shards.region(index)
                dtype = np.dtype(self._plan.spec.dtype)
                self._open[level, index] = _OpenShard(
                    region, np.empty(region.shape, dtype), region.size
                )
            return self._open[level, index]

    def _fill(self, level: int, index: tuple[int, ...], shard: "_OpenShard", size: int) -> bool:
        """Count voxels that have come; return whether the shard is full, once."""
        with self._lock:
            shard.missing -= size
            if shard.missing == 0:
                del self._open[level, index]
            return shard.missing == 0


@dataclass(slots=True)
class _OpenShard:
    region: Region
    block: NDArray[Any]
    missing: int


def binned(block: NDArray[Any], bins: Sequence[int], method: Method) -> NDArray[Any]:
    """Return each bin's mean (rounded half to even) or most frequent value.

    Bins at the far edges may be partial; they hold only voxels that exist.
    """
    view = ts.downsample(ts.array(block), list(bins), method)
    return np.asarray(view.read().result())


def _run(work: Callable[[Region], None], regions: Iterable[Region], threads: int) -> None:
    """Call `work` on each region in order, `threads` at a time; the first error ends it."""
    pending: set[Future[None]] = set()
    with ThreadPoolExecutor(threads, thread_name_prefix="ingest") as pool:
        for region in regions:
            if len(pending) >= threads:
                pending = _settle(pending)
            pending.add(pool.submit(work, region))
        while pending:
            pending = _settle(pending)


def _settle(pending: set[Future[None]]) -> set[Future[None]]:
    done, pending = wait(pending, return_when=FIRST_COMPLETED)
    for future in done:
        future.result()
    return pending
