"""NWB: every image of a file in the axes of the schema, with plane, times, session and subject."""

import io
import json
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
from microtome_ingest.source import Description, Source
from tests.counted import Counted

# frame, x, y
VOXELS = np.random.default_rng(5).integers(0, 4000, (12, 20, 16), "uint16")
PLANE = "/general/optophysiology/plane"
SERIES = "acquisition/movie"
Edit = Callable[[Any], None]


def typed(group: Any, name: str, kind: str, **words: object) -> Any:  # noqa: ANN401
    """Return a new group of a type."""
    found = group.require_group(name)
    found.attrs.update({"neurodata_type": kind, "namespace": "core", **words})
    return found


def series(
    file: Any,  # noqa: ANN401
    name: str = SERIES,
    kind: str = "TwoPhotonSeries",
    data: NDArray[Any] | None = VOXELS,
    rate: float | None = 20.0,
) -> Any:  # noqa: ANN401
    """Write an image series as the schema lays it out."""
    found = typed(file, name, kind, description="a movie", comments="no comments")
    if data is not None:
        chunk = (min(4, len(data)), *data.shape[1:])
        layout = {"chunks": chunk, "compression": "gzip"} if data.size else {}
        found.create_dataset("data", data=data, **layout)
        found["data"].attrs.update({"conversion": 1.0, "offset": 0.0, "unit": "n.a."})
    if rate is not None:
        found["starting_time"] = 3.5
        found["starting_time"].attrs.update({"rate": rate, "unit": "seconds"})
    return found


def write(file: Any) -> None:  # noqa: ANN401
    """Write a session with a subject, a plane, and one movie of it."""
    file.attrs.update({"nwb_version": "2.7.0", "neurodata_type": "NWBFile", "namespace": "core"})
    file["identifier"] = "mouse-7"
    file["session_description"] = "looking at gratings"
    file["session_start_time"] = "2022-03-04T05:06:07+01:00"
    file["file_create_date"] = np.array(["2022-03-05T00:00:00Z"], h5py.string_dtype())
    file["general/lab"] = "north"
    subject = typed(file, "general/subject", "Subject")
    subject["species"], subject["age"] = "Mus musculus", "P90D"
    device = typed(file, "general/devices/scope", "Device", manufacturer="Thor")
    plane = typed(file, PLANE, "ImagingPlane")
    plane["indicator"], plane["location"] = "GCaMP6s", "V1"
    plane["excitation_lambda"] = 920.0
    plane["grid_spacing"] = np.array([2.0, 1.5], "float32")
    plane["grid_spacing"].attrs["unit"] = "micrometers"
    plane["device"] = h5py.SoftLink(device.name)
    typed(plane, "green", "OpticalChannel")["emission_lambda"] = 510.0
    series(file)["imaging_plane"] = h5py.SoftLink(PLANE)


def content(*edits: Edit) -> bytes:
    """Return a file after edits."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        write(file)
        for edit in edits:
            edit(file)
    return stream.getvalue()


def saved(tmp_path: Path, *edits: Edit) -> str:
    """Write a file and return its path."""
    path = tmp_path / "a.nwb"
    path.unlink(missing_ok=True)
    path.write_bytes(content(*edits))
    return str(path)


def whole(source: Source) -> NDArray[Any]:
    """Read all of a source."""
    found = source.description
    return source.read(Region.whole(found.axes, found.shape))


def described(path: str, scene: int | None = None) -> Description:
    """Open and close an image."""
    source = open_source(path, scene)
    source.close()
    return source.description


@pytest.mark.parametrize("place", ["local", "remote"])
@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_region_of_a_movie(tmp_path: Path, place: str, data: st.DataObject) -> None:
    """A region is the array's, in its own order: frame, x, y."""
    Counted.reset()
    file = content()
    (tmp_path / "a.nwb").write_bytes(file)
    source = open_source(str(tmp_path / "a.nwb") if place == "local" else Counted.put("a", file))
    found = source.description
    assert (found.axes, found.shape, found.dtype) == ("txy", VOXELS.shape, "uint16")
    assert (found.format, found.block) == ("NWB", (4, 20, 16))
    edges = [
        sorted(data.draw(st.sets(st.integers(0, n), min_size=2, max_size=2))) for n in VOXELS.shape
    ]
    region = Region("txy", tuple(e[0] for e in edges), tuple(e[1] for e in edges))
    voxels = source.read(region)
    np.testing.assert_array_equal(voxels, VOXELS[region.slices], strict=True)
    assert voxels.nbytes <= source.decoded <= VOXELS.nbytes
    source.close()
    source.close()
    np.testing.assert_array_equal(whole(source), VOXELS)
    source.close()


