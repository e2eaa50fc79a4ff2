"""Random 64³ crops for training: batches of 16, two workers.

Ours beside intern on the same service's ``/v1``, zarr-python and TensorStore on its ``/zarr``, and
TensorStore on the files themselves; over links of several latencies, and over one of 100 Mbit/s.
All find the service as a first epoch leaves it, which has decoded the volume; it is told where it
keeps nothing. Workers are two processes of a DataLoader, or two threads where it is said.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import tifffile

import microtome
from microtome.crops import Crops, random_boxes
from tests.benchmarks.data import Stack
from tests.benchmarks.scale import ingest_seconds
from tests.benchmarks.services import LAYER, running
from tests.benchmarks.slow_link import Link, link
from tests.benchmarks.table import Row
from tests.benchmarks.training_engines import PROGRAMS, Engine, Task, Timed, engine

MBIT = 1e6 / 8
SIZE, EDGE = 16, 64
BATCH_BYTES = SIZE * EDGE**3 * 2
# Round trip in seconds, and bytes a second.
LINKS = ((0.0, None), (0.02, None), (0.1, None), (0.02, 100 * MBIT))
# Of rows that aim at something, and of others.
ROUNDS, FEWER = 3, 2
OURS = "microtome"
_PATHS = {
    OURS: f"/{LAYER}",
    "intern": "",
    "intern in 8 threads": "",
    "zarr-python": f"/zarr/{LAYER}/0",
    "TensorStore": f"/zarr/{LAYER}/0/",
}
# Batches before those that are timed, and these; fewer where each takes a second.
_COUNT = (6, 16)
_COUNTS = {
    "intern": (2, 4),
    "intern in 8 threads": (2, 4),
    "zarr-python": (1, 2),
    "TensorStore": (2, 6),
}
_SLOW_COUNT = (4, 6)
_SLOW_COUNTS = {**_COUNTS, "TensorStore": (1, 2), "zarr-python": (1, 2)}
_AIMS = {"intern": 10.0, "intern in 8 threads": 10.0, "TensorStore": 3.0}


@dataclass(frozen=True, slots=True)
class _Bench:
    """The engines that run, and what they read."""

    engines: Mapping[str, Engine]
    shape: tuple[int, ...]

    def timed(
        self, name: str, address: str, seed: int, counts: tuple[int, int], *,
        threads: bool = False, model: float = 0.0, cache: int = 0,
    ) -> Timed:  # fmt: skip
        """Run one task of an engine."""
        warm, count = counts
        task = Task(
            address, self.shape, count, warm, seed, model, processes=not threads, cache=cache
        )
        return self.engines[name].run(task)


@dataclass(frozen=True, slots=True)
class _Way:
    """How engines are used, and what the rows of it say."""

    words: str
    peers: tuple[str, ...]
    threads: bool = False
    aims: bool = False
    cache: int = 0


_EVERY = ("intern", "intern in 8 threads", "zarr-python", "TensorStore")
_PLAIN = _Way("", _EVERY)
_AT_20_MS = (
    _Way("", _EVERY, aims=True),
    _Way(", threads", ("intern", "TensorStore"), threads=True),
    _Way(", peer keeps 256 MiB a worker", ("TensorStore",), cache=256 << 20),
)
_COLD = _Way(", service keeps nothing", ("intern", "TensorStore"))


def measure(folder: Path, stack: Stack) -> list[Row]:
    """Return our rate beside each other's over each link."""
    root = folder.absolute() / "services"
    if not (root / LAYER / "zarr.json").exists():
        ingest_seconds(str(stack.path), str(root))
    shape = tuple(tifffile.memmap(stack.path, mode="r").shape)
    # Services first: the engines take both processors until they have imported PyTorch.
    with ExitStack() as stacked:
        address = stacked.enter_context(_served(root, {}))
        cold = stacked.enter_context(_served(root, {"MICROTOME_CACHE_BYTES": "0"}))
        engines = {name: stacked.enter_context(engine(name)) for name in PROGRAMS}
        bench = _Bench(engines, shape)
        rows = [row for each in LINKS for row in _over(bench, address, *each)]
        rows += [_local(bench, address, root), *_waits(bench, address)]
        rows.append(_wire(bench, address, root))
        with link(cold, 0.02, None) as far:
            rows += _rows(bench, _COLD, far)
    return rows


@contextmanager
def _served(root: Path, settings: Mapping[str, str]) -> Iterator[str]:
    words = [sys.executable, "-m", "microtome_cli", "serve", str(root), "--port"]
    with running(words, settings) as address:
        if not settings:
            microtome.open(f"{address}/{LAYER}")[...]
        yield address


