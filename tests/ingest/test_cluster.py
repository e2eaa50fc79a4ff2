"""Units on the workers of a Dask cluster: the same bytes, whoever of them dies."""

import os
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tifffile
from distributed import Client

from microtome_core.errors import AccessDenied, InputError, SourceError, StorageError
from microtome_core.names import LayerId
from microtome_core.store.ledger import Entry, Ledger
from microtome_core.store.location import StorageOptions, Store
from microtome_ingest.cluster import Cluster, Patience
from microtome_ingest.engine import Engine
from microtome_ingest.extents import Extents
from microtome_ingest.formats import open_source
from microtome_ingest.job import Outcome, ingest
from microtome_ingest.observer import Observer
from microtome_ingest.options import IngestOptions, SourceOptions
from microtome_ingest.plan import Plan
from microtome_ingest.resolve import resolve
from microtome_ingest.worker import SourceAddress
from microtome_ingest.workers import LocalWorkers, RemoteWorkers, Workers
from tests import dask_cluster
from tests.conftest import S3_ENVIRONMENT
from tests.dask_cluster import dask_process, scheduler_words, worker_words
from tests.trees import tree

BRAIN = LayerId("demo", "mouse", "brain")
ANSWERS = SourceOptions(axes="zyx", voxel_size={"z": 1.0, "y": 1.0, "x": 1.0})
OPTIONS = IngestOptions(
    chunk=Extents.parse("8,8,8"),
    shard=Extents.parse("8,16,16"),
    memory=2**31,
    grace=0.0,
    started="2026-01-01T00:00:00+00:00",
)
PATIENCE = Patience(connect=10.0, connections=3, absent=30.0, look=0.2)
LOCAL = LocalWorkers(2)
Start = Callable[..., None]


class Watcher(Observer):
    """Keeps what it is told, and may do something at a shard or a message."""

    def __init__(self, at: Callable[[Any], None] = lambda _: None) -> None:
        self.shards: list[Entry] = []
        self.events: list[str] = []
        self.known = 0
        self._at = at

    def begin(self, plan: Plan, ledger: Ledger) -> None:
        """Count what is known already."""
        self.known = sum(ledger.count(level) for level in range(len(plan.levels)))

    def advance(self, entry: Entry, size: int) -> None:
        """Keep a shard."""
        self.shards.append(entry)
        self._at(len(self.shards))

    def say(self, event: str, text: str, **facts: object) -> None:
        """Keep a message."""
        self.events.append(event)
        self._at(event)


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """Return a stack of which a third is empty, at every level."""
    voxels = np.random.default_rng(1).integers(0, 900, (40, 100, 120)).astype("uint16")
    voxels[:32, :64, :64] = 0
    np.save(tmp_path / "in.npy", voxels)
    return tmp_path / "in.npy"


def run(
    path: Path,
    store: Store,
    workers: Workers | None = None,
    watcher: Watcher | None = None,
    patience: Patience = PATIENCE,
    seen_as: str | None = None,
) -> Outcome:
    """Ingest on workers, or on threads of this process."""
    watcher = watcher or Watcher()
    with closing(open_source(str(path))) as source:
        resolution = resolve(source.description, ANSWERS)
        engine: Engine | None = None
        if workers is not None:
            where = SourceAddress(seen_as or str(path), None, resolution, StorageOptions())
            engine = Cluster(workers, where, watcher, patience)
        return ingest(source, resolution, store, BRAIN, OPTIONS, watcher, engine)


def expected(path: Path) -> dict[str, bytes]:
    """Return what threads write."""
    store = Store("memory://expected")
    run(path, store)
    return tree(store)


def workers_of_this() -> list[psutil.Process]:
    """Return the worker processes that this process has started."""
    children = psutil.Process().children()
    return [child for child in children if any("spawn_main" in word for word in child.cmdline())]


