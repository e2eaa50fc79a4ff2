"""LSM: what the private tag says, one image a position, thumbnails left out."""

import io
import json
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray

from microtome_cli.main import main
from microtome_core.errors import SourceError
from microtome_core.region import Region
from microtome_ingest.formats import open_source, scenes
from microtome_ingest.source import Source
from tests.counted import Counted

RANDOM = np.random.default_rng(13)
MAGIC = 67127628
# ScanType by the axes that it scans.
TYPES = {"zcyx": 0, "czx": 1, "ctx": 2, "tcyx": 3, "tczx": 4, "tzcyx": 6}
SIZES = {
    "x": "DimensionX",
    "y": "DimensionY",
    "z": "DimensionZ",
    "c": "DimensionChannels",
    "t": "DimensionTime",
    "p": "DimensionP",
    "m": "DimensionM",
}


def noise(*shape: int, dtype: str = "uint16") -> NDArray[Any]:
    """Return voxels of which no two planes are alike."""
    return RANDOM.integers(0, 250, shape).astype(dtype)


def colors(names: Sequence[str], values: Sequence[tuple[int, int, int]]) -> bytes:
    """Return the record of channel colours."""
    body = b"".join(bytes((*value, 0)) for value in values)
    texts = b"".join(struct.pack("<I", len(name) + 1) + name.encode() + b"\0" for name in names)
    size = 40 + len(body) + len(texts)
    head = struct.pack("<6I", size, len(values), len(names), 40, 40 + len(body), 0)
    return head.ljust(40, b"\0") + body + texts


def entry(code: int, value: str | int | float | None) -> bytes:
    """Return an entry of the scan information; None opens or closes a list."""
    if value is None:
        return struct.pack("<III", code, 0, 0)
    if isinstance(value, str):
        raw = value.encode() + b"\0"
        return struct.pack("<III", code, 2, len(raw)) + raw
    kind, form = (4, "<i") if isinstance(value, int) else (5, "<d")
    raw = struct.pack(form, value)
    return struct.pack("<III", code, kind, len(raw)) + raw


def scan(detectors: Sequence[tuple[str, str]] = (), lasers: Sequence[float] = ()) -> bytes:
    """Return scan information: objective, date, one track with detectors and lasers."""
    inner = b"".join(
        entry(0x70000000, None)
        + entry(0x7000000B, 1)
        + entry(0x70000014, name)
        + entry(0x70000026, dye)
        + entry(0xFFFFFFFF, None)
        for name, dye in detectors
    )
    lights = b"".join(
        entry(0x90000000, None)
        + entry(0x90000003, wavelength)
        + entry(0x90000004, 1)
        + entry(0xFFFFFFFF, None)
        for wavelength in lasers
    )
    end = entry(0xFFFFFFFF, None)
    track = (
        entry(0x40000000, None)
        + entry(0x40000006, 1)
        + (entry(0x60000000, None) + inner + end)
        + (entry(0x80000000, None) + lights + end)
        + end
    )
    return (
        entry(0x10000000, None)
        + entry(0x10000001, "a name")
        + entry(0x10000002, "a description")
        + entry(0x10000004, "Plan 20x/0.8")
        + entry(0x10000036, 41732.5)
        + (entry(0x20000000, None) + track + end)
        + end
    )


def doubles(values: NDArray[np.float64], head: bytes | None = None) -> bytes:
    """Return numbers after their count."""
    return (head or struct.pack("<I", len(values))) + values.astype("<f8").tobytes()


def times(seconds: Sequence[float]) -> bytes:
    """Return the record of time stamps."""
    head = struct.pack("<ii", 8 + 8 * len(seconds), len(seconds))
    return doubles(np.array(seconds), head)


