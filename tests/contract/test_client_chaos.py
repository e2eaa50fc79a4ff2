"""Whatever happens between client and service: the array is right, or an error in time."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import microtome
from microtome.errors import BrokenConnection, MicrotomeError, StorageError
from microtome_core.levels import Level
from microtome_core.names import LayerId
from microtome_core.store.array import ArraySpec, Codec, create_array
from microtome_core.store.layer import ensure_groups
from microtome_core.store.location import Store
from tests.contract.conftest import wait_until_ready
from tests.faults import FaultProxy
from tests.service.conftest import StoreBuilder

NAME = "demo/chaos/noise"
DEPTH = 64
# Each is some 20 s.
_TRIES = 5
EDGE = 512
SMALL = (DEPTH, EDGE, EDGE)


def slab(number: int, edge: int) -> NDArray[np.uint16]:
    """Return the planes of one row of chunks; no two voxels near each other are equal."""
    base = np.random.default_rng(number).integers(0, 2**16, (1, edge, edge), np.uint16)
    return base + np.arange(DEPTH, dtype=np.uint16)[:, None, None]


def make(root: Path, shape: tuple[int, int, int]) -> None:
    """Write a layer slab by slab."""
    store = Store(str(root))
    ensure_groups(store, LayerId.parse(NAME).parent)
    spec = ArraySpec("zyx", shape, (DEPTH,) * 3, (DEPTH, 256, 256), "uint16", Codec("zstd", 1))
    array = create_array(store, f"{NAME}/0", spec)
    for number in range(shape[0] // DEPTH):
        array[number * DEPTH : (number + 1) * DEPTH] = slab(number, shape[2])
    levels = [Level((1, 1, 1), shape, (1.0, 1.0, 1.0))]
    StoreBuilder(store).publish(NAME, "zyx", levels, np.zeros((1, 1, 1), "uint16"))


def wrong(block: NDArray[np.uint16]) -> list[int]:
    """Return the slabs that are not as they were written."""
    count = block.shape[0] // DEPTH
    pairs = ((n, block[n * DEPTH : (n + 1) * DEPTH]) for n in range(count))
    return [n for n, part in pairs if not np.array_equal(part, slab(n, block.shape[2]))]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a layer of 32 MiB."""
    folder = tmp_path_factory.mktemp("chaos")
    make(folder, SMALL)
    return folder


class Served:
    """A service in a process of its own, that may be killed and started anew."""

    def __init__(self, root: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._words = [
            *(sys.executable, "-m", "microtome_cli", "serve", str(root), "--port", str(port))
        ]
        self.restarts = 0
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = subprocess.Popen(self._words, stdout=subprocess.DEVNULL)
        try:
            self._wait()
        except BaseException:
            self.kill()
            raise

    def _wait(self) -> None:
        for _ in range(_TRIES):
            try:
                wait_until_ready(self.url, self._process)
            except TimeoutError:
                # A busy machine.
                continue
            return
        raise TimeoutError(self.url)

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)

    def restart(self) -> None:
        """Kill it, and start it anew after a moment."""
        self.kill()
        time.sleep(0.3)
        self.start()
        self.restarts += 1


@contextmanager
def serving(root: Path, port: int) -> Iterator[Served]:
    """Serve a root until the end of the block."""
    service = Served(root, port)
    try:
        yield service
    finally:
        service.kill()


@pytest.fixture(scope="module")
def service(root: Path, unused_port: Callable[[], int]) -> Iterator[Served]:
    """A running service."""
    with serving(root, unused_port()) as running:
        yield running


def read_while(service: Served, happen: Callable[[], None], **options: Any) -> NDArray[Any]:  # noqa: ANN401 - of open
    """Read the whole layer while something happens in another thread."""
    volume = microtome.open(f"{service.url}/{NAME}", **options)
    meanwhile = threading.Thread(target=happen)
    meanwhile.start()
    try:
        return np.asarray(volume[...])
    finally:
        meanwhile.join()


