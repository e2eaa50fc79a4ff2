"""Writing: the same voxels at level 0, means or modes above, whatever the batches."""

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from microtome_core.errors import SourceError
from microtome_core.layout import choose_layout
from microtome_core.region import Region
from microtome_core.store.array import Codec
from microtome_core.store.binning import Method, binned
from microtome_core.store.ledger import Ledger
from microtome_core.store.location import Opened, Store
from microtome_ingest.options import VolumeSpec
from microtome_ingest.place import Place
from microtome_ingest.plan import Plan, Policy, make_plan
from microtome_ingest.run import Run
from microtome_ingest.units import stages, units, whole


class Memory:
    """A source that is an array, and counts how often each voxel is read."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array
        self.reads = np.zeros(array.shape, int)

    def read(self, region: Region) -> NDArray[Any]:
        """Return a region."""
        self.reads[region.slices] += 1
        return self.array[region.slices].copy()


def plan_of(
    array: NDArray[Any],
    method: Method = "mean",
    batch_bytes: int = 1,
    shard: tuple[int, ...] | None = None,
) -> Plan:
    """Plan an array with chunks of 8."""
    axes = "tczyx"[-array.ndim :]
    spec = VolumeSpec(
        axes, array.shape, array.dtype.name, (1.0,) * array.ndim, (None,) * array.ndim, array.shape
    )
    chunk = tuple(1 if a in "tc" else 8 for a in axes)
    layout = choose_layout(axes, array.shape, spec.scale, array.itemsize, chunk, shard)
    return make_plan(spec, layout, Policy(method, Codec(), None, batch_bytes))


def write(store: Store, source: Memory, plan: Plan, threads: int = 2) -> list[NDArray[Any]]:
    """Write a plan and return every level as zarr-python reads it."""
    run = write_all(store, source, plan, threads)
    folder = store.url.removeprefix("file://")
    return [np.asarray(zarr.open_array(f"{folder}/v/{i}")[...]) for i in range(len(run.arrays))]


def new_run(store: Store, plan: Plan, ledger: Ledger | None = None) -> Run:
    """Return a run below ``v`` that notes what is done in its ledger."""
    ledger = ledger or Ledger([plan.shards(level) for level in range(len(plan.levels))])
    return Run.open(store, Place("v"), plan, ledger, lambda entry, size: ledger.add(entry))


def write_all(store: Store, source: Memory, plan: Plan, threads: int = 2, first: int = 3) -> Run:
    """Write every stage, unit by unit where the first stage has few levels."""
    run = new_run(store, plan)
    for stage in stages(plan, first):
        for unit in units(plan, stage):
            run.write(unit, source, threads)
    assert run.ledger.whole
    return run


def reference_mean(block: NDArray[Any], bins: tuple[int, ...]) -> NDArray[Any]:
    """Bin by means of exact Python integers, rounding half to even; slow and plain."""
    shape = tuple(-(-n // b) for n, b in zip(block.shape, bins, strict=True))
    out = np.empty(shape, block.dtype)
    for index in np.ndindex(shape):
        cut = tuple(slice(i * b, (i + 1) * b) for i, b in zip(index, bins, strict=True))
        values = [int(v) for v in block[cut].ravel()]
        quotient, rest = divmod(sum(values), len(values))
        up = 2 * rest > len(values) or (2 * rest == len(values) and quotient % 2)
        out[index] = quotient + int(up)
    return out


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "int64"])
@pytest.mark.parametrize("batch_bytes", [1, 10**9])
def test_level_0_is_the_source_and_coarser_levels_are_means(
    tmp_path: Path, dtype: str, batch_bytes: int
) -> None:
    """Whatever the batches, level 0 equals the source and each level above is the rounded mean."""
    limits = np.iinfo(dtype)
    rng = np.random.default_rng(1)
    source = Memory(rng.integers(limits.min, limits.max, (19, 34, 37), dtype, endpoint=True))
    plan = plan_of(source.array, "mean", batch_bytes)
    levels = write(Store(str(tmp_path)), source, plan)
    assert np.array_equal(levels[0], source.array)
    assert source.reads.min() == source.reads.max() == 1
    for index in range(1, len(levels)):
        assert np.array_equal(levels[index], reference_mean(levels[index - 1], plan.bins(index)))


class Asked(Store):
    """A store that notes when an object is begun to be read."""

    def __init__(self, url: str, events: list[str]) -> None:
        super().__init__(url)
        self.events = events

    def begin_open(self, path: str) -> Opened:
        """Note it."""
        self.events.append("asked")
        return super().begin_open(path)


def test_shards_that_were_written_together_are_read_back_together() -> None:
    """All shards of a step are asked for before the first is compared: it takes one wait, not
    many, where storage is far away.
    """
    events: list[str] = []
    store = Asked("memory://far", events)
    source = Memory(np.arange(1, 1 + 64**3, dtype="uint32").reshape(64, 64, 64))
    plan = plan_of(source.array, batch_bytes=10**9, shard=(16, 32, 32))
    ledger = Ledger([plan.shards(level) for level in range(len(plan.levels))])
    run = Run.open(store, Place("v"), plan, ledger, lambda entry, _: events.append(str(entry.key)))
    (stage, *_) = stages(plan, 1)
    run.write(whole(plan, stage), source, 1)
    count = plan.shards(0).size
    assert count > 1
    assert events[:count] == ["asked"] * count
    assert len(set(events[count:])) == count


@st.composite
def volumes(draw: st.DrawFn) -> tuple[Memory, Plan]:
    """A small volume of any axes and extents, chunks of several channels and times, any batch."""
    axes = draw(st.sampled_from(["yx", "zyx", "tyx", "cyx", "czyx", "tczyx"]))
    shape = tuple(draw(st.integers(1, 3 if a in "tc" else 20)) for a in axes)
    scale = tuple(1.0 if a in "tc" else draw(st.sampled_from([0.3, 1.0, 2.5])) for a in axes)
    edges = {a: st.integers(1, 3) if a in "tc" else st.sampled_from([2, 4, 6]) for a in axes}
    chunk = tuple(min(draw(edges[a]), n) for a, n in zip(axes, shape, strict=True))
    shard = tuple(c * draw(st.integers(1, 3)) for c in chunk)
    block = tuple(draw(st.integers(1, n)) for n in shape)
    dtype = draw(st.sampled_from(["uint8", "int16", "int64", "uint64"]))
    limits = np.iinfo(dtype)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    source = Memory(rng.integers(limits.min, limits.max, shape, dtype, endpoint=True))
    spec = VolumeSpec(axes, shape, dtype, scale, (None,) * len(axes), block)
    layout = choose_layout(axes, shape, scale, source.array.itemsize, chunk, shard)
    most = draw(st.sampled_from([1, 2000, 10**9]))
    return source, make_plan(spec, layout, Policy(batch_bytes=most))


@given(volumes(), st.integers(1, 3), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_every_level_is_right_for_any_axes_and_extents(
    volume: tuple[Memory, Plan], threads: int, first: int
) -> None:
    """Level 0 is the source and each level the mean of the one below, at odd extents, with chunks
    that hold several channels or times, and whether levels are made in memory or read back.
    """
    source, plan = volume
    run = write_all(Store("memory://any"), source, plan, threads, first)
    levels = [np.asarray(array.read().result()) for array in run.arrays]
    assert np.array_equal(levels[0], source.array)
    for index in range(1, len(levels)):
        expected = reference_mean(levels[index - 1], plan.bins(index))
        assert np.array_equal(levels[index], expected)


def test_labels_keep_the_most_frequent_value(tmp_path: Path) -> None:
    """Mode invents no label: each coarse voxel is one of those below, and none is more frequent."""
    rng = np.random.default_rng(2)
    source = Memory(rng.choice(np.array([0, 7, 2**31 + 5], "uint32"), (12, 20, 20)))
    plan = plan_of(source.array, "mode")
    fine, coarse = write(Store(str(tmp_path)), source, plan)[:2]
    bins = plan.bins(1)
    for index in np.ndindex(coarse.shape):
        below = fine[tuple(slice(i * b, (i + 1) * b) for i, b in zip(index, bins, strict=True))]
        values, counts = np.unique(below, return_counts=True)
        assert counts[values == coarse[index]] == counts.max()


def test_floats_are_averaged_as_floats() -> None:
    """The mean of float32 is float32, and NaN stays NaN."""
    block = np.array([[1.0, 2.0], [3.0, np.nan]], "float32")
    assert np.isnan(binned(block, (2, 2), "mean"))[0, 0]
    assert binned(block, (1, 2), "mean")[0, 0] == np.float32(1.5)


def test_means_do_not_overflow() -> None:
    """The mean of the largest values is the largest value."""
    block = np.full((2, 2, 2), 65535, "uint16")
    assert binned(block, (2, 2, 2), "mean")[0, 0, 0] == 65535


def test_a_read_that_fails_ends_the_job(tmp_path: Path) -> None:
    """The source's error comes through as it is; no zeros are written in its place."""

    class Damaged(Memory):
        def read(self, region: Region) -> NDArray[Any]:
            if region.start[0] >= 16:
                raise SourceError("brain.tif", f"page {region.start[0]} is damaged")
            return super().read(region)

    source = Damaged(np.ones((64, 512, 512), "uint16"))
    layout = choose_layout("zyx", source.array.shape, (1, 1, 1), 2, (16, 64, 64), (16, 512, 512))
    spec = plan_of(source.array).spec
    plan = make_plan(spec, layout, Policy(batch_bytes=1))
    with pytest.raises(SourceError, match="page 16"):
        write(Store(str(tmp_path)), source, plan)