def test_what_the_file_says_is_kept(tmp_path: Path) -> None:
    """Grid, rate, channel, device and date have their places; session and subject stay verbatim."""
    found = described(saved(tmp_path))
    assert found.voxel_size == {"x": 2.0, "y": 1.5}
    assert (found.unit, found.time_step) == ("micrometer", 0.05)
    [channel] = found.channels
    assert channel.name == "green"
    assert channel.metadata == {
        "excitation_wavelength_in_nm": 920.0,
        "emission_wavelength_in_nm": 510.0,
        "indicator": "GCaMP6s",
        "location": "V1",
    }
    kept = dict(found.metadata)
    verbatim = kept.pop("NWB")
    assert kept == {
        "name": "movie",
        "description": "a movie",
        "acquisition_date": "2022-03-04T05:06:07+01:00",
        "instrument": {"name": "scope", "manufacturer": "Thor"},
    }
    assert json.loads(json.dumps(verbatim)) == verbatim
    assert verbatim["path"] == "/acquisition/movie/data"
    assert verbatim["session"]["identifier"] == "mouse-7"
    assert verbatim["session"]["file_create_date"] == ["2022-03-05T00:00:00Z"]
    assert verbatim["general"] == {"lab": "north"}
    assert verbatim["subject"]["species"] == "Mus musculus"
    assert verbatim["imaging_plane"]["device"] == "-> /general/devices/scope"
    assert verbatim["image"]["starting_time"] == {"rate": 20.0, "unit": "seconds", "value": 3.5}
    assert "--axes tyx" in found.notes[0]


def space(**words: object) -> Edit:
    """Return an edit of what measures the movie; None takes a dataset of the plane away."""

    def edit(file: Any) -> None:  # noqa: ANN401
        del file[PLANE]["grid_spacing"]
        for name, value in words.items():
            where = file[SERIES] if name == "field_of_view" else file[PLANE]
            if name == "unit":
                file[PLANE]["grid_spacing"].attrs["unit"] = value
            else:
                where[name] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "sizes", "unit"),
    [
        (space(), {}, None),
        (space(grid_spacing=[2e-6, 1e-6]), {"x": 2e-6, "y": 1e-6}, "meter"),
        (space(grid_spacing=[2.0, 1.0, 4.0], unit="um"), {"x": 2.0, "y": 1.0}, "micrometer"),
        (space(grid_spacing=[2.0, 1.0], unit="n.a."), {"x": 2.0, "y": 1.0}, None),
        (space(grid_spacing=[0.0, np.nan]), {}, None),
        (space(field_of_view=[4e-4, 3.2e-4]), {"x": 2e-5, "y": 2e-5}, "meter"),
        (space(field_of_view=[4e-4, 3.2e-4], grid_spacing=[1e-6, 1e-6]), {"x": 1e-6, "y": 1e-6},
         "meter"),
    ],
)  # fmt: skip
def test_the_grid_measures_voxels_before_the_field_of_view(
    tmp_path: Path, edit: Edit, sizes: dict[str, float], unit: str | None
) -> None:
    """In meters unless the file says otherwise; without either the size stays open."""
    found = described(saved(tmp_path, edit))
    assert found.voxel_size == pytest.approx(sizes, rel=1e-9)
    assert found.unit == unit


def stamped(times: object) -> Edit:
    """Return an edit that puts timestamps in place of a rate."""

    def edit(file: Any) -> None:  # noqa: ANN401
        del file[SERIES]["starting_time"]
        file[SERIES]["timestamps"] = times

    return edit


UNEVEN = [*np.arange(11) * 0.5, 9.0]


@pytest.mark.parametrize(
    ("edit", "step", "note"),
    [
        (stamped(np.arange(12) * 0.5 + 7), 0.5, None),
        (stamped(np.arange(12) * 0.5 + np.tile([0, 1e-4], 6)), 0.50000909, None),
        (stamped(UNEVEN), None, "not even"),
        (stamped(np.arange(9.0)), None, "9 timestamps for 12 frames"),
        (stamped(h5py.ExternalLink("other.nwb", "/times")), None, "in 'other.nwb'"),
        (stamped(h5py.SoftLink("/elsewhere")), 0.25, None),
        (lambda file: file[SERIES]["starting_time"].attrs.update({"rate": 0.0}), None, None),
    ],
)
def test_times_are_even_or_kept_each(
    tmp_path: Path, edit: Edit, step: float | None, note: str | None
) -> None:
    """A rate or even timestamps give the time step; uneven ones are listed, others told."""

    def elsewhere(file: Any) -> None:  # noqa: ANN401
        file["elsewhere"] = np.arange(12) * 0.25

    found = described(saved(tmp_path, elsewhere, edit))
    assert found.time_step == (None if step is None else pytest.approx(step, rel=1e-6))
    assert any(note in text for text in found.notes[1:]) if note else len(found.notes) == 1
    assert found.metadata.get("time_points") == (UNEVEN if note == "not even" else None)


