"""One version of a layer while it is written: its arrays, its ledger, and what is done to them."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial

import tensorstore as ts

from microtome_core.store.array import create_array, open_array
from microtome_core.store.ledger import Entry, Ledger
from microtome_core.store.location import Store
from microtome_core.store.voxels import Voxels
from microtome_ingest.place import Place
from microtome_ingest.plan import Plan
from microtome_ingest.sink import Sink, allowed
from microtome_ingest.units import Stage, Unit
from microtome_ingest.write import Below, Known, Readable, Writer, write_unit


@dataclass(frozen=True, slots=True)
class Run:
    """What all units of an ingest share in one process.

    Parameters
    ----------
    store : Store
    place : Place
    plan : Plan
    ledger : Ledger
        Of what was done before; `done` notes in it what is done now.
    arrays : sequence of TensorStore
        One a level.
    done : callable
        Is told of every shard, from several threads; may raise to end the job.
    check : callable
        Is called before a shard is written, and raises where that is no longer allowed.
    """

    store: Store
    place: Place
    plan: Plan
    ledger: Ledger
    arrays: Sequence[ts.TensorStore]
    done: Callable[[Entry, int], None]
    check: Callable[[], None] = allowed

    @classmethod
    def open(
        cls,
        store: Store,
        place: Place,
        plan: Plan,
        ledger: Ledger,
        done: Callable[[Entry, int], None],
        check: Callable[[], None] = allowed,
    ) -> "Run":
        """Create the arrays, or open those that are there.

        Raises
        ------
        StorageError
            Other arrays lie there, or storage failed.
        """
        with ThreadPoolExecutor(len(plan.arrays), thread_name_prefix="arrays") as pool:
            paths = [place.array(level) for level in range(len(plan.arrays))]
            arrays = list(pool.map(partial(create_array, store), paths, plan.arrays))
        return cls(store, place, plan, ledger, arrays, done, check)

    def write(self, unit: Unit, source: Readable | None, threads: int) -> None:
        """Write what is not known of one unit.

        Parameters
        ----------
        unit : Unit
        source : Readable, optional
            Of level 0; not needed by units of coarser stages.
        threads : int
            Steps in flight.

        Raises
        ------
        SourceError, StorageError
        """
        stored = cache(self.voxels)  # opened when first needed: each takes a few requests
        below = self._below(unit.stage, stored, source)
        specs = self.plan.arrays
        sink = Sink(self.store, self.place.folder, specs, self.arrays, self.done, self.check)
        known = Known(self.ledger, unit.stage)
        writer = Writer(self.plan, unit, below, stored, sink, known)
        write_unit(writer, self.plan, unit, threads)

    def voxels(self, level: int) -> Voxels:
        """Return a level as it is stored now; a shard that is missing cannot be read."""
        array = open_array(self.store, self.place.array(level), complete=True)
        return Voxels(array, self.plan.shards(level), self.ledger.empty(level))

    def _below(
        self, stage: Stage, stored: Callable[[int], Voxels], source: Readable | None
    ) -> Readable:
        if stage.first:
            return Below(self.plan, stage.first, stored(stage.first - 1))
        if source is None:
            raise RuntimeError("level 0 has shards that are not known, and there is no source")
        return source
