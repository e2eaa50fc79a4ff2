"""OME-Zarr: axes, sizes, channels, labels, plates and series as their versions keep them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from microtome_cli.main import main
from microtome_core.errors import SourceError
from microtome_core.region import Region
from microtome_ingest.formats import open_source, scenes
from microtome_ingest.source import Source

ARRAY = np.random.default_rng(4).integers(1, 60000, (2, 3, 5, 24, 20), "uint16")
AXES = [
    {"name": "t", "type": "time", "unit": "millisecond"},
    {"name": "c", "type": "channel"},
    {"name": "z", "type": "space", "unit": "micrometer"},
    {"name": "y", "type": "space", "unit": "nanometer"},
    {"name": "x", "type": "space", "unit": "nanometer"},
]
STEPS = [{"type": "scale", "scale": [250, 1, 2, 500, 400]}]
OMERO = {
    "channels": [
        {"label": "GFP", "color": "00ff00", "window": {"min": 0, "max": 9, "start": 1, "end": 5}},
        {"label": "RFP", "color": "red", "window": {"start": 5, "end": 1}},
        {},
    ]
}


def whole(source: Source) -> NDArray[Any]:
    """Read all of a source."""
    found = source.description
    return source.read(Region.whole(found.axes, found.shape))


def multiscale(steps: list[Any], axes: Any = AXES, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the description of a pyramid of one level."""
    described = {"axes": axes} if axes is not None else {}
    return {**described, "datasets": [{"path": "0", "coordinateTransformations": steps}], **more}


def written(
    path: Path, attributes: dict[str, Any], array: NDArray[Any] = ARRAY, version: int = 3
) -> str:
    """Write a group with an array ``0``."""
    group = zarr.create_group(str(path), zarr_format=version)  # type: ignore[arg-type]
    group.create_array("0", data=array, chunks=(1,) * (array.ndim - 2) + (16, 16))
    inner = {"version": "0.5", **attributes}
    group.attrs.update({"ome": inner} if version == 3 else attributes)
    return str(path)


@pytest.mark.parametrize("version", [2, 3])
def test_axes_sizes_and_channels(tmp_path: Path, version: int) -> None:
    """Axes, units and scales come from the transformations, names and colours from omero."""
    scales = [multiscale(STEPS, version="0.4")]
    path = written(tmp_path / "a", {"multiscales": scales, "omero": OMERO}, version=version)
    source = open_source(path)
    found = source.description
    assert found.format == ("OME-Zarr 0.4" if version == 2 else "OME-Zarr 0.5")
    assert (found.axes, found.shape, found.block) == ("tczyx", ARRAY.shape, (1, 1, 1, 16, 16))
    assert found.voxel_size == {"z": 2.0, "y": 0.5, "x": 0.4}
    assert (found.unit, found.time_step) == ("micrometer", 0.25)
    assert [(c.name, c.color, c.window) for c in found.channels] == [
        ("GFP", "00FF00", (1.0, 5.0)),
        ("RFP", None, None),
        (None, None, None),
    ]
    assert found.metadata["OME-Zarr"]["path"] == "0"
    kept = found.metadata["OME-Zarr"]["attributes"]
    assert (kept if version == 2 else kept["ome"])["omero"] == OMERO
    assert found.notes == ()
    names = [Path(file).name for file in found.files]
    assert names == (
        [".zgroup", ".zattrs", ".zarray", ".zattrs"] if version == 2 else ["zarr.json"] * 2
    )
    np.testing.assert_array_equal(whole(source), ARRAY)


