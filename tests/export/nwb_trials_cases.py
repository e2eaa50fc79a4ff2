"""Recordings as NWB: every value comes back, what is withheld is said, DANDI has no objection."""

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pynwb import validate

from microtome_cli.main import main
from microtome_core.names import LayerId
from microtome_core.store.location import Store
from microtome_core.store.recordings import read_recording
from microtome_ingest.export.nwb import export_nwb
from tests.export.made import SUBJECT, make
from tests.export.nwb_cases import inspect, opened
from tests.sensorium_folders import Mouse, arrays_of, npy, write_folder

# pynwb's own: of a table whose column is called what one of its attributes is.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
MOUSE = Mouse()
SAID = {"subject": SUBJECT, "imaging_plane": {"location": "V1", "indicator": "GCaMP6s"}}


def ingest(folder: Path, root: Path) -> None:
    """Make a recording of which the subject is known."""
    said = folder.with_suffix(".json")
    said.write_text(json.dumps(SAID))
    options = ["--as", "lab/mouse/recording", "--metadata", str(said)]
    assert main(["ingest", str(folder), str(root), *options]) == 0


def export(root: Path, out: Path, *words: str, kind: str = "nwb", of: str = "") -> int:
    """Run ``microtome export``."""
    place = of or "lab/mouse/recording"
    return main(["export", kind, str(root), place, "--out", str(out), *words])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root with one recording that no test changes."""
    folder = tmp_path_factory.mktemp("trials")
    ingest(write_folder(folder / "mouse", MOUSE), folder / "root")
    return folder / "root"


@pytest.fixture(scope="module")
def file(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return it as NWB."""
    out = tmp_path_factory.mktemp("nwb") / "a.nwb"
    assert export(root, out) == 0
    return out


@pytest.fixture
def nwb(file: Path) -> Iterator[Any]:
    """Read it back."""
    with opened(file) as found:
        yield found


def series_of(nwb: Any) -> dict[str, Any]:  # noqa: ANN401 - of an untyped library
    """Return every series by its name."""
    behavior, ophys = nwb.processing["behavior"], nwb.processing["ophys"]
    return {
        "videos": nwb.stimulus["videos"],
        "responses": ophys["responses"].microscopy_response_series["responses"],
        "running_speed": behavior["BehavioralTimeSeries"]["running_speed"],
        "pupil_dilation": behavior["PupilTracking"]["pupil_dilation"],
        "pupil_center": behavior["EyeTracking"]["pupil_center"],
    }


def expected(trial: int) -> dict[str, NDArray[Any]]:
    """Return the arrays of a trial, time first, without padding."""
    arrays = {k: v[..., : MOUSE.valid()[trial]] for k, v in arrays_of(MOUSE, trial).items()}
    dilation, speed = arrays["behavior"]
    return {
        "videos": arrays["videos"].transpose(2, 1, 0),  # frame, x, y
        "responses": arrays["responses"].T,
        "running_speed": speed,
        "pupil_dilation": dilation,
        "pupil_center": arrays["pupil_center"].T,
    }


def seconds(series: Any) -> NDArray[np.float64]:  # noqa: ANN401 - of an untyped library
    """Return the time of every frame."""
    if series.timestamps is not None:
        return np.asarray(series.timestamps[:])
    return series.starting_time + np.arange(len(series.data)) / series.rate


def test_the_inspector_has_no_objection(file: Path) -> None:
    """The schema is kept, and nothing of it is critical to DANDI."""
    inspect(file)


def test_every_value_comes_back(nwb: Any) -> None:  # noqa: ANN401 - of an untyped library
    """Found by the table of trials, of the dtype that it had, NaN within a trial included."""
    trials, found = nwb.trials.to_dataframe(), series_of(nwb)
    variables = dict.fromkeys(("running_speed", "pupil_dilation"), "behavior")
    total = dict.fromkeys(found, 0)
    for _, row in trials.iterrows():
        for name, values in expected(row.trial).items():
            variable = variables.get(name, name)
            first, count = row[f"{variable}_start_index"], row[f"{variable}_frames"]
            if variable == "responses" and row.responses_withheld:
                assert (first, count) == (-1, 0)
                continue
            read = found[name].data[first : first + count]
            assert read.dtype == values.dtype
            assert np.array_equal(read, values, equal_nan=True)
            times = seconds(found[name])[first : first + count]
            assert np.allclose(times, row.start_time + np.arange(count) / 30, rtol=0, atol=1e-9)
            assert row.stop_time >= times[-1] + 1 / 30 - 1e-9
            total[name] += count
    assert total == {name: len(series.data) for name, series in found.items()}