def test_workers_write_what_threads_write(tmp_path: Path, stack: Path) -> None:
    """Byte for byte, empty shards left out alike; every shard is told of once."""
    store, watcher = Store(str(tmp_path / "root")), Watcher()
    assert run(stack, store, LOCAL, watcher).written
    assert tree(store) == expected(stack)
    places = [(entry.level, entry.index) for entry in watcher.shards]
    assert len(set(places)) == len(places)
    assert any(not entry.length and entry.level == 2 for entry in watcher.shards)
    assert workers_of_this() == []


def test_a_worker_that_is_killed_costs_nothing_but_time(tmp_path: Path, stack: Path) -> None:
    """Its units are done by the others, and by the one that takes its place."""

    def kill(what: object) -> None:
        if what == 20:
            workers_of_this()[0].kill()

    store, watcher = Store(str(tmp_path / "root")), Watcher(kill)
    run(stack, store, LOCAL, watcher)
    assert tree(store) == expected(stack)
    assert "lost" in watcher.events


@pytest.mark.slow
def test_what_was_told_before_a_job_stopped_is_not_done_again(tmp_path: Path, stack: Path) -> None:
    """A shard counts as soon as it is done, though its unit is not; the next run does the rest."""

    class Stop(Exception):
        """The job is to end."""

    def stop(what: object) -> None:
        if what == 60:
            raise Stop

    store, first, second = Store(str(tmp_path / "root")), Watcher(stop), Watcher()
    with pytest.raises(Stop):
        run(stack, store, LOCAL, first)
    run(stack, store, LOCAL, second)
    assert tree(store) == expected(stack)
    assert second.known == 60
    assert not {(e.level, e.index) for e in first.shards[:60]} & {
        (e.level, e.index) for e in second.shards
    }


