"""Writing a unit: batches in, shards of every level of its stage out.

A batch of the stage's finest level is written and binned; what it becomes is laid into the open
shards of the next level. A shard that is full is written, binned and laid into the next one, and so
on. What is held in memory is the batches in flight and the shards still open, never a level.

What was done before is not done again: a shard that is known is neither written nor laid into, and
where a shard above it is not known yet, it is read back from the store instead.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from microtome_core.grid import Grid
from microtome_core.heap import trim
from microtome_core.region import Region
from microtome_core.store.binning import binned, binned_region, made_of_below
from microtome_core.store.ledger import Ledger
from microtome_core.store.voxels import Voxels
from microtome_ingest.plan import Plan
from microtome_ingest.sink import Pending, Sink
from microtome_ingest.units import Stage, Step, Unit, steps

# Seconds for which work that is under way may go on when a job ends early.
PATIENCE = 7.0
_STEPS_PER_TRIM = 1


class Readable(Protocol):
    """What is written from: regions in the plan's axes."""

    def read(self, region: Region) -> NDArray[Any]:
        """Return the voxels of a region of the stage's finest level."""


class Known:
    """Which shards of a stage were done before it began; it does not change meanwhile.

    Parameters
    ----------
    ledger : Ledger
    stage : Stage
    """

    def __init__(self, ledger: Ledger, stage: Stage) -> None:
        self._done = {level: ledger.done(level) for level in range(stage.first, stage.last + 1)}

    def __contains__(self, place: tuple[int, tuple[int, ...]]) -> bool:
        level, index = place
        return bool(self._done[level][index])


class Writer:
    """Does the steps of one unit; its methods may be called from several threads.

    Parameters
    ----------
    plan : Plan
    unit : Unit
    source : Readable
        Of the stage's finest level.
    stored : callable
        Returns a level as it lies in the store.
    sink : Sink
    known : Known
    """

    def __init__(
        self,
        plan: Plan,
        unit: Unit,
        source: Readable,
        stored: Callable[[int], Voxels],
        sink: Sink,
        known: Known,
    ) -> None:
        self._plan, self._stage, self._source = plan, unit.stage, source
        self._stored, self._sink, self._known = stored, sink, known
        self._open: dict[tuple[int, tuple[int, ...]], _OpenShard] = {}
        self._lock = Lock()

    def needed(self, step: Step) -> bool:
        """Tell whether there is anything to do."""
        if step.level == self._stage.first and self._unknown(step.level, step.region):
            return True
        return any(self._wanted(part) for part in self._parts(step))

    def do(self, step: Step) -> None:
        """Do one step, and write every coarser shard that it completes."""
        if step.level == self._stage.first and self._unknown(step.level, step.region):
            self._write(self._push, step, self._source.read(step.region))
            return
        for part in filter(self._wanted, self._parts(step)):
            self._write(self._lay, part, self._stored(part.level).load(part.region))

    def _write(self, work: "Work", part: Step, block: NDArray[Any]) -> None:
        """Begin all writes that a block leads to, of whatever level, and wait for them once."""
        writes: list[Pending] = []
        work(part, block, writes)
        self._sink.finish(writes)

    def check_closed(self) -> None:
        """Refuse to end while a shard waits for voxels."""
        if self._open:
            raise RuntimeError(f"{len(self._open)} shards never became full: the plan has a gap")

    def _parts(self, step: Step) -> list[Step]:
        """Return what is read back at once if the level above needs it: all that was known.

        A batch is laid as a whole, whatever was known of it.
        """
        if step.level == self._stage.first:
            return [step]
        shards = self._plan.shards(step.level)
        return [
            Step(step.level, shards.region(index))
            for index in shards.touched(step.region)
            if (step.level, index) in self._known
        ]

    def _unknown(self, level: int, region: Region) -> bool:
        touched = self._plan.shards(level).touched(region)
        return any((level, index) not in self._known for index in touched)

    def _wanted(self, part: Step) -> bool:
        """Tell whether a region goes into a shard of the level above that is not known."""
        above = part.level + 1
        if above > self._stage.last:
            return False
        return self._unknown(above, binned_region(part.region, self._plan.bins(above)))

    def _push(self, part: Step, block: NDArray[Any], writes: list[Pending]) -> None:
        """Begin to write whole shards, and lay them into the level above."""
        shards = self._plan.shards(part.level)
        for index in shards.touched(part.region):
            if (part.level, index) not in self._known:
                shard = shards.region(index)
                voxels = block[shard.relative_to(part.region.start).slices]
                writes.append(self._sink.begin(part.level, shard, voxels))
        if self._wanted(part):
            self._lay(part, block, writes)

    def _lay(self, part: Step, block: NDArray[Any], writes: list[Pending]) -> None:
        """Bin a block, lay it into the open shards of the level above, and push those it fills."""
        level = part.level + 1
        bins, shards = self._plan.bins(level), self._plan.shards(level)
        region, block = binned_region(part.region, bins), binned(block, bins, self._plan.method)
        for index in shards.touched(region):
            if (level, index) in self._known:
                continue
            shard = self._shard(level, index, shards)
            common = shard.region & region
            if common is None:
                continue
            shard.block[common.relative_to(shard.region.start).slices] = block[
                common.relative_to(region.start).slices
            ]
            if self._fill(level, index, shard, common.size):
                self._push(Step(level, shard.region), shard.block, writes)

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


