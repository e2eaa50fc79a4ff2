"""Real files: each reads as an independent reader does and as the manifest says, or is refused."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from microtome_core.errors import SourceError
from microtome_core.region import Region
from microtome_ingest.formats import open_source, scenes

pytestmark = pytest.mark.samples

KINDS = (".tif", ".tiff", ".svs", ".npy", ".npz", ".companion.ome")
# Damaged: libtiff and libjpeg report errors when they read their pixels.
DAMAGED = re.compile(r"corrupt/pillow-tiff/crash-")
# The manifest gives one file of these; each opens the whole image that its companion describes.
MEMBERS = re.compile(r"viv/multifile")
# Sizes as a look at the tags gives them: MetaMorph's calibration, Aperio's MPP.
SIZES = {
    "MetamorphImage.tif": ({"y": 0.645, "x": 0.645}, "micrometer"),
    "CMU-1-Small-Region.svs": ({"y": 0.499, "x": 0.499}, "micrometer"),
}


def rows(*, readable: bool = False) -> list[Any]:
    """Return file and verified facts of every TIFF, NPY and NPZ file, or of the undamaged ones."""
    folder = os.environ.get("MICROTOME_SAMPLES")
    if not folder:
        return [pytest.param("", "", id="no-samples")]
    lines = (Path(folder) / "MANIFEST.tsv").read_text(encoding="utf-8").splitlines()[1:]
    cells = [line.split("\t") for line in lines]
    found = [(row[0], row[5]) for row in cells if row[0].lower().endswith(KINDS)]
    return [pytest.param(*row, id=row[0]) for row in found if not readable or not is_refused(*row)]


def expected_series(path: Path) -> list[tuple[str, NDArray[Any]]]:
    """Return axes and voxels of every array as tifffile or numpy read them."""
    if path.suffix == ".npy":
        return [("", np.load(path))]
    if path.suffix == ".npz":
        with np.load(path) as archive:
            return [("", archive[name]) for name in archive.files]
    with tifffile.TiffFile(path) as tif:
        return [(series.axes.lower(), series.asarray()) for series in tif.series]


def all_scenes(path: str) -> list[tuple[str, NDArray[Any]]]:
    """Return axes and voxels of every image as microtome reads them."""
    result = []
    for scene in scenes(path):
        source = open_source(path, scene.index)
        found = source.description
        result.append((found.axes, source.read(Region.whole(found.axes, found.shape))))
    return result


def is_refused(name: str, facts: str) -> bool:
    """Tell whether the file is damaged, empty, holds objects, or is no image."""
    flat = facts.startswith("(2,)")
    return bool(DAMAGED.search(name)) or flat or "zero-byte" in facts or "objarr" in name


@pytest.mark.parametrize(("name", "facts"), rows())
def test_every_file_reads_as_verified_or_is_refused(samples: Path, name: str, facts: str) -> None:
    """Shape, axes, type and voxels are those of an independent reader and of the manifest."""
    path = samples / name
    if is_refused(name, facts):
        with pytest.raises(SourceError, match=re.escape(path.name)):
            open_source(str(path))
        return
    found = all_scenes(str(path))
    if MEMBERS.search(name):
        planes = [tifffile.imread(path.parent / f"multifile-Z{z}.ome.tiff") for z in range(1, 6)]
        expected = [("zyx", np.stack(planes))]
    else:
        expected = expected_series(path)
    assert len(found) == len(expected)
    for (axes, voxels), (letters, array) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(voxels, array)
        assert voxels.dtype == array.dtype.newbyteorder("=")
        assert axes == letters or not letters
        if not MEMBERS.search(name) and letters:
            assert f"{axes.upper()}{array.shape}{array.dtype}" in facts or len(found) > 3
    if len(found) > 1:
        with pytest.raises(SourceError, match="--scene N"):
            open_source(str(path))


@pytest.mark.parametrize(("name", "facts"), rows(readable=True))
def test_voxel_sizes_are_measured_or_absent(samples: Path, name: str, facts: str) -> None:
    """Only files that were calibrated have a voxel size; 72 dpi, 1/1 and pixels are none."""
    found = open_source(str(samples / name), 0).description
    assert (dict(found.voxel_size), found.unit) == SIZES.get(Path(name).name, ({}, None))


@pytest.mark.parametrize("at", [0.05, 0.3, 0.5, 0.8, 0.95])
@pytest.mark.parametrize(("name", "facts"), rows(readable=True))
def test_a_file_cut_off_is_refused_or_whole(
    samples: Path, tmp_path: Path, name: str, facts: str, at: float
) -> None:
    """No real file, cut anywhere, gives fewer planes or other voxels."""
    path = tmp_path / Path(name).name
    data = (samples / name).read_bytes()
    path.write_bytes(data[: int(len(data) * at)])
    try:
        found = all_scenes(str(path))
    except SourceError:
        return
    expected = expected_series(samples / name)
    assert len(found) == len(expected)
    for (_, voxels), (_, array) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(voxels, array)


def test_electron_microscopy_sections(samples: Path) -> None:
    """Serial sections as TIFF and their labels as PNG read as 8-bit stacks with an open axis."""
    folder = samples / "tiff_sequence/vnc-sstem"
    if not folder.is_dir():
        pytest.skip("tiff_sequence/vnc-sstem is not among the samples")
    raw = open_source(str(folder / "raw"))
    assert (raw.description.axes, raw.description.shape) == ("qyx", (4, 1024, 1024))
    planes = [tifffile.imread(folder / f"raw/{z:02}.tif") for z in range(4)]
    np.testing.assert_array_equal(raw.read(Region.whole("qyx", (4, 1024, 1024))), np.stack(planes))
    labels = open_source(str(folder / "labels"))
    assert (labels.description.dtype, labels.description.shape) == ("uint8", (4, 1024, 1024))
    values = np.unique(labels.read(Region.whole("qyx", (4, 1024, 1024))))
    assert set(values) == {0, 32, 64, 96, 128, 159, 191, 223, 255}


def test_names_with_z_and_channel(samples: Path) -> None:
    """``z000_ch00`` counts along z; a folder with empty files is refused by name."""
    folder = samples / "tiff_sequence/scifio-axisguesser"
    if not folder.is_dir():
        pytest.skip("tiff_sequence/scifio-axisguesser is not among the samples")
    stack = open_source(str(folder / "leica_stack")).description
    assert (stack.axes, stack.shape) == ("zyx", (3, 256, 256))
    with pytest.raises(SourceError, match=r"img_000000000_Cy3_001\.tif: is empty"):
        open_source(str(folder / "test_stack"))
