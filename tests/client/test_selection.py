"""Physical positions become voxels by one rule."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import microtome
from microtome.errors import InputError, RegionError
from microtome.selection import Ruler, axis_unit, channel, physical
from microtome_core.wire import Channel

rulers = st.builds(
    Ruler,
    st.just("z"),
    st.integers(1, 200),
    st.sampled_from([0.1, 0.3, 0.4, 1.0, 3.7, 325e-6]),
    st.sampled_from([0.0, 0.2, -5.5, 1000.0]),
    st.just("micrometer"),
)


@given(rulers, st.data())
def test_ranges_that_meet_share_no_voxel(ruler: Ruler, data: st.DataObject) -> None:
    """An axis cut in two at any place gives each voxel to exactly one side, by its centre."""
    cut = data.draw(st.floats(ruler.low, ruler.high, exclude_min=True, exclude_max=True))
    try:
        left = ruler.range(None, cut)
        right = ruler.range(cut, None)
    except RegionError:
        # One side holds no centre; one within a millionth of a voxel counts as on the cut.
        first, last = (ruler.translation + n * ruler.scale for n in (0, ruler.extent - 1))
        assert not first + 1e-5 * ruler.scale < cut <= last
        return
    assert (left.start, left.stop, right.stop) == (0, right.start, ruler.extent)
    centre = ruler.translation + right.start * ruler.scale
    assert centre >= cut - 1e-5 * ruler.scale
    assert centre - ruler.scale < cut


@given(rulers, st.data())
def test_voxels_are_found_by_their_own_edges(ruler: Ruler, data: st.DataObject) -> None:
    """Binary fractions do not shift a range whose ends are edges, nor a centre."""
    first = data.draw(st.integers(0, ruler.extent - 1))
    last = data.draw(st.integers(first + 1, ruler.extent))
    low, high = (ruler.translation + (n - 0.5) * ruler.scale for n in (first, last))
    assert ruler.range(low, high) == slice(first, last)
    assert ruler.index(ruler.translation + first * ruler.scale) == first
    assert ruler.index(low) == first


def test_a_number_takes_the_voxel_that_covers_it() -> None:
    """A voxel reaches from half a voxel before its centre up to half a voxel after it."""
    ruler = Ruler("y", 10, 2.0, 1.0, "micrometer")
    assert [ruler.index(v) for v in (0.0, 1.99, 2.0, 19.99)] == [0, 0, 1, 9]


@pytest.mark.parametrize("position", [-0.01, 20.0, (-1, 5), (5, 21), (None, 20.5), (30, None)])
def test_the_error_says_the_physical_extent(position: Any) -> None:  # noqa: ANN401
    """Outside of the axis there is nothing, and the message tells where the axis is."""
    ruler = Ruler("y", 10, 2.0, 1.0, "micrometer")
    with pytest.raises(RegionError, match=r"y=.*(from 0 to 20 micrometer|start < stop)"):
        physical(position, ruler, None)


@pytest.mark.parametrize(
    ("position", "words"),
    [
        ((5, 5), "expected start < stop"),
        ((7, 5), "expected start < stop"),
        ((5.1, 5.2), "holds no voxel centre: voxels are 2 micrometer apart"),
        ((1, 2, 3), r"expected \(start, stop\)"),
        (slice(0, 4, 2), "no step"),
        (float("nan"), "finite"),
        (True, "expected a number"),
        ("5", "expected a number"),
        (None, "expected a number"),
    ],
)
def test_what_is_no_position_is_refused(position: Any, words: str) -> None:  # noqa: ANN401
    """The message names the axis and says what was expected."""
    with pytest.raises(InputError, match=words):
        physical(position, Ruler("y", 10, 2.0, 1.0, "micrometer"), None)


def test_units_are_converted() -> None:
    """Positions may be in any unit of the same kind, however it is spelt."""
    ruler = Ruler("z", 100, 0.4, 0.0, "micrometer")
    assert physical((4000, 8000), ruler, "nm") == slice(10, 20)
    assert physical(0.02, ruler, "mm") == 50


def test_a_unit_holds_for_its_kind_of_axis() -> None:
    """A length is not applied to time, nor a time to lengths; c has none."""
    assert axis_unit("z", "micrometer", "nm") == "nanometer"
    assert axis_unit("t", "second", "nm") is None
    assert axis_unit("t", "second", "ms") == "millisecond"
    assert axis_unit("x", "micrometer", "ms") is None
    assert axis_unit("c", None, "nm") is None
    assert axis_unit("z", "micrometer", {"t": "ms"}) is None
    with pytest.raises(InputError, match="axis z has no unit"):
        axis_unit("z", None, "nm")
    with pytest.raises(InputError, match="'furlong'"):
        axis_unit("z", "micrometer", "furlong")


def test_channels_are_found_by_name_or_number() -> None:
    """A name must be one channel's; numbers count from 0."""
    channels = tuple(Channel(n, "FFFFFF", (0, 1)) for n in ("DAPI", "GFP", "GFP"))
    assert channel("DAPI", channels, 3) == 0
    assert channel(np.int64(2), channels, 3) == 2
    assert channel((0, 2), channels, 3) == slice(0, 2)
    for wrong, words in (("RFP", "'DAPI', 'GFP'"), ("GFP", "several"), (3, "0 to 2"), (-1, "0 to")):
        with pytest.raises(RegionError, match=words):
            channel(wrong, channels, 3)
    with pytest.raises(InputError, match="name or number"):
        channel(1.5, channels, 3)


def test_sel_reads_the_voxels(url: str, brain: NDArray[np.uint16]) -> None:
    """Axes that are named are cut, the others are whole."""
    volume = microtome.open(url)
    block = volume.sel(c="GFP", z=(10, 15), y=4.0, unit="um")
    assert np.array_equal(block, brain[1, 10:15, 10])
    assert np.array_equal(volume.sel(x=(None, 2000), unit="nm"), brain[..., :5])
    assert np.array_equal(volume.level(1).sel(y=8.0), brain[:, :, ::2, ::2][:, :, 10])
    assert np.array_equal(volume.sel(), brain)


def test_sel_refuses_other_axes(url: str) -> None:
    """An axis that the layer lacks is an error."""
    with pytest.raises(RegionError, match="axis 't' is unknown: the axes are 'czyx'"):
        microtome.open(url).sel(t=1)
