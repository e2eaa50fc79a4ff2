"""Parts of a region follow one another as its voxels do, and follow the grid of chunks."""

from math import prod

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from microtome_core.grid import Grid
from microtome_core.region import Region
from microtome_service.slabs import bricks, largest, slabs


@st.composite
def cuts(draw: st.DrawFn) -> tuple[Region, tuple[int, ...], tuple[int, ...]]:
    """Draw a region, the shape of its array, and the shape of a chunk."""
    ndim = draw(st.integers(1, 4))
    shape = tuple(draw(st.integers(1, 9)) for _ in range(ndim))
    start = tuple(draw(st.integers(0, n - 1)) for n in shape)
    stop = tuple(draw(st.integers(low + 1, n)) for low, n in zip(start, shape, strict=True))
    chunk = tuple(draw(st.integers(1, 6)) for _ in range(ndim))
    return Region("tczyx"[-ndim:], start, stop), shape, chunk


@settings(deadline=None)
@given(cuts(), st.integers(1, 300), st.integers(1, 300), st.sampled_from([1, 2]))
def test_slabs_in_their_order_are_the_region_in_c_order(
    cut: tuple[Region, tuple[int, ...], tuple[int, ...]], target: int, most: int, itemsize: int
) -> None:
    """Laid end to end, slabs give what the whole region would; none has more bytes than allowed."""
    region, shape, chunk = cut
    voxels = np.arange(prod(shape)).reshape(shape)
    parts = list(slabs(region, chunk, itemsize, min(target, most), most))
    laid = np.concatenate([voxels[part.slices].ravel() for part in parts])
    np.testing.assert_array_equal(laid, voxels[region.slices].ravel())
    bound = largest(region, chunk, itemsize, min(target, most), most)
    assert all(part.size <= bound.size for part in parts)
    assert bound.size * itemsize <= max(most, itemsize)


@settings(deadline=None)
@given(cuts(), st.integers(1, 300))
def test_where_rows_of_chunks_fit_each_chunk_is_in_one_slab(
    cut: tuple[Region, tuple[int, ...], tuple[int, ...]], target: int
) -> None:
    """Slabs along the slowest axis end where chunks end, so that none is decoded twice."""
    region, shape, chunk = cut
    grid = Grid(region.axes, shape, chunk)
    row = min(chunk[0], region.shape[0]) * prod(region.shape[1:])
    parts = list(slabs(region, chunk, 1, target, max(target, row)))
    assert sum(map(grid.count_touched, parts)) == grid.count_touched(region)


def test_a_row_that_does_not_fit_is_cut_evenly() -> None:
    """Planes, then lines, are read in steps that do not reach over the edge of a chunk."""
    box = Region("zyx", (3, 0, 0), (9, 4, 5))
    assert [p.slices[0] for p in slabs(box, (8, 4, 4), 1, 60, 60)] == [
        slice(3, 6), slice(6, 8), slice(8, 9),
    ]  # fmt: skip
    lines = list(slabs(box, (8, 4, 4), 1, 10, 10))
    assert len(lines) == 12
    assert all(part.shape == (1, 2, 5) for part in lines)


@settings(deadline=None)
@given(cuts(), st.integers(1, 300))
def test_bricks_cover_a_region_once_and_touch_few_chunks(
    cut: tuple[Region, tuple[int, ...], tuple[int, ...]], most: int
) -> None:
    """Each voxel is in one brick; a brick's chunks fit the limit, or are one chunk."""
    region, shape, chunk = cut
    grid = Grid(region.axes, shape, chunk)
    seen = np.zeros(shape, int)
    for part in bricks(region, grid, 1, most):
        seen[part.slices] += 1
        touched = grid.count_touched(part)
        assert touched == 1 or touched * prod(chunk) <= most
    assert (seen[region.slices] == 1).all()
    assert seen.sum() == region.size
