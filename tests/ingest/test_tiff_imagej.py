"""ImageJ and ScanImage: metadata are believed as far as the file bears them out."""

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile

from microtome_core.errors import SourceError
from microtome_core.region import Region
from microtome_ingest.sources.tiff import open_image

PLANES = np.random.default_rng(3).integers(0, 60000, (12, 20, 30), "uint16")
RAMP = np.arange(256, dtype="uint8")


def image(path: Path, **metadata: object) -> str:
    """Write an ImageJ hyperstack of 2 time points, 3 slices and 2 channels."""
    data = PLANES.reshape(2, 3, 2, 20, 30)
    tifffile.imwrite(path, data, imagej=True, resolution=(4.0, 5.0),
                     metadata={"axes": "TZCYX", **metadata})  # fmt: skip
    return str(path)


def described(path: Path, text: str) -> str:
    """Write one page behind ImageJ's description `text`."""
    tifffile.imwrite(path, PLANES[0], description=text, metadata=None)
    return str(path)


def test_calibration_channels_and_time_are_carried(tmp_path: Path) -> None:
    """Spacing, unit, finterval, ranges and lookup tables come with the voxels."""
    zero = np.zeros_like(RAMP)
    path = image(
        tmp_path / "a.tif", spacing=2.5, unit="\\u00B5m", finterval=0.5,
        Ranges=(10.0, 200.0, 0.0, 4095.0),
        LUTs=[np.stack([RAMP, zero, zero]), np.stack([zero, RAMP, RAMP])],
    )  # fmt: skip
    found = open_image(path).description
    assert (found.format, found.axes, found.shape) == ("ImageJ TIFF", "tzcyx", (2, 3, 2, 20, 30))
    assert found.voxel_size == pytest.approx({"z": 2.5, "y": 0.2, "x": 0.25})
    assert (found.unit, found.time_step) == ("micrometer", 0.5)
    assert [c.color for c in found.channels] == ["FF0000", "00FFFF"]
    assert [c.window for c in found.channels] == [(10.0, 200.0), (0.0, 4095.0)]
    assert found.metadata["ImageJ"]["finterval"] == 0.5


@pytest.mark.parametrize(
    ("unit", "name"), [("micron", "micrometer"), ("nm", "nanometer"), ("", None)]
)
def test_units_however_spelt(tmp_path: Path, unit: str, name: str | None) -> None:
    """A unit's spelling does not matter; without one the numbers stay, and the unit is open."""
    found = open_image(image(tmp_path / "a.tif", spacing=2.0, unit=unit)).description
    assert found.unit == name
    assert found.voxel_size["z"] == 2.0


def test_pixel_is_no_unit(tmp_path: Path) -> None:
    """An image in pixels has no voxel size."""
    assert not open_image(
        image(tmp_path / "a.tif", spacing=2.0, unit="pixel")
    ).description.voxel_size


def test_a_stack_of_more_than_4_gb_behind_one_page(tmp_path: Path) -> None:
    """ImageJ describes planes beyond 4 GiB by their number alone; the last one reads."""
    path, count, side = tmp_path / "a.tif", 1100, 2048
    text = f"ImageJ=1.53t\nimages={count}\nslices={count}\nunit=micron\nspacing=2\n"
    tifffile.imwrite(path, np.ones((side, side), "uint8"), description=text, metadata=None)
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages.first.dataoffsets[0]
    last = np.random.default_rng(0).integers(0, 255, (side, side), "uint8")
    with path.open("r+b") as file:
        file.truncate(offset + count * side * side)
        file.seek(offset + (count - 1) * side * side)
        file.write(last.tobytes())
    source = open_image(str(path))
    assert (source.description.axes, source.description.shape) == ("zyx", (count, side, side))
    end = source.read(Region("zyx", (count - 1, 0, 0), (count, side, side)))
    np.testing.assert_array_equal(end[0], last)
    assert source.read(Region("zyx", (0, 0, 0), (1, 1, 1))) == 1


@pytest.mark.parametrize("words", ["slices=9", "frames=9", "slices=3\nframes=3", "hyperstack=true"])
def test_a_false_number_of_images_is_refused(tmp_path: Path, words: str) -> None:
    """``images=`` beyond what the file holds is an error, never a single plane."""
    with pytest.raises(SourceError, match=r"planes|corrupted"):
        open_image(described(tmp_path / "a.tif", f"ImageJ=1.53t\nimages=9\n{words}\n"))


def test_images_alone_count_along_an_open_axis(tmp_path: Path) -> None:
    """Old ImageJ names neither slices nor frames: the axis stays open."""
    path = tmp_path / "a.tif"
    described(path, "ImageJ=1.40g\nimages=3\n")
    with path.open("ab") as file:
        file.write(b"\0" * 2 * PLANES[0].nbytes)
    found = open_image(str(path)).description
    assert (found.axes, found.shape) == ("qyx", (3, 20, 30))


