"""Imaris: the finest level of every time point and channel, without its padding."""

import io
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from microtome_cli.main import main
from microtome_core.errors import SourceError
from microtome_core.region import Region
from microtome_ingest.formats import format_of, open_source, scenes
from microtome_ingest.source import Source
from tests.counted import Counted

VOXELS = np.random.default_rng(3).integers(1, 60000, (3, 2, 5, 20, 19), "uint16")
CHUNK, STORED = (4, 16, 16), (8, 32, 32)
IMAGE = {
    "X": "19", "Y": "20", "Z": "5", "Unit": "um", "Name": "brain", "Description": "a slice",
    "ExtMin0": "100.0", "ExtMin1": "-5", "ExtMin2": "0", "RecordingDate": "2021-03-04 05:06:07.250",
    "ExtMax0": "109.5", "ExtMax1": "5", "ExtMax2": "10", "LensPower": "25", "NumericalAperture":
    "1.05", "MicroscopeModality": "Confocal",
}  # fmt: skip
CHANNELS = (
    {
        "Name": "GFP", "Color": "0.000 1.000 0.502", "ColorMode": "BaseColor",
        "ColorRange": "10.0 2000.5", "LSMEmissionWavelength": "520",
        "LSMExcitationWavelength": "488.0",
    },
    {"Name": "(name not specified)", "ColorMode": "TableColor", "ColorTable": "0 0 0 1 0 1"},
)  # fmt: skip
TIMES = {
    "DatasetTimePoints": "3", "FileTimePoints": "3",
    "TimePoint1": "2021-03-04 05:06:07.000", "TimePoint2": "2021-03-04 05:06:09.500",
    "TimePoint3": "2021-03-04 05:06:12.000",
}  # fmt: skip
Edit = Callable[[Any], None]
LEVEL = "DataSet/ResolutionLevel 0"


def words(item: Any, facts: dict[str, str]) -> None:  # noqa: ANN401
    """Write attributes as Imaris does: arrays of single characters."""
    for name, text in facts.items():
        item.attrs[name] = np.array([bytes([byte]) for byte in text.encode("latin-1")], "S1")


def write(
    file: Any,  # noqa: ANN401
    voxels: NDArray[Any] = VOXELS,
    number: str = "",
    **image: str,
) -> None:
    """Write an image as Imaris lays it out, padded to whole chunks, with a coarser level."""
    words(file, {"ImarisDataSet": "ImarisDataSet", "ImarisVersion": "5.5.0"})
    for level in range(2):
        half = voxels[..., ::2, ::2] if level else voxels
        for t, c in np.ndindex(*half.shape[:2]):
            group = file.create_group(
                f"DataSet{number}/ResolutionLevel {level}/TimePoint {t}/Channel {c}"
            )
            sizes = zip(("ImageSizeZ", "ImageSizeY", "ImageSizeX"), half.shape[2:], strict=True)
            words(group, {name: str(n) for name, n in sizes})
            data = group.create_dataset(
                "Data", STORED, half.dtype, chunks=CHUNK, compression="gzip"
            )
            data[...] = 0
            data[tuple(map(slice, half.shape[2:]))] = half[t, c]
    info = f"DataSetInfo{number}"
    words(file.create_group(f"{info}/Image"), {**IMAGE, **image})
    words(file.create_group(f"{info}/TimeInfo"), TIMES if len(voxels) == 3 else {})
    for c in range(voxels.shape[1]):
        words(file.create_group(f"{info}/Channel {c}"), CHANNELS[c])


