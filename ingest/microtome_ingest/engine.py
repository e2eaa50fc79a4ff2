"""Who does the units: threads of this process. All engines write the same bytes."""

from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from microtome_ingest.claim import Part
from microtome_ingest.plan import Plan
from microtome_ingest.run import Run
from microtome_ingest.units import STAGE_LEVELS, count_units, stages, units, whole
from microtome_ingest.write import Readable

# So many units a writer at least, that none waits long for the last one.
_UNITS_PER_WRITER = 4


class Engine(Protocol):
    """Does what is not done yet of a run, or of a part of its finest levels."""

    def run(self, run: Run, source: Readable, part: Part) -> None:
        """Write it.

        Raises
        ------
        SourceError, StorageError
        """


@dataclass(frozen=True, slots=True)
class Threads:
    """Threads of this process.

    Parameters
    ----------
    count : int
        Steps in flight.
    """

    count: int

    def run(self, run: Run, source: Readable, part: Part) -> None:
        """Write all stages, or of several parts the units that are this one's."""
        if part.count > 1:
            stage = stages(run.plan, first_levels(run.plan, part.count))[0]
            for unit in islice(units(run.plan, stage), part.index, None, part.count):
                run.write(unit, source, self.count)
            return
        for stage in stages(run.plan):
            run.write(whole(run.plan, stage), source, self.count)


def first_levels(plan: Plan, writers: int) -> int:
    """Return how many levels a unit of the first stage should have, for so many writers."""
    for levels in range(STAGE_LEVELS, 1, -1):
        if count_units(plan, stages(plan, levels)[0]) >= _UNITS_PER_WRITER * writers:
            return levels
    return 1
