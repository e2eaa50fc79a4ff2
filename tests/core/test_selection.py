"""Selections: the words of a request, one an axis."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microtome_core.errors import RegionError
from microtome_core.selection import Selection

SHAPE = (6, 5, 4)


@st.composite
def words(draw: st.DrawFn) -> tuple[dict[str, str], tuple[int | slice, ...]]:
    """A request for a zyx array of SHAPE, and the NumPy index that means the same."""
    asked: dict[str, str] = {}
    index: list[int | slice] = []
    for axis, extent in zip("zyx", SHAPE, strict=True):
        kind = draw(st.sampled_from(["whole", "index", "range"]))
        low = draw(st.integers(0, extent - 1))
        high = draw(st.integers(low + 1, extent))
        if kind == "index":
            asked[axis] = str(low)
        elif kind == "range":
            asked[axis] = draw(st.sampled_from([f"{low}:{high}"]))
        index.append({"whole": slice(None), "index": low, "range": slice(low, high)}[kind])
    return asked, tuple(index)


@given(words())
def test_a_selection_means_what_numpy_means(
    case: tuple[dict[str, str], tuple[int | slice, ...]],
) -> None:
    """Ranges are half-open, an index drops its axis and a missing axis is whole, as in NumPy."""
    asked, index = case
    array = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    selection = Selection.parse("zyx", SHAPE, asked)
    cut = array[selection.region.slices].reshape(selection.shape)
    assert np.array_equal(cut, array[index])
    assert len(selection.axes) == cut.ndim


@pytest.mark.parametrize(("word", "low", "high"), [(":", 0, 6), ("2:", 2, 6), (":3", 0, 3)])
def test_either_end_may_be_left_open(word: str, low: int, high: int) -> None:
    """``2:``, ``:3`` and ``:`` reach to the ends of the axis."""
    region = Selection.parse("zyx", SHAPE, {"z": word}).region
    assert (region.start[0], region.stop[0]) == (low, high)


@pytest.mark.parametrize(
    "word", ["7", "0:7", "6", "3:3", "-1", "-1:0", "1:2:3", "a", "", "1.5", "9" * 26, "٣", " 1"]
)
def test_nonsense_names_the_valid_range(word: str) -> None:
    """What is out of bounds, empty, negative or no number is refused with the valid range."""
    with pytest.raises(RegionError, match=r"z=0:6"):
        Selection.parse("zyx", SHAPE, {"z": word})


def test_an_unknown_axis_names_the_axes() -> None:
    """An axis that the array lacks is refused with those that it has."""
    with pytest.raises(RegionError, match="zyx"):
        Selection.parse("zyx", SHAPE, {"t": "0"})
