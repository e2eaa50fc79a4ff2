"""Headers of NRRD are read by pynrrd as they were meant."""

import json
from io import BytesIO

import nrrd
import numpy as np
import pytest

from microtome_core.nrrd import along_axes, channel_pairs, nrrd_header, pair_text
from microtome_core.wire import Channel


def read(header: bytes) -> dict[str, object]:
    """What pynrrd makes of a header."""
    return dict(nrrd.read_header(BytesIO(header)))


def test_axes_are_listed_fastest_first() -> None:
    """With directions of those in space, their units and the place of the first voxel."""
    matrix = along_axes("czyx", {"z": 2, "y": 0.5, "x": 0.25}, {"z": 10, "y": 0, "x": -1})
    found = read(nrrd_header((2, 3, 4, 5), "float32", "czyx", matrix=matrix,
                             units=["micrometer"] * 3, name="a"))  # fmt: skip
    assert found["type"] == "float"
    assert found["kinds"] == ["space", "space", "space", "list"]
    assert found["labels"] == ["x", "y", "z", "c"]
    assert np.array_equal(found["sizes"], [5, 4, 3, 2])  # type: ignore[arg-type]
    assert found["space units"] == ["microns"] * 3
    assert found["space dimension"] == 3
    directions = np.asarray(found["space directions"], float)
    assert np.array_equal(directions[:3], np.diag([0.25, 0.5, 2]))
    assert np.isnan(directions[3]).all()
    assert np.array_equal(found["space origin"], [-1, 0, 10])  # type: ignore[arg-type]


@pytest.mark.parametrize(("axes", "shape"), [("", ()), ("t", (4,)), ("tc", (4, 2))])
def test_what_lies_nowhere_names_no_space(axes: str, shape: tuple[int, ...]) -> None:
    """A single voxel is an axis of its own."""
    matrix = along_axes(axes, {}, {})
    found = read(nrrd_header(shape, "uint16", axes, matrix=matrix, units=[]))
    assert found["dimension"] == max(1, len(axes))
    assert not any("space" in str(name) for name in found)


def test_named_spaces_and_unknown_units() -> None:
    """A space by its name; units are left out unless all are known."""
    matrix = along_axes("yx", {"y": 1, "x": 1}, {"y": 0, "x": 0})
    words = {"matrix": matrix, "units": [None, "meter"], "encoding": "gzip"}
    found = read(nrrd_header((3, 4), "uint8", "yx", **words, data_file="a.raw.gz"))  # type: ignore[arg-type]
    assert "space units" not in found
    assert (found["encoding"], found["data file"]) == ("gzip", "a.raw.gz")
    named = nrrd_header(
        (1, 3, 4), "uint8", "zyx", matrix=np.eye(3, 4), units=[], space="scanner-xyz"
    )
    assert b"space: scanner-xyz\n" in named
    assert b"space dimension" not in named


@pytest.mark.parametrize("unit", ["µm", 'a"b', "a\nb", "a\\b"])
def test_units_that_no_header_can_hold_are_left_out(unit: str) -> None:
    """Other software may have written anything; the voxels are told all the same."""
    matrix = along_axes("x", {"x": 1}, {"x": 0})
    found = read(nrrd_header((4,), "uint8", "x", matrix=matrix, units=[unit]))
    assert "space units" not in found
    assert found["dimension"] == 1


def test_pairs_are_the_same_through_any_readers_escapes() -> None:
    """Names of channels with backslashes, line ends and letters beyond ASCII come back."""
    names = ["a\\nb", "c\nd", "µ"]
    channels = tuple(Channel(name, "FF0000", (0.0, 1.0)) for name in names)
    header = nrrd_header((1,), "uint8", "x", matrix=np.zeros((0, 4)), units=[],
                         pairs=channel_pairs(channels))  # fmt: skip
    told = json.loads(str(read(header)["microtome_channels"]))
    assert [each["name"] for each in told] == names
    assert channel_pairs(()) == {}
    assert "\\n" not in pair_text(names)
