"""Headers of NRRD: kept verbatim, or refused with what is wrong in them."""

import json
from pathlib import Path

import numpy as np
import pytest

from microtome_core.errors import SourceError
from microtome_ingest.formats import open_source
from tests.ingest.test_nrrd import ARRAY, described, headed, put, whole


def test_the_header_is_kept_verbatim(tmp_path: Path) -> None:
    """Fields, pairs with their escapes, comments: as JSON, whatever letters they are in."""
    path = put(
        tmp_path,
        "# by hand",
        "content: a rat",
        "Centers: cell cell node",
        "thicknesses: NaN NaN 3.5",
        "spacings: 0.5 0.5 2",
        'units: "µm" "µm" "µm"',
        "old min: -1",
        "lab:=north",
        r"more:=one\ntwo \\n: three:=four",
        "sizes:=7",
    )
    found = described(path)
    assert (found.unit, found.metadata["description"]) == ("micrometer", "a rat")
    kept = found.metadata["NRRD"]
    assert json.loads(json.dumps(kept)) == kept
    assert kept["fields"]["centerings"] == "cell cell node"
    assert kept["fields"]["thicknesses"] == "NaN NaN 3.5"
    more = "one\ntwo \\n: three:=four"
    assert kept["key/value pairs"] == {"lab": "north", "more": more, "sizes": "7"}
    assert kept["comments"] == ["by hand"]
    assert any("quantised from -1 to ?" in note for note in found.notes)


def test_fields_are_known_in_any_case_and_order(tmp_path: Path) -> None:
    """Names, encodings and ends of lines are as Teem takes them."""
    header = (
        "NRRD0001\r\nSizes: 9 7 6\r\nType: Signed  Short\r\nEncoding: RAW\r\nENDIAN: Little\r\n"
    )
    content = header.encode() + b"Dimension: 3\r\n\r\n" + ARRAY.tobytes()
    (tmp_path / "a.nrrd").write_bytes(content)
    np.testing.assert_array_equal(whole(open_source(str(tmp_path / "a.nrrd"))), ARRAY)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("type: int16", "'type' twice"),
        ("sizes: 1 2 3", "'sizes' twice"),
        ("no colon", "line without a colon"),
        ("kinds: space", "kinds: 1 values for 3 axes"),
        ("spacings: 1 2", "spacings: 2 values for 3 axes"),
        ("spacings: 1 2 x", "ValueError"),
        ("space directions: (1,0) (0,1) (1)", "NRRDError"),
        ("byte skip: x", "ValueError"),
    ],
)
def test_headers_that_cannot_be_are_refused(tmp_path: Path, line: str, reason: str) -> None:
    """Doubled, unfinished and contradictory fields are named."""
    with pytest.raises(SourceError, match=reason):
        open_source(put(tmp_path, line))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"sizes": "378"}, "needs y and x"),
        ({"sizes": "9 7 0"}, "needs y and x"),
        ({"sizes": "9 7 6 1 1 1 1"}, "no more than 6 axes"),
        ({"sizes": "9 7 -6"}, "expected 3 whole numbers"),
        ({"sizes": "9 7 6e0"}, "expected 3 whole numbers"),
        ({"sizes": "99999999 99999999 99999999"}, "claims 1999999940000000599999998"),
        ({"sizes": "99999999 99999999 99999999", "encoding": "gzip"}, "in 756 compressed ones"),
        ({"sizes": "9999 9999 1", "encoding": "text"}, "in 757 compressed ones"),
        ({"kind": "block"}, "type 'block'"),
        ({"kind": "complex"}, "type 'complex'"),
        ({"encoding": "zstd"}, "encoding 'zstd'"),
    ],
)
def test_what_is_no_image_is_refused_by_name(
    tmp_path: Path, options: dict[str, str], reason: str
) -> None:
    """Extents, types and encodings; claims beyond the file before anything is allocated."""
    with pytest.raises(SourceError, match=reason):
        open_source(put(tmp_path, **options))


def test_a_header_without_its_fields_or_end_is_refused(tmp_path: Path) -> None:
    """What is missing is named; a header is not searched for its end for ever."""
    path = tmp_path / "a.nrrd"
    path.write_bytes(b"NRRD0004\ntype: int16\n\n")
    with pytest.raises(SourceError, match="without dimension, sizes, encoding"):
        open_source(str(path))
    path.write_bytes(b"NRRD0009" + headed()[8:] + b"\n" + ARRAY.tobytes())
    with pytest.raises(SourceError, match="version"):
        open_source(str(path))
    path.write_bytes(headed() + (b"# and so on".ljust(1023) + b"\n") * 17_000)
    with pytest.raises(SourceError, match="no end of its header"):
        open_source(str(path))
