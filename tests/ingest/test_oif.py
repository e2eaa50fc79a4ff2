"""OIB and OIF: every plane has its place by its name, or the image is refused."""

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import oiffile
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from microtome_cli.main import main
from microtome_core.errors import SourceError
from microtome_core.region import Region
from microtome_ingest.formats import open_source, scenes
from microtome_ingest.source import Source
from tests.counted import Counted
from tests.ingest.olympus import compound, members, oib, oif, table, text, tiff
from tests.ingest.olympus import settings as main_settings

RANDOM = np.random.default_rng(12)


def noise(*shape: int, dtype: str = "uint16") -> NDArray[Any]:
    """Return voxels of twelve bits at most."""
    return RANDOM.integers(0, 250, shape).astype(dtype)


# Axes as the file has them and as they are read.
CASES: dict[str, tuple[NDArray[Any], str, str]] = {
    "one plane": (noise(9, 7), "yx", "yx"),
    "all axes": (noise(2, 3, 2, 9, 7), "tzcyx", "tzcyx"),
    "channels last": (noise(2, 3, 2, 9, 7), "ctzyx", "ctzyx"),
    "eight bits": (noise(4, 9, 7, dtype="uint8"), "zyx", "zyx"),
    "emission": (noise(2, 4, 9, 7), "clyx", "clyx"),
    "angle": (noise(3, 9, 7), "ayx", "ayx"),
    "along z": (noise(2, 9, 7), "czx", "czyx"),
    "along z in time": (noise(3, 2, 9, 7), "tczx", "tczyx"),
    "a line in time": (noise(2, 9, 7), "ctx", "ctyx"),
    "more than nine": (noise(12, 5, 4), "tyx", "tyx"),
}


def expected(name: str) -> NDArray[Any]:
    """Return the voxels with the axis that is added."""
    array, axes, read = CASES[name]
    return array if axes == read else array[..., None, :]


def put(folder: Path, name: str, place: str) -> str:
    """Write an image, or hold it behind a URL, and return its path."""
    array, axes, _ = CASES[name]
    Counted.reset()
    if place == "oib":
        (folder / "a.oib").write_bytes(oib(array, axes))
        return str(folder / "a.oib")
    if place == "oib remote":
        return Counted.put("a.oib", oib(array, axes))
    path = oif(folder, array, axes)
    if place == "oif":
        return path
    for file in (folder / "a.oif.files").iterdir():
        Counted.put(f"a.oif.files/{file.name}", file.read_bytes())
    return Counted.put("a.oif", Path(path).read_bytes())


def whole(source: Source) -> NDArray[Any]:
    """Read all of a source."""
    found = source.description
    return source.read(Region.whole(found.axes, found.shape))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("place", ["oib", "oif", "oib remote", "oif remote"])
def test_any_region_of_any_axes(tmp_path: Path, name: str, place: str) -> None:
    """A region is the image's, in native byte order, whatever was scanned and wherever it lies."""
    source, voxels = open_source(put(tmp_path, name, place)), expected(name)
    found = source.description
    assert (found.axes, found.shape) == (CASES[name][2], voxels.shape)
    assert found.dtype == voxels.dtype.name
    assert found.format == f"Olympus {place[:3].upper()}"

    @settings(max_examples=3, suppress_health_check=[HealthCheck.nested_given], deadline=None)
    @given(data=st.data())
    def regions(data: st.DataObject) -> None:
        edges = [
            sorted(data.draw(st.sets(st.integers(0, n), min_size=2, max_size=2)))
            for n in voxels.shape
        ]
        region = Region(found.axes, tuple(e[0] for e in edges), tuple(e[1] for e in edges))
        read = source.read(region)
        np.testing.assert_array_equal(read, voxels[region.slices], strict=True)
        assert read.flags.writeable

    regions()
    source.close()
    source.close()
    np.testing.assert_array_equal(whole(source), voxels)
    assert scenes(found.files[0])[0].shape == voxels.shape


@pytest.mark.parametrize("name", CASES)
def test_planes_are_those_that_oiffile_reads(tmp_path: Path, name: str) -> None:
    """An independent reader finds each plane where the numbers of its name put it."""
    path = put(tmp_path, name, "oib")
    source = open_source(path)
    voxels, axes = whole(source), source.description.axes
    with oiffile.OifFile(path) as file:
        for member in file.glob("*.tif"):
            if "R001" in member:
                continue
            numbers = dict(re.findall(r"([A-Z])(\d+)", member.partition("/s_")[2]))
            counted = [axis for axis in axes if axis.upper() in numbers]
            at = tuple(int(numbers[axis.upper()]) - 1 for axis in counted)
            plane = file.asarray(member)
            np.testing.assert_array_equal(voxels[at].reshape(plane.shape), plane)


