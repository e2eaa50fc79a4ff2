"""Recordings of folders of trials: what is stored, and that every file comes back to the byte."""

import asyncio
import io
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from microtome_core.errors import Conflict, NotFound, RegionError, SourceError, Withheld
from microtome_core.names import LayerId
from microtome_core.store.array import Codec
from microtome_core.store.location import Store
from microtome_core.store.record_changes import change_record, history
from microtome_core.store.recording import Recording
from microtome_core.store.recordings import is_recording, read_recording
from microtome_ingest.export.sensorium import export_sensorium
from microtome_ingest.files import Files
from microtome_ingest.observer import Observer
from microtome_ingest.recordings.job import Outcome, RecordingOptions, ingest_recording
from microtome_ingest.recordings.survey import survey
from microtome_ingest.recordings.verify import check_recording
from tests.sensorium_folders import Mouse, arrays_of, files_of, loaded, npy, write_folder, write_zip

MOUSE = Mouse()
LAYER = LayerId("sensorium", "mouse-a", "recording")


def made(path: Path, store: Store, layer: LayerId = LAYER, *, restart: bool = False) -> Outcome:
    """Ingest a folder or zip."""
    chosen = RecordingOptions(grace=0.0, threads=2, restart=restart)
    return ingest_recording(survey(str(path), Files()), store, layer, chosen, Observer())


