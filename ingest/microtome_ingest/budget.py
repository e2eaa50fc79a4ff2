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


def choose_budget(memory: int, threads: int | None, shard_bytes: int) -> Budget:
    """Divide `memory` bytes.

    A step holds its batch as read and once more while it is turned or decoded, and about a shard of
    encoded chunks; beside the steps lie the shards still open and the process itself.

    Raises
    ------
    InputError
        Not even one step fits; says how much would do.
    """
    free = memory - _BASE - _OPEN * shard_bytes
    step = 3 * shard_bytes
    if free < step:
        raise InputError(
            f"--memory {bytes_text(memory)}: shards of {bytes_text(shard_bytes)} take "
            f"{bytes_text(memory - free + step)} at least: give more, or smaller shards by --shard"
        )
    count = min(threads or default_threads(), free // step)
    return Budget(count, (free // count - shard_bytes) // 2)


def shard_bytes(plan: Plan) -> int:
    """Return the bytes of the voxels of one shard of level 0."""
    return prod(plan.arrays[0].shard) * np.dtype(plan.spec.dtype).itemsize


def default_threads() -> int:
    """Return one more than the cores, so that one may wait for storage."""
    return (cpu_count() or 1) + 1