def lsm(
    array: NDArray[Any],
    axes: str,
    records: dict[str, bytes] | None = None,
    compression: str | None = None,
    **values: Any,  # noqa: ANN401
) -> bytes:
    """Return an LSM file; `records` are parts of its tag, `values` are numbers in it."""
    scanned = axes.replace("p", "").replace("m", "")
    kind = np.dtype(tifffile.TIFF.CZ_LSMINFO)
    tag = np.zeros(1, kind)
    tag["MagicNumber"], tag["StructureSize"] = MAGIC, kind.itemsize
    for axis, name in SIZES.items():
        tag[name] = dict(zip(axes, array.shape, strict=True)).get(axis, axis not in "pm")
    tag["ScanType"] = TYPES[scanned]
    for name, value in (
        {"VoxelSizeX": 2e-7, "VoxelSizeY": 3e-7, "VoxelSizeZ": 1e-6} | values
    ).items():
        tag[name] = value
    pages = array.reshape(-1, *array.shape[-2:])
    if scanned[-3] == "c" or scanned[0] == "c":
        pages = array.reshape(-1, *array.shape[-3:])
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream, byteorder="<") as writer:
        for i, page in enumerate(pages):
            tags = [(34412, 1, kind.itemsize, tag.tobytes(), True)] if i == 0 else []
            options: dict[str, Any] = {"photometric": "minisblack", "metadata": None}
            many = {"planarconfig": "separate"} if len(page) > 1 else {}
            plane = page if len(page) > 1 else page[0]
            writer.write(
                plane, extratags=tags, contiguous=False, compression=compression, **options, **many
            )
            writer.write(np.zeros((4, 4), "uint8"), subfiletype=1, contiguous=False, **options)
    return appended(bits_elsewhere(stream.getvalue()), tag, records or {})


def bits_elsewhere(data: bytes) -> bytes:
    """Put the bits of two channels where Zeiss puts them, though they would fit into the tag."""
    result = bytearray(data)
    at = struct.unpack_from("<I", data, 4)[0]
    while at:
        count = struct.unpack_from("<H", data, at)[0]
        for tag in range(at + 2, at + 2 + 12 * count, 12):
            if struct.unpack_from("<HHI", data, tag) == (258, 3, 2):
                result += data[tag + 8 : tag + 12]
                struct.pack_into("<I", result, tag + 8, len(result) - 4)
        at = struct.unpack_from("<I", data, at + 2 + 12 * count)[0]
    return bytes(result)


def appended(data: bytes, tag: NDArray[Any], records: dict[str, bytes]) -> bytes:
    """Put records behind a file and their offsets into its tag."""
    at = data.index(struct.pack("<I", MAGIC))
    for name, record in records.items():
        tag[f"Offset{name}"] = len(data)
        data += record
    raw = tag.tobytes()
    return data[:at] + raw + data[at + len(raw) :]


def saved(folder: Path, content: bytes) -> str:
    """Write a file and return its path."""
    (folder / "a.lsm").write_bytes(content)
    return str(folder / "a.lsm")


def whole(source: Source) -> NDArray[Any]:
    """Read all of a source."""
    found = source.description
    return source.read(Region.whole(found.axes, found.shape))


SCANS: dict[str, tuple[NDArray[Any], str, str]] = {
    "stack": (noise(3, 2, 9, 7), "zcyx", "zcyx"),
    "time series": (noise(4, 2, 9, 7), "tcyx", "tcyx"),
    "all axes": (noise(2, 3, 2, 9, 7, dtype="uint8"), "tzcyx", "tzcyx"),
    "one channel": (noise(3, 1, 9, 7), "zcyx", "zyx"),
    "along z": (noise(2, 9, 7), "czx", "czyx"),
    "along z in time": (noise(4, 2, 9, 7), "tczx", "tczyx"),
    "a line in time": (noise(2, 9, 7), "ctx", "ctyx"),
}


@pytest.mark.parametrize("name", SCANS)
@pytest.mark.parametrize("compression", [None, "lzw"])
@pytest.mark.parametrize("place", ["local", "remote"])
def test_any_scan(tmp_path: Path, name: str, compression: str | None, place: str) -> None:
    """Voxels are those that were scanned, without thumbnails; rows along z or t get a y."""
    array, axes, read = SCANS[name]
    content = lsm(array, axes, compression=compression)
    Counted.reset()
    path = Counted.put("a.lsm", content) if place == "remote" else saved(tmp_path, content)
    source = open_source(path)
    found = source.description
    added = "y" in read and "y" not in axes
    expected = np.squeeze(array)[..., None, :] if added else np.squeeze(array)
    assert (found.format, found.axes, found.shape) == ("Zeiss LSM", read, expected.shape)
    np.testing.assert_array_equal(whole(source), expected, strict=True)
    rng = np.random.default_rng(1)
    for _ in range(5):
        low = [int(rng.integers(0, n)) for n in expected.shape]
        high = [int(rng.integers(a + 1, n + 1)) for a, n in zip(low, expected.shape, strict=True)]
        region = Region(read, tuple(low), tuple(high))
        np.testing.assert_array_equal(source.read(region), expected[region.slices], strict=True)
    assert len(scenes(path)) == 1
    assert any("no axis y" in note for note in found.notes) == added