def test_damage_comes_back_as_the_same_error(tmp_path: Path) -> None:
    """What a worker meets in the source is told in the words that threads use."""
    voxels = np.random.default_rng(2).integers(0, 900, (16, 64, 64)).astype("uint16")
    path = tmp_path / "in.tif"
    tifffile.imwrite(path, voxels, compression="zlib", photometric="minisblack")
    with tifffile.TiffFile(path) as tif:
        offset, count = tif.pages[9].dataoffsets[0], tif.pages[9].databytecounts[0]
    with path.open("r+b") as stream:
        stream.seek(offset + count // 2)
        stream.write(zlib.compress(b"\0")[::-1] * 20)
    messages = []
    for workers in (None, LocalWorkers(1)):
        with pytest.raises(SourceError) as caught:
            run(path, Store(str(tmp_path / f"root-{workers}")), workers)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert str(path) in messages[0]


def test_a_root_in_memory_is_refused(stack: Path) -> None:
    """No other process could see it."""
    with pytest.raises(InputError, match="memory://"):
        run(stack, Store("memory://here"), LOCAL)


@pytest.mark.parametrize("address", ["host:8786", "http://host", "tcp://", ""])
def test_an_address_is_that_of_a_scheduler(address: str) -> None:
    """Anything else is refused before anything is written."""
    with pytest.raises(InputError, match="tcp://HOST:PORT"):
        RemoteWorkers(address, 2**31)


@pytest.fixture(scope="module")
def cluster(
    unused_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workers]:
    """Return the workers of a cluster that runs: one of a single thread, one of three."""
    port = unused_port()
    with ExitStack() as stack:
        stack.enter_context(dask_process(*scheduler_words(port)))
        for threads in (1, 3):
            folder = str(tmp_path_factory.mktemp("worker"))
            stack.enter_context(
                dask_process(*worker_words(port, threads), "--local-directory", folder)
            )
        yield RemoteWorkers(f"tcp://127.0.0.1:{port}", 2**31)


@pytest.mark.slow
def test_a_cluster_that_runs_is_used_and_left_running(
    cluster: Workers, tmp_path: Path, stack: Path
) -> None:
    """One job after the other writes what threads write; a second finds nothing to do."""
    for name in ("first", "second"):
        store = Store(str(tmp_path / name))
        assert run(stack, store, cluster).written
        assert not run(stack, store, cluster).written
        assert tree(store) == expected(stack)


@pytest.mark.slow
def test_a_job_whose_leader_is_killed_is_gone_on_with(
    cluster: RemoteWorkers, tmp_path: Path, stack: Path
) -> None:
    """Its workers stop soon, what it noted is kept, and the next one does the rest."""
    store, levels = Store(str(tmp_path / "root")), tmp_path / "root" / str(BRAIN)
    words = [sys.executable, "-m", "microtome_cli", "ingest", str(stack), store.url]
    words += ["--as", str(BRAIN), "--axes", "zyx", "--voxel-size", "1,1,1"]
    words += ["--chunk", "8,8,8", "--shard", "8,16,16", "--scheduler", cluster.address]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1767225600"}
    with subprocess.Popen(words, stderr=subprocess.DEVNULL, env=environment) as leader:
        while len(list(levels.glob("0/c/*/*/*"))) < 5:
            assert leader.poll() is None
            time.sleep(0.001)
        leader.kill()
    run(stack, store, cluster)
    assert tree(store) == expected(stack)


@pytest.mark.slow
def test_workers_use_their_own_credentials(cluster: Workers, s3_store: Store, stack: Path) -> None:
    """What is sent to them names none; these have none, and are refused."""
    with pytest.raises(AccessDenied, match="403"):
        run(stack, s3_store, cluster)


def test_a_worker_that_does_not_see_the_source_is_named(
    cluster: Workers, tmp_path: Path, stack: Path
) -> None:
    """With its host and the file it lacks."""
    lacking = str(tmp_path / "elsewhere" / "in.npy")
    with pytest.raises(SourceError, match=rf"{lacking}.*tcp://.* on {socket.gethostname()}"):
        run(stack, Store(str(tmp_path / "root")), cluster, seen_as=lacking)


def test_a_worker_that_sees_another_source_is_named(
    cluster: Workers, tmp_path: Path, stack: Path
) -> None:
    """A file of that name and another length is not the source."""
    other = tmp_path / "elsewhere" / "in.npy"
    other.parent.mkdir()
    np.save(other, np.ones((40, 100, 121), "uint16"))
    with pytest.raises(SourceError, match=r"another one for worker tcp://"):
        run(stack, Store(str(tmp_path / "root")), cluster, seen_as=str(other))


def test_a_worker_that_sees_another_root_is_named(
    cluster: Workers, tmp_path: Path, stack: Path
) -> None:
    """Where the ingest does not lie in the folder that a worker sees, it writes nothing."""
    store = Store(str(tmp_path / "root"))

    def hide(what: object) -> None:
        if what == "workers":
            store.write(f"{BRAIN}/0/ledger/job.json", b"{}")

    with pytest.raises(InputError, match=r"worker tcp://.* does not see this ingest"):
        run(stack, store, cluster, Watcher(hide))
    assert not [key for key in tree(store) if "/c/" in key]


@pytest.mark.slow
def test_a_worker_of_another_version_is_named(
    unused_port: Callable[[], int], tmp_path: Path, stack: Path
) -> None:
    """It is refused, by its address and both versions, before a unit is handed out."""
    metadata = tmp_path / "path" / "microtome-9.9.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: microtome\nVersion: 9.9\n")
    port = unused_port()
    other = {"PYTHONPATH": str(tmp_path / "path")}
    with dask_process(*scheduler_words(port)), dask_process(*worker_words(port), **other):
        workers = RemoteWorkers(f"tcp://127.0.0.1:{port}", 2**31)
        with pytest.raises(InputError, match=r"worker tcp://\S+ has microtome 9\.9, this is 0"):
            run(stack, Store(str(tmp_path / "root")), workers)