def files_in(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder by its path below it."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def fortran(values: NDArray[Any]) -> bytes:
    """Return an NPY file in Fortran order."""
    stream = io.BytesIO()
    np.save(stream, np.asfortranarray(values))
    assert b"'fortran_order': True" in stream.getvalue()
    return stream.getvalue()


@pytest.fixture(scope="module")
def mouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write one folder that no test changes."""
    return write_folder(tmp_path_factory.mktemp("mouse") / "mouse", MOUSE)


@pytest.fixture(scope="module")
def recording(mouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Ingest it once."""
    return made(mouse, Store(str(tmp_path_factory.mktemp("root")))).recording


def test_a_trial_is_read_without_its_padding(recording: Recording) -> None:
    """Every array of every trial has its values, dtype and true length; NaN within it is data."""
    for trial, tier in enumerate(MOUSE.tiers()):
        for variable, values in arrays_of(MOUSE, trial).items():
            if variable == "responses" and "test" in tier:
                continue
            expected = values[..., : MOUSE.valid()[trial]]
            found = asyncio.run(recording.read(variable, trial))
            np.testing.assert_array_equal(found, expected, strict=True)
            window = recording.load(variable, trial, 3, 9, slice(1, 2))
            np.testing.assert_array_equal(window, expected[1:2, ..., 3:9], strict=True)
    pairs = [("behavior", 3), ("videos", 0), ("responses", 2), ("videos", 3)]
    for (variable, trial), found in zip(pairs, recording.load_all(pairs), strict=True):
        expected = arrays_of(MOUSE, trial)[variable][..., : MOUSE.valid()[trial]]
        np.testing.assert_array_equal(found, expected, strict=True)
    facts = recording.variables
    assert facts["videos"].axes == ["y", "x", "time"]
    assert facts["responses"].axes == ["neuron", "time"]
    assert {variable.rate for variable in facts.values()} == {30.0}
    assert facts["behavior"].rows == ["pupil dilation", "running speed"]


def test_a_neuron_is_read_over_all_trials(recording: Recording) -> None:
    """One row of the responses comes with the bounds of its trials; withheld ones are named."""
    row = asyncio.run(recording.read_row("responses", 5))
    tiers = MOUSE.tiers()
    assert row.left_out == {n: "withheld" for n, tier in enumerate(tiers) if "test" in tier}
    for i, trial in enumerate(row.numbers):
        expected = arrays_of(MOUSE, trial)["responses"][5, : MOUSE.valid()[trial]]
        part = row.values[row.bounds[i] : row.bounds[i + 1]]
        np.testing.assert_array_equal(part, expected, strict=True)
    chosen = recording.load_row("responses", 5, [row.numbers[2], row.numbers[0]])
    assert chosen.numbers == (row.numbers[2], row.numbers[0])
    np.testing.assert_array_equal(chosen.values[chosen.bounds[1] :], row.values[: row.bounds[1]])
    behavior = recording.load_row("behavior", 1)
    assert behavior.values.shape == (sum(MOUSE.valid()),)


def test_noise_is_stored_as_it_is(recording: Recording, tmp_path: Path, mouse: Path) -> None:
    """What hardly compresses is plain, by the trial; a codec that is given is that of all."""

    def codecs(made: Recording) -> dict[str, list[str]]:
        """Return how each array is compressed."""
        specs = {path: array.spec().to_json() for path, array in made.arrays.items()}
        inner = {p: s["metadata"]["codecs"][0]["configuration"]["codecs"] for p, s in specs.items()}
        return {path: [c["configuration"]["cname"] for c in found if c["name"] == "blosc"]
                for path, found in inner.items()}  # fmt: skip

    chosen = codecs(recording)
    assert (chosen["data/videos"], chosen["data/behavior"]) == (["lz4"], [])
    assert chosen["data/responses.2"] == ["lz4"]
    assert chosen["rows/responses"] == ["zlib"]
    store, own = Store(str(tmp_path)), RecordingOptions(grace=0, codec=Codec("blosc-zstd", 1))
    given = ingest_recording(survey(str(mouse), Files()), store, LAYER, own, Observer()).recording
    paths = [path for path in chosen if path.startswith(("data/", "rows/"))]
    assert {name for path in paths for name in codecs(given)[path]} == {"zstd"}


def test_withheld_responses_are_never_zeros(recording: Recording) -> None:
    """Responses of test tiers are marked as withheld, and reading them raises."""
    withheld = [n for n, tier in enumerate(MOUSE.tiers()) if "test" in tier]
    assert withheld
    for trial in withheld:
        assert recording.trial(trial).pieces["responses"].state == "withheld"
        with pytest.raises(Withheld, match=f"trial {trial} .* withheld"):
            recording.load("responses", trial)
        assert recording.load("videos", trial).size
    piece = recording.trial(withheld[0]).pieces["responses"]
    path = recording.variables["responses"].arrays[piece.array].path
    stored = zarr.open_array(f"{recording.store.local(recording.path)}/{path}", mode="r")
    assert np.isnan(stored[:, piece.offset : piece.offset + piece.length]).all()


def test_what_cannot_be_read_is_named(recording: Recording) -> None:
    """A trial, variable, row or window that is not there raises with what there is."""
    with pytest.raises(NotFound, match="no trial 99"):
        recording.load("videos", 99)
    with pytest.raises(NotFound, match="no sounds: it has behavior"):
        recording.load("sounds", 0)
    with pytest.raises(RegionError, match="0:30"):
        recording.load("videos", 0, 0, 31)
    with pytest.raises(RegionError, match="row 12 of responses: expected 0 to 11"):
        recording.load_row("responses", 12)
    with pytest.raises(RegionError, match="rows 0:13"):
        recording.load("responses", 0, rows=slice(0, 13))


def test_any_zarr_reader_finds_the_arrays(recording: Recording) -> None:
    """zarr-python walks the groups; a trial is its slots of the array, as the document says."""
    group = zarr.open_group(str(recording.store.local(recording.path)), mode="r")
    assert {"data", "rows", "neurons", "files", "computed"} <= {name for name, _ in group.members()}
    assert group.attrs["nwb"]["kind"] == "recording"
    facts: Any = group.attrs["recording"]
    for variable in ("videos", "behavior"):
        told = facts["variables"][variable]
        for index, trial in enumerate(facts["trials"]):
            first = told["pieces"]["offset"][index]
            part = slice(first, first + told["pieces"]["valid"][index])
            values = group[told["arrays"][0]["path"]][..., part]
            expected = arrays_of(MOUSE, trial)[variable][..., : MOUSE.valid()[trial]]
            np.testing.assert_array_equal(values, expected, strict=True)
    by_row, whole = group["rows/responses"], group["data/responses"]
    np.testing.assert_array_equal(by_row[:], whole[:], strict=True)
    assert whole.metadata.dimension_names == ("neuron", "time")


def test_neurons_and_statistics_come_with_it(recording: Recording, mouse: Path) -> None:
    """Coordinates are in micrometers, x y z; supplied statistics of the training tier agree."""
    column = recording.neurons["cell_motor_coordinates"]
    assert (column.unit, column.parts, column.shape) == ("micrometer", ["x", "y", "z"], [12, 3])
    motor = np.load(mouse / "meta/neurons/cell_motor_coordinates.npy")
    np.testing.assert_array_equal(recording.load_neurons("cell_motor_coordinates"), motor)
    assert set(recording.neurons) == {"cell_motor_coordinates", "fields", "unit_ids"}
    assert len(recording.statistics) == 20
    assert all(one.agrees for one in recording.statistics)
    one = next(s for s in recording.statistics if (s.variable, s.name) == ("responses", "median"))
    assert one.computed is not None
    supplied = np.load(mouse / "meta/statistics/responses/all/median.npy")
    np.testing.assert_allclose(loaded(recording.read_file(one.computed)), supplied)
    assert recording.facts.notes == []


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_gives_the_same_recording(tmp_path: Path, mouse: Path, method: int) -> None:
    """A zip is read as it is; what is stored of it is what is stored of the folder."""
    store = Store(str(tmp_path / "root"))
    zipped = made(write_zip(tmp_path / "mouse.zip", MOUSE, method), store).recording
    assert len(zipped.record["source_files"][0]["sha256"]) == 64
    folder = made(mouse, store, replace(LAYER, layer="folder")).recording
    assert zipped.facts.model_copy(update={"name": "mouse"}) == folder.facts
    export_sensorium(zipped, tmp_path / "out")
    assert files_in(tmp_path / "out") == files_in(mouse)


ODD: Mapping[str, Callable[[], bytes]] = {
    "Fortran order": lambda: fortran(arrays_of(MOUSE, 0)["videos"]),
    "big-endian": lambda: npy(arrays_of(MOUSE, 0)["videos"].astype(">f4")),
    "uint8": lambda: npy(np.nan_to_num(arrays_of(MOUSE, 0)["videos"]).astype(np.uint8)),
    "float64": lambda: npy(arrays_of(MOUSE, 0)["videos"].astype(np.float64)),
    "float16": lambda: npy(arrays_of(MOUSE, 0)["videos"].astype(np.float16)),
    "other height": lambda: npy(np.ones((5, 8, 17), np.float32)),
    "no frames": lambda: npy(np.ones((6, 8, 0), np.float32)),
    "all NaN": lambda: npy(np.full((6, 8, 30), np.nan, np.float32)),
    "NaN of two kinds": lambda: npy(_two_kinds()),
    "NaN with a sign": lambda: npy(np.full((6, 8, 30), -np.float32(np.nan))),
    "longer than all others": lambda: npy(np.ones((6, 8, 700), np.float32)),
    "interior NaN": lambda: npy(_interior()),
}


def _two_kinds() -> NDArray[np.float32]:
    values = np.ones((6, 8, 30), np.float32)
    bits = values.view(np.uint32)
    bits[..., 20:] = 0x7FC00000
    bits[2, 3, 25] = 0xFFC00001
    return values


def _interior() -> NDArray[np.float32]:
    values = np.ones((6, 8, 30), np.float32)
    values[..., 5:9] = np.nan
    values[..., 29:] = np.nan
    values[1, 1, 29] = 3
    return values


def test_each_file_comes_back_to_the_byte(tmp_path: Path) -> None:
    """Whatever order, dtype, shape or padding an array has, it is read and its file returned."""
    changes = {f"data/videos/{n}.npy": content() for n, content in enumerate(ODD.values())}
    folder = write_folder(tmp_path / "mouse", MOUSE, changes)
    recording = made(folder, Store(str(tmp_path / "root"))).recording
    export_sensorium(recording, tmp_path / "out")
    assert files_in(tmp_path / "out") == files_in(folder)
    for n, kind in enumerate(ODD):
        values = np.load(folder / f"data/videos/{n}.npy")
        piece = recording.trial(n).pieces["videos"]
        found = recording.load("videos", n)
        np.testing.assert_array_equal(found, values[..., : piece.valid])
        assert found.dtype == values.dtype.newbyteorder("="), kind
        assert np.isnan(values[..., piece.valid :].astype(np.float64)).all(), kind
        assert not piece.valid or not np.isnan(found[..., -1]).all(), kind
        assert (piece.state == "nan") == (kind in ("all NaN", "NaN with a sign")), kind


def test_what_a_folder_lacks_is_said(tmp_path: Path, mouse: Path) -> None:
    """Missing trials are named by their group; odd files are kept, hidden ones are named."""
    changes = {
        "data/responses/3.npy": None,
        "meta/neurons/names.npy": npy(np.array(["a"] * 12)),
        "meta/neurons/short.npy": npy(np.arange(3)),
        "meta/neurons/depth, µm.npy": npy(np.arange(12)),
        "meta/deep/er/still/more.npy": npy(np.arange(3)),
        "data/extra/readme.md": b"# hello",
        ".DS_Store": b"x",
    }
    folder = write_folder(tmp_path / "mouse", MOUSE, changes)
    recording = made(folder, Store(str(tmp_path / "root"))).recording
    notes = "\n".join(recording.facts.notes)
    assert "data/responses has 13 of 14 trials: it lacks 3" in notes
    assert "names.npy is kept, but is no column of numbers" in notes
    assert "short.npy is kept, but is no column of neurons: it has 3 rows" in notes
    assert "depth, µm.npy is kept, but is no column: its name" in notes
    assert recording.facts.not_kept == [".DS_Store: hidden"]
    with pytest.raises(NotFound, match="no responses of trial 3"):
        recording.load("responses", 3)
    export_sensorium(recording, tmp_path / "out")
    kept = files_in(folder)
    del kept[".DS_Store"]
    assert files_in(tmp_path / "out") == kept


def test_absent_test_responses_are_withheld(tmp_path: Path) -> None:
    """Where a test tier has no responses at all, they are withheld, and export makes none up."""
    trial = next(n for n, tier in enumerate(MOUSE.tiers()) if "test" in tier)
    folder = write_folder(tmp_path / "mouse", MOUSE, {f"data/responses/{trial}.npy": None})
    recording = made(folder, Store(str(tmp_path / "root"))).recording
    with pytest.raises(Withheld):
        recording.load("responses", trial)
    export_sensorium(recording, tmp_path / "out")
    assert files_in(tmp_path / "out") == files_in(folder)


def test_zeros_of_the_training_tier_are_data(tmp_path: Path) -> None:
    """Silence is only withheld where a tier is one of those that are."""
    trial = MOUSE.tiers().index("train")
    silent = npy(np.zeros((12, 30), np.float32))
    folder = write_folder(tmp_path / "mouse", MOUSE, {f"data/responses/{trial}.npy": silent})
    recording = made(folder, Store(str(tmp_path / "root"))).recording
    assert not recording.load("responses", trial).any()


def test_statistics_that_differ_are_told_with_figures(tmp_path: Path) -> None:
    """A supplied statistic that is not the training tier's is kept, and so is the computed one."""
    name = "meta/statistics/behavior/all/std.npy"
    truth = np.load(io.BytesIO(dict(files_of(MOUSE))[name]))
    folder = write_folder(tmp_path / "mouse", MOUSE, {name: npy(truth * [1, 1.25])})
    recording = made(folder, Store(str(tmp_path / "root"))).recording
    told = next(s for s in recording.statistics if (s.variable, s.name) == ("behavior", "std"))
    assert told.agrees is False
    assert told.largest_relative == pytest.approx(0.2)
    assert told.supplied is not None
    assert told.computed is not None
    np.testing.assert_allclose(loaded(recording.read_file(told.supplied)), truth * [1, 1.25])
    np.testing.assert_allclose(loaded(recording.read_file(told.computed)), truth)
    assert any(name in note and "20 %" in note for note in recording.facts.notes)


def test_all_damaged_arrays_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    """A truncated file, one of pickled objects and one that is no array are named together."""
    changes = {
        "data/videos/2.npy": npy(arrays_of(MOUSE, 2)["videos"])[:-5],
        "data/responses/5.npy": b"no array at all",
        "data/behavior/7.npy": npy(np.array([{}], object)),
    }
    folder = write_folder(tmp_path / "mouse", MOUSE, changes)
    with pytest.raises(SourceError, match="3 damaged arrays") as caught:
        made(folder, Store(str(tmp_path / "root")))
    for name in changes:
        assert name in str(caught.value)
    assert "truncated" in str(caught.value)
    assert not (tmp_path / "root").exists()


def test_the_source_is_only_read(tmp_path: Path) -> None:
    """A folder without write access is ingested, and nothing in it changes."""
    folder = write_folder(tmp_path / "mouse", MOUSE, {"config.json": None})
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    made(folder, Store(str(tmp_path / "root")))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)


