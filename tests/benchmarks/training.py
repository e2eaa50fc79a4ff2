"""Random 64³ crops for training: batches of 16 through two workers of a PyTorch DataLoader.

Ours beside intern on the same service's ``/v1``, zarr-python and TensorStore on its ``/zarr``, and
TensorStore on the files themselves; over links of several latencies, and over one of 100 Mbit/s.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import tifffile

from tests.benchmarks.data import Stack
from tests.benchmarks.scale import ingest_seconds
from tests.benchmarks.services import LAYER, running
from tests.benchmarks.slow_link import Link, link
from tests.benchmarks.table import Row

EDGE = 64
SIZE = 16
BATCH_BYTES = SIZE * EDGE**3 * 2
MBIT = 1e6 / 8
# Round trip in seconds, bytes a second, and batches that each engine is timed for.
LINKS = ((0.0, None, 24), (0.02, None, 16), (0.1, None, 10), (0.02, 100 * MBIT, 6))
ROUNDS = 3
_SLOW = {"intern": 4}
_AIMS = {("intern", 0.02): 10.0, ("TensorStore over http", 0.02): 3.0}

# Each prints the seconds of all batches, the start of the workers included, since what they read
# ahead while they start would count for nothing otherwise; the seconds waited for after the first
# batch, while a model of 5 ms a batch works; and the sum of all voxels.
_HEAD = """
import json, sys, time, zlib
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
torch.set_num_threads(1)
address, count, size, edge, shape, turn, model = sys.argv[1], *map(json.loads, sys.argv[2:])

def box(index):
    rng = np.random.default_rng([turn, index])
    starts = [int(rng.integers(0, n - edge + 1)) for n in shape]
    return tuple(slice(s, s + edge) for s in starts)

class Crops(Dataset):
    opened = None
    def __len__(self):
        return count * size
    def __getitems__(self, indices):
        if self.opened is None:
            self.opened = opened()
        return [torch.from_numpy(np.asarray(a, "uint16").astype("int32"))
                for a in read(self.opened, [box(i) for i in indices])]
    def __getitem__(self, index):
        return self.__getitems__([index])[0]
"""
_TAIL = """
total, seconds, waited = 0, 0.0, 0.0
began = time.perf_counter()
batches = iter(loader())
total += int(next(batches).sum())
first = time.perf_counter()
while True:
    asked = time.perf_counter()
    batch = next(batches, None)
    waited += time.perf_counter() - asked
    if batch is None:
        break
    if model:
        time.sleep(0.005)
    else:
        total += int(batch.sum())
print(json.dumps([time.perf_counter() - (first if model else began), waited, total]))
"""
_PLAIN = "loader = lambda: DataLoader(Crops(), batch_size=size, num_workers=2)"
_OURS = """
import microtome
from microtome.crops import Crops as Boxed, ListedBoxes
from microtome.torch import CropDataset, CropStream
from microtome_core.region import Region
regions = [Region("zyx", *zip(*((s.start, s.stop) for s in box(i)))) for i in range(count * size)]
def loader():
    crops = Boxed(microtome.open(address, transfer=TRANSFER), ListedBoxes(regions))
    loaded = DataLoader(CropStream(crops, size), batch_size=None, num_workers=2)
    return (batch["image"] for batch in loaded)
"""
_INTERN = f"""
import intern
opened = lambda: intern.array("bossdb://b/s/v")
read = lambda array, boxes: [array[each] for each in boxes]
{_PLAIN}
"""
_ZARR = f"""
import zarr
opened = lambda: zarr.open_array(address, mode="r")
read = lambda array, boxes: [array[each] for each in boxes]
{_PLAIN}
"""
_TENSORSTORE = f"""
import tensorstore as ts
def opened():
    http = address.startswith("http")
    place = {{"base_url": address}} if http else {{"path": address}}
    kvstore = {{"driver": "http" if http else "file", **place}}
    return ts.open({{"driver": "zarr3", "kvstore": kvstore}}).result()
