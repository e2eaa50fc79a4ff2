"""LIF and LOF: images of any axes, where their XML says that they lie, wherever the file lies."""

import hashlib
import io
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import liffile
import numpy as np
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
from tests.ingest.leica import Image, attachment, lif, lof

RANDOM = np.random.default_rng(11)


def noise(*shape: int, dtype: str = "uint16") -> NDArray[Any]:
    """Return voxels of which no two planes are alike."""
    return RANDOM.integers(0, 250, shape).astype(dtype)


def padded(array: NDArray[Any], axes: str) -> Image:
    """Return an image whose rows are longer in memory than they are wide."""
    rows = np.zeros((*array.shape[:-1], array.shape[-1] + 3), array.dtype)
    rows[..., :-3] = array
    return Image("a", rows[..., :-3], axes, rows.tobytes())


def case(array: NDArray[Any], axes: str, **options: Any) -> tuple[Image, str, NDArray[Any]]:  # noqa: ANN401
    """Return an image, and the axes and voxels that are expected of it."""
    return Image.of("a", array, axes, **options), axes, array


def without_y(array: NDArray[Any], axes: str) -> tuple[Image, str, NDArray[Any]]:
    """Return the same of a scan along x and another axis."""
    return Image.of("a", array, axes), f"{axes[:-1]}yx", array[..., None, :]


COLOURS = noise(5, 6, 3, dtype="uint8")
ROWS = noise(3, 5, 6)
CASES: dict[str, tuple[Image, str, NDArray[Any]]] = {
    "all axes": case(noise(2, 3, 4, 5, 6), "tczyx"),
    "channels outside": case(noise(2, 3, 4, 5, dtype="uint8"), "ctyx"),
    "one plane": case(noise(5, 6), "yx"),
    "float": case(noise(4, 5, 6, dtype="float32"), "zyx"),
    "twelve bits": case(noise(4, 5, 6), "zyx", bits=12),
    "interleaved channels": case(noise(5, 6, 2), "yxc"),
    "red first": case(COLOURS, "yxs", tags=(1, 2, 3)),
    "blue first": (
        Image.of("a", COLOURS, "yxs", tags=(3, 2, 1)),
        "yxs",
        COLOURS[..., ::-1],
    ),
    "colours of channels": case(noise(2, 5, 6, 3, dtype="uint8"), "cyxs", tags=(1, 2, 3) * 2),
    "padded rows": (padded(ROWS, "zyx"), "zyx", ROWS),
    "xz": without_y(noise(5, 6), "zx"),
    "xzt": without_y(noise(3, 2, 5, 6), "tczx"),
    "xzy": case(noise(3, 2, 5, 6), "yczx"),
    "xt": without_y(noise(5, 6), "tx"),
    "emission": case(noise(4, 5, 6), "lyx"),
    "excitation and emission": case(noise(2, 3, 5, 6), "elyx"),
    "rotation, loop": case(noise(2, 3, 5, 6), "aoyx"),
    "x slowest": case(noise(4, 5, 6), "xyz"),
}


def whole(source: Source) -> NDArray[Any]:
    """Read all of a source."""
    found = source.description
    return source.read(Region.whole(found.axes, found.shape))


def saved(folder: Path, content: bytes, name: str = "a.lif") -> str:
    """Write a file and return its path."""
    (folder / name).write_bytes(content)
    return str(folder / name)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("place", ["local", "remote", "lof"])
@settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_region_of_any_axes(tmp_path: Path, name: str, place: str, data: st.DataObject) -> None:
    """A region is the image's, in native byte order, whichever axes were scanned."""
    image, axes, expected = CASES[name]
    Counted.reset()
    content = lof(image) if place == "lof" else lif(image)
    source = open_source(
        Counted.put("a.lif", content) if place == "remote" else saved(tmp_path, content)
    )
    found = source.description
    assert (found.axes, found.shape, found.dtype) == (axes, expected.shape, str(expected.dtype))
    assert found.format == ("Leica LOF" if place == "lof" else "Leica LIF")
    edges = [
        sorted(data.draw(st.sets(st.integers(0, n), min_size=2, max_size=2)))
        for n in expected.shape
    ]
    region = Region(axes, tuple(e[0] for e in edges), tuple(e[1] for e in edges))
    voxels = source.read(region)
    np.testing.assert_array_equal(voxels, expected[region.slices], strict=True)
    assert voxels.flags.writeable
    assert source.decoded == voxels.nbytes
    source.close()
    source.close()
    np.testing.assert_array_equal(whole(source), expected)


# liffile knows padding and distances below a plane only of colours.
ELSEWHERE = [name for name in CASES if name not in ("interleaved channels", "padded rows")]


@pytest.mark.parametrize("name", ELSEWHERE)
def test_voxels_are_those_that_liffile_reads(tmp_path: Path, name: str) -> None:
    """An independent reader, which leaves axes of one voxel out, agrees."""
    path = saved(tmp_path, lif(CASES[name][0]))
    with liffile.LifFile(path) as file:
        expected = file.images[0].asarray()
    np.testing.assert_array_equal(whole(open_source(path)).squeeze(), expected.squeeze())


def test_sizes_are_lengths_divided_by_steps(tmp_path: Path) -> None:
    """A length reaches from the first voxel to the last; a negative one is noted, not stored."""
    lengths = {"x": 5e-6, "y": 2e-6, "z": -9e-6, "t": 3.0}
    image = Image.of("a", noise(3, 4, 5, 6), "tzyx", lengths=lengths, bits=12)
    found = open_source(saved(tmp_path, lif(image))).description
    assert (dict(found.voxel_size), found.unit) == ({"x": 1.0, "y": 0.5, "z": 3.0}, "micrometer")
    assert found.time_step == 1.5
    assert found.metadata["significant_bits"] == 12
    assert any("z runs from 0 to -9e-06 m, downwards" in note for note in found.notes)
    unknown = open_source(saved(tmp_path, lif(Image.of("a", noise(4, 5, 6), "zyx")))).description
    assert (dict(unknown.voxel_size), unknown.time_step) == ({}, None)


def test_an_axis_that_was_not_scanned_is_noted(tmp_path: Path) -> None:
    """Lines along z have no y; a y of one voxel that the file lists is no surprise."""
    assert "no axis y" in open_source(saved(tmp_path, lif(CASES["xz"][0]))).description.notes[0]
    flat = Image.of("a", noise(4, 1, 6), "zyx")
    found = open_source(saved(tmp_path, lif(flat))).description
    assert (found.axes, found.shape, found.notes) == ("zyx", (4, 1, 6), ())


def test_open_axes_say_what_they_are(tmp_path: Path) -> None:
    """Wavelengths stay an axis of their own, and a note says which ones."""
    image = Image.of("a", noise(4, 5, 6), "lyx", lengths={"l": 9e-8})
    path = saved(tmp_path, lif(image))
    assert open_source(path).description.notes == ("axis l is emission wavelength: 0 to 9e-08 m",)


def test_images_are_chosen_by_number(tmp_path: Path) -> None:
    """Of several images one is chosen; names tell the folders, and two of one name are two."""
    inner = Image.of("inner", noise(3, 4), "yx")
    images = (
        Image.of("one", noise(4, 5, 6), "zyx", inside=(inner,)),
        Image.of("two", noise(5, 6, dtype="uint8"), "yx"),
        Image.of("two", noise(7, 6, dtype="uint8"), "yx"),
    )
    path = saved(tmp_path, lif(*images, folder="day & night"))
    names = ["day & night/one", "day & night/one/inner", "day & night/two", "day & night/two"]
    assert [scene.name for scene in scenes(path)] == names
    assert [scene.shape for scene in scenes(path)] == [(4, 5, 6), (3, 4), (5, 6), (7, 6)]
    with pytest.raises(SourceError, match=r"4 images, choose one with --scene N: 0: day & night/o"):
        open_source(path)
    with pytest.raises(SourceError, match="no scene 4"):
        open_source(path, 4)
    for number, image in enumerate((images[0], inner, *images[1:])):
        source = open_source(path, number)
        np.testing.assert_array_equal(whole(source), image.array)
        assert source.description.metadata["name"] == names[number]