def content(*edits: Edit, **image: str) -> bytes:
    """Return a file after edits."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        write(file, **image)
        for edit in edits:
            edit(file)
    return stream.getvalue()


def saved(tmp_path: Path, *edits: Edit, **image: str) -> str:
    """Write a file and return its path."""
    path = tmp_path / "a.ims"
    path.write_bytes(content(*edits, **image))
    return str(path)


def whole(source: Source) -> NDArray[Any]:
    """Read all of a source."""
    found = source.description
    return source.read(Region.whole(found.axes, found.shape))


@pytest.mark.parametrize("place", ["local", "remote"])
@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_region_is_the_images_without_padding(
    tmp_path: Path, place: str, data: st.DataObject
) -> None:
    """Time points and channels are stacked, and what pads them is not there."""
    Counted.reset()
    file = content()
    (tmp_path / "a.ims").write_bytes(file)
    source = open_source(str(tmp_path / "a.ims") if place == "local" else Counted.put("a", file))
    found = source.description
    assert (found.axes, found.shape, found.dtype) == ("tczyx", VOXELS.shape, "uint16")
    assert (found.format, found.block) == ("Imaris", (1, 1, 4, 16, 16))
    edges = [
        sorted(data.draw(st.sets(st.integers(0, n), min_size=2, max_size=2))) for n in VOXELS.shape
    ]
    region = Region("tczyx", tuple(e[0] for e in edges), tuple(e[1] for e in edges))
    voxels = source.read(region)
    np.testing.assert_array_equal(voxels, VOXELS[region.slices], strict=True)
    assert voxels.flags.writeable
    assert voxels.nbytes <= source.decoded <= VOXELS.nbytes
    source.close()
    source.close()
    np.testing.assert_array_equal(whole(source), VOXELS)
    source.close()


def test_what_the_file_says_is_kept(tmp_path: Path) -> None:
    """Voxel size from extents, channels, time, date and instrument; all attributes as they are."""
    found = open_source(saved(tmp_path)).description
    assert found.voxel_size == {"z": 2.0, "y": 0.5, "x": 0.5}
    assert (found.unit, found.time_step) == ("micrometer", 2.5)
    first, second = found.channels
    assert (first.name, first.color, first.window) == ("GFP", "00FF80", (10.0, 2000.5))
    assert first.metadata == {
        "emission_wavelength_in_nm": 520.0,
        "excitation_wavelength_in_nm": 488.0,
    }
    assert (second.name, second.color, second.window) == (None, "FF00FF", None)
    kept = dict(found.metadata)
    verbatim = kept.pop("Imaris")
    assert kept == {
        "name": "brain",
        "description": "a slice",
        "acquisition_date": "2021-03-04T05:06:07.250000",
        "instrument": {"Modality": "Confocal"},
        "objective": {"NominalMagnification": "25", "LensNA": "1.05"},
    }
    assert verbatim["/DataSetInfo/Image"] == IMAGE
    assert verbatim["/DataSetInfo/Channel 1"] == CHANNELS[1]
    assert verbatim["/"]["ImarisVersion"] == "5.5.0"
    assert json.loads(json.dumps(verbatim)) == verbatim
    assert found.notes == ()


def test_uneven_times_are_kept_each(tmp_path: Path) -> None:
    """Where the step is not one, the seconds are in the metadata, with a note."""

    def late(file: Any) -> None:  # noqa: ANN401
        words(file["DataSetInfo/TimeInfo"], {"TimePoint3": "2021-03-04 05:07:07"})

    found = open_source(saved(tmp_path, late)).description
    assert found.time_step is None
    assert found.metadata["time_points"] == [0.0, 2.5, 60.0]
    assert "not even" in found.notes[0]


def test_a_long_table_of_colours_is_found(tmp_path: Path) -> None:
    """A table that does not fit an attribute is an array of characters."""

    def table(file: Any) -> None:  # noqa: ANN401
        channel = file["DataSetInfo/Channel 1"]
        del channel.attrs["ColorTable"]
        text = " ".join(["0.25"] * 30_000 + ["0", "0.4", "1"]).encode()
        channel["ColorTable"] = np.frombuffer(text, "S1")

    assert open_source(saved(tmp_path, table)).description.channels[1].color == "0066FF"


@pytest.mark.parametrize(
    ("image", "sizes", "unit"),
    [
        ({"Unit": "µm"}, {"z": 2.0, "y": 0.5, "x": 0.5}, "micrometer"),
        ({"Unit": "nm"}, {"z": 2.0, "y": 0.5, "x": 0.5}, "nanometer"),
        ({"Unit": ""}, {"z": 2.0, "y": 0.5, "x": 0.5}, None),
        ({"ExtMax0": "100.0"}, {"z": 2.0, "y": 0.5}, "micrometer"),
        ({"ExtMin1": "low", "ExtMax2": "inf", "ExtMax0": "nan"}, {}, None),
    ],
)
def test_only_sizes_that_can_be_are_taken(
    tmp_path: Path, image: dict[str, str], sizes: dict[str, float], unit: str | None
) -> None:
    """Extents that span nothing leave the voxel size open, as does a unit that is none."""
    found = open_source(saved(tmp_path, **image)).description
    assert (found.voxel_size, found.unit) == (sizes, unit)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((1, 1, 5, 20, 19), "zyx"),
        ((1, 2, 5, 20, 19), "czyx"),
        ((2, 1, 5, 20, 19), "tzyx"),
        ((1, 1, 1, 20, 19), "yx"),
        ((2, 2, 1, 1, 1), "tcyx"),
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float32"])
def test_axes_of_one_element_are_dropped(
    tmp_path: Path, shape: tuple[int, ...], axes: str, dtype: str
) -> None:
    """Imaris always writes t, c and z; of an image with one of them nothing is lost without."""
    voxels = (np.arange(np.prod(shape)) + 1).reshape(shape).astype(dtype)
    path = tmp_path / "a.ims"
    with h5py.File(path, "w") as file:
        write(file, voxels, X=str(shape[4]), Y=str(shape[3]), Z=str(shape[2]))
    source = open_source(str(path))
    assert (source.description.axes, source.description.dtype) == (axes, dtype)
    assert len(source.description.channels) == shape[1]
    kept = tuple(n for letter, n in zip("tczyx", shape, strict=True) if letter in axes)
    np.testing.assert_array_equal(whole(source), voxels.reshape(kept), strict=True)


def test_several_images_are_chosen_by_number(tmp_path: Path) -> None:
    """Files of linked tiles hold more than one, and none is taken silently."""
    path = tmp_path / "a.ims"
    with h5py.File(path, "w") as file:
        write(file)
        write(file, VOXELS[:1, :1] + 1, "1", Name="tile")
    assert [(s.name, s.axes) for s in scenes(str(path))] == [("brain", "tczyx"), ("tile", "zyx")]
    with pytest.raises(SourceError, match=r"--scene N.*0: DataSet, 1: DataSet1"):
        open_source(str(path))
    np.testing.assert_array_equal(whole(open_source(str(path), 1)), VOXELS[0, 0] + 1)


def without(name: str) -> Edit:
    """Return an edit that takes a group or dataset away."""

    def edit(file: Any) -> None:  # noqa: ANN401
        del file[name]

    return edit


def said(name: str, **facts: str) -> Edit:
    """Return an edit that changes attributes."""
    return lambda file: words(file[name], facts)


def unsized(file: Any) -> None:  # noqa: ANN401
    """Take away every word on how large the image is."""
    for t, c in np.ndindex(3, 2):
        for axis in "XYZ":
            del file[f"{LEVEL}/TimePoint {t}/Channel {c}"].attrs[f"ImageSize{axis}"]
    for axis in "XYZ":
        del file["DataSetInfo/Image"].attrs[axis]


def retyped(file: Any) -> None:  # noqa: ANN401
    """Store one channel as another type."""
    group = file[f"{LEVEL}/TimePoint 1/Channel 0"]
    del group["Data"]
    group.create_dataset("Data", STORED, "uint8", chunks=CHUNK)[...] = 1


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (without(f"{LEVEL}/TimePoint 1"), "TimePoint 1 is missing"),
        (without(f"{LEVEL}/TimePoint 2"), "TimePoint 2 is missing: it says 3"),
        (without(f"{LEVEL}/TimePoint 1/Channel 1"), "TimePoint 1: Channel 1 is missing"),
        (without(f"{LEVEL}/TimePoint 1/Channel 0"), "TimePoint 1: Channel 0 is missing"),
        (without(f"{LEVEL}/TimePoint 1/Channel 0/Data"), "holds no .*Channel 0/Data"),
        (without(LEVEL), "holds no .*ResolutionLevel 0"),
        (without("DataSet"), "no group DataSet"),
        (without("DataSetInfo"), "holds no /DataSetInfo"),
        (said("DataSetInfo/Image", X="18"), "says z y x .*18.*damaged"),
        (said(f"{LEVEL}/TimePoint 2/Channel 1", ImageSizeY="21"), "TimePoint 2, Channel 1 .*21"),
        (unsized, "does not say its size"),
        (retyped, "uint8 .*expected the same"),
        (lambda file: file.create_group("DataSetInfo/Channel 2"), "Channel 2 is missing"),
    ],
)
def test_what_is_missing_or_contradicts_is_refused(tmp_path: Path, edit: Edit, reason: str) -> None:
    """A time point or channel that is not there is never zeros, nor an image made shorter."""
    path = saved(tmp_path, edit)
    for call in (open_source, scenes):
        with pytest.raises(SourceError, match=rf"a\.ims: .*{reason}"):
            call(path)


def test_an_image_larger_than_its_arrays_is_refused(tmp_path: Path) -> None:
    """Nothing is made up beyond what is stored."""
    edits = [
        said(f"{LEVEL}/TimePoint {t}/Channel {c}", ImageSizeX="33") for t, c in np.ndindex(3, 2)
    ]
    with pytest.raises(SourceError, match=r"has shape \(8, 32, 32\).*33"):
        open_source(saved(tmp_path, *edits, X="33"))


def test_links_are_followed_in_the_folder_only(tmp_path: Path) -> None:
    """Channels in files beside are read, and belong to the source; any other file is refused."""
    with h5py.File(tmp_path / "part.h5", "w") as part:
        part["here"] = np.pad(VOXELS[0, 0], [(0, 3), (0, 12), (0, 13)])

    def linked(target: str) -> Edit:
        def edit(file: Any) -> None:  # noqa: ANN401
            group = file[f"{LEVEL}/TimePoint 0/Channel 0"]
            del group["Data"]
            group["Data"] = h5py.ExternalLink(target, "/here")

        return edit

    def same_layout(file: Any) -> None:  # noqa: ANN401
        for t, c in np.ndindex(3, 2):
            group = file[f"{LEVEL}/TimePoint {t}/Channel {c}"]
            data = group["Data"][...]
            del group["Data"]
            group["Data"] = data

    source = open_source(saved(tmp_path, same_layout, linked("part.h5")))
    np.testing.assert_array_equal(whole(source), VOXELS)
    assert [Path(path).name for path in source.stamps] == ["a.ims", "part.h5"]
    source.close()
    for target in ("../part.h5", str(tmp_path / "part.h5"), "sub/../../part.h5", "s3://a/b.h5"):
        with pytest.raises(SourceError, match="out of its folder: refused"):
            open_source(saved(tmp_path, same_layout, linked(target)))


@pytest.mark.parametrize("at", [0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 0.999])
def test_a_file_cut_off_is_refused(tmp_path: Path, at: float) -> None:
    """Wherever it ends and wherever it lies."""
    data = content()
    cut = data[: int(len(data) * at)]
    Counted.reset()
    (tmp_path / "a.ims").write_bytes(cut)
    for path in (str(tmp_path / "a.ims"), Counted.put("a.ims", cut)):
        with pytest.raises(SourceError, match=r"a\.ims"):
            whole(open_source(path))


def test_threads_share_a_source_that_may_not_change(tmp_path: Path) -> None:
    """Many threads get what one alone gets, and nobody anything once the file was written anew."""
    path = saved(tmp_path)
    source = open_source(path)
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(whole, source) for _ in range(16)]
        assert all(np.array_equal(job.result(), VOXELS) for job in jobs)
    os.utime(path, ns=(1, 1))
    with pytest.raises(SourceError, match="changed"):
        whole(source)


def test_ingest_writes_what_was_written(tmp_path: Path) -> None:
    """Every voxel of a file arrives, with voxel size, time step and channels of the file."""
    path = saved(tmp_path)
    assert main(["ingest", path, str(tmp_path / "root"), "--as", "a/b/c"]) == 0
    layer = zarr.open_group(tmp_path / "root/a/b/c", mode="r")
    np.testing.assert_array_equal(np.asarray(layer["0"][...]), VOXELS)  # type: ignore[index]
    ome: Any = layer.attrs["ome"]
    level = ome["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]
    assert level["scale"] == [2.5, 1.0, 2.0, 0.5, 0.5]
    assert [channel["label"] for channel in ome["omero"]["channels"]] == ["GFP", "channel-1"]


@pytest.mark.samples
def test_a_real_file_is_cropped_to_its_image(samples: Path) -> None:
    """The sample's arrays are 32 × 256 × 256, its image 25 × 158 × 168: h5py is the judge."""
    path = samples / "ims/brain_crop3_levels2-3.DERIVED.ims"
    assert format_of(str(path)).name == "Imaris"
    source = open_source(str(path))
    found = source.description
    assert (found.axes, found.shape, found.dtype) == ("czyx", (2, 25, 158, 168), "uint16")
    assert found.unit == "micrometer"
    expected = {"z": 10.8732, "y": 2.0007595, "x": 1.9943036}
    assert found.voxel_size == pytest.approx(expected, rel=1e-6)
    assert [(c.name, c.color, c.window) for c in found.channels] == [
        (None, "02FF00", (1023.0, 19148.0)),
        (None, "FF0000", (767.0, 27493.0)),
    ]
    assert found.metadata["acquisition_date"] == "2018-12-10T23:23:19"
    voxels = whole(source)
    assert voxels.max(axis=(1, 2, 3)).tolist() == [9075, 65535]
    with h5py.File(path) as file:
        for c in range(2):
            stored = file[f"DataSet/ResolutionLevel 0/TimePoint 0/Channel {c}/Data"][...]
            np.testing.assert_array_equal(voxels[c], stored[:25, :158, :168])
