"""A cut is made of requests, along shards, that together give each voxel once."""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, basic_indices

from microtome.indexing import parse_index
from microtome.parts import DECODED, LARGEST, SINGLE, plan, request_cell, split
from microtome_core.region import Region
from microtome_core.wire import LevelInfo

Make = Callable[..., LevelInfo]


@st.composite
def cases(draw: st.DrawFn) -> tuple[Any, ...]:
    """A shape, its chunk and shard extents, an index and bytes a voxel."""
    shape = draw(array_shapes(min_dims=2, max_dims=5, max_side=7))
    chunk = tuple(draw(st.integers(1, 3)) for _ in shape)
    shard = tuple(n * draw(st.integers(1, 2)) for n in chunk)
    steps = st.builds(slice, st.none(), st.none(), st.integers(1, 4) | st.integers(-4, -1))
    key = draw(basic_indices(shape) | st.tuples(*[steps] * len(shape)))
    return shape, chunk, shard, key, draw(st.sampled_from([1, 8, 1 << 18, 1 << 22]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cases())
def test_parts_make_up_the_whole(make_level: Make, case: tuple[Any, ...]) -> None:
    """However a cut is divided, each voxel comes exactly once and to its place."""
    shape, chunk, shard, key, itemsize = case
    array = np.arange(prod(shape)).reshape(shape)
    axes = "tczyx"[-len(shape) :]
    cut = parse_index(key, shape, axes)
    out, times = np.full(cut.full_shape, -1), np.zeros(cut.full_shape, int)
    for part in plan(cut, axes, make_level(shape, chunk, shard), itemsize):
        out[part.target] = array[part.region.slices][part.take]
        times[part.target] += 1
    assert np.array_equal(cut.finish(out), array[key])
    assert (times == 1).all()


@given(
    st.lists(st.integers(1, 5000), min_size=3, max_size=3),
    st.lists(st.sampled_from([1, 16, 64, 100, 2000]), min_size=3, max_size=3),
    st.lists(st.sampled_from([1, 3, 16]), min_size=3, max_size=3),
    st.sampled_from([1, 2, 8]),
)
def test_no_request_is_too_large(
    extents: list[int], chunk: list[int], factors: list[int], itemsize: int
) -> None:
    """A request is bounded in bytes sent and in chunks decoded, whatever the shards are."""
    shard = [n * f for n, f in zip(chunk, factors, strict=True)]
    cell = request_cell(extents, chunk, shard, itemsize)
    sizes = list(map(min, cell, extents))
    chunks = prod(-(-n // width) for n, width in zip(sizes, chunk, strict=True))
    decoded = chunks * prod(chunk) * itemsize
    assert prod(sizes) * itemsize <= LARGEST
    assert chunks == 1 or decoded <= DECODED
    assert chunks <= 8192
    small = prod(sizes) * itemsize * 2 <= SINGLE and decoded * 4 <= DECODED and chunks * 4 <= 8192
    assert not small or sizes == extents


def test_a_trace_through_many_chunks_is_divided() -> None:
    """A few bytes that cost the service much decoding are asked for in parts."""
    trace = Region("tyx", (0, 9, 9), (100_000, 10, 10))
    parts = list(split(trace, (1, 512, 512), (64, 512, 512), 2))
    assert len(parts) == -(-100_000 // 1024)
    assert sum(part.size for part in parts) == trace.size


def test_a_small_region_is_one_request() -> None:
    """Up to 8 MiB a region is whole, however many shards it touches."""
    box = Region("zyx", (30, 30, 30), (158, 158, 158))
    assert list(split(box, (16,) * 3, (32,) * 3, 2)) == [box]


def test_a_large_region_is_cut_at_shards() -> None:
    """Every cut between requests lies between shards."""
    box = Region("zyx", (100, 0, 10), (612, 512, 512))
    parts = list(split(box, (64,) * 3, (256,) * 3, 2))
    edges = {edge for part in parts for edge in (*part.start, *part.stop)}
    assert edges - {100, 612, 10, 512} == {0, 256}


def test_an_empty_cut_needs_no_request(make_level: Make) -> None:
    """Nothing is asked for where nothing is wanted."""
    cut = parse_index(slice(3, 3), (10, 10), "yx")
    assert plan(cut, "yx", make_level((10, 10), (4, 4), (8, 8)), 2) == []


def test_a_large_step_fetches_only_its_planes(make_level: Make) -> None:
    """Planes that lie far apart are asked for one by one."""
    cut = parse_index(slice(None, None, 50), (128, 64, 64), "zyx")
    parts = plan(cut, "zyx", make_level((128, 64, 64), (64,) * 3, (128,) * 3), 2)
    assert [part.region.start[0] for part in parts] == [0, 50, 100]
    assert sum(part.region.size for part in parts) == cut.size


def test_a_small_step_fetches_the_covering_range(make_level: Make) -> None:
    """Planes that share chunks come in one request that ends with the last of them."""
    cut = parse_index(slice(None, None, 2), (128, 64, 64), "zyx")
    (part,) = plan(cut, "zyx", make_level((128, 64, 64), (64,) * 3, (128,) * 3), 2)
    assert part.region.stop == (127, 64, 64)
