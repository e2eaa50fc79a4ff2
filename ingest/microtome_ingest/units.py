"""Units of work: boxes that own whole shards, and the steps by which one is done.

Levels are written in *stages* of a few levels each. A stage reads its finest level, from the source
or from the level below in the store, and makes its other levels of it in memory. A unit of a stage
is what one shard of its coarsest level covers, so units share no shard: any process may do any of
them, in any order, and what is held in memory does not grow with the volume.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from microtome_core.region import Region
from microtome_ingest.plan import Plan

# So many levels are made at once; the next is read back: 1/64 of the voxels, 1/16 of flat ones.
STAGE_LEVELS = 3


@dataclass(frozen=True, slots=True)
class Stage:
    """Levels that are made in one pass, `first` to `last`."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Unit:
    """A box whose shards one writer owns.

    Parameters
    ----------
    stage : Stage
    region : Region
        Voxels of the stage's finest level.
    """

    stage: Stage
    region: Region


@dataclass(frozen=True, slots=True)
class Step:
    """A part of a unit that is done at once.

    Parameters
    ----------
    level : int
        At the stage's finest level a step is a batch to read and write. Above, it says that all
        shards below `region` have been done, so that those known before can be laid one level up.
    region : Region
        Whole shards, in voxels of `level`.
    """

    level: int
    region: Region


def stages(plan: Plan, first: int = STAGE_LEVELS) -> tuple[Stage, ...]:
    """Return the stages of a plan, finest first.

    Parameters
    ----------
    plan : Plan
    first : int
        Levels of the first stage; fewer make smaller units.
    """
    count, result = len(plan.levels), [Stage(0, min(first, len(plan.levels)) - 1)]
    while result[-1].last < count - 1:
        low = result[-1].last + 1
        result.append(Stage(low, min(low + STAGE_LEVELS, count) - 1))
    return tuple(result)


def units(plan: Plan, stage: Stage) -> Iterator[Unit]:
    """Yield the units of a stage, always in the same order."""
    cell = _cells(plan, stage)[0]
    return (Unit(stage, region) for region in _whole(plan, stage).split(cell))


def whole(plan: Plan, stage: Stage) -> Unit:
    """Return a stage as one unit."""
    return Unit(stage, _whole(plan, stage))


def count_units(plan: Plan, stage: Stage) -> int:
    """Return how many units a stage has, without listing them."""
    cell, count = _cells(plan, stage)[0], 1
    for extent, width in zip(plan.arrays[stage.first].shape, cell, strict=True):
        count *= -(-extent // width)
    return count


def owned(plan: Plan, unit: Unit) -> Iterator[tuple[int, tuple[slice, ...]]]:
    """Yield each level of a unit with the shards it owns, as slices of the level's grid."""
    for level in range(unit.stage.first, unit.stage.last + 1):
        region = _lifted(plan, unit.stage.first, level, unit.region)
        yield level, plan.shards(level).slices(region)


def below(plan: Plan, unit: Unit) -> tuple[slice, ...]:
    """Return the shards one level below its stage that a unit is made of, as `owned`."""
    level = unit.stage.first
    bins = zip(unit.region.start, unit.region.stop, plan.bins(level), strict=True)
    bounds = [(low * n, high * n) for low, high, n in bins]
    shape = plan.arrays[level - 1].shape
    stops = tuple(min(high, extent) for (_, high), extent in zip(bounds, shape, strict=True))
    finer = Region(plan.axes, tuple(low for low, _ in bounds), stops)
    return plan.shards(level - 1).slices(finer)


def steps(plan: Plan, unit: Unit) -> Iterator[Step]:
    """Yield the steps of a unit in an order that leaves few coarser shards open: along a tree."""
    levels = range(unit.stage.last, unit.stage.first - 1, -1)
    cells = list(zip(levels, _cells(plan, unit.stage), strict=True))
    return _walk(plan, unit.stage.first, unit.region, cells)


def _walk(
    plan: Plan, base: int, region: Region, cells: Sequence[tuple[int, tuple[int, ...]]]
) -> Iterator[Step]:
    """Yield the steps of a region of level `base`, all of one larger cell before the next."""
    (level, cell), *finer = cells
    for part in region.split(cell):
        if finer:
            yield from _walk(plan, base, part, finer)
        yield Step(level, _lifted(plan, base, level, part))


def _lifted(plan: Plan, base: int, level: int, region: Region) -> Region:
    """Return where a region of level `base`, made of whole cells, lies at `level`."""
    ratios = _ratios(plan, base, level)
    start = tuple(low // n for low, n in zip(region.start, ratios, strict=True))
    stop = tuple(-(-high // n) for high, n in zip(region.stop, ratios, strict=True))
    return Region(region.axes, start, stop)


def _cells(plan: Plan, stage: Stage) -> list[tuple[int, ...]]:
    """Return what a shard of each level covers of the stage's finest, coarsest first.

    Along each axis a cell is a multiple of the next one, or as long as the axis.
    """
    least = plan.batch if stage.first == 0 else plan.arrays[stage.first].shard
    return [
        tuple(
            max(ratio * width, low)
            for ratio, width, low in zip(
                _ratios(plan, stage.first, level), plan.arrays[level].shard, least, strict=True
            )
        )
        for level in range(stage.last, stage.first - 1, -1)
    ]


def _ratios(plan: Plan, base: int, level: int) -> tuple[int, ...]:
    finer, coarser = plan.levels[base].factors, plan.levels[level].factors
    return tuple(b // a for a, b in zip(finer, coarser, strict=True))


def _whole(plan: Plan, stage: Stage) -> Region:
    return Region.whole(plan.axes, plan.arrays[stage.first].shape)