def test_sizes_have_the_units_of_their_axes(tmp_path: Path) -> None:
    """Nanometers along z and micrometers in a plane become one unit, milliseconds seconds."""
    found = open_source(oif(tmp_path, noise(3, 4, 5, 6), "tzyx")).description
    assert dict(found.voxel_size) == pytest.approx({"z": 0.7, "y": 0.25, "x": 0.5})
    assert (found.unit, found.time_step) == ("micrometer", 0.5)
    assert found.notes == ()


def test_rows_along_z_or_t_are_measured(tmp_path: Path) -> None:
    """The height of a plane is along the axis that its rows are."""
    found = open_source(oif(tmp_path, noise(5, 6), "zx")).description
    assert dict(found.voxel_size) == pytest.approx({"z": 0.25e-3, "x": 0.5})
    assert "no axis y" in found.notes[0]
    found = open_source(oif(tmp_path, noise(5, 6), "tx")).description
    assert (dict(found.voxel_size), found.time_step) == ({"x": 0.5}, 0.25e-3)


def test_an_interval_serves_where_an_axis_has_no_ends(tmp_path: Path) -> None:
    """One that contradicts the ends is noted, and the ends count."""
    ends = {"StartPosition": 0.0, "EndPosition": 0.0}
    only = {"Axis 3 Parameters Common": {**ends, "Interval": 400}}
    assert (
        open_source(oif(tmp_path, noise(4, 5, 6), "zyx", only)).description.voxel_size["z"] == 0.4
    )
    both = {"Axis 3 Parameters Common": {"Interval": 400}}
    found = open_source(oif(tmp_path, noise(4, 5, 6), "zyx", both)).description
    assert found.voxel_size["z"] == 0.7
    assert found.notes == ("planes lie 700 nm apart by the ends of z, but 400 by its interval",)


def test_times_of_planes_tell_uneven_ones(tmp_path: Path) -> None:
    """Each time point has the time of its first plane."""
    times = {0: 100.0, 1: 600.0, 2: 2100.0}
    found = open_source(oif(tmp_path, noise(3, 2, 5, 6), "tcyx", times=times)).description
    assert found.metadata["time_points"] == [0.0, 0.5, 2.0]
    assert found.notes == ("time points are not even: metadata lists them",)
    assert found.time_step == 0.7
    same = dict.fromkeys(range(3), 100.0)
    found = open_source(oif(tmp_path, noise(3, 2, 5, 6), "tcyx", times=same)).description
    assert "time_points" not in found.metadata


def test_channels_and_settings_are_kept(tmp_path: Path) -> None:
    """Names, dyes, wavelengths and lookup tables of channels; lens, laser, date and comment."""
    found = open_source(oif(tmp_path, noise(3, 5, 6), "cyx")).description
    first, second, third = found.channels
    assert (first.name, first.color) == ("CH1", "00FF00")
    assert first.metadata == {
        "indicator": "Alexa Fluor 488",
        "excitation_wavelength_in_nm": 488.0,
        "emission_wavelength_in_nm": 520.0,
        "contrast_method": "Fluorescence",
        "emission_filter": "BA505-525",
    }
    assert (second.name, second.color, third.color) == ("CH2", "FF0000", None)
    assert "indicator" not in second.metadata
    assert "emission_wavelength_in_nm" not in second.metadata
    kept = found.metadata
    assert (kept["name"], kept["description"], kept["significant_bits"]) == (
        "a.oif",
        "a comment",
        12,
    )
    assert kept["acquisition_date"] == "2012-07-26T15:13:35.076"
    assert kept["instrument"]["Model"] == "FV1000"
    assert kept["objective"] == {
        "Model": "UPLFLN 40X",
        "LensNA": "0.75",
        "NominalMagnification": "40.0",
    }
    assert kept["lasers"] == [{"wavelength_in_nm": 488.0, "transmission": 3.0}]
    assert json.loads(json.dumps(kept)) == kept
    assert kept["OIF"]["main"]["File Info"]["DataName"] == "a.oif"


@pytest.mark.parametrize(
    "content", [table((0, 255, 0), 2.0), table((0, 0, 0)), b"[x]\r\n", b"", b"\xff\xfe[\0"]
)
def test_a_table_that_is_no_ramp_gives_no_colour(tmp_path: Path, content: bytes) -> None:
    """Lookup tables that are bent, black, empty or damaged leave the colour open."""
    path = oif(tmp_path, noise(5, 6), "yx")
    (tmp_path / "a.oif.files/s_LUT1.lut").write_bytes(content)
    assert open_source(path).description.channels[0].color is None


def test_open_axes_say_what_they_are(tmp_path: Path) -> None:
    """Wavelengths stay an axis of their own, and a note says which ones."""
    found = open_source(oif(tmp_path, noise(4, 5, 6), "lyx")).description
    assert found.notes == ("axis l is emission wavelength: 100 to -2000 nm",)


