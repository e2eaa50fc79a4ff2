"""Other converters to OME-Zarr, each in an environment of its own below ``bench/``."""

import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.data import Stack
from tests.benchmarks.ingests import ingest
from tests.benchmarks.table import Row

# A million voxels of noise take minutes there, so each is measured once.
_NGFF = ("ngff-zarr[cli,dask-image,tensorstore]==0.50.0",)
_OME = ("ome-zarr", "tifffile", "imagecodecs")

_OME_PROGRAM = """
import sys, tifffile, zarr
from ome_zarr.writer import write_image
group = zarr.open_group(sys.argv[2], mode="w", zarr_format=3)
options = {"chunks": (64, 64, 64), "shards": (64, 256, 256)}
write_image(tifffile.imread(sys.argv[1]), group, axes="zyx", storage_options=options)
"""


@dataclass(frozen=True, slots=True)
class _Peer:
    name: str
    packages: tuple[str, ...]
    words: tuple[str, ...]


def measure(folder: Path, stack: Stack) -> list[Row]:
    """Return our rate beside that of ngff-zarr and of ome-zarr-py, from command to exit."""
    target = folder / "peer.zarr"
    ngff = ("ngff-zarr", "-i", str(stack.path), "-o", str(target), "--ome-zarr-version", "0.5")
    peers = (
        _Peer("ngff-zarr 0.50", _NGFF, (*ngff, "--chunks", "64", "--chunks-per-shard", "4")),
        _Peer("ome-zarr-py", _OME, ("python", "-c", _OME_PROGRAM, str(stack.path), str(target))),
    )
    size = stack.path.stat().st_size / 1e6
    ours = size / ingest(folder, stack).command
    what = f"ingest of {size:.0f} MB, command to exit"
    aims = (30.0, None)
    return [
        Row(what, ours, peer.name, size / _seconds(folder, peer, target), aim)
        for peer, aim in zip(peers, aims, strict=True)
    ]


def _seconds(folder: Path, peer: _Peer, target: Path) -> float:
    bin_folder = environment(folder / peer.name.split()[0], peer.packages)
    shutil.rmtree(target, ignore_errors=True)
    words = [str(bin_folder / peer.words[0]), *peer.words[1:]]
    started = time.perf_counter()
    subprocess.run(words, check=True, capture_output=True)
    seconds = time.perf_counter() - started
    shutil.rmtree(target)
    return seconds


def environment(folder: Path, packages: tuple[str, ...]) -> Path:
    """Make the environment unless it is there, and return where its programs lie."""
    ready = folder / "ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(folder / "bin/pip"), "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *packages], check=True)
        ready.touch()
    return folder / "bin"
