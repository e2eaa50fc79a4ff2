"""Replicas behind the proxy that is shipped: one after the other is killed, and nobody notices."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import urllib3
from numpy.typing import NDArray

import microtome
from microtome_cli.main import main
from tests import nginx
from tests.contract.conftest import wait_until_ready

if nginx.program() is None:
    pytest.skip("nginx: not installed, see .ci/packages", allow_module_level=True)

LAYER = "demo/brain/em"
# Three minutes; a shorter trial takes MICROTOME_CHAOS_SECONDS.
SECONDS = float(os.environ.get("MICROTOME_CHAOS_SECONDS", "180"))
PERIOD = 10.0
BOX = (8, 48, 48)


@dataclass(slots=True)
class Replicas:
    """Processes of the service on one root, each of which may be killed and started again."""

    root: Path
    ports: list[int]
    kills: int = 0
    processes: dict[int, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self, port: int) -> None:
        """Start one."""
        words = [sys.executable, "-m", "microtome_cli", "serve", str(self.root)]
        self.processes[port] = subprocess.Popen(
            [*words, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill_one(self) -> None:
        """Kill the next one with no time to say anything, and start it again as a cluster would.

        The one after it was killed longest ago, and must be back: one at least answers.
        """
        port, after = (self.ports[(self.kills + n) % len(self.ports)] for n in (0, 1))
        wait_until_ready(f"http://127.0.0.1:{after}", self.processes[after])
        self.processes[port].send_signal(signal.SIGKILL)
        self.processes[port].wait()
        self.kills += 1
        self.start(port)

    def wait(self) -> None:
        """Return when all of them answer."""
        for port, process in self.processes.items():
            wait_until_ready(f"http://127.0.0.1:{port}", process)


@pytest.fixture
def replicas(tmp_path: Path, unused_port: Callable[[], int]) -> Iterator[Replicas]:
    """Run three of them."""
    found = Replicas(tmp_path / "root", [unused_port() for _ in range(3)])
    try:
        found.root.mkdir()
        yield found
    finally:
        for process in found.processes.values():
            process.kill()
            process.wait()


class Load:
    """Threads that ask for boxes at random places, and hold each answer against the truth."""

    def __init__(self, url: str, truth: NDArray[np.uint16]) -> None:
        self._url, self._truth = url, truth
        self._stop, self._lock = threading.Event(), threading.Lock()
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []

    @contextmanager
    def running(self, raw: int, clients: int) -> Iterator[None]:
        """Ask, by plain requests and by the thin client, until the block ends."""
        kinds = [self._raw] * raw + [self._client] * clients
        threads = [
            threading.Thread(target=kind, args=(np.random.default_rng(number),))
            for number, kind in enumerate(kinds)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(120)

    def _box(self, rng: np.random.Generator) -> tuple[slice, ...]:
        low = [int(rng.integers(0, n - b + 1)) for n, b in zip(self._truth.shape, BOX, strict=True)]
        return tuple(slice(start, start + b) for start, b in zip(low, BOX, strict=True))

    def _note(self, what: str, fault: object = None) -> None:
        with self._lock:
            self.counts[what] += 1
            if fault is not None:
                self.faults.append(f"{what}: {fault}")

    def _raw(self, rng: np.random.Generator) -> None:
        """Ask once each time, with no second try of anything."""
        pool = urllib3.PoolManager(timeout=60, retries=False)
        while not self._stop.is_set():
            box = self._box(rng)
            where = "&".join(f"{a}={s.start}:{s.stop}" for a, s in zip("zyx", box, strict=True))
            try:
                url = f"{self._url}/api/datasets/{LAYER}/cutout?{where}&format=raw"
                answer = pool.request("GET", url)
            except urllib3.exceptions.HTTPError as error:
                self._note("raw error", repr(error))
                continue
            if answer.status != 200:
                self._note("raw error", f"{answer.status} {answer.data[:200]!r}")
            else:
                self._compare("raw", np.frombuffer(answer.data, "<u2"), box)

    def _client(self, rng: np.random.Generator) -> None:
        """Index the volume, as people do."""
        volume = microtome.open(f"{self._url}/{LAYER}")
        while not self._stop.is_set():
            box = self._box(rng)
            try:
                found = np.asarray(volume[box])
            except Exception as error:  # noqa: BLE001 - whatever a user sees counts
                self._note("client error", repr(error))
            else:
                self._compare("client", found.ravel(), box)

    def _compare(self, kind: str, found: NDArray[np.uint16], box: tuple[slice, ...]) -> None:
        same = np.array_equal(found, self._truth[box].ravel())
        self._note(kind) if same else self._note("wrong", f"{kind} {box}")


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 300)
def test_a_replica_that_is_killed_every_ten_seconds_is_not_missed(
    tmp_path: Path, replicas: Replicas, unused_port: Callable[[], int]
) -> None:
    """No answer is wrong, fewer than one plain request in a thousand fails, and of the thin
    client's none does, whichever replica dies in its midst.
    """
    truth = np.random.default_rng(1).integers(0, 60000, (64, 256, 256)).astype("uint16")
    np.save(tmp_path / "in.npy", truth)
    sizes = ["--axes", "zyx", "--voxel-size", "1,1,1", "--chunk", "16,64,64"]
    words = ["ingest", str(tmp_path / "in.npy"), str(replicas.root), "--as", LAYER, *sizes]
    assert main(words) == 0
    for port in replicas.ports:
        replicas.start(port)
    replicas.wait()
    services = [f"127.0.0.1:{port}" for port in replicas.ports]
    with ExitStack() as stack:
        proxy = stack.enter_context(nginx.running(tmp_path / "nginx", unused_port(), services))
        load = Load(proxy.url, truth)
        stack.enter_context(load.running(raw=4, clients=2))
        began = time.monotonic()
        for number in range(1, int(SECONDS / PERIOD)):
            time.sleep(max(0.0, began + number * PERIOD - time.monotonic()))
            replicas.kill_one()
        time.sleep(max(0.0, began + SECONDS - time.monotonic()))
    counts = load.counts
    told = f"{dict(counts)} with {replicas.kills} kills: {load.faults[:10]}"
    print(told)
    assert counts["wrong"] == 0, told
    assert counts["client"] > 0 == counts["client error"], told
    asked = counts["raw"] + counts["raw error"]
    assert counts["raw error"] / asked < 0.001, told
