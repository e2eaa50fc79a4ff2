"""What headers of NIfTI and Analyze say: axes, units, affines, texts, and what is odd."""

import json
import struct
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Extension
from numpy.typing import NDArray

from microtome_ingest.formats import open_source
from microtome_ingest.options import SourceOptions
from microtome_ingest.resolve import missing, resolve
from tests.ingest.test_nifti import ARRAY, DIAGONAL, described, patched, saved, timed, whole


@pytest.mark.parametrize(
    ("space", "time", "unit", "step"),
    [
        ("mm", "sec", "millimeter", 1500.0),
        ("micron", "msec", "micrometer", 1.5),
        ("meter", "usec", "meter", 0.0015),
        ("unknown", "unknown", None, None),
    ],
)
def test_units_are_the_headers(
    tmp_path: Path, space: str, time: str, unit: str | None, step: float | None
) -> None:
    """Sizes keep the file's unit, times become seconds; without a unit the user is asked."""

    def change(header: Any) -> None:  # noqa: ANN401
        header.set_xyzt_units(space, time)
        header.set_zooms((0.5, 0.5, 2.2, 1500))

    path = saved(tmp_path, "a.nii", change=change)
    found = described(path)
    assert dict(found.voxel_size) == {"x": 0.5, "y": 0.5, "z": 2.2}
    assert (found.unit, found.time_step) == (unit, step)
    assert any("no unit of time" in note for note in found.notes) == (step is None)
    assert bool(missing(found)) == (unit is None)


@pytest.mark.parametrize(("unit", "name"), [("hz", "Hz"), ("ppm", "ppm"), ("rads", "rad/s")])
def test_a_spectrum_is_not_time(tmp_path: Path, unit: str, name: str) -> None:
    """A fourth axis in hertz or ppm stays open, and a note says what it counts."""
    path = saved(tmp_path, "a.nii", change=lambda header: header.set_xyzt_units("mm", unit))
    found = described(path)
    assert (found.axes, found.time_step) == ("qzyx", None)
    assert f"its fourth axis counts {name}, not time" in found.notes


@pytest.mark.parametrize(
    ("shape", "intent", "axes"),
    [
        ((9, 7), 0, "yx"),
        ((9, 7, 1), 0, "zyx"),
        ((9, 7, 5, 1), 0, "zyx"),
        ((9, 7, 5, 1, 3), 1007, "qzyx"),
        ((9, 7, 5, 2, 3), 1007, "qtzyx"),
        ((9, 7, 5, 1, 3), 2003, "szyx"),
        ((9, 7, 5, 1, 4), 2003, "qzyx"),
        ((9, 7, 5, 2, 3, 2), 0, "qitzyx"),
        ((9, 7, 1, 1, 3, 1, 2), 0, "qizyx"),
    ],
)
def test_axes_beyond_time_are_open(
    tmp_path: Path, shape: tuple[int, ...], intent: int, axes: str
) -> None:
    """Vectors and what else lies beyond time get a letter that claims nothing, unless the intent
    says colour; axes of one voxel beyond space are left out.
    """
    array = np.arange(np.prod(shape), dtype="int16").reshape(shape)
    path = saved(tmp_path, "a.nii", array, change=lambda h: h.set_intent(intent))
    source = open_source(path)
    kept = [n for i, n in enumerate(shape) if i < 3 or n > 1][::-1]
    assert (source.description.axes, source.description.shape) == (axes, tuple(kept))
    np.testing.assert_array_equal(whole(source), array.T.reshape(kept))


TURNED = np.array([[0.9, -0.3, 0, 5], [0.3, 0.9, 0, -2], [0, 0, 2.5, 1.5], [0, 0, 0, 1]])


