"""Random boxes through the client of each service, on the same volume on the same machine.

tiled and HSDS lie in environments of their own below ``bench/``; TensorStore and CloudVolume read
files behind nginx, which is left out where it is not installed.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil
import tensorstore as ts
import tifffile
import zarr

from tests.benchmarks.data import Stack
from tests.benchmarks.peers import environment
from tests.benchmarks.scale import ingest_seconds
from tests.benchmarks.table import Row

EDGES = (32, 128, 256)
BOXES = 24
ROUNDS = 3
LAYER = "b/s/v"
# The first of each is what is aimed at for 128³.
_AIMS = {"tiled 0.2": 10.0, "HSDS 1.0": 10.0, "CloudVolume": 5.0, "TensorStore": 3.0}

# Each program reads the same boxes and prints seconds and the sum of all voxels, not timed.
_HEAD = """
import json, sys, time
import numpy as np
address, count, edge, shape, turn = sys.argv[1], *map(json.loads, sys.argv[2:])
rng = np.random.default_rng([edge, turn])
starts = [[int(rng.integers(0, n - edge + 1)) for n in shape] for _ in range(count)]
boxes = [tuple(slice(s, s + edge) for s in each) for each in starts]
"""
_TAIL = """
read(boxes[0])
seconds, total = 0.0, 0
for box in boxes:
    started = time.perf_counter()
    block = np.asarray(read(box))
    seconds += time.perf_counter() - started
    total += int(block.sum(dtype="u8"))
print(json.dumps([seconds, total]))
"""
_OURS = """
import microtome
read = microtome.open(address).__getitem__
"""
_TILED = """
from tiled.client import from_uri
node = from_uri(address)["vol"]
read = lambda box: node[box]
"""
_HSDS = """
import h5pyd
login = {"endpoint": address, "username": "admin", "password": "admin"}
data = h5pyd.File("/home/admin/vol.h5", "r", **login)["v"]
read = lambda box: data[box]
"""
_HSDS_LOAD = """
import sys
import h5pyd, tifffile
voxels = tifffile.memmap(sys.argv[2], mode="r")
login = {"endpoint": sys.argv[1], "username": "admin", "password": "admin"}
layout = {"chunks": (64, 64, 64), "compression": "lz4", "shuffle": True}
with h5pyd.File("/home/admin/vol.h5", "w", **login) as file:
    data = file.create_dataset("v", voxels.shape, "u2", **layout)
    for z in range(0, len(voxels), 64):
        data[z : z + 64] = voxels[z : z + 64]