def test_withheld_responses_have_no_frames(nwb: Any) -> None:  # noqa: ANN401 - as above
    """They are marked and counted, and no number stands for them."""
    trials, responses = nwb.trials.to_dataframe(), series_of(nwb)["responses"]
    assert trials.tier.tolist() == MOUSE.tiers()
    withheld = ["test" in tier for tier in MOUSE.tiers()]
    assert trials.responses_withheld.tolist() == withheld
    valid = zip(MOUSE.valid(), withheld, strict=True)
    assert len(responses.data) == sum(length for length, gone in valid if not gone)
    assert f"{sum(withheld)} trials are withheld" in responses.comments
    assert responses.rate is None
    assert series_of(nwb)["videos"].rate == 30.0


def test_neurons_have_their_coordinates_and_no_masks(nwb: Any, root: Path) -> None:  # noqa: ANN401
    """Every column of the source is one of the table, each coordinate by itself, in µm."""
    neurons = nwb.processing["ophys"]["neurons"]
    assert neurons.neurodata_type == "VolumetricSegmentation"
    kept = read_recording(Store(str(root)), LayerId.parse("lab/mouse/recording"))
    motor = kept.load_neurons("cell_motor_coordinates")
    for index, axis in enumerate("xyz"):
        column = neurons[f"cell_motor_coordinates_{axis}"]
        assert np.array_equal(column[:], motor[:, index])
        assert "in µm" in column.description
    assert np.array_equal(neurons["unit_ids"][:], kept.load_neurons("unit_ids"))
    assert not {"volume_mask", "voxel_mask"} & set(neurons.colnames)
    responses = series_of(nwb)["responses"]
    assert responses.rois.table is neurons
    assert responses.rois.data[:].tolist() == list(range(MOUSE.neurons))
    space = neurons.volumetric_imaging_space
    assert (space.anatomical_target, space.voxel_size_in_um) == ("V1", None)
    assert "GCaMP6s" in space.description


def test_what_is_not_known_is_said(nwb: Any) -> None:  # noqa: ANN401 - of an untyped library
    """Of the session's start, of the order of trials, and of units."""
    assert nwb.session_start_time == datetime(1970, 1, 1, tzinfo=UTC)
    assert "session_start_time is not known" in nwb.notes
    assert "order of the trials and the times between them are not known" in nwb.notes
    assert "order of the trials" in nwb.trials.description
    gaze = series_of(nwb)["pupil_center"]
    assert gaze.unit == "n.a."
    assert "does not say the unit" in gaze.comments
    assert "horizontal, vertical" in gaze.description
    record = json.loads(nwb.get_scratch("record_recording").item())
    assert record["conversion_history"][-1]["parameters"]["layer"] == "lab/mouse/recording"
    assert record["subject"]["subject_id"] == "m7"


