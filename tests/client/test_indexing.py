"""Index expressions are read as NumPy reads them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, basic_indices

from microtome.errors import RegionError, UnsupportedIndex
from microtome.indexing import parse_index

SHAPE = (4, 5, 6)


def _wild_slices() -> st.SearchStrategy[slice]:
    ends = st.none() | st.integers(-20, 20)
    return st.builds(slice, ends, ends, st.none() | st.integers(1, 9) | st.integers(-9, -1))


@st.composite
def shape_and_key(draw: st.DrawFn) -> tuple[tuple[int, ...], Any]:
    """A shape, and an index that NumPy takes."""
    shape = draw(array_shapes(min_dims=1, max_dims=5, max_side=6))
    per_axis = [st.integers(-n, n - 1) | st.slices(n) | _wild_slices() for n in shape]
    words = [draw(strategy) for strategy in per_axis]
    own = st.just(tuple(words[: draw(st.integers(0, len(words)))]))
    return shape, draw(own | basic_indices(shape) | st.just(words[0]))


def same(got: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> bool:
    """Whether two results are equal in every respect."""
    return (
        type(got) is type(expected)
        and got.dtype == expected.dtype
        and got.shape == expected.shape
        and bool(np.array_equal(got, expected))
    )


@given(shape_and_key())
def test_every_basic_index_gives_what_numpy_gives(case: tuple[tuple[int, ...], Any]) -> None:
    """Values, shape, type, and scalar or array are NumPy's, in one to five dimensions."""
    shape, key = case
    array = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    cut = parse_index(key, shape, "tczyx"[-len(shape) :])
    block = array[np.ix_(*cut.ascending)]
    assert block.shape == cut.full_shape
    assert same(cut.finish(block), array[key])
    assert cut.shape == array[key].shape


@given(st.integers(-1000, 1000))
def test_an_integer_out_of_bounds_is_an_index_error(index: int) -> None:
    """It is refused exactly where NumPy refuses it, and the message names axis and shape."""
    if -4 <= index < 4:
        assert parse_index(index, SHAPE, "zyx").ranges[0] == range(index % 4, index % 4 + 1)
        return
    with pytest.raises(IndexError, match=r"axis z: valid is -4 to 3 .*\(4, 5, 6\)"):
        parse_index(index, SHAPE, "zyx")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (None, "newaxis"),
        ((0, np.newaxis), "newaxis"),
        ([0, 1], "list or array"),
        (np.array([0, 1]), "list or array"),
        (np.zeros(SHAPE, bool), "boolean mask"),
        (True, "a bool"),
        (np.True_, "a bool"),
        (1.0, r"1\.0 of type float"),
        ("z", "'z' of type str"),
        (slice(0.5, 2), "slice indices must be integers"),
        (slice("a", None), "slice indices must be integers"),
    ],
)
def test_what_is_not_basic_indexing_is_refused_by_name(key: object, words: str) -> None:
    """The error is an IndexError and a TypeError, and says what was given."""
    with pytest.raises(UnsupportedIndex, match=words) as caught:
        parse_index(key, SHAPE, "zyx")
    assert isinstance(caught.value, IndexError)
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ((0, 0, 0, 0), r"4 for 3 axes \(zyx\)"),
        ((..., 0, ...), "single ellipsis"),
        (slice(None, None, 0), "axis z: slice step cannot be zero"),
    ],
)
def test_what_cannot_be_an_index_is_refused(key: object, words: str) -> None:
    """Too many indices, two ellipses and a step of zero are region errors."""
    with pytest.raises(RegionError, match=words):
        parse_index(key, SHAPE, "zyx")


@st.composite
def any_expression(draw: st.DrawFn) -> Any:  # noqa: ANN401 - whatever NumPy takes
    """Draw what may stand within brackets, whether it is supported or not."""
    n = draw(st.sampled_from(SHAPE))
    integers = st.integers(-7, 7)
    word = st.one_of(
        integers, integers.map(np.int8), integers.map(np.int64), integers.map(np.array),
        _wild_slices(), st.just(...), st.none(), st.booleans(), st.booleans().map(np.bool_),
        st.lists(integers, max_size=4), st.lists(integers, max_size=4).map(tuple),
        st.lists(integers, min_size=1, max_size=4).map(np.array),
        st.lists(st.booleans(), min_size=n, max_size=n).map(np.array),
        st.just(np.zeros(SHAPE, bool)), st.just(np.zeros((2, 2), int)), st.just(()),
        st.floats(0, 3), st.just("z"), st.builds(range, st.integers(0, 3)),
    )  # fmt: skip
    return draw(word | st.lists(word, max_size=5).map(tuple))


@settings(max_examples=600)
@given(any_expression())
def test_every_expression_is_numpys_or_refused_by_name(key: Any) -> None:  # noqa: ANN401
    """What is answered is what NumPy gives; what NumPy refuses is refused, as an IndexError."""
    array = np.arange(np.prod(SHAPE), dtype=np.uint16).reshape(SHAPE)
    try:
        cut = parse_index(key, SHAPE, "zyx")
    except RegionError:
        return
    expected = array[key]
    assert same(cut.finish(array[np.ix_(*cut.ascending)]), expected)


def test_numpy_integers_are_integers() -> None:
    """An index may be of any type that has __index__."""
    cut = parse_index((np.int64(-1), slice(np.uint8(1), np.int16(3))), SHAPE, "zyx")
    assert cut.ranges == (range(3, 4), range(1, 3), range(6))
    assert cut.dropped == (True, False, False)
