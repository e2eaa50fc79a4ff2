"""How much memory an ingest takes, known before it begins."""

from dataclasses import dataclass
from math import prod
from os import cpu_count

import numpy as np

from microtome_core.errors import InputError
from microtome_core.units import bytes_text
from microtome_ingest.plan import Plan

# Python and the libraries, measured after an ingest: 150 MiB, and what the heap keeps unused.
_BASE = 224 * 2**20
# Open shards of each of the two coarser levels of a stage: the one that fills, and the next one
# begun while steps of the former are still in flight.
_OPEN = 4


@dataclass(frozen=True, slots=True)
class Budget:
    """What fits into memory.

    Parameters
    ----------
    threads : int
        Steps in flight.
    batch_bytes : int
        Largest read of the source at once.
    """

    threads: int
    batch_bytes: int


def choose_budget(memory: int, threads: int | None, shard_bytes: int, workers: int = 0) -> Budget:
    """Divide `memory` bytes.

    A step holds its batch as read and once more while it is turned or decoded, and about a shard of
    encoded chunks; beside the steps lie the shards still open and the process itself.

    Parameters
    ----------
    memory : int
        Of the whole job.
    threads : int, optional
        Steps in flight of the whole job; one more than there are cores by default.
    shard_bytes : int
    workers : int
        Processes that do the work, led by this one; 0 where this one does it.

    Returns
    -------
    Budget
        Of one process.

    Raises
    ------
    InputError
        Not even one step fits; says how much would do.
    """
    among, own = max(workers, 1), _BASE if workers else 0
    free = (memory - own) // among - _process(shard_bytes)
    step = _step(shard_bytes, shard_bytes)
    if free < step:
        least = own + among * (_process(shard_bytes) + step)
        who = f"{workers} workers with shards" if workers > 1 else "shards"
        raise InputError(
            f"--memory {bytes_text(memory)}: {who} of {bytes_text(shard_bytes)} take "
            f"{bytes_text(least)} at least: give more, or smaller shards by --shard"
        )
    count = min(-(-(threads or default_threads()) // among), free // step)
    return Budget(count, (free // count - shard_bytes) // 2)


def fit_budget(memory: int, threads: int | None, shard_bytes: int, batch_bytes: int) -> Budget:
    """Divide `memory` bytes where others have chosen how much is read at once.

    Raises
    ------
    InputError
        Not even one step fits; says how much would do.
    """
    step = _step(shard_bytes, batch_bytes)
    room = (memory - _process(shard_bytes)) // step
    if room < 1:
        raise InputError(
            f"--memory {bytes_text(memory)}: reading {bytes_text(batch_bytes)} at once, as the "
            f"other parts do, takes {bytes_text(_process(shard_bytes) + step)} at least"
        )
    return Budget(min(threads or default_threads(), room), batch_bytes)


def units_at_once(memory: int, budget: Budget, shard_bytes: int) -> int:
    """Return how many units a process of so much memory may do at once; one in any case."""
    steps = budget.threads * _step(shard_bytes, budget.batch_bytes)
    return max(1, (memory - _BASE) // (_OPEN * shard_bytes + steps))


def _process(shard_bytes: int) -> int:
    """Return what a process takes beside its steps."""
    return _BASE + _OPEN * shard_bytes


def _step(shard_bytes: int, batch_bytes: int) -> int:
    return 2 * max(batch_bytes, shard_bytes) + shard_bytes


def shard_bytes(plan: Plan) -> int:
    """Return the bytes of the voxels of one shard of level 0."""
    return prod(plan.arrays[0].shard) * np.dtype(plan.spec.dtype).itemsize


def default_threads() -> int:
    """Return one more than the cores, so that one may wait for storage."""
    return (cpu_count() or 1) + 1
