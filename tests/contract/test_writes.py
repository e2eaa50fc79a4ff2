"""Writing through a real server of two worker processes, on folders and on S3."""

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from typing import Any

import httpx
import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from microtome_core.names import LayerId
from microtome_core.region import Region
from microtome_core.store.binning import binned
from microtome_core.store.coarser import level_bins
from microtome_core.store.create import NewLayer, create_layer
from microtome_core.store.layer import read_layer
from microtome_core.store.location import Store

SEG = LayerId("demo", "brain", "seg")
SHAPE, SHARD = (24, 70, 70), (8, 32, 32)
NEW = NewLayer("zyx", SHAPE, "uint32", (2.0, 1.0, 1.0), ("um",) * 3, chunk=(4, 16, 16), shard=SHARD)
WHOLE = Region.whole("zyx", SHAPE)
NPY = {"Content-Type": "application/x-npy"}


@dataclass(frozen=True, slots=True)
class Server:
    """A running service.

    Parameters
    ----------
    url : str
    process : Popen
        Leads a process group of its own.
    """

    url: str
    process: "subprocess.Popen[bytes]"

    @property
    def cutout(self) -> str:
        """The address of cutouts."""
        return f"{self.url}/api/datasets/{SEG}/cutout"

    def kill(self) -> None:
        """End all its processes at once, by SIGKILL."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)


@contextmanager
def serving(root: str, port: int) -> Iterator[Server]:
    """Run ``microtome serve`` with two workers, in which everybody may write."""
    words = [sys.executable, "-m", "microtome_cli", "serve", root, "--port", str(port)]
    environment = {**os.environ, "MICROTOME_ANONYMOUS_WRITES": "1", "MICROTOME_WORKERS": "2"}
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        words, stdout=subprocess.DEVNULL, env=environment, start_new_session=True
    ) as process:
        try:
            _wait(url, process)
            yield Server(url, process)
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    raise


def _wait(url: str, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(900):
        try:
            urllib.request.urlopen(f"{url}/health/ready", timeout=1).close()
        except (OSError, urllib.error.HTTPError):
            assert process.poll() is None, "the service ended at its start"
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(url)


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.slow)])
def root(request: pytest.FixtureRequest, tmp_path: Any) -> Store:  # noqa: ANN401 - a path
    """A store with one empty layer of 3 × 3 × 3 shards."""
    store = Store(str(tmp_path)) if request.param == "file" else request.getfixturevalue("s3_store")
    create_layer(store, SEG, NEW)
    return Store(store.url, store.options)


def words(region: Region, **more: str) -> dict[str, str]:
    """Return a region as query parameters."""
    ranges = zip(region.axes, region.start, region.stop, strict=True)
    return {**{axis: f"{low}:{high}" for axis, low, high in ranges}, **more}


def npy(block: NDArray[Any]) -> bytes:
    """Return a body."""
    body = BytesIO()
    np.save(body, block)
    return body.getvalue()


def cut(server: Server, region: Region, **more: str) -> NDArray[Any]:
    """Return a region through a new connection, so from either worker."""
    answer = httpx.get(server.cutout, params=words(region, **more), timeout=60)
    assert answer.status_code == 200, answer.text
    return np.asarray(np.load(BytesIO(answer.content)))


def level_of(server: Server, level: int) -> NDArray[Any]:
    """Return a whole level."""
    answer = httpx.get(server.cutout, params={"level": str(level)}, timeout=60)
    assert answer.status_code == 200, answer.text
    return np.asarray(np.load(BytesIO(answer.content)))


def check_levels(server: Server, store: Store) -> None:
    """Wait until the levels are said to be current; they are what an ingest makes of level 0."""
    for _ in range(300):
        answer = httpx.head(server.cutout, params={"level": "1"}, timeout=60)
        if answer.headers["x-microtome-pyramid"] == "current":
            break
        time.sleep(0.1)
    assert answer.headers["x-microtome-pyramid"] == "current"
    layer = read_layer(store, SEG)
    levels = [level_of(server, number) for number in range(len(layer.info.levels))]
    for (finer, coarser), bins in zip(pairwise(levels), level_bins(layer), strict=True):
        assert np.array_equal(coarser, binned(finer, bins, "mode"))


def in_zarr_python(store: Store) -> NDArray[Any]:
    """Return level 0 as zarr-python reads it."""
    path = f"{store.url}/{SEG}/0"
    if path.startswith("file://"):
        return np.asarray(zarr.open_array(path.removeprefix("file://"), mode="r")[...])
    options = {"endpoint_url": store.options.endpoint}
    return np.asarray(zarr.open_array(path, mode="r", storage_options=options)[...])


@pytest.mark.long
def test_disjoint_writes_by_many_threads_are_what_a_serial_model_makes(
    root: Store, unused_port: Callable[[], int]
) -> None:
    """Hundreds of PUT and PATCH through both workers, in boxes that share chunks and shards."""
    boxes = list(WHOLE.split((7, 29, 37) if root.url.startswith("file") else (13, 37, 37)))
    model = np.zeros(SHAPE, "uint32")

    def write(number: int) -> None:
        rng = np.random.default_rng(number)
        for step in range(4):
            # A new connection each, so that both workers get some.
            block = rng.integers(0, 3, boxes[number].shape).astype("uint32") * (step + 1)
            method = "PATCH" if step % 2 else "PUT"
            answer = httpx.request(method, server.cutout, params=words(boxes[number]),
                                   content=npy(block), headers=NPY, timeout=60)  # fmt: skip
            assert answer.status_code == 204, answer.text
            old = model[boxes[number].slices]
            model[boxes[number].slices] = np.where(block != 0, block, old) if step % 2 else block
        assert np.array_equal(cut(server, boxes[number]), model[boxes[number].slices])

    with serving(root.url, unused_port()) as server:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, range(len(boxes))))
        for _ in range(4):
            assert np.array_equal(cut(server, WHOLE), model)
        check_levels(server, root)
    assert np.array_equal(in_zarr_python(root), model)


@pytest.mark.slow
def test_overlapping_writes_leave_each_shard_as_some_order_of_them_does(
    root: Store, unused_port: Callable[[], int]
) -> None:
    """And a read during the writes finds a shard that is replaced as a whole of one value."""
    regions = some_regions(40)
    one = Region("zyx", (0, 0, 0), SHARD)
    # Where no smaller write lands, every voxel is of the last write of the whole shard.
    free = np.ones(SHARD, bool)
    for region in regions:
        common = region & one
        if common is not None:
            free[common.slices] = False
    assert free.sum() > 100
    ended, seen = threading.Event(), []

    def write(number: int) -> None:
        for region, value in ((regions[number], number + 1), (one, 1000 + number)):
            content = npy(np.full(region.shape, value, "uint32"))
            answer = httpx.put(server.cutout, params=words(region), content=content, headers=NPY,
                               timeout=60)  # fmt: skip
            assert answer.status_code == 204, answer.text

    def read() -> None:
        while not ended.is_set():
            seen.append(np.unique(cut(server, one)[free]))

    with serving(root.url, unused_port()) as server:
        reader = threading.Thread(target=read)
        reader.start()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, range(len(regions))))
        ended.set()
        reader.join()
        final = cut(server, WHOLE)
        check_levels(server, root)
    assert all(len(values) == 1 for values in seen)
    assert len({int(values[0]) for values in seen}) > 2
    writes = [(region, n + 1) for n, region in enumerate(regions)]
    writes += [(one, 1000 + n) for n in range(len(regions))]
    for shard in WHOLE.split(SHARD):
        assert is_some_order(final, shard, writes)


def some_regions(count: int) -> list[Region]:
    """Return boxes that leave a part of the first shard to itself."""
    rng, regions = np.random.default_rng(3), []
    for _ in range(count):
        start = [int(rng.integers(3, n - 1)) for n in SHAPE]
        stop = [int(rng.integers(low + 1, n + 1)) for low, n in zip(start, SHAPE, strict=True)]
        regions.append(Region("zyx", tuple(start), tuple(stop)))
    return regions


def is_some_order(final: NDArray[Any], shard: Region, writes: list[tuple[Region, int]]) -> bool:
    """Take off, one after another, writes of which nothing is hidden; nothing may be left."""
    left = final.copy()[shard.slices].astype("int64")
    todo = []
    for region, value in writes:
        part = region & shard
        if part is not None:
            todo.append((part.relative_to(shard.start).slices, value))
    while todo:
        on_top = [w for w in todo if np.isin(left[w[0]], (w[1], -1)).all()]
        if not on_top:
            return False
        for slices, value in on_top:
            left[slices] = -1
            todo.remove((slices, value))
    return bool(np.isin(left, (0, -1)).all())


@pytest.mark.slow
def test_of_many_who_hold_the_same_tag_one_writes(
    root: Store, unused_port: Callable[[], int]
) -> None:
    """Through both workers, of a region of eight shards; the others get 412 and change nothing."""
    region = Region("zyx", (4, 20, 20), (12, 40, 40))
    with serving(root.url, unused_port()) as server:
        for turn in range(1, 4):
            tag = httpx.head(server.cutout, params=words(region), timeout=60).headers["etag"]

            def write(number: int, turn: int = turn, tag: str = tag) -> int:
                block = np.full(region.shape, turn * 100 + number, "uint32")
                headers = {**NPY, "If-Match": tag}
                return httpx.put(server.cutout, params=words(region), content=npy(block),
                                 headers=headers, timeout=60).status_code  # fmt: skip

            with ThreadPoolExecutor(12) as pool:
                statuses = list(pool.map(write, range(12)))
            assert sorted(set(statuses)) == [204, 412]
            assert statuses.count(204) == 1
            assert (cut(server, region) == turn * 100 + statuses.index(204)).all()


@pytest.mark.long
def test_what_was_answered_survives_the_death_of_the_server(
    root: Store, unused_port: Callable[[], int]
) -> None:
    """Killed amid writes and started again: every answered write is there, others per shard whole
    or not at all, and the levels come to agree.
    """
    boxes = list(WHOLE.split((5, 19, 23)))
    answered: set[int] = set()

    def write(number: int) -> None:
        block = np.full(boxes[number].shape, number + 1, "uint32")
        try:
            answer = httpx.put(server.cutout, params=words(boxes[number]), content=npy(block),
                               headers=NPY, timeout=60)  # fmt: skip
        except httpx.HTTPError:
            return
        assert answer.status_code == 204
        answered.add(number)
        if len(answered) == len(boxes) // 2:
            server.kill()

    with serving(root.url, unused_port()) as server, ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(len(boxes))))
    assert len(boxes) // 2 <= len(answered) < len(boxes)
    with serving(root.url, unused_port()) as server:
        final = cut(server, WHOLE)
        for number, box in enumerate(boxes):
            for shard in box.split(SHARD):
                values = np.unique(final[shard.slices])
                assert len(values) == 1
                assert values[0] in ((number + 1,) if number in answered else (0, number + 1))
        check_levels(server, root)
    assert np.array_equal(in_zarr_python(root), final)
