"""Plans: every voxel is read once, and every shard is one unit's."""

from collections.abc import Iterator
from itertools import islice, pairwise
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microtome_core.layout import choose_layout
from microtome_core.region import Region
from microtome_core.store.binning import binned_region
from microtome_ingest.options import VolumeSpec
from microtome_ingest.plan import Plan, Policy, make_plan
from microtome_ingest.units import Stage, count_units, stages, steps, units, whole

SPACE: dict[str, Any] = {"scale": (1.0, 1.0, 1.0), "units": (None, None, None)}


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """A plan of a small volume with small chunks, for any source blocks and any memory."""
    axes = draw(st.sampled_from(["yx", "zyx", "tyx", "czyx", "tczyx"]))
    shape = tuple(draw(st.integers(1, 3 if a in "tc" else 40)) for a in axes)
    scale = tuple(1.0 if a in "tc" else draw(st.sampled_from([0.3, 1.0, 2.5])) for a in axes)
    chunk = tuple(1 if a in "tc" else draw(st.sampled_from([2, 4, 8, 16])) for a in axes)
    clipped = tuple(map(min, chunk, shape))
    shard = tuple(c * draw(st.integers(1, 3)) for c in clipped)
    block = tuple(draw(st.integers(1, n)) for n in shape)
    spec = VolumeSpec(axes, shape, "uint16", scale, (None,) * len(axes), block)
    layout = choose_layout(axes, shape, scale, 2, chunk, shard)
    return make_plan(spec, layout, Policy(batch_bytes=draw(st.sampled_from([1, 1000, 10**9]))))


def batches(plan: Plan, first: int = 99) -> Iterator[Region]:
    """Yield what is read of level 0, in order."""
    stage = stages(plan, first)[0]
    return (step.region for step in steps(plan, whole(plan, stage)) if step.level == 0)


@given(plans())
def test_every_voxel_is_in_exactly_one_batch(plan: Plan) -> None:
    """Batches cover level 0 once."""
    counts = np.zeros(plan.spec.shape, int)
    for region in batches(plan):
        counts[region.slices] += 1
    assert counts.min() == counts.max() == 1