TILES = "".join(f'<Tile FieldX="{i}" FieldY="0" PosX="{i}e-3" PosY="2e-3"/>' for i in range(3))


def test_tiles_are_scenes(tmp_path: Path) -> None:
    """Each tile of a mosaic is an image of its own, with the place where the stage was."""
    array = noise(3, 2, 4, 5)
    image = Image.of("mosaic", array, "mcyx", more=attachment("TileScanInfo", TILES))
    path = saved(tmp_path, lif(image, Image.of("b", noise(4, 5), "yx")))
    names = ["mosaic, tile 0", "mosaic, tile 1", "mosaic, tile 2", "b"]
    assert [scene.name for scene in scenes(path)] == names
    for tile in range(3):
        source = open_source(path, tile)
        np.testing.assert_array_equal(whole(source), array[tile], strict=True)
        position = source.description.metadata["stage_position"]
        assert position == {"x": tile * 1000.0, "y": 2000.0, "z": 0.0, "unit": "micrometer"}
        assert "one of 3 tiles" in source.description.notes[0]


SETTING = (
    '<ATLConfocalSettingDefinition ObjectiveName="HC PL APO 20x/0.75 " Magnification="20" '
    'NumericalAperture="0.75" MicroscopeModel="DMI8" StagePosX="1e-3" StagePosY="2e-3">'
    '<DetectorList><Detector Name="PMT 1" Channel="1" IsActive="0"/>'
    '<Detector Name="HyD 2" Channel="2" IsActive="1"/>'
    '<Detector Name="HyD 3" Channel="3" IsActive="1"/></DetectorList>'
    '<LUT_List><LUT Channel="2" LutName="Green"/><LUT Channel="3" LutName="{third}"/></LUT_List>'
    '<Spectro><MultiBand Channel="2" DyeName="GFP" TargetWaveLengthBegin="500" '
    'TargetWaveLengthEnd="550"/><MultiBand Channel="3" DyeName="" TargetWaveLengthBegin="600" '
    'TargetWaveLengthEnd="700"/></Spectro></ATLConfocalSettingDefinition>'
)
SCALING = (
    '<ChannelScalingInfo BlackValue="0" WhiteValue="1"/>'
    '<ChannelScalingInfo BlackValue="0.2" WhiteValue="0.4"/>'
)


def test_channels_are_named_by_detector_and_dye(tmp_path: Path) -> None:
    """Active detectors are the channels where there are as many with the same lookup tables."""
    more = attachment("HardwareSetting", SETTING.format(third="Red"), 'SystemTypeName="SP8"')
    more += attachment("ViewerScaling", SCALING)
    image = Image.of("a", noise(2, 5, 6), "cyx", more=more)
    found = open_source(saved(tmp_path, lif(image))).description
    green, red = found.channels
    assert (green.name, green.color, green.window) == ("GFP", "00FF00", (0.0, 65535.0))
    assert green.metadata == {
        "indicator": "GFP",
        "detector": "HyD 2",
        "emission_range_in_nm": [500.0, 550.0],
    }
    assert (red.name, red.color, red.window) == ("HyD 3", "FF0000", (13107.0, 26214.0))
    assert found.metadata["objective"] == {
        "Model": "HC PL APO 20x/0.75",
        "NominalMagnification": "20",
        "LensNA": "0.75",
    }
    assert found.metadata["instrument"]["Model"] == "DMI8"
    position = {"x": 1000.0, "y": 2000.0, "z": 0.0, "unit": "micrometer"}
    assert found.metadata["stage_position"] == position
    kept = found.metadata["LIF"]
    assert json.loads(json.dumps(kept)) == kept
    assert "MultiBand" in kept["xml"]


