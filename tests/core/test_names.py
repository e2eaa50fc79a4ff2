"""Names and units: what is accepted, and what is refused."""

import pytest

from microtome_core.axes import check_axes
from microtome_core.dtypes import check_dtype
from microtome_core.errors import InputError
from microtome_core.names import LayerId
from microtome_core.units import convert, unit_name


@pytest.mark.parametrize(
    "text",
    [
        "a/b",
        "a/b/c/d",
        "A/b/c",
        "../b/c",
        "a/b/c\n",
        "a/b/\0",
        "a//c",
        "-a/b/c",
        "a/b/" + "c" * 65,
        "a/zarr.json/c",
    ],
)
def test_an_address_has_three_plain_names(text: str) -> None:
    """Anything but three lower-case names is refused, traversal and control characters too."""
    with pytest.raises(InputError):
        LayerId.parse(text)


def test_an_address_prints_as_it_was_read() -> None:
    """What `str` writes is what `parse` read."""
    assert str(LayerId.parse("prasad/prasad2020/image.v2")) == "prasad/prasad2020/image.v2"


@pytest.mark.parametrize(
    "spelling", ["um", "µm", "μm", "\\u00B5m", "micron", "microns", "Micrometer", "micrometre"]
)
def test_a_unit_has_many_spellings(spelling: str) -> None:
    """Each way in which files write micrometres is understood."""
    assert unit_name(spelling) == "micrometer"


@pytest.mark.parametrize("unit", ["pixel", "", "parsec", "um2"])
def test_what_is_no_length_is_refused(unit: str) -> None:
    """Pixels and unknown words are no unit."""
    with pytest.raises(InputError, match="expected a length"):
        unit_name(unit)


def test_conversion_keeps_lengths_and_times_apart() -> None:
    """Micrometres become nanometres exactly, and never seconds."""
    assert convert(0.4, "µm", "nm") == 400.0
    assert convert(250, "ms", "second") == 0.25
    with pytest.raises(InputError):
        convert(1, "um", "s")


@pytest.mark.parametrize("axes", ["xyz", "z", "zyxx", "", "qyx", "yxc"])
def test_axes_have_one_order(axes: str) -> None:
    """Axes that are unknown, doubled, out of order or without y and x are refused."""
    with pytest.raises(InputError, match="tczyx"):
        check_axes(axes)


@pytest.mark.parametrize("dtype", ["bool", "float16", "complex64", "object", "U4"])
def test_only_plain_numbers_are_stored(dtype: str) -> None:
    """Types that viewers and formats do not share are refused by name."""
    with pytest.raises(InputError, match="uint16"):
        check_dtype(dtype)
