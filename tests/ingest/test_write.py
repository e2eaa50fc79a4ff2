"""Writing: the same voxels at level 0, means or modes above, whatever the batches."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from microtome_core.errors import SourceError
from microtome_core.region import Region
from microtome_core.store.array import Codec, create_array
from microtome_core.store.location import Store
from microtome_ingest.layout import choose_layout
from microtome_ingest.options import VolumeSpec
from microtome_ingest.plan import Method, Plan, Policy, make_plan
from microtome_ingest.write import binned, write_volume


class Memory:
    """A source that is an array, and counts how often each voxel is read."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array
        self.reads = np.zeros(array.shape, int)

    def read(self, region: Region) -> NDArray[Any]:
        """Return a region."""
        self.reads[region.slices] += 1
        return self.array[region.slices].copy()


def plan_of(array: NDArray[Any], method: Method = "mean", batch_bytes: int = 1) -> Plan:
    """Plan an array with chunks of 8."""
    axes = "tczyx"[-array.ndim :]
    spec = VolumeSpec(
        axes, array.shape, array.dtype.name, (1.0,) * array.ndim, (None,) * array.ndim, array.shape
    )
    chunk = tuple(1 if a in "tc" else 8 for a in axes)
    layout = choose_layout(axes, array.shape, spec.scale, array.itemsize, chunk, None)
    return make_plan(spec, layout, Policy(method, Codec(), None, batch_bytes))


def write(store: Store, source: Memory, plan: Plan, threads: int = 2) -> list[NDArray[Any]]:
    """Write a plan and return every level as zarr-python reads it."""
    arrays = [create_array(store, f"v/{i}", spec) for i, spec in enumerate(plan.arrays)]
    write_volume(source, plan, arrays, threads, lambda size: None)
    folder = store.url.removeprefix("file://")
    return [np.asarray(zarr.open_array(f"{folder}/v/{i}")[...]) for i in range(len(arrays))]


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


@given(volumes(), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_every_level_is_right_for_any_axes_and_extents(
    volume: tuple[Memory, Plan], threads: int
) -> None:
    """Level 0 is the source and each level the mean of the one below, at odd extents and with
    chunks that hold several channels or times.
    """
    source, plan = volume
    store = Store("memory://any")
    arrays = [create_array(store, str(i), spec) for i, spec in enumerate(plan.arrays)]
    write_volume(source, plan, arrays, threads, lambda size: None)
    levels = [np.asarray(array.read().result()) for array in arrays]
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
