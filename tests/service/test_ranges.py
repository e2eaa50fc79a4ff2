"""Byte ranges and conditions mean what RFC 9110 says."""

import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microtome_core.errors import PreconditionFailed
from microtome_service.errors import RangeNotSatisfiable
from microtome_service.ranges import Span, Validators, in_range, not_modified, parse_ranges

OLD = 1_700_000_000.25
HELD = Validators('"a"', OLD)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-9", [(0, 10)]),
        ("BYTES = 0-9", [(0, 10)]),
        ("bytes=90-", [(90, 100)]),
        ("bytes=-7", [(93, 100)]),
        ("bytes=-1000", [(0, 100)]),
        ("bytes=5-1000", [(5, 100)]),
        ("bytes=5-" + "9" * 30, [(5, 100)]),
        ("bytes=-" + "9" * 6000, [(0, 100)]),
        ("bytes=" + "0" * 6000 + "7-8", [(7, 9)]),
        ("bytes=0-0,99-", [(0, 1), (99, 100)]),
        ("bytes=50-59, 0-9 ,, -5", [(50, 60), (0, 10), (95, 100)]),
        ("bytes=0-9,200-300", [(0, 10)]),
    ],
)
def test_ranges_are_read(header: str, expected: list[tuple[int, int]]) -> None:
    """Both ends count, ends are clipped, order is kept; a range beyond the end is left out."""
    assert parse_ranges(header, 100) == tuple(Span(*pair) for pair in expected)


@pytest.mark.parametrize(
    "header",
    [
        None, "", "bytes", "bytes=", "bytes=,", "bytes=-", "bytes=a-b", "bytes=9-0", "bytes=0-9,x",
        "bytes=1", "lines=0-9", "bytes=٣-٤", "bytes=0x1-2", "bytes=+1-2", "bytes=1 - 2",
        "bytes=" + "9" * 10000 + "-",
    ],
)  # fmt: skip
def test_what_is_no_range_is_ignored(header: str | None) -> None:
    """A header that is malformed or of another unit is as good as none."""
    assert parse_ranges(header, 100) is None


@pytest.mark.parametrize(
    "header",
    [
        "bytes=100-", "bytes=-0", "bytes=" + "9" * 6000 + "-", "bytes=200-300,100-",
        "bytes=" + ",".join(["1-1"] * 257), "bytes=0-,0-,0-",
    ],
)  # fmt: skip
def test_ranges_that_give_nothing_or_too_much_are_refused(header: str) -> None:
    """No range within, more than anyone needs, or the same bytes again and again: 416."""
    with pytest.raises(RangeNotSatisfiable) as caught:
        parse_ranges(header, 100)
    assert caught.value.size == 100


@given(st.text(alphabet="bytes=0123456789-, \t٣", max_size=30), st.integers(0, 50))
def test_any_words_are_ignored_refused_or_lie_within(words: str, size: int) -> None:
    """Whatever is asked for, what is given lies within the object and is not nothing."""
    try:
        spans = parse_ranges("bytes=" + words, size)
    except RangeNotSatisfiable:
        return
    for span in spans or ():
        assert 0 <= span.start < span.stop <= size


@given(st.integers(0, 99), st.integers(0, 99))
def test_a_range_cuts_what_slicing_cuts(first: int, last: int) -> None:
    """`bytes=first-last` is the slice from first to last, last included."""
    body = bytes(range(100))
    spans = parse_ranges(f"bytes={first}-{last}", 100)
    if last < first:
        assert spans is None
    else:
        assert spans is not None
        assert body[spans[0].start : spans[0].stop] == body[first : last + 1]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, False),
        ({"if-none-match": '"a"'}, True),
        ({"if-none-match": 'W/"a"'}, True),
        ({"if-none-match": '"b", "c"'}, False),
        ({"if-none-match": "*"}, True),
        ({"if-modified-since": formatdate(OLD, usegmt=True)}, True),
        ({"if-modified-since": formatdate(OLD - 5, usegmt=True)}, False),
        ({"if-modified-since": "yesterday"}, False),
        ({"if-modified-since": formatdate(OLD, usegmt=True), "if-none-match": '"b"'}, False),
        ({"if-match": '"b", "a"'}, False),
        ({"if-match": "*"}, False),
        ({"if-match": '"a"', "if-none-match": '"a"'}, True),
        ({"if-unmodified-since": formatdate(OLD, usegmt=True)}, False),
        ({"if-match": '"a"', "if-unmodified-since": formatdate(0)}, False),
    ],
)
def test_conditions_tell_whether_the_caller_has_it(headers: dict[str, str], expected: bool) -> None:
    """If-None-Match goes before If-Modified-Since, If-Match before If-Unmodified-Since."""
    assert not_modified(headers, HELD) is expected


@pytest.mark.parametrize(
    "headers",
    [
        {"if-match": '"b"'},
        {"if-match": 'W/"a"'},
        {"if-match": ""},
        {"if-match": '"b"', "if-none-match": '"a"'},
        {"if-unmodified-since": formatdate(OLD - 5, usegmt=True)},
    ],
)
def test_conditions_that_do_not_hold_are_refused(headers: dict[str, str]) -> None:
    """If-Match compares strongly, and nothing goes before it."""
    with pytest.raises(PreconditionFailed):
        not_modified(headers, HELD)


@pytest.mark.parametrize(
    ("condition", "modified", "expected"),
    [
        ('"a"', OLD, True),
        ('W/"a"', OLD, False),
        ('"b"', OLD, False),
        (formatdate(OLD, usegmt=True), OLD, True),
        (formatdate(OLD - 1, usegmt=True), OLD, False),
        (formatdate(OLD + 1, usegmt=True), OLD, False),
        (formatdate(OLD, usegmt=True), None, False),
        ("nonsense", OLD, False),
    ],
)
def test_if_range_compares_strongly(condition: str, modified: float | None, expected: bool) -> None:
    """Ranges are of the very object that the caller knows, else all of it is sent."""
    assert in_range({"if-range": condition}, Validators('"a"', modified)) is expected
    assert in_range({}, HELD)


def test_a_date_of_this_very_second_is_no_proof() -> None:
    """What was written a moment ago may be written again within the second that a date names."""
    now = time.time()
    assert not in_range({"if-range": formatdate(now, usegmt=True)}, Validators('"a"', now))
