"""BigDataViewer: view setups as images, channels taken together, by XML or by the HDF5 file."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
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

# Setups 0 and 1 are channels of angle 0, 2 and 3 of angle 1.
VOXELS = np.random.default_rng(4).integers(0, 65536, (3, 4, 5, 20, 18)).astype("uint16")
Edit = Callable[[str], str]
IDENTITY = "1 0 0 0 0 1 0 0 0 0 1 0"


def setup(number: int, channel: str | None = None, angle: int = 0, size: str = "18 20 5") -> str:
    """Return the XML of a view setup."""
    word = "" if channel is None else f"<channel>{channel}</channel>"
    return f"""
      <ViewSetup><id>{number}</id><name>view {number}</name><size>{size}</size>
        <voxelSize><unit>µm</unit><size>0.5 0.5 2.0</size></voxelSize>
        <attributes><illumination>0</illumination>{word}<tile>0</tile><angle>{angle}</angle>
          <displaysettings>{number}</displaysettings></attributes>
      </ViewSetup>"""


SETUPS = setup(0, "0") + setup(1, "1") + setup(2, "0", 1) + setup(3, "1", 1)
TIMES = '<Timepoints type="range"><first>0</first><last>2</last></Timepoints>'


def registration(time: int, number: int, affine: str = IDENTITY) -> str:
    """Return the XML of a registration of two transforms."""
    return f"""<ViewRegistration timepoint="{time}" setup="{number}">
      <ViewTransform type="affine"><Name>moved</Name><affine>{affine}</affine></ViewTransform>
      <ViewTransform type="affine"><Name>calibration</Name>
        <affine>1 0 0 0 0 1 0 0 0 0 4 0</affine></ViewTransform></ViewRegistration>"""


REGISTRATIONS = "".join(registration(t, s) for t in range(3) for s in range(4))


def xml(file: str = "a.h5", *, loader: str = "bdv.hdf5", missing: str = "") -> str:
    """Return the XML of the dataset."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<SpimData version="0.2"><BasePath type="relative">.</BasePath>
  <SequenceDescription>
    <ImageLoader format="{loader}"><hdf5 type="relative">{file}</hdf5></ImageLoader>
    <ViewSetups>{SETUPS}
      <Attributes name="channel"><Channel><id>0</id><name>GFP</name></Channel>
        <Channel><id>1</id><name>RFP</name></Channel></Attributes>
    </ViewSetups>{TIMES}<MissingViews>{missing}</MissingViews>
  </SequenceDescription>
  <ViewRegistrations>{REGISTRATIONS}</ViewRegistrations>
