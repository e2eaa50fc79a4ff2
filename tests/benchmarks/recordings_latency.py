"""Random trials of a recording over a slow way, beside the source's .npy files read by fsspec.

Both lie behind servers of one kind, and behind a proxy that makes every request wait. fsspec is
measured as a dataset of PyTorch opens files, one after another, and as it reads many at once.
"""

import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import fsspec
import numpy as np
from numpy.typing import NDArray

import microtome
from microtome_core.names import LayerId
from microtome_core.store.location import Store
from microtome_ingest.files import Files
from microtome_ingest.observer import Observer
from microtome_ingest.recordings.job import RecordingOptions, ingest_recording
from microtome_ingest.recordings.survey import survey
from tests.benchmarks.table import Row
from tests.faults import FaultProxy
from tests.sensorium_folders import Mouse, write_folder

LATENCY = 0.020
ROUNDS = 3
BATCH = 16
WINDOW = 80
ADDRESS = "bench/sensorium/mouse"
VARIABLES = ("videos", "responses", "behavior", "pupil_center")
# In shape one of the ten mice, and one that is small enough for latency to be most of the time.
MICE = {
    "7,863 neurons": Mouse(neurons=7863, trials=32, height=36, width=64, longest=324, shortest=300),
    "500 neurons": Mouse(neurons=500, trials=32, height=36, width=64, longest=324, shortest=300),
}

_FILES = """
import sys, uvicorn
from starlette.staticfiles import StaticFiles
uvicorn.run(StaticFiles(directory=sys.argv[1]), port=int(sys.argv[2]), log_level="error")
"""

Read = Callable[[Sequence[int]], list[dict[str, NDArray[Any]]]]


def measure(folder: Path) -> list[Row]:
    """Return trials a second of each way, in turn over the same random trials."""
    rows = []
    for name, mouse in MICE.items():
        home = folder.absolute() / f"recordings-{mouse.neurons}"
        _prepare(home, mouse)
        serve = [sys.executable, "-m", "microtome_cli", "serve", str(home / "root"), "--port"]
        files = [sys.executable, "-c", _FILES, str(home / "folder")]
        with (
            _running(serve) as service,
            _running(files) as site,
            FaultProxy(service, latency=LATENCY) as slow_service,
            FaultProxy(site, latency=LATENCY) as slow_site,
        ):
            rows += _rows(name, f"{slow_service.url}/{ADDRESS}", slow_site.url)
    return rows


def _prepare(home: Path, mouse: Mouse) -> None:
    if (home / "root" / ADDRESS / "zarr.json").exists():
        return
    write_folder(home / "folder", mouse)
    (home / "root").mkdir(parents=True, exist_ok=True)
    found, store = survey(str(home / "folder"), Files()), Store(f"file://{home / 'root'}")
    layer, options = LayerId.parse(ADDRESS), RecordingOptions(grace=0)
    ingest_recording(found, store, layer, options, Observer())


def _rows(name: str, address: str, site: str) -> list[Row]:
    recording = microtome.open(address)
    numbers = recording.trials.where("train").numbers

    def batch(trials: Sequence[int]) -> list[dict[str, NDArray[Any]]]:
        return list(recording.batch(trials, VARIABLES))

    def windows(trials: Sequence[int]) -> list[dict[str, NDArray[Any]]]:
        return list(recording.batch(trials, VARIABLES, windows=[(0, WINDOW)] * len(trials)))

    def one_by_one(trials: Sequence[int]) -> list[dict[str, NDArray[Any]]]:
        return [recording.batch([trial], VARIABLES)[0] for trial in trials]

    ways: dict[str, Read] = {
        "batch": batch,
        "windows": windows,
        "a request a trial": one_by_one,
        "np.load over fsspec": lambda trials: _opened(site, trials),
        "fsspec, all at once": lambda trials: _at_once(site, trials),
    }
    rates = _rates(ways, numbers)
    what = f"trials/s, {name}, 20 ms: {BATCH} at once"
    others = [way for way in ways if way not in ("batch", "windows")]
    aims = {"np.load over fsspec": 5.0}
    whole = [Row(what, rates["batch"], w, rates[w], aims.get(w), "trials/s") for w in others]
    part = f"{what}, {WINDOW} samples"
    return whole + [
        Row(part, rates["windows"], w, rates[w], aims.get(w), "trials/s; whole files")
        for w in others[1:]
    ]


def _rates(ways: dict[str, Read], numbers: Sequence[int]) -> dict[str, float]:
    """Return trials a second of each way, which take turns; what they read is compared first."""
    draw = np.random.default_rng(1)
    reference = ways["np.load over fsspec"](numbers[:1])[0]
    for way, read in ways.items():
        for variable, values in read(numbers[:1])[0].items():
            expected = reference[variable][..., : values.shape[-1]]
            assert np.array_equal(values, expected, equal_nan=True), (way, variable)
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        trials = draw.choice(numbers, BATCH, replace=True).tolist()
        for way, read in ways.items():
            started = time.perf_counter()
            read(trials)
            taken[way].append(time.perf_counter() - started)
    return {way: BATCH / median(seconds) for way, seconds in taken.items()}


def _opened(site: str, trials: Sequence[int]) -> list[dict[str, NDArray[Any]]]:
    system = fsspec.filesystem("http")
    found = []
    for trial in trials:
        sample = {}
        for variable in VARIABLES:
            with system.open(f"{site}/data/{variable}/{trial}.npy") as file:
                sample[variable] = np.load(file)
        found.append(sample)
    return found


def _at_once(site: str, trials: Sequence[int]) -> list[dict[str, NDArray[Any]]]:
    system = fsspec.filesystem("http")
    urls = {(t, v): f"{site}/data/{v}/{t}.npy" for t in trials for v in VARIABLES}
    bodies = system.cat(sorted(set(urls.values())))
    bodies = bodies if isinstance(bodies, dict) else {next(iter(urls.values())): bodies}
    return [{v: np.load(io.BytesIO(bodies[urls[t, v]])) for v in VARIABLES} for t in trials]


@contextmanager
def _running(words: Sequence[str]) -> Iterator[str]:
    """Start a server, its port being the last word, and end it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    log = subprocess.DEVNULL
    command = [*words, str(port)]
    with subprocess.Popen(command, stdout=log, stderr=log, env=dict(os.environ)) as process:
        try:
            _wait(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _wait(port: int, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if process.poll() is not None:
                raise RuntimeError(f"{process.args!r} ended at its start") from None
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(port)