SPACE = [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
SCALE = {"type": "scale", "scale": [4, 3, 2]}
MOVE = {"type": "translation", "translation": [30, 20, 10]}
TURN = {"type": "rotation", "rotation": [[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]]}
BOTH = {"type": "sequence", "transformations": [MOVE, SCALE]}
FLAT = {"z": 4.0, "y": 3.0, "x": 2.0}


@pytest.mark.parametrize(
    ("steps", "axes", "sizes", "origin", "note"),
    [
        ([SCALE], "zyx", FLAT, None, ""),
        ([SCALE, MOVE], "zyx", FLAT, (30, 20, 10), "its origin, z=30, y=20, x=10 micrometer"),
        ([BOTH], "zyx", FLAT, (120, 60, 20), "z=120"),
        ([{"type": "identity"}], "zyx", {"z": 1.0, "y": 1.0, "x": 1.0}, None, ""),
        ([], "zyx", {}, None, ""),
        (
            [{"type": "affine", "affine": [[4, 0, 0, 32], [0, 3, 0, 21], [0, 0, 2, 10]]}],
            "zyx", FLAT, (32, 21, 10), "z=32",
        ),
        ([{"type": "mapAxis", "mapAxis": [1, 2, 0]}, SCALE], "xzy", FLAT, None, ""),
        ([SCALE, TURN], "zyx", FLAT, None, "not along its axes"),
        ([{"type": "scale", "scale": [4, -3, 2]}], "zyx", FLAT, None, "runs backwards"),
        ([{"type": "scale", "path": "numbers"}], "zyx", {}, None, "scale is kept in the"),
        ([{"type": "displacements", "path": "d"}], "zyx", {}, None, "displacements is kept"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("draft", [False, True])
def test_transformations_are_composed(
    tmp_path: Path,
    steps: list[Any],
    axes: str,
    sizes: dict[str, float],
    origin: tuple[float, ...] | None,
    note: str,
    draft: bool,
) -> None:
    """What keeps the axes becomes sizes and an origin; the rest is told and kept in the record."""
    scales = multiscale([{**step, "output": "world"} for step in steps], SPACE)
    if draft:
        systems = [{"name": "other", "axes": []}, {"name": "world", "axes": scales.pop("axes")}]
        scales["coordinateSystems"] = systems if steps else systems[1:]
    path = written(tmp_path / "a", {"multiscales": [scales]}, ARRAY[0, 0])
    found = open_source(path).description
    assert (found.axes, found.voxel_size) == (axes, pytest.approx(sizes))
    assert found.metadata.get("origin") == (
        None if origin is None else {**dict(zip("zyx", origin, strict=True)), "unit": "micrometer"}
    )
    assert (found.notes == ()) if not note else any(note in text for text in found.notes)


def test_steps_of_the_whole_pyramid_come_after(tmp_path: Path) -> None:
    """A scale of all levels is applied to that of the level."""
    more = {"coordinateTransformations": [{"type": "scale", "scale": [2, 1, 1]}]}
    path = written(
        tmp_path / "a", {"multiscales": [multiscale([SCALE], SPACE, **more)]}, ARRAY[0, 0]
    )
    assert open_source(path).description.voxel_size == {"z": 8.0, "y": 3.0, "x": 2.0}


@pytest.mark.parametrize(
    ("unit", "step", "expected", "note"),
    [
        ("second", 2, 2.0, ""),
        ("minute", 0.5, 30.0, ""),
        (None, 1, None, ""),
        (None, 3, None, "has no unit"),
        ("furlong", 3, None, "no unit of time"),
        ("second", 0, None, ""),
    ],
)
def test_time_steps_are_in_seconds(
    tmp_path: Path, unit: str | None, step: float, expected: float | None, note: str
) -> None:
    """A time step without a unit of time is left open."""
    axes = [{"name": "t", "type": "time", **({"unit": unit} if unit else {})}, *SPACE[1:]]
    steps = [{"type": "scale", "scale": [step, 1, 1]}]
    found = open_source(
        written(tmp_path / "a", {"multiscales": [multiscale(steps, axes)]}, ARRAY[0, 0])
    )
    assert found.description.time_step == expected
    assert note in " ".join(found.description.notes)
    assert bool(note) == bool(found.description.notes)


@pytest.mark.parametrize(
    ("axes", "count", "letters"),
    [
        (None, 5, "tczyx"),
        (["t", "c", "z", "y", "x"], 5, "tczyx"),
        (["z", "y", "x"], 3, "zyx"),
        ([{"name": "Channel", "type": "channel"}, {"name": "Y"}, {"name": "X"}], 3, "cyx"),
        ([{"name": "angle", "type": "array"}, {"name": "y"}, {"name": "x"}], 3, "qyx"),
        ([{"name": "x"}, {"name": "y"}, {"name": "z"}], 3, "xyz"),
    ],
)
def test_axes_of_older_versions(
    tmp_path: Path,
    axes: list[Any] | None,
    count: int,
    letters: str,
) -> None:
    """Versions 0.1 and 0.2 mean t, c, z, y, x; 0.3 names axes; other names are left open."""
    array = ARRAY if count == 5 else ARRAY[0, 0]
    path = written(tmp_path / "a", {"multiscales": [multiscale([], axes)]}, array, version=2)
    found = open_source(path).description
    assert (found.axes, found.voxel_size) == (letters, {})


@pytest.mark.parametrize(
    ("scales", "reason"),
    [
        (multiscale([], None), "are not t, c, z, y, x"),
        (multiscale([], SPACE[1:]), "2 axes are described, the array has 3"),
        (multiscale([{"type": "scale", "scale": [1, 2]}], SPACE), "does not fit 3 axes"),
        (multiscale([{"type": "scale", "scale": [1, 2, float("inf")]}], SPACE), "no finite"),
        (multiscale([{"type": "scale", "scale": ["a", 2, 1]}], SPACE), "a"),
        ({"axes": SPACE, "datasets": [{"path": "9"}]}, "9, is not there; name another with ::0"),
        ({"axes": SPACE, "datasets": [{"path": "../b/0"}]}, "leads out of its folder"),
        ({"axes": SPACE, "datasets": []}, "a"),
        ({"axes": 3, "datasets": [{"path": "0"}]}, "a"),
        ([], "a"),
        (7, "a"),
    ],
    ids=str,
)  # fmt: skip
def test_descriptions_that_do_not_fit_are_refused(
    tmp_path: Path,
    scales: object,
    reason: str,
) -> None:
    """A pyramid that is described wrongly is an error that names the store."""
    path = written(tmp_path / "a", {"multiscales": [scales]}, ARRAY[0, 0])
    with pytest.raises(SourceError, match=reason):
        open_source(path)


def image(path: Path, seed: int, version: int = 2, **more: Any) -> NDArray[Any]:  # noqa: ANN401
    """Write a small image and return its voxels."""
    array = np.random.default_rng(seed).integers(1, 99, (24, 20), "uint8")
    written(path, {"multiscales": [multiscale([], ["y", "x"])], **more}, array, version)
    return array


def group(path: Path, attributes: dict[str, Any], version: int = 2) -> None:
    """Write a group without arrays."""
    inner = attributes if version == 2 else {"ome": attributes}
    zarr.create_group(str(path), zarr_format=version).attrs.update(inner)  # type: ignore[arg-type]


@pytest.mark.parametrize("version", [2, 3])
def test_labels_are_scenes(tmp_path: Path, version: int) -> None:
    """The labels below an image are images of their own, and are said to be labels."""
    path = tmp_path / "a"
    image(path, 1, version)
    group(path / "labels", {"labels": ["cells", "nuclei"]}, version)
    for seed, name in enumerate(["cells", "nuclei"], 2):
        image(path / "labels" / name, seed, version, **{"image-label": {"version": "0.4"}})
    assert [s.name for s in scenes(str(path))][1:] == ["labels/cells", "labels/nuclei"]
    with pytest.raises(SourceError, match="holds 3 arrays, choose with --scene N"):
        open_source(str(path))
    for chosen in (open_source(str(path), 2), open_source(f"{path}::labels/nuclei")):
        assert "--kind labels keeps them whole" in chosen.description.notes[0]
        expected = np.random.default_rng(3).integers(1, 99, (24, 20), "uint8")
        np.testing.assert_array_equal(whole(chosen), expected)
    assert open_source(str(path), 0).description.notes == ()


@pytest.mark.parametrize("listed", [True, False])
def test_series_of_bioformats2raw_are_scenes(tmp_path: Path, listed: bool) -> None:
    """The images of a converted file are scenes in their order, listed or counted up."""
    group(tmp_path / "a", {"bioformats2raw.layout": 3})
    for seed in range(11):
        image(tmp_path / "a" / str(seed), seed)
    group(tmp_path / "a" / "OME", {"series": ["10", "0"]} if listed else {})
    names = [s.name for s in scenes(str(tmp_path / "a"))]
    assert names == (["10", "0"] if listed else [str(n) for n in range(11)])


XML = """<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">
<Instrument ID="Instrument:0"><Objective ID="Objective:0" LensNA="0.8"/></Instrument>
<Image ID="Image:0" Name="first"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8"
 SizeX="20" SizeY="24" SizeZ="1" SizeC="1" SizeT="1"><MetadataOnly/></Pixels></Image>
<Image ID="Image:1" Name="second"><AcquisitionDate>2020-01-02T03:04:05</AcquisitionDate>
<ObjectiveSettings ID="Objective:0"/><Pixels ID="Pixels:1" DimensionOrder="XYZCT" Type="uint8"
 SizeX="20" SizeY="24" SizeZ="1" SizeC="1" SizeT="1"><Channel ID="Channel:1:0" Name="GFP"
 EmissionWavelength="520"/><MetadataOnly/></Pixels></Image></OME>"""


@pytest.mark.parametrize("listed", [True, False])
def test_the_xml_of_bioformats2raw_is_read(tmp_path: Path, listed: bool) -> None:
    """What OME-XML beside the images says of each is kept, and all of it verbatim."""
    group(tmp_path / "a", {"bioformats2raw.layout": 3})
    names = ["x", "1"] if listed else ["0", "1"]
    for seed, name in enumerate(names):
        image(tmp_path / "a" / name, seed)
    group(tmp_path / "a" / "OME", {"series": names} if listed else {})
    (tmp_path / "a" / "OME" / "METADATA.ome.xml").write_text(XML)
    found = open_source(str(tmp_path / "a"), 1).description
    assert found.metadata["acquisition_date"] == "2020-01-02T03:04:05"
    assert found.metadata["objective"] == {"ID": "Objective:0", "LensNA": "0.8"}
    assert (found.metadata["name"], found.metadata["OME"]) == ("second", XML)
    [channel] = found.channels
    assert channel.name == "GFP"
    assert channel.metadata["emission_wavelength_in_nm"] == 520
    assert found.files[-1].endswith("OME/METADATA.ome.xml")
    (tmp_path / "a" / "OME" / "METADATA.ome.xml").write_text("<OME")
    assert "is left out" in open_source(str(tmp_path / "a"), 1).description.notes[0]


@pytest.mark.parametrize("version", [2, 3])
def test_fields_of_a_plate_are_scenes(tmp_path: Path, version: int) -> None:
    """Every field of every well is a scene."""
    wells = [{"path": "B/2"}, {"path": "A/1"}]
    group(tmp_path / "a", {"plate": {"wells": wells}}, version)
    for well in ("A/1", "B/2"):
        fields = {"well": {"images": [{"path": "0"}, {"path": "1"}]}}
        group(tmp_path / "a" / well, fields, version)
        for field in "01":
            image(tmp_path / "a" / well / field, ord(well[0]) + int(field), version)
    names = [s.name for s in scenes(str(tmp_path / "a"))]
    assert names == ["B/2/0", "B/2/1", "A/1/0", "A/1/1"]
    expected = np.random.default_rng(ord("A") + 1).integers(1, 99, (24, 20), "uint8")
    np.testing.assert_array_equal(whole(open_source(str(tmp_path / "a"), 3)), expected)


def test_a_coarser_level_keeps_its_place(tmp_path: Path) -> None:
    """``::`` names another level of a pyramid, with its own scale."""
    scales = multiscale([SCALE], SPACE)
    coarse = [
        {"type": "scale", "scale": [8, 6, 4]},
        {"type": "translation", "translation": [2, 1.5, 1]},
    ]
    scales["datasets"].append({"path": "1", "coordinateTransformations": coarse})
    path = written(tmp_path / "a", {"multiscales": [scales]}, ARRAY[0, 0])
    zarr.open_group(path).create_array("1", data=ARRAY[0, 0, ::2, ::2, ::2])
    source = open_source(f"{path}::1")
    assert source.description.voxel_size == {"z": 8.0, "y": 6.0, "x": 4.0}
    np.testing.assert_array_equal(whole(source), ARRAY[0, 0, ::2, ::2, ::2])
    assert open_source(path).description.image == "0"


def test_several_pyramids_in_one_group_are_scenes(tmp_path: Path) -> None:
    """Level 0 of each entry of multiscales is a scene."""
    second = {"axes": SPACE, "datasets": [{"path": "other/0"}], "name": "other"}
    path = written(tmp_path / "a", {"multiscales": [multiscale([], SPACE), second]}, ARRAY[0, 0])
    zarr.open_group(path).create_array("other/0", data=ARRAY[0, 1])
    assert [s.name for s in scenes(path)] == ["0", "other/0"]
    np.testing.assert_array_equal(whole(open_source(path, 1)), ARRAY[0, 1])


OURS = ["--axes", "czyx", "--voxel-size", "z=2,y=0.5,x=0.5", "--channels", "GFP,RFP,DAPI"]


def stored(root: Path, name: str, array: NDArray[Any], *words: str) -> str:
    """Ingest an array and return the layer's folder."""
    np.save(root / "a.npy", array)
    small = ["--chunk", "1,2,16,16", "--shard", "1,4,16,16"]
    args = ["ingest", str(root / "a.npy"), str(root / "root"), "--as", f"c/d/{name}", *OURS]
    assert main([*args, *small, *words]) == 0
    return str(root / "root" / "c" / "d" / name)


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("empty", [False, True])
def test_our_own_layers_are_sources(tmp_path: Path, again: bool, empty: bool) -> None:
    """A layer goes through ingest once more unchanged, replaced or not, empty shards or not."""
    array = ARRAY[0].copy()
    if empty:
        array[:, :4, :16] = 0
    if again:
        stored(tmp_path, "img", array + 1)
    path = stored(tmp_path, "img", array, *(["--restart", "--grace", "0"] if again else []))
    found = open_source(path).description
    assert found.image == ("v2/0" if again else "0")
    assert (found.axes, found.unit, found.notes) == ("czyx", "micrometer", ())
    assert [c.name for c in found.channels] == ["GFP", "RFP", "DAPI"]
    assert main(["ingest", path, str(tmp_path / "other"), "--as", "e/f/g"]) == 0
    layer = tmp_path / "other" / "e" / "f" / "g"
    np.testing.assert_array_equal(zarr.open_array(str(layer / "0"), mode="r")[:], array)
    here, there = (json.loads((Path(p) / "zarr.json").read_text()) for p in (path, layer))
    names = ("channels", "imaging_space")
    for name in names:
        assert here["attributes"]["nwb"][name] == there["attributes"]["nwb"][name]
    assert here["attributes"]["ome"]["omero"] == there["attributes"]["ome"]["omero"]


@pytest.mark.parametrize("empty", [False, True])
def test_a_shard_of_ours_that_was_lost_is_an_error(tmp_path: Path, empty: bool) -> None:
    """A layer lists its empty shards, so that any other that is not there is no fill value."""
    array = ARRAY[0].copy()
    if empty:
        array[:, :4, :16] = 0
    path = stored(tmp_path, "img", array)
    lost = Path(path) / "0" / "c" / "2" / "1" / "1" / "1"
    lost.unlink()
    source = open_source(path)
    source.read(Region("czyx", (0, 0, 0, 0), (2, 5, 24, 20)))
    with pytest.raises(SourceError, match=r"c/2/1/1/1.* is missing"):
        whole(source)


@pytest.mark.parametrize("content", [None, "{}", '{"levels": []}', '{"levels": ["AAAA"]}'])
def test_a_list_of_empty_shards_that_was_lost_is_an_error(
    tmp_path: Path, content: str | None
) -> None:
    """Without its list, nobody knows which shards are empty on purpose."""
    array = ARRAY[0].copy()
    array[:, :4, :16] = 0
    path = stored(tmp_path, "img", array)
    file = Path(path) / "0" / "ledger" / "empty.json"
    file.unlink()
    if content is not None:
        file.write_text(content)
    with pytest.raises(SourceError):
        open_source(path)
