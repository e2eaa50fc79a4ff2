"""OME-Zarr: a region becomes an image of its own, that ome-zarr-models and zarr-python read."""

import json
from pathlib import Path

import numpy as np
import pytest
import zarr

from microtome_core.names import LayerId
from microtome_core.store.layer import read_layer
from microtome_core.store.location import Store
from tests.export.made import Made, make
from tests.later import Later


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return an image with two channels."""
    return make(
        tmp_path_factory.mktemp("image") / "root", "czyx", shape=(2, 9, 300, 520), chunk=None
    )


def test_a_region_is_an_image_with_a_place_and_levels(made: Made, tmp_path: Path) -> None:
    """Scale is the layer's, translation that of the first voxel; the pyramid is whole."""
    assert made.export("ome-zarr", tmp_path / "a.zarr", "--region", "z=2:9,y=10:300,x=20:520") == 0
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    image = Later("ome_zarr_models.v05").Image.from_zarr(group)
    scales = image.attributes.ome.multiscales[0]
    expected = made.voxels[:, 2:9, 10:300, 20:520]
    assert np.array_equal(group["0"][...], expected)
    first = scales.datasets[0].coordinateTransformations
    assert first[0].scale == [1.0, 2.0, 0.5, 0.25]
    assert first[1].translation == [0.0, 4.0, 5.0, 5.0]
    last = scales.datasets[-1].coordinateTransformations
    # Binning by n moves the centre of the first voxel by (n - 1) / 2 voxels.
    assert last[1].translation[-1] == 5.0 + (last[0].scale[-1] - 0.25) / 2
    coarse = np.asarray(group["1"][...])
    assert coarse.shape == (2, 7, 290, 250)
    assert np.abs(coarse - expected.reshape(2, 7, 290, 250, 2).mean(-1)).max() <= 0.5
    record = group.attrs["nwb"]
    assert record["imaging_space"]["dimensions_in_voxels"] == [500, 290, 7]
    assert record["conversion_history"][-1]["parameters"]["region"].startswith("c=0:2,z=2:9")
    assert len(record["conversion_history"]) == 2


def test_what_was_exported_is_a_layer(made: Made, tmp_path: Path) -> None:
    """Put into a root it is read as any layer, with channels and colours; one channel has no c."""
    root = tmp_path / "root/lab/other"
    root.mkdir(parents=True)
    assert made.export("ome-zarr", root / "copy") == 0
    assert made.export("ome-zarr", root / "one", "--channel", "channel-1", "--level", "1") == 0
    copy = read_layer(Store(str(tmp_path / "root")), LayerId("lab", "other", "copy"))
    assert copy.complete
    assert copy.info.channels == made.cut().channels
    assert copy.info.levels == made.cut().info.levels
    one = read_layer(Store(str(tmp_path / "root")), LayerId("lab", "other", "one")).info
    assert (one.axes, one.channels) == ("zyx", made.cut().channels[1:])
    assert one.levels[0].scale == (2.0, 0.5, 0.5)


def test_labels_stay_labels(tmp_path: Path) -> None:
    """Ids are binned by the most frequent; empty shards are left out and known to be empty."""
    options = ("--kind", "labels")
    made = make(tmp_path / "root", "zyx", "uint32", *options, shape=(2, 300, 520), chunk=None)
    path = tmp_path / "root/lab/mouse/brain/zarr.json"
    document = json.loads(path.read_text())
    known = [{"label-value": 5, "name": "five"}]
    document["attributes"]["ome"]["image-label"]["properties"] = known
    path.write_text(json.dumps(document))
    (tmp_path / "lab/x").mkdir(parents=True)
    assert made.export("ome-zarr", tmp_path / "lab/x/copy") == 0
    copy = read_layer(Store(str(tmp_path)), LayerId("lab", "x", "copy"))
    assert (copy.info.kind, copy.segments) == ("labels", known)
    coarse = np.asarray(zarr.open_array(tmp_path / "lab/x/copy/1", mode="r")[...])
    assert set(np.unique(coarse)) <= set(np.unique(made.voxels))
