"""ND2: every position, time, depth and channel where it belongs."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nd2
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from microtome_cli.main import main
from microtome_core.errors import MissingMetadata, SourceError
from microtome_core.region import Region
from microtome_ingest.formats import open_source, scenes
from microtome_ingest.options import SourceOptions
from microtome_ingest.resolve import resolve
from microtome_ingest.source import Description, Source
from tests.counted import Counted
from tests.ingest.nd2_made import (
    Recording,
    custom_loop,
    depth_loop,
    noise,
    position_loop,
    time_loop,
)

POINTS = {"left": (-100.0, 50.5, 7.0), "right": (200.0, -3.0, 8.0)}


def whole(source: Source) -> NDArray[Any]:
    """Read all of a source."""
    found = source.description
    return source.read(Region.whole(found.axes, found.shape))


def saved(folder: Path, recording: Recording) -> str:
    """Write a file and return its path."""
    path = folder / "a.nd2"
    path.write_bytes(recording.content())
    return str(path)


def described(folder: Path, recording: Recording) -> Description:
    """Return what microtome says of a recording."""
    return open_source(saved(folder, recording)).description


def judged(path: str) -> NDArray[Any]:
    """Return all voxels as the nd2 library reads them."""
    with nd2.ND2File(path) as file:
        return np.array(file.asarray())


RECORDINGS = {
    "plane": Recording(noise((1, 9, 7, 1, 1))),
    "channels": Recording(noise((1, 9, 7, 3, 1), "uint8")),
    "float": Recording(noise((4, 9, 7, 1, 1), "float32"), [time_loop(4)]),
    "stacks": Recording(noise((6, 9, 7, 2, 1)), [time_loop(2), depth_loop(3)]),
    "depth first": Recording(noise((6, 9, 7, 2, 1)), [depth_loop(3), time_loop(2)]),
    "padded": Recording(noise((3, 9, 7, 2, 1)), [depth_loop(3)], padding=6),
    "compressed": Recording(noise((6, 9, 7, 2, 1)), [time_loop(2), depth_loop(3)], compressed=True),
}


@pytest.mark.parametrize("place", ["local", "remote"])
@pytest.mark.parametrize("name", RECORDINGS)
def test_every_recording_is_read_as_the_library_does(tmp_path: Path, name: str, place: str) -> None:
    """Loops, channels, types, padded and compressed rows, wherever the file lies."""
    recording = RECORDINGS[name]
    path = saved(tmp_path, recording)
    Counted.reset()
    url = Counted.put("a.nd2", recording.content())
    source = open_source(path if place == "local" else url)
    expected = judged(path)
    found = source.description
    assert (found.format, found.shape, found.dtype) == ("ND2", expected.shape, expected.dtype.name)
    np.testing.assert_array_equal(whole(source), expected, strict=True)
    assert source.decoded >= expected.nbytes
    source.close()
    np.testing.assert_array_equal(whole(source), expected)


def test_axes_are_in_the_order_of_the_loops(tmp_path: Path) -> None:
    """The outermost loop comes first; loops of one turn are no axis."""
    axes = {name: described(tmp_path, made).axes for name, made in RECORDINGS.items()}
    assert axes == {
        "plane": "yx",
        "channels": "cyx",
        "float": "tyx",
        "stacks": "tzcyx",
        "depth first": "ztcyx",
        "padded": "zcyx",
        "compressed": "tzcyx",
    }
    once = Recording(noise((3, 9, 7, 1, 1)), [time_loop(1), depth_loop(3)])
    assert described(tmp_path, once).axes == "zyx"


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), compressed=st.booleans(), distant=st.booleans())
def test_any_region_is_a_slice_of_the_whole(
    tmp_path: Path, data: st.DataObject, compressed: bool, distant: bool
) -> None:
    """Whatever is asked of time, depth, channels, rows and columns."""
    frames = noise((6, 19, 17, 3, 1))
    recording = Recording(frames, [time_loop(2), depth_loop(3)], compressed, padding=4)
    Counted.reset()
    url = Counted.put("a.nd2", recording.content())
    voxels = frames[..., 0].transpose(0, 3, 1, 2).reshape(2, 3, 3, 19, 17)
    edges = [
        sorted(data.draw(st.sets(st.integers(0, n), min_size=2, max_size=2))) for n in voxels.shape
    ]
    region = Region("tzcyx", tuple(e[0] for e in edges), tuple(e[1] for e in edges))
    source = open_source(url if distant else saved(tmp_path, recording))
    np.testing.assert_array_equal(source.read(region), voxels[region.slices], strict=True)


def positions(**more: Any) -> Recording:  # noqa: ANN401
    """Return a recording of two positions at three times."""
    return Recording(noise((6, 9, 7, 1, 1)), [time_loop(3), position_loop(POINTS)], **more)


def test_each_position_is_an_image(tmp_path: Path) -> None:
    """With its name and its place; none is taken unasked."""
    recording = positions()
    path = saved(tmp_path, recording)
    assert [(one.name, one.axes, one.shape) for one in scenes(path)] == [
        ("left", "tyx", (3, 9, 7)),
        ("right", "tyx", (3, 9, 7)),
    ]
    with pytest.raises(SourceError, match="2 positions, choose with --scene N: 0: left, 1: right"):
        open_source(path)
    with pytest.raises(SourceError, match="no scene 2"):
        open_source(path, 2)
    for i, (name, (x, y, z)) in enumerate(POINTS.items()):
        source = open_source(path, i)
        found = source.description
        np.testing.assert_array_equal(whole(source), recording.frames[i::2, ..., 0, 0])
        place = {"x": x, "y": y, "z": z, "unit": "micrometer"}
        assert (found.image, found.metadata["name"]) == (str(i), name)
        assert found.metadata["stage_position"] == place


def test_colours_come_as_red_green_blue(tmp_path: Path) -> None:
    """NIS-Elements stores blue first, and that is told."""
    frames = noise((2, 9, 7, 1, 3), "uint8")
    source = open_source(saved(tmp_path, Recording(frames, [time_loop(2)])))
    found = source.description
    assert (found.axes, found.shape) == ("tyxs", (2, 9, 7, 3))
    assert "blue first" in found.notes[0]
    np.testing.assert_array_equal(whole(source), frames[:, :, :, 0, ::-1])
    green = source.read(Region("tyxs", (0, 2, 1, 1), (1, 5, 6, 2)))
    np.testing.assert_array_equal(green, frames[:1, 2:5, 1:6, 0, 1:2])


def test_what_the_file_says_is_kept(tmp_path: Path) -> None:
    """Voxel size, channels, wavelengths, objective, place, date, and all else verbatim."""
    found = described(tmp_path, RECORDINGS["stacks"])
    assert (found.voxel_size, found.unit) == ({"z": 2.0, "y": 0.25, "x": 0.25}, "micrometer")
    assert found.block == (1, 1, 2, 9, 7)
    first, second = found.channels
    assert (first.name, first.color, second.name) == ("dye 0", "FF1020", "dye 1")
    assert second.metadata["excitation_wavelength_in_nm"] == 489
    assert second.metadata["emission_wavelength_in_nm"] == 521
    kept = dict(found.metadata)
    verbatim = kept.pop("ND2")
    assert json.loads(json.dumps(verbatim)) == verbatim
    picture = verbatim["chunks"]["ImageMetadataSeqLV|0"]["SLxPictureMetadata"]
    assert picture["dCalibration"] == 0.25
    assert kept == {
        "acquisition_date": "2014-06-18T18:00:00+00:00",
        "significant_bits": 16,
        "objective": {"Model": "Plan 60x", "NominalMagnification": 60, "LensNA": 1.2},
        "stage_position": {"x": -5, "y": 6.5, "z": 7, "unit": "micrometer"},
    }


def test_sizes_that_nobody_measured_stay_open(tmp_path: Path) -> None:
    """Without a calibration the library says 1, which is no size."""
    recording = Recording(noise((1, 9, 7, 1, 1)), metadata={"bCalibrated": False})
    assert described(tmp_path, recording).voxel_size == {}


@pytest.mark.parametrize(
    ("times", "period", "step", "noted"),
    [
        ([5.0, 1005.0, 2005.0], 0.0, 1.0, False),
        ([], 500.0, 0.5, False),
        ([], 0.0, None, False),
        ([0.0, 1000.0, 9000.0], 0.0, None, True),
        ([0.0, 960.0, 2050.0], 1000.0, 1.0, True),
        ([0.0, 0.0, 0.0], 0.0, None, False),
    ],
)
def test_times_are_those_that_were_measured(
    tmp_path: Path, times: list[float], period: float, step: float | None, noted: bool
) -> None:
    """A period of 0 is none; even times give a step, others are kept one by one."""
    recording = Recording(noise((3, 9, 7, 1, 1)), [time_loop(3, period)], times=times)
    found = described(tmp_path, recording)
    assert found.time_step == step
    kept = found.metadata.get("time_points")
    assert kept == ([one / 1000 for one in times] if noted else None)
    assert any("not even" in note for note in found.notes) == noted


def test_times_are_those_of_the_position(tmp_path: Path) -> None:
    """Frames of other positions lie between."""
    times = [0.0, 300.0, 1000.0, 1500.0, 2000.0, 2500.0]
    path = saved(tmp_path, positions(times=times))
    assert open_source(path, 0).description.time_step == 1
    assert open_source(path, 1).description.metadata["time_points"] == [0.3, 1.5, 2.5]


def test_a_loop_over_nobody_knows_what_is_asked_about(tmp_path: Path) -> None:
    """Its axis is open, and so is the second loop over time."""
    frames = noise((6, 9, 7, 1, 1))
    for loops in ([time_loop(2), custom_loop(3)], [time_loop(2), depth_loop(1), time_loop(3)]):
        found = described(tmp_path, Recording(frames, loops))
        assert (found.axes, found.shape) == ("tqyx", (2, 3, 9, 7))
        with pytest.raises(MissingMetadata, match="--axes"):
            resolve(found, SourceOptions())


def test_frames_that_loops_do_not_explain_are_one_open_axis(tmp_path: Path) -> None:
    """After a pause or an edit the library would drop 9 of 12 frames."""
    frames = noise((12, 9, 7, 1, 1))
    path = saved(tmp_path, Recording(frames, [depth_loop(3)]))
    assert judged(path).shape == (3, 9, 7)
    source = open_source(path)
    assert (source.description.axes, source.description.shape) == ("qyx", (12, 9, 7))
    assert "(z 3) explain 3 of 12 frames" in source.description.notes[0]
    np.testing.assert_array_equal(whole(source), frames[..., 0, 0])
    cut = Recording(frames, [depth_loop(3)], missing=[11])
    with pytest.raises(SourceError, match="says that it has 12 frames, but holds 11"):
        open_source(saved(tmp_path, cut))


def test_a_file_without_its_end_is_called_truncated(tmp_path: Path) -> None:
    """There the map of its chunks lies; the library speaks of a signature."""
    path = Path(saved(tmp_path, Recording(noise((3, 9, 7, 1, 1)), [depth_loop(3)])))
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(SourceError, match=r"no map of its chunks .* truncated"):
        open_source(str(path))


def test_masks_that_are_not_read_are_told(tmp_path: Path) -> None:
    """Binary layers have no place in the image."""
    chunks = {b"CustomDataSeq|RleZipBinarySequence_1|0!": b"x"}
    notes = described(tmp_path, Recording(noise((1, 9, 7, 1, 1)), chunks=chunks)).notes
    assert "binary layers" in notes[0]


def test_a_line_scan_has_no_y(tmp_path: Path) -> None:
    """Rows that were taken one after the other are not claimed to lie side by side."""
    recording = Recording(noise((1, 9, 7, 1, 1)), metadata={"ePictureYAxis": 2})
    found = described(tmp_path, recording)
    assert found.axes == "qx"
    assert "line scan" in found.notes[0]


def test_components_that_are_no_colours_are_channels(tmp_path: Path) -> None:
    """As the library has them, without the names of fewer channels, which is told."""
    frames = noise((1, 9, 7, 2, 2))
    source = open_source(saved(tmp_path, Recording(frames)))
    found = source.description
    assert (found.axes, found.shape, found.channels) == ("cyx", (4, 9, 7), ())
    assert "4 components of 2 channels" in found.notes[0]
    expected = frames.reshape(9, 7, 4).transpose(2, 0, 1)
    np.testing.assert_array_equal(whole(source), expected)


def test_threads_share_a_source(tmp_path: Path) -> None:
    """Many threads that read at once get what one alone gets."""
    for name in ("stacks", "compressed"):
        path = saved(tmp_path, RECORDINGS[name])
        expected = judged(path)
        source = open_source(path)
        with ThreadPoolExecutor(8) as pool:
            jobs = [pool.submit(whole, source) for _ in range(32)]
            assert all(np.array_equal(job.result(), expected) for job in jobs)


def test_a_small_region_takes_a_small_part_of_the_bytes() -> None:
    """Of 8 MB a few rows of two frames fetch less than a tenth, opening included."""
    recording = Recording(noise((16, 512, 512, 1, 1)), [depth_loop(16)])
    content = recording.content()
    Counted.reset()
    source = open_source(Counted.put("a.nd2", content))
    region = Region("zyx", (3, 100, 200), (5, 110, 300))
    np.testing.assert_array_equal(source.read(region), recording.frames[..., 0, 0][region.slices])
    assert 0 < Counted.fetched() < len(content) / 10


def test_a_recording_comes_out_of_the_store(tmp_path: Path) -> None:
    """What was recorded is what zarr-python reads of the layer, in t, c, z, y, x."""
    made = RECORDINGS["compressed"]
    root = tmp_path / "root"
    assert main(["ingest", saved(tmp_path, made), str(root), "--as", "lab/mouse/brain"]) == 0
    stored = zarr.open_group(str(root / "lab/mouse/brain"), mode="r")["0"]
    expected = made.frames[..., 0].reshape(2, 3, 9, 7, 2).transpose(0, 4, 1, 2, 3)
    np.testing.assert_array_equal(np.asarray(stored[...]), expected)  # type: ignore[index]


@pytest.mark.samples
@pytest.mark.parametrize("place", ["local", "remote"])
def test_the_sample_reads_as_the_library_does(samples: Path, place: str) -> None:
    """All voxels are nd2's; sizes, channels and times are the manifest's and the file's."""
    path = samples / "nd2/cluster.nd2"
    Counted.reset()
    source = open_source(str(path) if place == "local" else Counted.put("a", path.read_bytes()))
    found = source.description
    assert (found.axes, found.shape, found.dtype) == ("tzcyx", (3, 10, 2, 31, 38), "uint16")
    np.testing.assert_array_equal(whole(source), judged(str(path)), strict=True)
    assert found.voxel_size["x"] == pytest.approx(0.1678, abs=1e-4)
    assert (found.voxel_size["z"], found.unit) == (0.5, "micrometer")
    assert found.time_step == pytest.approx(10.65, abs=0.01)
    assert [c.name for c in found.channels] == ["5-FAM/pH 9.0", "FM 4-64/2% CHAPS"]
    assert [c.metadata["emission_wavelength_in_nm"] for c in found.channels] == [525, 700]
    assert found.metadata["significant_bits"] == 12
    assert found.metadata["objective"]["Model"] == "Plan Apo λ 60x"
    assert found.metadata["instrument"]["Detector"] == "Nikon A1plus"
    assert found.metadata["acquisition_date"] == "2014-06-18T13:55:23+00:00"
    with nd2.ND2File(str(path)) as file:
        seconds = [record["Time [s]"] for record in file.events()[::10]]
    assert np.diff(seconds) == pytest.approx(found.time_step, rel=0.01)