@pytest.mark.slow
def test_a_scheduler_that_is_restarted_is_found_again(
    unused_port: Callable[[], int], tmp_path: Path, stack: Path
) -> None:
    """What was not told is handed out anew, and the bytes are the same."""
    port = unused_port()
    store, watcher = Store(str(tmp_path / "root")), Watcher()
    with ExitStack() as processes:

        def start(_: object = None) -> "subprocess.Popen[bytes]":
            scheduler = processes.enter_context(dask_process(*scheduler_words(port)))
            processes.enter_context(dask_process(*worker_words(port)))
            return scheduler

        scheduler = start()

        def restart(what: object) -> None:
            if what == 30:
                scheduler.send_signal(signal.SIGKILL)
                scheduler.wait()
                start()

        watcher = Watcher(restart)
        run(stack, store, RemoteWorkers(f"tcp://127.0.0.1:{port}", 2**31), watcher)
    assert tree(store) == expected(stack)
    assert "reconnect" in watcher.events
    assert len(watcher.shards) == len({(e.level, e.index) for e in watcher.shards})


@pytest.mark.slow
def test_what_a_cluster_left_another_goes_on_with(
    unused_port: Callable[[], int],
    tmp_path: Path,
    stack: Path,
    s3_store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A scheduler and three workers, to object storage: a worker is killed and costs nothing but
    time; the scheduler is killed with all of them, and the run ends as one to be tried again. On a
    cluster elsewhere the same does the rest, and no shard twice; the bytes are the same.
    """
    for name, value in S3_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    store = Store(s3_store.url, StorageOptions.from_environment(os.environ))
    ports = unused_port(), unused_port()
    impatient = replace(PATIENCE, connect=2.0, connections=2)
    with dask_cluster.cluster(ports[0], 3, tmp_path / "first") as processes:

        def kill(what: object) -> None:
            if what == 20:
                processes[1].kill()
            if what == "lost":
                for process in processes:
                    process.kill()

        with Client(f"tcp://127.0.0.1:{ports[0]}", timeout=60, set_as_default=False) as client:
            client.wait_for_workers(3, timeout=60)
        first = Watcher(kill)
        workers = RemoteWorkers(f"tcp://127.0.0.1:{ports[0]}", 2**31)
        with pytest.raises(StorageError, match="run the same again"):
            run(stack, store, workers, first, impatient)
    second = Watcher()
    with dask_cluster.cluster(ports[1], 3, tmp_path / "second"):
        run(stack, store, RemoteWorkers(f"tcp://127.0.0.1:{ports[1]}", 2**31), second)
    assert tree(store) == expected(stack)
    assert "lost" in first.events
    assert second.known >= len(first.shards) >= 20
    told = {(entry.level, entry.index) for entry in first.shards}
    assert not told & {(entry.level, entry.index) for entry in second.shards}


def test_a_scheduler_that_stays_away_is_worth_another_try(
    unused_port: Callable[[], int], tmp_path: Path, stack: Path
) -> None:
    """After a few tries in vain it is a failure of storage's kind: run again to go on."""
    workers = RemoteWorkers(f"tcp://127.0.0.1:{unused_port()}", 2**31)
    impatient = replace(PATIENCE, connect=0.3, connections=2)
    with pytest.raises(StorageError, match="run the same again"):
        run(stack, Store(str(tmp_path / "root")), workers, patience=impatient)


def test_a_cluster_without_workers_is_worth_another_try(
    unused_port: Callable[[], int], tmp_path: Path, stack: Path
) -> None:
    """Nobody waits for ever for a worker that does not come."""
    port = unused_port()
    impatient = replace(PATIENCE, absent=0.5)
    with dask_process(*scheduler_words(port)):
        workers = RemoteWorkers(f"tcp://127.0.0.1:{port}", 2**31)
        began = time.monotonic()
        with pytest.raises(StorageError, match="no worker"):
            run(stack, Store(str(tmp_path / "root")), workers, patience=impatient)
        assert time.monotonic() - began < 60