def test_the_same_again_is_left_alone_and_another_refused(tmp_path: Path, mouse: Path) -> None:
    """A second ingest writes nothing, of a touched copy too; another source needs a restart,
    which takes along what was said.
    """
    store = Store(str(tmp_path / "root"))
    first = made(mouse, store)
    assert not made(mouse, store).written
    copy = write_folder(tmp_path / "mouse", MOUSE)
    os.utime(copy / "data/videos/3.npy", (1, 1))
    assert not made(copy, store).written
    content = bytearray((copy / "data/videos/3.npy").read_bytes())
    content[-4000] ^= 1
    (copy / "data/videos/3.npy").write_bytes(content)
    with pytest.raises(Conflict, match=r"data/videos/3\.npy has other bytes"):
        made(copy, store)
    change_record(store, LAYER, {"lab": "A"}, {"who": "jane"})
    second = made(copy, store, restart=True)
    assert second.written
    assert second.recording.record["lab"] == "A"
    assert [note["who"] for note in history(store, LAYER)] == ["jane"]
    assert second.recording.version != first.recording.version
    assert second.recording.folder.endswith("/v2")
    assert not (tmp_path / "root/sensorium/mouse-a/recording/data").exists()
    assert list(check_recording(store, LAYER, 2, lambda _: None)) == []