def test_a_conversion_is_told_and_not_applied(tmp_path: Path) -> None:
    """Voxels stay as they are stored; factor, offset and unit are in a note."""

    def scaled(file: Any) -> None:  # noqa: ANN401
        file[f"{SERIES}/data"].attrs.update({"conversion": 0.5, "offset": 3.0, "unit": "volts"})

    found = described(saved(tmp_path, scaled))
    assert "in volts they are 0.5 times that, plus 3.0" in found.notes[1]


def test_a_type_that_is_not_stored_is_named(tmp_path: Path) -> None:
    """A movie of half floats is refused by its type."""

    def halves(file: Any) -> None:  # noqa: ANN401
        del file[SERIES]
        series(file, data=np.zeros((4, 5, 6), "float16"))

    with pytest.raises(SourceError, match="/acquisition/movie has dtype float16"):
        open_source(saved(tmp_path, halves))


@pytest.mark.parametrize("at", [0.05, 0.3, 0.6, 0.9, 0.999])
def test_a_file_cut_off_is_refused(tmp_path: Path, at: float) -> None:
    """Wherever it ends and wherever it lies."""
    data = content()
    cut = data[: int(len(data) * at)]
    Counted.reset()
    (tmp_path / "a.nwb").write_bytes(cut)
    for path in (str(tmp_path / "a.nwb"), Counted.put("a.nwb", cut)):
        with pytest.raises(SourceError, match=r"a\.nwb"):
            whole(open_source(path))


@pytest.mark.parametrize("place", ["local", "remote"])
@pytest.mark.timeout(60)
def test_a_damaged_heap_of_texts_is_an_error(tmp_path: Path, place: str) -> None:
    """HDF5 would walk on the spot for ever where an object of the heap has no size."""
    data = bytearray(content())
    at = data.index(b"GCOL")
    data[at + 16 : at + 400] = bytes(384)
    Counted.reset()
    (tmp_path / "a.nwb").write_bytes(data)
    path = str(tmp_path / "a.nwb") if place == "local" else Counted.put("a.nwb", bytes(data))
    with pytest.raises(SourceError, match=rf"global heap at {at}: object at 16: damaged"):
        open_source(path)


def test_threads_share_a_source(tmp_path: Path) -> None:
    """Many threads that read one source at once get what one alone gets."""
    source = open_source(saved(tmp_path))
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(whole, source) for _ in range(16)]
        assert all(np.array_equal(job.result(), VOXELS) for job in jobs)


def test_ingest_writes_what_was_written(tmp_path: Path) -> None:
    """Every voxel arrives, turned to t y x, with the size, rate and channel of the file."""
    words = ["ingest", saved(tmp_path), str(tmp_path / "root"), "--as", "a/b/c"]
    assert main(words) == 0
    layer = zarr.open_group(tmp_path / "root/a/b/c", mode="r")
    np.testing.assert_array_equal(np.asarray(layer["0"][...]), VOXELS.swapaxes(1, 2))  # type: ignore[index]
    ome: Any = layer.attrs["ome"]
    level = ome["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]
    assert level["scale"] == [0.05, 1.5, 2.0]
    assert [channel["label"] for channel in ome["omero"]["channels"]] == ["green"]


@pytest.mark.samples
def test_real_files_are_read_or_say_what_they_hold(samples: Path) -> None:
    """One sample has a movie, three are of films in other files, the rest have no images."""
    folder = samples / "nwb/pynwb"
    path = folder / "1.5.1_imageseries_no_unit.nwb"
    assert format_of(str(path)).name == "NWB"
    source = open_source(str(path))
    found = source.description
    assert (found.axes, found.shape, found.dtype) == ("txy", (3, 3, 3), "float64")
    assert (found.time_step, found.voxel_size) == (1.0, {})
    with h5py.File(path) as file:
        np.testing.assert_array_equal(whole(source), file["acquisition/test_imageseries/data"][...])
    for file in sorted(folder.glob("*imageseries_no*")):
        if file != path:
            with pytest.raises(SourceError, match="has its frames in 'external_file'"):
                scenes(str(file))
    for file in (folder / "1.0.2_nwbfile.nwb", *samples.glob("nwb/sub*.nwb")):
        with pytest.raises(SourceError, match="no images of its own: it holds"):
            open_source(str(file))
