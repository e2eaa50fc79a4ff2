"""The sample brain: two OME-TIFF files that say what they are, written once."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from microtome_core.errors import InputError
from microtome_core.region import Region
from microtome_ingest.sample import SampleFiles, write_sample
from microtome_ingest.sources.synthetic import open_synthetic

SHAPE = (36, 96, 80)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> SampleFiles:
    """Return a small sample brain."""
    return write_sample(tmp_path_factory.mktemp("sample"), SHAPE, seed=3)


def test_the_image_is_an_ome_tiff_of_the_synthetic_volume(files: SampleFiles) -> None:
    """Axes, shape, type, voxels and voxel size are those of the volume."""
    source = open_synthetic("synthetic://neurons?shape=3,36,96,80&seed=3")
    with tifffile.TiffFile(files.image) as tiff:
        series = tiff.series[0]
        assert (series.axes, series.shape) == ("CZYX", (3, *SHAPE))
        assert series.dtype == np.uint16
        voxels = source.read(Region.whole("czyx", (3, *SHAPE)))
        np.testing.assert_array_equal(series.asarray(), voxels)


def test_the_labels_belong_to_the_image(files: SampleFiles) -> None:
    """The label volume has the image's extents, ids of 32 bits, and marks what is bright."""
    labels = tifffile.imread(files.labels)
    assert labels.shape == SHAPE
    assert labels.dtype == np.uint32
    strongest = tifffile.imread(files.image).max(axis=0)
    assert np.median(strongest[labels != 0]) > 3 * np.median(strongest[labels == 0])


def test_the_metadata_is_complete(files: SampleFiles) -> None:
    """OME-XML holds the voxel size, the dyes with wavelengths and colours, and the objective."""
    with tifffile.TiffFile(files.image) as tiff:
        assert tiff.ome_metadata is not None
        ome = tifffile.xml2dict(tiff.ome_metadata)["OME"]
    pixels = ome["Image"]["Pixels"]
    assert [pixels[f"PhysicalSize{axis}"] for axis in "ZYX"] == [1, 0.4, 0.4]
    assert {pixels[f"PhysicalSize{axis}Unit"] for axis in "ZYX"} == {"µm"}
    assert [channel["Name"] for channel in pixels["Channel"]] == ["mTFP", "EYFP", "tdTomato"]
    assert [channel["EmissionWavelength"] for channel in pixels["Channel"]] == [492, 527, 581]
    assert [c["Color"] & 0xFFFFFFFF for c in pixels["Channel"]] == [
        0x2A60FFFF,
        0x20FF40FF,
        0xFF3020FF,
    ]
    assert ome["Instrument"]["Objective"]["NominalMagnification"] == 20


def test_a_sample_that_is_there_is_reused(files: SampleFiles) -> None:
    """The same settings leave the files alone, and all planes are reported done."""
    before = files.image.stat().st_mtime_ns, files.labels.stat().st_mtime_ns
    told: list[tuple[int, int]] = []
    again = write_sample(
        files.image.parent, SHAPE, seed=3, progress=lambda done, total: told.append((done, total))
    )
    assert (again.image.stat().st_mtime_ns, again.labels.stat().st_mtime_ns) == before
    assert told[-1] == (4 * 36, 4 * 36)


@pytest.mark.parametrize(
    "damage",
    ["other seed", *(pytest.param(d, marks=pytest.mark.slow) for d in ("cut short", "no TIFF"))],
)
def test_a_file_that_differs_is_written_anew(tmp_path: Path, damage: str) -> None:
    """Other settings, a file cut short or one that is no TIFF never pass for the sample."""
    files = write_sample(tmp_path, (4, 32, 32), seed=1 if damage == "other seed" else 2)
    if damage == "cut short":
        with files.image.open("r+b") as file:
            file.truncate(files.image.stat().st_size - 100)
    if damage == "no TIFF":
        files.image.write_bytes(b"nothing")
    write_sample(tmp_path, (4, 32, 32), seed=2)
    source = open_synthetic("synthetic://neurons?shape=3,4,32,32&seed=2")
    expected = source.read(Region.whole("czyx", (3, 4, 32, 32)))
    np.testing.assert_array_equal(tifffile.imread(files.image), expected)


def test_progress_counts_every_plane(tmp_path: Path) -> None:
    """Planes done rise one by one to the planes of both files; nothing else is left behind."""
    told: list[tuple[int, int]] = []
    write_sample(tmp_path, (4, 32, 32), channels=2, progress=lambda *words: told.append(words))
    assert {total for _, total in told} == {12}
    assert sorted({done for done, _ in told}) == list(range(1, 13))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["brain.ome.tif", "neurons.ome.tif"]


def test_an_interrupted_writing_leaves_no_sample(tmp_path: Path) -> None:
    """A file gets its name only when it is whole."""

    def interrupt(done: int, _total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sample(tmp_path, (4, 32, 32), progress=interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("channels", "shape"), [(1, (2, 32, 32)), (5, (5, 2, 32, 32))])
def test_any_number_of_channels(tmp_path: Path, channels: int, shape: tuple[int, ...]) -> None:
    """OME-XML names as many channels as there are; beyond the named dyes they are numbered."""
    files = write_sample(tmp_path, (2, 32, 32), channels=channels)
    with tifffile.TiffFile(files.image) as tiff:
        assert tiff.series[0].shape == shape
        assert tiff.ome_metadata is not None
        assert tiff.ome_metadata.count("<Channel ") == channels
        assert ('Name="channel 4"' in tiff.ome_metadata) == (channels == 5)


def test_a_bad_shape_is_refused(tmp_path: Path) -> None:
    """Extents below 1 are an input error, before anything is written."""
    with pytest.raises(InputError, match="shape=0"):
        write_sample(tmp_path / "new", (0, 32, 32))
    assert not (tmp_path / "new").exists()
