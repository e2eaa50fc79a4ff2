"""BossDB's words are read whole or refused, and its units mean what the store's mean."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microtome_core.errors import InputError, RegionError
from microtome_core.units import convert
from microtome_service.bossdb import words
from microtome_service.bossdb.channels import split_name
from microtome_service.bossdb.resources import name_of_frame

NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,10}", fullmatch=True)


@given(st.integers(0, 10**18), st.integers(0, 10**18), st.integers(1, 10**18))
def test_a_range_is_read_if_it_lies_within_the_channel(low: int, high: int, extent: int) -> None:
    """Both ends come back, or the message names the valid range."""
    if low < high <= extent:
        assert words.span("x", f"{low}:{high}", extent) == (low, high)
    else:
        with pytest.raises(RegionError, match=f"valid is x=0:{extent}"):
            words.span("x", f"{low}:{high}", extent)


@given(st.text(max_size=60))
def test_no_text_is_read_as_something_else(text: str) -> None:
    """Whatever is not a word of BossDB's raises InputError and nothing else."""
    readers: list[Callable[[str], object]] = [
        lambda t: words.span("x", t, 100),
        lambda t: words.position("x", t, 100),
        lambda t: words.whole_number("resolution", t, 0, 9),
        words.object_ids,
        words.frame_name,
    ]
    for read in readers:
        try:
            read(text)
        except InputError as error:
            assert len(str(error)) < 400  # noqa: PT017 - whether it raises depends on the text


@pytest.mark.parametrize(
    "text",
    ["-1:0", "5:5", "8:3", "0:101", "1", ":", "0:", "0:1:2", "٣:٤", "0:1" + "0" * 5000, "0: 1"],
)
def test_ranges_that_are_none_are_refused(text: str) -> None:
    """Negative, empty, reversed, open, beyond the end, in other digits or absurdly long."""
    with pytest.raises(RegionError, match="valid is z=0:100"):
        words.span("z", text, 100)


@pytest.mark.parametrize("text", ["0", "-1", str(2**64), "1,", "1,x", ",", "1;2", "1" * 30])
def test_ids_are_of_64_bits(text: str) -> None:
    """0 is no object, and nothing that 64 bits cannot hold is one."""
    with pytest.raises(InputError):
        words.object_ids(text)
    assert words.object_ids(f"1, {2**64 - 1}") == (1, 2**64 - 1)


@pytest.mark.parametrize(
    ("unit", "word"),
    [("angstrom", "nanometers"), ("micrometer", "micrometers"), ("millimeter", "millimeters"),
     ("centimeter", "centimeters"), ("meter", "centimeters"), ("inch", "centimeters"),
     (None, "nanometers")],
)  # fmt: skip
def test_a_unit_becomes_one_of_four(unit: str | None, word: str) -> None:
    """The largest that is not larger than the axis' own."""
    assert words.voxel_unit([unit]) == word


@given(st.floats(1e-6, 1e6), st.sampled_from(["nanosecond", "millisecond", "second", "hour"]))
def test_a_time_step_keeps_its_length(step: float, unit: str) -> None:
    """Whatever unit it is told in, it is the same time."""
    value, word = words.time_step(step, unit)
    assert word in words.TIME_UNITS
    assert convert(value, word, "second") == pytest.approx(convert(step, unit, "second"))


@given(NAMES, NAMES, NAMES, NAMES)
def test_no_two_experiments_share_the_name_of_a_frame(a: str, b: str, c: str, d: str) -> None:
    """However many underscores their names have."""
    assert (name_of_frame(a, b) == name_of_frame(c, d)) == ((a, b) == (c, d))


@pytest.mark.parametrize("name", ["a--c", "--c1", "a--cx", "a-c1", "a--c1234567890", "a--c-1"])
def test_names_of_parts_end_in_a_number(name: str) -> None:
    """Others are names of layers."""
    assert split_name(name) is None
