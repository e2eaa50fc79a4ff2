"""A recording in a local store, beside numpy reading its folder, and its zip."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np

from microtome_core.names import LayerId
from microtome_core.store.location import Store
from microtome_core.store.recording import Recording
from microtome_core.store.recording_pieces import Trial
from microtome_core.store.recordings import is_recording, read_recording
from microtome_ingest.files import Files
from microtome_ingest.observer import Observer
from microtome_ingest.recordings.job import RecordingOptions, ingest_recording
from microtome_ingest.recordings.survey import survey
from tests.benchmarks.table import Row
from tests.sensorium_folders import Mouse, write_folder, write_zip

MOUSE = Mouse(neurons=7863, trials=20, height=36, width=64, longest=324, shortest=300)
LAYER = LayerId("bench", "mouse", "recording")
ROUNDS = 5
# Trials that are asked for together, as a loader of batches does.
TOGETHER = 4
NEURONS = (5, 4000, 7000)


def measure(folder: Path) -> list[Row]:
    """Return trials and neurons beside numpy, and bytes on disk beside the zip."""
    source, zipped = folder / "mouse", folder / "mouse.zip"
    if not zipped.exists():
        write_folder(source, MOUSE)
        write_zip(zipped, MOUSE)
    store = Store(str((folder / "recordings").absolute()))
    if not is_recording(store, LAYER):
        ingest_recording(survey(str(source), Files()), store, LAYER, RecordingOptions(), Observer())
    recording = read_recording(store, LAYER)
    return [*_trials(recording, source), _neurons(recording, source), _sizes(store, zipped)]


def _trials(recording: Recording, source: Path) -> list[Row]:
    """Read trials in random order, all variables of each; withheld responses by neither."""
    wanted = [_stored(trial) for trial in recording.trials]
    order = np.random.default_rng(0).permutation(len(wanted)).tolist()
    size = sum(t.pieces[name].nbytes for t in recording.trials for name in _stored(t))

    pairs = [(trial, name) for trial in order for name in wanted[trial]]
    groups = [
        [(name, trial) for trial in order[first : first + TOGETHER] for name in wanted[trial]]
        for first in range(0, len(order), TOGETHER)
    ]
    one, many, numpy = _in_turn(
        [
            lambda: [recording.load(name, trial) for trial, name in pairs],
            lambda: [recording.load_all(group) for group in groups],
            lambda: [np.load(source / f"data/{name}/{trial}.npy") for trial, name in pairs],
        ]
    )
    named = "numpy, the npy folder"
    rates = [size / 1e6 / seconds for seconds in (one, many, numpy)]
    note = f"{len(order) / one:.0f} and {len(order) / numpy:.0f} trials a second"
    batch = f"{len(order) / many:.0f} trials a second"
    return [
        Row("random trials of a recording", rates[0], named, rates[2], 0.8, note),
        Row(f"random trials, {TOGETHER} at once", rates[1], named, rates[2], 0.8, batch),
    ]


def _stored(trial: Trial) -> list[str]:
    return [name for name, piece in trial.pieces.items() if piece.state == "stored"]


def _neurons(recording: Recording, source: Path) -> Row:
    """Read neurons over all trials; numpy maps each file and takes a row."""
    numbers = [t.number for t in recording.trials if t.pieces["responses"].state == "stored"]

    def ours() -> None:
        for neuron in NEURONS:
            recording.load_row("responses", neuron, numbers)

    def theirs() -> None:
        for neuron in NEURONS:
            maps = [np.load(source / f"data/responses/{n}.npy", mmap_mode="r") for n in numbers]
            np.concatenate([each[neuron] for each in maps])

    mine, numpy = _in_turn([ours, theirs])
    size = len(NEURONS) * len(numbers) * MOUSE.longest * 4 / 1e6
    return Row("a neuron over all trials", size / mine, "numpy, mapped files", size / numpy)


def _sizes(store: Store, zipped: Path) -> Row:
    stored = sum(size for _, size in store.sizes(str(LAYER))) / 1e6
    note = "MB on disk, not MB/s: the responses are there in both orders"
    return Row("bytes of a recording", stored, "bytes of its zip", zipped.stat().st_size / 1e6,
               note=note)  # fmt: skip


def _in_turn(works: Sequence[Callable[[], object]]) -> list[float]:
    """Return the median seconds of each, taken in turn."""
    seconds: list[list[float]] = [[] for _ in works]
    for _ in range(ROUNDS):
        for work, found in zip(works, seconds, strict=True):
            begun = time.perf_counter()
            work()
            found.append(time.perf_counter() - begun)
    return [median(found) for found in seconds]