# Begins what is to be written of a block, and notes it.
Work: TypeAlias = Callable[[Step, NDArray[Any], list[Pending]], None]


@dataclass(slots=True)
class _OpenShard:
    region: Region
    block: NDArray[Any]
    missing: int


class Below:
    """A level computed from the one below it in the store, a shard of that at a time.

    Parameters
    ----------
    plan : Plan
    level : int
        1 or coarser.
    voxels : Voxels
        Of ``level - 1``.
    """

    def __init__(self, plan: Plan, level: int, voxels: Voxels) -> None:
        self._bins, self._method = plan.bins(level), plan.method
        finer = plan.arrays[level - 1]
        self._shape, self._shard, self._voxels = finer.shape, finer.shard, voxels

    def read(self, region: Region) -> NDArray[Any]:
        """Return a region of the level.

        Raises
        ------
        StorageError
            The level below cannot be read.
        """
        load = self._voxels.load
        return made_of_below(load, region, self._bins, self._method, self._shape, self._shard)


def write_unit(writer: Writer, plan: Plan, unit: Unit, threads: int) -> None:
    """Write every shard of a unit that is not known yet.

    Parameters
    ----------
    writer : Writer
        Of this unit.
    plan : Plan
    unit : Unit
    threads : int
        Steps in flight.

    Raises
    ------
    SourceError, StorageError
        The first one; what is under way is finished, nothing new is begun.
    """
    _run(writer.do, filter(writer.needed, steps(plan, unit)), threads)
    writer.check_closed()


def _run(work: Callable[[Step], None], todo: Iterable[Step], threads: int) -> None:
    """Call `work` on each step in order, `threads` at a time; the first error ends it."""
    pending: set[Future[None]] = set()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="ingest")
    try:
        for number, step in enumerate(todo):
            if len(pending) >= threads:
                pending = _settle(pending)
            if (number + 1) % _STEPS_PER_TRIM == 0:
                trim()
            pending.add(pool.submit(work, step))
        while pending:
            pending = _settle(pending)
    except BaseException:
        # Shards that are nearly done need not be done again; but nobody waits for a stalled one.
        wait(pending, timeout=PATIENCE)
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _settle(pending: set[Future[None]]) -> set[Future[None]]:
    done, pending = wait(pending, return_when=FIRST_COMPLETED)
    for future in done:
        future.result()
    return pending
