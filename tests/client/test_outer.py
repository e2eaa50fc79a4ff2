"""Orthogonal indexing gives what NumPy gives with `np.ix_`."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import microtome
from microtome.errors import RegionError, UnsupportedIndex
from microtome.outer import parse_outer, plan_outer
from microtome_core.wire import LevelInfo
from tests.client.served import SHAPE, Served


@st.composite
def words(draw: st.DrawFn, extents: tuple[int, ...]) -> tuple[Any, ...]:
    """Draw a word for each of some axes: an integer, a slice, a list, an array or a mask."""

    def word(n: int) -> st.SearchStrategy[Any]:
        lists = st.lists(st.integers(-n, n - 1), max_size=6)
        masks = st.lists(st.booleans(), min_size=n, max_size=n)
        return st.one_of(
            st.integers(-n, n - 1), st.slices(n), lists, lists.map(lambda v: np.array(v, int)),
            masks, masks.map(np.array),
        )  # fmt: skip

    return tuple(draw(word(n)) for n in extents[: draw(st.integers(1, len(extents)))])


def outer(array: Any, key: tuple[Any, ...]) -> Any:  # noqa: ANN401 - an array of any type
    """Index axis by axis, the last first, so that an integer moves none of those to come."""
    for axis in reversed(range(len(key))):
        word = (
            np.array(key[axis], int)
            if isinstance(key[axis], list) and not key[axis]
            else (key[axis])
        )
        array = array[(slice(None),) * axis + (word,)]
    return array


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(key=words(SHAPE))
def test_every_combination_of_lists_is_what_numpy_gives(served: Served, key: Any) -> None:  # noqa: ANN401
    """Over HTTP: in any order, with repetitions, masks, slices and integers among them."""
    got = microtome.open(served.em).oindex[key]
    expected = outer(served.brain, key)
    assert got.dtype == expected.dtype
    assert np.array_equal(got, expected)
    assert got.shape == expected.shape


@given(key=words((40, 30, 20)), chunk=st.integers(1, 16), itemsize=st.sampled_from([1, 8, 9000]))
def test_parts_hold_each_voxel_once(key: Any, chunk: int, itemsize: int) -> None:  # noqa: ANN401
    """Whatever the planner thinks requests cost."""
    array = np.arange(40 * 30 * 20).reshape(40, 30, 20)
    shape = array.shape
    level = LevelInfo(shape, (chunk,) * 3, (chunk * 2,) * 3, (1.0,) * 3, (0.0,) * 3)
    parsed = parse_outer(key, shape, "zyx")
    out = np.full(tuple(map(len, parsed.sorted)), -1)
    for part in plan_outer(parsed, "zyx", level, itemsize):
        assert (out[part.target] == -1).all()
        out[part.target] = part.pick(array[part.region.slices])
    assert np.array_equal(parsed.finish(out), outer(array, key))


def test_positions_far_apart_are_not_joined() -> None:
    """Three planes of a large volume are three requests, not all that lies between them."""
    shape = (1000, 2048, 2048)
    level = LevelInfo(shape, (64,) * 3, (512,) * 3, (1.0,) * 3, (0.0,) * 3)
    parts = plan_outer(parse_outer([1, 500, 900], shape, "zyx"), "zyx", level, 2)
    assert {part.region.shape[0] for part in parts} == {1}
    assert sum(part.region.size for part in parts) == 3 * 2048 * 2048


def test_many_small_boxes_are_one_request(served: Served) -> None:
    """Hundreds of scattered voxels come in one answer, not each by itself."""
    volume = microtome.open(served.em)
    before = served.count("GET"), served.count("POST")
    wide = np.arange(0, 20, 4), np.arange(0, 48, 8)
    part = parse_outer((0, *wide), SHAPE, "czyx")
    assert np.array_equal(volume.oindex[0, wide[0], wide[1]], served.brain[0][np.ix_(*wide)])
    assert part.dropped == (True, False, False, False)
    assert served.count("GET") - before[0] + served.count("POST") - before[1] <= 2


@pytest.mark.parametrize(
    ("key", "kind", "words"),
    [
        ([2], RegionError, r"index 2 is out of bounds for axis c: valid is -2 to 1 .*\(2, 20, 48"),
        ((0, [True, False]), RegionError, "axis z: a mask of 2, expected 20"),
        ([[0, 1]], UnsupportedIndex, "axis c: a list of 2 dimensions"),
        ([0.5], UnsupportedIndex, "axis c: a list of float64"),
        (["GFP"], UnsupportedIndex, "axis c: a list of"),
        (None, UnsupportedIndex, "newaxis"),
        (1.0, UnsupportedIndex, r"1\.0 of type float"),
        ((0, 0, 0, 0, [1]), RegionError, r"5 for 4 axes \(czyx\)"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    served: Served,
    key: Any,  # noqa: ANN401
    kind: type[Exception],
    words: str,
) -> None:
    """The error names the axis and what is valid."""
    with pytest.raises(kind, match=words):
        _ = microtome.open(served.em).oindex[key]