def _over(bench: _Bench, address: str, latency: float, rate: float | None) -> list[Row]:
    with link(address, latency, rate) as through:
        if not latency:
            through.address = address
        ways = _AT_20_MS if latency == LINKS[1][0] and rate is None else (_PLAIN,)
        timed = {True: _in_threads, False: _rows}
        return [row for way in ways for row in timed[way.threads](bench, way, through)]


def _in_threads(bench: _Bench, way: _Way, through: Link) -> list[Row]:
    """Time engines of their own: TensorStore's threads do not live through a later fork."""
    with ExitStack() as stacked:
        names = (OURS, *way.peers)
        engines = {name: stacked.enter_context(engine(name)) for name in names}
        return _rows(_Bench(engines, bench.shape), way, through)


def _rows(bench: _Bench, way: _Way, through: Link) -> list[Row]:
    """Time all engines in turn, so that each has the same hours of the machine."""
    found: dict[str, list[float]] = {name: [] for name in (OURS, *way.peers)}
    for turn in range(ROUNDS if way.aims else FEWER):
        totals = set()
        for name, rates in found.items():
            if through.rate is None:
                counts = _COUNTS.get(name, _COUNT)
            else:
                counts = _SLOW_COUNTS.get(name, _SLOW_COUNT)
            timed = bench.timed(
                name, f"{through.address}{_PATHS[name]}", turn, counts,
                threads=way.threads, cache=way.cache,
            )  # fmt: skip
            rates.append(counts[1] * BATCH_BYTES / 1e6 / timed.seconds)
            totals.add(timed.total)
        assert len(totals) == 1, f"{way}: other voxels"
    speed = "" if through.rate is None else f", {through.rate / MBIT:.0f} Mbit/s"
    what = f"16 random {EDGE}³ a batch, {1000 * through.latency:.0f} ms{speed}{way.words}"
    mine = median(found[OURS])
    aims = _AIMS if way.aims else {}
    return [Row(what, mine, name, median(found[name]), aims.get(name)) for name in way.peers]


def _local(bench: _Bench, address: str, root: Path) -> Row:
    """Return our rate without latency beside TensorStore on the files."""
    pairs = ((OURS, f"{address}/{LAYER}"), ("TensorStore", f"{root}/{LAYER}/0/"))
    rates = []
    for name, place in pairs:
        timed = [bench.timed(name, place, turn, _COUNT).seconds for turn in range(FEWER)]
        rates.append(_COUNT[1] * BATCH_BYTES / 1e6 / median(timed))
    what = f"16 random {EDGE}³ a batch, 0 ms"
    return Row(what, rates[0], "TensorStore on the files", rates[1])


def _waits(bench: _Bench, address: str) -> list[Row]:
    """Return the rate that models of 5 and 50 ms a batch get, beside what they could take."""
    rows = []
    for model in (0.005, 0.05):
        found = [
            bench.timed(OURS, f"{address}/{LAYER}", turn, _COUNT, model=model)
            for turn in range(ROUNDS)
        ]
        seconds, waited = (
            median(getattr(t, name) for t in found) for name in ("seconds", "waited")
        )
        note = f"waits {100 * waited / seconds:.0f} % of the time"
        what = f"a loop whose model takes {1000 * model:.0f} ms a batch, 0 ms"
        rate = _COUNT[1] * BATCH_BYTES / 1e6 / seconds
        aim = 1.0 if model == 0.005 else None
        rows.append(Row(what, rate, "the model alone", BATCH_BYTES / 1e6 / model, aim, note))
    return rows


def _wire(bench: _Bench, address: str, root: Path) -> Row:
    """Return bytes stored of a voxel over bytes sent of it; the rates are thousandths of a byte.

    As the client asks once it has measured its link, from the first byte on.
    """
    files = [path for path in (root / LAYER / "0/c").rglob("*") if path.is_file()]
    stored = sum(path.stat().st_size for path in files) / (
        bench.shape[0] * bench.shape[1] * bench.shape[2]
    )
    with link(address, 0.02, 100 * MBIT) as through:
        volume = microtome.open(f"{through.address}/{LAYER}", transfer="chunks")
        before = through.received
        boxes = random_boxes(volume, (EDGE, EDGE, EDGE), SIZE)
        next(Crops(volume, boxes).batches(SIZE))
        sent = (through.received - before) / (SIZE * EDGE**3)
    note = f"{sent:.3f} bytes a voxel on the wire, {stored:.3f} stored"
    what = "bytes stored of a voxel over those sent, 100 Mbit/s"
    return Row(what, 1000 * stored, "bytes sent", 1000 * sent, 0.95, note)