@given(plans())
def test_batches_are_whole_shards(plan: Plan) -> None:
    """A batch begins and ends where shards do, so that no shard has two writers."""
    for region in batches(plan):
        for part in region.split(plan.arrays[0].shard):
            index = tuple(a // s for a, s in zip(part.start, plan.arrays[0].shard, strict=True))
            assert plan.shards(0).region(index) == part


@given(plans())
@settings(max_examples=50)
def test_binned_batches_tile_the_level_above(plan: Plan) -> None:
    """Where whole shards land one level up, they cover that level once."""
    for level in range(1, len(plan.levels)):
        counts = np.zeros(plan.levels[level].shape, int)
        below = plan.shards(level - 1)
        for index in below.touched(Region.whole(plan.axes, below.shape)):
            counts[binned_region(below.region(index), plan.bins(level)).slices] += 1
        assert counts.min() == counts.max() == 1


@given(plans(), st.integers(1, 3))
def test_units_own_every_shard_of_every_level_once(plan: Plan, first: int) -> None:
    """Whatever the number of levels in the first stage, each shard of each level lies in exactly
    one unit, and in exactly one of its steps.
    """
    owners: dict[tuple[int, tuple[int, ...]], int] = {}
    for stage in stages(plan, first):
        assert count_units(plan, stage) == len(list(units(plan, stage)))
        for unit in units(plan, stage):
            for step in steps(plan, unit):
                for index in plan.shards(step.level).touched(step.region):
                    place = (step.level, index)
                    assert plan.shards(step.level).region(index) in step.region
                    owners[place] = owners.get(place, 0) + 1
    every = [
        (level, index)
        for level in range(len(plan.levels))
        for index in plan.shards(level).touched(Region.whole(plan.axes, plan.arrays[level].shape))
    ]
    assert owners == dict.fromkeys(every, 1)


@given(plans(), st.integers(1, 3))
def test_a_step_above_comes_after_all_that_lies_below_it(plan: Plan, first: int) -> None:
    """When a coarser step comes, every batch that it covers has come before."""
    for stage in stages(plan, first):
        for unit in units(plan, stage):
            counts = np.zeros(plan.arrays[stage.first].shape, bool)
            for step in steps(plan, unit):
                ratios = [
                    b // a
                    for a, b in zip(
                        plan.levels[stage.first].factors,
                        plan.levels[step.level].factors,
                        strict=True,
                    )
                ]
                ends = zip(step.region.start, step.region.stop, ratios, strict=True)
                covered = tuple(slice(low * n, high * n) for low, high, n in ends)
                if step.level == stage.first:
                    counts[covered] = True
                assert counts[covered].all()


def test_stages_share_the_levels() -> None:
    """Three levels at a time; the first stage may have fewer."""
    spec = VolumeSpec("zyx", (512,) * 3, "uint8", block=(1, 1, 1), **SPACE)
    layout = choose_layout("zyx", spec.shape, spec.scale, 1, (16, 16, 16), (32, 32, 32))
    plan = make_plan(spec, layout, Policy())
    assert len(plan.levels) == 6
    assert stages(plan) == (Stage(0, 2), Stage(3, 5))
    assert stages(plan, 1) == (Stage(0, 0), Stage(1, 3), Stage(4, 5))


@given(plans())
def test_shards_of_every_level_are_whole_chunks(plan: Plan) -> None:
    """The layout shrinks with the levels but stays one that Zarr accepts."""
    for array in plan.arrays:
        pairs = zip(array.chunk, array.shard, array.shape, strict=True)
        assert all(s % c == 0 and c <= n for c, s, n in pairs)


def test_a_source_of_planes_is_read_by_planes() -> None:
    """A batch is as wide as the source's block where memory allows, so nothing is decoded twice."""
    spec = VolumeSpec("zyx", (64, 4096, 4096), "uint8", (1, 1, 1), (None,) * 3, (1, 4096, 4096))
    layout = choose_layout("zyx", spec.shape, spec.scale, 1)
    assert make_plan(spec, layout, Policy(batch_bytes=2**31)).batch[1:] == (4096, 4096)
    assert make_plan(spec, layout, Policy(batch_bytes=1)).batch == layout.shard


def test_few_coarse_shards_are_open_at_once() -> None:
    """Batches come in tree order: those below one coarse shard come one after the other."""
    spec = VolumeSpec("zyx", (256, 256, 256), "uint8", (1, 1, 1), (None,) * 3, (1, 1, 1))
    layout = choose_layout("zyx", spec.shape, spec.scale, 1, (16, 16, 16), (32, 32, 32))
    plan = make_plan(spec, layout, Policy(batch_bytes=1))
    parents = [tuple(a // 64 for a in region.start) for region in batches(plan)]
    changes = sum(a != b for a, b in pairwise(parents))
    assert changes == len(set(parents)) - 1


def open_shards(plan: Plan) -> int:
    """Return how many shards of coarser levels are open at most when batches come one by one."""
    waiting: dict[tuple[int, tuple[int, ...]], int] = {}
    most = 0

    def lay(level: int, below: Region) -> None:
        nonlocal most
        if level == len(plan.levels):
            return
        region, shards = binned_region(below, plan.bins(level)), plan.shards(level)
        for index in shards.touched(region):
            shard = shards.region(index)
            part = shard & region
            assert part is not None
            missing = waiting.setdefault((level, index), shard.size)
            waiting[level, index] = missing - part.size
            most = max(most, len(waiting))
            if not waiting[level, index]:
                lay(level + 1, shard)
                del waiting[level, index]

    for batch in batches(plan):
        lay(1, batch)
    assert not waiting
    return most


@pytest.mark.parametrize("times", [1, 2, 3, 5, 6, 7, 11, 40])
def test_open_shards_are_few_whatever_the_batch(times: int) -> None:
    """Room for any number of shards in a batch leaves about as many open as the batch holds, and
    one a level: never a face of the volume.
    """
    shape = (128, 1024, 1024)
    spec = VolumeSpec("zyx", shape, "uint8", block=(1, *shape[1:]), **SPACE)
    layout = choose_layout("zyx", shape, spec.scale, 1, (16, 16, 16), (16, 32, 32))
    plan = make_plan(spec, layout, Policy(batch_bytes=times * 16 * 32 * 32))
    batch = prod(plan.batch) // prod(layout.shard)
    assert times / 2 < batch <= times
    assert open_shards(plan) <= batch + len(plan.levels)


@pytest.mark.timeout(30)
def test_planning_takes_no_time_however_large_the_volume() -> None:
    """The first batches of a petabyte in small shards come at once: they are not listed first."""
    shape = (100_000, 100_000, 100_000)
    spec = VolumeSpec("zyx", shape, "uint8", block=(1, *shape[1:]), **SPACE)
    layout = choose_layout("zyx", shape, spec.scale, 1, (64, 64, 64), (64, 64, 64))
    plan = make_plan(spec, layout, Policy(batch_bytes=1))
    assert [region.start for region in islice(batches(plan), 2)] == [(0, 0, 0), (0, 0, 64)]
