"""Many arrays in one body."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microtome_core.bundle import LENGTH_BYTES, Item, data_bytes, pack_header, parse_header
from microtome_core.errors import InputError

ITEMS = st.lists(
    st.builds(
        Item,
        place=st.integers(0, 99),
        trial=st.integers(0, 10**6),
        variable=st.text(min_size=1, max_size=9),
        start=st.integers(0, 10**6),
        shape=st.lists(st.integers(0, 9), min_size=1, max_size=3).map(tuple),
        dtype=st.sampled_from(["float32", "float64", "uint8", "int16"]),
        withheld=st.booleans(),
    ),
    max_size=9,
)


@given(items=ITEMS)
def test_a_header_says_what_was_packed(items: list[Item]) -> None:
    """Arrays begin at multiples of 8 bytes, those that are withheld nowhere."""
    packed = pack_header({"recording": "a/b/c"}, items)
    size = int.from_bytes(packed[:LENGTH_BYTES], "little")
    assert len(packed) == LENGTH_BYTES + size
    assert len(packed) % 8 == 0
    document, parsed = parse_header(packed[LENGTH_BYTES:])
    assert (document["recording"], parsed) == ("a/b/c", items)
    offsets = [array["offset"] for array in document["arrays"]]
    stored = [item for item in items if not item.withheld]
    assert [offset < 0 for offset in offsets] == [item.withheld for item in items]
    assert all(offset % 8 == 0 for offset in offsets if offset >= 0)
    assert data_bytes(items) == sum(item.nbytes + item.padding for item in stored)


@pytest.mark.parametrize(
    ("name", "value"),
    [("offset", 8), ("shape", [-1]), ("shape", [1.5]), ("dtype", "colour"), ("trial", None)],
)
def test_a_header_that_does_not_hold_is_refused(name: str, value: object) -> None:
    """An array elsewhere, of no extent, of no type."""
    packed = pack_header({}, [Item(0, 1, "responses", 0, (2, 3), "float32")])
    document = json.loads(packed[LENGTH_BYTES:])
    document["arrays"][0][name] = value
    with pytest.raises(InputError, match="not a header"):
        parse_header(json.dumps(document).encode())


@pytest.mark.parametrize("text", [b"", b"{}", b"[1]", b'{"format": "other/1", "arrays": []}'])
def test_what_is_no_header_is_refused(text: bytes) -> None:
    """No JSON, or that of something else."""
    with pytest.raises(InputError, match="not a header"):
        parse_header(text)
