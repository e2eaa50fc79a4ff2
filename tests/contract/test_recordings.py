"""A folder of trials, ingested, served on a socket, and read by the client: equal to its files."""

import pickle
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import microtome
from microtome import errors
from microtome.recording import Recording
from microtome_cli.main import main
from microtome_core.names import LayerId
from microtome_core.store.location import StorageOptions, Store
from microtome_ingest.files import Files
from microtome_ingest.observer import Observer
from microtome_ingest.recordings.job import RecordingOptions, ingest_recording
from microtome_ingest.recordings.survey import survey
from microtome_service.app import create_app
from microtome_service.settings import Settings
from tests.sensorium_folders import Mouse, arrays_of, write_folder

MOUSE = Mouse(neurons=23, trials=16, height=5, width=7, longest=40, shortest=25)
VARIABLES = ("videos", "responses", "behavior", "pupil_center")


@dataclass(frozen=True, slots=True)
class World:
    """A folder and the recording that was made of it, opened through the service."""

    folder: Path
    recording: Recording

    def file(self, trial: int, variable: str) -> NDArray[Any]:
        """Return what the source has, without its padding."""
        found = np.load(self.folder / f"data/{variable}/{trial}.npy")
        return np.asarray(found[..., : MOUSE.valid()[trial]])

    def withheld(self, trial: int, variable: str) -> bool:
        """Tell whether the source has zeros in place of values."""
        return variable == "responses" and "test" in MOUSE.tiers()[trial]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The folder, ingested and served."""
    folder = write_folder(tmp_path_factory.mktemp("mouse"), MOUSE)
    root = tmp_path_factory.mktemp("root")
    store = Store(f"file://{root}", StorageOptions(cache_bytes=1 << 24))
    options = RecordingOptions(grace=0)
    layer = LayerId.parse("lab/sensorium/mouse")
    ingest_recording(survey(str(folder), Files()), store, layer, options, Observer())
    app = create_app(Settings(root=store.url, recheck_seconds=0.0), store)
    server = uvicorn.Server(uvicorn.Config(app, port=0, ws="none", log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield World(folder, microtome.open(f"http://127.0.0.1:{port}/{layer}"))
    finally:
        server.should_exit = True
        thread.join(10)


def test_every_variable_of_every_trial_equals_its_file(world: World) -> None:
    """One request an array; what is withheld raises, and is never zeros."""
    assert [trial.number for trial in world.recording.trials] == list(range(MOUSE.trials))
    for trial in world.recording.trials:
        for variable in VARIABLES:
            if world.withheld(trial.number, variable):
                with pytest.raises(errors.Withheld, match="withheld"):
                    trial.read(variable)
                continue
            expected = world.file(trial.number, variable)
            found = trial[variable]
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)


def test_one_request_for_all_trials_gives_the_same(world: World) -> None:
    """What is withheld is absent, whatever else a trial has is there."""
    numbers = [*range(MOUSE.trials), 3, 3]
    for number, sample in zip(numbers, world.recording.batch(numbers), strict=True):
        expected = {v for v in VARIABLES if not world.withheld(number, v)}
        assert set(sample) == expected
        for variable in expected:
            np.testing.assert_array_equal(sample[variable], world.file(number, variable))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_window_of_any_neurons_equals_its_file(world: World, data: st.DataObject) -> None:
    """By itself and in a batch, of a range of neurons or of a list of them."""
    number = data.draw(st.integers(0, MOUSE.trials - 1))
    variable = data.draw(st.sampled_from([v for v in VARIABLES if not world.withheld(number, v)]))
    expected = world.file(number, variable)
    start = data.draw(st.integers(0, expected.shape[-1] - 1))
    stop = data.draw(st.integers(start + 1, expected.shape[-1]))
    neurons: Any = None
    if variable == "responses":
        some = st.lists(st.integers(-MOUSE.neurons, MOUSE.neurons - 1), min_size=1, max_size=9)
        ranges = st.integers(0, MOUSE.neurons - 1).map(lambda low: slice(low, None))
        neurons = data.draw(st.none() | some | ranges)
        expected = expected if neurons is None else expected[neurons]
    trial = world.recording.trials[number]
    found = trial.read(variable, start, stop, neurons=neurons)
    np.testing.assert_array_equal(found, expected[..., start:stop])
    batch = world.recording.batch([number], [variable], windows=[(start, stop)], neurons=neurons)
    np.testing.assert_array_equal(batch[0][variable], found)


@pytest.mark.parametrize("tier", [None, "train", "oracle"])
def test_one_neuron_over_trials_equals_its_row_in_each_file(world: World, tier: str | None) -> None:
    """The trials of a tier, or all that are not withheld, which are named."""
    tiers = MOUSE.tiers()
    chosen = [n for n in range(MOUSE.trials) if tier in (None, tiers[n])]
    for neuron in (0, 11, MOUSE.neurons - 1):
        traces = world.recording.responses(neuron, tier)
        assert list(traces) == [n for n in chosen if not world.withheld(n, "responses")]
        assert list(traces.withheld) == [n for n in chosen if world.withheld(n, "responses")]
        for number, values in traces.items():
            np.testing.assert_array_equal(values, world.file(number, "responses")[neuron])


def test_a_tier_whose_responses_are_withheld_has_none(world: World) -> None:
    """No request is made for what is known to be withheld, and nothing stands for it."""
    traces = world.recording.responses(3, "final_test_main")
    assert len(traces) == 0
    assert traces.samples.shape == (0,)
    with pytest.raises(errors.Withheld):
        traces[traces.withheld[0]]


def test_padding_is_that_of_the_file(world: World) -> None:
    """`padded=True` gives an array as the source has it."""
    for number in (0, 2):
        found = world.recording.trials[number].read("videos", padded=True)
        np.testing.assert_array_equal(found, arrays_of(MOUSE, number)["videos"])


def test_neurons_and_statistics_equal_their_files(world: World) -> None:
    """Columns by the names of their files, coordinates in micrometres."""
    meta = world.folder / "meta"
    neurons = world.recording.neurons
    expected = np.load(meta / "neurons/cell_motor_coordinates.npy")
    np.testing.assert_array_equal(neurons.coordinates, expected)
    assert neurons.unit == "micrometer"
    np.testing.assert_array_equal(neurons["unit_ids"], np.load(meta / "neurons/unit_ids.npy"))
    for variable in VARIABLES:
        for name in world.recording.statistics[variable]:
            np.testing.assert_array_equal(
                world.recording.statistics[variable][name],
                np.load(meta / f"statistics/{variable}/all/{name}.npy"),
            )


def test_a_recording_tells_of_itself_by_its_address(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """``microtome info URL`` prints its tiers, neurons and variables."""
    assert main(["info", world.recording.url]) == 0
    told = capsys.readouterr().out
    assert "16 trials" in told
    assert all(name in told for name in VARIABLES)


def test_batches_for_training_are_drawn_alike_from_a_seed(world: World) -> None:
    """Each trial of the tier that is long enough comes once, in windows of equal length."""
    recording = world.recording
    drawn = [list(recording.batches(3, ["responses"], window=30, seed=s)) for s in (1, 1, 2)]
    sizes = [len(batch) for batch in drawn[0]]
    assert sum(sizes) == len(recording.trials.where("train", 30))
    assert set(sizes[:-1]) <= {3}
    assert {s["responses"].shape for batch in drawn[0] for s in batch} == {(MOUSE.neurons, 30)}
    flat = [np.concatenate([s["responses"] for batch in d for s in batch]) for d in drawn]
    np.testing.assert_array_equal(flat[0], flat[1])
    assert not np.array_equal(flat[0], flat[2])


def test_a_labelled_dataset_is_computed_from_the_same_values(world: World) -> None:
    """NaN where there are none, time in seconds, neurons where they lie."""
    dataset = world.recording.to_xarray(range(5))
    assert dataset.responses.dims == ("trial", "neuron", "time")
    assert dataset.time.attrs["units"] == "s"
    assert float(dataset.time[30]) == pytest.approx(1.0)
    coordinates = world.recording.neurons.coordinates
    np.testing.assert_array_equal(dataset.neuron_z.values, coordinates[:, 2])
    for number in range(5):
        one = dataset.sel(trial=number)
        valid = MOUSE.valid()[number]
        np.testing.assert_array_equal(one.videos.values[..., :valid], world.file(number, "videos"))
        assert np.isnan(one.videos.values[..., valid:]).all()
        if world.withheld(number, "responses"):
            assert str(one.responses_state.values) == "withheld"
            assert np.isnan(one.responses.values).all()


def test_a_recording_goes_to_other_processes(world: World) -> None:
    """Pickled, whole or as a trial, it reads the same."""
    recording, trial = pickle.loads(pickle.dumps((world.recording, world.recording.trials[2])))
    np.testing.assert_array_equal(recording.trials[2].videos, trial.videos)
    assert "mouse" in repr(recording)
    assert "samples" in repr(trial)
    assert "neuron" in recording._repr_html_()


@pytest.mark.parametrize(
    ("ask", "kind", "words"),
    [
        (lambda r: r.trials[99], errors.NotFound, "from 0 to 15"),
        (lambda r: r.trials[0].read("videos", 3, 900), errors.RegionError, "0:40"),
        (lambda r: r.trials[0].read("responses", neurons=99), errors.RegionError, "0 to 22"),
        (lambda r: r.trials[0].read("videos", neurons=1), errors.InputError, "not of neurons"),
        (lambda r: r.trials[0].smell, AttributeError, "smell"),
        (lambda r: r.trials[0]["smell"], errors.NotFound, "videos"),
        (lambda r: r.trials.where("tran"), errors.InputError, "train"),
        (lambda r: r.batch([0], "videos"), errors.InputError, "expected a list"),
        (lambda r: r.batch([0, 99]), errors.NotFound, "99"),
        (lambda r: r.batches(0), errors.InputError, "size=0"),
        (lambda r: r.batches(4, window=400), errors.InputError, "longer than every trial"),
        (lambda r: r.responses(99), errors.RegionError, "0 to 22"),
        (lambda r: r.neurons["colour"], errors.NotFound, "unit_ids"),
        (lambda r: r.statistics["videos"]["mode"], errors.NotFound, "mean"),
        (lambda r: microtome.open(r.url, level=1), errors.NotFound, "recording"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_said_with_what_is(
    world: World, ask: Callable[[Recording], object], kind: type[Exception], words: str
) -> None:
    """Before anything is asked of the service, where the tables tell."""
    with pytest.raises(kind, match=words):
        ask(world.recording)