def test_a_missing_plane_is_named(tmp_path: Path) -> None:
    """A plane that is not there is an error, never zeros, nor a shorter stack."""
    path = oif(tmp_path, noise(3, 4, 5, 6), "tzyx")
    (tmp_path / "a.oif.files/s_C001Z002T003.tif").unlink()
    with pytest.raises(SourceError, match="11 of 12 planes: C1 T3 Z2 is missing"):
        open_source(path)
    for z in (1, 3, 4):
        (tmp_path / f"a.oif.files/s_C001Z{z:03}T003.tif").unlink()
    with pytest.raises(SourceError, match="declares 3 along T, but has planes up to 2"):
        open_source(path)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """An OIF alone is refused; one that was renamed finds the folder that it had."""
    path = oif(tmp_path, noise(5, 6), "yx")
    (tmp_path / "b.oif").write_bytes(Path(path).read_bytes())
    assert open_source(str(tmp_path / "b.oif")).description.shape == (5, 6)
    (tmp_path / "a.oif.files").rename(tmp_path / "other")
    with pytest.raises(SourceError, match=r"belongs to a folder a\.oif\.files, which is not"):
        open_source(path)


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    """No file elsewhere is read."""
    path = oif(tmp_path, noise(5, 6), "yx")
    plane = tmp_path / "a.oif.files/s_C001.tif"
    plane.rename(tmp_path / "elsewhere.tif")
    plane.symlink_to(tmp_path / "elsewhere.tif")
    with pytest.raises(SourceError, match=r"s_C001\.tif: is a link that leads out"):
        open_source(path)


PLANE = noise(9, 7)
PLANES: dict[str, tuple[bytes, str]] = {
    "another shape": (tiff(noise(9, 8)), r"\(9, 8\) uint16, expected \(9, 7\) uint16"),
    "another type": (tiff(PLANE.astype("uint8")), "uint8"),
    "cut off": (tiff(PLANE)[:-3], "truncated|shorter|ends at byte"),
    "no TIFF": (b"x" * 400, "is no TIFF"),
    "two pages": (tiff(np.stack([PLANE, PLANE])), "several pages"),
}


@pytest.mark.parametrize("name", PLANES)
def test_a_plane_that_does_not_fit_is_named(tmp_path: Path, name: str) -> None:
    """When it is read at the latest, the error says which and why."""
    content, reason = PLANES[name]
    path = oif(tmp_path, np.stack([PLANE, PLANE]), "zyx")
    (tmp_path / "a.oif.files/s_C001Z002.tif").write_bytes(content)
    with pytest.raises(SourceError, match=rf"s_C001Z002\.tif.*({reason})"):
        whole(open_source(path))


def test_compressed_planes_are_decoded(tmp_path: Path) -> None:
    """Planes need not be raw."""
    path = oif(tmp_path, np.stack([PLANE, PLANE]), "zyx")
    content = tiff(PLANE[::-1], compression="zlib")
    (tmp_path / "a.oif.files/s_C001Z002.tif").write_bytes(content)
    np.testing.assert_array_equal(whole(open_source(path))[1], PLANE[::-1])


MAIN: dict[str, tuple[dict[str, dict[str, object]], str]] = {
    "a huge axis": ({"Axis 0 Parameters Common": {"MaxSize": 10**9}}, "expected"),
    "no x": ({"Axis Parameter Common": {"AxisOrder": "CZ"}}, "is not supported"),
    "unknown order": ({"Axis Parameter Common": {"AxisOrder": "YXZ"}}, "is not supported"),
    "no number": ({"Axis 3 Parameters Common": {"MaxSize": "many"}}, "ValueError"),
    "other names": ({"ProfileSaveInfo": {"PtyFileNameS": "x\\y_C001.pty"}}, "one kind of names"),
}


@pytest.mark.parametrize("name", MAIN)
def test_settings_that_contradict_the_planes_are_refused(tmp_path: Path, name: str) -> None:
    """The error says what was found."""
    change, reason = MAIN[name]
    path = oif(tmp_path, noise(2, 3, 5, 6), "czyx", change)
    with pytest.raises(SourceError, match=reason):
        open_source(path)


def test_several_kinds_of_names_are_refused(tmp_path: Path) -> None:
    """Which of two sets of planes is the image is not guessed."""
    path = oif(tmp_path, noise(2, 5, 6), "zyx")
    (tmp_path / "a.oif.files/s_C001.tif").write_bytes(tiff(noise(5, 6)))
    with pytest.raises(SourceError, match=r"counted by \['C', 'CZ'\]: expected one kind"):
        open_source(path)


