"""Beyond one process and one disk: Dask workers beside threads, and storage that is far away."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from distributed import Client

from tests import ceph
from tests.benchmarks.data import Stack
from tests.benchmarks.slow_link import link
from tests.benchmarks.table import Row
from tests.dask_cluster import cluster
from tests.faults import FaultProxy
from tests.s3_server import make_bucket, s3_server, unused_port

ROUNDS = 3
# Seconds: about what another region of a cloud is away.
LATENCY = 0.05
# About what another continent is away.
FAR = 0.1
FAR_SHAPE = (512, 1024, 1024)
# One step in flight a worker, of a few small shards: a worker waits nearly all of its time, so that
# two processors do for four of them, the storage and the link.
FAR_LAYOUT = (
    "--chunk", "16,64,64", "--shard", "16,128,128", "--levels", "3", "--memory", "230MiB",
    "--threads", "1",
)  # fmt: skip
_KEYS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-east-1"}
SYNTHETIC = "synthetic://neurons?shape=512,2048,1024&seed=3"


def measure(folder: Path, stack: Stack) -> list[Row]:
    """Return the rates of workers beside threads, and of distant beside near storage."""
    return [
        *_workers(folder, str(stack.path), "a TIFF"),
        *_workers(folder, SYNTHETIC, "synthetic"),
        *_latency(stack),
    ]


def _workers(folder: Path, source: str, what: str) -> list[Row]:
    """Take both in turn; the start of the workers, some seconds, is not counted."""
    rates: dict[str, list[float]] = {"2": [], "": []}
    for _ in range(ROUNDS):
        for workers, found in rates.items():
            root = folder / "scale"
            shutil.rmtree(root, ignore_errors=True)
            more = ("--workers", workers) if workers else ()
            found.append(_rate(source, str(root), more, {}))
    ours, theirs = median(rates["2"]), median(rates[""])
    return [Row(f"ingest of {what}, two Dask workers", ours, "our own threads", theirs, 0.85)]


def _latency(stack: Stack) -> list[Row]:
    with s3_server() as endpoint, FaultProxy(endpoint) as proxy:
        reach = {**_KEYS, "AWS_ENDPOINT_URL": proxy.url}
        rates: dict[float, list[float]] = {LATENCY: [], 0.0: []}
        for turn in range(ROUNDS):
            for latency, found in rates.items():
                proxy.change(latency=latency)
                bucket = f"bench-{turn}-{latency:g}".replace(".", "-")
                make_bucket(endpoint, bucket)
                found.append(_rate(str(stack.path), f"s3://{bucket}/root", (), reach))
    ours, theirs = median(rates[LATENCY]), median(rates[0.0])
    what = f"ingest to S3, {LATENCY * 1000:.0f} ms a request"
    return [Row(what, ours, "ingest to the same S3, 0 ms", theirs, 0.7)]


def measure_far(folder: Path) -> list[Row]:
    """Four workers of a cluster beside one, where a request to storage takes a tenth of a second.

    From the moment they are ready to the layer that is visible: four minutes with one of them, of
    which nearly all is waiting, so that once is enough.
    """
    source = folder / "far.npy"
    z, y, x = np.ogrid[: FAR_SHAPE[0], : FAR_SHAPE[1], : FAR_SHAPE[2]]
    np.save(source, ((z // 4 + y // 16 + x // 16) % 900 + 1).astype("uint16"))
    theirs, ours = (_far_rate(folder / f"far-{count}", source, count) for count in (1, 4))
    what = f"ingest to Ceph, {FAR * 1000:.0f} ms a request, four Dask workers"
    return [Row(what, ours, "one Dask worker", theirs, 3.5)]


def _far_rate(folder: Path, source: Path, count: int) -> float:
    """Return MB/s of so many workers."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "ceph").mkdir(parents=True)
    port = unused_port()
    with ceph.running(folder / "ceph", unused_port) as near, link(near.url, FAR, None) as far:
        near.create_bucket("far")
        reach = {**near.environment, "AWS_ENDPOINT_URL": far.address}
        with cluster(port, count, folder / "dask", **reach):
            where = f"tcp://127.0.0.1:{port}"
            _wait_for_workers(where, count)
            more = ("--scheduler", where, *FAR_LAYOUT)
            events = _events(str(source), "s3://far/root", more, reach)
    seconds = events["done"]["at"] - events["workers"]["at"]
    return float(events["progress"]["bytes"] / seconds / 1e6)


def _wait_for_workers(address: str, count: int) -> None:
    """Return when all of them are there."""
    with Client(address, timeout=60, set_as_default=False) as client:
        client.wait_for_workers(count, timeout=60)


def ingest_seconds(source: str, root: str) -> float:
    """Return what an ingest takes by its own clock."""
    return float(_events(source, root, (), {})["progress"]["seconds"])


def _rate(source: str, root: str, more: tuple[str, ...], reach: Mapping[str, str]) -> float:
    """Return MB/s of an ingest by its own count and clock, the start of its workers left out."""
    events = _events(source, root, more, reach)
    last, start = events["progress"], events.get("workers", {"seconds": 0.0})
    return float(last["bytes"] / (last["seconds"] - start["seconds"]) / 1e6)


def _events(
    source: str, root: str, more: tuple[str, ...], reach: Mapping[str, str]
) -> dict[str, Any]:
    """Return the last event of each kind that an ingest tells, and when it came.

    `reach` are the variables by which it finds object storage.
    """
    words = [sys.executable, "-m", "microtome_cli", "ingest", source, root, "--as", "b/s/v"]
    words += ["--json", *more]
    if not source.startswith("synthetic:"):
        words += ["--axes", "zyx", "--voxel-size", "1,0.4,0.4"]
    last = {}
    with subprocess.Popen(words, stdout=subprocess.PIPE, env={**os.environ, **reach}) as process:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            last[event["event"]] = {**event, "at": time.monotonic()}
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    return last