def test_detectors_that_do_not_fit_name_nothing(tmp_path: Path) -> None:
    """Where lookup tables differ, which detector made which channel is not guessed."""
    more = attachment("HardwareSetting", SETTING.format(third="Blue"))
    image = Image.of("a", noise(2, 5, 6), "cyx", more=more)
    found = open_source(saved(tmp_path, lif(image))).description
    assert [channel.metadata for channel in found.channels] == [{}, {}]
    dye = "<ChannelProperty><Key>DyeName</Key><Value>Leica/ALEXA 488</Value></ChannelProperty>"
    image = Image.of("a", noise(2, 5, 6), "cyx", channel=(dye, ""))
    found = open_source(saved(tmp_path, lif(image))).description
    assert [channel.name for channel in found.channels] == ["Leica/ALEXA 488", None]
    assert found.channels[0].metadata == {"indicator": "Leica/ALEXA 488"}


def stamps(seconds: list[float], *, old: bool) -> str:
    """Return the time stamps of planes, as LAS AF before and after 3.1 wrote them."""
    start = 132_594_000_000_000_000
    ticks = [start + round(second * 1e7) for second in seconds]
    if not old:
        return f"<TimeStampList>{' '.join(f'{tick:x}' for tick in ticks)}</TimeStampList>"
    inner = "".join(
        f'<TimeStamp HighInteger="{tick >> 32}" LowInteger="{tick & 0xFFFFFFFF}"/>'
        for tick in ticks
    )
    return f"<TimeStampList>{inner}</TimeStampList>"


@pytest.mark.parametrize("old", [True, False])
def test_time_stamps_tell_uneven_times(tmp_path: Path, old: bool) -> None:
    """Each time point has the time of its first plane; even ones give the step."""

    def described(seconds: list[float], **lengths: float) -> Any:  # noqa: ANN401
        more = stamps(seconds, old=old)
        image = Image.of("a", noise(3, 2, 5, 6), "tcyx", more=more, lengths=lengths)
        return open_source(saved(tmp_path, lif(image))).description

    even = described([0, 0.1, 2, 2.1, 4.0004, 4.1])
    assert even.time_step == pytest.approx(2.0002)
    assert even.metadata["acquisition_date"] == "2021-03-05T06:40:00.000+00:00"
    assert "time_points" not in even.metadata
    uneven = described([0, 0.1, 2, 2.1, 7, 7.1])
    assert uneven.metadata["time_points"] == [0.0, 2.0, 7.0]
    assert uneven.time_step is None
    assert uneven.notes == ("time points are not even: metadata lists them",)
    assert described([0, 0.1, 2, 2.1, 7, 7.1], t=7.0).time_step == 3.5
    assert "time_points" not in described([0, 0.1, 2, 7]).metadata


def test_a_small_region_takes_a_small_part_of_the_bytes() -> None:
    """Of 8 MB, a few rows fetch less than a tenth, opening included."""
    array = noise(16, 512, 512)
    data = lif(Image.of("a", array, "zyx"))
    Counted.reset()
    source = open_source(Counted.put("a.lif", data))
    region = Region("zyx", (7, 100, 200), (9, 140, 330))
    np.testing.assert_array_equal(source.read(region), array[region.slices])
    assert 0 < Counted.fetched() < len(data) / 10


def test_threads_share_a_source(tmp_path: Path) -> None:
    """Many threads that read one source at once get what one alone gets."""
    image, _, expected = CASES["all axes"]
    Counted.reset()
    for path in (saved(tmp_path, lif(image)), Counted.put("a.lif", lif(image))):
        source = open_source(path)
        with ThreadPoolExecutor(8) as pool:
            jobs = [pool.submit(whole, source) for _ in range(32)]
            assert all(np.array_equal(job.result(), expected) for job in jobs)