def test_sizes_are_in_meters_and_1e_19_is_none(tmp_path: Path) -> None:
    """A depth of 1e-19 m means that nobody measured."""
    found = open_source(saved(tmp_path, lsm(noise(3, 1, 9, 7), "zcyx"))).description
    assert dict(found.voxel_size) == pytest.approx({"z": 1.0, "y": 0.3, "x": 0.2})
    assert found.unit == "micrometer"
    content = lsm(noise(3, 1, 9, 7), "zcyx", VoxelSizeZ=1e-19, VoxelSizeY=0)
    assert dict(open_source(saved(tmp_path, content)).description.voxel_size) == {"x": 0.2}


def test_channels_are_named_by_colours_and_detectors(tmp_path: Path) -> None:
    """Colours, bands of wavelengths, dyes, and the laser where there was only one."""
    records = {
        "ChannelColors": colors(["Ch1-T1", "Ch2-T1"], [(255, 0, 0), (0, 255, 0)]),
        "ChannelWavelength": doubles(np.array([[5e-7, 5.5e-7], [0, 0]])),
        "ScanInformation": scan([("Ch1", "GFP"), ("Ch2", "")], [488.0]),
    }
    found = open_source(saved(tmp_path, lsm(noise(3, 2, 9, 7), "zcyx", records))).description
    first, second = found.channels
    assert (first.name, first.color) == ("Ch1-T1", "FF0000")
    assert first.metadata == {
        "indicator": "GFP",
        "excitation_wavelength_in_nm": 488.0,
        "emission_range_in_nm": [500.0, 550.0],
    }
    assert (second.name, second.color) == ("Ch2-T1", "00FF00")
    assert second.metadata == {"excitation_wavelength_in_nm": 488.0}
    assert found.metadata["objective"] == {"Model": "Plan 20x/0.8"}
    assert found.metadata["acquisition_date"] == "2014-04-03T12:00:00"
    assert (found.metadata["name"], found.metadata["description"]) == ("a name", "a description")
    assert json.loads(json.dumps(dict(found.metadata))) == found.metadata


def test_detectors_that_do_not_fit_name_nothing(tmp_path: Path) -> None:
    """Names of other detectors, or two lasers at once, leave dye or laser open."""
    records = {
        "ChannelColors": colors(["Ch1", "Ch3"], [(255, 0, 0), (0, 0, 0)]),
        "ScanInformation": scan([("Ch1", "GFP"), ("Ch2", "")], [488.0]),
    }
    found = open_source(saved(tmp_path, lsm(noise(3, 2, 9, 7), "zcyx", records))).description
    assert [dict(channel.metadata) for channel in found.channels] == [{}, {}]
    assert found.channels[1].color is None
    records["ChannelColors"] = colors(["Ch1", "Ch2"], [(255, 0, 0), (0, 0, 255)])
    records["ScanInformation"] = scan([("Ch1", "GFP"), ("Ch2", "")], [488.0, 561.0])
    found = open_source(saved(tmp_path, lsm(noise(3, 2, 9, 7), "zcyx", records))).description
    assert [dict(channel.metadata) for channel in found.channels] == [{"indicator": "GFP"}, {}]


def test_time_stamps_tell_uneven_times(tmp_path: Path) -> None:
    """Even ones give the step; others are kept, and the interval that was intended is the step."""

    def described(seconds: Sequence[float], interval: float = 0.0) -> Any:  # noqa: ANN401
        records = {"TimeStamps": times(seconds)}
        content = lsm(noise(3, 1, 9, 7), "tcyx", records, TimeIntervall=interval)
        return open_source(saved(tmp_path, content)).description

    assert described([5, 7, 9.001]).time_step == pytest.approx(2.0005)
    uneven = described([5, 7, 19], 2.0)
    assert (uneven.time_step, uneven.metadata["time_points"]) == (2.0, [0.0, 2.0, 14.0])
    assert "time points are not even: metadata lists them" in uneven.notes
    assert described([5, 7], 2.5).time_step == 2.5
    assert described([5, 7, 19]).time_step is None


@pytest.mark.parametrize("axes", ["pzcyx", "ptcyx", "mpzcyx"])
def test_positions_are_scenes(tmp_path: Path, axes: str) -> None:
    """Each position is an image of its own, with the place where the stage was."""
    array = noise(*(2,) * (len(axes) - 4), 3, 2, 9, 7)
    images = array.reshape(-1, 3, 2, 9, 7)
    places = np.arange(3.0 * len(images)).reshape(-1, 3) * 1e-6
    path = saved(tmp_path, lsm(array, axes, {"Positions": doubles(places)}))
    listed = scenes(path)
    assert [scene.name for scene in listed] == [f"position {i}" for i in range(len(images))]
    assert {scene.axes for scene in listed} == {axes[-4:]}
    with pytest.raises(SourceError, match="choose one with --scene N: 0: position 0"):
        open_source(path)
    for i, image in enumerate(images):
        source = open_source(path, i)
        np.testing.assert_array_equal(whole(source), image, strict=True)
        position = source.description.metadata["stage_position"]
        assert position == {"x": 3.0 * i, "y": 3.0 * i + 1, "z": 3.0 * i + 2, "unit": "micrometer"}
        assert f"one of {len(images)} positions" in source.description.notes[-1]