def test_half_a_stack_is_refused(tmp_path: Path) -> None:
    """A hyperstack cut in the middle never becomes a shorter one."""
    path = Path(image(tmp_path / "a.tif"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SourceError, match=r"a\.tif"):
        open_image(str(path))


def scanimage(path: Path, frames: int, software: str) -> str:
    """Write frames as ScanImage does, negative values among them."""
    data = PLANES[:frames].astype("int16") - 100
    with tifffile.TiffWriter(path) as writer:
        for frame in data:
            writer.write(frame, contiguous=False, metadata=None, software=software, description="x")
    return str(path)


def test_scanimage_keeps_negative_values_and_an_open_axis(tmp_path: Path) -> None:
    """int16 stays int16, and frames are not guessed to be time or depth."""
    source = open_image(scanimage(tmp_path / "a.tif", 6, "SI.hChannels.channelSave = 1\n"))
    assert (source.description.axes, source.description.dtype) == ("iyx", "int16")
    voxels = source.read(Region.whole("iyx", source.description.shape))
    np.testing.assert_array_equal(voxels, PLANES[:6].astype("int16") - 100)


def test_scanimage_channels_are_taken_apart(tmp_path: Path) -> None:
    """Saved channels alternate; a frame too few is a file cut off."""
    software = "SI.hChannels.channelSave = [1;2]\n"
    source = open_image(scanimage(tmp_path / "a.tif", 6, software))
    assert (source.description.axes, source.description.shape) == ("icyx", (3, 2, 20, 30))
    with pytest.raises(SourceError, match="5 frames of 2 channels"):
        open_image(scanimage(tmp_path / "b.tif", 5, software))


def bigtiff(path: Path, frames: int, keys: dict[str, object]) -> str:
    """Write ScanImage's own BigTIFF, whose header holds the keys that do not vary."""
    text = "\n".join(f"{key} = {value}" for key, value in keys.items()).encode() + b"\0"
    first = -(-(32 + len(text) + 2) // 8) * 8
    software = b"SI.VERSION_MAJOR = 2020\0"
    body = b""
    for i in range(frames):
        at = first + len(body)
        voxels = (PLANES[i].astype("<i2") - 100).tobytes()
        tags = [(256, 4, 1, 30), (257, 4, 1, 20), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1),
                (273, 16, 1, at + len(software)), (277, 3, 1, 1), (278, 4, 1, 20),
                (279, 16, 1, len(voxels)), (305, 2, len(software), at), (339, 3, 1, 2)]  # fmt: skip
        directory = struct.pack("<Q", len(tags)) + b"".join(struct.pack("<HHQQ", *t) for t in tags)
        end = at + len(software) + len(voxels) + len(directory) + 8
        directory += struct.pack("<Q", 0 if i == frames - 1 else end + len(software) + len(voxels))
        body += software + voxels + directory
    head = b"II" + struct.pack("<HHHQ", 43, 8, 0, first + len(software) + PLANES[0].nbytes)
    head += struct.pack("<IIII", 117637889, 4, len(text), 2)
    path.write_bytes((head + text + b"{}").ljust(first, b"\0") + body)
    return str(path)


FIELD = {"SI.hRoiManager.imagingFovUm": "[-30 -20;30 -20;30 20;-30 20]"}


@pytest.mark.parametrize(
    ("keys", "axes", "shape"),
    [
        ({"channelSave": "[1;2]", "frames": "Inf", "slices": 1}, "tcyx", (6, 2, 20, 30)),
        ({"channelSave": "1", "frames": 1, "slices": 12}, "zyx", (12, 20, 30)),
        ({"channelSave": "1", "frames": 1, "slices": 3}, "tzyx", (4, 3, 20, 30)),
        ({"channelSave": "[1;2]", "frames": 1, "slices": 3}, "tzcyx", (2, 3, 2, 20, 30)),
        ({"channelSave": "1", "frames": 1, "slices": 5}, "iyx", (12, 20, 30)),
    ],
)
def test_scanimage_volumes_are_taken_apart(
    tmp_path: Path, keys: dict[str, object], axes: str, shape: tuple[int, ...]
) -> None:
    """Slices, volumes and channels become axes where the counts fit; else the axis stays open."""
    path = bigtiff(tmp_path / "a.tif", 12, {
        "SI.hChannels.channelSave": keys["channelSave"],
        "SI.hStackManager.framesPerSlice": keys["frames"],
        "SI.hStackManager.numSlices": keys["slices"],
        "SI.hStackManager.stackZStepSize": 2.5,
        "SI.hRoiManager.scanFrameRate": 40,
        "SI.hRoiManager.scanVolumeRate": 8,
        **FIELD,
    })  # fmt: skip
    source = open_image(path)
    found = source.description
    assert (found.axes, found.shape, found.dtype) == (axes, shape, "int16")
    voxels = source.read(Region.whole(axes, shape)).reshape(12, 20, 30)
    np.testing.assert_array_equal(voxels, PLANES.astype("int16") - 100)
    assert (found.voxel_size["y"], found.voxel_size["x"], found.unit) == (2.0, 2.0, "micrometer")
    steps = {"tcyx": 1 / 40, "tzyx": 1 / 8, "tzcyx": 1 / 8}
    assert found.time_step == steps.get(axes)