@pytest.mark.long
def test_a_restart_in_the_middle_of_a_read_is_survived(service: Served) -> None:
    """Parts that broke off are asked for again, of the service that comes back."""
    service_up = read_while(service, service.restart, retries=12, parallel=2)
    assert wrong(service_up) == []
    assert service.restarts >= 1


def test_a_service_that_stays_away_is_an_error_in_time(root: Path, unused_port: Any) -> None:  # noqa: ANN401
    """After the tries that were allowed, not before long and not never."""
    with serving(root, unused_port()) as service:
        begun = time.monotonic()
        with pytest.raises((BrokenConnection, StorageError)):
            read_while(service, service.kill, retries=2, timeout=3.0, parallel=2)
        assert time.monotonic() - begun < 15


@pytest.mark.parametrize("transfer", ["raw", "zstd", "chunks"])
def test_faults_on_the_way_are_survived(service: Served, transfer: str) -> None:
    """503, torn connections, bodies cut short and delays, on a third of all requests."""
    rates = {"slow_down": 0.12, "reset": 0.1, "truncated": 0.1, "delay": 0.05}
    with FaultProxy(service.url, rates=rates, seed=1, delay=0.3) as proxy:
        volume = microtome.open(f"{proxy.url}/{NAME}", retries=9, transfer=transfer)
        for _ in range(2):
            assert wrong(volume[...]) == []
            keys = [np.s_[z : z + 8, 100:140, 7:40] for z in range(0, 56, 7)]
            whole = slab(0, EDGE)
            blocks = volume.batch(keys)
            pairs = zip(blocks, keys, strict=True)
            assert all(np.array_equal(block, whole[key]) for block, key in pairs)
        assert proxy.faults.total() > 0


def test_without_patience_a_fault_is_an_error(service: Served) -> None:
    """No retries: each read is right or raises; at these odds some do either."""
    rates = {"slow_down": 0.15, "reset": 0.15, "truncated": 0.15}
    outcomes = set()
    with FaultProxy(service.url, rates=rates, seed=3, only=".*cutout.*") as proxy:
        volume = microtome.open(f"{proxy.url}/{NAME}", retries=0, parallel=2, timeout=5)
        for n in range(24):
            try:
                block = volume[n : n + 3, ::2]
            except MicrotomeError:
                outcomes.add("error")
            else:
                outcomes.add("right")
                assert np.array_equal(block, slab(0, EDGE)[n : n + 3, ::2])
    assert outcomes == {"error", "right"}


def test_a_layer_that_is_replaced_under_way_never_mixes(
    service: Served, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parts are of one version, or the read is an error that says to open it again."""
    from microtome import parts

    monkeypatch.setattr(parts, "SINGLE", 1 << 18)
    monkeypatch.setattr(parts, "LARGEST", 1 << 20)
    volume = microtome.open(f"{service.url}/{NAME}", parallel=1)
    store = Store(str(root))

    def replace() -> None:
        levels = [Level((1, 1, 1), SMALL, (2.0, 1.0, 1.0))]
        StoreBuilder(store).publish(NAME, "zyx", levels, np.zeros((1, 1, 1), "uint16"))

    outcome: list[str] = []
    meanwhile = threading.Timer(0.05, replace)
    meanwhile.start()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not outcome:
        try:
            assert wrong(volume[...]) == []
        except microtome.errors.LayerChanged:
            outcome.append("changed")
    meanwhile.join()
    assert outcome == ["changed"]
    assert microtome.open(volume.url).voxel_size["z"] == 2.0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_restart_in_the_middle_of_two_gibibytes(tmp_path: Path, unused_port: Any) -> None:  # noqa: ANN401
    """The same for a read that takes long: killed twice, and right to the last voxel."""
    make(tmp_path, (1024, 1024, 1024))
    with serving(tmp_path, unused_port()) as service:

        def twice() -> None:
            for _ in range(2):
                time.sleep(1.5)
                service.restart()

        block = read_while(service, twice, retries=12)
        assert wrong(block) == []
        assert service.restarts == 2
