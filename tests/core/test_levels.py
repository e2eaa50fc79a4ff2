"""Levels: sizes, voxel sizes and positions of a pyramid."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microtome_core.levels import pyramid


def test_the_finest_axes_are_halved_first() -> None:
    """Voxels of 1.0×0.4×0.4 become isotropic before z is halved."""
    levels = pyramid("zyx", (128, 1024, 1024), (1.0, 0.4, 0.4), (32, 96, 96))
    assert [level.factors for level in levels[:3]] == [(1, 1, 1), (1, 2, 2), (2, 4, 4)]


def test_time_and_channels_are_never_binned() -> None:
    """Only spatial axes change from level to level."""
    levels = pyramid("tczyx", (9, 3, 64, 512, 512), (1, 1, 1, 1, 1), (1, 1, 32, 64, 64))
    assert {level.shape[:2] for level in levels} == {(9, 3)}


def test_a_binned_voxel_lies_in_the_middle_of_those_it_covers() -> None:
    """Its translation is (n - 1) / 2 × the voxel size of level 0."""
    levels = pyramid("yx", (64, 64), (0.5, 0.5), (8, 8))
    assert [level.translation[0] for level in levels] == pytest.approx([0, 0.25, 0.75, 1.75])


@given(
    st.tuples(*[st.integers(1, 5000)] * 3),
    st.tuples(*[st.floats(1e-3, 1e3)] * 3),
    st.tuples(*[st.integers(1, 128)] * 3),
)
def test_a_pyramid_ends_in_one_chunk(
    shape: tuple[int, ...], scale: tuple[float, ...], chunk: tuple[int, ...]
) -> None:
    """Every level is half of the one below, rounded up, and the coarsest fits one chunk."""
    levels = pyramid("zyx", shape, scale, chunk)
    assert all(n <= c for n, c in zip(levels[-1].shape, chunk, strict=True))
    for fine, coarse in pairwise(levels):
        bins = [b // a for a, b in zip(fine.factors, coarse.factors, strict=True)]
        assert set(bins) <= {1, 2}
        assert coarse.shape == tuple(-(-n // b) for n, b in zip(fine.shape, bins, strict=True))
        assert coarse.scale == pytest.approx([s * b for s, b in zip(fine.scale, bins, strict=True)])


def test_the_number_of_levels_can_be_given() -> None:
    """`count` ends the pyramid earlier or takes it further, down to a single voxel."""
    assert len(pyramid("yx", (4096, 4096), (1, 1), (64, 64), count=2)) == 2
    assert pyramid("yx", (5, 3), (1, 1), (64, 64), count=99)[-1].shape == (1, 1)
