"""Index expressions are read as NumPy reads them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, basic_indices

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


NUMPYS_INTEGERS = [np.dtype(code).type for code in "bBhHiIlLqQ"]


def expressions(shape: tuple[int, ...]) -> st.SearchStrategy[tuple[tuple[int, ...], Any]]:
    """A shape, and what may stand within the brackets, whether it is supported or not."""
    integers = st.integers(-7, 7)
    typed = st.one_of(st.integers(0, 6).map(kind) for kind in NUMPYS_INTEGERS)
    ends = st.none() | integers | typed
    masks = st.one_of(st.lists(st.booleans(), min_size=n, max_size=n) for n in set(shape))
    lists = st.lists(integers, max_size=4)
    word = st.one_of(
        integers, typed, typed.map(np.array), _wild_slices(), st.builds(slice, ends, ends, ends),
        st.none(), st.booleans().map(np.bool_), lists, lists.map(tuple), lists.map(np.array),
        masks, masks.map(np.array), arrays(bool, shape), st.floats(0, 3).map(np.float32),
        st.sampled_from([
            ..., True, False, (), [], {}, "z", b"z", 1.0, 1j, object(), range(2), np.empty(0),
            np.empty(0, int), np.array(True), np.zeros((2, 2), int), [[0, 1]], 2**63, -(2**70),
            slice(-(2**70), 2**70), slice(None, None, 0), slice(0.5), slice("a"),
        ]),
    )  # fmt: skip
    return st.tuples(st.just(shape), word | st.lists(word, max_size=5).map(tuple))


# Made once: to put them together takes longer than to draw from them.
ANY_EXPRESSION = st.one_of(map(expressions, ((5,), (4, 5, 6), (2, 3, 1, 4), (2, 3, 2, 2, 3))))


@settings(max_examples=600)
@given(ANY_EXPRESSION)
def test_every_expression_is_numpys_or_refused_by_name(case: tuple[tuple[int, ...], Any]) -> None:
    """What is answered is what NumPy gives; what is basic is answered, unless NumPy refuses it."""
    shape, key = case
    array = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    try:
        cut = parse_index(key, shape, "tczyx"[-len(shape) :])
    except RegionError:
        assert not _basic(key) or _refused(array, key)
        return
    assert same(cut.finish(array[np.ix_(*cut.ascending)]), array[key])


def _basic(key: object) -> bool:
    """Whether an expression is of nothing but integers, slices and ``...``."""
    words = key if isinstance(key, tuple) else (key,)
    return all(type(word) in {int, slice, type(...), *NUMPYS_INTEGERS} for word in words)


def _refused(array: np.ndarray[Any, Any], key: Any) -> bool:  # noqa: ANN401
    try:
        array[key]
    except (IndexError, TypeError, ValueError, OverflowError):
        return True
    return False


def test_numpy_integers_are_integers() -> None:
    """An index may be of any type that has __index__."""
    cut = parse_index((np.int64(-1), slice(np.uint8(1), np.int16(3))), SHAPE, "zyx")
    assert cut.ranges == (range(3, 4), range(1, 3), range(6))
    assert cut.dropped == (True, False, False)