def read(array, boxes):
    return [future.result() for future in [array[each].read() for each in boxes]]
{_PLAIN}
"""


@dataclass(frozen=True, slots=True)
class _Engine:
    """A client, and where below the service (or on disk, with a slash) it reads."""

    name: str
    program: str
    path: str


_MINE = _Engine("microtome", "TRANSFER = 'auto'" + _OURS, f"/{LAYER}")
# What the client does once it has measured its link, from the first byte on.
_COMPRESSED = _Engine("microtome", "TRANSFER = 'chunks'" + _OURS, f"/{LAYER}")
_PEERS = (
    _Engine("intern", _INTERN, ""),
    _Engine("zarr-python over http", _ZARR, f"/zarr/{LAYER}/0"),
    _Engine("TensorStore over http", _TENSORSTORE, f"/zarr/{LAYER}/0/"),
)


def measure(folder: Path, stack: Stack) -> list[Row]:
    """Return our rate beside each other's over each link."""
    root = folder.absolute() / "services"
    if not (root / LAYER / "zarr.json").exists():
        ingest_seconds(str(stack.path), str(root))
    shape = list(tifffile.memmap(stack.path, mode="r").shape)
    rows = []
    for latency, rate, count in LINKS:
        for peer in _PEERS:
            with _served(root, latency, rate) as through:
                rows.append(_row(peer, through, shape, count))
    local = _Engine("TensorStore on the files", _TENSORSTORE, f"{root}/{LAYER}/0/")
    with _served(root, 0.0, None) as through:
        rows += [_row(local, through, shape, LINKS[0][2]), _waits(through, shape)]
    with _served(root, 0.02, 100 * MBIT) as through:
        rows.append(_wire(through, shape, root))
    return rows


@contextmanager
def _served(root: Path, latency: float, rate: float | None) -> Iterator[Link]:
    """Serve anew for each pair, so that no one finds what another has had decoded."""
    words = [sys.executable, "-m", "microtome_cli", "serve", str(root), "--port"]
    with running(words, {}) as address, link(address, latency, rate) as through:
        if not latency and rate is None:
            through.address = address
        yield through


def _row(peer: _Engine, through: Link, shape: list[int], count: int) -> Row:
    few = min(count, _SLOW.get(peer.name, count))
    ours = [_run(_MINE, through, shape, count, turn) for turn in range(ROUNDS)]
    theirs = [_run(peer, through, shape, few, turn) for turn in range(ROUNDS)]
    if few == count:
        assert [t for *_, t in ours] == [t for *_, t in theirs], f"{peer.name}: other voxels"
    mine = count * BATCH_BYTES / 1e6 / median(seconds for seconds, *_ in ours)
    other = few * BATCH_BYTES / 1e6 / median(seconds for seconds, *_ in theirs)
    speed = "" if through.rate is None else f", {through.rate / MBIT:.0f} Mbit/s"
    what = f"16 random {EDGE}³ a batch, 2 workers, {1000 * through.latency:.0f} ms{speed}"
    aim = _AIMS.get((peer.name, through.latency)) if through.rate is None else None
    return Row(what, mine, peer.name, other, aim)


def _run(
    engine: _Engine, through: Link, shape: list[int], count: int, turn: int, *, model: bool = False
) -> tuple[float, float, int]:
    local = engine.path.startswith("/") and not engine.path.startswith(("/zarr", f"/{LAYER}"))
    address = engine.path if local else f"{through.address}{engine.path}"
    words = map(json.dumps, (count, SIZE, EDGE, shape, turn, model))
    boss = {
        "INTERN_PROTOCOL": "http",
        "INTERN_HOST": through.address.removeprefix("http://"),
        "INTERN_TOKEN": "public",
    }
    program = f"{_HEAD}{engine.program}{_TAIL}"
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, address, *words],
        stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, **boss},
    ).stdout  # fmt: skip
    seconds, waited, total = json.loads(told.splitlines()[-1])
    return seconds, waited, total


def _waits(through: Link, shape: list[int]) -> Row:
    """Return the rate that a model of 5 ms a batch gets, beside the one that it could take."""
    count = LINKS[0][2]
    found = [_run(_MINE, through, shape, count, turn, model=True) for turn in range(ROUNDS)]
    seconds, waited = (median(each[i] for each in found) for i in (0, 1))
    size = (count - 1) * BATCH_BYTES / 1e6
    note = f"waits {1000 * waited / count:.1f} ms a batch"
    what = "a loop whose model takes 5 ms a batch, 0 ms"
    return Row(what, size / seconds, "the model alone", BATCH_BYTES / 1e6 / 0.005, 1.0, note)


def _wire(through: Link, shape: list[int], root: Path) -> Row:
    """Return bytes stored of a voxel over bytes sent of it; the rates are thousandths of a byte."""
    files = [path for path in (root / LAYER / "0/c").rglob("*") if path.is_file()]
    stored = sum(path.stat().st_size for path in files) / (shape[0] * shape[1] * shape[2])
    count = LINKS[-1][2]
    before = through.received
    _run(_COMPRESSED, through, shape, count, ROUNDS)
    sent = (through.received - before) / (count * SIZE * EDGE**3)
    note = f"{sent:.3f} bytes a voxel on the wire, {stored:.3f} stored"
    what = "bytes stored of a voxel over those sent, 100 Mbit/s"
    return Row(what, 1000 * stored, "bytes sent", 1000 * sent, 0.95, note)
