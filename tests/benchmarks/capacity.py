"""What one core of one replica does: the figures on which docs/operating/capacity.md stands.

``python tests/benchmarks/capacity.py`` counts processor time of the service's own process, so that
what else the machine does counts for little; and the answers that a core of it could give a second.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil
import urllib3

sys.path.insert(0, str(Path(__file__).parents[2]))

from microtome_cli.main import main
from tests.s3_server import unused_port

SHAPE = (256, 1024, 1024)
EDGE, TILE = 64, 256
COUNT, CALLERS = 400, 4
DATASETS = 200
BRAIN = "/api/datasets/lab/brain/em"


@contextmanager
def service(root: Path, cache: int) -> Iterator[tuple[str, psutil.Process]]:
    """Serve a root with so many bytes of cache."""
    url = f"http://127.0.0.1:{(port := unused_port())}"
    words = [sys.executable, "-m", "microtome_cli", "serve", str(root), "--port", str(port)]
    environment = {"PATH": "/usr/bin:/bin", "MICROTOME_CACHE_BYTES": str(cache), **_paths()}
    with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            while _status(f"{url}/health/ready") != 200:
                time.sleep(0.1)
            yield url, psutil.Process(process.pid)
        finally:
            process.terminate()


def _paths() -> dict[str, str]:
    return {"PYTHONPATH": ":".join(path for path in sys.path if path)}


def _status(url: str) -> int:
    try:
        return int(urllib3.request("GET", url, retries=False).status)
    except urllib3.exceptions.HTTPError:
        return 0


def measure(url: str, process: psutil.Process, path: Callable[[int], str]) -> tuple[float, float]:
    """Ask for many addresses from several callers; return processor ms and KiB for each."""
    pool = urllib3.PoolManager(maxsize=CALLERS)

    def ask(number: int) -> int:
        answer = pool.request("GET", url + path(number))
        assert answer.status == 200, answer.data[:300]
        return len(answer.data)

    ask(0)
    before = process.cpu_times()
    with ThreadPoolExecutor(CALLERS) as callers:
        sizes = list(callers.map(ask, range(COUNT)))
    after = process.cpu_times()
    spent = (after.user + after.system) - (before.user + before.system)
    return 1000 * spent / COUNT, sum(sizes) / COUNT / 1024


def paths() -> dict[str, Callable[[int], str]]:
    """Return what is asked for, by name; each number another place."""
    rng = np.random.default_rng(1)
    starts = rng.integers(0, [SHAPE[0] - EDGE, *(n - EDGE for n in SHAPE[1:])], (COUNT, 3))

    def box(number: int) -> str:
        (z, y, x), e = starts[number], EDGE
        return f"{BRAIN}/cutout?z={z}:{z + e}&y={y}:{y + e}&x={x}:{x + e}&format=raw"

    def chunk(number: int) -> str:
        z, y, x = (int(n) // EDGE * EDGE for n in starts[number])
        return f"{BRAIN}/cutout?z={z}:{z + EDGE}&y={y}:{y + EDGE}&x={x}:{x + EDGE}&format=raw"

    def tile(number: int) -> str:
        across = SHAPE[1] // TILE
        z, rest = divmod(number, across * across)
        return f"{BRAIN}/tiles/xy/0/{z}/{rest // across}/{rest % across}.jpeg"

    return {
        f"box {EDGE}³, anywhere": box,
        f"box {EDGE}³, a chunk": chunk,
        f"tile {TILE}², JPEG": tile,
        "a layer's JSON": lambda _: BRAIN,
        f"search of {DATASETS} datasets": lambda n: f"/api/datasets?q=em&limit=20&offset={n % 9}",
    }


def run(folder: Path) -> None:
    """Make the volume and the datasets, and print the table."""
    rng = np.random.default_rng(1)
    # Noise over a gradient: compresses as images do, to about two thirds.
    smooth = np.linspace(0, 20000, SHAPE[2])[None, None, :] + np.zeros(SHAPE)
    np.save(folder / "in.npy", (smooth + rng.normal(0, 40, SHAPE)).astype("uint16"))
    np.save(folder / "small.npy", np.ones((2, 8, 8), "uint8"))
    root, size = folder / "root", ["--axes", "zyx", "--voxel-size", "1,1,1"]
    _ingest(folder / "in.npy", root, "lab/brain/em", *size)
    for number in range(DATASETS):
        _ingest(folder / "small.npy", root, f"many/dataset-{number}/em", *size)
    print(f"{'what':30} {'cache':>8} {'ms':>8} {'a core':>8} {'KiB':>8} {'MB/s a core':>12}")
    for name, cache in (("none", 0), ("holds all", 2 << 30)):
        with service(root, cache) as (url, process):
            for what, path in paths().items():
                if cache:
                    measure(url, process, path)
                spent, size_ = measure(url, process, path)
                rate = 1000 / max(spent, 1e-3)
                print(
                    f"{what:30} {name:>8} {spent:8.2f} {rate:8.0f} {size_:8.0f}"
                    f" {rate * size_ * 1024 / 1e6:12.0f}",
                    flush=True,
                )
            print(f"{'resident memory':30} {name:>8} {process.memory_info().rss / 2**20:8.0f} MiB")


def _ingest(source: Path, root: Path, layer: str, *more: str) -> None:
    assert main(["ingest", str(source), str(root), "--as", layer, *more]) == 0


if __name__ == "__main__":
    with TemporaryDirectory() as made:
        run(Path(made))
