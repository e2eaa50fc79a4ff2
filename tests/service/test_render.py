"""Colours follow from values by the written formula, for every dtype."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from microtome_service.render import Blend, Shown, render, render_labels

DTYPES = st.sampled_from(["uint8", "int16", "uint16", "uint32", "int64", "uint64", "float32"])
PLANES = DTYPES.flatmap(
    lambda name: hnp.arrays(
        name,
        (3, 4),
        elements=st.floats(-1e6, 1e6, width=32) if name == "float32" else None,
    )
)
COLORS = st.text("0123456789ABCDEF", min_size=6, max_size=6)


def exact(value: float, low: int, high: int) -> Fraction:
    """Return brightness in exact fractions."""
    return min(max((Fraction(value) - low) / (high - low), Fraction(0)), Fraction(1))


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(PLANES, COLORS), min_size=1, max_size=3),
    st.integers(-1000, 60000),
    st.integers(1, 70000),
    st.sampled_from(["additive", "max"]),
)
def test_render_is_the_formula(
    layers: list[tuple[NDArray[Any], str]], low: int, width: int, blend: Blend
) -> None:
    """Each pixel is within one count of the same computation in exact fractions."""
    window = (float(low), float(low + width))
    shown = [Shown(color, window) for _, color in layers]
    picture = render([plane for plane, _ in layers], shown, 1.0, blend)
    rgb = picture if picture.ndim == 3 else np.stack([picture] * 3, axis=-1)
    for place in np.ndindex(3, 4):
        for part in range(3):
            terms = [
                exact(plane[place].item(), low, low + width) * one.rgb[part]
                for (plane, _), one in zip(layers, shown, strict=True)
            ]
            total = sum(terms, Fraction(0))
            expected = min(total, Fraction(255)) if blend == "additive" else max(terms)
            assert abs(int(rgb[(*place, part)]) - expected) <= 1


def test_gamma_is_a_power_of_brightness() -> None:
    """A quarter of full brightness at gamma 0.5 is a half."""
    plane = np.array([[64]], "uint8")
    picture = render([plane], [Shown("FFFFFF", (0, 256))], 0.5, "additive")
    assert picture.tolist() == [[128]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_no_number_is_black_and_infinity_is_bright(dtype: str) -> None:
    """NaN is black, an infinite value is clipped like any other, and nothing warns."""
    plane = np.array([[np.nan, np.inf, -np.inf, 3e38]], dtype)
    picture = render([plane], [Shown("FFFFFF", (0, 1))], 1.0, "additive")
    assert picture.tolist() == [[0, 255, 0, 255]]


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
@pytest.mark.parametrize(
    ("window", "seen"), [((-1e300, 1e300), 128), ((3.0, 3.0 + 1e-13), 0), ((0.0, 1e-299), 255)]
)
def test_any_window_gives_a_picture(dtype: str, window: tuple[float, float], seen: int) -> None:
    """Windows that are far wider or narrower than what values can be are spread like others."""
    plane = np.array([[3]], dtype)
    picture = render([plane], [Shown("FFFFFF", window)], 1.0, "additive")
    assert picture.tolist() == [[seen]]


def test_values_of_64_bits_keep_their_differences() -> None:
    """Near 2**53 a window of 100 still shows its steps."""
    plane = 2**53 - 100 + np.array([[0, 50, 100]], "uint64")
    window = (float(2**53 - 100), float(2**53))
    picture = render([plane], [Shown("FFFFFF", window)], 1.0, "additive")
    assert picture.tolist() == [[0, 128, 255]]


@given(hnp.arrays(st.sampled_from(["uint8", "int32", "uint64"]), (4, 4)))
def test_a_label_looks_the_same_everywhere(ids: NDArray[Any]) -> None:
    """Equal ids have equal colours in any picture; 0 alone is transparent, and none is dark."""
    picture = render_labels(ids)
    for place in np.ndindex(4, 4):
        alone = render_labels(ids[place].reshape(1, 1))[0, 0]
        np.testing.assert_array_equal(picture[place], alone)
        assert (picture[place][3] == 0) == (ids[place] == 0)
        assert ids[place] == 0 or picture[place][:3].min() >= 64


def test_the_colours_of_labels_do_not_change() -> None:
    """These are the colours of ids 1 to 3 for ever; a neighbour's is far away."""
    colours = render_labels(np.array([[1, 2, 3]]))[0, :, :3]
    assert colours.tolist() == [[208, 133, 65], [218, 128, 177], [241, 171, 64]]
    many = render_labels(np.arange(1, 2001).reshape(1, -1))[0, :, :3]
    assert len(np.unique(many, axis=0)) > 1990
