"""NPY, NRRD and NIfTI: what other libraries read is what the layer holds."""

import json
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest

from tests.export.made import Made, make

BOX = ("--region", "z=1:4,y=3:33,x=10:64")


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return a stack."""
    made = make(tmp_path_factory.mktemp("grey") / "root")
    made.tell(description='a "quoted"\nµ \\ text')
    return made


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return a layer of all five axes."""
    return make(tmp_path_factory.mktemp("full") / "root", "tczyx", "float32")


def box(made: Made) -> np.ndarray:
    """Return the voxels of `BOX`."""
    return made.voxels[..., 1:4, 3:33, 10:64]


def test_npy_holds_the_region_and_its_facts(full: Made, tmp_path: Path) -> None:
    """NumPy maps the array; the JSON beside it tells axes, sizes, channels and the record."""
    assert full.export("npy", tmp_path / "a.npy", *BOX) == 0
    assert np.array_equal(np.load(tmp_path / "a.npy", mmap_mode="r"), box(full))
    told = json.loads((tmp_path / "a.npy.json").read_text())
    assert told["axes"] == "tczyx"
    assert told["scale"] == [0.2, 1.0, 2.0, 0.5, 0.25]
    assert told["translation"] == [0.0, 0.0, 2.0, 1.5, 2.5]
    assert told["record"]["conversion_history"][-1]["parameters"]["export"] == "npy"


@pytest.mark.parametrize(("name", "options"), [
    ("a.nrrd", ()), ("a.nrrd", ("--compress",)), ("a.nhdr", ()), ("a.nhdr", ("--compress",)),
])  # fmt: skip
def test_pynrrd_reads_what_was_exported(
    grey: Made, tmp_path: Path, name: str, options: tuple[str, ...]
) -> None:
    """Attached or detached, raw or deflated: x comes first, directions are in micrometers, and the
    record comes back whatever characters it holds.
    """
    assert grey.export("nrrd", tmp_path / name, *BOX, *options) == 0
    voxels, header = nrrd.read(str(tmp_path / name))
    assert np.array_equal(voxels, box(grey).T)
    assert np.array_equal(header["space directions"], np.diag([0.25, 0.5, 2.0]))
    assert header["space origin"].tolist() == [2.5, 1.5, 2.0]
    assert header["space units"] == ["microns"] * 3
    record = json.loads(header["microtome_record"])
    assert record["description"] == 'a "quoted"\nµ \\ text'
    assert record["imaging_space"]["dimensions_in_voxels"] == [54, 30, 3]


def test_nrrd_keeps_channels_and_time(full: Made, tmp_path: Path) -> None:
    """Axes that are not space are lists and time, slowest last."""
    assert full.export("nrrd", tmp_path / "a.nrrd", *BOX) == 0
    voxels, header = nrrd.read(str(tmp_path / "a.nrrd"))
    assert np.array_equal(voxels, box(full).T)
    assert header["kinds"] == ["space", "space", "space", "list", "time"]
    names = [channel["name"] for channel in json.loads(header["microtome_channels"])]
    assert names == ["channel-0", "channel-1"]
    assert json.loads(header["microtome_seconds_per_frame"]) == 0.2


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_nibabel_reads_what_was_exported(grey: Made, tmp_path: Path, name: str) -> None:
    """X comes first; sizes, place, units and the record stand in the header."""
    assert grey.export("nifti", tmp_path / name, *BOX) == 0
    image = nibabel.load(tmp_path / name)
    assert np.array_equal(np.asanyarray(image.dataobj), box(grey).T)
    assert image.header.get_zooms() == (0.25, 0.5, 2.0)
    assert image.header.get_sform()[:3, 3].tolist() == [2.5, 1.5, 2.0]
    assert image.header.get_xyzt_units()[0] == "micron"
    record = json.loads(image.header.extensions[0].get_content())
    assert record["description"] == 'a "quoted"\nµ \\ text'


def test_nifti_has_time_fourth_and_channels_fifth(full: Made, tmp_path: Path) -> None:
    """A layer of all axes becomes x, y, z, t, c."""
    assert full.export("nifti", tmp_path / "a.nii") == 0
    image = nibabel.load(tmp_path / "a.nii")
    assert np.array_equal(np.asanyarray(image.dataobj), full.voxels.transpose(4, 3, 2, 0, 1))
    assert image.header.get_zooms()[3] == np.float32(0.2)
    assert image.header.get_xyzt_units() == ("micron", "sec")


def test_nifti_of_long_axes_is_of_the_second_version(tmp_path: Path) -> None:
    """An extent beyond 32,767 voxels does not fit the first."""
    made = make(tmp_path / "root", "yx", "uint8", shape=(3, 40000), chunk=None)
    assert made.export("nifti", tmp_path / "a.nii") == 0
    image = nibabel.load(tmp_path / "a.nii")
    assert isinstance(image, nibabel.Nifti2Image)
    assert np.array_equal(np.asanyarray(image.dataobj), made.voxels.T)


def test_a_type_that_the_format_lacks_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names the layer, the type and what to export instead."""
    made = make(tmp_path / "root", "zyx", "uint64")
    assert made.export("nifti", tmp_path / "a.nii") == 2
    assert "lab/mouse/brain: uint64" in capsys.readouterr().err
    assert made.export("tiff", tmp_path / "a.tif") == 2
    assert "ome-zarr, nrrd or npy" in capsys.readouterr().err
    assert made.export("nrrd", tmp_path / "a.nrrd") == 0
    assert np.array_equal(nrrd.read(str(tmp_path / "a.nrrd"))[0], made.voxels.T)
    assert sorted(p.name for p in tmp_path.glob("*a.*")) == ["a.nrrd"]