def test_a_file_that_changes_is_refused(tmp_path: Path) -> None:
    """Between opening and reading nothing may be written."""
    path = saved(tmp_path, lif(CASES["one plane"][0]))
    source = open_source(path)
    whole(source)
    os.utime(path, ns=(1, 1))
    with pytest.raises(SourceError, match="changed"):
        whole(source)


def test_an_ingest_stores_the_voxels(tmp_path: Path) -> None:
    """What zarr reads from the layer is what was written into the file."""
    array = noise(2, 3, 4, 20, 30)
    lengths = {"t": 2.0, "z": 6e-6, "y": 19e-6, "x": 14.5e-6}
    path = saved(tmp_path, lif(Image.of("a", array, "tczyx", lengths=lengths)))
    root = str(tmp_path / "root")
    assert main(["ingest", path, root, "--as", "demo/mouse/brain"]) == 0
    layer = zarr.open_group(f"{root}/demo/mouse/brain", mode="r")
    np.testing.assert_array_equal(layer["0"][...], array)
    scale = layer.attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]
    assert scale["scale"] == [2.0, 1.0, 2.0, 1.0, 0.5]


# Of the two-channel sample: axes, shape, voxel sizes and seconds as its XML gives them.
SAMPLE: dict[int, tuple[str, tuple[int, ...], dict[str, float], float | None]] = {
    0: ("tczyx", (20, 2, 128, 1, 128), {"z": 17.8154 / 127, "x": 17.81554 / 127}, 10.07 / 19),
    1: (
        "yczx",
        (23, 2, 128, 128),
        {"y": 5.039354 / 22, "z": 17.8154 / 127, "x": 17.81554 / 127},
        None,
    ),
    2: ("czyx", (2, 512, 1, 512), {"z": 52.47841 / 511, "x": 52.47828 / 511}, None),
}


@pytest.mark.samples
@pytest.mark.parametrize("number", SAMPLE)
def test_scans_along_z(samples: Path, number: int) -> None:
    """A real file of three scans along x and z reads as liffile reads it."""
    path = samples / "lif/testdata_2channel_xz.lif"
    axes, shape, sizes, step = SAMPLE[number]
    source = open_source(str(path), number)
    found = source.description
    assert (found.axes, found.shape, found.dtype, found.unit) == (
        axes,
        shape,
        "uint8",
        "micrometer",
    )
    assert dict(found.voxel_size) == pytest.approx(sizes, rel=1e-9)
    assert found.time_step == (None if step is None else pytest.approx(step))
    assert [channel.name for channel in found.channels] == ["Leica/FITC", "Leica/TRITC"]
    assert [channel.color for channel in found.channels] == ["00FF00", "FF0000"]
    assert found.metadata["objective"]["Model"] == "HC PL APO CS2    63x/1.30 GLYC"
    with liffile.LifFile(path) as file:
        expected = file.images[number].asarray()
    np.testing.assert_array_equal(whole(source).reshape(expected.shape), expected, strict=True)


def at_once(*calls: Callable[[], object]) -> list[object]:
    """Return what calls return that run at once."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [job.result() for job in [pool.submit(call) for call in calls]]


@pytest.mark.samples
def test_the_sample_reads_the_same_from_a_url(samples: Path) -> None:
    """Streamed by ranges it is the same to the byte, from many threads."""
    content = (samples / "lif/testdata_2channel_xz.lif").read_bytes()
    Counted.reset()
    distant = open_source(Counted.put("a.lif", content), 1)
    near = open_source(str(samples / "lif/testdata_2channel_xz.lif"), 1)
    hashes = at_once(*[lambda: hashlib.sha256(whole(distant)).hexdigest()] * 4)
    assert set(hashes) == {hashlib.sha256(io.BytesIO(whole(near).tobytes()).read()).hexdigest()}
