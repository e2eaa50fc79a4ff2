"""Programs that load random crops through two workers of a PyTorch DataLoader, one an engine.

Each waits for lines of JSON on its standard input, answers each with one, and lives until its
input ends: PyTorch is imported once, and takes no part in what is measured.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

# A task is timed from its `warm`-th batch on, over `count` batches, while the workers go on with
# more than that: so what they read ahead before is what they are left with after. Each batch is
# copied, as it is to a GPU. Answers are seconds; seconds waited for batches, while a model works
# `model` seconds on each; bytes of a batch; and the sum of the first two, which all share.
_HEAD = """
import json, os, sys, time, warnings
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
warnings.simplefilter("ignore")
torch.set_num_threads(1)

def box(task, index):
    rng = np.random.default_rng([task.seed, index])
    starts = [int(rng.integers(0, n - task.edge + 1)) for n in task.shape]
    return tuple(slice(s, s + task.edge) for s in starts)

def length(task):
    return (task.warm + task.count + 12) * task.size

class Crops(Dataset):
    opened = None
    def __init__(self, task):
        self.task = task
    def __len__(self):
        return length(self.task)
    def __getitems__(self, indices):
        if self.opened is None:
            self.opened = opened(self.task)
        return [torch.from_numpy(np.asarray(a, "uint16").astype("int32"))
                for a in read(self.opened, [box(self.task, i) for i in indices])]
    def __getitem__(self, index):
        return self.__getitems__([index])[0]

def loader(task):
    if task.processes:
        return DataLoader(Crops(task), batch_size=task.size, num_workers=2)
    return in_threads(task)

def in_threads(task):
    crops, waiting = Crops(task), deque()
    crops.opened = opened(task)
    with ThreadPoolExecutor(2) as pool:
        for i in range(0, len(crops), task.size):
            numbers = range(i, i + task.size)
            waiting.append(pool.submit(lambda n: torch.stack(crops.__getitems__(n)), numbers))
            if len(waiting) > 4:
                yield waiting.popleft().result()
"""
_TAIL = """
def run(task):
    batches, waited, kept = iter(loader(task)), 0.0, None
    for number in range(task.warm + task.count):
        if number == task.warm:
            waited, began = 0.0, time.perf_counter()
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        if kept is None:
            kept, total = torch.empty_like(batch), 0
        kept.copy_(batch)
        if number < 2:
            total += int(batch.sum())
        if task.model:
            time.sleep(task.model)
    return time.perf_counter() - began, waited, total

for line in sys.stdin:
    print(json.dumps(run(SimpleNamespace(**json.loads(line)))), flush=True)
"""
_OURS = """
import microtome
from microtome.crops import Crops as Boxed, ListedBoxes
from microtome.torch import CropStream
from microtome_core.region import Region

def loader(task):
    boxes = [box(task, i) for i in range(length(task))]
    regions = [Region("zyx", *zip(*((s.start, s.stop) for s in each))) for each in boxes]
    crops = Boxed(microtome.open(task.address), ListedBoxes(regions))
    workers = 2 if task.processes else 0
    loaded = DataLoader(CropStream(crops, task.size), batch_size=None, num_workers=workers)
    return (batch["image"] for batch in loaded)
"""
_INTERN = """
import intern
def opened(task):
    warnings.simplefilter("ignore")  # intern has set its own
    os.environ.update(INTERN_PROTOCOL="http", INTERN_TOKEN="public",
                      INTERN_HOST=task.address.removeprefix("http://"))
    return intern.array("bossdb://b/s/v")
def read(array, boxes):
    return [array[each] for each in boxes]
"""
# Many requests at once: threads, since its own `parallel` is for cutouts of 30 million voxels.
_THREADS = """
pool = None
def read(array, boxes):
    global pool
    pool = pool or ThreadPoolExecutor(8)
    return list(pool.map(array.__getitem__, boxes))
"""
_ZARR = """
import zarr
def opened(task):
    return zarr.open_array(task.address, mode="r")
"""
_TENSORSTORE = """
import tensorstore as ts
def opened(task):
    http = task.address.startswith("http")
    place = {"base_url": task.address} if http else {"path": task.address}
    kvstore = {"driver": "http" if http else "file", **place}
    context = {"cache_pool": {"total_bytes_limit": task.cache}}
    return ts.open({"driver": "zarr3", "kvstore": kvstore, "context": context}).result()
def read(array, boxes):
    return [future.result() for future in [array[each].read() for each in boxes]]
"""
PROGRAMS = {
    "microtome": _OURS,
    "intern": _INTERN,
    "intern in 8 threads": _INTERN + _THREADS,
    "zarr-python": _ZARR + _THREADS,
    "TensorStore": _TENSORSTORE,
}


@dataclass(frozen=True, slots=True)
class Task:
    """What an engine is asked for.

    Parameters
    ----------
    address : str
        Where it reads.
    shape : tuple of int
        Extents of the volume.
    count, warm : int
        Batches that are timed, and those before them.
    seed : int
        Of the boxes.
    model : float
        Seconds that are spent on each batch.
    processes : bool
        Whether two worker processes read, or two threads.
    cache : int
        For TensorStore: bytes of its cache, in each worker.
    size, edge : int
        Crops of a batch, and voxels along each of their edges.
    """

    address: str
    shape: tuple[int, ...]
    count: int
    warm: int
    seed: int
    model: float = 0.0
    processes: bool = True
    cache: int = 0
    size: int = 16
    edge: int = 64


@dataclass(frozen=True, slots=True)
class Timed:
    """Seconds of a task's batches, those waited for them, and a sum of voxels."""

    seconds: float
    waited: float
    total: int


@dataclass(frozen=True, slots=True)
class Engine:
    """A program that runs."""

    process: "subprocess.Popen[str]"

    def run(self, task: Task) -> Timed:
        """Return what a task takes."""
        asks, answers = self.process.stdin, self.process.stdout
        assert asks
        assert answers
        asks.write(json.dumps(asdict(task)) + "\n")
        asks.flush()
        line = answers.readline()
        if not line:
            raise RuntimeError(f"the engine ended with {self.process.wait()}")
        return Timed(*json.loads(line))


@contextmanager
def engine(name: str) -> Iterator[Engine]:
    """Start a program; it ends with its input."""
    words = [sys.executable, "-c", f"{_HEAD}{PROGRAMS[name]}{_TAIL}"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) as process:
        yield Engine(process)
