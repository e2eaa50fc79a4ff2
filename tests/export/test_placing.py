"""Turns, flips and origins: what another library reads is what it read in the layer's source."""

from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest

from microtome_cli.main import main
from tests.export.made import Made, make

LAYER = "lab/mouse/brain"
# Of level 1, whose voxels are two of level 0: the first of x = 4 lies at 8.5 of these.
COARSE = {"x": (2.0, 8.5), "y": (2.0, 4.5), "z": (2.0, 2.5)}
FINE = {"x": (1.0, 8.0), "y": (1.0, 4.0), "z": (1.0, 2.0)}


def ingested(tmp_path: Path, source: Path, *options: str) -> Made:
    """Return a layer of a file, of at least two levels."""
    root = tmp_path / "root"
    words = ["--as", LAYER, "--chunk", "z=8,y=8,x=8", "--levels", "2"]
    assert main(["ingest", str(source), str(root), *words, *options]) == 0
    return Made(root, LAYER, np.empty(0))


def inner(parts: dict[str, tuple[float, float]]) -> np.ndarray:
    """Return the matrix from the voxels of a part to those of the source."""
    matrix = np.eye(4)
    for i, axis in enumerate("xyz"):
        matrix[i, i], matrix[i, 3] = parts[axis]
    return matrix


PARTS = [
    (("--level", "0"), inner(dict.fromkeys("xyz", (1.0, 0.0)))),
    (("--region", "z=2:12,y=4:12,x=8:16"), inner(FINE)),
    (("--level", "1", "--region", "z=1:6,y=2:6,x=4:8"), inner(COARSE)),
]


@pytest.mark.parametrize(("options", "step"), PARTS)
@pytest.mark.parametrize("name", ["anatomical.nii", "someones_epi.nii.gz"])
def test_nifti_lies_where_its_source_lay(
    samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    name: str, options: tuple[str, ...], step: np.ndarray,
) -> None:  # fmt: skip
    """Flipped or turned, whole, a region or coarser: both affines, their codes and the unit."""
    source = samples / "nifti/nibabel" / name
    made = ingested(tmp_path, source)
    capsys.readouterr()
    assert made.export("nifti", tmp_path / "a.nii", *options) == 0
    assert "not known" not in capsys.readouterr().err
    was, found = nibabel.load(source), nibabel.load(tmp_path / "a.nii")
    for form in ("sform", "qform"):
        there, code = getattr(was.header, f"get_{form}")(coded=True)
        here, same = getattr(found.header, f"get_{form}")(coded=True)
        assert same == code
        assert np.allclose(here, there @ step, rtol=0, atol=1e-4)
    assert found.header.get_xyzt_units()[0] == "mm"
    assert np.allclose(found.header.get_zooms(), np.diag(step)[:3] * was.header.get_zooms()[:3])


@pytest.mark.parametrize(("options", "step"), PARTS)
@pytest.mark.parametrize("space", ["left-posterior-superior", None])
def test_nrrd_lies_where_its_source_lay(
    tmp_path: Path, space: str | None, options: tuple[str, ...], step: np.ndarray
) -> None:
    """Directions, origin and unit come back; the space is named where the source named it."""
    turned = np.array([[0.0, -2.0, 0.0], [1.6, 0.0, 1.2], [-1.2, 0.0, 1.6]])
    told = {"space directions": turned, "space origin": [10.0, -20.0, 5.0],
            "space units": ["mm"] * 3, "kinds": ["space"] * 3,
            **({"space": space} if space else {"space dimension": 3})}  # fmt: skip
    nrrd.write(str(tmp_path / "s.nrrd"), np.zeros((30, 20, 16), "u2"), told)
    made = ingested(tmp_path, tmp_path / "s.nrrd")
    assert made.export("nrrd", tmp_path / "a.nrrd", *options) == 0
    header = nrrd.read_header(str(tmp_path / "a.nrrd"))
    affine = np.vstack([np.column_stack([turned.T, [10.0, -20.0, 5.0]]), [0, 0, 0, 1]]) @ step
    assert np.allclose(header["space directions"], affine[:3, :3].T)
    assert np.allclose(header["space origin"], affine[:3, 3])
    assert header["space units"] == ["mm"] * 3
    assert header.get("space") == space
    assert made.export("nifti", tmp_path / "a.nii", *options) == 0
    image = nibabel.load(tmp_path / "a.nii")
    assert int(image.header["sform_code"]) == (2 if space else 0)
    # What lies to the left and to the back there, lies to the right and to the front in NIfTI.
    assert not space or np.allclose(image.affine, np.diag([-1, -1, 1, 1]) @ affine)


def test_a_space_goes_from_nifti_to_nrrd(samples: Path, tmp_path: Path) -> None:
    """NIfTI's world has a name in NRRD, and a plane keeps its place in it."""
    source = samples / "nifti/nibabel/anatomical.nii"
    made = ingested(tmp_path, source)
    assert made.export("nrrd", tmp_path / "a.nrrd", "--region", "z=3") == 0
    header = nrrd.read_header(str(tmp_path / "a.nrrd"))
    affine = nibabel.load(source).affine
    assert header["space"] == "right-anterior-superior"
    assert np.array_equal(header["space directions"], affine[:3, :2].T)
    assert np.allclose(header["space origin"], affine @ [0, 0, 3, 1] @ np.eye(4)[:, :3])


@pytest.mark.parametrize("told", [("--voxel-size", "2,2,5"), None])
def test_what_is_not_known_of_space_is_not_claimed(
    samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], told: tuple[str, ...] | None
) -> None:
    """No source that lay in space, or other voxel sizes than it had: code 0, and a note."""
    source = samples / "nifti/nibabel/anatomical.nii"
    made = ingested(tmp_path, source, *told) if told else make(tmp_path / "root")
    for kind, ending in (("nifti", ".nii"), ("nrrd", ".nrrd")):
        assert made.export(kind, tmp_path / f"a{ending}") == 0
        assert "note: lab/mouse/brain: which way its axes point" in capsys.readouterr().err
    header = nibabel.load(tmp_path / "a.nii").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (0, 0)
    assert "space" not in nrrd.read_header(str(tmp_path / "a.nrrd"))
