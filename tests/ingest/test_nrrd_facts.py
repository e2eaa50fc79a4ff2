"""What headers of NRRD say: axes, sizes, time, directions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from microtome_ingest.formats import open_source
from microtome_ingest.resolve import missing
from tests.ingest.test_nrrd import SPACE, described, put, saved, whole

SPACINGS = {"spacings": [0.5, 0.5, 2.0], "units": ["um", "um", "um"]}


@pytest.mark.parametrize(
    ("header", "axes", "sizes", "unit"),
    [
        ({}, "qij", {}, None),
        ({"kinds": ["domain"] * 3}, "qij", {}, None),
        ({"kinds": ["space"] * 3}, "zyx", {}, None),
        ({"kinds": ["space", "space", "list"]}, "qyx", {}, None),
        ({"kinds": ["vector", "space", "space"]}, "yxq", {}, None),
        ({"kinds": ["space", "domain", "domain"]}, "qij", {}, None),
        ({"kinds": ["3-color", "space", "space"]}, "yxq", {}, None),
        (SPACINGS, "zyx", {"x": 0.5, "y": 0.5, "z": 2.0}, "micrometer"),
        ({**SPACINGS, "kinds": ["space"] * 3}, "zyx", {"x": 0.5, "y": 0.5, "z": 2.0}, "micrometer"),
        ({**SPACINGS, "units": ["nm", "nm", "um"]}, "zyx", {"x": 0.0005, "y": 0.0005, "z": 2.0},
         "micrometer"),
        ({**SPACINGS, "spacings": [0.5, -0.5, np.nan]}, "zyx", {"x": 0.5, "y": 0.5}, "micrometer"),
        ({**SPACINGS, "units": ["um", "um", "ms"]}, "tyx", {"x": 0.5, "y": 0.5}, "micrometer"),
        ({**SPACINGS, "kinds": ["space", "space", "time"]}, "tyx", {"x": 0.5, "y": 0.5},
         "micrometer"),
        ({"labels": ["X", "z", "y"]}, "yzx", {}, None),
        ({"labels": ["x", "x", "y"]}, "qij", {}, None),
        ({"labels": ["", "", "c"], "kinds": ["space", "space", "list"]}, "cyx", {}, None),
        (SPACE, "zyx", {"x": 0.5, "y": 0.5, "z": 2.0}, "millimeter"),
        ({**SPACE, "space units": ["", "", ""]}, "zyx", {"x": 0.5, "y": 0.5, "z": 2.0}, None),
        ({**SPACE, "space units": ["um", "um", "nm"]}, "zyx", {"x": 0.5, "y": 0.5, "z": 0.002},
         "micrometer"),
    ],
)  # fmt: skip
def test_axes_and_sizes_are_told_by_the_header_alone(
    tmp_path: Path, header: dict[str, Any], axes: str, sizes: dict[str, float], unit: str | None
) -> None:
    """Kinds, labels, units and directions name axes; what they leave open stays open."""
    found = described(saved(tmp_path, header=header))
    assert (found.axes, dict(found.voxel_size), found.unit) == (axes, sizes, unit)


def test_numbers_without_a_unit_are_asked_for(tmp_path: Path) -> None:
    """Directions without units are sizes of nothing."""
    header = {key: value for key, value in SPACE.items() if key != "space units"}
    found = described(saved(tmp_path, header=header))
    assert dict(found.voxel_size) == {"x": 0.5, "y": 0.5, "z": 2.0}
    assert "without a unit" in missing(found)[0]


@pytest.mark.parametrize(
    ("unit", "spacing", "step"),
    [
        ("ms", 250.0, 0.25),
        ("s", 2.0, 2.0),
        ("min", -1.0, 60.0),
        ("mm", 1.0, None),
        ("s", 0.0, None),
    ],
)
def test_time_steps_are_seconds(
    tmp_path: Path, unit: str, spacing: float, step: float | None
) -> None:
    """A time axis is known by its kind; a unit that is none of time gives no step."""
    header = {"kinds": ["space", "space", "time"], "units": ["um", "um", unit],
              "spacings": [1.0, 1.0, spacing]}  # fmt: skip
    found = described(saved(tmp_path, header=header))
    assert (found.axes, found.time_step) == ("tyx", step)
    assert any("no unit of time" in note for note in found.notes) == (unit == "mm")


def test_time_in_space_is_time(tmp_path: Path) -> None:
    """Where the last dimension of space is time, an axis along it is t."""
    lines = ("space: right-anterior-superior-time", 'space units: "mm" "mm" "mm" "ms"',
             "space directions: (0.5,0,0,0) (0,0.5,0,0) (0,0,0,40)")  # fmt: skip
    found = described(put(tmp_path, *lines))
    assert (found.axes, found.time_step, found.unit) == ("tyx", 0.04, "millimeter")
    assert dict(found.voxel_size) == {"x": 0.5, "y": 0.5}


@pytest.mark.parametrize(("kind", "samples"), [("RGB-color", 3), ("RGBA-color", 4)])
def test_colours_are_samples(tmp_path: Path, kind: str, samples: int) -> None:
    """The fastest axis is often colour, and is read with its pixels."""
    pixels = np.random.default_rng(1).integers(0, 255, (5, 6, samples), "uint8")
    source = open_source(saved(tmp_path, array=pixels, header={"kinds": [kind, "space", "space"]}))
    assert (source.description.axes, source.description.block) == ("yxs", (5, 6, samples))
    np.testing.assert_array_equal(whole(source), pixels)


def test_a_vector_has_an_open_axis(tmp_path: Path) -> None:
    """Directions are none along axes that are not in space."""
    array = np.zeros((5, 6, 7, 3), "f4")
    directions = np.array([[np.nan] * 3, [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    header = SPACE | {"space directions": directions, "kinds": ["vector"] + ["domain"] * 3}
    found = described(saved(tmp_path, array=array, header=header))
    assert (found.axes, dict(found.voxel_size)) == ("zyxq", {"x": 1.0, "y": 1.0, "z": 1.0})


@pytest.mark.parametrize(
    ("directions", "words"),
    [
        ("(0.5,0,0) (0,0.5,0) (0,0,2)", None),
        ("( 0.5, 0, 0 ) (0 ,0.5,0) (0,0,2)", None),
        ("(-0.5,0,0) (0,-0.5,0) (0,0,2)", "axes x, y run against those of space"),
        ("(0,0.5,0) (0.5,0,0) (0,0,2)", "axes x, y, z run along axes 2, 1, 3 of space"),
        ("(0.4,0.3,0) (-0.3,0.4,0) (0,0,2)", "turned against those of space by up to 36.9°: vox"),
        ("(0.4,0.3,0) (0,0.5,0) (0,0,2)", "not at right angles"),
    ],
)
def test_directions_are_kept(tmp_path: Path, directions: str, words: str | None) -> None:
    """Sizes are lengths of the directions; a note says what sizes cannot hold."""
    lines = ("space: left-posterior-superior", 'space units: "um" "um" "um"')
    found = described(put(tmp_path, *lines, f"space directions: {directions}"))
    assert dict(found.voxel_size) == {"x": 0.5, "y": 0.5, "z": 2.0}
    assert found.metadata["NRRD"]["fields"]["space directions"] == directions
    assert found.notes == () if words is None else words in found.notes[0]


def test_units_that_differ_along_turned_axes_give_no_sizes(tmp_path: Path) -> None:
    """A length across two units has none."""
    lines = ("space: left-posterior-superior", 'space units: "um" "mm" "um"')
    directions = "space directions: (0.4,0.3,0) (-0.3,0.4,0) (0,0,2)"
    found = described(put(tmp_path, *lines, directions))
    assert dict(found.voxel_size) == {"z": 2.0}
    assert any("units of space differ" in note for note in found.notes)