def test_a_recording_appears_only_when_it_is_whole(tmp_path: Path, mouse: Path) -> None:
    """What ends on the way leaves nothing visible; the same goes on, and gives the same bytes."""
    store = Store(str(tmp_path / "root"))

    class Ended(Observer):
        def say(self, event: str, text: str, **facts: object) -> None:
            if event == "statistics":
                raise KeyboardInterrupt
            said.append(event)

    said: list[str] = []
    found = survey(str(mouse), Files())
    options = RecordingOptions(started="2026-01-01T00:00:00+00:00", threads=1)
    with pytest.raises(KeyboardInterrupt):
        ingest_recording(found, store, LAYER, options, Ended())
    assert not is_recording(store, LAYER)
    with pytest.raises(NotFound):
        read_recording(store, LAYER)
    said.clear()

    class Listening(Observer):
        def say(self, event: str, text: str, **facts: object) -> None:
            said.append(event)

    shard = tmp_path / "root/sensorium/mouse-a/recording/data/videos/c/0/0/0"
    before = shard.stat().st_ino
    ingest_recording(found, store, LAYER, options, Listening())
    assert "resume" in said
    assert shard.stat().st_ino == before
    assert is_recording(store, LAYER)
    other = Store(str(tmp_path / "other"))
    ingest_recording(survey(str(mouse), Files()), other, LAYER, options, Observer())
    ours, theirs = (files_in(tmp_path / name) for name in ("root", "other"))
    assert ours == theirs


