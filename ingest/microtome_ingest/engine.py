"""Who does the units: threads of this process, or others. All engines write the same bytes."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from microtome_core.store.ledger import Ledger
from microtome_ingest.budget import Budget, choose_budget
from microtome_ingest.plan import Plan
from microtome_ingest.run import Run
from microtome_ingest.units import STAGE_LEVELS, Stage, Unit, count_units, owned, stages, whole
from microtome_ingest.write import Readable

# How much longer the writers may take than if all had the same to do.
_UNEVEN = 1.1


class Engine(Protocol):
    """Does what is not done yet of a run."""

    def budget(self, memory: int, threads: int | None, shard_bytes: int) -> Budget:
        """Return what each process may take of `memory` bytes for the whole job.

        Raises
        ------
        InputError
            Too little.
        """

    def run(self, run: Run, source: Readable, budget: Budget) -> None:
        """Write it.

        Raises
        ------
        SourceError, StorageError
        """


class Threads:
    """Threads of this process."""

    def budget(self, memory: int, threads: int | None, shard_bytes: int) -> Budget:
        """Return what this process may take."""
        return choose_budget(memory, threads, shard_bytes)

    def run(self, run: Run, source: Readable, budget: Budget) -> None:
        """Write all stages, each as one unit."""
        for stage in stages(run.plan):
            run.write(whole(run.plan, stage), source, budget.threads)


def divided(plan: Plan, writers: int) -> tuple[Stage, ...]:
    """Return stages whose units keep so many writers busy, finest first."""
    result: list[Stage] = []
    while (low := result[-1].last + 1 if result else 0) < len(plan.levels):
        result.append(_stage(plan, low, writers))
    return tuple(result)


def pending(plan: Plan, ledger: Ledger, chosen: Iterable[Unit]) -> Iterator[Unit]:
    """Yield the units of one stage of which not every shard was known when this began."""
    done = [ledger.done(level) for level in range(len(plan.levels))]
    for unit in chosen:
        if not all(done[level][shards].all() for level, shards in owned(plan, unit)):
            yield unit


def _stage(plan: Plan, low: int, writers: int) -> Stage:
    """Return the stage that begins at a level: as many levels at once as leave work for all."""
    most = count_units(plan, Stage(low, low))
    for last in range(min(low + STAGE_LEVELS, len(plan.levels)) - 1, low, -1):
        count = count_units(plan, Stage(low, last))
        if count == most or -(-count // writers) * writers <= _UNEVEN * count:
            return Stage(low, last)
    return Stage(low, low)
