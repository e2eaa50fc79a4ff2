"""Which levels are made at once, and which units are still to be done."""

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microtome_core.layout import Layout
from microtome_core.store.array import Codec
from microtome_core.store.ledger import Entry, Ledger
from microtome_ingest.engine import divided, pending
from microtome_ingest.options import VolumeSpec
from microtome_ingest.plan import Plan, Policy, make_plan
from microtome_ingest.units import STAGE_LEVELS, Stage, below, count_units, owned, units


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Plan a small volume, of any extents and shards."""
    axes = draw(st.sampled_from(["zyx", "czyx", "tyx"]))
    shape = tuple(draw(st.integers(1, 3 if a in "tc" else 60)) for a in axes)
    chunk = tuple(min(n, 1 if a in "tc" else 4) for a, n in zip(axes, shape, strict=True))
    shard = tuple(c * draw(st.integers(1, 3)) for c in chunk)
    block = tuple(draw(st.integers(1, n)) for n in shape)
    spec = VolumeSpec(axes, shape, "uint16", (1.0,) * len(axes), (None,) * len(axes), block)
    batch = draw(st.sampled_from([1, 3000, 10**9]))
    return make_plan(spec, Layout(chunk, shard), Policy("mean", Codec(), None, batch))


@given(plans(), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_stages_are_all_levels_in_turn(plan: Plan, writers: int) -> None:
    """Every level is in one stage, finest first, however many writers there are."""
    stages = divided(plan, writers)
    levels = [level for stage in stages for level in range(stage.first, stage.last + 1)]
    assert levels == list(range(len(plan.levels)))
    assert all(stage.last - stage.first < STAGE_LEVELS for stage in stages)


@given(plans())
@settings(max_examples=60, deadline=None)
def test_units_own_every_shard_once(plan: Plan) -> None:
    """No shard of a stage is left out and none has two owners; what lies below a unit is whole
    shards of the level below, and none of those is left out.
    """
    for stage in divided(plan, 2):
        owners = {n: np.zeros(plan.grids[n].counts, int) for n in range(len(plan.levels))}
        read = np.zeros(plan.grids[max(stage.first - 1, 0)].counts, int)
        for unit in units(plan, stage):
            for level, shards in owned(plan, unit):
                owners[level][shards] += 1
            if stage.first:
                read[below(plan, unit)] += 1
        for level in range(stage.first, stage.last + 1):
            assert (owners[level] == 1).all()
        assert stage.first == 0 or (read >= 1).all()


def cube(edge: int) -> Plan:
    """Plan a cube of so many shards along each axis."""
    spec = VolumeSpec("zyx", (16 * edge,) * 3, "uint8", (1.0,) * 3, (None,) * 3, (1, 1, 1))
    return make_plan(spec, Layout((8, 8, 8), (16, 16, 16)), Policy(batch_bytes=1))


@pytest.mark.parametrize(
    ("edge", "writers", "levels"),
    [(16, 2, 3), (8, 2, 3), (4, 2, 2), (2, 2, 1), (16, 64, 3), (16, 60, 2), (4, 100, 1)],
)
def test_the_first_stage_has_work_for_all(edge: int, writers: int, levels: int) -> None:
    """As many levels as leave nobody idle for more than a tenth of the time, or only one."""
    stage = divided(cube(edge), writers)[0]
    assert stage == Stage(0, levels - 1)
    count = count_units(cube(edge), stage)
    assert levels == 1 or -(-count // writers) * writers <= 1.1 * count


def test_levels_of_one_unit_are_made_at_once() -> None:
    """Where there is no work for a second writer, one does all levels that it can."""
    assert divided(cube(1), 8) == (Stage(0, 1),)


def test_only_units_that_lack_something_are_pending() -> None:
    """A unit is done when its shards of all levels of the stage are known."""
    plan = cube(4)
    stage = Stage(0, 1)
    every = list(units(plan, stage))
    ledger = Ledger(plan.grids)
    for unit in every[:3]:
        for level, shards in owned(plan, unit):
            for index in np.argwhere(np.ones(plan.grids[level].counts)):
                if all(s.start <= i < s.stop for s, i in zip(shards, index, strict=True)):
                    ledger.add(Entry(level, tuple(map(int, index)), 9, "0" * 32))
    ledger.forget(1, (0, 0, 1))
    assert prod(plan.grids[0].counts) > ledger.count(0) > 0
    assert list(pending(plan, ledger, units(plan, stage))) == [every[1], *every[3:]]