@pytest.mark.slow
def test_a_mouse_of_full_size_comes_back(tmp_path: Path) -> None:
    """As many neurons and pixels as published, from a zip: every file is returned to the byte."""
    mouse = Mouse(neurons=7863, trials=8, height=36, width=64, longest=324, shortest=300)
    zipped = write_zip(tmp_path / "mouse.zip", mouse)
    recording = made(zipped, Store(str(tmp_path / "root"))).recording
    assert all(one.agrees for one in recording.statistics)
    export_sensorium(recording, tmp_path / "out")
    with zipfile.ZipFile(zipped) as archive:
        names = archive.namelist()
        for name in names:
            path = tmp_path / "out" / name.removeprefix("mouse-7/")
            assert path.read_bytes() == archive.read(name)
    assert len(files_in(tmp_path / "out")) == len(names)


def test_statistics_that_nobody_supplied_have_an_address(tmp_path: Path) -> None:
    """Those that are computed stand where those of the source would."""
    supplied = "meta/statistics/responses/all/mean.npy"
    folder = write_folder(tmp_path / "mouse", MOUSE, {supplied: None})
    recording = made(folder, Store(str(tmp_path / "root"))).recording
    found = {(s.variable, s.group, s.name): s for s in recording.statistics}
    told = found["responses", "all", "mean"]
    assert told.supplied is None
    assert told.computed is not None
    assert loaded(recording.read_file(told.computed)).shape == (MOUSE.neurons,)