def test_a_spectral_scan_is_noted(tmp_path: Path) -> None:
    """Its channels are bands of wavelengths."""
    content = lsm(noise(3, 2, 9, 7), "zcyx", SpectralScan=1)
    notes = open_source(saved(tmp_path, content)).description.notes
    assert notes == ("a spectral scan: each channel is a band of wavelengths",)


@pytest.mark.parametrize("at", [0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_a_file_cut_off_is_refused(tmp_path: Path, at: float) -> None:
    """A stack that was cut off is never a shorter stack."""
    data = lsm(noise(6, 2, 40, 30), "zcyx")
    with pytest.raises(SourceError, match=r"a\.lsm"):
        whole(open_source(saved(tmp_path, data[: int(len(data) * at)])))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"DimensionZ": 7}, "needs 7 planes|declares 7 planes"),
        ({"DimensionX": 31}, "do not make up"),
        ({"DimensionChannels": 3}, "declares 9 planes, but has 6"),
        ({"DimensionZ": 2**31 - 1}, "planes|do not make up"),
        ({"ScanType": 77}, "KeyError"),
    ],
    ids=str,
)
def test_a_tag_that_contradicts_the_pages_is_refused(
    tmp_path: Path, values: dict[str, int], reason: str
) -> None:
    """More or larger planes than there are pages are an error."""
    with pytest.raises(SourceError, match=reason):
        open_source(saved(tmp_path, lsm(noise(6, 2, 40, 30), "zcyx", **values)))


def test_a_page_that_was_never_written_is_refused(tmp_path: Path) -> None:
    """An interrupted scan leaves pages without data, which are not the beginning of the file."""
    data = bytearray(lsm(noise(3, 1, 9, 7), "zcyx"))
    with tifffile.TiffFile(io.BytesIO(data)) as tif:
        at = tif.pages[2].tags[273].valueoffset
    struct.pack_into("<I", data, at, 0)
    with pytest.raises(SourceError, match="has no data"):
        open_source(saved(tmp_path, bytes(data)))


def test_threads_share_a_source(tmp_path: Path) -> None:
    """Many threads that read one source at once get what one alone gets."""
    array, axes, _ = SCANS["all axes"]
    source = open_source(saved(tmp_path, lsm(array, axes)))
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(whole, source) for _ in range(16)]
        assert all(np.array_equal(job.result(), array) for job in jobs)


def test_an_ingest_stores_the_voxels(tmp_path: Path) -> None:
    """What zarr reads from the layer is what was scanned."""
    array = noise(2, 3, 2, 20, 30)
    path = saved(tmp_path, lsm(array, "tzcyx", TimeIntervall=2.0))
    root = str(tmp_path / "root")
    assert main(["ingest", path, root, "--as", "demo/mouse/brain"]) == 0
    layer = zarr.open_group(f"{root}/demo/mouse/brain", mode="r")
    np.testing.assert_array_equal(layer["0"][...], array.transpose(0, 2, 1, 3, 4))
    scale = layer.attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]
    assert scale["scale"] == pytest.approx([2.0, 1.0, 1.0, 0.3, 0.2])


@pytest.mark.samples
def test_a_real_file(samples: Path) -> None:
    """One image, its thumbnail left out, reads as tifffile reads it."""
    path = samples / "lsm/test.lsm"
    source = open_source(str(path))
    found = source.description
    assert (found.axes, found.shape, found.dtype) == ("yx", (512, 512), "uint16")
    assert dict(found.voxel_size) == pytest.approx({"y": 0.6918881841365, "x": 0.6918881841365})
    assert (found.unit, len(scenes(str(path)))) == ("micrometer", 1)
    assert [channel.name for channel in found.channels] == ["ChS1"]
    assert found.channels[0].metadata["indicator"] == "Alexa Fluor 568"
    assert found.metadata["acquisition_date"] == "2014-04-03T15:44:37"
    np.testing.assert_array_equal(whole(source), tifffile.imread(path, series=0), strict=True)
