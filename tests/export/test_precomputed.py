"""Precomputed: what CloudVolume reads is what the layer holds."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.export.made import Made, make

if TYPE_CHECKING:
    from cloudvolume import CloudVolume

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def volume(path: Path, mip: int = 0) -> "CloudVolume":
    """Open a folder."""
    from cloudvolume import CloudVolume

    return CloudVolume(f"precomputed://file://{path}", mip=mip, progress=False)


def test_cloudvolume_reads_an_image_with_size_and_place(tmp_path: Path) -> None:
    """x, y, z and channel, in nanometers; a region keeps its offset in voxels."""
    made = make(tmp_path / "root", "czyx", shape=(2, 7, 90, 150), chunk=None)
    region = "z=1:7,y=10:90,x=20:150"
    assert made.export("precomputed", tmp_path / "a", "--region", region) == 0
    found = volume(tmp_path / "a")
    expected = made.voxels[:, 1:7, 10:90, 20:150]
    assert found.resolution.tolist() == [250, 500, 2000]
    assert found.voxel_offset.tolist() == [20, 10, 1]
    assert np.array_equal(np.asarray(found[:]), expected.transpose(3, 2, 1, 0))
    coarse = np.asarray(volume(tmp_path / "a", 1)[:])
    bins = expected.reshape(2, 6, 80, 65, 2).mean(-1)
    assert np.abs(coarse - bins.transpose(3, 2, 1, 0)).max() <= 0.5
    record = json.loads((tmp_path / "a/microtome.json").read_text())
    assert record["conversion_history"][-1]["parameters"]["export"] == "precomputed"


@pytest.mark.parametrize("dtype", ["uint16", "int64"])
def test_labels_are_a_segmentation(tmp_path: Path, dtype: str) -> None:
    """Ids are compressed as such, in the type that holds them and that the format has."""
    made = make(tmp_path / "root", "zyx", dtype, "--kind", "labels")
    assert made.export("precomputed", tmp_path / "a") == 0
    found = volume(tmp_path / "a")
    assert found.layer_type == "segmentation"
    assert found.dtype == {"uint16": "uint32", "int64": "uint64"}[dtype]
    assert np.array_equal(np.asarray(found[:])[..., 0], made.voxels.T)
    coarse = np.asarray(volume(tmp_path / "a", 1)[:])
    assert set(np.unique(coarse)) <= set(np.unique(made.voxels))


@pytest.mark.parametrize(("axes", "dtype", "options", "words"), [
    ("tzyx", "uint16", (), "--time"),
    ("zyx", "float64", (), "ome-zarr or nrrd"),
    ("zyx", "uint16", ("--unit", "pixel"), "nanometers"),
])  # fmt: skip
def test_what_the_format_lacks_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
    axes: str, dtype: str, options: tuple[str, ...], words: str,
) -> None:  # fmt: skip
    """The message says what to choose instead, and nothing is left."""
    made = make(tmp_path / "root", axes, dtype, *options)
    assert made.export("precomputed", tmp_path / "a") == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.glob("*a"))


def test_ids_below_zero_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No id is wrapped round: the message names it, and nothing is left."""
    path = tmp_path / "ids.npy"
    np.save(path, np.full((4, 5, 6), -3, "int32"))
    made = make(tmp_path / "root", "zyx", "int32", "--kind", "labels")
    other = Made(made.root, "lab/mouse/ids", np.load(path))
    from microtome_cli.main import main

    words = ["ingest", str(path), str(made.root), "--as", other.address, "--axes", "zyx"]
    assert main([*words, "--voxel-size", "1,1,1", "--kind", "labels"]) == 0
    assert other.export("precomputed", tmp_path / "a") == 2
    assert "the id -3 is below 0" in capsys.readouterr().err
    assert not list(tmp_path.glob("*a"))
