"""A layer whose finest levels are written in parts, by processes that share nothing but the store.

All must cut the work alike, whatever memory and cores each of them has: the first to come writes
down how, the others read it.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from math import prod

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from microtome_core.errors import StorageError
from microtome_core.store.ledger import FOLDER, journal_folder
from microtome_core.store.location import Store
from microtome_ingest.budget import fit_budget, shard_bytes
from microtome_ingest.claim import Part
from microtome_ingest.engine import divided, pending
from microtome_ingest.plan import Plan
from microtome_ingest.run import Run
from microtome_ingest.units import Stage, Unit, owned, units
from microtome_ingest.write import Readable


class Division(BaseModel):
    """How the finest levels are cut into parts.

    Parameters
    ----------
    count : int
        Parts.
    levels : int
        That are written, finest first; the others are made when all parts are done.
    batch : tuple of int
        Extents of one read of the source.
    """

    model_config = ConfigDict(frozen=True)
    count: int
    levels: int
    batch: tuple[int, ...]

    def plan(self, plan: Plan) -> Plan:
        """Return a plan with the batches of this division."""
        return replace(plan, batch=self.batch)

    def units(self, plan: Plan) -> Iterator[Unit]:
        """Yield all units; the I-th of N parts does every N-th from I on."""
        return units(self.plan(plan), Stage(0, self.levels - 1))


def write_part(run: Run, source: Readable, part: Part, memory: int, threads: int | None) -> None:
    """Write what is not known of one part.

    Raises
    ------
    InputError
        `memory` does not hold what the other parts read at once.
    SourceError, StorageError
    """
    division = _agree(run.store, run.place.folder, _divide(run.plan, part.count))
    run = replace(run, plan=division.plan(run.plan))
    itemsize = np.dtype(run.plan.spec.dtype).itemsize
    batch = prod(division.batch) * itemsize
    budget = fit_budget(memory, threads, shard_bytes(run.plan), batch)
    mine = islice(division.units(run.plan), part.index, None, part.count)
    for unit in pending(run.plan, run.ledger, mine):
        run.write(unit, source, budget.threads)


def note_ended(store: Store, folder: str, part: Part) -> None:
    """Note that a part has done all that was its own."""
    store.write(f"{ended_folder(folder)}/{part}.json", b"{}")


def all_ended(store: Store, folder: str, count: int) -> bool:
    """Tell whether each of so many parts has been noted; one listing, whatever the volume."""
    found = {key.rpartition("/")[2] for key, _ in store.sizes(ended_folder(folder))}
    return all(f"{Part(index, count)}.json" in found for index in range(count))


def ended_folder(folder: str) -> str:
    """Return where the parts of a version that have ended are noted."""
    return f"{folder}/{FOLDER}/ended"


def divisions(store: Store, folder: str) -> list[Division]:
    """Return every division by which a version was begun.

    Raises
    ------
    StorageError
        One of them is damaged.
    """
    paths = [key for key, _ in store.sizes(journal_folder(folder)) if "/of-" in key]
    return [_read(store, path) for path in sorted(paths)]


def unfinished(run: Run, division: Division) -> list[int]:
    """Return the numbers of the parts of which shards of level 0 are not known."""
    done, lacking = run.ledger.done(0), set()
    for number, unit in enumerate(division.units(run.plan)):
        _, shards = next(owned(run.plan, unit))
        if not done[shards].all():
            lacking.add(number % division.count)
    return sorted(lacking)


def _divide(plan: Plan, count: int) -> Division:
    return Division(count=count, levels=divided(plan, count)[0].last + 1, batch=plan.batch)


def _agree(store: Store, folder: str, mine: Division) -> Division:
    """Return the division that counts: the first that was written down."""
    # Beside the journals, with which it is removed.
    path = f"{journal_folder(folder)}/of-{mine.count}.json"
    if store.create(path, mine.model_dump_json().encode()):
        return mine
    return _read(store, path)


def _read(store: Store, path: str) -> Division:
    try:
        return Division.model_validate_json(store.read(path) or b"")
    except ValidationError as error:
        raise StorageError(f"{store.url}/{path}: damaged: {error}") from error
