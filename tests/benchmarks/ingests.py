"""Ingest with the full pyramid, beside TensorStore writing level 0 alone from memory."""

import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from microtome_core.store.array import create_array
from microtome_core.store.location import Store
from microtome_ingest.describe import plan_ingest
from microtome_ingest.options import IngestOptions, VolumeSpec
from tests.benchmarks.data import SHAPE, VOXEL_SIZE, Stack
from tests.benchmarks.table import Row

ROUNDS = 3


def measure(folder: Path, stack: Stack) -> list[Row]:
    """Return the rates of both, taken in turn; the layer of the last round stays for others."""
    ours, whole, theirs, peak = [], [], [], 0.0
    for _ in range(ROUNDS):
        theirs.append(_bare_write(folder, stack))
        taken = ingest(folder, stack)
        ours.append(taken.job)
        whole.append(taken.command)
        peak = max(peak, taken.peak)
    size = stack.path.stat().st_size / 1e6
    rates = [size / median(times) for times in (ours, whole, theirs)]
    bare = "TensorStore, level 0 only, from memory"
    note = f"peak memory {peak:.2f} GiB (at most 2)"
    return [
        Row("ingest of a 1 GiB TIFF, full pyramid", rates[0], bare, rates[2], 0.75, note),
        Row("the same, from command to exit", rates[1], bare, rates[2]),
    ]


def _bare_write(folder: Path, stack: Stack) -> float:
    """Write level 0 in a process of its own, so that nothing is warmer for the one or the other."""
    words = [sys.executable, "-m", "tests.benchmarks.ingests", str(folder), str(stack.path)]
    return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def bare_write(folder: Path, stack: Stack) -> float:
    """Return the seconds that TensorStore takes for level 0, with the same chunks and codec."""
    axes, scale = "zyx", tuple(VOXEL_SIZE.values())
    spec = VolumeSpec(axes, SHAPE, "uint16", scale, ("micrometer",) * 3, (1, *SHAPE[1:]))
    plan = plan_ingest(spec, IngestOptions())
    voxels = stack.load()
    target = folder / "bare"
    shutil.rmtree(target, ignore_errors=True)
    array = create_array(Store(str(target)), "0", plan.arrays[0])
    started = time.perf_counter()
    array.write(voxels, can_reference_source_data_indefinitely=True).result()
    return time.perf_counter() - started


@dataclass(frozen=True, slots=True)
class Taken:
    """Seconds of the job and of the whole command, and its peak memory in GiB."""

    job: float
    command: float
    peak: float


def ingest(folder: Path, stack: Stack) -> Taken:
    """Return what an ingest takes; the layer stays."""
    root = folder / "root"
    shutil.rmtree(root, ignore_errors=True)
    sizes = ",".join(f"{axis}={size}" for axis, size in VOXEL_SIZE.items())
    words = ["ingest", str(stack.path), str(root), "--as", "bench/stack/noise"]
    words += ["--voxel-size", sizes, "--axes", "zyx"]
    started = time.perf_counter()
    result = subprocess.run(
        [sys.executable, "-c", _TIMED, *words], capture_output=True, text=True, check=True
    )
    command = time.perf_counter() - started
    told = json.loads(result.stdout.splitlines()[-1])
    return Taken(told["seconds"], command, told["peak"] / 2**20)


# The command as it is, with a clock around it that starts when Python has loaded everything.
_TIMED = """
import json, resource, sys, time
import microtome_cli.ingest
from microtome_cli.main import main
started = time.perf_counter()
assert main(sys.argv[1:]) == 0
seconds = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"seconds": seconds, "peak": peak}))
"""

if __name__ == "__main__":
    print(bare_write(Path(sys.argv[1]), Stack(Path(sys.argv[2]))))
