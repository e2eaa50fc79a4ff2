"""Grids: the cells that a region touches."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from microtome_core.grid import Grid
from microtome_core.region import Region


@st.composite
def grids(draw: st.DrawFn) -> tuple[Grid, Region]:
    """A grid and a region inside of its array."""
    ndim = draw(st.integers(1, 4))
    shape = tuple(draw(st.integers(1, 12)) for _ in range(ndim))
    cell = tuple(draw(st.integers(1, 6)) for _ in range(ndim))
    start = tuple(draw(st.integers(0, n - 1)) for n in shape)
    stop = tuple(draw(st.integers(a + 1, n)) for a, n in zip(start, shape, strict=True))
    axes = "tzyx"[-ndim:]
    return Grid(axes, shape, cell), Region(axes, start, stop)


@given(grids())
def test_the_cells_touched_cover_a_region_once(case: tuple[Grid, Region]) -> None:
    """Any region of any grid is covered once by the cells it touches, and each of them by it."""
    grid, region = case
    counts = np.zeros(grid.shape, int)
    for index in grid.touched(region):
        part = grid.region(index) & region
        assert part is not None
        counts[part.slices] += 1
    assert counts.sum() == region.size
    assert counts[region.slices].min() == 1


@given(grids())
def test_counting_is_listing(case: tuple[Grid, Region]) -> None:
    """The number of cells is known without listing them."""
    grid, region = case
    assert grid.count_touched(region) == len(list(grid.touched(region)))
    assert grid.size == len(list(grid.touched(Region.whole(grid.axes, grid.shape))))
