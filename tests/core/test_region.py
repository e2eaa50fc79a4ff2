"""Regions: half-open boxes with named axes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microtome_core.errors import RegionError
from microtome_core.region import Region, check_inside

AXES = "tczyx"


@st.composite
def regions(draw: st.DrawFn, high: int = 40) -> Region:
    """Any region of one to five axes."""
    ndim = draw(st.integers(1, 5))
    start = draw(st.lists(st.integers(0, high), min_size=ndim, max_size=ndim))
    extent = draw(st.lists(st.integers(1, 9), min_size=ndim, max_size=ndim))
    stop = tuple(a + b for a, b in zip(start, extent, strict=True))
    return Region(AXES[-ndim:], tuple(start), stop)


@given(regions())
def test_parsing_what_was_formatted_is_identity(region: Region) -> None:
    """parse∘format is identity."""
    assert Region.parse(str(region)) == region


@given(regions(high=20), st.lists(st.integers(1, 7), min_size=5, max_size=5))
def test_splitting_covers_every_voxel_once(region: Region, step: list[int]) -> None:
    """The parts of a split hold each voxel of the region exactly once, and no other."""
    counts = np.zeros(region.stop, int)
    for part in region.split(step[: len(region.axes)]):
        counts[part.slices] += 1
    assert counts[region.slices].min() == 1
    assert counts.sum() == region.size


def test_parts_of_a_huge_region_come_one_by_one() -> None:
    """To have the first of 10³⁹ takes no longer than of ten."""
    parts = Region.whole("zyx", (10**15,) * 3).split((64, 64, 64))
    assert [str(next(parts)), str(next(parts))] == [
        "z=0:64,y=0:64,x=0:64",
        "z=0:64,y=0:64,x=64:128",
    ]


@given(regions(), st.lists(st.integers(1, 7), min_size=5, max_size=5))
def test_parts_lie_within_one_cell(region: Region, step: list[int]) -> None:
    """No part of a split crosses a multiple of the step."""
    for part in region.split(step[: len(region.axes)]):
        pairs = zip(part.start, part.stop, step, strict=False)
        assert all(low // width == (high - 1) // width for low, high, width in pairs)


@given(regions(high=12), regions(high=12))
def test_intersection_holds_what_both_hold(one: Region, other: Region) -> None:
    """The intersection of two regions is the set of voxels that lie in both."""
    if one.axes != other.axes:
        return
    shape = tuple(map(max, one.stop, other.stop))
    a, b = np.zeros(shape, bool), np.zeros(shape, bool)
    a[one.slices], b[other.slices] = True, True
    both = one & other
    expected = np.zeros(shape, bool)
    if both is not None:
        expected[both.slices] = True
    assert np.array_equal(a & b, expected)
    assert (other in one) == bool((a & b).sum() == other.size)


@pytest.mark.parametrize(
    "text", ["", "z=0", "z=0:0", "z=5:1", "z=-1:4", "z=0:4,z=0:4", "Z=0:4", "z=0:" + "9" * 26]
)
def test_what_is_no_box_is_refused(text: str) -> None:
    """Text that is not a box of named axes raises RegionError."""
    with pytest.raises(RegionError):
        Region.parse(text)


def test_out_of_bounds_names_the_valid_range() -> None:
    """A region beyond the array is refused with the range that would do."""
    with pytest.raises(RegionError, match="valid is y=0:512"):
        check_inside(Region("yx", (0, 0), (513, 4)), (512, 512))