SHEARED = np.array([[1, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("affine", "words"),
    [
        (np.diag([0.5, 0.5, 2, 1]), None),
        (np.diag([-0.5, 0.5, 2, 1]), "axis x runs against that of space"),
        (DIAGONAL[[1, 0, 2, 3]], "axes x, y, z run along axes 2, 1, 3 of space"),
        (TURNED, "turned against those of space by up to 18.4°: voxels stay"),
        (SHEARED, "not at right angles"),
    ],
)  # fmt: skip
def test_the_whole_affine_is_kept(tmp_path: Path, affine: NDArray[Any], words: str | None) -> None:
    """The matrices and their codes are in the metadata; a note says what a scale cannot hold."""
    image = nibabel.Nifti1Image(ARRAY, affine)
    image.set_sform(affine, "mni")
    image.header.set_xyzt_units("mm", "sec")
    image.to_filename(tmp_path / "a.nii")
    found = described(str(tmp_path / "a.nii"))
    kept = found.metadata["NIfTI"]
    assert kept["sform"]["code"] == "mni"
    np.testing.assert_allclose(kept["sform"]["affine"], affine, rtol=1e-6)
    assert kept["header"]["sform_code"] == 4
    told = [note for note in found.notes if "space" in note]
    assert told == [] if words is None else words in told[0]


def test_without_an_affine_it_says_so(tmp_path: Path) -> None:
    """Codes of 0 claim nothing, whatever the matrices hold."""
    path = saved(tmp_path, "a.nii", affine=None)
    patched(path, 252, struct.pack("<hh", 0, 0))
    found = described(path)
    assert "sform" not in found.metadata["NIfTI"]
    assert any("which way its axes point is not known" in note for note in found.notes)


def test_an_affine_of_other_sizes_is_told(tmp_path: Path) -> None:
    """The voxel size is pixdim; a matrix that differs is named."""
    path = patched(saved(tmp_path, "a.nii"), 80, struct.pack("<f", 0.7))
    found = described(path)
    assert found.voxel_size["x"] == 0.7
    assert any("its affine has voxel sizes x=0.5" in note for note in found.notes)


def test_sizes_of_nothing_are_asked_for(tmp_path: Path) -> None:
    """A pixdim of 0 is no size, although nibabel mends it to 1."""
    found = described(patched(saved(tmp_path, "a.nii"), 80, struct.pack("<fff", 0, 0, 0)))
    assert dict(found.voxel_size) == {}
    assert any("pixdim" in note for note in found.notes)
    assert "--voxel-size" in missing(found)[0]


def test_the_header_is_kept_verbatim(tmp_path: Path) -> None:
    """Fields, texts and extensions are in the metadata as JSON, the display range in a channel."""

    def change(header: Any) -> None:  # noqa: ANN401
        timed(header)
        header["descrip"] = b"a rat"
        header["cal_min"], header["cal_max"] = -5, 700
        header.set_intent(1002)
        header.extensions.append(Nifti1Extension("comment", b"seen on Monday, \xc2\xb5m"))
        header.extensions.append(Nifti1Extension(2, b"\xff\xfe\x00\x01"))

    for name, kind in (("a.nii", nibabel.Nifti1Image), ("a.nii.gz", nibabel.Nifti2Image),
                       ("a.hdr", nibabel.Nifti1Pair)):  # fmt: skip
        found = described(saved(tmp_path, name, kind=kind, change=change))
        kept = found.metadata["NIfTI"]
        assert json.loads(json.dumps(kept)) == kept
        assert found.metadata["description"] == kept["header"]["descrip"] == "a rat"
        assert kept["header"]["pixdim"][3:5] == [2.2, 1500.0]
        assert (kept["intent"], found.time_step) == ("label", 1.5)
        contents = [one["content"] for one in kept["extensions"]]
        assert contents == ["seen on Monday, µm", "fffe0001"]
        assert found.channels[0].window == (-5.0, 700.0)
    assert resolve(found, SourceOptions()).spec.scale == (1.5, 2.2, 0.5, 0.5)


def test_a_damaged_extension_is_told(tmp_path: Path) -> None:
    """What claims to be longer than there is room for is named and left out."""
    path = saved(tmp_path, "a.nii", change=lambda header: header.extensions.append(
        Nifti1Extension("comment", b"text")))  # fmt: skip
    found = described(patched(path, 352, struct.pack("<i", 1 << 30)))
    assert any("extension at byte 352" in note for note in found.notes)


def test_analyze_is_in_millimeters_without_an_affine(tmp_path: Path) -> None:
    """Analyze defines millimeters; SPM's matrix beside it is named, not read."""
    path = saved(tmp_path, "a.hdr", kind=nibabel.AnalyzeImage)
    found = described(path)
    assert (found.format, found.unit) == ("Analyze 7.5", "millimeter")
    assert dict(found.voxel_size) == {"x": 0.5, "y": 0.5, "z": 2.0}
    assert any("no affine" in note for note in found.notes)
    (tmp_path / "a.mat").write_bytes(b"")
    patched(path, 56, b"um\0\0")
    found = described(path)
    assert found.unit == "micrometer"
    assert any("a.mat is not read" in note for note in found.notes)
