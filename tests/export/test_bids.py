"""BIDS: a folder that the validator accepts, with images that OME-Zarr's models accept."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

from tests.export.made import SUBJECT, Made, make
from tests.later import Later

VALIDATOR = "bids-validator-deno"


def validator() -> str:
    """Return the command, or skip."""
    beside = Path(sys.executable).with_name(VALIDATOR)
    found = str(beside) if beside.exists() else shutil.which(VALIDATOR)
    if found is None:
        pytest.skip(f"{VALIDATOR}: not installed")
    return found


def test_the_validator_accepts_a_dataset(tmp_path: Path) -> None:
    """Two images and labels become one folder: no error, and voxels where they belong."""
    root = tmp_path / "root"
    made = make(root, "czyx")
    scope = {"microscope": {"technique": "light sheet", "manufacturer": "a lab"}}
    made.tell(
        subject=SUBJECT, microscopy_rig=scope, license="CC-BY-4.0", session_id="day 1",
        experimenter=["Ramon, Santiago"], doi="10.48324/dandi.000026",
    )  # fmt: skip
    options = ("--kind", "labels", "--labels-of", "brain")
    labels = make(root, "zyx", "uint32", *options, name="lab/mouse/cells")
    make(root, "yx", name="lab/mouse/slice").tell(subject=SUBJECT, microscopy_rig=scope)
    out = tmp_path / "bids"
    assert Made(root, "lab/mouse", made.voxels).export("bids", out) == 0
    result = subprocess.run(
        [validator(), "--format", "json", str(out)], capture_output=True, text=True, check=False
    )
    issues = json.loads(result.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert result.returncode == 0
    folder = out / "sub-m7/ses-day1/micr"
    image = folder / "sub-m7_ses-day1_sample-mouse_acq-brain_SPIM.ome.zarr"
    assert np.array_equal(zarr.open_array(image / "0", mode="r")[...], made.voxels)
    Later("ome_zarr_models.v05").Image.from_zarr(zarr.open_group(image, mode="r"))
    Later("ome_zarr_models.v05").Labels.from_zarr(zarr.open_group(image / "labels", mode="r"))
    assert np.array_equal(zarr.open_array(image / "labels/cells/0", mode="r")[...], labels.voxels)
    told = json.loads(image.with_suffix("").with_suffix(".json").read_text())
    assert (told["PixelSize"], told["PixelSizeUnits"]) == ([0.25, 0.5, 2.0], "um")
    rows = [line.split("\t") for line in (out / "participants.tsv").read_text().splitlines()]
    assert dict(zip(*rows, strict=True))["species"] == "Mus musculus"
    planar = folder / "sub-m7_ses-day1_sample-mouse_acq-slice_SPIM.json"
    assert json.loads(planar.read_text())["PixelSize"] == [0.25, 0.5]


@pytest.mark.parametrize(("told", "options", "suffix"), [
    ({"microscopy_rig": {"microscope": {"technique": "two-photon"}}}, (), "2PE"),
    ({"channels": [{"name": "a", "acquisition_mode": "LaserScanningConfocalMicroscopy"}]}, (),
     "CONF"),
    ({"microscopy_rig": {"microscope": {"technique": "serial section TEM"}}}, (), "TEM"),
    ({}, ("--suffix", "DIC"), "DIC"),
])  # fmt: skip
def test_the_way_of_imaging_is_the_suffix(
    tmp_path: Path, told: dict[str, object], options: tuple[str, ...], suffix: str
) -> None:
    """It is what the record says of microscope or channels, or what the user does."""
    made = make(tmp_path / "root", "yx")
    made.tell(subject=SUBJECT, **told)
    assert made.export("bids", tmp_path / "bids", *options) == 0
    assert (tmp_path / f"bids/sub-m7/micr/sub-m7_sample-mouse_{suffix}.ome.zarr").is_dir()


@pytest.mark.parametrize(("subject", "options", "said"), [
    (None, ("--suffix", "DIC"), "subject.subject_id"),
    (SUBJECT, (), "microscopy_rig.microscope.technique"),
    (SUBJECT, ("--suffix", "XXX"), "SPIM, 2PE"),
])  # fmt: skip
def test_what_bids_needs_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
    subject: dict[str, str] | None, options: tuple[str, ...], said: str,
) -> None:  # fmt: skip
    """The message names the field and how to fill it; nothing is written."""
    made = make(tmp_path / "root", "yx")
    if subject:
        made.tell(subject=subject)
    assert made.export("bids", tmp_path / "bids", *options) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.glob("*bids"))


def test_labels_of_no_image_are_not_left_out_unsaid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """BIDS has no place for them: it is said, and nothing is written."""
    root = tmp_path / "root"
    make(root, "zyx").tell(subject=SUBJECT)
    made = make(root, "zyx", "uint32", "--kind", "labels", name="lab/mouse/cells")
    assert (
        Made(root, "lab/mouse", made.voxels).export("bids", tmp_path / "bids", "--suffix", "DIC")
        == 2
    )
    assert "lab/mouse/cells: labels that lie below no image" in capsys.readouterr().err
    assert not list(tmp_path.glob("*bids"))