"""
_CLOUD = """
from cloudvolume import CloudVolume
volume = CloudVolume("precomputed://" + address, progress=False)
read = lambda box: np.asarray(volume[box[2], box[1], box[0]])[..., 0].T
"""
_TENSORSTORE = """
import tensorstore as ts
kvstore = {"driver": "http", "base_url": address}
array = ts.open({"driver": "zarr3", "kvstore": kvstore}).result()
read = lambda box: array[box].read().result()
"""

_NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  include /etc/nginx/mime.types; sendfile on; access_log off;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


@dataclass(frozen=True, slots=True)
class _Client:
    """A client and its service: `python` runs `program` against `address`."""

    name: str
    python: str
    program: str
    address: str

    def seconds(self, edge: int, shape: Sequence[int], turn: int) -> tuple[float, int]:
        """Return what all boxes take, and the sum of their voxels."""
        program = f"{_HEAD}{self.program}{_TAIL}"
        words = map(json.dumps, (BOXES, edge, shape, turn))
        command = [self.python, "-c", program, self.address, *words]
        told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        taken, total = json.loads(told.splitlines()[-1])
        return float(taken), int(total)


def measure(folder: Path, stack: Stack) -> list[Row]:
    """Return our rate beside each other's, for random boxes of each size.

    Each round has boxes of its own; every service has the cache that it has by default.
    """
    folder = folder.absolute()
    root = folder / "services"
    if not (root / LAYER / "zarr.json").exists():
        ingest_seconds(str(stack.path), str(root))
    ours = [sys.executable, "-m", "microtome_cli", "serve", str(root), "--port"]
    rows = []
    for start in (_tiled, _hsds, _nginx):
        with start(folder, stack, root) as peers:
            for peer in peers:
                # A new service each time: what it decoded for the last peer would be at hand.
                with running(ours, {}) as address:
                    mine = _Client("microtome", sys.executable, _OURS, f"{address}/{LAYER}")
                    rows += _rows(mine, peer, stack)
    return rows


def _rows(mine: _Client, peer: _Client, stack: Stack) -> list[Row]:
    shape = tifffile.memmap(stack.path, mode="r").shape
    rows = []
    for edge in EDGES:
        ours = [mine.seconds(edge, shape, turn) for turn in range(ROUNDS)]
        theirs = [peer.seconds(edge, shape, turn) for turn in range(ROUNDS)]
        assert [t for _, t in ours] == [t for _, t in theirs], f"{peer.name}: other voxels"
        size = BOXES * edge**3 * 2 / 1e6
        rates = [size / median(seconds for seconds, _ in taken) for taken in (ours, theirs)]
        aim = _AIMS[peer.name.split(",")[0]] if edge == 128 else None
        rows.append(
            Row(f"random {edge}³ through each one's client", rates[0], peer.name, rates[1], aim)
        )
    return rows


@contextmanager
def _tiled(folder: Path, stack: Stack, _: Path) -> Iterator[list[_Client]]:
    bin_folder = environment(folder / "tiled", ("tiled[all]==0.2.*",))
    copy = folder / "tiled-root"
    if not copy.exists():
        part = folder / "tiled-part"
        shutil.rmtree(part, ignore_errors=True)
        voxels = stack.load()
        array = zarr.create_array(
            str(part / "vol.zarr"),
            shape=voxels.shape,
            dtype="u2",
            chunks=(64, 64, 64),
            zarr_format=2,
        )
        array[...] = voxels
        part.rename(copy)
    words = [str(bin_folder / "tiled"), "serve", "directory", str(copy), "--host", "127.0.0.1",
             "--public", "--port"]  # fmt: skip
    with running(words, {"TILED_SINGLE_USER_API_KEY": "secret"}) as address:
        yield [_Client("tiled 0.2", str(bin_folder / "python"), _TILED, address)]


@contextmanager
def _hsds(folder: Path, stack: Stack, _: Path) -> Iterator[list[_Client]]:
    bin_folder = environment(folder / "hsds", ("hsds==1.0.*", "h5pyd", "tifffile"))
    python, root = str(bin_folder / "python"), folder / "hsds-root"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    (root / "pw").write_text("admin:admin\n")
    words = [str(bin_folder / "hsds"), "--root_dir", str(root), "--host", "127.0.0.1"]
    words += ["--logfile", str(root / "log"), "--count", "2"]
    words += ["--password_file", str(root / "pw"), "--port"]
    with running(words, {}) as address:
        time.sleep(12)  # it listens before its nodes are there
        touch = [str(bin_folder / "hstouch"), "-e", address, "-u", "admin", "-p", "admin"]
        for home in ("/home/", "/home/admin/"):
            subprocess.run([*touch, home], check=True, capture_output=True)
        load = [python, "-c", _HSDS_LOAD, address, str(stack.path)]
        subprocess.run(load, check=True, capture_output=True)
        yield [_Client("HSDS 1.0", python, _HSDS, address)]


@contextmanager
def _nginx(folder: Path, stack: Stack, root: Path) -> Iterator[list[_Client]]:
    program = shutil.which("nginx")
    if program is None:
        print("nginx is not installed: no rows of files behind it", file=sys.stderr)
        yield []
        return
    copy = root / "precomputed"
    if not copy.exists():
        _write_precomputed(copy, stack)
    configuration = folder / "nginx.conf"
    port = _free_port()
    configuration.write_text(_NGINX.format(folder=folder, port=port, root=root))
    with running([program, "-c", str(configuration)], {}, port=port) as address:
        each = (
            ("CloudVolume", _CLOUD, "precomputed"),
            ("TensorStore", _TENSORSTORE, f"{LAYER}/0/"),
        )
        yield [
            _Client(f"{name}, files behind nginx", sys.executable, program, f"{address}/{path}")
            for name, program, path in each
        ]


def _write_precomputed(folder: Path, stack: Stack) -> None:
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": str(folder)},
        "multiscale_metadata": {"type": "image"},
        "scale_metadata": {
            "encoding": "raw",
            "chunk_size": [64, 64, 64],
            "resolution": [400, 400, 1000],
        },
    }
    voxels = stack.load().T[..., None]
    made = ts.open(spec, create=True, dtype=ts.uint16, shape=list(voxels.shape)).result()
    made.write(voxels).result()


@contextmanager
def running(
    words: Sequence[str], more: Mapping[str, str], port: int | None = None
) -> Iterator[str]:
    """Start a service, its port being the last word, and end it with all that it started."""
    given = port if port is not None else _free_port()
    command = [*words] if port is not None else [*words, str(given)]
    log = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **more}) as process:
        try:
            _wait(given, process)
            yield f"http://127.0.0.1:{given}"
        finally:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.terminate()
            process.terminate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