</SpimData>"""


def write(path: Path, voxels: NDArray[Any] = VOXELS, **facts: str) -> None:
    """Write views as BigDataViewer lays them out: uint16 as int16, with a coarser level."""
    with h5py.File(path, "w") as file:
        for s in range(voxels.shape[1]):
            group = file.create_group(f"s{s:02d}")
            group["resolutions"] = np.array([[1.0, 1, 1], [2, 2, 1]])
            group["subdivisions"] = np.array([[8, 8, 4], [8, 8, 4]], "int32")
            for name, value in facts.items():
                group.attrs[name] = np.bytes_(value)
        signed = voxels.view("int16") if voxels.dtype == "uint16" else voxels
        for t, s in np.ndindex(*voxels.shape[:2]):
            for level in range(2):
                view = signed[t, s, :, :: 1 + level, :: 1 + level]
                name = f"t{t:05d}/s{s:02d}/{level}/cells"
                file.create_dataset(name, data=view, chunks=(4, 8, 8), compression="gzip")


def saved(tmp_path: Path, edit: Edit = str, **options: str) -> str:
    """Write a dataset whose XML was edited, and return its path."""
    write(tmp_path / "a.h5")
    text = xml(**options)  # type: ignore[arg-type]
    edited = edit(text)
    assert edited != text or edit is str
    (tmp_path / "a.xml").write_text(edited, encoding="utf-8")
    return str(tmp_path / "a.xml")


def replaced(old: str, new: str) -> Edit:
    """Return an edit of the XML."""
    return lambda text: text.replace(old, new)


def whole(source: Source) -> NDArray[Any]:
    """Read all of a source."""
    found = source.description
    return source.read(Region.whole(found.axes, found.shape))


@pytest.mark.parametrize("place", ["local", "remote"])
@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_region_of_channels_and_times(tmp_path: Path, place: str, data: st.DataObject) -> None:
    """Setups that differ in their channel alone are axis c, and int16 is uint16 again."""
    path = saved(tmp_path)
    if place == "remote":
        Counted.reset()
        Counted.put("b/a.h5", (tmp_path / "a.h5").read_bytes())
        path = Counted.put("b/a.xml", Path(path).read_bytes())
    source = open_source(path, 1)
    expected = VOXELS[:, 2:]
    found = source.description
    assert (found.axes, found.shape, found.dtype) == ("tczyx", expected.shape, "uint16")
    assert (found.format, found.block) == ("BigDataViewer", (1, 1, 4, 8, 8))
    edges = [
        sorted(data.draw(st.sets(st.integers(0, n), min_size=2, max_size=2)))
        for n in expected.shape
    ]
    region = Region("tczyx", tuple(e[0] for e in edges), tuple(e[1] for e in edges))
    voxels = source.read(region)
    np.testing.assert_array_equal(voxels, expected[region.slices], strict=True)
    assert voxels.nbytes <= source.decoded <= expected.nbytes
    source.close()
    source.close()
    np.testing.assert_array_equal(whole(source), expected)
    source.close()


def test_what_the_xml_says_is_kept(tmp_path: Path) -> None:
    """Voxel size with unit, names of channels, registrations, and the XML itself."""
    path = saved(tmp_path)
    source = open_source(path, 0)
    found = source.description
    assert found.voxel_size == {"z": 2.0, "y": 0.5, "x": 0.5}
    assert (found.unit, found.time_step, found.notes) == ("micrometer", None, ())
    assert [channel.name for channel in found.channels] == ["GFP", "RFP"]
    assert [Path(file).name for file in source.stamps] == ["a.xml", "a.h5"]
    kept = found.metadata["BigDataViewer"]
    assert json.loads(json.dumps(kept)) == kept
    assert kept["xml"] == Path(path).read_text(encoding="utf-8")
    assert kept["timepoints"] == [0, 1, 2]
    assert [one["id"] for one in kept["setups"]] == [0, 1]
    assert kept["registrations"]["timepoint 2, setup 1"][1] == {
        "name": "calibration",
        "affine": [1.0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 4, 0],
    }
    assert len(kept["registrations"]) == 6


@pytest.mark.parametrize(
    ("affine", "noted"),
    [
        (IDENTITY, False),
        ("2 0 0 0 0 2 0 0 0 0 2 0", False),
        ("1 0 0 7 0 1 0 0 0 0 1 0", True),
        ("0 1 0 0 -1 0 0 0 0 0 1 0", True),
        ("1e308 1e308 0 0 0 1e308 0 0 0 0 1e308 1e308", True),
    ],
)
def test_a_registration_that_is_more_than_a_scale_is_noted(
    tmp_path: Path, affine: str, noted: bool
) -> None:
    """Voxels are stored as they lie; where the file would move or turn them, it is said."""
    path = saved(tmp_path, lambda text: text.replace(registration(1, 1), registration(1, 1, affine))
                 + " ")  # fmt: skip
    for number, expected in ((0, noted), (1, False)):
        notes = open_source(path, number).description.notes
        assert any("registration" in note for note in notes) is expected


SEVERAL = [
    (str, ["view 0 + view 1", "view 2 + view 3"], ["tczyx"] * 2),
    (replaced("<channel>1<", "<channel>0<"), [f"view {i}" for i in range(4)], ["tzyx"] * 4),
    (replaced("<channel>", "<x>"), None, None),
    (
        lambda text: text.replace("<channel>0</channel>", "").replace("<channel>1</channel>", ""),
        [f"view {i}" for i in range(4)],
        ["tzyx"] * 4,
    ),
    (replaced("<angle>1</angle>", "<angle>0</angle>"), [f"view {i}" for i in range(4)], None),
]


@pytest.mark.parametrize(("edit", "names", "axes"), SEVERAL)
def test_setups_are_scenes_unless_they_are_channels(
    tmp_path: Path, edit: Edit, names: list[str] | None, axes: list[str] | None
) -> None:
    """Same angle, tile, illumination and size, and different channels; none is taken silently."""
    path = saved(tmp_path, edit)
    if names is None:
        with pytest.raises(SourceError, match="not well formed"):
            scenes(path)
        return
    found = scenes(path)
    assert [scene.name for scene in found] == names
    assert axes is None or [scene.axes for scene in found] == axes
    with pytest.raises(SourceError, match="--scene N"):
        open_source(path)


def test_the_hdf5_file_alone_is_read_too(tmp_path: Path) -> None:
    """Each setup is an image; what only the XML knows stays open, and a note says where it is."""
    saved(tmp_path)
    path = str(tmp_path / "a.h5")
    assert format_of(path).name == "BigDataViewer HDF5"
    assert [scene.name for scene in scenes(path)] == ["s00", "s01", "s02", "s03"]
    source = open_source(path, 2)
    np.testing.assert_array_equal(whole(source), VOXELS[:, 2], strict=True)
    found = source.description
    assert (found.axes, found.voxel_size, found.unit) == ("tzyx", {}, None)
    assert "XML" in found.notes[0]


@pytest.mark.parametrize(
    ("stored", "facts", "dtype"),
    [
        ("int16", {}, "uint16"),
        ("int16", {"dataType": "int16"}, "int16"),
        ("int16", {"dataType": "uint16"}, "uint16"),
        ("uint16", {"dataType": "uint16"}, "uint16"),
        ("uint8", {"dataType": "uint8"}, "uint8"),
        ("float32", {}, "float32"),
        ("uint16", {"dataType": "float32"}, "damaged"),
        ("uint16", {"dataType": "uint8"}, "damaged"),
        ("uint16", {"dataType": "brain"}, "brain"),
    ],
)
def test_the_type_is_what_the_setup_says(
    tmp_path: Path, stored: str, facts: dict[str, str], dtype: str
) -> None:
    """Without a dataType int16 is uint16; a type that the bytes cannot be is refused."""
    voxels = (np.arange(2 * 3 * 9 * 9).reshape(1, 1, 6, 9, 9) - 200).astype(stored)
    path = tmp_path / "b.h5"
    with h5py.File(path, "w") as file:
        file["t00000/s00/0/cells"] = voxels[0, 0]
        file["s00/resolutions"] = np.ones((1, 3))
        for name, value in facts.items():
            file["s00"].attrs[name] = np.bytes_(value)
    if dtype in ("damaged", "brain"):
        with pytest.raises(SourceError, match=dtype):
            open_source(str(path))
        return
    source = open_source(str(path))
    assert (source.description.axes, source.description.dtype) == ("zyx", dtype)
    same = dtype[-2:] == stored[-2:]
    expected = voxels[0, 0].view(dtype) if same else voxels[0, 0]
    np.testing.assert_array_equal(whole(source), expected, strict=True)


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ('<Timepoints type="pattern"><integerpattern>0, 1-2</integerpattern></Timepoints>', 3),
        ('<Timepoints type="pattern"><integerpattern>0-2:2</integerpattern></Timepoints>', 2),
        ('<Timepoints type="list"><Timepoint><id>1</id></Timepoint></Timepoints>', 1),
        ('<Timepoints type="pattern"><integerpattern>0-x</integerpattern></Timepoints>', 0),
        ('<Timepoints type="pattern"><integerpattern>0-99999999</integerpattern></Timepoints>', 0),
        ('<Timepoints type="range"><first>2</first><last>1</last></Timepoints>', 0),
        ('<Timepoints type="range"><first>0</first><last>3</last></Timepoints>', 0),
    ],
)
def test_time_points_are_those_of_the_xml(tmp_path: Path, text: str, times: int) -> None:
    """By range, list or pattern; those that are not in the file are an error."""
    path = saved(tmp_path, replaced(TIMES, text))
    if not times:
        with pytest.raises(SourceError):
            open_source(path, 0)
        return
    found = open_source(path, 0).description
    assert dict(zip(found.axes, found.shape, strict=True)).get("t", 1) == times


def view(time: int, number: int) -> str:
    """Return the XML of a missing view."""
    return f'<MissingView timepoint="{time}" setup="{number}"/>'


def test_missing_views_are_left_out_with_a_note_or_refused(tmp_path: Path) -> None:
    """A time point that no channel has is left out; one that some have is an error."""
    path = saved(tmp_path, missing=view(1, 0) + view(1, 1) + view(2, 3))
    with h5py.File(tmp_path / "a.h5", "a") as file:
        for name in ("t00001/s00", "t00001/s01", "t00002/s03"):
            del file[name]
    source = open_source(path, 0)
    np.testing.assert_array_equal(whole(source), VOXELS[[0, 2], :2], strict=True)
    assert "time points 1 are missing" in source.description.notes[0]
    assert source.description.metadata["BigDataViewer"]["timepoints"] == [0, 2]
    with pytest.raises(SourceError, match=r"view 2 \+ view 3: some channels of time point 2"):
        open_source(path, 1)
    with pytest.raises(SourceError, match="holds no /t00001/s00/0/cells"):
        open_source(str(tmp_path / "a.h5"), 0)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (replaced("</SpimData>", ""), "not well formed"),
        (replaced("<ViewSetups>", "<Other>"), "not well formed"),
        (replaced("version=", "version2="), "not well formed"),
        (replaced("<SpimData", "<!DOCTYPE SpimData [<!ENTITY a 'b'>]><SpimData"), "entities"),
        (replaced("<id>3</id>", "<id>2</id>"), "expected different ones"),
        (replaced("<id>0</id><name>view", "<name>view"), "has no id"),
        (replaced("18 20 5", "18 21 5"), r"says z y x \(5, 21, 18\).*\(5, 20, 18\)"),
        (replaced("18 20 5", "18 20"), "expected 3 numbers"),
        (replaced(IDENTITY, "1 2 3"), "expected 12 numbers"),
        (replaced('timepoint="0"', 'timepoint="a"'), "damaged"),
        (replaced("bdv.hdf5", "bdv.n5"), r"a\.xml: its voxels .*'bdv.n5'.*ingest a.h5 itself"),
        (replaced("a.h5", "b.h5"), "not found"),
        (replaced("a.h5", "../a.h5"), "out of its folder"),
        (replaced("a.h5", "/a.h5"), "out of its folder"),
        (replaced(">.</BasePath>", ">..</BasePath>"), "out of its folder"),
        (replaced('<hdf5 type="relative"', '<hdf5 type="absolute"'), "out of its folder"),
    ],
)
def test_an_xml_that_is_damaged_or_leads_astray_is_refused(
    tmp_path: Path, edit: Edit, reason: str
) -> None:
    """What does not fit is named; no other folder is looked into, no entity expanded."""
    with pytest.raises(SourceError, match=reason):
        open_source(saved(tmp_path, edit), 0)


def test_partitions_beside_the_file_are_followed(tmp_path: Path) -> None:
    """A dataset in several HDF5 files is one, as long as they lie in one folder."""
    path = saved(tmp_path)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        for t in range(3):
            with h5py.File(tmp_path / f"a-{t}.h5", "w") as part:
                for s in range(4):
                    file.copy(f"t{t:05d}/s{s:02d}", part.require_group(f"t{t:05d}"))
                    del file[f"t{t:05d}/s{s:02d}"]
                    where = f"/t{t:05d}/s{s:02d}"
                    file[where] = h5py.ExternalLink(f"a-{t}.h5", where)
    source = open_source(path, 0)
    np.testing.assert_array_equal(whole(source), VOXELS[:, :2], strict=True)
    assert [Path(f).name for f in source.stamps] == ["a.xml", "a.h5", *(f"a-{t}.h5" for t in "012")]
    assert scenes(str(tmp_path / "a.h5"))[3].shape == (3, 5, 20, 18)
    source.close()
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["t00001/s00"]
        file["t00001/s00"] = h5py.ExternalLink("../a-1.h5", "/t00001/s00")
    for name in ("a.xml", "a.h5"):
        with pytest.raises(SourceError, match="out of its folder: refused"):
            open_source(str(tmp_path / name), 0)


def test_threads_share_a_source(tmp_path: Path) -> None:
    """Many threads that read one source at once get what one alone gets."""
    source = open_source(saved(tmp_path), 0)
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(whole, source) for _ in range(16)]
        assert all(np.array_equal(job.result(), VOXELS[:, :2]) for job in jobs)


@pytest.mark.parametrize("at", [0.05, 0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("name", ["a.xml", "a.h5"])
def test_a_file_cut_off_is_refused(tmp_path: Path, name: str, at: float) -> None:
    """Be it the XML or the voxels."""
    path = saved(tmp_path)
    whole_file = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole_file[: int(len(whole_file) * at)])
    with pytest.raises(SourceError, match=rf"{name}"):
        whole(open_source(path, 0))


def test_ingest_writes_what_was_written(tmp_path: Path) -> None:
    """Every voxel arrives, with the voxel size of the XML and the names of channels."""
    path = saved(tmp_path)
    words = ["ingest", path, str(tmp_path / "root"), "--as", "a/b/c", "--scene", "1"]
    assert main(words) == 0
    layer = zarr.open_group(tmp_path / "root/a/b/c", mode="r")
    np.testing.assert_array_equal(np.asarray(layer["0"][...]), VOXELS[:, 2:])  # type: ignore[index]
    ome: Any = layer.attrs["ome"]
    level = ome["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]
    assert level["scale"] == [1.0, 1.0, 2.0, 0.5, 0.5]
    assert [channel["label"] for channel in ome["omero"]["channels"]] == ["GFP", "RFP"]


@pytest.mark.samples
@pytest.mark.parametrize("name", ["example.xml", "example.h5"])
def test_a_real_dataset_is_the_tiff_that_it_was_made_of(samples: Path, name: str) -> None:
    """The sample's TIFF is the judge."""
    folder = samples / "bdv_h5/pybdv"
    source = open_source(str(folder / name))
    found = source.description
    assert (found.axes, found.shape, found.dtype) == ("zyx", (6, 512, 512), "uint16")
    np.testing.assert_array_equal(whole(source), tifffile.imread(folder / "example.tif"))
    if name == "example.xml":
        assert (found.voxel_size, found.unit) == ({"z": 1.0, "y": 1.0, "x": 1.0}, None)
        assert [channel.name for channel in found.channels] == ["1"]
        assert found.metadata["name"] == "channel 1"