def test_any_number_of_threads_writes_the_same_bytes(tmp_path: Path) -> None:
    """Shards are the same to the byte for one thread and for five."""
    rng = np.random.default_rng(3)
    source = Memory(rng.integers(0, 4000, (40, 70, 70), "uint16"))
    layout = choose_layout("zyx", source.array.shape, (1, 1, 1), 2, (8, 8, 8), (8, 16, 16))
    plan = make_plan(plan_of(source.array).spec, layout, Policy(batch_bytes=1))
    stores = []
    for threads in (1, 5):
        folder = tmp_path / str(threads)
        write(Store(str(folder)), source, plan, threads)
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        stores.append({str(p.relative_to(folder)): p.read_bytes() for p in files})
    assert stores[0] == stores[1]


@given(volumes(), st.randoms(use_true_random=False), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_what_was_done_before_is_not_done_again(
    volume: tuple[Memory, Plan], random: Random, threads: int
) -> None:
    """Whichever shards are done already, in whatever order they were: the rest is written, the same
    bytes come out, and no voxel is read from the source where all its shards are known.
    """
    source, plan = volume
    store = Store("memory://any")
    first = write_all(store, source, plan, 1)
    expected = objects(store)
    entries = [entry for level in range(len(plan.levels)) for entry in first.ledger.entries(level)]
    lost = [entry for entry in entries if random.random() < 0.4]
    ledger = first.ledger
    for entry in lost:
        store.remove(f"v/{entry.key}")
        ledger.forget(entry.level, entry.index)
    source.reads[...] = 0
    run = new_run(store, plan, ledger)
    for stage in stages(plan):
        run.write(whole(plan, stage), source, threads)
    assert objects(store) == expected
    needed = np.zeros(source.array.shape, bool)
    for entry in lost:
        if entry.level == 0:
            needed[plan.shards(0).region(entry.index).slices] = True
    assert source.reads.max(initial=0) <= 1
    assert (source.reads[needed] == 1).all()
    if not needed.any():
        assert not source.reads.any()


def objects(store: Store) -> dict[str, bytes | None]:
    """Return everything below ``v``."""
    return {key: store.read(key) for key, _ in store.sizes("v")}


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_empty_shards_are_not_stored(dtype: str) -> None:
    """A shard of zeros is noted and left out, at every level; one negative zero is no zero."""
    voxels = np.zeros((16, 32, 32), dtype)
    voxels[:8, :8, :8] = 7
    if dtype == "float32":
        voxels[-1, -1, -1] = -0.0
    layout = choose_layout("zyx", voxels.shape, (1, 1, 1), voxels.itemsize, (8, 8, 8), (8, 8, 8))
    plan = make_plan(plan_of(voxels).spec, layout, Policy(batch_bytes=1))
    store = Store("memory://empty")
    run = write_all(store, Memory(voxels), plan)
    stored = [key for key in objects(store) if key.startswith("v/0/c/")]
    assert len(stored) == (2 if dtype == "float32" else 1)
    assert run.ledger.empty(0).sum() == run.ledger.grids[0].size - len(stored)
    assert np.array_equal(run.voxels(0).load(Region.whole("zyx", voxels.shape)), voxels)
