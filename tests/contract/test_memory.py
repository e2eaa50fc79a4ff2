"""However much is asked for, and by however many, the service stays within its memory."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import urllib3
from numpy.typing import NDArray

from microtome_core.levels import Level
from microtome_core.names import DatasetId
from microtome_core.store.array import ArraySpec, Codec, create_array
from microtome_core.store.layer import ensure_groups, publish_layer
from microtome_core.store.location import Store
from microtome_core.store.ome import ImageLabel, Ome, multiscale

MIB = 1 << 20
SHAPE = (1024, 512, 512)
STEP = 32
CUTOUT = "/api/datasets/demo/large/ids/cutout?format=raw"
LIMITS = {
    "MICROTOME_CACHE_BYTES": str(32 * MIB),
    "MICROTOME_MAX_CUTOUT_BYTES": str(96 * MIB),
    "MICROTOME_MAX_FLYING_BYTES": str(192 * MIB),
    "MICROTOME_MAX_SHARE": "1",
}
# The cache, what flies, what the engine and the allocator hold beside it.
ALLOWED = (32 + 192 + 200) * MIB


def ids(first: int) -> NDArray[Any]:
    """Return the labels of `STEP` planes from `first` on: no two blocks have the same."""
    z, y, x = np.ogrid[first : first + STEP, 0 : SHAPE[1], 0 : SHAPE[2]]
    return (z * 7919 + (y // 8) * 4096 + x // 8).astype("<u4")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with labels of 1 GiB."""
    root = tmp_path_factory.mktemp("large")
    store = Store(str(root))
    ensure_groups(store, DatasetId("demo", "large"))
    spec = ArraySpec("zyx", SHAPE, (STEP,) * 3, (STEP, 256, 256), "uint32", Codec("zstd", 1))
    array = create_array(store, "demo/large/ids/0", spec)
    for first in range(0, SHAPE[0], STEP):
        array[first : first + STEP] = ids(first)
    level = Level((1, 1, 1), SHAPE, (1.0, 1.0, 1.0))
    scales = multiscale("ids", "zyx", ["micrometer"] * 3, [level], "mode")
    ome = Ome(multiscales=[scales], omero=None, image_label=ImageLabel())
    publish_layer(store, "demo/large/ids", {"ome": ome.to_json(), "nwb": {}})
    return root


class Peak:
    """The most memory that a process had while the block lasted, and before it."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.before = process.memory_info().rss
        self.most = self.before

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.005):
            self.most = max(self.most, self._process.memory_info().rss)


@contextmanager
def serving(root: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Run ``microtome serve`` within `LIMITS`; yield its address and process."""
    words = [sys.executable, "-m", "microtome_cli", "serve", str(root), "--port", "0"]
    environment = {**os.environ, **LIMITS}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            address = re.search(r"http://\S+", child.stdout.readline())
            assert address
            url = address[0]
            urllib3.request(
                "GET", f"{url}/health/ready", retries=urllib3.Retry(9, backoff_factor=0.1)
            )
            yield url, psutil.Process(child.pid)
        finally:
            child.terminate()
            assert child.wait(30) in {0, -signal.SIGTERM}


@pytest.mark.long
def test_a_cutout_of_many_times_the_memory_is_exact(large: Path) -> None:
    """1 GiB through 96 MiB: every voxel is the source's, and the process stays small."""
    with serving(large) as (url, process), Peak(process) as peak:
        answer = urllib3.request("GET", f"{url}{CUTOUT}", preload_content=False, timeout=60)
        assert answer.headers["Content-Length"] == str(4 * np.prod(SHAPE))
        for first in range(0, SHAPE[0], STEP):
            piece = answer.read(ids(first).nbytes)
            assert piece == ids(first).tobytes(), first
        assert answer.read(1) == b""
    assert peak.most - peak.before < (32 + 96 + 200) * MIB


@pytest.mark.slow
def test_many_callers_together_stay_within_the_bound(large: Path) -> None:
    """Twenty-four callers of boxes that touch many chunks: all right or refused, none too much."""

    def ask(number: int) -> int:
        z, x = 97 * number % 900, 31 * number % 400
        box = f"&z={z}:{z + 40}&y=5:450&x={x}:{x + 100}"
        with urllib3.PoolManager() as pool:
            answer = pool.request("GET", f"{url}{CUTOUT}{box}", timeout=60, retries=False)
        if answer.status == 200:
            first = ids(z)[0, 5:450, x : x + 100]
            assert answer.data[: first.nbytes] == first.tobytes()
            assert len(answer.data) == 40 * 445 * 100 * 4
        return answer.status

    with serving(large) as (url, process), Peak(process) as peak, ThreadPoolExecutor(24) as pool:
        statuses = list(pool.map(ask, range(60)))
        begun = time.monotonic()
        assert urllib3.request("GET", f"{url}{CUTOUT}&z=0&y=0&x=0").status == 200
        assert time.monotonic() - begun < 5
    assert set(statuses) <= {200, 429, 503}
    assert statuses.count(200) > 30
    assert peak.most - peak.before < ALLOWED