def test_a_source_with_gaps_keeps_them(tmp_path: Path) -> None:
    """Missing and shorter arrays, others of another size or dtype, variables of no known kind."""
    mouse = Mouse(trials=4, neurons=3)
    lengths, train = mouse.valid(), mouse.tiers().index("train")
    other = np.arange(2 * 5 * 9, dtype=np.uint8).reshape(2, 5, 9)
    sound = {t: np.arange(4 * lengths[t], dtype=np.int16).reshape(2, 2, -1) for t in range(4)}
    responses = arrays_of(mouse, train)["responses"][:, : lengths[train] - 2]
    changes: dict[str, bytes | None] = {
        "data/videos/1.npy": None,
        "data/videos/2.npy": npy(other),
        f"data/responses/{train}.npy": npy(responses),
        **{f"data/sound/{t}.npy": npy(values) for t, values in sound.items()},
        **{f"meta/neurons/{n}.npy": None for n in ("unit_ids", "cell_motor_coordinates", "fields")},
    }
    ingest(write_folder(tmp_path / "mouse", mouse, changes), tmp_path / "root")
    assert export(tmp_path / "root", tmp_path / "a.nwb") == 0
    inspect(tmp_path / "a.nwb")
    with opened(tmp_path / "a.nwb") as nwb:
        trials = nwb.trials.to_dataframe()
        assert trials.videos_state[1] == "missing"
        assert trials["videos_frames"].tolist() == [lengths[0], 0, 0, lengths[3]]
        assert trials["videos-2_frames"].tolist() == [0, 0, 9, 0]
        assert np.array_equal(nwb.stimulus["videos-2"].data[:], other.transpose(2, 1, 0))
        assert nwb.stimulus["videos-2"].data.dtype == np.uint8
        videos = nwb.stimulus["videos"]
        assert videos.timestamps[lengths[0]] == pytest.approx(trials.start_time[3])
        found = nwb.acquisition["sound"].data[:]
        assert np.array_equal(
            found, np.concatenate([np.moveaxis(v, -1, 0) for v in sound.values()])
        )
        assert trials.responses_frames[train] == lengths[train] - 2
        assert nwb.processing["ophys"]["neurons"]["index"][:].tolist() == [0, 1, 2]


def test_it_is_read_a_trial_at_a_time(root: Path, tmp_path: Path) -> None:
    """No read is larger than a trial, and every value is read once."""
    kept = read_recording(Store(str(root)), LayerId.parse("lab/mouse/recording"))
    read: list[int] = []
    export_nwb([], tmp_path / "a.nwb", recordings=[kept], count=read.append)
    pieces = [p for trial in kept.trials for p in trial.pieces.values() if p.state == "stored"]
    assert sum(read) == sum(piece.nbytes for piece in pieces)
    assert max(read) == max(piece.nbytes for piece in pieces)


def test_a_dataset_is_one_file_with_its_layers(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Images beside a recording; two recordings are two sessions, of which none is."""
    copy = Path(shutil.copytree(root, tmp_path / "root"))
    made = make(copy, "yx")
    assert export(copy, tmp_path / "a.nwb", of="lab/mouse") == 0
    assert validate(path=str(tmp_path / "a.nwb")) == []
    with opened(tmp_path / "a.nwb") as nwb:
        assert np.array_equal(nwb.acquisition["brain"].data[:], made.voxels)
        assert set(nwb.stimulus) == {"videos"}
        assert {"record_brain", "record_recording"} <= set(nwb.scratch)
    shutil.copytree(copy / "lab/mouse/recording", copy / "lab/mouse/second")
    capsys.readouterr()
    assert export(copy, tmp_path / "b.nwb", of="lab/mouse") == 2
    assert "recordings recording, second" in capsys.readouterr().err


@pytest.mark.parametrize(("kind", "words", "said"), [
    ("nwb", ["--region", "z=1"], "is exported whole"),
    ("nwb", ["--level", "1"], "is exported whole"),
    ("nwb", ["--link"], "images alone"),
    ("tiff", [], "export it as nwb, dandi or sensorium"),
])  # fmt: skip
def test_what_a_recording_has_not_is_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str,
    words: list[str], said: str,
) -> None:  # fmt: skip
    """The message says what to do instead, and nothing is written."""
    assert export(root, tmp_path / f"a.{kind}", *words, kind=kind) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_chunk_leaves_no_file(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A read that fails is never zeros: the error names the trial, nothing is left."""
    copy = Path(shutil.copytree(root, tmp_path / "root"))
    shard = next(p for p in (copy / "lab/mouse/recording/data/videos/c").rglob("*") if p.is_file())
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    (tmp_path / "out").mkdir()
    assert export(copy, tmp_path / "out/a.nwb") not in (0, 2)
    assert "videos of trial" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_a_recording_is_a_dandiset(root: Path, tmp_path: Path) -> None:
    """Its file is named as one of optical physiology, below the subject's name."""
    assert export(root, tmp_path / "dandi", kind="dandi", of="lab/mouse") == 0
    (found,) = (tmp_path / "dandi").rglob("*.nwb")
    assert found.relative_to(tmp_path).parts[1:] == ("sub-m7", "sub-m7_desc-mouse_ophys.nwb")
    with opened(found) as nwb:
        assert len(nwb.trials) == MOUSE.trials
