"""Levels are chosen by what they are for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microtome
from microtome.choice import thinned
from microtome.errors import InputError, NotFound, RegionError
from microtome.indexing import Cut
from tests.client.served import Served


@given(
    shape=st.lists(st.integers(1, 50), min_size=4, max_size=4),
    most=st.integers(1, 10**6),
)
def test_a_thinned_cut_fits_its_budget(shape: list[int], most: int) -> None:
    """With one step for all spatial axes, the least that will do, and time only after space."""
    cut = Cut(tuple(map(range, shape)), (False,) * 4)
    thin = thinned(cut, "tzyx", most)
    steps = [r.step if len(r) > 1 else None for r in thin.ranges]
    assert thin.size <= most
    if steps[0] not in (None, 1):
        assert all(len(r) == 1 for r in thin.ranges[1:])
    spatial = {step for step in steps[1:] if step is not None}
    assert len(spatial) <= 1
    if spatial and min(spatial) > 1 and len(thin.ranges[0]) == shape[0]:
        less = [shape[0], *(-(-n // (min(spatial) - 1)) for n in shape[1:])]
        assert np.prod(less) > most


def test_the_finest_level_that_fits_is_taken(served: Served) -> None:
    """An overview is that level, whole; or every n-th voxel of the coarsest."""
    volume = microtome.open(served.em)
    assert np.array_equal(volume.overview(), served.brain)
    assert np.array_equal(volume.overview(20_000), volume.level(1)[...])
    assert np.array_equal(volume.overview(100, c=0), volume.level(2)[0, ::2, ::2, ::2])
    assert np.array_equal(volume.overview(20_000, c="channel 1"), volume.level(1)[1])
    with pytest.raises(InputError, match="max_voxels=0"):
        volume.overview(0)
    with pytest.raises(RegionError, match="axis 't' is unknown: the axes are 'czyx'"):
        volume.overview(t=0)


def test_a_level_is_found_by_its_purpose(served: Served) -> None:
    """By number, by the size of its voxels, or by how many there are."""
    volume = microtome.open(served.em)
    assert volume.at(level=-1) == volume.level(2)
    assert volume.at(spacing=4.0).level_index == 1
    assert volume.at(spacing=4000, unit="nm").level_index == 1
    assert volume.at(spacing=3.9).level_index == 0
    assert volume.at(max_voxels=20_000).level_index == 1
    assert volume.at(max_voxels=1).level_index == 2
    with pytest.raises(NotFound, match="or smaller"):
        volume.at(spacing=0.1)
    with pytest.raises(InputError, match="one of level=, spacing= and max_voxels="):
        volume.at()
    with pytest.raises(InputError, match="spacing=-1"):
        volume.at(spacing=-1)
