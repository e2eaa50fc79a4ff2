"""Cutouts over HTTP through the client, beside TensorStore in process and bytes from memory."""

import itertools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from statistics import mean, median

import numpy as np
import urllib3
from numpy.typing import NDArray
from PIL import Image

import microtome
from microtome_core.store.array import open_array
from microtome_core.store.location import StorageOptions, Store
from microtome_service.images import encode_image
from tests.benchmarks.data import SHAPE, Stack
from tests.benchmarks.table import Row

LAYER = "bench/stack/noise"
EDGES = (32, 128, 256)
CACHE = 3 * 2**30
ROUNDS = 4
WARM_ROUNDS = 12
# Boxes begin off the chunks' edges, as users' boxes do.
_OFFSET = 17

Box = tuple[slice, slice, slice]
Reader = Callable[[Box], object]


def measure(folder: Path, stack: Stack) -> list[Row]:
    """Return cold and warm rates of boxes of each size."""
    del stack
    rows = []
    root = str((folder / "root").absolute())
    for edge in EDGES:
        boxes = _boxes(edge)
        rows += _cold(root, edge, boxes)
        rows += _warm(root, edge, boxes[:8])
    return [*rows, *_answers(root)]


def _boxes(edge: int) -> list[Box]:
    """Return boxes no two of which touch the same chunk."""
    step = 96 * -(-(edge + _OFFSET) // 96)
    starts = [range(_OFFSET, extent - edge + 1, step) for extent in SHAPE]
    boxes = [
        (slice(z, z + edge), slice(y, y + edge), slice(x, x + edge))
        for z, y, x in itertools.product(*starts)
    ]
    return [boxes[i] for i in np.random.default_rng(edge).permutation(len(boxes))][:48]


def _cold(root: str, edge: int, boxes: Sequence[Box]) -> list[Row]:
    """Read boxes with a service and in a process that keep nothing they have decoded.

    Both in turn, box by box, so that a machine that is slower for a while is so for both; one reads
    the even boxes and the other the odd ones, and in the next round they change places.
    """
    boxes = boxes[: len(boxes) // 2 * 2]
    with _server(root, 0) as url:
        readers = microtome.open(f"{url}/{LAYER}").__getitem__, _in_process(root, 0)
        for read in readers:
            _rate(read, boxes[:4])  # opens what is opened once: connections, metadata, memory
        return [_cold_row(root, edge, boxes, readers, disk=disk) for disk in (True, False)]


def _cold_row(
    root: str, edge: int, boxes: Sequence[Box], readers: Sequence[Reader], *, disk: bool
) -> Row:
    """Measure with the system's cache emptied of the files before each round, or full of them."""
    times: tuple[list[float], list[float]] = [], []
    for turn in range(ROUNDS):
        _prepare_files(root, forget=disk)
        for i, box in enumerate(boxes):
            times[(i + turn) % 2].append(_seconds(readers[(i + turn) % 2], box))
    ours, theirs = (edge**3 * 2 / 1e6 / mean(seconds) for seconds in times)
    what = "from disk" if disk else "files in the system's cache"
    return Row(f"{edge}³ cold, {what}", ours, "TensorStore in process", theirs, 0.9)


def _prepare_files(root: str, *, forget: bool) -> None:
    for file in (path for path in Path(root).rglob("*") if path.is_file()):
        with file.open("rb") as stream:
            if forget:
                os.fsync(stream.fileno())
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            else:
                stream.read()


def _seconds(read: Reader, box: Box) -> float:
    started = time.perf_counter()
    read(box)
    return time.perf_counter() - started


def _warm(root: str, edge: int, boxes: Sequence[Box]) -> list[Row]:
    """Read boxes again and again that have been decoded before, beside as many bytes, in turn.

    TensorStore in process comes after: its copies would throw the others' out of the processor.
    """
    with _server(root, CACHE) as url:
        ours, bodies = _in_turn(
            microtome.open(f"{url}/{LAYER}").__getitem__,
            _body(url, edge**3 * 2, len(boxes)),
            boxes,
        )
    near, _ = _in_turn(_in_process(root, CACHE), lambda _: None, boxes)
    rates = [edge**3 * 2 / 1e6 / seconds for seconds in (ours, bodies, near)]
    aim = 0.7 if edge == 128 else None
    return [
        Row(f"{edge}³ warm", rates[0], "as many bytes from memory, same server", rates[1], aim),
        Row(f"{edge}³ warm", rates[0], "TensorStore in process", rates[2]),
    ]


def _in_turn(one: Reader, other: Reader, boxes: Sequence[Box]) -> tuple[float, float]:
    """Return the median seconds of two readers that take turns, once both have seen each box."""
    for read in (one, other):
        _rate(read, boxes)
    times = [(_seconds(one, b), _seconds(other, b)) for b in [*boxes] * WARM_ROUNDS]
    return median(pair[0] for pair in times), median(pair[1] for pair in times)


def _rate(read: Reader, boxes: Sequence[Box]) -> float:
    """Return MB/s of voxels over all boxes, one after the other."""
    started = time.perf_counter()
    for box in boxes:
        read(box)
    seconds = time.perf_counter() - started
    return len(boxes) * (boxes[0][0].stop - boxes[0][0].start) ** 3 * 2 / seconds / 1e6


def _answers(root: str) -> list[Row]:
    """Return answers a second, by the median: of a small cutout and of a tile, beside the least.

    The least of a cutout is a route that answers nothing, of a tile the encoder of its picture.
    """
    boxes, pool = _boxes(32)[:8], urllib3.PoolManager(maxsize=1)
    with _server(root, CACHE) as url:
        read = microtome.open(f"{url}/{LAYER}").__getitem__
        small, empty = _in_turn(
            read, lambda _: pool.request("GET", f"{url}/benchmark/empty"), boxes
        )
        picture = f"{url}/api/datasets/{LAYER}/tiles/xy/0/{{}}/1/1.png"
        planes = [_picture(pool.request("GET", picture.format(b[0].start)).data) for b in boxes]
        drawn = itertools.cycle(planes)
        tile, alone = _in_turn(
            lambda box: pool.request("GET", picture.format(box[0].start)),
            lambda _: encode_image(next(drawn), "image/png"),
            boxes,
        )
    return [
        Row("32³ warm, answers a second", 1 / small, "an empty route", 1 / empty, 0.5),
        Row("256² PNG tile, answers a second", 1 / tile, "its encoder alone", 1 / alone, 0.77),
    ]


def _picture(body: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(BytesIO(body)))


def _in_process(root: str, cache: int) -> Reader:
    array = open_array(Store(root, StorageOptions(cache_bytes=cache)), f"{LAYER}/0")
    return lambda box: array[box].read().result()


def _body(url: str, size: int, count: int) -> Reader:
    """Return a function that receives `size` bytes from memory into a new buffer.

    Bodies are `count` different ones in turn: one alone would stay in the processor's cache, as
    voxels that are asked for do not.
    """
    pool = urllib3.PoolManager(maxsize=1)
    numbers = itertools.cycle(range(count))

    def read(_: Box) -> None:
        address = f"{url}/benchmark/body/{size}/{next(numbers)}"
        target = np.empty(size, np.uint8).data
        response = pool.request("GET", address, preload_content=False)
        done = 0
        while data := response.read1(256 << 10):
            target[done : done + len(data)] = data
            done += len(data)
        assert done == size
        response.release_conn()

    return read


@contextmanager
def _server(root: str, cache: int) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [sys.executable, "-m", "tests.benchmarks.server", root, str(port), str(cache)]
    with subprocess.Popen(words) as server:
        try:
            _wait(f"http://127.0.0.1:{port}")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def _wait(url: str) -> None:
    for _ in range(200):
        try:
            urllib3.request("GET", f"{url}/health/live", retries=False)
        except urllib3.exceptions.HTTPError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(url)
