"""Ids of labels, and how far each reaches."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from microtome_core.ids import Reach, reach, union
from microtome_core.region import Region

labels = arrays(
    np.uint8, array_shapes(min_dims=1, max_dims=4, max_side=5), elements=st.integers(0, 3)
)


@given(labels, st.integers(-2, 300), st.integers(0, 9))
def test_a_reach_is_the_smallest_box(block: np.ndarray, wanted: int, origin: int) -> None:
    """Counted from the region's start; None for an id that is not there or not of the type."""
    axes = "tzyx"[: block.ndim]
    part = Region(axes, (origin,) * block.ndim, tuple(origin + n for n in block.shape))
    found = reach(block, part, wanted)
    places = np.argwhere(block == wanted)
    if found is None:
        assert len(places) == 0
        return
    assert found.voxels == len(places)
    assert found.region.start == tuple((places.min(axis=0) + origin).tolist())
    assert found.region.stop == tuple((places.max(axis=0) + origin + 1).tolist())


@given(labels, labels)
def test_ids_of_blocks_are_joined(first: np.ndarray, second: np.ndarray) -> None:
    """Sorted, each once, in the type of those that there were."""
    both = union(union(np.zeros(0, np.uint64), first), second)
    assert both.dtype == np.uint64
    assert both.tolist() == sorted({*first.flat, *second.flat})


def test_reaches_of_two_parts_are_joined() -> None:
    """The box around both, and all voxels; a part without any adds nothing."""
    one, two = Reach(Region("x", (1,), (3,)), 2), Reach(Region("x", (7,), (8,)), 1)
    assert one | two == Reach(Region("x", (1,), (8,)), 3)
    assert one | None == one
