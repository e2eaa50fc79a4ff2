"""Real files through store and NWB: pynwb reads back their voxels and what they say."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import zarr
from pynwb import NWBHDF5IO

from microtome_cli.main import main
from microtome_core.names import LayerId
from microtome_core.region import Region
from microtome_core.store.layer import read_layer
from microtome_core.store.location import Store
from microtome_ingest.formats import open_source, scenes
from tests.export.made import SUBJECT, Made

pytestmark = [pytest.mark.samples, pytest.mark.filterwarnings("ignore::UserWarning")]
LAYER = "samples/real/file"


@pytest.mark.parametrize(("name", "options"), [
    ("czi/czitools/CellDivision_T3_Z5_CH2_X240_Y170_comp1.czi", ("--voxel-size", "3,0.4,0.2")),
    ("nd2/cluster.nd2", ()),
    ("oib/test.oib", ()),
    ("ome_tiff/ome-files/2010-06-18x24y5z1t2c8b-text.ome.tiff", ("--unit", "pixel")),
    pytest.param("em_seg/precomputed/cloudvolume_seg_unsharded::32_32_40", ("--kind", "labels"),
                 marks=pytest.mark.slow),
])  # fmt: skip
def test_what_a_file_says_comes_back_from_nwb(
    samples: Path, tmp_path: Path, name: str, options: tuple[str, ...]
) -> None:
    """Voxels channel by channel, sizes in x, y, z, rate, wavelengths and dyes."""
    root = tmp_path / "root"
    assert main(["ingest", str(samples / name), str(root), "--as", LAYER, *options]) == 0
    layer = read_layer(Store(str(root)), LayerId.parse(LAYER)).info
    stored = np.asarray(zarr.open_array(f"{root}/{LAYER}/0", mode="r")[...])
    made = Made(root, LAYER, stored)
    made.tell(subject=SUBJECT)
    assert made.export("nwb", tmp_path / "a.nwb", "--allow-incomplete") == 0
    told = layer.attrs["channels"]
    cut = made.cut()
    with NWBHDF5IO(str(tmp_path / "a.nwb"), "r") as io:
        nwb = io.read()
        if layer.kind == "labels":
            found = nwb.processing["ophys"]["file"]
            objects = [(found, found.summary_images["labels"].data[:])]
        else:
            objects = [(one, one.data[:]) for one in nwb.acquisition.values()]
            assert len(objects) == cut.extent("c")
        for one, voxels in objects:
            index = 0
            if layer.kind == "image":
                shown = [c.name.replace("/", "-").replace(":", "-") for c in layer.channels]
                index = shown.index(one.microscopy_channel.name)
                for key in ("excitation_wavelength_in_nm", "emission_wavelength_in_nm"):
                    expected = told[index].get(key) or np.nan
                    assert np.isclose(
                        getattr(one.microscopy_channel, key), expected, equal_nan=True
                    )
                dye = told[index].get("indicator") or "unknown"
                assert one.microscopy_channel.indicator.label == dye
            place = layer.axes.find("c")
            assert np.array_equal(voxels, stored if place < 0 else stored.take(index, place))
            planar = "z" not in layer.axes
            space = one.planar_imaging_space if planar else one.volumetric_imaging_space
            word = "pixel" if planar else "voxel"
            sizes = cut.micrometers("xy" if planar else "xyz")
            size = getattr(space, f"{word}_size_in_um")
            assert (size is None) == (sizes is None)
            assert sizes is None or np.allclose(size[:], sizes)
            extents = getattr(space, f"dimensions_in_{word}s")[:].tolist()
            assert extents == list(voxels.shape[:0:-1] if "t" in layer.axes else voxels.shape[::-1])
            if "t" in layer.axes and (step := cut.along("t", cut.scale, "second")):
                assert one.rate == pytest.approx(1 / step)
    # The file is a source again, an image a channel, in the order of their names.
    found = scenes(str(tmp_path / "a.nwb"))
    assert sorted(scene.shape for scene in found) == sorted(v.shape for _, v in objects)
    shown = (
        {one.microscopy_channel.name: voxels for one, voxels in objects}
        if (layer.kind == "image")
        else {}
    )
    for scene in found:
        with closing(open_source(str(tmp_path / "a.nwb"), scene.index)) as source:
            told = source.description
            block = source.read(Region.whole(told.axes, told.shape))
        expected = shown[told.channels[0].name or ""] if shown else objects[0][1]
        assert np.array_equal(block, expected)
        xyz = "xy" if "z" not in told.axes else "xyz"
        given = dict(zip(xyz, cut.micrometers(xyz) or (), strict=False))
        assert told.voxel_size == pytest.approx(given)
