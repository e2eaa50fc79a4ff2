"""OME-TIFF: what tifffile reads is what the layer holds."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import tifffile

from microtome_ingest.export import tiff
from tests.export.made import Made, make

NAMES = {"ome": "http://www.openmicroscopy.org/Schemas/OME/2016-06"}


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return a layer of all five axes."""
    return make(tmp_path_factory.mktemp("full") / "root", "tczyx")


def test_tifffile_reads_voxels_axes_and_facts(full: Made, tmp_path: Path) -> None:
    """A tiled BigTIFF whose OME-XML has sizes, channels with colours and the record."""
    assert full.export("tiff", tmp_path / "a.ome.tif", "--region", "z=1:4,x=10:64") == 0
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        assert file.is_bigtiff
        assert file.pages.first.is_tiled
        assert file.series[0].axes == "TCZYX"
        assert np.array_equal(file.asarray(), full.voxels[..., 1:4, :, 10:64])
        text = file.ome_metadata
    assert text is not None
    pixels = ET.fromstring(text).find(".//ome:Pixels", NAMES)
    assert pixels is not None
    sizes = [float(pixels.attrib[f"PhysicalSize{axis}"]) for axis in "XYZ"]
    assert sizes == [0.25, 0.5, 2.0]
    assert float(pixels.attrib["TimeIncrement"]) == 0.2
    channels = pixels.findall("ome:Channel", NAMES)
    assert [c.attrib["Name"] for c in channels] == ["channel-0", "channel-1"]
    shown = [channel.color for channel in full.cut().channels]
    assert [f"{int(c.attrib['Color']) % 2**32:08X}" for c in channels] == [f"{s}FF" for s in shown]
    record = ET.fromstring(text).find(".//ome:CommentAnnotation/ome:Value", NAMES)
    assert record is not None
    assert json.loads(record.text or "")["imaging_space"]["voxel_size_in_um"] == sizes


@pytest.mark.parametrize("block", [1 << 20, 1 << 17])
def test_a_pyramid_is_binned_within_planes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    """Each level halves y and x by means, whether a plane is read whole or in pieces."""
    monkeypatch.setattr(tiff, "BLOCK", block)
    made = make(tmp_path / "root", shape=(2, 515, 900), chunk="z=2,y=64,x=64")
    assert made.export("tiff", tmp_path / "a.tif", "--pyramid") == 0
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        levels = file.series[0].levels
        assert [level.shape for level in levels] == [(2, 515, 900), (2, 258, 450), (2, 129, 225)]
        assert np.array_equal(levels[0].asarray(), made.voxels)
        for factor, level in zip((2, 4), levels[1:], strict=True):
            found = level.asarray()[:, : 512 // factor, : 896 // factor]
            blocks = made.voxels[:, :512, :896].reshape(2, 512 // factor, factor, -1, factor)
            assert np.abs(found - blocks.mean((2, 4))).max() <= 0.5


def test_labels_are_binned_by_the_most_frequent_id(tmp_path: Path) -> None:
    """Every id of a coarser level is one of the finest."""
    options = ("--kind", "labels")
    made = make(tmp_path / "root", "zyx", "uint32", *options, shape=(1, 300, 300), chunk=None)
    assert made.export("tiff", tmp_path / "a.tif", "--pyramid") == 0
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert set(np.unique(file.series[0].levels[1].asarray())) <= set(np.unique(made.voxels))