def test_an_oib_without_its_list_is_refused(tmp_path: Path) -> None:
    """Other compound files, and compressed ones, are named."""
    (tmp_path / "a.oib").write_bytes(compound({"a": b"x"}))
    with pytest.raises(SourceError, match=r"a compound file without OibInfo\.txt"):
        open_source(str(tmp_path / "a.oib"))
    info = text({"OibSaveInfo": {"Compression": "Zip", "MainFileName": "Stream00000"}})
    (tmp_path / "a.oib").write_bytes(compound({"OibInfo.txt": info}))
    with pytest.raises(SourceError, match="compression Zip is not supported"):
        open_source(str(tmp_path / "a.oib"))


@pytest.mark.parametrize("at", [0.05, 0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("place", ["local", "remote"])
def test_a_file_cut_off_is_refused(tmp_path: Path, at: float, place: str) -> None:
    """An OIB that ends early is an error, wherever it lies."""
    data = oib(noise(4, 9, 7), "zyx")
    cut = data[: int(len(data) * at)]
    (tmp_path / "a.oib").write_bytes(cut)
    Counted.reset()
    path = str(tmp_path / "a.oib") if place == "local" else Counted.put("a.oib", cut)
    with pytest.raises(SourceError, match=r"a\.oib"):
        open_source(path)


def test_a_small_region_takes_a_small_part_of_the_bytes() -> None:
    """One plane of many is fetched, not all."""
    array = noise(40, 128, 128)
    data = oib(array, "zyx")
    Counted.reset()
    source = open_source(Counted.put("a.oib", data))
    opened = Counted.fetched()
    region = Region("zyx", (7, 10, 20), (8, 14, 33))
    np.testing.assert_array_equal(source.read(region), array[region.slices])
    assert Counted.fetched() - opened < len(data) / 10
    assert source.decoded == array[0].nbytes


def test_threads_share_a_source(tmp_path: Path) -> None:
    """Many threads that read one source at once get what one alone gets."""
    for place in ("oib", "oif", "oib remote"):
        source = open_source(put(tmp_path, "all axes", place))
        with ThreadPoolExecutor(8) as pool:
            jobs = [pool.submit(whole, source) for _ in range(16)]
            assert all(np.array_equal(job.result(), CASES["all axes"][0]) for job in jobs)


@pytest.mark.parametrize("place", ["oib", "oif"])
def test_a_file_that_changes_is_refused(tmp_path: Path, place: str) -> None:
    """Between opening and reading nothing may be written."""
    source = open_source(put(tmp_path, "all axes", place))
    whole(source)
    for file in source.description.files:
        os.utime(file, ns=(1, 1))
    with pytest.raises(SourceError, match="changed"):
        whole(source)


def test_an_ingest_stores_the_voxels(tmp_path: Path) -> None:
    """What zarr reads from the layer is what was written into the planes."""
    array = noise(2, 3, 2, 20, 30)
    root = str(tmp_path / "root")
    assert main(["ingest", oif(tmp_path, array, "tzcyx"), root, "--as", "demo/mouse/brain"]) == 0
    layer = zarr.open_group(f"{root}/demo/mouse/brain", mode="r")
    np.testing.assert_array_equal(layer["0"][...], array.transpose(0, 2, 1, 3, 4))
    scale = layer.attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]
    assert scale["scale"] == pytest.approx([0.5, 1.0, 0.7, 0.25, 0.5])


def test_settings_are_read_in_either_encoding(tmp_path: Path) -> None:
    """Main settings are UTF-16 or UTF-8."""
    path = oif(tmp_path, noise(5, 6), "yx")
    Path(path).write_bytes(text(main_settings(noise(5, 6), "yx"), bom=False))
    assert open_source(path).description.shape == (5, 6)
    assert "s_C001.tif" in members(noise(5, 6), "yx")


@pytest.mark.samples
def test_a_real_file(samples: Path) -> None:
    """Three channels of a FluoView FV1000 read as oiffile reads them."""
    path = samples / "oib/test.oib"
    source = open_source(str(path))
    found = source.description
    assert (found.axes, found.shape, found.dtype) == ("cyx", (3, 256, 256), "uint16")
    assert (dict(found.voxel_size), found.unit) == ({"y": 0.177, "x": 0.177}, "micrometer")
    assert [channel.name for channel in found.channels] == ["CH1", "CH2", "TD1"]
    assert [channel.color for channel in found.channels] == ["00FF00", "FF0000", "FFFFFF"]
    assert found.channels[1].metadata["indicator"] == "Alexa Fluor 546"
    assert found.metadata["significant_bits"] == 12
    assert found.metadata["acquisition_date"] == "2012-07-26T15:13:35.976"
    np.testing.assert_array_equal(whole(source), oiffile.imread(path), strict=True)
    Counted.reset()
    distant = open_source(Counted.put("test.oib", path.read_bytes()))
    np.testing.assert_array_equal(whole(distant), oiffile.imread(path))
